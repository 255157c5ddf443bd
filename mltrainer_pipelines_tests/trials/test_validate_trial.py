from datetime import date

import pytest

from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.quarters import quarters_between
from mltrainer_pipelines.trials.validate_trial import validate_trial

START = date(2021, 6, 1)
QUARTERS = [start for start, _ in quarters_between(date(2023, 1, 1), date(2023, 12, 31))]


def test_a_training_span_longer_than_the_history_is_refused_with_the_longest_that_is_not() -> None:
    with pytest.raises(
        InvalidTrialError, match=r"train_sessions: 2000 is longer than the history, which has (\d+) sessions"
    ) as told:
        validate_trial(TrialConfig(model="lightgbm", timeframe="short", train_sessions=2000), QUARTERS, START)
    longest = int(str(told.value).rpartition(" ")[2])
    validate_trial(TrialConfig(model="lightgbm", timeframe="short", train_sessions=longest), QUARTERS, START)
    with pytest.raises(InvalidTrialError):
        validate_trial(TrialConfig(model="lightgbm", timeframe="short", train_sessions=longest + 1), QUARTERS, START)


def test_the_default_span_means_as_much_as_there_is() -> None:
    validate_trial(TrialConfig(model="lightgbm", timeframe="short"), QUARTERS, date(2021, 12, 1))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_than_four_quarters_are_refused(count: int) -> None:
    with pytest.raises(InvalidTrialError, match=rf"at least 4 quarters, .* {count}; set MLTRAINER_HISTORY_START"):
        validate_trial(TrialConfig(model="lightgbm", timeframe="short"), QUARTERS[:count], START)
