"""A trial scored from its stored quarters, beside every other trial that was ever run."""

from dataclasses import replace
from datetime import date

from sqlalchemy.engine import Engine

from mltrainer_pipelines.contracts.content_hash import data_fingerprint
from mltrainer_pipelines.market.history import adjusted_history
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import ledger
from mltrainer_pipelines.trials.registry.leaderboard import deflated, look_of
from mltrainer_pipelines.trials.scoring.backtest import MOMENTUM_LOOK_BACK
from mltrainer_pipelines.trials.scoring.score import ScoreResult, score
from mltrainer_pipelines.trials.validation import lake_tables
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward
from mltrainer_pipelines.trials.validation.stored_quarters import predicted_quarters


def evaluate(engine: Engine, lake: Lake, trial: TrialConfig, last: date, cost_bps: float) -> tuple[ScoreResult, str]:
    """Calibrate and score the quarters of a trial that are in the lake; also the fingerprint of its predictions and labels.

    `last` is the last closed session, `cost_bps` the cost of one side of a trade. MissingPartitionError or FeatureVersionError
    if no quarter was predicted, or from different versions of the feature set; NothingToScoreError if no prediction has a known
    label.
    """
    predictions = predicted_quarters(lake, trial.trial_id)
    labels = lake_tables.trial_labels(lake, trial, last, cost_bps)
    first, symbols = predictions["date"].sort()[0], predictions["symbol"].unique()
    # a few sessions more than the momentum baseline looks back
    bars = adjusted_history(lake, first, last, look_back=MOMENTUM_LOOK_BACK + 8, symbols=symbols)
    result = score(
        trial,
        calibrate_walk_forward(predictions, labels),
        labels,
        bars,
        cost_bps=cost_bps,
        regimes=lake_tables.regime(lake),
        universe=lake_tables.universe(lake),
    )
    luck = ledger.luck(engine, look_of(result.scorecard, cost_bps))
    (card,) = deflated([result.scorecard], luck)
    return replace(result, scorecard=card), data_fingerprint(predictions, labels)
