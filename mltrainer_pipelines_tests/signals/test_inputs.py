"""A champion that reads the sessions before: a refresh hands them over, and scores as the walk-forward does."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.ranks import session_percentiles
from mltrainer_pipelines.contracts.timeframes import SHORT
from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.market.sessions import NEW_YORK, session_hours
from mltrainer_pipelines.signals.inputs import LakeInputs
from mltrainer_pipelines.signals.refresh import refresh_market
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.ensemble_fit import fit_ensemble
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion
from mltrainer_pipelines.trials.validation.quarters import FittedModel
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines_tests.signals.test_refresh import MACRO, SESSIONS, bars, lake, market, noon, quotes_of  # noqa: F401

TRIAL = TrialConfig(model="dlinear", timeframe="short", train_sessions=189, params={"epochs": 1})


@pytest.fixture(scope="module")
def walked(market, bars) -> tuple[WalkForward, ChampionEnsemble]:  # noqa: F811
    """The trial on all sessions of the market, and its champion as of the last but one."""
    adjusted = market.bars.join(bars, on=["date", "symbol"]).with_columns(adj_volume="volume")
    first, as_of = market.sessions[look_back("momentum")], market.sessions[-2]
    macro = known_macro(MACRO, market.sessions)
    regime = pl.DataFrame({"date": market.sessions, "score": [60.0] * SESSIONS})
    features = compute_features(adjusted, market.universe, macro, first, market.sessions[-1], regime=regime)
    labels = market.labels(SHORT, look_back("momentum"), SESSIONS - 2, known=SESSIONS - 2)
    walk = WalkForward(TRIAL, features, labels)
    history = {TRIAL.trial_id: pl.concat(walk.predict_quarter(*quarter).predictions for quarter in walk.quarters()[-3:])}
    known = features.filter(pl.col("date") <= as_of)
    return walk, fit_ensemble([(TRIAL, 1.0)], known, labels, history, as_of, refits=1)


def champions_of(ensemble: ChampionEnsemble) -> Mapping[str, tuple[ChampionEnsemble, ChampionVersion]]:
    version = ChampionVersion("mltrainer-short", "3", TRIAL.trial_id, "candidate", "run", {}, datetime.now(NEW_YORK))
    return {"short": (ensemble, version)}


@pytest.mark.parametrize("running", [True, False], ids=["session under way", "session closed"])
def test_a_model_with_a_look_back_scores_live_as_it_did_out_of_sample(lake, bars, market, walked, running) -> None:  # noqa: F811
    walk, ensemble = walked
    session = market.sessions[-1 if running else -2]
    moment = noon(session) if running else session_hours(session)[1] + timedelta(hours=2)
    found = refresh_market(LakeInputs(lake), quotes_of(bars, session, moment), champions_of(ensemble), Thresholds(), moment)
    signals = found.signals.sort("symbol")

    (member,) = ensemble.members
    fitted = FittedModel(member.estimator, member.feature_names, 0, session, session, 0.5, 0.0)
    quarter = next(span for span in walk.quarters() if span[0] <= session < span[1])
    scores = walk.predict_with(fitted, *quarter).predictions.filter(pl.col("date") == session).sort("symbol")
    assert scores["symbol"].to_list() == signals["symbol"].to_list()
    assert scores["score"].n_unique() > 10
    standing = session_percentiles(scores["score"].to_numpy(), np.zeros(scores.height, dtype=np.int64))
    expected = member.calibrator.apply(standing, np.full(scores.height, 60.0))
    np.testing.assert_allclose(signals["profit_probability"], expected.probability, atol=1e-6)
    np.testing.assert_allclose(signals["expected_net_return"], expected.expected_net_return, atol=1e-6)
    assert (signals["drivers"].list.len() > 0).all()


def test_only_as_many_sessions_are_handed_over_as_a_champion_reads(lake, market) -> None:  # noqa: F811
    session = market.sessions[-2]
    inputs, nobody = LakeInputs(lake), pl.Series("symbol", [], dtype=pl.String)
    alone = inputs.market_snapshot(session, inputs.members(session), nobody, {"momentum": 0}, None)
    assert alone.history == {}
    snapshot = inputs.market_snapshot(session, inputs.members(session), nobody, {"momentum": 19}, None)
    assert snapshot.history["momentum"]["date"].unique().sort().to_list() == market.sessions[-21:-2]
    assert snapshot.features["momentum"].equals(alone.features["momentum"])
    assert snapshot.volatility.sort("symbol").equals(alone.volatility.sort("symbol"))
    # the past is what it was: each session's rows as they were computed for it alone
    before = inputs.market_snapshot(market.sessions[-5], inputs.members(market.sessions[-5]), nobody, {"momentum": 0}, None)
    again = snapshot.history["momentum"].filter(pl.col("date") == market.sessions[-5])
    assert again.sort("symbol").equals(before.features["momentum"].sort("symbol"))
