import pytest

from mltrainer_pipelines_tests.features.scratch import Scratch

ONE_MORE_SET = '''"""Closes of yesterday."""

from mltrainer_pipelines.features.spec import Feature, FeatureSet

MINE = FeatureSet("{name}", (
    Feature("close_1", ("close",), 1, lambda w: w.lagged("close", 1), "us", "close of the session before"),
), description=__doc__)
'''

USE = """
from datetime import date, timedelta
import polars as pl
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.registry import feature_sets, get_feature_set
from mltrainer_pipelines.trials.config import TrialConfig

days = [date(2024, 1, 1) + timedelta(n) for n in range(20)]
bars = pl.DataFrame({"date": days, "symbol": "A"}).with_columns(
    pl.lit(7.0).alias(name)
    for name in ("adj_open", "adj_high", "adj_low", "adj_close", "adj_volume", "close", "volume")
)
universe = pl.DataFrame({"month": [date(2024, 1, 1)], "symbol": ["A"]})
print(feature_sets())
print(compute_features(bars, universe, None, days[-1], days[-1], "mine")["close_1"].to_list())
print(TrialConfig(model="lightgbm", timeframe="short", feature_set="mine").feature_set)
"""


@pytest.fixture
def scratch(tmp_path):
    return Scratch(tmp_path)


def test_a_new_set_is_one_file(scratch):
    (scratch.package / "features/sets/mine.py").write_text(ONE_MORE_SET.format(name="mine"))
    done = scratch.run(USE)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['momentum', 'stock_selection', 'technical', 'alpha158', 'alpha101', 'cross_section', 'macro', 'mine', 'default']",
        "[7.0]",
        "mine",
    ]


def test_two_sets_of_one_name_are_refused_with_both_files(scratch):
    (scratch.package / "features/sets/mine.py").write_text(ONE_MORE_SET.format(name="macro"))
    done = scratch.run(USE)
    assert "two feature sets are named 'macro', in features/sets/macro.py and mine.py; rename one" in done.stderr
