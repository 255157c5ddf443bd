from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.learning.recalibrate import fit_recalibration, record_recalibration, resolved_signals
from mltrainer_pipelines.market.sessions import next_session, sessions_between
from mltrainer_pipelines.signals.learned import Recalibrated, Recalibration, recalibration_before
from mltrainer_pipelines.store.database import Database

DAYS = sessions_between(date(2015, 1, 2), date(2017, 12, 29))


def outcomes(slope: float, intercept: float, days: int, symbols: int = 20, seed: int = 0, market: float = 0.0) -> pl.DataFrame:
    """Forecasts of which the log-odds are truly `intercept + slope × log-odds`, plus what a holding period shares."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0.3, 0.8, (days, symbols))
    shared = np.repeat(rng.normal(0, market, days // 12 + 1), 12)[:days, None]
    truth = 1 / (1 + np.exp(-(intercept + slope * odds + shared)))
    return pl.DataFrame(
        {
            "date": np.repeat(np.array(DAYS[:days], dtype="datetime64[D]"), symbols),
            "exit_date": np.repeat(np.array(DAYS[12 : days + 12], dtype="datetime64[D]"), symbols),
            "probability": (1 / (1 + np.exp(-odds))).ravel(),
            "label": (rng.random(truth.shape) < truth).ravel().astype(np.int8),
        }
    )


def test_what_promises_too_much_is_taken_back() -> None:
    fitted = fit_recalibration(outcomes(slope=0.4, intercept=-0.3, days=700))
    assert fitted.recalibration.slope == pytest.approx(0.4, abs=0.1)
    assert fitted.recalibration.intercept == pytest.approx(-0.3, abs=0.1)
    assert fitted.brier_after < fitted.brier_before


def test_what_was_right_stays_as_it_is() -> None:
    fitted = fit_recalibration(outcomes(slope=1.0, intercept=0.0, days=700))
    assert fitted.recalibration.slope == pytest.approx(1.0, abs=0.1)
    assert fitted.recalibration.intercept == pytest.approx(0.0, abs=0.1)


def test_few_holding_periods_change_next_to_nothing_however_many_rows_they_have() -> None:
    fitted = fit_recalibration(outcomes(slope=0.2, intercept=-1.0, days=12, symbols=500))
    assert fitted.observations == 6000
    assert fitted.effective_observations == 1
    assert fitted.recalibration.slope > 0.9
    assert fit_recalibration(outcomes(1, 0, 12).head(0)).recalibration == Recalibration()


@pytest.mark.parametrize("seed", range(6))
def test_lived_forward_a_correction_never_costs_where_there_is_nothing_to_correct(seed: int) -> None:
    rows = outcomes(1.0, 0.0, 300, seed=seed, market=0.6)
    before = after = 0.0
    for start in range(24, 300, 12):
        days = DAYS[start : start + 12]
        own = rows.filter(pl.col("date").is_in(days))
        correction = fit_recalibration(rows.filter(pl.col("exit_date") < days[0])).recalibration
        probability, label = own["probability"].to_numpy(), own["label"].to_numpy()
        before += float(((probability - label) ** 2).sum())
        after += float(((correction.apply(probability) - label) ** 2).sum())
    assert after <= 1.002 * before


def test_a_few_holding_periods_that_agree_correct_nothing_yet() -> None:
    rows = outcomes(1.0, 1.0, 48)
    assert fit_recalibration(rows).recalibration == Recalibration()
    assert fit_recalibration(outcomes(1.0, 1.0, 120)).recalibration.intercept > 0.3


def test_rows_that_share_their_market_count_for_less() -> None:
    alone = fit_recalibration(outcomes(1.0, 0.0, 600, market=0.0)).effective_observations
    together = fit_recalibration(outcomes(1.0, 0.0, 600, market=1.0)).effective_observations
    assert together < alone / 3


def test_a_correction_keeps_the_order_and_its_threshold_is_that_of_the_corrected() -> None:
    correction = Recalibration(-0.4, 0.6)
    given = np.linspace(0.01, 0.99, 50)
    corrected = correction.apply(given)
    assert (np.diff(corrected) > 0).all()
    assert [correction.before(float(p)) for p in corrected] == pytest.approx(given.tolist())
    assert Recalibration().apply(given) is given
    with pytest.raises(ValueError, match="slope"):
        Recalibration(0.0, -1.0)


def test_the_votes_of_an_ensemble_are_those_of_the_corrected_probabilities() -> None:
    class Members:
        def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame:
            p = pl.col("p")
            return features.select(
                "symbol", profit_probability=p, probability_low=p - 0.1, probability_high=p + 0.1,
                agreement=(p >= threshold).cast(pl.Float64), confidence=pl.lit(0.0),
            )  # fmt: skip

    rows = pl.DataFrame({"symbol": ["A", "B", "C"], "p": [0.55, 0.7, 0.8]})
    told = Recalibrated(Members(), Recalibration(-0.5, 1.0)).predict(rows, 0.6)
    assert told["agreement"].to_list() == [0.0, 0.0, 1.0]
    assert (told["profit_probability"] >= 0.6).to_list() == [False, False, True]
    assert told["uncorrected_probability"].to_list() == [0.55, 0.7, 0.8]
    width = told["probability_high"] - told["probability_low"]
    assert told["confidence"].to_list() == pytest.approx((told["agreement"] * (1 - width)).to_list())


def test_a_refresh_takes_the_correction_learnt_before_its_session(database: Database) -> None:
    fitted = fit_recalibration(outcomes(slope=0.4, intercept=-0.3, days=300))
    for _ in range(2):
        record_recalibration(database.engine, DAYS[300], "short", "a", fitted)
    assert recalibration_before(database.engine, DAYS[300], "short", "a") == Recalibration()
    assert recalibration_before(database.engine, next_session(DAYS[300]), "short", "a") == fitted.recalibration
    assert recalibration_before(database.engine, next_session(DAYS[300]), "short", "another") == Recalibration()


def test_of_a_session_its_last_signals_count_and_only_where_the_outcome_is_known() -> None:
    moments = pl.datetime_range(pl.datetime(2015, 3, 2, 15), pl.datetime(2015, 3, 2, 16), "1h", time_zone="UTC", eager=True)
    signals = pl.DataFrame(
        {
            "timestamp": [moments[0], moments[1], moments[1]],
            "date": [DAYS[40]] * 3,
            "symbol": ["A", "A", "B"],
            "timeframe": ["short"] * 3,
            "trial_id": ["t"] * 3,
            "uncorrected_probability": [0.5, 0.6, 0.7],
        }
    )
    labels = pl.DataFrame(
        {
            "date": [DAYS[40]] * 2,
            "symbol": ["A", "B"],
            "timeframe": ["short"] * 2,
            "exit_date": [DAYS[45], DAYS[50]],
            "net_return": [0.02, 0.03],
            "label": [1, 1],
        }
    )
    known = resolved_signals(signals, labels, DAYS[46])
    assert known.select("symbol", "probability", "label").rows() == [("A", 0.6, 1)]
