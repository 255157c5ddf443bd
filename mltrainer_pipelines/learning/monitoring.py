"""Monitoring of the champions: checks for drift after each session, what they alert to, and when a champion is trained anew."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from mltrainer_pipelines.features.tables import stored_features
from mltrainer_pipelines.learning.drift import FALSE_ALARM_RATE, Check, calibration_drift, feature_drift, prediction_drift
from mltrainer_pipelines.learning.resolved import calibrated_predictions, resolved_forecasts
from mltrainer_pipelines.store.alerts import raise_alert
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import DriftCheck
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion, NoChampionError, champion_version
from mltrainer_pipelines.trials.registry.rollback import previous_version
from mltrainer_pipelines.trials.registry.tracking import Tracking

RETRAIN_AT_MOST_EVERY = timedelta(days=14)
"""Drift asks for retraining once; a refit needs new outcomes to be another one."""


def check_champions(
    lake: Lake,
    engine: Engine,
    tracking: Tracking,
    timeframes: Sequence[str],
    labels: pl.DataFrame,
    as_of: date,
    since: date,
) -> list[dict[str, object]]:
    """Check every champion for drift after a closed session, record the checks and raise their alerts.

    `labels` has date, symbol, timeframe, exit_date, barrier, net_return and label of decisions up to `as_of`; `since` is the
    first session whose decisions are compared. Returns timeframe, trial_id and the fields of each `Check`, none of a timeframe
    without a champion. Raises as `record_and_alert` does.
    """
    of_features = feature_drift(stored_features(lake, since, as_of + timedelta(days=1)).collect())
    rows: list[dict[str, object]] = []
    for timeframe in timeframes:
        champion = records.champion_of(engine, timeframe)
        if champion is None:
            continue
        predictions = calibrated_predictions(lake, timeframe, champion, labels, since).rename({"decided": "date"})
        forecasts = resolved_forecasts(lake, {timeframe: [champion]}, labels, as_of, since)
        possible = (of_features, prediction_drift(predictions), calibration_drift(forecasts))
        checks = [check for check in possible if check is not None]
        checks = record_and_alert(engine, tracking, as_of, timeframe, champion, checks)
        rows += [{"timeframe": timeframe, "trial_id": champion, **vars(check)} for check in checks]
    return rows


def record_and_alert(
    engine: Engine, tracking: Tracking, as_of: date, timeframe: str, trial_id: str, checks: Sequence[Check]
) -> list[Check]:
    """Record a champion's checks of a session, raise an alert for each that crossed its threshold, and return them as recorded.

    Where calibration crossed and another version was champion before, the alert and the check's advice name the command that
    goes back, and to which version; that alert is raised once a crossing (sessions in a row that all crossed, of one
    champion). All others are raised once a month. Raises `TrackingUnavailableError` if calibration crossed and the MLflow server
    does not answer; the checks are recorded by then.
    """
    record_checks(engine, as_of, timeframe, trial_id, checks)
    target = None
    if any(_asks_for_rollback(check) for check in checks):
        target = _rollback_target(tracking, timeframe)
        if target is None:
            addition = " (there is no version before)"
        else:
            addition = f": `{_command(timeframe, target)}` goes to version {target.version} ({target.trial_id})"
        checks = [replace(check, advice=check.advice + addition) if _asks_for_rollback(check) else check for check in checks]
        record_checks(engine, as_of, timeframe, trial_id, checks)
    for check in checks:
        details: dict[str, float | str] = {"p_value": check.p_value}
        if target is not None and _asks_for_rollback(check):
            since = _crossing_since(engine, timeframe, check.kind, trial_id, as_of)
            command = _command(timeframe, target)
            message = (
                f"{timeframe}: the probabilities of {trial_id} have been worse than they promise since {since}; "
                f"`{command}` goes back to version {target.version} ({target.trial_id})"
            )
            details |= {"command": command, "version": target.version, "trial_id": target.trial_id}
            raise_alert(engine, f"rollback:{timeframe}:{trial_id}:{since}", "drift", "warning", message, details)
        elif check.crossed:
            key = f"drift:{timeframe}:{check.kind}:{as_of:%Y-%m}"
            raise_alert(engine, key, "drift", "warning", f"{timeframe}: {check.advice}", details)
    return list(checks)


def record_checks(engine: Engine, as_of: date, timeframe: str, trial_id: str, checks: Sequence[Check]) -> None:
    """Record the checks of a session; again replaces them."""
    names = ("kind", "subject", "statistic", "threshold", "p_value", "crossed", "advice")
    of_session = {"as_of": as_of, "timeframe": timeframe, "trial_id": trial_id, "false_alarm_rate": FALSE_ALARM_RATE}
    rows = [of_session | {name: getattr(check, name) for name in names} for check in checks]
    with engine.begin() as connection:
        connection.execute(sa.delete(DriftCheck).where(DriftCheck.as_of == as_of, DriftCheck.timeframe == timeframe))
        if rows:
            connection.execute(sa.insert(DriftCheck), rows)


def crossed_checks(engine: Engine, since: date) -> list[DriftCheck]:
    """Checks that crossed their threshold, of a session or later, in order."""
    chosen = sa.select(DriftCheck).where(DriftCheck.crossed, DriftCheck.as_of >= since)
    with Session(engine) as session:
        return list(session.scalars(chosen.order_by(DriftCheck.as_of, DriftCheck.timeframe, DriftCheck.kind)))


def retraining_due(engine: Engine, today: date, requested: Mapping[str, date]) -> list[DriftCheck]:
    """The crossed checks that ask for a champion to be trained anew, at most one a timeframe in `RETRAIN_AT_MOST_EVERY`.

    `requested` has each timeframe's session of the check that asked last.
    """
    latest, due = dict(requested), []
    for check in crossed_checks(engine, today - RETRAIN_AT_MOST_EVERY):
        if check.timeframe not in latest or check.as_of - latest[check.timeframe] >= RETRAIN_AT_MOST_EVERY:
            latest[check.timeframe] = check.as_of
            due.append(check)
    return due


def _rollback_target(tracking: Tracking, timeframe: str) -> ChampionVersion | None:
    """The version before the champion's; None where the champion is the first, or there is none."""
    try:
        return previous_version(tracking, champion_version(tracking, timeframe))
    except NoChampionError:
        return None


def _crossing_since(engine: Engine, timeframe: str, kind: str, trial_id: str, as_of: date) -> date:
    """The first of the checks of a champion, up to that of `as_of`, that all crossed."""
    checks = sa.select(DriftCheck.as_of, DriftCheck.crossed).where(
        DriftCheck.timeframe == timeframe, DriftCheck.kind == kind, DriftCheck.trial_id == trial_id, DriftCheck.as_of <= as_of
    )
    since = as_of
    with engine.connect() as connection:
        for check in connection.execute(checks.order_by(DriftCheck.as_of.desc())):
            if not check.crossed:
                break
            since = check.as_of
    return since


def _asks_for_rollback(check: Check) -> bool:
    return check.crossed and check.kind == "calibration"


def _command(timeframe: str, target: ChampionVersion) -> str:
    # By number: without one, a champion that came by a rollback stays.
    return f"mltrainer trial rollback {timeframe} --to {target.version}"
