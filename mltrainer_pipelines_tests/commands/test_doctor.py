"""What `mltrainer doctor` finds."""

import fcntl
from pathlib import Path

import polars as pl

from mltrainer_pipelines.commands.doctor import examine_lake, look_at_database
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.lake import Lake


def test_a_postgresql_that_is_gone_under_a_running_installation_is_a_finding(tmp_path: Path) -> None:
    settings = Settings(mltrainer_home=tmp_path)
    settings.state.mkdir(parents=True)
    assert look_at_database(settings).ok
    with open(settings.state / "up.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = look_at_database(settings)
    assert not found.ok
    assert "its PostgreSQL in" in found.detail
    assert "postgres.log" in found.detail


def test_a_damaged_file_is_to_be_fetched_or_computed_again(tmp_path: Path) -> None:
    settings = Settings(mltrainer_home=tmp_path)
    lake = Lake(settings.lake_url)
    for asset in ("daily_bars", "features", "labels"):
        place = Path(lake.write(asset, pl.DataFrame({"close": [94.07]}), "2024-03"))
        if asset != "labels":
            place.write_bytes(place.read_bytes().replace(b"PAR1", b"PAR0", 1))
    *damaged, whole = examine_lake(settings)
    assert [(found.name, found.ok, found.detail) for found in damaged] == [
        ("daily_bars", False, "2024-03 is damaged: fetch it again, materialize daily_bars"),
        ("features", False, "2024-03 is damaged: compute it again, materialize features"),
    ]
    assert not whole.ok
    assert "3 files" in whole.detail
    assert "2 damaged" in whole.detail
