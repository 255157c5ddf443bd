from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import MEMBER_FORECASTS
from mltrainer_pipelines.learning.point_in_time import WalkForwardEnsemble
from mltrainer_pipelines.learning.resolved import FORECAST_SCHEMA, resolved_forecasts
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines_tests.trials.planted import planted_market

MARKET = planted_market(symbols=20, first=date(2018, 1, 2), last=date(2019, 12, 31))
LAST_QUARTER = date(2019, 10, 1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Predictions of the trial `t` up to the last quarter, and what it said live from then on."""
    lake = Lake(str(tmp_path))
    scores = MARKET.features.select("date", "symbol", score=1 / (1 + (-pl.col("signal").cast(pl.Float64)).exp()))
    quarters = scores.filter(pl.col("date") < LAST_QUARTER).with_columns(quarter=pl.col("date").dt.truncate("1q"))
    for (start,), rows in quarters.partition_by("quarter", as_dict=True, include_key=False).items():
        lake.write("trial_predictions", rows, f"t/{start}")
    live = scores.filter(pl.col("date") >= date(2019, 9, 25)).with_columns(timeframe=pl.lit("short"), trial_id=pl.lit("t"))
    for (day,), rows in live.rename({"score": "probability"}).partition_by("date", as_dict=True).items():
        lake.write(MEMBER_FORECASTS.name, rows.select(list(MEMBER_FORECASTS.schema)), str(day))
    return lake


def test_what_is_not_known_yet_is_not_learnt_from(lake: Lake) -> None:
    as_of = date(2019, 11, 15)
    found = resolved_forecasts(lake, {"short": ["t"]}, MARKET.labels, as_of)
    assert dict(found.schema) == FORECAST_SCHEMA
    assert found["date"].max() <= as_of
    assert found["decided"].max() < as_of
    assert found["label"].null_count() == found["probability"].null_count() == 0
    later = resolved_forecasts(lake, {"short": ["t"]}, MARKET.labels, date(2019, 12, 20))
    assert later.filter(pl.col("date") <= as_of).equals(found)


def test_after_the_last_quarter_the_members_own_words_count_and_nothing_counts_twice(lake: Lake) -> None:
    found = resolved_forecasts(lake, {"short": ["t"]}, MARKET.labels, date(2019, 12, 20))
    assert found["decided"].max() > LAST_QUARTER
    assert not found.select("timeframe", "trial_id", "decided", "symbol").is_duplicated().any()
    assert (
        resolved_forecasts(lake, {"short": ["t"]}, MARKET.labels, date(2019, 12, 20), LAST_QUARTER)["decided"].min()
        >= LAST_QUARTER
    )
    assert resolved_forecasts(lake, {"short": ["nobody"]}, MARKET.labels, date(2019, 12, 20)).is_empty()


def test_a_stand_in_weighs_what_its_trials_predicted_and_leaves_the_rest_open() -> None:
    day = date(2019, 11, 15)

    def told(*probabilities: float | None) -> pl.DataFrame:
        p = pl.Series("probability", probabilities, dtype=pl.Float64)
        keys = {"date": [day] * len(p), "symbol": [f"S{n}" for n in range(len(p))]}
        return pl.DataFrame(keys).with_columns(p, probability_low=p - 0.1, probability_high=p + 0.1, expected_net_return=p - 0.5)

    config = TrialConfig(model="logistic_l2", timeframe="short")
    ensemble = WalkForwardEnsemble(config, {"a": 0.75, "b": 0.25}, {"a": told(0.7, 0.5), "b": told(0.5, 0.7, 0.6)})
    rows = pl.DataFrame({"date": [day] * 4, "symbol": ["S0", "S1", "S2", "S3"]})
    found = ensemble.predict(rows, 0.6)
    assert found["profit_probability"].to_list()[:3] == pytest.approx([0.65, 0.55, 0.6])
    assert found["agreement"].to_list()[:3] == pytest.approx([0.75, 0.25, 1.0])
    assert found["confidence"].to_list()[:3] == pytest.approx([0.6, 0.2, 0.8])
    assert found["profit_probability"][3] is None
