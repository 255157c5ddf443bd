from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.timeframes import SHORT
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.promotion import grade, shortfalls
from mltrainer_pipelines.trials.validation.run_in_memory import History, TooShortHistoryError, run_in_memory
from mltrainer_pipelines_tests.trials.markets import small_market


@pytest.fixture(scope="module")
def history() -> History:
    """A driftless random market whose only features are noise."""
    market = small_market(760, 30, drift=0.0)
    labels = market.labels(SHORT, 66, 759)
    rng = np.random.default_rng(0)
    noise = {f"noise_{i}": rng.standard_normal(labels.height).astype(np.float32) for i in range(3)}
    features = labels.select("date", "symbol").with_columns(**{name: pl.Series(values) for name, values in noise.items()})
    ranked = market.universe.with_columns(rank=pl.int_range(1, pl.len() + 1).over("month"))
    return History(features, labels, market.bars, ranked)


def test_a_leak_planted_in_a_feature_is_flagged_and_never_proven(history):
    known = history.labels.select("date", "symbol", leak=pl.col("gross_return").fill_null(0.0).cast(pl.Float32))
    leaking = History(history.features.join(known, on=["date", "symbol"]), history.labels, history.bars, history.universe)
    config = TrialConfig(model="logistic_l2", timeframe="short")
    (honest,), (cheat,) = run_in_memory([config], history), run_in_memory([config], leaking)
    assert honest.scorecard.too_good == ()
    assert "its rank IC" in cheat.scorecard.too_good[0]
    assert any("too good to be true" in reason for reason in shortfalls(cheat.scorecard))
    assert grade(cheat.scorecard) == "candidate"


def test_every_trial_is_deflated_by_all_of_them(history):
    configs = [TrialConfig(model="logistic_l2", timeframe="short", params={"C": c}) for c in (0.1, 10.0)]
    done = run_in_memory(configs, history)
    assert [trial.scorecard.trials_counted for trial in done] == [2, 2]
    assert len({trial.scorecard.expected_maximum_sharpe for trial in done}) == 1


def test_a_history_of_too_few_quarters_is_refused(history):
    short = History(history.features.filter(pl.col("date") < date(2013, 12, 1)), history.labels, history.bars, history.universe)
    with pytest.raises(TooShortHistoryError, match="at least 4: give a longer history"):
        run_in_memory([TrialConfig(model="logistic_l2", timeframe="short")], short)
