"""Whether a trial can be judged on the history that there is: checked before anything of it is started."""

from collections.abc import Sequence
from datetime import date, timedelta

from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.trials.config import WHOLE_HISTORY, InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.quarters import SHORT_TRAINING_DAYS, TRAINING_DAYS, predictable_quarters
from mltrainer_pipelines.trials.validation.windows import EMBARGO_SESSIONS

MIN_QUARTERS = 4
"""A year out of sample: below it nothing that a trial earned differs from luck."""
_AS_MUCH_AS_THERE_IS = (TrialConfig.model_fields["train_sessions"].default, WHOLE_HISTORY)


def training_days_for(history_start: date, last: date) -> int:
    """Days of history before the first predicted quarter: the usual ones, or fewer where they leave too few quarters."""
    return TRAINING_DAYS if len(predictable_quarters(history_start, last)) >= MIN_QUARTERS else SHORT_TRAINING_DAYS


def validate_trial(config: TrialConfig, quarters: Sequence[date], history_start: date) -> None:
    """Refuse a trial that the history is too short for, or whose feature set has changed since it was written.

    `quarters` are the first days of those that can be predicted, in order. The default of `train_sessions` and
    `WHOLE_HISTORY` are not refused: they mean as much of three years, or of everything, as there is.
    InvalidTrialError names what was asked for and what would be valid.
    """
    config.require_today()
    if len(quarters) < MIN_QUARTERS:
        raise InvalidTrialError(
            f"a trial is judged by at least {MIN_QUARTERS} quarters, and with a history from {history_start} there "
            f"{'is' if len(quarters) == 1 else 'are'} {len(quarters)}; set MLTRAINER_HISTORY_START to an earlier day (a trial's "
            "first quarter begins MLTRAINER_TRAINING_DAYS after it) and ingest from there"
        )
    last = quarters[-1]
    most = len(sessions_between(history_start, last - timedelta(days=1))) - EMBARGO_SESSIONS
    if config.train_sessions > most and config.train_sessions not in _AS_MUCH_AS_THERE_IS:
        raise InvalidTrialError(
            f"train_sessions: {config.train_sessions} is longer than the history, which has {most} sessions from {history_start} "
            f"to before the last quarter, {last}; give at most {most}"
        )
