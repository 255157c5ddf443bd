"""How well scores rank, on the same rows for every model, and what each model's difference from another is worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.audits.skill_market import SkillMarket
from mltrainer_pipelines.contracts.ranks import session_groups
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.trials.scoring import skill
from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time
from mltrainer_pipelines.trials.scoring.forecast import number
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward

MIN_ROWS = 20
"""Rows of a session with a known outcome below which it is not judged."""
TOP_SHARE = 0.1
BAR = 0.6
"""Calibrated probability from which a strong buy would have been recommended."""


@dataclass(frozen=True)
class ModelScores:
    """What one model was worth: its figures, and its rank ICs by session (date, ic, neutral_ic)."""

    name: str
    figures: dict[str, Any]
    ics: pl.DataFrame
    predictions: pl.DataFrame


def score_models(
    market: SkillMarket, timeframe: str, scores: Mapping[str, pl.DataFrame], calibrated: tuple[str, ...]
) -> list[ModelScores]:
    """Judge models (name to date, symbol, score) on the rows that all of them score; those in `calibrated` by probability too."""
    labels = market.labels.filter(pl.col("timeframe") == timeframe)
    common = labels.select("date", "symbol", "net_return", "label").drop_nulls("net_return")
    for table in scores.values():
        common = common.join(table.drop_nulls("score").select("date", "symbol"), on=["date", "symbol"], how="semi")
    enough = pl.len().over("date") >= MIN_ROWS
    common = (
        common.filter(enough).join(market.liquidity, on=["date", "symbol"], how="left").join(market.states, on="date", how="left")
    )
    common = common.sort("date", "symbol")
    return [_judge(name, common, table, labels, timeframe, name in calibrated) for name, table in scores.items()]


def paired_difference(one: ModelScores, other: ModelScores, timeframe: str, ic: str = "ic") -> dict[str, Any]:
    """Mean difference of two models' rank ICs (`ic` or `neutral_ic`), session by session, and its t."""
    both = one.ics.join(other.ics, on="date").sort("date")
    apart = (both[ic] - both[f"{ic}_right"]).to_numpy()
    ahead = mean_over_time(apart, TIMEFRAMES[timeframe].max_sessions)
    return {"baseline": other.name, "difference": number(ahead.mean), "t": number(ahead.t)}


def _judge(
    name: str, common: pl.DataFrame, table: pl.DataFrame, labels: pl.DataFrame, timeframe: str, calibrate: bool
) -> ModelScores:
    rows = common.join(table.select("date", "symbol", "score"), on=["date", "symbol"], how="left", maintain_order="left")
    if calibrate:
        forecasts = calibrate_walk_forward(table, labels).select("date", "symbol", "probability", "expected_net_return")
        rows = rows.join(forecasts, on=["date", "symbol"], how="left", maintain_order="left")
    sessions = rows["date"].to_physical().to_numpy()
    ics, neutral, tops, turnover, percentile = _by_session(rows, sessions)
    days = rows["date"].unique(maintain_order=True)
    by_session = pl.DataFrame({"date": days, "ic": ics, "neutral_ic": neutral, "top": tops}).join(
        rows.unique("date", maintain_order=True).select("date", "state"), on="date", how="left", maintain_order="left"
    )
    holding = TIMEFRAMES[timeframe].max_sessions
    ranking, left, excess = (mean_over_time(values, holding) for values in (ics, neutral, tops))
    low, high = excess.interval()
    outcome = rows["label"].to_numpy().astype(np.float64)
    figures: dict[str, Any] = {
        "rows": rows.height,
        "sessions": len(ics),
        "rank_ic": number(ranking.mean),
        "t": number(ranking.t),
        "z": number(ranking.z),
        "neutral_rank_ic": number(left.mean),
        "neutral_t": number(left.t),
        "neutral_z": number(left.z),
        "auc": number(skill.auc(percentile, outcome)),
        "top_decile_excess": number(excess.mean),
        "top_decile_excess_low": number(low),
        "top_decile_excess_high": number(high),
        "turnover": number(turnover),
        "per_year": _parts(by_session.with_columns(part=pl.col("date").dt.year()), "year"),
        "per_regime": _parts(by_session.with_columns(part=pl.col("state")), "regime"),
        "blocks": _parts(by_session.with_columns(part=_block(by_session["date"])), "years"),
        "brier_skill": None,
        "calibration_error": None,
        "recommended": None,
        "hit_rate": None,
    }
    if calibrate:
        known = rows.drop_nulls("probability")
        probability, label = known["probability"].to_numpy(), known["label"].to_numpy().astype(np.float64)
        chosen = known.filter(pl.col("probability") >= BAR, pl.col("expected_net_return") > 0)
        figures |= {
            "brier_skill": number(skill.brier_skill(probability, label)),
            "calibration_error": number(skill.reliability(probability, label).error),
            "recommended": chosen.height,
            "hit_rate": number(float(chosen["label"].mean())) if chosen.height else None,  # type: ignore[arg-type]
        }
    kept = [column for column in ("date", "symbol", "score", "probability", "net_return") if column in rows.columns]
    return ModelScores(name, figures, by_session.select("date", "ic", "neutral_ic"), rows.select(kept))


def _by_session(rows: pl.DataFrame, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray]:
    """Rank IC, the same after neutralizing, the top decile's excess of each session; turnover; percentiles of the rows."""
    from scipy.stats import rankdata

    score, outcome = rows["score"].to_numpy(), rows["net_return"].to_numpy()
    size, illiquidity = (rows[name].fill_null(0.0).fill_nan(0.0).to_numpy() for name in ("dollar_volume", "illiquidity"))
    symbols = rows["symbol"].to_numpy()
    _, starts = session_groups(sessions)
    ics, neutral, tops = (np.zeros(len(starts) - 1) for _ in range(3))
    percentile, changed, before = np.empty(len(score)), [], set[str]()
    for number_of, (start, stop) in enumerate(pairwise(starts.tolist())):
        at, count = slice(start, stop), stop - start
        ranks, returns = rankdata(score[at]), rankdata(outcome[at])
        percentile[at] = (ranks - 0.5) / count
        risk = np.column_stack([np.ones(count), rankdata(size[at]), rankdata(illiquidity[at])])
        left = rankdata((ranks - risk @ np.linalg.lstsq(risk, ranks, rcond=None)[0]).round(9))
        ics[number_of], neutral[number_of] = _correlation(ranks, returns), _correlation(left, returns)
        top = np.argsort(-ranks, kind="stable")[: max(1, round(TOP_SHARE * count))]
        tops[number_of] = outcome[at][top].mean() - outcome[at].mean()
        names = set(symbols[at][top])
        if before:
            changed.append(1.0 - len(names & before) / len(names))
        before = names
    return ics, neutral, tops, float(np.mean(changed)) if changed else 0.0, percentile


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    """0 where one side is the same for all."""
    left, right = left - left.mean(), right - right.mean()
    norm = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right) / norm if norm > 1e-12 else 0.0


def _parts(by_session: pl.DataFrame, name: str) -> list[dict[str, object]]:
    parts = by_session.drop_nulls("part").group_by("part").agg(
        pl.len(), pl.col("ic").mean(), pl.col("neutral_ic").mean(), pl.col("top").mean()
    ).sort("part")  # fmt: skip
    return [
        {name: part, "sessions": count, "rank_ic": ic, "neutral_rank_ic": neutral, "top_decile_excess": top}
        for part, count, ic, neutral, top in parts.iter_rows()
    ]


def _block(dates: pl.Series) -> pl.Expr:
    """Four stretches of whole years, as equal as can be."""
    years = dates.dt.year().unique().sort().to_list()
    names = {year: f"{part[0]}-{part[-1]}" for part in np.array_split(years, min(4, len(years))) for year in part.tolist()}
    return pl.col("date").dt.year().replace_strict(names, return_dtype=pl.String)
