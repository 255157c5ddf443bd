from datetime import UTC, datetime

import pytest

from mltrainer_pipelines.store.alerts import UnknownAlertError, acknowledge, alerts, raise_alert
from mltrainer_pipelines.store.database import Database


def test_the_same_thing_is_raised_once(database: Database) -> None:
    assert raise_alert(database.engine, "run:1", "run_failure", "error", "walk_forward failed", {"job": "walk_forward"}, "1")
    assert not raise_alert(database.engine, "run:1", "run_failure", "error", "walk_forward failed again")
    assert raise_alert(database.engine, "snapshot:2015-10-30", "snapshot", "warning", "half of it is missing")
    newest, first = alerts(database.engine)
    assert (newest["kind"], first["message"], first["details"]) == ("snapshot", "walk_forward failed", {"job": "walk_forward"})


def test_an_alert_that_was_seen_is_no_longer_open(database: Database) -> None:
    raise_alert(database.engine, "a", "drift", "warning", "short drifts")
    (alert,) = alerts(database.engine, open_only=True)
    moment = datetime(2015, 10, 30, 18, 0, tzinfo=UTC)
    acknowledge(database.engine, alert["id"], "user", moment)
    acknowledge(database.engine, alert["id"], "somebody else", moment)
    assert alerts(database.engine, open_only=True) == []
    assert alerts(database.engine)[0]["acknowledged_by"] == "user"
    with pytest.raises(UnknownAlertError):
        acknowledge(database.engine, 999, "user", moment)
