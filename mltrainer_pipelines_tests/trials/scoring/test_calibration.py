from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.quarters import quarter_of
from mltrainer_pipelines.trials.scoring.calibration import Calibrator
from mltrainer_pipelines.trials.scoring.calibration_fit import MIN_CALIBRATION_ROWS, TooFewCalibrationRowsError, fit_calibrator
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward, holding_blocks
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines.trials.validation.windows import quarter_window
from mltrainer_pipelines_tests.trials.planted import planted_market

CURVES = ["probability", "probability_low", "probability_high", "expected_net_return"]


@pytest.fixture(scope="module")
def predictions() -> pl.DataFrame:
    market = planted_market()
    config = TrialConfig(model="logistic_l2", timeframe="short", train_sessions=378)
    table = WalkForward(config, market.features, market.labels)
    return pl.concat(table.predict_quarter(*quarter).predictions for quarter in table.quarters())


def _calibration_error(probability: np.ndarray, label: np.ndarray, bins: int = 10) -> float:
    groups = np.array_split(np.argsort(probability, kind="stable"), bins)
    return float(sum(len(g) * abs(probability[g].mean() - label[g].mean()) for g in groups) / len(label))


def _drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels, net returns, and the true probabilities, which the scores overstate."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(8, 8, rows)
    scores = 1 / (1 + np.exp(-2.5 * np.log(truth / (1 - truth))))
    labels = (rng.random(rows) < truth).astype(np.int8)
    net_returns = np.where(labels, 1, -1) * rng.exponential(0.03, rows) - 0.001
    return scores, labels, net_returns, truth


def test_an_overconfident_score_becomes_a_true_probability():
    scores, labels, net_returns, _ = _drawn(30_000)
    calibrator = fit_calibrator(scores, labels, net_returns)
    fresh, outcome, gains, truth = _drawn(30_000, seed=1)
    calibrated = calibrator.apply(fresh)
    assert _calibration_error(fresh, outcome) > 0.08
    assert _calibration_error(calibrated.probability, outcome) < 0.015
    assert np.abs(calibrated.probability - truth).mean() < 0.015
    top = calibrated.expected_net_return > np.quantile(calibrated.expected_net_return, 0.9)
    assert calibrated.expected_net_return[top].mean() == pytest.approx(gains[top].mean(), abs=0.003)


def _clustered(rows: int, spans: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels that follow the score and a shock that all rows of a span share; and the spans."""
    rng = np.random.default_rng(seed)
    blocks = np.sort(rng.integers(0, spans, rows))
    scores = rng.random(rows)
    shocks = rng.normal(0, 0.5, spans)[blocks]
    return scores, (scores - 0.5 + shocks + rng.normal(0, 1, rows) > 0).astype(np.int8), blocks


def test_the_interval_holds_the_probability_and_narrows_with_independent_outcomes():
    widths = {}
    for spans in (10, 40, 400):
        scores, labels, blocks = _clustered(30_000, spans)
        calibrator = fit_calibrator(scores, labels, labels - 0.5, blocks)
        calibrated = calibrator.apply(scores)
        assert (calibrated.low <= calibrated.probability).all()
        assert (calibrated.probability <= calibrated.high).all()
        assert spans <= calibrator.effective_rows < 30 * spans  # the shock explains about a fifth of a label's variance
        widths[spans] = (calibrated.high - calibrated.low).mean()
    assert widths[10] > widths[40] > widths[400]
    assert widths[40] < 0.1


def test_a_curve_that_holds_in_time_is_kept_and_one_that_does_not_is_shrunk_to_the_base_rate():
    scores, labels, blocks = _clustered(30_000, 40)
    assert fit_calibrator(scores, labels, labels - 0.5, blocks).slope > 0.7
    fooled, shrunk = [], []
    for seed in range(20):
        # a score that tells spans apart and knows nothing of them: what it fits in one half of time is gone in the other
        _, labels, blocks = _clustered(5_000, 16, seed)
        level = np.random.default_rng(seed + 100).random(16)[blocks]
        fooled.append(np.ptp(fit_calibrator(level, labels, labels - 0.5).returns))
        shrunk.append(np.ptp(fit_calibrator(level, labels, labels - 0.5, blocks).returns))
    assert np.mean(fooled) > 0.1
    assert np.mean(shrunk) < 0.5 * np.mean(fooled)


def test_too_little_time_to_tell_means_the_base_rate_for_every_score():
    scores, labels, blocks = _clustered(5_000, 3)
    calibrated = fit_calibrator(scores, labels, labels - 0.5, blocks).apply(scores)
    assert np.ptp(calibrated.probability) == 0
    assert (calibrated.low < labels.mean()).all()
    assert (labels.mean() < calibrated.high).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(MIN_CALIBRATION_ROWS, 3000), st.integers(0, 1000), st.sampled_from([2, 10, 10_000]))
def test_a_higher_score_never_means_less_and_equal_scores_mean_the_same(rows, seed, levels):
    scores, labels, net_returns, _ = _drawn(rows, seed)
    scores = np.round(scores * levels) / levels
    calibrator = fit_calibrator(scores, labels, net_returns, np.arange(rows) // 40)
    curve = calibrator.apply(np.linspace(-0.5, 1.5, 201))
    for values in (curve.probability, curve.low, curve.high, curve.expected_net_return):
        assert (np.diff(values) >= -1e-12).all()
    assert ((curve.probability > 0) & (curve.probability < 1)).all()


def test_the_interval_agrees_with_the_venn_abers_package_where_a_bin_is_one_score():
    from venn_abers import VennAbers

    rng = np.random.default_rng(5)
    levels = np.linspace(0.2, 0.8, 12)
    scores = np.repeat(levels, 300)
    labels = (rng.random(len(scores)) < scores).astype(int)
    ours = fit_calibrator(scores, labels, np.zeros(len(scores))).apply(levels)
    peer = VennAbers()
    peer.fit(np.column_stack([1 - scores, scores]), labels)
    probability, interval = peer.predict_proba(np.column_stack([1 - levels, levels]))
    np.testing.assert_allclose(np.column_stack([ours.low, ours.high]), interval, atol=1e-9)
    np.testing.assert_allclose(ours.probability, probability[:, 1], atol=1e-9)


def _by_regime(shares: tuple[float, ...], rows: int = 30_000) -> Calibrator:
    """Fitted on rows of which so large a share was decided in each regime, from the worst to the best."""
    scores, labels, blocks = _clustered(rows, 200)
    regimes = np.random.default_rng(3).choice([10.0, 40.0, 60.0, 90.0], rows, p=shares)
    return fit_calibrator(scores, labels, labels - 0.5, blocks, regime_scores=regimes)


def test_the_interval_is_wider_in_a_regime_that_was_seen_less_and_widest_where_none_was():
    calibrator = _by_regime((0.0, 0.05, 0.25, 0.7))
    standings = np.linspace(0.02, 0.98, 25)
    asked = {score: calibrator.apply(standings, np.full(25, score)) for score in (10.0, 40.0, 60.0, 90.0, np.nan)}
    widths = [float((said.high - said.low).mean()) for said in asked.values()]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.2 * widths[3]
    assert calibrator.regimes[0].rows == 0
    assert sum(regime.rows for regime in calibrator.regimes) == 30_000
    for said in asked.values():
        np.testing.assert_array_equal(said.probability, calibrator.apply(standings).probability)
        assert ((said.low <= said.probability) & (said.probability <= said.high)).all()


def test_where_one_regime_is_all_there_was_its_interval_is_that_of_all():
    calibrator, standings = _by_regime((0.0, 0.0, 0.0, 1.0)), np.linspace(0, 1, 11)
    only, everywhere = calibrator.apply(standings, np.full(11, 80.0)), calibrator.apply(standings)
    np.testing.assert_allclose([only.low, only.high], [everywhere.low, everywhere.high], atol=1e-12)
    unknown = calibrator.apply(standings, np.full(11, np.nan))
    np.testing.assert_array_equal(unknown.high, everywhere.high)


def test_a_quarter_is_asked_in_the_regime_of_its_sessions(predictions):
    market = planted_market()
    sessions = predictions["date"].unique().sort()
    regime = pl.DataFrame({"date": sessions, "score": np.where(np.arange(len(sessions)) % 40 < 4, 10.0, 90.0)})
    found = calibrate_walk_forward(predictions, market.labels, regime=regime).drop_nulls("probability")
    width = (
        found.join(regime.rename({"score": "regime"}), on="date")
        .group_by("regime")
        .agg(width=(pl.col("probability_high") - pl.col("probability_low")).mean())
    )
    assert width.filter(pl.col("regime") == 10.0)["width"][0] > 1.2 * width.filter(pl.col("regime") == 90.0)["width"][0]
    plain = calibrate_walk_forward(predictions, market.labels).drop_nulls("probability")
    assert found["probability"].to_list() == plain["probability"].to_list()


@pytest.mark.parametrize("losses", [0, 1])
def test_outcomes_that_are_all_alike_tell_no_more_than_their_holding_periods(losses):
    rng = np.random.default_rng(4)
    labels = np.ones(3000)
    labels[:losses] = 0.0
    for outcomes in (labels, 1 - labels):
        curve = fit_calibrator(rng.random(3000), outcomes, outcomes - 0.5, blocks=np.repeat(np.arange(10), 300))
        found = curve.apply(np.linspace(0, 1, 11))
        assert (found.high - found.low >= 1 / (10 * (1 + 2 * losses) + 1) - 1e-12).all()
        assert curve.effective_rows <= 10 * (1 + 2 * losses)


def test_too_few_outcomes_are_refused():
    scores, labels, net_returns, _ = _drawn(MIN_CALIBRATION_ROWS - 1)
    with pytest.raises(TooFewCalibrationRowsError, match="499 known outcomes"):
        fit_calibrator(scores, labels, net_returns)


def test_a_model_that_knows_nothing_is_calibrated_to_the_base_rate():
    rng = np.random.default_rng(2)
    scores, labels = rng.random(20_000), (rng.random(20_000) < 0.45).astype(int)
    calibrated = fit_calibrator(scores, labels, 0.05 * (labels - 0.5), np.arange(20_000) // 500).apply(rng.random(1000))
    assert np.abs(calibrated.probability - 0.45).mean() < 0.02


def test_out_of_sample_probabilities_of_the_planted_market_are_calibrated(predictions):
    market = planted_market()
    calibrated = calibrate_walk_forward(predictions, market.labels)
    known = calibrated.join(market.labels, on=["date", "symbol"]).filter(
        pl.col("probability").is_not_null() & pl.col("label").is_not_null()
    )
    assert known.height > 20_000
    assert _calibration_error(known["probability"].to_numpy(), known["label"].to_numpy()) <= 0.03
    assert (known["probability_high"] - known["probability_low"]).mean() < 0.1
    top = known.filter(pl.col("expected_net_return") > known["expected_net_return"].quantile(0.9))
    assert top["expected_net_return"].mean() == pytest.approx(top["net_return"].mean(), abs=0.005)


def test_only_outcomes_known_before_a_quarter_shape_its_probabilities(predictions):
    market = planted_market()
    calibrated = calibrate_walk_forward(predictions, market.labels)
    for day in (date(2019, 4, 1), date(2020, 1, 2), date(2020, 7, 1)):
        start, end = quarter_of(day)
        cutoff = quarter_window(start, end, market.sessions, 504).cutoff
        later = pl.col("exit_date").is_null() | (pl.col("exit_date") >= cutoff)
        changed = market.labels.with_columns(
            net_return=pl.when(later).then(pl.lit(-0.5)).otherwise("net_return"),
            label=pl.when(later).then(pl.lit(0, dtype=pl.Int8)).otherwise("label"),
            exit_date=pl.col("exit_date").fill_null(market.sessions[-1]),
        )
        future = predictions.with_columns(score=pl.when(pl.col("date") >= end).then(0.99).otherwise("score"))
        before_end = pl.col("date") < end
        assert_frame_equal(
            calibrate_walk_forward(future, changed).filter(before_end), calibrated.filter(before_end), check_exact=True
        )


def test_quarters_without_earlier_outcomes_have_no_probability(predictions):
    calibrated = calibrate_walk_forward(predictions, planted_market().labels)
    first_end = quarter_of(predictions["date"].min())[1]
    early = calibrated.filter(pl.col("date") < first_end)
    assert early.select(pl.col(CURVES).is_null().all()).row(0) == (True,) * 4
    assert calibrated.filter(pl.col("date") >= first_end).select(pl.col(CURVES).null_count().sum()).row(0) == (0,) * 4
    assert_frame_equal(calibrated.select("date", "symbol", "score"), predictions)
    assert list(calibrated.columns) == ["date", "symbol", "score", *CURVES]


def test_decisions_of_one_holding_period_share_a_block():
    sessions = sessions_between(date(2020, 1, 2), date(2020, 3, 31))
    rows = pl.DataFrame({"date": sessions[:-12], "exit_date": sessions[12:]})
    blocks = holding_blocks(rows.sample(fraction=1.0, shuffle=True, seed=0).sort("date"))
    assert (np.diff(blocks) >= 0).all()
    assert set(np.bincount(blocks)[:-1]) <= {12, 13}


def test_labels_that_do_not_fit_are_refused(predictions):
    labels = planted_market().labels
    both = pl.concat([labels, labels.with_columns(timeframe=pl.lit("long"))])
    with pytest.raises(ValueError, match="more than one timeframe"):
        calibrate_walk_forward(predictions, both)
    with pytest.raises(ValueError, match="twice"):
        calibrate_walk_forward(predictions, pl.concat([labels, labels.tail(10_000)]))
    with pytest.raises(ValueError, match="no predictions"):
        calibrate_walk_forward(predictions.head(0), labels)
