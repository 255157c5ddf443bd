import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest

from mltrainer_pipelines.signals.champions import Champions, ChampionUnloadableError
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.ensemble_file import FILE, write_ensemble
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.model_registry import NoChampionError
from mltrainer_pipelines.trials.registry.tracking import Tracking, TrackingUnavailableError

ENSEMBLE = ChampionEnsemble("short", date(2015, 10, 30), TrialConfig(model="logistic_l2", timeframe="short"), ())
VERSION = {
    "name": "mltrainer-short",
    "version": "3",
    "creation_timestamp": 1446220800123,
    "run_id": "r",
    "tags": [{"key": "trial_id", "value": "t"}, {"key": "grade", "value": "proven"}],
}


class Registry(BaseHTTPRequestHandler):
    """MLflow's REST answers to the two questions a refresh asks."""

    def do_GET(self) -> None:
        url = urlparse(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        known = asked["name"] == "mltrainer-short" and asked.get("alias", "champion") == "champion"
        known &= asked.get("version", "3") == "3"
        body = {"model_version": VERSION} if known else {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def champions(tmp_path: Path) -> Iterator[Champions]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Champions(Tracking(f"http://127.0.0.1:{server.server_port}", patience=0.5), tmp_path)
    server.shutdown()
    server.server_close()


def kept(champions: Champions) -> Path:
    """The folder of version 3, with its file."""
    place = champions.folder / "mltrainer-short" / "3-1446220800123"
    place.mkdir(parents=True)
    write_ensemble(ENSEMBLE, place)
    return place / FILE


def test_a_version_that_was_fetched_is_read_from_its_file(champions: Champions) -> None:
    kept(champions)
    ensemble, version = champions.load("short")
    assert ensemble.champion == ENSEMBLE.champion
    assert (version.version, version.trial_id, version.grade) == ("3", "t", "proven")
    assert champions.load("short", "3")[1] == version


def test_without_a_champion_the_remedy_is_named(champions: Champions) -> None:
    with pytest.raises(NoChampionError, match="materialize champion_model for 'long'"):
        champions.load("long")
    with pytest.raises(NoChampionError, match="no version 9"):
        champions.load("short", "9")


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"cos\nno_such_function\n."])
def test_a_champion_that_no_longer_loads_is_named(champions: Champions, content: bytes) -> None:
    kept(champions).write_bytes(content)
    with pytest.raises(ChampionUnloadableError, match="version 3 of mltrainer-short cannot be read by this code"):
        champions.load("short")


def test_a_registry_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailableError, match="does not answer"):
        Champions(Tracking("http://127.0.0.1:9", patience=0.2), tmp_path).load("short")
