"""What drift asks for, with a real registry and a real table of alerts."""

from dataclasses import replace
from datetime import date

import pytest
from mlflow import MlflowClient

from mltrainer_pipelines.learning.drift import Check
from mltrainer_pipelines.learning.monitoring import crossed_checks, record_and_alert
from mltrainer_pipelines.learning.report import learning_report
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.store.alerts import alerts
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.registry.tracking import Tracking, TrackingUnavailableError

DAYS = sessions_between(date(2015, 3, 2), date(2015, 3, 31))
CALM = Check("calibration", "Brier score above its promise", 0.1, 0.5, 0.6, 40, crossed=False, advice="nothing to do")
CROSSED = replace(CALM, statistic=0.9, p_value=0.02, crossed=True, advice="recalibrate, retrain, or roll back")


def registered(tracking: Tracking, timeframe: str, *trials: str) -> None:
    """A registry of its own, beside those of the other tests, whose newest version is champion."""
    client, name = MlflowClient(tracking.uri), f"mltrainer-{timeframe}"
    run = client.create_run(client.create_experiment(name)).info
    client.create_registered_model(name)
    for trial in trials:
        tags = {"trial_id": trial, "grade": "candidate"}
        version = client.create_model_version(name, run.artifact_uri, run.run_id, tags=tags)
    client.set_registered_model_alias(name, "champion", version.version)


def test_calibration_that_drifts_asks_for_a_rollback_by_command_and_version_once_a_crossing(
    tracking: Tracking, database: Database
) -> None:
    registered(tracking, "weekly", "lightgbm-1", "gru-2", "gru-2")
    moves = replace(CROSSED, kind="features", advice="train champion_model anew")
    for day, check in zip(DAYS, (CALM, CROSSED, CROSSED, CALM, CROSSED), strict=False):
        kept = record_and_alert(database.engine, tracking, day, "weekly", "gru-2", [check, moves])
    ask = "`mltrainer trial rollback weekly --to 1`"
    assert kept[0].advice == f"recalibrate, retrain, or roll back: {ask} goes to version 1 (lightgbm-1)"
    raised = [alert for alert in alerts(database.engine) if alert["key"].startswith("rollback:")]
    assert [alert["key"] for alert in raised] == [f"rollback:weekly:gru-2:{day}" for day in (DAYS[4], DAYS[1])]
    assert raised[0]["message"] == (
        f"weekly: the probabilities of gru-2 have been worse than they promise since {DAYS[4]}; {ask} goes back to version 1 "
        "(lightgbm-1)"
    )
    assert raised[0]["details"]["command"] == ask.strip("`")
    assert raised[0]["details"]["version"] == "1"
    others = [alert["key"] for alert in alerts(database.engine) if alert not in raised]
    assert others == ["drift:weekly:features:2015-03"]

    report = learning_report(database.engine, DAYS[4])
    assert f"{ask} goes to version 1 (lightgbm-1)" in report.markdown
    assert ask in report.json["drift"][0]["advice"]


def test_without_a_version_before_nothing_is_asked_that_cannot_be_done(tracking: Tracking, database: Database) -> None:
    registered(tracking, "first", "gru-2")
    (kept,) = record_and_alert(database.engine, tracking, DAYS[0], "first", "gru-2", [CROSSED])
    assert kept.advice.endswith("(there is no version before)")
    assert [alert["key"] for alert in alerts(database.engine)] == ["drift:first:calibration:2015-03"]


def test_the_checks_are_kept_where_the_registry_does_not_answer(database: Database) -> None:
    gone = Tracking("http://127.0.0.1:9", patience=0.5)
    with pytest.raises(TrackingUnavailableError, match="does not answer"):
        record_and_alert(database.engine, gone, DAYS[0], "weekly", "gru-2", [CROSSED])
    assert [check.kind for check in crossed_checks(database.engine, DAYS[0])] == ["calibration"]
    record_and_alert(database.engine, gone, DAYS[1], "weekly", "gru-2", [CALM])  # which is not asked where nothing crossed
