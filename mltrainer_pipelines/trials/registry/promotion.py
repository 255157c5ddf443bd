"""Which trial recommends, and with which grade: `proven` only where luck is no longer a good explanation.

Trials are ranked by the z of their deflated Sharpe ratio: how many standard errors the Sharpe ratio
lies above the best one to expect from as many trials without any skill. It grows with the length of
the record and shrinks with fat tails, so that a short lucky record does not beat a long good one.
"""

import math
from collections.abc import Sequence
from datetime import date
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from mltrainer_pipelines.trials.scoring import risk
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard

Grade = Literal["proven", "candidate"]
MOST_LUCK = 0.01
"""Probability at most that the best of as many worthless trials ranks as well: one in a hundred markets without skill."""
WORST_LEVEL = -1.645
"""Standard errors by which the level may be worse than what was known: below it chance explains one in twenty."""
MIN_COMMON_SESSIONS = 60
"""A challenger and an incumbent are compared over at least a quarter of daily returns that both have."""


class Decision(BaseModel):
    """Which trial is champion after a comparison, and why.

    `trial_id` is the challenger that was promoted or refused, or the incumbent where it is still the best; the grade is its own.
    The reasons say, for a reader, what was compared, and what keeps it from `proven`.
    """

    model_config = ConfigDict(frozen=True)

    trial_id: str
    decision: Literal["promoted", "refused"]
    grade: Grade
    reasons: tuple[str, ...]


def grade(scorecard: Scorecard) -> Grade:
    """`proven` where nothing in `shortfalls` keeps it from that, else `candidate`."""
    return "candidate" if shortfalls(scorecard) else "proven"


def shortfalls(scorecard: Scorecard) -> tuple[str, ...]:
    """What keeps a trial from the grade `proven`, one sentence each; empty where nothing does.

    Proven is a matter of picking, whichever way the market went: the ranking has to be beyond what the best of as many worthless
    trials would show by luck, on outcomes as on single sessions, and the picks have to earn more than the equal-weight universe
    after costs. The level of the probabilities must not be worse than the share of profits known at the time. And nothing may be
    too good to be true. Whether a simpler rule would do as well is asked of a promotion (`simpler_rule`).
    """
    card, lacking = scorecard, list(scorecard.too_good)
    if card.ranking_luck is None:
        lacking.append("whether its ranking is skill is unknown: score it again, over more sessions where there are few")
    elif card.ranking_luck > MOST_LUCK or not _above(card.rank_ic, 0.0):
        # rounded up: 1.04 % is more than the 1 % that `proven` takes
        lacking.append(
            f"its rank IC is {_format(card.rank_ic, 3)}, and the best of {card.trials_counted} worthless trials ranks as well "
            f"with a probability of {math.ceil(card.ranking_luck * 1000) / 1000:.1%}; at most {MOST_LUCK:.0%} is allowed"
        )
    if not _above(card.active_sharpe, 0.0):
        lacking.append(
            f"its picks do not earn more than the equal-weight universe (Sharpe ratio of it {_format(card.active_sharpe)})"
        )
    if card.level_z is not None and card.level_z < WORST_LEVEL:
        lacking.append(
            f"the level of its probabilities is worse than the share of profits known at the time "
            f"(Brier skill {_format(card.level_skill, 4)}, {-card.level_z:.1f} standard errors)"
        )
    return tuple(lacking)


def simpler_rule(card: Scorecard) -> str | None:
    """A sentence where 12-1 momentum alone earned more over the same time than the trial did: the simpler rule would do."""
    if (
        _above(card.momentum_sharpe, card.sharpe if card.sharpe is not None else -math.inf)
        and card.momentum_net_return > card.net_return
    ):
        return (
            f"12-1 momentum alone earned {card.momentum_net_return:+.1%} a year (Sharpe ratio {_format(card.momentum_sharpe)}) "
            f"where it earned {card.net_return:+.1%} ({_format(card.sharpe)}): the simpler rule would have done"
        )
    return None


def choose_champion(scorecards: Sequence[Scorecard], incumbent: str | None = None) -> Decision:
    """Choose between the trials of one timeframe, whose scorecards are deflated by the same trials (`leaderboard.deflated`).

    The challenger is the best-ranked trial, proven ones first. It replaces the incumbent only if its Sharpe ratio is higher over
    the quarters that both were tested on. ValueError if there is no scorecard, they mix timeframes, or the incumbent's is
    missing.
    """
    if not scorecards:
        raise ValueError("there is no scorecard to choose a champion from; score a trial of this timeframe first")
    timeframes = sorted({card.timeframe for card in scorecards})
    if len(timeframes) > 1:
        raise ValueError(f"the scorecards are of the timeframes {', '.join(timeframes)}; a champion is chosen for one at a time")
    by_id = {card.trial_id: card for card in scorecards}
    if incumbent is not None and incumbent not in by_id:
        raise ValueError(f"the incumbent {incumbent} has no scorecard among the {len(by_id)} given; score it again first")

    best = max(by_id.values(), key=_rank_key)
    skill = _skill("this", best.deflated_sharpe, best.trials_counted)
    reasons = [f"ranked first of {len(by_id)} {timeframes[0]} trials: Sharpe ratio {_format(best.sharpe)}; {skill}"]
    decision: Literal["promoted", "refused"] = "promoted"
    if best.deflated_sharpe_z is None:
        decision, reasons = "refused", [f"none of {len(by_id)} {timeframes[0]} trials has a Sharpe ratio: no book was ever held"]
    elif incumbent == best.trial_id:
        decision, reasons = "refused", [*reasons, "it is the champion already"]
    elif incumbent is not None:
        beaten, why = _beats(best, by_id[incumbent])
        decision = "promoted" if beaten else "refused"
        reasons.append(why)
    simpler = simpler_rule(best)
    reasons += [simpler] if simpler else []
    return Decision(trial_id=best.trial_id, decision=decision, grade=grade(best), reasons=(*reasons, *shortfalls(best)))


def _rank_key(card: Scorecard) -> tuple[bool, float, str]:
    z = card.deflated_sharpe_z
    return grade(card) == "proven", -math.inf if z is None else z, card.trial_id


def _beats(challenger: Scorecard, incumbent: Scorecard) -> tuple[bool, str]:
    common = {q.quarter for q in challenger.per_quarter} & {q.quarter for q in incumbent.per_quarter}
    ours, sessions = _pooled_sharpe(challenger, common)
    theirs, their_sessions = _pooled_sharpe(incumbent, common)
    if min(sessions, their_sessions) < MIN_COMMON_SESSIONS:
        return False, (
            f"it shares {min(sessions, their_sessions)} sessions with the champion {incumbent.trial_id}, fewer than "
            f"{MIN_COMMON_SESSIONS}: too few to compare; run both over the same quarters"
        )
    beaten = ours > theirs
    return beaten, (
        f"over the {len(common)} quarters both were tested on its Sharpe ratio is {_format(ours)}, "
        f"{'above' if beaten else 'not above'} {_format(theirs)} of the champion {incumbent.trial_id}"
    )


def _pooled_sharpe(card: Scorecard, quarters: set[date]) -> tuple[float, int]:
    """Annualised Sharpe ratio and number of daily returns over some quarters, from their means and deviations."""
    chosen = [q for q in card.per_quarter if q.quarter in quarters and q.sessions > 0]
    count = sum(q.sessions for q in chosen)
    if count < 2:
        return math.nan, count
    mean = sum(q.sessions * q.daily_mean for q in chosen) / count
    squares = sum((q.sessions - 1) * q.daily_deviation**2 + q.sessions * (q.daily_mean - mean) ** 2 for q in chosen)
    deviation = math.sqrt(squares / (count - 1))
    return (mean / deviation * float(np.sqrt(risk.SESSIONS_PER_YEAR)) if deviation > 0 else math.nan), count


def _above(value: float | None, bar: float) -> bool:
    return value is not None and value > bar


def _skill(what: str, probability: float | None, trials: int) -> str:
    # rounded down: 94.99 % is not the 95 % that `proven` takes
    percent = "unknown" if probability is None else f"{math.floor(probability * 1000) / 1000:.1%}"
    return f"the probability that {what} is skill rather than luck is {percent} (best of {trials} trials)"


def _format(value: float | None, digits: int = 2) -> str:
    return "unknown" if value is None or math.isnan(value) else f"{value:.{digits}f}"
