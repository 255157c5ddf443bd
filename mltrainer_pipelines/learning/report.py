"""The learning report: what the closed positions teach, for people as Markdown and for programs as JSON."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.learning.significance import differences, each_group
from mltrainer_pipelines.store.tables import (
    DriftCheck,
    LearningReport,
    ModelWeight,
    Outcome,
    Recalibration,
    Recommendation,
    SamplePosition,
    VirtualPosition,
)

_REGIMES = ((0, 25, "regime 0-25"), (25, 50, "regime 25-50"), (50, 75, "regime 50-75"), (75, 101, "regime 75-100"))
_FEW = 30
"""Below this many closed positions a group's numbers say little; the report says so."""
_CORRECTION = ("timeframe", "trial_id", "intercept", "slope", "observations", "effective_observations")


@dataclass(frozen=True)
class Report:
    """A learning report as of the close of a session; `json` holds the numbers that `markdown` shows."""

    as_of: date
    markdown: str
    json: dict[str, Any]


def learning_report(engine: Engine, as_of: date) -> Report:
    """What the positions closed up to `as_of` say about the models that recommended them.

    For everything, and by timeframe, model, regime, sector, grade, exit and what was promised: how many, the hit rate, the
    mean net return, the mean predicted probability, the Brier score beside that of always predicting the group's own hit
    rate, and the over-confidence (mean prediction less hit rate: above 0, the model promised too much). Then in sentences
    what worked, what did not, and where promises and outcomes differ by more than chance. Beside them what the sample
    below the thresholds earned, how probabilities are corrected, what drifts, and the weights. Where nothing is
    closed yet, the report says so and holds no number.
    """
    with engine.connect() as connection:
        outcomes = connection.execute(
            sa.select(Outcome.__table__, Recommendation.sector, Recommendation.grade)
            .join(Recommendation, Recommendation.id == Outcome.recommendation_id)
            .where(Outcome.closed_session <= as_of)
            .order_by(Outcome.position_id)
        ).all()
        positions = dict(
            connection.execute(sa.select(VirtualPosition.status, sa.func.count()).group_by(VirtualPosition.status)).tuples().all()
        )
        columns = (getattr(ModelWeight, name) for name in ("timeframe", "trial_id", "weight", "observations", "brier"))
        order = ModelWeight.timeframe, ModelWeight.weight.desc(), ModelWeight.trial_id
        weights = connection.execute(sa.select(*columns).order_by(*order)).mappings().all()
        samples = connection.execute(
            sa.select(
                SamplePosition.timeframe,
                SamplePosition.profit_probability.label("predicted_probability"),
                SamplePosition.net_return,
                SamplePosition.exit_session.label("closed_session"),
                (SamplePosition.net_return > 0).label("profitable"),
            ).where(SamplePosition.net_return.is_not(None), SamplePosition.exit_session <= as_of)
        ).all()
        checks = connection.execute(_newest(DriftCheck.__table__, as_of)).mappings().all()
        corrections = connection.execute(_newest(Recalibration.__table__, as_of)).mappings().all()
    groups: dict[str, Callable[[Any], str]] = {
        "timeframe": lambda row: row.timeframe,
        "model": lambda row: row.model_used,
        "regime": _regime,
        "sector": lambda row: row.sector or "sector unknown",
        "grade": lambda row: row.grade,
        "exit": lambda row: row.exit_reason,
        "promise": _promise,
    }
    content: dict[str, Any] = {
        "as_of": as_of.isoformat(),
        "closed_positions": len(outcomes),
        "open_positions": positions.get("open", 0),
        "pending_positions": positions.get("pending", 0),
        "overall": _summary(outcomes) if outcomes else None,
        "groups": {name: _grouped(outcomes, key) for name, key in groups.items()},
        "just_below_thresholds": _grouped(samples, groups["timeframe"]),
        **differences(outcomes, samples, groups),
        "recalibrations": [{name: row[name] for name in _CORRECTION} for row in corrections],
        "drift": [
            {
                **{name: row[name] for name in ("timeframe", "kind", "subject", "statistic", "p_value", "crossed", "advice")},
                "threshold": row["threshold"] if math.isfinite(row["threshold"]) else None,
                "false_alarm_rate": row["false_alarm_rate"],
            }
            for row in checks
        ],
        "weights": [dict(row) for row in weights],
    }
    return Report(as_of, _markdown(content), content)


def store_report(engine: Engine, report: Report) -> int:
    """Keep a report. Returns its id; where the newest one of that session says the same, that one's."""
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE learning_reports IN SHARE ROW EXCLUSIVE MODE"))
        newest = connection.execute(
            sa.select(LearningReport.id, LearningReport.markdown)
            .where(LearningReport.as_of == report.as_of)
            .order_by(LearningReport.id.desc())
            .limit(1)
        ).first()
        if newest is not None and newest.markdown == report.markdown:
            return int(newest.id)
        values = {"as_of": report.as_of, "report": report.json, "markdown": report.markdown}
        return connection.execute(sa.insert(LearningReport).values(values).returning(LearningReport.id)).scalar_one()


def newest_report(engine: Engine) -> date | None:
    """The session of the newest report; None before the first."""
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.max(LearningReport.as_of)))


def _regime(row: Any) -> str:
    if row.regime_score is None:
        return "regime unknown"
    return next(name for low, high, name in _REGIMES if low <= row.regime_score < high)


def _promise(row: Any) -> str:
    """The tenth of probability that was promised."""
    tenth = min(9, int(row.predicted_probability * 10))
    return f"{tenth * 10}-{tenth * 10 + 10} % promised"


def _newest(table: Any, as_of: date) -> Any:
    """Rows of the newest session up to `as_of`."""
    newest = sa.select(sa.func.max(table.c.as_of)).where(table.c.as_of <= as_of).scalar_subquery()
    return sa.select(table).where(table.c.as_of == newest).order_by(*table.primary_key.columns)


def _grouped(outcomes: Sequence[object], key: Callable[[object], str]) -> dict[str, dict[str, float | int]]:
    return {group: _summary(rows) for _, group, rows in each_group(outcomes, {"": key})}


def _summary(outcomes: Sequence[Any]) -> dict[str, float | int]:
    count = len(outcomes)
    hit_rate = sum(row.profitable for row in outcomes) / count
    predicted = sum(row.predicted_probability for row in outcomes) / count
    return {
        "closed": count,
        "hit_rate": hit_rate,
        "mean_net_return": sum(row.net_return for row in outcomes) / count,
        "mean_predicted_probability": predicted,
        "over_confidence": predicted - hit_rate,
        "brier": sum((row.predicted_probability - row.profitable) ** 2 for row in outcomes) / count,
        "base_rate_brier": hit_rate * (1 - hit_rate),
    }


def _markdown(content: dict[str, Any]) -> str:
    lines = [f"# Learning report, {content['as_of']}", ""]
    waiting = f"{content['open_positions']} open, {content['pending_positions']} waiting for their entry"
    if content["overall"] is None:
        lines += [f"No closed positions yet ({waiting}): there is nothing to learn from.", ""]
    else:
        lines += [f"{content['closed_positions']} closed positions; {waiting}.", ""]
        if content["closed_positions"] < _FEW:
            lines += [f"Fewer than {_FEW} closed positions: these numbers may well be chance.", ""]
        lines += _summaries({"all": content["overall"]}, "")
        titles = {"worked": "What worked", "did_not_work": "What did not", "findings": "Where promises and outcomes differ"}
        for name, title in titles.items():
            sentences = [f"- {sentence}" for sentence in content[name]] or ["Nothing that could not be chance."]
            lines += [f"## {title}", "", *sentences, ""]
        for name, groups in content["groups"].items():
            lines += [f"## By {name}", "", *_summaries(groups, name)]
    if content["just_below_thresholds"]:
        lines += ["## Just below the thresholds, bought as a sample", ""]
        lines += _summaries(content["just_below_thresholds"], "timeframe")
    if content["recalibrations"]:
        rows = (
            f"{row['timeframe']} | {row['trial_id']} | {row['intercept']:+.3f} | {row['slope']:.3f} "
            f"| {row['observations']} | {row['effective_observations']:.0f}"
            for row in content["recalibrations"]
        )
        header = "timeframe | trial | intercept | slope | outcomes | worth"
        lines += ["## Correction of the probabilities", "", *_table(header, "llrrrr", rows)]
    if content["drift"]:
        rows = (
            f"{row['timeframe']} | {row['kind']}: {row['subject']} | {row['p_value']:.3f} | {row['false_alarm_rate']:.2f} "
            f"| {row['advice']}"
            for row in content["drift"]
        )
        lines += ["## Drift", "", *_table("timeframe | of | p | crosses at | advice", "llrrl", rows)]
    lines += ["## Model weights", ""]
    if not content["weights"]:
        lines += ["No models are weighted yet.", ""]
    else:
        rows = (
            f"{row['timeframe']} | {row['trial_id']} | {row['weight']:.3f} | {row['observations']} "
            f"| {'none yet' if row['brier'] is None else format(row['brier'], '.4f')}"
            for row in content["weights"]
        )
        lines += _table("timeframe | trial | weight | forecasts | Brier", "llrrr", rows)
        if any(row["observations"] == 0 for row in content["weights"]):
            lines += ["Weights that rest on 0 forecasts are equal because nothing has been observed.", ""]
    return "\n".join(lines)


def _summaries(groups: dict[str, dict[str, float | int]], title: str) -> list[str]:
    header = f"{title} | closed | hit rate | mean net return | mean prediction | over-confidence | Brier | base rate's Brier"
    rows = (
        f"{name} | {row['closed']} | {row['hit_rate']:.1%} | {row['mean_net_return']:+.2%} "
        f"| {row['mean_predicted_probability']:.1%} | {row['over_confidence']:+.1%} "
        f"| {row['brier']:.4f} | {row['base_rate_brier']:.4f}"
        for name, row in groups.items()
    )
    return _table(header, "lrrrrrrr", rows)


def _table(header: str, align: str, rows: Iterable[str]) -> list[str]:
    """A Markdown table; `align` is `l` or `r` for each column."""
    ruler = "|".join("---:" if side == "r" else "---" for side in align)
    return [f"| {header} |", f"|{ruler}|", *(f"| {row} |" for row in rows), ""]
