"""A trial's out-of-sample quarters in the lake: `trial_predictions/<trial>/<first day of the quarter>`."""

from collections.abc import Sequence

import polars as pl

from mltrainer_pipelines.features.tables import VERSION_NOTE, noted_versions
from mltrainer_pipelines.features.versions import FeatureVersionError
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.scoring.permutation_importance import mean_importances


def missing_quarters(lake: Lake, trial: TrialConfig, quarters: Sequence[str]) -> list[str]:
    """Those of the quarters that are not predicted yet, or were predicted from another version of the feature set."""
    stored = [key for key in quarters if lake.exists("trial_predictions", f"{trial.trial_id}/{key}")]
    versions = noted_versions(lake, "trial_predictions", [f"{trial.trial_id}/{key}" for key in stored])
    done = {key for key, version in zip(stored, versions, strict=True) if version == trial.feature_set_version}
    return [key for key in quarters if key not in done]


def write_quarter(
    lake: Lake, trial: TrialConfig, quarter: str, predictions: pl.DataFrame, importances: pl.DataFrame | None
) -> None:
    """Store a quarter's predictions with the version of the feature set they come from, after what moved the score."""
    if importances is not None:
        lake.write("trial_importances", importances, f"{trial.trial_id}/{quarter}")
    lake.write("trial_predictions", predictions, f"{trial.trial_id}/{quarter}", {VERSION_NOTE: trial.feature_set_version})


def stored_importances(lake: Lake, trial_id: str) -> pl.DataFrame | None:
    """Mean importances over the trial's quarters, the most important feature first; None where its model has none."""
    keys = [key for key in lake.partitions("trial_importances") if key.startswith(f"{trial_id}/")]
    return mean_importances(lake.scan("trial_importances", keys).collect()) if keys else None


def predicted_quarters(lake: Lake, trial_id: str) -> pl.DataFrame:
    """Every quarter of a trial that was predicted.

    MissingPartitionError or FeatureVersionError if none was, or from more than one version of the feature set.
    """
    keys = [key for key in lake.partitions("trial_predictions") if key.startswith(f"{trial_id}/")]
    versions = noted_versions(lake, "trial_predictions", keys)
    if len(set(versions)) > 1:
        listed = "; ".join(f"{key.rpartition('/')[2]}: {version}" for key, version in zip(keys, versions, strict=True))
        raise FeatureVersionError(
            f"the quarters of {trial_id} were predicted from different versions of its feature set ({listed}): "
            "materialize trial_predictions of all its quarters again"
        )
    return lake.scan("trial_predictions", keys or [f"{trial_id}/any"]).collect()
