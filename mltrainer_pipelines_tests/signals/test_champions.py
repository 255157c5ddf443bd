import hashlib
import json
import os
import pickle
import subprocess
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.signals.champions import Champions, ChampionUnloadableError
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import ChampionFile
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.ensemble_file import unpickled, write_ensemble
from mltrainer_pipelines.trials.registry.champion_files import record_file
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
def champions(tmp_path: Path, database: Database) -> Iterator[Champions]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Champions(Tracking(f"http://127.0.0.1:{server.server_port}", patience=0.5), tmp_path, database.engine)
    server.shutdown()
    server.server_close()


def kept(champions: Champions) -> Path:
    """The file of version 3, registered and fetched."""
    place = champions.folder / "mltrainer-short" / "3-1446220800123"
    place.mkdir(parents=True)
    file = write_ensemble(ENSEMBLE, place)
    record_file(champions.engine, "mltrainer-short", "3", file.read_bytes())
    return file


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
    file = kept(champions)
    file.write_bytes(content)
    with champions.engine.begin() as connection:
        connection.execute(sa.update(ChampionFile).values(sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(ChampionUnloadableError, match="version 3 of mltrainer-short cannot be read by this code"):
        champions.load("short")


class Order:
    """What a pickle can hold: a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("obeyed"),)


def test_a_file_that_is_not_the_registered_one_is_neither_run_nor_kept(
    champions: Champions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = kept(champions)
    for changed in (pickle.dumps(Order()), file.read_bytes()[:-1] + b"x"):
        file.write_bytes(changed)
        with pytest.raises(ChampionUnloadableError, match=r"version 3 .* is not the file that was registered"):
            champions.load("short")
        assert not file.exists()
    with champions.engine.begin() as connection:
        connection.execute(sa.delete(ChampionFile))
    write_ensemble(ENSEMBLE, file.parent)
    with pytest.raises(ChampionUnloadableError, match=r"version 3 .* was not registered by this installation"):
        champions.load("short")


@pytest.mark.parametrize("order", [os.system, eval, Path.touch, pickle.loads, subprocess.Popen, np.load])
def test_a_registered_file_runs_nothing_either(order: object) -> None:
    class Call:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return order, ("obeyed",)

    with pytest.raises(pickle.UnpicklingError, match="has no place in a model"):
        unpickled(pickle.dumps(Call()))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sklearn.datasets._base", "os.system"),
        ("mltrainer_pipelines.models.costs", "Path"),
        ("mltrainer_pipelines.ops.agent", "os"),
    ],
)
def test_a_name_that_a_module_only_imported_leads_nowhere(module: str, name: str) -> None:
    named = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    with pytest.raises(pickle.UnpicklingError, match="has no place in a model"):
        unpickled(b"\x80\x04" + named + b"\x93.")


def test_of_a_version_from_before_digests_the_first_file_counts(champions: Champions) -> None:
    file = kept(champions)
    with champions.engine.begin() as connection:
        connection.execute(sa.update(ChampionFile).values(sha256=None))
    champions.load("short")
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ChampionUnloadableError, match="is not the file that was registered"):
        champions.load("short")


def test_a_registry_that_does_not_answer_is_named(tmp_path: Path, database: Database) -> None:
    with pytest.raises(TrackingUnavailableError, match="does not answer"):
        Champions(Tracking("http://127.0.0.1:9", patience=0.2), tmp_path, database.engine).load("short")
