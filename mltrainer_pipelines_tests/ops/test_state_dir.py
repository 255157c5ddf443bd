"""The home of one market, and the lake that it may not share with another."""

import os
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.ops.state_dir import lock_state_dir, log_file
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.lake import Lake, OtherMarketError


def test_two_markets_cannot_share_a_lake(tmp_path: Path) -> None:
    def market(seed: int) -> Settings:
        return Settings(mltrainer_home=tmp_path, mltrainer_lake_url=str(tmp_path / "lake"), mltrainer_simulated_seed=seed)

    Lake(market(1).lake_url).assert_owner(market(1).market_id)
    with (
        pytest.raises(OtherMarketError, match=f"{market(1).market_id}.*{market(2).market_id}.*MLTRAINER_LAKE_URL"),
        lock_state_dir(market(2)),
    ):
        pass


def test_a_home_is_its_users_alone_and_so_is_what_is_written_in_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    home, settings = tmp_path / "home", Settings(mltrainer_home=tmp_path / "home")
    home.mkdir(mode=0o755)
    before = os.umask(0o022)
    try:
        log_file(settings).touch()
        with lock_state_dir(settings):
            Lake(settings.lake_url).write("prices", pl.DataFrame({"close": [1.0]}))
    finally:
        os.umask(before)
    passing = {0o710} if os.geteuid() == 0 else {0o700}  # root's PostgreSQL has a user of its own, who passes through
    assert {folder.stat().st_mode & 0o777 for folder in (home, settings.state)} == passing
    ours = [path for path in settings.state.rglob("*") if path.is_file() and "postgres" not in path.parts]
    assert {path.stat().st_mode & 0o077 for path in ours} == {0}
    assert (settings.state / "postgres/data").stat().st_mode & 0o777 == 0o700
    log_file(Settings(mltrainer_home=shared))
    assert shared.stat().st_mode & 0o7777 == 0o1777
