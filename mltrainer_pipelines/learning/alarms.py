"""What drift that crossed its threshold asks for: alerts, and where calibration drifts the way back to the champion before."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.learning.drift import Check, record_checks
from mltrainer_pipelines.store.alerts import raise_alert
from mltrainer_pipelines.store.tables import DriftCheck
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion, NoChampionError, champion_version
from mltrainer_pipelines.trials.registry.rollback import previous_version
from mltrainer_pipelines.trials.registry.tracking import Tracking


def keep_and_ask(
    engine: Engine, tracking: Tracking, as_of: date, timeframe: str, trial_id: str, checks: Sequence[Check]
) -> list[Check]:
    """Keep the looks at a champion after a session, and raise an alert for each that crossed.

    Where calibration crossed and another version was champion before, the alert and the look's advice name the command that
    goes back, and to which version; that alert is raised once a crossing (sessions in a row that all crossed, of one
    champion). All others are raised once a month.

    Parameters
    ----------
    as_of : date
        The session, closed.
    trial_id : str
        The champion's.

    Returns
    -------
    list of Check
        As they were kept.

    Raises
    ------
    TrackingUnavailableError
        If calibration crossed and the MLflow server does not answer. The looks are kept by then.
    """
    record_checks(engine, as_of, timeframe, trial_id, checks)
    back = None
    if any(_asks_for_rollback(check) for check in checks):
        back = way_back(tracking, timeframe)
        checks = [_advised(check, timeframe, back) if _asks_for_rollback(check) else check for check in checks]
        record_checks(engine, as_of, timeframe, trial_id, checks)
    for check in checks:
        details: dict[str, float | str] = {"p_value": check.p_value}
        if back is not None and _asks_for_rollback(check):
            since = crossing_since(engine, timeframe, check.kind, trial_id, as_of)
            message = (
                f"{timeframe}: the probabilities of {trial_id} have been worse than they promise since {since}; "
                f"`{_command(timeframe, back)}` goes back to version {back.version} ({back.trial_id})"
            )
            details |= {"command": _command(timeframe, back), "version": back.version, "trial_id": back.trial_id}
            raise_alert(engine, f"rollback:{timeframe}:{trial_id}:{since}", "drift", "warning", message, details)
        elif check.crossed:
            key = f"drift:{timeframe}:{check.kind}:{as_of:%Y-%m}"
            raise_alert(engine, key, "drift", "warning", f"{timeframe}: {check.advice}", details)
    return list(checks)


def way_back(tracking: Tracking, timeframe: str) -> ChampionVersion | None:
    """The version that a rollback of a timeframe's champion goes to; None where the champion is the first, or there is none.

    Raises
    ------
    TrackingUnavailableError
        If the MLflow server does not answer.
    """
    try:
        return previous_version(tracking, champion_version(tracking, timeframe))
    except NoChampionError:
        return None


def crossing_since(engine: Engine, timeframe: str, kind: str, trial_id: str, as_of: date) -> date:
    """The first of the looks at a champion, up to that of `as_of`, that all crossed."""
    looks = sa.select(DriftCheck.as_of, DriftCheck.crossed).where(
        DriftCheck.timeframe == timeframe, DriftCheck.kind == kind, DriftCheck.trial_id == trial_id, DriftCheck.as_of <= as_of
    )
    since = as_of
    with engine.connect() as connection:
        for look in connection.execute(looks.order_by(DriftCheck.as_of.desc())):
            if not look.crossed:
                break
            since = look.as_of
    return since


def _asks_for_rollback(check: Check) -> bool:
    return check.crossed and check.kind == "calibration"


def _advised(check: Check, timeframe: str, back: ChampionVersion | None) -> Check:
    if back is None:
        return replace(check, advice=f"{check.advice} (there is no version before)")
    return replace(
        check, advice=f"{check.advice}: `{_command(timeframe, back)}` goes to version {back.version} ({back.trial_id})"
    )


def _command(timeframe: str, back: ChampionVersion) -> str:
    # By number: without one, a champion that came by a rollback stays.
    return f"mltrainer trial rollback {timeframe} --to {back.version}"
