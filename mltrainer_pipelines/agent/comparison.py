"""Proposers beside each other: the best score found against the number of trials it took, on the same market.

Every proposer sees the same market, the same space and only its own results. It is judged twice: by the
best Sharpe ratio over the quarters it could learn from, which rises with the number of tries even where
there is nothing to find, and by what that very trial earned over the later quarters, which nobody had
seen when it was chosen. The second is what learning faster means.
"""

import math
import statistics as st
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from mltrainer_pipelines.agent.proposals import Proposal
from mltrainer_pipelines.agent.search import Tried
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.scoring.breakdown import QuarterScore
from mltrainer_pipelines.trials.scoring.risk import SESSIONS_PER_YEAR
from mltrainer_pipelines.trials.scoring.score import NothingToScoreError, score
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward
from mltrainer_pipelines.trials.validation.run_in_memory import History
from mltrainer_pipelines.trials.validation.walk_forward import TooFewRowsError, WalkForward

LEARNT_FROM = 0.6
"""Share of a trial's quarters, the first ones, whose score proposers learn."""


class Proposer(Protocol):
    """Proposes so many new trials, knowing its own results and nothing else."""

    def __call__(self, many: int, template: TrialConfig, tried: Sequence[Tried], seed: int, /) -> list[Proposal]: ...


@dataclass(frozen=True)
class Evaluation:
    """A trial's annualised Sharpe ratios after costs: over the quarters that proposers learn from, and over the later ones."""

    learnt: float | None
    later: float | None


@dataclass
class TrialRunner:
    """Runs trials in this process on one market; the same trial is computed once.

    `quarters` are the first days of each quarter to predict and of the one after it; `cost_bps` is of one side of a trade;
    `on_scored` is called with each scorecard as it is made.
    """

    history: History
    quarters: Sequence[tuple[date, date]]
    cost_bps: float = 10.0
    on_scored: Callable[[TrialConfig, Scorecard], None] = lambda _config, _card: None
    _cards: dict[str, Scorecard | None] = field(default_factory=dict)

    def scorecard(self, config: TrialConfig) -> Scorecard | None:
        """A trial's scorecard over all quarters; None where its training windows hold too little to fit it."""
        if config.trial_id not in self._cards:
            self._cards[config.trial_id] = self._computed(config)
        return self._cards[config.trial_id]

    def evaluate(self, config: TrialConfig) -> Evaluation:
        """What a proposer learns of a trial, and what it is judged by."""
        card = self.scorecard(config)
        if card is None:
            return Evaluation(None, None)
        split = min(math.ceil(LEARNT_FROM * len(card.per_quarter)), len(card.per_quarter) - 1)
        return Evaluation(_sharpe(card.per_quarter[:split]), _sharpe(card.per_quarter[split:]))

    def _computed(self, config: TrialConfig) -> Scorecard | None:
        labels = self.history.labels.filter(pl.col("timeframe") == config.timeframe)
        walk = WalkForward(config, self.history.features, labels, universe=self.history.universe)
        try:
            predictions = pl.concat([walk.predict_quarter(first, after).predictions for first, after in self.quarters])
            calibrated = calibrate_walk_forward(predictions, labels)
            card = score(config, calibrated, labels, self.history.bars, cost_bps=self.cost_bps).scorecard
        except (TooFewRowsError, NothingToScoreError):
            return None
        self.on_scored(config, card)
        return card


@dataclass(frozen=True)
class Course:
    """After each trial of one proposer the best Sharpe ratio it has learnt of, and that trial's over the later quarters."""

    proposer: str
    seed: int
    best: list[float | None]
    later: list[float | None]
    trials: list[str]


@dataclass(frozen=True)
class Comparison:
    """The courses of all proposers, each once a seed."""

    courses: list[Course]
    trials: int

    def summary(self) -> dict[str, Any]:
        """By proposer: the mean course, and after how many trials it is as good as `random` is at its end.

        `speed_up` is how many times fewer trials that takes than `random` itself took; None where it never got there.
        """
        names = list(dict.fromkeys(course.proposer for course in self.courses))
        means = {name: self._mean(name, "best") for name in names}
        reached = {name: _first_at(means[name], means.get("random")) for name in names}
        own = reached.get("random")
        return {
            name: {
                "seeds": sum(course.proposer == name for course in self.courses),
                "best_by_trials": means[name],
                "later_by_trials": self._mean(name, "later"),
                "trials_to_random_final": reached[name],
                "speed_up": own / reached[name] if own and reached[name] else None,  # type: ignore[operator]
            }
            for name in names
        }

    def _mean(self, name: str, what: str) -> list[float | None]:
        courses = [getattr(course, what) for course in self.courses if course.proposer == name]
        columns = [[values[n] for values in courses if values[n] is not None] for n in range(min(map(len, courses)))]
        return [st.mean(column) if column else None for column in columns]


def compare(
    proposers: Mapping[str, Proposer],
    runner: TrialRunner,
    template: TrialConfig,
    trials: int,
    batch: int = 4,
    seeds: Sequence[int] = (0,),
    on_trial: Callable[[str, int], None] = lambda _name, _count: None,
) -> Comparison:
    """Let every proposer run `trials` trials for each seed, from nothing, `batch` at a time: results are known after each batch.

    `on_trial` is called with the proposer's name and how many of its trials are done.
    """
    courses = []
    for name, proposer in proposers.items():
        for seed in seeds:
            tried: list[Tried] = []
            evaluations: list[Evaluation] = []
            while len(tried) < trials:
                proposals = proposer(min(batch, trials - len(tried)), template, tried, seed * 1000 + len(tried))
                if not proposals:
                    break
                for proposal in proposals[: trials - len(tried)]:
                    evaluations.append(runner.evaluate(proposal.config))
                    tried.append(Tried(proposal.config, evaluations[-1].learnt))
                    on_trial(name, len(tried))
            courses.append(_course(name, seed, tried, evaluations))
    return Comparison(courses, trials)


def plot(comparison: Comparison, path: Path) -> None:
    """Draw the mean courses, what was learnt from on the left and the later quarters on the right; format by the file's name."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    titles = ("Best Sharpe ratio so far", "The same trial over later quarters")
    for place, (key, title) in enumerate(zip(("best_by_trials", "later_by_trials"), titles, strict=True), start=1):
        axes = figure.add_subplot(1, 2, place)
        for name, summary in comparison.summary().items():
            values = [math.nan if value is None else value for value in summary[key]]
            axes.plot(range(1, len(values) + 1), values, marker=".", label=f"{name} ({summary['seeds']} seeds)")
        axes.set(title=title, xlabel="trials", ylabel="annualised, after costs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def _first_at(course: Sequence[float | None], random: Sequence[float | None] | None) -> int | None:
    """The first trial, counted from 1, after which a course is as good as `random` is at its end."""
    if not random or (bar := random[-1]) is None:
        return None
    return next((n for n, best in enumerate(course, start=1) if best is not None and best >= bar), None)


def _course(name: str, seed: int, tried: Sequence[Tried], evaluations: Sequence[Evaluation]) -> Course:
    learnt = [-math.inf if one.learnt is None else one.learnt for one in evaluations]
    leaders = [learnt.index(max(learnt[:n])) for n in range(1, len(learnt) + 1)]
    best = [evaluations[n] if learnt[n] > -math.inf else Evaluation(None, None) for n in leaders]
    trials = [one.config.trial_id for one in tried]
    return Course(name, seed, [one.learnt for one in best], [one.later for one in best], trials)


def _sharpe(quarters: Sequence[QuarterScore]) -> float | None:
    """Annualised Sharpe ratio over some quarters, from the mean and deviation of the daily returns of each."""
    held = [quarter for quarter in quarters if quarter.sessions > 1]
    count = sum(quarter.sessions for quarter in held)
    if count < 2:
        return None
    mean = sum(quarter.sessions * quarter.daily_mean for quarter in held) / count
    squares = sum((q.sessions - 1) * q.daily_deviation**2 + q.sessions * (q.daily_mean - mean) ** 2 for q in held)
    return mean / math.sqrt(squares / (count - 1)) * math.sqrt(SESSIONS_PER_YEAR) if squares > 0 else None
