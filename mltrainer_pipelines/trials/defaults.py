"""The trials that are run where nobody asked for others: what came out best of the experiments of `docs/skill.md`."""

from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.trials.config import WHOLE_HISTORY, TrialConfig

DEFAULT_MODELS = ("rank_mix", "rank_ridge")
"""The default model, and its simplest part, which takes its place where the others add nothing."""


def default_trial(timeframe: TimeframeName, model: str = DEFAULT_MODELS[0], **fields: object) -> TrialConfig:
    """A default trial: neutral outcomes, features that tell stocks apart, every session of the history, the timeframe's prior.

    >>> default_trial("short").target
    'neutral'
    """
    return TrialConfig(
        model=model,
        params={"prior": timeframe} if model == DEFAULT_MODELS[0] else {},
        timeframe=timeframe,
        feature_set="stock_selection",
        train_sessions=WHOLE_HISTORY,
        target="neutral",
        **fields,
    )


def default_trials(timeframe: TimeframeName, **fields: object) -> list[TrialConfig]:
    """All default trials of a timeframe, the default model first."""
    return [default_trial(timeframe, model, **fields) for model in DEFAULT_MODELS]
