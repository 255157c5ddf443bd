from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.validation.quarters import FailedQuarter
from mltrainer_pipelines.trials.validation.scheduling import predict_quarters
from mltrainer_pipelines.trials.validation.table import BadFeaturesError
from mltrainer_pipelines.trials.validation.walk_forward import BadPredictionsError, TooFewRowsError, WalkForward
from mltrainer_pipelines.trials.validation.windows import EmptyWindowError
from mltrainer_pipelines_tests.trials.planted import area_under_curve, planted_market


def predict_quarter(config, features, labels, start, end, **more):
    return WalkForward(config, features, labels, **more).predict_quarter(start, end)


QUARTER = (date(2020, 4, 1), date(2020, 7, 1))
MODELS = ["logistic_l2", "lightgbm", "dlinear"]
"""A linear model, trees, and one that reads the sessions before a row; the catalogue's own tests hold for all others."""


def _config(model: str = "logistic_l2", **fields) -> TrialConfig:
    return TrialConfig.parse({"model": model, "timeframe": "short", "train_sessions": 378} | fields)


@pytest.fixture(scope="module", params=MODELS)
def planted_trial(request) -> WalkForward:
    market = planted_market()
    return WalkForward(_config(request.param), market.features, market.labels)


def _auc(predictions: pl.DataFrame, labels: pl.DataFrame) -> tuple[float, float]:
    """AUC, and its standard error for as many independent outcomes as there are rows that do not overlap."""
    known = predictions.join(labels.filter(pl.col("label").is_not_null()), on=["date", "symbol"])
    independent = known.height / 10 / 4  # positives and negatives are about half each
    return area_under_curve(known["label"].to_numpy(), known["score"].to_numpy()), np.sqrt(1 / (12 * independent) * 2)


def test_a_planted_signal_is_learnt(planted_trial):
    quarter = planted_trial.predict_quarter(*QUARTER)
    auc, _ = _auc(quarter.predictions, planted_market().labels)
    assert auc > 0.55


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_learnt_from_noise(model):
    market = planted_market(strength=0.0)
    table = WalkForward(_config(model), market.features, market.labels)
    predictions = pl.concat(table.predict_quarter(*quarter).predictions for quarter in table.quarters()[-4:])
    auc, error = _auc(predictions, market.labels)
    assert abs(auc - 0.5) < 3 * error


def test_the_same_seed_gives_the_same_predictions_whether_quarters_run_together_or_alone(planted_trial):
    market = planted_market()
    for quarter in planted_trial.quarters()[:2]:
        planted_trial.predict_quarter(*quarter)
    together = planted_trial.predict_quarter(*QUARTER)
    shuffled = market.features.sample(fraction=1.0, shuffle=True, seed=1)
    alone = predict_quarter(planted_trial.config, shuffled, market.labels, *QUARTER, sessions=market.sessions)
    assert_frame_equal(together.predictions, alone.predictions, check_exact=True)


def test_no_row_is_learnt_from_whose_outcome_was_unknown_before_the_quarter(planted_trial):
    market = planted_market()
    quarter = planted_trial.predict_quarter(*QUARTER)
    window = quarter.window
    later = pl.col("exit_date").is_null() | (pl.col("exit_date") >= window.cutoff)
    changed = market.labels.with_columns(
        net_return=pl.when(later).then(-pl.col("net_return")).otherwise("net_return"),
        label=pl.when(later).then(1 - pl.col("label")).otherwise("label"),
    )
    future_known = WalkForward(planted_trial.config, market.features, changed).predict_quarter(*QUARTER)
    assert_frame_equal(quarter.predictions, future_known.predictions, check_exact=True)
    truncated = market.features.filter(pl.col("date") < QUARTER[1]), market.labels.filter(pl.col("exit_date") < window.test_first)
    assert_frame_equal(
        quarter.predictions, predict_quarter(planted_trial.config, *truncated, *QUARTER).predictions, check_exact=True
    )
    assert quarter.trained_from >= window.train_first
    assert quarter.trained_until < window.cutoff


def test_every_row_of_the_quarter_is_predicted_once_in_order(planted_trial):
    quarter = planted_trial.predict_quarter(*QUARTER)
    expected = planted_market().features.filter(pl.col("date").is_between(*QUARTER, closed="left")).select("date", "symbol")
    assert_frame_equal(quarter.predictions.select("date", "symbol"), expected.sort("date", "symbol"))
    assert quarter.predictions.schema["score"] == pl.Float64
    assert quarter.trained_rows > 300
    assert 0 < quarter.base_rate < 1
    assert quarter.seconds > 0


def test_a_trial_has_the_quarters_that_half_a_year_of_known_outcomes_precedes(planted_trial):
    starts = [start for start, _ in planted_trial.quarters()]
    assert starts[0] == date(2018, 10, 1)
    assert starts[-1] == date(2020, 10, 1)


def test_only_the_most_liquid_symbols_of_the_month_are_kept():
    market = planted_market()
    months = market.features.select(month=pl.col("date").dt.truncate("1mo")).unique()
    ranks = pl.DataFrame({"symbol": [f"S{i:03}" for i in range(50)], "rank": range(1, 51)})
    universe = months.join(ranks, how="cross")
    quarter = predict_quarter(_config(universe_size=20), market.features, market.labels, *QUARTER, universe=universe)
    assert sorted(quarter.predictions["symbol"].unique()) == [f"S{i:03}" for i in range(1, 20)]  # S000 trades no more


def test_a_window_without_enough_known_outcomes_is_refused():
    market = planted_market()
    early = (date(2018, 1, 1), date(2018, 4, 1))
    with pytest.raises(EmptyWindowError, match="later quarter"):
        predict_quarter(_config(), market.features, market.labels, *early)
    few = market.labels.filter(pl.col("symbol") == "S001")
    with pytest.raises(TooFewRowsError, match=r"window from 2018-07-02: \d+ rows .* later quarter"):
        predict_quarter(_config(), market.features, few, date(2018, 7, 1), date(2018, 10, 1))
    gains = market.labels.with_columns(label=pl.lit(1, dtype=pl.Int8), net_return=pl.lit(0.1))
    with pytest.raises(TooFewRowsError, match="are gains"):
        predict_quarter(_config(), market.features, gains.filter(pl.col("exit_date").is_not_null()), *QUARTER)


def test_features_that_cannot_be_learnt_from_are_named():
    market = planted_market()
    infinite = market.features.with_columns(noise_2=pl.when(pl.col("symbol") == "S007").then(np.inf).otherwise("noise_2"))
    with pytest.raises(BadFeaturesError, match="noise_2 is infinite for S007"):
        WalkForward(_config(), infinite, market.labels)
    with pytest.raises(BadFeaturesError, match="twice"):
        WalkForward(_config(), pl.concat([market.features, market.features.head(1)]), market.labels)
    with pytest.raises(BadFeaturesError, match="at least one feature"):
        WalkForward(_config(), market.features.select("date", "symbol"), market.labels)
    with pytest.raises(BadFeaturesError, match="not numeric"):
        WalkForward(_config(), market.features.with_columns(sector=pl.lit("Energy")), market.labels)
    with pytest.raises(BadFeaturesError, match="no row of features"):
        WalkForward(_config(), market.features.head(0), market.labels)
    table = WalkForward(_config(), market.features.filter(pl.col("date") < date(2020, 1, 1)), market.labels, market.sessions)
    with pytest.raises(BadFeaturesError, match="2020-04-01 to 2020-06-30"):
        table.predict_quarter(*QUARTER)


def test_a_model_that_gives_no_probabilities_fails_its_quarter_with_the_reason():
    market = planted_market()
    table = WalkForward(_config(), market.features, market.labels)
    fitted = table.fit(table.window(*QUARTER))
    fitted.estimator.intercept_ = float("nan")
    with pytest.raises(BadPredictionsError, match=r"\d+ of \d+ predictions are not probabilities, the first is nan for S001"):
        table.predict_with(fitted, *QUARTER)


def test_the_windows_of_a_trial_share_bins_of_the_first_window_and_run_at_once_with_the_same_result():
    market = planted_market()
    table = WalkForward(_config("lightgbm"), market.features, market.labels)
    quarters = table.quarters()[:4]
    one_by_one = {ended.quarter_start: ended.predictions for ended in predict_quarters(table, quarters)}
    again = WalkForward(_config("lightgbm"), market.features, market.labels)
    at_once = {ended.quarter_start: ended.predictions for ended in predict_quarters(again, quarters, at_once=3)}
    assert list(one_by_one) == [start for start, _ in quarters]
    for start, expected in one_by_one.items():
        assert_frame_equal(at_once[start], expected, check_exact=True)


def test_later_rows_change_no_bin():
    market = planted_market()
    quarter = WalkForward(_config("lightgbm"), market.features, market.labels).quarters()[1]
    wild = pl.when(pl.col("date") < quarter[1]).then(pl.col("signal")).otherwise(pl.col("signal") * 1000)
    config = _config("lightgbm", normalise="none")
    calm, changed = (
        WalkForward(config, features, market.labels).predict_quarter(*quarter)
        for features in (market.features, market.features.with_columns(wild))
    )
    assert_frame_equal(calm.predictions, changed.predictions, check_exact=True)


def test_bins_of_the_first_window_are_those_the_library_would_cut_there_itself():
    market = planted_market()
    table = WalkForward(_config("lightgbm"), market.features, market.labels)
    first = table.window(*table.quarters()[0])
    shared, own = table.fit(first), WalkForward(table.config, market.features, market.labels)
    own._has_bins = lambda *_: False
    trees = [fit.estimator.booster_.model_to_string().partition("parameters:")[0] for fit in (shared, own.fit(first))]
    assert trees[0] == trees[1]


def test_a_feature_that_the_first_window_did_not_know_gets_bins_of_its_own_window():
    market = planted_market()
    late = market.features.with_columns(pl.when(pl.col("date") >= date(2019, 6, 1)).then(pl.col("signal")).alias("signal"))
    table = WalkForward(_config("lightgbm"), late, market.labels)
    fitted = table.fit(table.window(*QUARTER))
    gains = dict(zip(fitted.feature_names, fitted.estimator.booster_.feature_importance("gain"), strict=True))
    assert max(gains, key=gains.get) == "signal"


def test_a_quarter_that_fails_leaves_the_others():
    market = planted_market()
    table = WalkForward(_config(), market.features, market.labels)
    lucky, before = table.quarters()[2], (date(2017, 1, 1), date(2017, 4, 1))
    failed, fine = predict_quarters(table, [before, lucky])
    assert isinstance(failed, FailedQuarter)
    assert failed.quarter_start == before[0]
    assert "no session from 2017-01-01" in failed.reason
    assert fine.predictions.height > 0


def test_a_model_of_both_timeframes_sees_the_other_ones_outcomes_as_far_as_they_were_known():
    market = planted_market()
    own = market.labels.filter(pl.col("timeframe") == "short") if "timeframe" in market.labels.columns else market.labels
    other = own.with_columns(timeframe=pl.lit("long"), label=1 - pl.col("label"))
    config = _config("two_timeframes", params={"epochs": 1}, train_sessions=189)
    start = own.with_columns(timeframe=pl.lit("short"))
    window = WalkForward(config, market.features, start).window(*QUARTER)

    def scores(others: pl.DataFrame) -> list[float]:
        return (
            WalkForward(config, market.features, pl.concat([start, others]))
            .predict_quarter(*QUARTER)
            .predictions["score"]
            .to_list()
        )

    later = other.with_columns(label=pl.when(pl.col("exit_date") >= window.cutoff).then(0).otherwise("label"))
    before = other.with_columns(label=pl.when(pl.col("exit_date") < window.cutoff).then(0).otherwise("label"))
    told = scores(other)
    assert scores(later) == told
    assert scores(before) != told
