import pickle
import subprocess
import sys
from dataclasses import replace
from datetime import date

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.models import infer_signature
from polars.testing import assert_frame_equal

from mltrainer_pipelines.trials import ensemble_file
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.ensemble_file import ServedEnsemble, example_rows, write_ensemble
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble, MissingFeaturesError, MissingHistoryError
from mltrainer_pipelines.trials.registry.ensemble_fit import fit_ensemble
from mltrainer_pipelines.trials.scoring.calibration_fit import TooFewCalibrationRowsError
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines_tests.trials.planted import Planted, planted_market

AS_OF = date(2020, 8, 14)
WINNER = TrialConfig(model="logistic_l2", timeframe="short", train_sessions=378)
SECOND = TrialConfig(model="lightgbm", timeframe="short", train_sessions=378, params={"rounds": 40})


@pytest.fixture(scope="module")
def history() -> dict[str, pl.DataFrame]:
    market = planted_market()
    found = {}
    for config in (WINNER, SECOND):
        table = WalkForward(config, market.features, market.labels)
        found[config.trial_id] = pl.concat(table.predict_quarter(*quarter).predictions for quarter in table.quarters()[1:])
    return found


def _fitted(market: Planted, history: dict[str, pl.DataFrame], labels: pl.DataFrame | None = None) -> ChampionEnsemble:
    return fit_ensemble(
        [(WINNER, 0.75), (SECOND, 0.25)], market.features, market.labels if labels is None else labels, history, AS_OF
    )


@pytest.fixture(scope="module")
def ensemble(history) -> ChampionEnsemble:
    return _fitted(planted_market(), history)


@pytest.fixture(scope="module")
def later() -> pl.DataFrame:
    return planted_market().features.filter(pl.col("date") > AS_OF)


def test_the_winner_votes_with_its_last_refits_and_the_others_with_one(ensemble):
    assert [member.trial_id for member in ensemble.members] == [WINNER.trial_id] * 3 + [SECOND.trial_id]
    assert ensemble.weights == pytest.approx({WINNER.trial_id: 0.75, SECOND.trial_id: 0.25})
    assert [member.trained_until for member in ensemble.members[:3]] == sorted(
        (member.trained_until for member in ensemble.members[:3]), reverse=True
    )
    assert all(member.trained_until < AS_OF for member in ensemble.members)


def test_nothing_known_after_the_session_of_the_fit_changes_it(ensemble, history, later):
    market = planted_market()
    after = pl.col("exit_date").is_null() | (pl.col("exit_date") > AS_OF)
    changed = market.labels.with_columns(label=pl.when(after).then(0).otherwise("label").cast(pl.Int8)).with_columns(
        net_return=pl.when(after).then(-0.9).otherwise("net_return"), exit_date=pl.col("exit_date").fill_null(date(2020, 12, 31))
    )
    again = _fitted(market, history, changed)
    assert_frame_equal(again.predict(later), ensemble.predict(later), check_exact=True)


def test_predictions_are_probabilities_inside_their_interval(ensemble, later):
    scored = ensemble.predict(later, threshold=0.55)
    assert_frame_equal(scored.select("date", "symbol"), later.select("date", "symbol"))
    low, probability, high = (scored[name].to_numpy() for name in ("probability_low", "profit_probability", "probability_high"))
    assert ((low >= 0) & (low <= probability) & (probability <= high) & (high <= 1)).all()
    np.testing.assert_allclose(
        scored["confidence"], scored["agreement"] * (1 - (scored["probability_high"] - scored["probability_low"]))
    )
    assert scored["confidence"].is_between(0, 1).all()
    assert np.isfinite(scored["expected_net_return"].to_numpy()).all()


def test_precision_rises_with_confidence_out_of_sample(ensemble, later):
    scored = ensemble.predict(later, threshold=0.6).join(planted_market().labels, on=["date", "symbol"]).drop_nulls("label")
    precision = [
        scored.filter(pl.col("confidence").is_between(low, high))["label"].mean()
        for low, high in ((0.0, 0.1), (0.1, 0.9), (0.9, 1.0))
    ]
    assert precision == sorted(precision)
    assert precision[-1] > precision[0] + 0.1


def test_agreement_is_the_weighted_share_of_members_above_the_threshold(ensemble, later):
    rows = later.head(200)
    votes = np.zeros(200)
    for member in ensemble.members:
        alone = replace(ensemble, members=(replace(member, weight=1.0),)).predict(rows)
        votes += member.weight * (alone["profit_probability"].to_numpy() >= 0.55)
    np.testing.assert_allclose(ensemble.predict(rows, threshold=0.55)["agreement"], votes)
    assert ensemble.predict(rows, threshold=0.0)["agreement"].to_list() == [1.0] * 200


def test_a_session_is_scored_alike_alone_and_among_others_in_any_order(ensemble, later):
    together = ensemble.predict(later.sample(fraction=1.0, shuffle=True, seed=4))
    for day in later["date"].unique().sort()[[0, 7, -1]]:
        alone = ensemble.predict(later.filter(pl.col("date") == day))
        assert_frame_equal(together.filter(pl.col("date") == day).sort("symbol"), alone.sort("symbol"), check_exact=True)


def test_what_moves_the_whole_market_moves_no_score(ensemble, later):
    day = later.filter(pl.col("date") == later["date"][0])
    shifted = day.with_columns(pl.col("signal", "noise_1", "noise_2") * 3.0 + 5.0)
    assert_frame_equal(ensemble.predict(shifted), ensemble.predict(day), check_exact=True)


def test_weights_can_be_learnt_later_and_stay_shares(ensemble):
    changed = ensemble.reweighted({SECOND.trial_id: 2.25})
    assert changed.weights == pytest.approx({WINNER.trial_id: 0.25, SECOND.trial_id: 0.75})
    assert ensemble.reweighted({"another-trial": 5.0}).weights == pytest.approx(ensemble.weights)
    with pytest.raises(ValueError, match="above 0"):
        ensemble.reweighted({SECOND.trial_id: -1.0})


def test_a_pickled_ensemble_predicts_bit_for_bit_the_same(ensemble, later):
    assert_frame_equal(pickle.loads(pickle.dumps(ensemble)).predict(later), ensemble.predict(later), check_exact=True)


def test_a_member_that_looks_back_needs_the_sessions_before_and_scores_as_the_walk_forward_does(history, later, tmp_path):
    market = planted_market()
    config = TrialConfig(model="dlinear", timeframe="short", train_sessions=378, params={"epochs": 2})
    table = WalkForward(config, market.features, market.labels)
    quarters = [table.predict_quarter(*quarter).predictions for quarter in table.quarters()[1:]]
    found = fit_ensemble([(config, 1.0)], market.features, market.labels, {config.trial_id: pl.concat(quarters)}, AS_OF, refits=1)
    assert found.look_back == 19
    day = later["date"].unique().sort()[25]
    with pytest.raises(MissingHistoryError, match=r"dlinear-short-.* reads the 19 sessions before"):
        found.predict(later.filter(pl.col("date") == day))
    alike = found.predict(later).filter(pl.col("date") == day)
    shown = market.features.filter(pl.col("date") <= day).filter(pl.col("date") > later["date"].unique().sort()[5])
    assert_frame_equal(found.predict(shown).filter(pl.col("date") == day), alike, abs_tol=1e-6)
    refreshed = found.with_history(shown.filter(pl.col("date") < day)).predict(shown.filter(pl.col("date") == day))
    assert_frame_equal(refreshed, alike, abs_tol=1e-6)

    rows = example_rows(found, market.features)
    served = ServedEnsemble(found).predict(rows)
    assert rows["date"].nunique() == 20
    data = write_ensemble(found, tmp_path)
    mlflow.pyfunc.save_model(
        tmp_path / "model", loader_module=ensemble_file.__name__, data_path=str(data), pip_requirements=["numpy"],
        signature=infer_signature(rows, served), input_example=rows,
    )  # fmt: skip
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    pd.testing.assert_frame_equal(loaded.predict(rows), served, check_exact=True)


def test_features_that_are_missing_are_named(ensemble, later):
    with pytest.raises(MissingFeaturesError, match=r"lack signal; the short champion .*'momentum'"):
        ensemble.predict(later.drop("signal"))


def test_trials_that_do_not_belong_together_are_refused(history):
    market = planted_market()
    long = TrialConfig(model="lightgbm", timeframe="long")
    with pytest.raises(ValueError, match="cannot vote beside"):
        fit_ensemble([(WINNER, 1.0), (long, 1.0)], market.features, market.labels, history, AS_OF)
    with pytest.raises(ValueError, match="no out-of-sample predictions of logistic-l2-short"):
        fit_ensemble([(WINNER, 1.0)], market.features, market.labels, {}, AS_OF)
    with pytest.raises(ValueError, match="winner"):
        fit_ensemble([], market.features, market.labels, history, AS_OF)
    with pytest.raises(TooFewCalibrationRowsError, match="earlier quarters"):
        fit_ensemble(
            [(WINNER, 1.0)], market.features, market.labels, {WINNER.trial_id: history[WINNER.trial_id].head(300)}, AS_OF
        )


def test_a_saved_champion_scores_where_the_registry_is_empty(ensemble, later, tmp_path):
    place = write_ensemble(ensemble, tmp_path)
    later.write_parquet(tmp_path / "later.parquet")
    program = f"""
import polars as pl
from pathlib import Path
from types import MappingProxyType
from mltrainer_pipelines.models import registry
registry._by_id = lambda: MappingProxyType({{}})
from mltrainer_pipelines.trials.ensemble_file import read_ensemble
ensemble = read_ensemble(Path({str(place)!r}).read_bytes())
assert (ensemble.look_back, ensemble.reads_sectors) == (0, False)
ensemble.predict(pl.read_parquet({str(tmp_path / "later.parquet")!r})).write_parquet({str(tmp_path / "scored.parquet")!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert_frame_equal(pl.read_parquet(tmp_path / "scored.parquet"), ensemble.predict(later), check_exact=True)
