import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store.embedded import DATABASES, EmbeddedPostgres, EmbeddedPostgresError

HOLDER = """
import sys, time
from pathlib import Path
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1])).start()
print(server.url(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "postgres"
    pid = _pid(tmp_path / "postgres")
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)


def _pid(folder: Path) -> int | None:
    try:
        return int((folder / "data" / "postmaster.pid").read_text().split()[0])
    except FileNotFoundError:
        return None


def _holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def _let_go(process: subprocess.Popen[str]) -> None:
    process.communicate("", timeout=30)
    assert process.returncode == 0


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=3).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_the_address_works_for_libpq_and_for_sqlalchemy(postgres: EmbeddedPostgres) -> None:
    for database in DATABASES:
        connection = psycopg2.connect(postgres.url(database))
        assert connection.info.dbname == database
        connection.close()
        engine = sa.create_engine(postgres.url(database))
        with engine.connect() as opened:
            assert opened.scalar(sa.text("SELECT current_database()")) == database
            assert opened.scalar(sa.text("SHOW server_version_num")).startswith("18")
            assert opened.scalar(sa.text("SHOW server_encoding")) == "UTF8"
        engine.dispose()


def test_no_port_is_opened(postgres: EmbeddedPostgres) -> None:
    pid = _pid(postgres.folder)
    assert pid is not None
    assert [c for c in psutil.Process(pid).net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN] == []


def test_the_last_of_several_processes_stops_it_and_data_survive(folder: Path) -> None:
    other = _holder(folder)
    server = EmbeddedPostgres(folder).start()
    url = server.url()
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    connection.close()
    server.stop()
    assert _answers(url)
    _let_go(other)
    assert not _answers(url)
    assert not server.running
    with EmbeddedPostgres(folder) as again, psycopg2.connect(again.url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT answer FROM kept")
        assert cursor.fetchone() == (42,)
    connection.close()


def test_who_starts_and_stops_it_leaves_not_even_a_zombie(folder: Path) -> None:
    with EmbeddedPostgres(folder):
        pid = _pid(folder)
        assert pid is not None
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_a_killed_holder_does_not_keep_the_server_alive(folder: Path) -> None:
    killed = _holder(folder)
    killed.kill()
    killed.wait()
    server = EmbeddedPostgres(folder)
    assert server.running
    server.start()
    server.stop()
    assert not server.running


def test_a_killed_server_starts_again_with_what_was_committed(folder: Path) -> None:
    server = EmbeddedPostgres(folder).start()
    with psycopg2.connect(server.url()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    connection.close()
    pid = _pid(folder)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while server.running and time.monotonic() < deadline:
        time.sleep(0.05)
    again = EmbeddedPostgres(folder).start()
    with psycopg2.connect(again.url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT answer FROM kept")
        assert cursor.fetchone() == (42,)
    connection.close()
    again.stop()
    server.stop()
    assert not server.running


def test_a_pid_file_whose_pid_belongs_to_another_process_is_no_server(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        text = (server.data / "postmaster.pid").read_text()
    pid_file = server.data / "postmaster.pid"
    pid_file.write_text(text.replace(text.split()[0], str(os.getpid()), 1))
    assert not server.running
    with server:
        assert _answers(server.url())


def test_a_half_made_data_folder_is_made_anew(folder: Path) -> None:
    draft = folder / "data.draft"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18")
    with EmbeddedPostgres(folder) as server:
        assert _answers(server.url())
    assert not draft.exists()


def test_two_processes_may_start_it_at_the_same_moment(folder: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    urls = [process.stdout.readline() for process in both if process.stdout]
    assert urls[0] == urls[1]
    for process in both:
        _let_go(process)
    assert not EmbeddedPostgres(folder).running


def test_a_path_too_long_or_too_odd_for_a_socket_still_works(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 25) / "with space & 100%"
    with EmbeddedPostgres(folder) as server:
        assert _answers(server.url("dagster"))
        assert "%" not in server.url()


def test_a_socket_path_that_cannot_be_shortened_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("deep" * 25)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(EmbeddedPostgresError, match=r"too long for a Unix socket.*MLTRAINER_HOME or TMPDIR"):
        EmbeddedPostgres(long / "home").start()


def test_a_home_that_cannot_be_written_names_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(EmbeddedPostgresError, match=r"cannot be written.*MLTRAINER_HOME.*MLTRAINER_DATABASE_URL"):
        EmbeddedPostgres(file / "home").start()


def test_data_of_another_version_are_refused_and_kept(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 16's, this server is 18.*pg_upgrade"):
        EmbeddedPostgres(tmp_path / "postgres").start()
    assert (data / "PG_VERSION").read_text() == "16\n"


def test_a_server_that_does_not_start_shows_the_end_of_its_log(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        pass
    with (server.data / "postgresql.conf").open("a") as conf:
        conf.write("\nno_such_setting_at_all = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting_at_all"):
        server.start()


def test_asking_a_stopped_server_for_its_address_says_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="start it first"):
        EmbeddedPostgres(tmp_path).url()
