"""Lookups of the agent: each function reads the system as it is and returns plain values, at most a screenful."""

from datetime import date
from typing import Any

import polars as pl
import sqlalchemy as sa

from mltrainer_pipelines.agent import autonomy, ledger
from mltrainer_pipelines.agent.briefing import verdict
from mltrainer_pipelines.agent.proposals import proposals
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.market.listings import listings_of, of_symbol
from mltrainer_pipelines.models.registry import list_models
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import (
    AgentAction,
    AgentEvent,
    LeaderboardRow,
    LearningReport,
    Outcome,
    PortfolioPerformance,
    Recommendation,
    Trial,
    TrialScorecard,
    UserPosition,
    VirtualPosition,
)
from mltrainer_pipelines.trials.registry.records import champion_of

MAX_ROWS, MAX_MODELS = 20, 12
"""Rows of any answer; models with their search spaces, which are long."""
_SCORECARD_FIELDS = (
    *("sharpe", "deflated_sharpe", "net_return", "net_return_low", "net_return_high", "maximum_drawdown"),
    *("precision_top_decile", "hit_rate", "base_rate", "auc", "rank_ic", "rank_ic_t", "brier_skill"),
    *("universe_net_return", "universe_sharpe", "momentum_net_return", "momentum_sharpe"),
    *("trials_counted", "sessions", "quarters", "first_session", "last_session"),
)


def models(_: System, family: str | None = None, offset: int = 0) -> dict[str, Any]:
    """The model registry: all ids, or of a family so many models with cost, a line and their search spaces."""
    specs = [spec for spec in list_models() if family is None or family.lower() in (spec.family.lower(), spec.id)]
    if family is None:
        return {"count": len(specs), "ids": [spec.id for spec in specs]}
    listed = [
        {
            **{name: getattr(spec, name) for name in ("id", "family", "cost", "summary")},
            "search_space": {name: space.describe() for name, space in spec.search_space.items()},
        }
        for spec in specs[offset : offset + MAX_MODELS]
    ]
    return {"count": len(specs), "offset": offset, "models": listed}


def leaderboard(system: System, timeframe: str | None = None, top: int = 10, offset: int = 0) -> dict[str, Any]:
    """The best trials of each timeframe, or of one, and the champion; `offset` leaves out so many of the best."""
    answer: dict[str, Any] = {"market": system.market}
    with system.engine.connect() as connection:
        for name in [timeframe] if timeframe else list(system.templates):
            chosen = sa.select(LeaderboardRow.__table__).where(LeaderboardRow.timeframe == name)
            chosen = chosen.order_by(LeaderboardRow.rank).limit(min(top, MAX_ROWS)).offset(offset)
            rows = connection.execute(chosen).mappings().all()
            of = sa.select(sa.func.count()).select_from(LeaderboardRow).where(LeaderboardRow.timeframe == name)
            answer[name] = {
                "trials": connection.scalar(of),
                "champion": champion_of(system.engine, name),
                "offset": offset,
                "best": [{key: value for key, value in row.items() if key not in ("timeframe", "updated_at")} for row in rows],
            }
    return answer


def trial(system: System, trial_id: str) -> dict[str, Any]:
    """A trial's configuration and its results out of sample; `found` is False for an unknown one."""
    joined = sa.select(Trial.config, Trial.status, TrialScorecard.grade, TrialScorecard.metrics)
    joined = joined.outerjoin(TrialScorecard, TrialScorecard.trial_id == Trial.trial_id).where(Trial.trial_id == trial_id)
    with system.engine.connect() as connection:
        row = connection.execute(joined).first()
    if row is None:
        return {"trial_id": trial_id, "found": False, "why": "no trial of that id was submitted"}
    answer: dict[str, Any] = {"trial_id": trial_id, "found": True, "market": system.market, "status": row.status}
    answer |= {name: row.config.get(name) for name in ("model", "timeframe", "params", "train_sessions", "feature_set")}
    if row.metrics is not None:
        answer |= {"grade": row.grade, **{name: row.metrics.get(name) for name in _SCORECARD_FIELDS}}
    return answer


def regime(lake: Lake) -> dict[str, Any]:
    """The newest regime score, 0 (crash) to 100 (strong bull), its parts, and its values before."""
    if not lake.exists("regime"):
        return {"known": False, "why": "the regime was never computed; run build_features"}
    scores = lake.read("regime").drop_nulls("score").sort("date")
    if scores.is_empty():
        return {"known": False, "why": "no session has a score yet"}
    last = scores.row(-1, named=True)
    before = {f"{n} sessions before": scores["score"][-1 - n] for n in (5, 20, 60) if scores.height > n}
    return {"known": True, **{name: value for name, value in last.items() if value is not None}, **before}


def candidates(
    system: System,
    timeframe: str | None = None,
    min_probability: float | None = None,
    min_confidence: float | None = None,
    min_expected_return: float | None = None,
    offset: int = 0,
) -> dict[str, Any]:
    """The signals of the last refresh that clear these bars, the most probable first.

    The bars not given are those of a strong buy.
    """
    newest = newest_signals(system.lake)
    if newest is None:
        return {"known": False, "why": "the market was never scored; refresh the signals first"}
    settings = runtime_settings.get_all(system.engine, system.defaults)
    bars = {
        "min_probability": float(settings["min_profit_probability"]) if min_probability is None else min_probability,
        "min_confidence": float(settings["min_confidence"]) if min_confidence is None else min_confidence,
        "min_expected_return": 0.0 if min_expected_return is None else min_expected_return,
    }
    rows = newest if timeframe is None else newest.filter(pl.col("timeframe") == timeframe)
    chosen = rows.filter(
        (pl.col("profit_probability") >= bars["min_probability"])
        & (pl.col("confidence") >= bars["min_confidence"])
        & (pl.col("expected_net_return") > bars["min_expected_return"])
    ).sort(["profit_probability", "symbol"], descending=[True, False])
    columns = ["symbol", "timeframe", "profit_probability", "confidence", "expected_net_return"]
    columns += ["entry_price", "target_price", "stop_loss", "model_used", "grade", "reason"]
    nearest = rows.drop_nulls("profit_probability").sort("profit_probability", descending=True)
    answer: dict[str, Any] = {
        "known": True,
        "market": system.market,
        "scored_at": newest["timestamp"][0],
        "regime_score": newest["regime_score"][0],
        "scored": rows.height,
        "passing": chosen.height,
        "bars": bars,
        "mean_confidence": chosen["confidence"].mean() if chosen.height else None,
        "picks_of": sorted({str(one) for one in rows["model_used"].drop_nulls()}),
        "offset": offset,
        "symbols": chosen.select(columns).slice(offset, MAX_ROWS).to_dicts(),
    }
    if chosen.is_empty():
        answer["nearest_misses"] = nearest.select(columns).head(5).to_dicts()
    return answer


def deeper(system: System, timeframe: str | None = None, top: int = 5) -> dict[str, Any]:
    """The best candidates of the last refresh, each with its prices and why it is recommended, or is not."""
    best = candidates(system, timeframe)
    if not best["known"]:
        return best
    rows = (best["symbols"] or best["nearest_misses"])[: min(top, MAX_ROWS)]
    with_reasons = [row | {"why": explain(system, symbol=row["symbol"]).get("why") or row["reason"]} for row in rows]
    return {**{name: best[name] for name in ("known", "market", "scored_at", "picks_of")}, "symbols": with_reasons}


def explain(system: System, recommendation_id: int | None = None, symbol: str | None = None) -> dict[str, Any]:
    """A recommendation, the newest of a symbol where none is named, with its reasons and its paper trade."""
    chosen = sa.select(Recommendation.__table__).order_by(Recommendation.id.desc()).limit(1)
    if recommendation_id is not None:
        chosen = chosen.where(Recommendation.id == recommendation_id)
    elif symbol is not None:
        chosen = chosen.where(*of_symbol(Recommendation, symbol, listings_of(system.lake)))
    with system.engine.connect() as connection:
        row = connection.execute(chosen).mappings().first()
        if row is None:
            return {"found": False, **_signal(system, symbol)}
        traded = sa.select(VirtualPosition.__table__).where(VirtualPosition.recommendation_id == row["id"])
        position = connection.execute(traded).mappings().first()
    answer = {"found": True, **_company(system.lake, row["symbol"]), **row}
    if position is not None:
        names = ("status", "entry_session", "entry_price", "current_price", "exit_session", "exit_price", "exit_reason")
        answer["paper_trade"] = {name: position[name] for name in (*names, "profit_loss", "net_return")}
    return answer


def portfolio(system: System, offset: int = 0) -> dict[str, Any]:
    """Positions on paper and those the user took, the newest first."""
    table = VirtualPosition.__table__.c
    columns = [table[name] for name in ("id", "symbol", "timeframe", "status", "entry_session", "entry_price", "shares")]
    columns += [table[name] for name in ("current_price", "exit_reason", "profit_loss", "net_return")]
    mine = sa.select(
        UserPosition.id, Recommendation.symbol, UserPosition.actual_buy_price, UserPosition.actual_shares, UserPosition.notes
    ).join(Recommendation, Recommendation.id == UserPosition.recommendation_id)
    with system.engine.connect() as connection:
        counts = connection.execute(sa.select(table.status, sa.func.count()).group_by(table.status)).tuples().all()
        newest = connection.execute(sa.select(*columns).order_by(table.id.desc()).limit(MAX_ROWS).offset(offset)).mappings().all()
        taken = connection.execute(mine.order_by(UserPosition.id.desc()).limit(MAX_ROWS)).mappings().all()
    return {
        "market": system.market,
        "counts": dict(counts),
        "offset": offset,
        "paper_trades": [dict(row) for row in newest],
        "yours": [dict(row) for row in taken],
    }


def performance(system: System) -> dict[str, object]:
    """The newest performance of both books, and what closed positions earned."""
    answer: dict[str, Any] = {"market": system.market}
    with system.engine.connect() as connection:
        for book in ("recommendations", "user"):
            chosen = sa.select(PortfolioPerformance.__table__).where(PortfolioPerformance.book == book)
            row = connection.execute(chosen.order_by(PortfolioPerformance.date.desc()).limit(1)).mappings().first()
            answer[book] = dict(row) if row else "no results yet"
        closed, hits, net = connection.execute(
            sa.select(sa.func.count(), sa.func.avg(sa.cast(Outcome.profitable, sa.Integer)), sa.func.avg(Outcome.net_return))
        ).one()
    answer["closed_positions"] = {"count": closed, "hit_rate": hits, "mean_net_return": net}
    return answer


def learning_report(system: System) -> dict[str, Any]:
    """The newest learning report."""
    newest = sa.select(LearningReport.as_of, LearningReport.report).order_by(LearningReport.id.desc()).limit(1)
    with system.engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None:
        return {"known": False, "why": "no paper trade has closed yet"}
    parts = {name: row.report.get(name) for name in ("closed_positions", "open_positions", "overall", "groups")}
    return {"known": True, "as_of": row.as_of, **parts}


def proposed(system: System, status: str | None = None, offset: int = 0) -> dict[str, Any]:
    """Proposals for trials, the newest first, with the outcomes of their hypotheses."""
    stored_proposals = proposals(system.engine, status)
    listed = []
    for stored in stored_proposals[::-1][offset : offset + MAX_ROWS]:
        proposal, result = stored.proposal, stored.result or {}
        row = {"id": stored.id, "status": stored.status, "by": proposal.proposer, "trial": proposal.config.trial_id}
        row |= {"hypothesis": proposal.hypothesis, "outcome": verdict(stored)}
        listed.append(row | {name: result.get(name) for name in ("sharpe", "error")})
    return {"count": len(stored_proposals), "offset": offset, "proposals": listed}


def saved_results(system: System, trial_id: str | None = None, offset: int = 0) -> dict[str, object]:
    """Results that the user stored with trials (of one, where it is named), the newest first."""
    e = AgentEvent
    chosen = sa.select(e.happened_at, e.detail).where(e.kind == "results_saved")
    if trial_id is not None:
        chosen = chosen.where(e.detail["trial_id"].astext == trial_id)
    with system.engine.connect() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(chosen.subquery())) or 0
        rows = connection.execute(chosen.order_by(e.id.desc()).limit(MAX_ROWS).offset(offset)).all()
    return {"count": count, "offset": offset, "items": [{"saved_at": row.happened_at, **row.detail} for row in rows]}


def settings(system: System) -> dict[str, Any]:
    """Every run-time setting with its value and what it may be."""
    values = runtime_settings.get_all(system.engine, system.defaults)
    rules = runtime_settings.SETTINGS
    return {
        name: {"value": value, "may_be": rules[name].describe(), "meaning": rules[name].meaning} for name, value in values.items()
    }


def status(system: System) -> dict[str, Any]:
    """How fresh everything is, what the agent may do and has cost today, and which actions are under way."""
    lake = system.lake
    fresh = {name: (lake.partitions(name) or ["never"])[-1] for name in ("daily_bars", "features", "signals")}
    chosen = sa.select(AgentAction.id, AgentAction.kind, AgentAction.status, AgentAction.summary)
    chosen = chosen.where(AgentAction.status.in_(("pending", "running"))).order_by(AgentAction.id.desc()).limit(MAX_ROWS)
    with system.engine.connect() as connection:
        trials = dict(connection.execute(sa.select(Trial.status, sa.func.count()).group_by(Trial.status)).tuples().all())
        actions = [dict(row) for row in connection.execute(chosen).mappings()]
    today = ledger.spent(system.engine, system.clock())
    budget = autonomy.budget(system.engine, system.clock())
    return {
        "market": system.market,
        "newest_data": fresh,
        "trials": trials,
        "agent_enabled": budget.enabled,
        "budget": budget.left(),
        "claude_today": {"calls": today.calls, "dollars": today.dollars, "output_tokens": today.output_tokens},
        "jobs_can_start": system.launcher is not None,
        "actions": actions,
    }


def newest_signals(lake: Lake) -> pl.DataFrame | None:
    """The signals of the last refresh; None before the first."""
    partitions = lake.partitions("signals")
    if not partitions:
        return None
    stored = lake.read("signals", partitions[-1])
    return stored.filter(pl.col("timestamp") == pl.col("timestamp").max())


def _company(lake: Lake, symbol: str) -> dict[str, object]:
    """Name and sector of a symbol in the newest universe that holds it, as far as there are any."""
    months = lake.partitions("universe")
    if not months:
        return {}
    company = listings_of(lake).company(symbol, date.fromisoformat(months[-1]))
    rows = lake.read("universe", months[-1]).filter(pl.col("symbol") == company)
    return {name: rows[name][0] for name in ("name", "sector") if rows.height and name in rows.columns}


def _signal(system: System, symbol: str | None) -> dict[str, object]:
    """Why a symbol was never recommended: the thresholds that its last signal missed."""
    newest = newest_signals(system.lake)
    if symbol is None or newest is None:
        return {"why": "there is no such recommendation"}
    rows = newest.filter(pl.col("symbol") == symbol)
    if rows.is_empty():
        return {"why": "it was never recommended, and the last refresh did not score it"}
    columns = ["timeframe", "profit_probability", "confidence", "expected_net_return", "regime_score", "reason"]
    return {"why": "it was never recommended", "last_signal": rows.select(columns).to_dicts()}
