import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.features.sets.cross_section import CROSS_SECTION, KINDS
from mltrainer_pipelines_tests.features import panels


@pytest.fixture(scope="module")
def frame():
    return panels.punctured(panels.bars(16, 320), 0.05, seed=3)


@pytest.fixture(scope="module")
def standing(frame):
    days = panels.days(frame)
    return compute_features(frame, panels.universe(frame), None, days[250], days[-1], "cross_section", 1)


def with_sector(frame, name, feature_set):
    """One feature in Float64, beside the sector of its symbol."""
    days = panels.days(frame)
    values = compute_features(frame, panels.universe(frame), None, days[250], days[-1], feature_set, 1)
    sectors = panels.universe(frame).select("symbol", "sector").unique()
    return values.select("date", "symbol", pl.col(name).cast(pl.Float64).alias("value")).join(
        sectors, on="symbol", maintain_order="left"
    )


def test_every_feature_that_differs_between_symbols_is_ranked_and_scored():
    ranked = {feature.name for feature in CROSS_SECTION.bases}
    for feature_set in ("momentum", "technical", "alpha158"):
        for name in get_feature_set(feature_set).names:
            shared = name.startswith(("rank_", "market_return", "market_volatility", "breadth"))
            assert (name in ranked) is not shared, name
    assert CROSS_SECTION.names == [f"{feature.name}_{kind}" for feature in CROSS_SECTION.bases for kind in KINDS]


@pytest.mark.parametrize(
    ("name", "feature_set"), [("momentum_6_1", "momentum"), ("natr_14", "technical"), ("CORD20", "alpha158")]
)
def test_ranks_and_scores_are_those_of_polars(frame, standing, name, feature_set):
    values = with_sector(frame, name, feature_set)
    x = pl.col("value")

    def of(keys, least):
        count = x.count().over(keys)
        rank = (x.rank().over(keys) - 0.5) / count
        score = (x - x.mean().over(keys)) / x.std().over(keys)
        return [pl.when(count >= least).then(column) for column in (rank, score)]

    expected = values.select(
        pl.Series(f"{name}_{kind}", values.select(column).to_series())
        for kind, column in zip(KINDS, [*of(["date"], 5), *of(["date", "sector"], 3)], strict=True)
    )
    for column in expected.columns:
        found = standing[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
        np.testing.assert_allclose(found, expected[column].fill_null(np.nan).to_numpy(), rtol=1e-4, atol=1e-5, err_msg=column)
        assert standing[column].null_count() < 0.2 * standing.height


def test_a_symbol_without_a_sector_has_no_standing_in_it(frame):
    days = panels.days(frame)
    members = panels.universe(frame).with_columns(sector=pl.when(pl.col("symbol") != "S03").then("sector"))
    found = compute_features(frame, members, None, days[-1], days[-1], "cross_section", 1)
    alone, others = found.filter(symbol="S03"), found.filter(pl.col("symbol") != "S03")
    assert alone["return_21_sector_rank"].null_count() == alone["return_21_sector_zscore"].null_count() == alone.height
    assert alone["return_21_rank"].null_count() == others["return_21_sector_rank"].null_count() == 0


def test_equal_values_have_no_score_and_stand_in_the_middle(frame):
    flat = frame.with_columns(pl.lit(20.0).alias(f"adj_{n}") for n in ("open", "high", "low", "close"))
    days = panels.days(flat)
    newest = compute_features(flat, panels.universe(flat), None, days[-1], days[-1], "cross_section", 1)
    assert newest["return_21_rank"].unique().to_list() == [0.5]
    assert newest["return_21_zscore"].null_count() == newest.height
