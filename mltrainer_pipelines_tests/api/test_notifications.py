"""Where notifications go is saved and never shown; the test button sends to receivers that are real."""

from mltrainer_pipelines_tests.api.installation import Installation
from mltrainer_pipelines_tests.servers.receivers import webhook


def test_addresses_are_saved_tried_and_never_shown(installation: Installation) -> None:
    client = installation.client
    assert client.post("/api/notifications/test").status_code == 409
    try:
        with webhook() as web:
            secret = f"json://127.0.0.1:{web.port}/hush-hush"
            answer = client.put("/api/notifications/addresses", json={"addresses": secret})
            (target,) = answer.json()["targets"]
            assert (target["service"], target["source"], target["last_at"]) == ("JSON", "System page", None)
            assert client.post("/api/notifications/test").json()["targets"][0]["error"] is None
            ((title, _),) = web.messages
            assert title == "mlTrainer (simulated market): a test"
            web.refuses = True
            refused = client.post("/api/notifications/test")
            assert "500" in refused.json()["targets"][0]["error"]
            assert "hush" not in answer.text + refused.text + client.get("/api/notifications").text
            wrong = client.put("/api/notifications/addresses", json={"addresses": "nonsense://hush"})
            assert (wrong.status_code, "hush" in wrong.text) == (422, False)
            assert len(client.get("/api/notifications").json()["targets"]) == 1
    finally:
        assert client.put("/api/notifications/addresses", json={"addresses": ""}).json()["targets"] == []
