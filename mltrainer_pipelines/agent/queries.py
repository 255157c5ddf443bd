"""Lookups of the agent: each function reads the system as it is and returns plain values, at most a screenful."""

from typing import Any

import sqlalchemy as sa

from mltrainer_pipelines.agent import autonomy, ledger
from mltrainer_pipelines.agent.briefing import verdict
from mltrainer_pipelines.agent.market_queries import MAX_ROWS
from mltrainer_pipelines.agent.proposals import proposals
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.models.registry import list_models
from mltrainer_pipelines.store import runtime_settings
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

MAX_MODELS = 12
"""Models with their search spaces, which are long, of one answer."""
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
