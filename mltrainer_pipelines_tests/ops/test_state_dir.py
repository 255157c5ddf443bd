"""The home of one market, and the lake that it may not share with another."""

from pathlib import Path

import pytest

from mltrainer_pipelines.ops.state_dir import lock_state_dir
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
