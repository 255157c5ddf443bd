"""The quarantine and the corrections over HTTP."""

from datetime import date

from mltrainer_pipelines.settings import now
from mltrainer_pipelines.store.quarantine import Doubt, quarantine
from mltrainer_pipelines_tests.api.installation import Installation


def test_the_quarantine_lists_what_is_set_aside_until_it_is_resolved(installation: Installation) -> None:
    doubt = Doubt("AAA", date(2024, 3, 4), "its ratio is not a positive number", {"ratio": 0.0})
    engine, client = installation.database.engine, installation.client
    assert quarantine(engine, "corporate_actions", [doubt], now()) == 1
    assert quarantine(engine, "corporate_actions", [doubt], now()) == 0
    (row,) = client.get("/api/quarantine").json()["items"]
    assert (row["source"], row["subject"], row["day"], row["row"]) == ("corporate_actions", "AAA", "2024-03-04", {"ratio": 0.0})
    quarantine(engine, "corporate_actions", [], now())
    assert client.get("/api/quarantine", params={"limit": 99}).json()["items"] == []
    (past,) = client.get("/api/quarantine", params={"open_only": False}).json()["items"]
    assert past["resolved_at"] is not None


def test_a_correction_is_made_listed_and_revoked(installation: Installation) -> None:
    client = installation.client
    body = {"kind": "split", "day": "2024-06-10", "symbol": "nvda", "value": 10, "reason": "10 for 1"}
    made = client.post("/api/corrections", json=body)
    assert made.status_code == 201
    (row,) = made.json()["items"]
    assert (row["symbol"], row["value"], row["revoked_at"]) == ("NVDA", 10.0, None)
    assert client.post(f"/api/corrections/{row['id']}/revoke").status_code == 204
    assert client.get("/api/corrections").json()["items"][0]["revoked_at"] is not None
    assert client.post("/api/corrections/99/revoke").status_code == 404
    for wrong in (body | {"value": None}, body | {"kind": "closure"}, body | {"kind": "rename"}):
        assert client.post("/api/corrections", json=wrong).status_code == 422
