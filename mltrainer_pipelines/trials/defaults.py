"""The trials that are run where nobody asked for others: what came out best of the experiments of `docs/skill.md`."""

from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.trials.config import WHOLE_HISTORY, TrialConfig

DEFAULT_MODELS = ("rank_mix", "rank_ridge")
"""The default model, and the simpler half of it, which takes its place where the trees add nothing."""


def default_trial(timeframe: TimeframeName, model: str = DEFAULT_MODELS[0], **fields: object) -> TrialConfig:
    """A default trial: neutral outcomes, features that tell stocks apart, every session of the history.

    >>> default_trial("short").target
    'neutral'
    """
    return TrialConfig(
        model=model,
        timeframe=timeframe,
        feature_set="stock_selection",
        train_sessions=WHOLE_HISTORY,
        target="neutral",
        **fields,
    )


def default_trials(timeframe: TimeframeName, **fields: object) -> list[TrialConfig]:
    """All default trials of a timeframe, the default model first."""
    return [default_trial(timeframe, model, **fields) for model in DEFAULT_MODELS]
