"""The scorecard of a trial: how well it forecasts out of sample, what following it would have earned, and how sure that is."""

from datetime import date

from mltrainer_pipelines.trials.scoring.breakdown import PartScore, QuarterScore
from mltrainer_pipelines.trials.scoring.forecast import Numbers

BELIEVABLE_RANK_IC = 0.25
"""Daily rank IC of monthly holdings: published equity signals reach 0.03 to 0.10 (Gu, Kelly & Xiu 2020; Grinold & Kahn 2000)."""
BELIEVABLE_AUC = 0.68
BELIEVABLE_SHARPE_GAIN = 6.0
"""A year, after costs: what picking adds to the Sharpe ratio of the equal-weight universe."""


PARTS = ("per_quarter", "per_regime", "per_sector")
"""Fields of a scorecard that are tables: the same numbers in parts."""


class Scorecard(Numbers):
    """What is known of a trial out of sample. A number that does not exist (too few rows, one class only) is None.

    Attributes
    ----------
    rows, calibrated_rows : int
        Predictions whose label is known, and those of them with a calibrated probability.
    sessions : int
        Daily returns of the book. `quarters`: calendar quarters with a decision.
    base_rate : float
        Share of the known labels that are 1.
    hit_rate : float
        Share of calibrated rows on the right side of one half.
    precision_top_decile : float
        Share of the book's picks with a net return above zero.
    auc, rank_ic, rank_ic_t : float
        Of the raw score against the label, and per session against the net return; the t-statistic has as
        many degrees of freedom as independent holding periods give it (`effective_sample`).
    held_rank_ic, ranking_z, ranking_luck : float
        Rank IC a session of the mean score of the last `max_sessions` decisions against the next session's return, which does
        not overlap; how many standard errors it is above zero; and the probability that the best of `trials_counted` worthless
        trials would rank as well.
    level_skill, level_z, ranking_skill : float
        Share of the Brier score that the mean probability of each session saves against the share of profits known at the
        time, and by how many standard errors; and the share that telling symbols apart saves against that mean: 0 where all
        symbols of a session have one probability, the market's level.
    log_loss, brier_skill, calibration_error : float
        Of the calibrated probability. The skill is against the base rate of these same rows, which nobody
        knew beforehand. The calibration error is over ten bins of equal mass.
    pick_return, pick_return_low, pick_return_high, expected_pick_return : float
        Mean net return of a pick, its 95 % interval over sessions (`effective_sample`), and what was
        expected of the same picks where an expectation existed.
    pick_excess, pick_excess_low, pick_excess_high, pick_excess_z : float
        Mean net return of a session's picks above that of all its symbols, its 95 % interval, and how many standard errors it
        is above zero: what the ranking is worth.
    net_return, net_return_low, net_return_high, total_return : float
        Of the book after costs: compound a year with its 95 % interval (`effective_sample`), and in all.
    sharpe, daily_sharpe, daily_sharpe_error : float
        Annualised; per day; and the per-day standard error, autocorrelation included.
    deflated_sharpe, deflated_sharpe_z : float
        Probability that the true Sharpe ratio is above zero though the best of `trials_counted` was picked;
        and the standard errors it is the normal probability of, for ranking.
    active_sharpe, active_sharpe_z, active_deflated_sharpe : float
        Of the daily return above the equal-weight universe, which a rising market alone cannot lift:
        annualised, in standard errors above zero, and the probability of being above zero though the best
        of `trials_counted` was picked.
    maximum_drawdown : float
        Positive fraction of the peak. `turnover`: a year, half of what was bought and sold over equity.
    universe_*, momentum_* : float
        The baselines, through the same tranches, barriers and costs.
    too_good : tuple of str
        What is better than a forecast of returns can be, one sentence each: most likely a feature that knows the
        outcome. Empty where nothing is.
    per_quarter, per_regime, per_sector : tuple
        The same in parts (`PARTS`); the last two are empty where no regimes or sectors were given.
    """

    trial_id: str
    model: str
    timeframe: str
    feature_set: str
    first_session: date
    last_session: date
    sessions: int
    rows: int
    calibrated_rows: int
    quarters: int

    base_rate: float
    hit_rate: float | None
    precision_top_decile: float | None
    auc: float | None
    log_loss: float | None
    brier_skill: float | None
    calibration_error: float | None
    rank_ic: float | None
    rank_ic_t: float | None
    held_rank_ic: float | None = None
    ranking_z: float | None = None
    ranking_luck: float | None = None
    ranking_skill: float | None = None
    level_skill: float | None = None
    level_z: float | None = None

    pick_return: float | None
    pick_return_low: float | None
    pick_return_high: float | None
    expected_pick_return: float | None
    pick_excess: float | None = None
    pick_excess_low: float | None = None
    pick_excess_high: float | None = None
    pick_excess_z: float | None = None

    net_return: float
    net_return_low: float | None
    net_return_high: float | None
    total_return: float
    sharpe: float | None
    daily_sharpe: float | None
    daily_sharpe_error: float | None
    skew: float | None
    kurtosis: float | None
    trials_counted: int
    expected_maximum_sharpe: float
    deflated_sharpe: float | None
    deflated_sharpe_z: float | None
    active_sharpe: float | None
    active_sharpe_z: float | None
    active_deflated_sharpe: float | None
    maximum_drawdown: float
    turnover: float
    exposure: float

    universe_net_return: float
    universe_sharpe: float | None
    universe_maximum_drawdown: float
    momentum_net_return: float
    momentum_sharpe: float | None
    momentum_maximum_drawdown: float

    too_good: tuple[str, ...] = ()
    per_quarter: tuple[QuarterScore, ...]
    per_regime: tuple[PartScore, ...] = ()
    per_sector: tuple[PartScore, ...] = ()


def part_metrics(card: Scorecard) -> dict[str, float | None]:
    """The scores per regime and per sector as flat numbers: `regime.bull.rank_ic`, `sector.Energy.rank_ic`, …"""
    return {
        f"{kind}.{part.part}.{name}": value
        for kind, parts in (("regime", card.per_regime), ("sector", card.per_sector))
        for part in parts
        for name, value in part.model_dump(exclude={"part"}).items()
    }


def unbelievable(rank_ic: float | None, auc: float | None, sharpe_gain: float | None) -> tuple[str, ...]:
    """What is better than a forecast of returns over weeks can be, one sentence each; empty where nothing is.

    A feature that knows a part of the outcome (a price of tomorrow, a label joined a row too late) shows here first.

    >>> unbelievable(rank_ic=0.31, auc=0.55, sharpe_gain=None)
    ('its rank IC of 0.31 is above 0.25, too good to be true: look for a feature that knows the outcome',)
    """
    bars = (
        ("rank IC", rank_ic, BELIEVABLE_RANK_IC),
        ("AUC", auc, BELIEVABLE_AUC),
        ("gain in Sharpe ratio over the universe", sharpe_gain, BELIEVABLE_SHARPE_GAIN),
    )
    return tuple(
        f"its {name} of {value:.2f} is above {bar:g}, too good to be true: look for a feature that knows the outcome"
        for name, value, bar in bars
        if value is not None and value > bar
    )
