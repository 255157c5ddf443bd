"""The judgement of a trial: how well it forecasts out of sample, what following it would have earned, and how sure that is.

Rows whose label is not known yet are left out of every forecast metric. Metrics of probabilities
use the rows that have one (the first windows have none: nothing earlier to calibrate on). The book
picks the top decile by score on every session, and so do the baselines by their own rule.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.timeframes import Timeframe
from mltrainer_pipelines.trials.scoring import backtest, risk, selection, uncertainty
from mltrainer_pipelines.trials.scoring.breakdown import PartScore, QuarterScore, by_quarter, by_regime, by_sector, compound
from mltrainer_pipelines.trials.scoring.forecast import Numbers, forecast, mean, number, outcome
from mltrainer_pipelines.trials.scoring.series import Floats

TOP = 0.1
"""Share of a session's symbols that the book, and the momentum baseline, buys."""
_MARKED = ("net_return", "equity")
BELIEVABLE_RANK_IC = 0.25
"""Daily rank IC of monthly holdings: published equity signals reach 0.03 to 0.10 (Gu, Kelly & Xiu 2020; Grinold & Kahn 2000)."""
BELIEVABLE_AUC = 0.68
BELIEVABLE_SHARPE_GAIN = 6.0
"""A year, after costs: what picking adds to the Sharpe ratio of the equal-weight universe."""


PARTS = ("per_quarter", "per_regime", "per_sector")
"""Fields of a scorecard that are tables: the same numbers in parts."""


class NothingToScoreError(ValueError):
    """A trial has no out-of-sample prediction whose label is known."""


class Scored(Protocol):
    """What scoring needs of a trial's configuration; `TrialConfig` has it."""

    @property
    def trial_id(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def feature_set(self) -> str: ...
    @property
    def horizon(self) -> Timeframe: ...


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
        Of the raw score against the label, and per session against the net return; the t-statistic is
        Newey–West over the time barrier, since labels overlap that long.
    log_loss, brier_skill, calibration_error : float
        Of the calibrated probability. The skill is against the base rate of these same rows, which nobody
        knew beforehand. The calibration error is over ten bins of equal mass.
    pick_return, pick_return_low, pick_return_high, expected_pick_return : float
        Mean net return of a pick, its 95 % interval over sessions (stationary bootstrap), and what was
        expected of the same picks where an expectation existed.
    net_return, net_return_low, net_return_high, total_return : float
        Of the book after costs: compound a year with its 95 % interval (stationary bootstrap), and in all.
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

    pick_return: float | None
    pick_return_low: float | None
    pick_return_high: float | None
    expected_pick_return: float | None

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


@dataclass(frozen=True)
class ScoreResult:
    """A scorecard and the frames it was read from.

    Attributes
    ----------
    scorecard : Scorecard
    equity : DataFrame
        A row a session: date; net_return, equity, drawdown, exposure, turnover of the book; universe_ and
        momentum_net_return, _equity.
    calibration : DataFrame
        A row a bin: probability (mean forecast), observed (share of labels that are 1), rows.
    per_quarter : DataFrame
        The fields of `QuarterScore` as columns.
    """

    scorecard: Scorecard
    equity: pl.DataFrame
    calibration: pl.DataFrame
    per_quarter: pl.DataFrame


def score(
    config: Scored,
    calibrated: pl.DataFrame,
    labels: pl.DataFrame,
    adjusted_bars: pl.DataFrame,
    other_trial_sharpes: Sequence[float] = (),
    trials_run: int | None = None,
    cost_bps: float = 10.0,
    regimes: pl.DataFrame | None = None,
    universe: pl.DataFrame | None = None,
) -> ScoreResult:
    """Judge a trial by its out-of-sample predictions.

    Parameters
    ----------
    config : TrialConfig
    calibrated : DataFrame
        date, symbol, score, probability (null where no earlier window could calibrate), expected_net_return.
        Its rows are the universe that both baselines choose from.
    labels : DataFrame
        Labels, of this timeframe at least; null where not known yet.
    adjusted_bars : DataFrame
        date, symbol, adj_open, adj_close over the predictions, what was held after them, and 252 sessions
        before them (the momentum baseline holds cash where it has less history).
    other_trial_sharpes : sequence of float
        `daily_sharpe` of every other trial ever scored, of any timeframe, the discarded ones too.
    trials_run : int, optional
        Trials ever run, this one included, where some left no Sharpe ratio (failed ones count).
    cost_bps : float
        Cost of one side of a trade, as in the labels.
    regimes : DataFrame, optional
        date, crash, neutral, bull: for the score per regime.
    universe : DataFrame, optional
        month, symbol, sector: for the score per sector.

    Raises
    ------
    NothingToScoreError
        If no prediction has a known label.
    """
    horizon = config.horizon.max_sessions
    rows = _with_labels(calibrated, labels, config.horizon.name)
    known = rows.filter(pl.col("label").is_not_null())
    if known.is_empty():
        raise NothingToScoreError(
            f"{config.trial_id}: none of its {calibrated.height} predictions has a known label yet; "
            f"a {config.horizon.name} label is known after at most {horizon} sessions, so score it later or over earlier quarters"
        )
    if known["score"].null_count() or not known["score"].is_finite().all():
        raise ValueError(
            f"{config.trial_id}: a score is null or not finite; a model that cannot score a row must fail, not pass on"
        )
    picks = backtest.top_fraction(rows, "score", TOP)
    prices = backtest.PriceGrid.from_bars(adjusted_bars)
    equity = _books(picks, rows, prices, horizon, cost_bps)
    quarters = by_quarter(rows, picks, equity, horizon)

    returns, market, momentum = (equity[f"{book}net_return"].to_numpy() for book in ("", "universe_", "momentum_"))
    trials = max(trials_run or 1, len(other_trial_sharpes) + 1)
    distribution = _distribution(returns, market)
    variance = trial_variance([*other_trial_sharpes, distribution["daily_sharpe"]], returns.size)
    low, high = uncertainty.stationary_bootstrap(returns, _annual_returns, horizon)
    curve, forecast_metrics = forecast(known, horizon)
    card = Scorecard(
        trial_id=config.trial_id,
        model=config.model,
        timeframe=config.horizon.name,
        feature_set=config.feature_set,
        first_session=rows["date"].min(),
        last_session=rows["date"].max(),
        sessions=equity.height,
        rows=known.height,
        quarters=len(quarters),
        **forecast_metrics,
        **_picked(picks, horizon),
        net_return=risk.annual_return(returns),
        net_return_low=number(low),
        net_return_high=number(high),
        total_return=compound(returns),
        sharpe=number(risk.sharpe_ratio(returns)),
        daily_sharpe_error=number(risk.sharpe_standard_error(returns, lags=horizon)),
        **distribution,
        **deflation(returns.size, distribution, trials, variance),
        maximum_drawdown=risk.maximum_drawdown(returns),
        turnover=float(equity["turnover"].to_numpy().mean()) * risk.SESSIONS_PER_YEAR,
        exposure=float(equity["exposure"].to_numpy().mean()),
        universe_net_return=risk.annual_return(market),
        universe_sharpe=number(risk.sharpe_ratio(market)),
        universe_maximum_drawdown=risk.maximum_drawdown(market),
        momentum_net_return=risk.annual_return(momentum),
        momentum_sharpe=number(risk.sharpe_ratio(momentum)),
        momentum_maximum_drawdown=risk.maximum_drawdown(momentum),
        too_good=unbelievable(
            forecast_metrics["rank_ic"],
            forecast_metrics["auc"],
            number(risk.sharpe_ratio(returns) - risk.sharpe_ratio(market)),
        ),
        per_quarter=tuple(quarters),
        per_regime=() if regimes is None else tuple(by_regime(rows, picks, equity, regimes, horizon)),
        per_sector=() if universe is None else tuple(by_sector(rows, picks, prices, universe, horizon, cost_bps)),
    )
    table = pl.DataFrame([quarter.model_dump() for quarter in quarters], schema=_quarter_schema())
    return ScoreResult(card, equity, curve, table)


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


def deflation(sessions: int, of: Mapping[str, Any], trials: int, variance: float) -> dict[str, Any]:
    """The fields of a scorecard that depend on how many trials were run.

    Parameters
    ----------
    sessions : int
    of : mapping
        daily_sharpe, skew, kurtosis and active_sharpe_z, as a scorecard has them.
    trials : int
        Trials ever run.
    variance : float
        Variance of their daily Sharpe ratios (`trial_variance`).
    """
    benchmark, deflated, deflated_z, active = selection.expected_maximum_sharpe(trials, variance), math.nan, math.nan, math.nan
    if of["daily_sharpe"] is not None:
        deflated_z = selection.sharpe_z(of["daily_sharpe"], sessions, of["skew"], of["kurtosis"], benchmark)
        deflated = NormalDist().cdf(deflated_z)
    if of["active_sharpe_z"] is not None:
        # A worthless trial's active Sharpe ratio is noise of one standard error.
        active = NormalDist().cdf(of["active_sharpe_z"] - selection.expected_maximum_sharpe(trials, 1.0))
    return {
        "trials_counted": trials,
        "expected_maximum_sharpe": benchmark,
        "deflated_sharpe": number(deflated),
        "deflated_sharpe_z": number(deflated_z),
        "active_deflated_sharpe": number(active),
    }


def trial_variance(daily_sharpes: Sequence[float | None], sessions: int) -> float:
    """Variance of the trials' daily Sharpe ratios; of a worthless trial's estimate where fewer than two are known."""
    known = np.array([value for value in daily_sharpes if value is not None and math.isfinite(value)])
    return float(known.var(ddof=1)) if known.size > 1 else 1.0 / max(sessions - 1, 1)


def _with_labels(calibrated: pl.DataFrame, labels: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    if calibrated.select("date", "symbol").is_duplicated().any():
        raise ValueError("the predictions have two rows for one date and symbol; quarters must not overlap")
    ours = labels.filter(pl.col("timeframe") == timeframe) if "timeframe" in labels.columns else labels
    columns = ["date", "symbol", "entry_date", "exit_date", "gross_return", "net_return", "label"]
    return calibrated.join(ours.select(columns), on=["date", "symbol"], how="left", validate="1:1").sort("date", "symbol")


def _books(picks: pl.DataFrame, rows: pl.DataFrame, prices: backtest.PriceGrid, horizon: int, cost_bps: float) -> pl.DataFrame:
    book = backtest.tranche_returns(picks, prices, horizon, cost_bps)
    momentum = rows.join(backtest.twelve_one_momentum(prices), on=["date", "symbol"], how="inner")
    baselines = {"universe_": rows, "momentum_": backtest.top_fraction(momentum, "momentum", TOP)}
    for name, chosen in baselines.items():
        marked = book.select("date", *_MARKED).clear()
        if not chosen.is_empty():
            marked = backtest.tranche_returns(chosen, prices, horizon, cost_bps).select("date", *_MARKED)
        marked = marked.rename({column: name + column for column in _MARKED})
        # before its first pick a baseline is cash: equity 1, return 0
        book = book.join(marked, on="date", how="left", maintain_order="left").with_columns(
            pl.col(f"{name}net_return").fill_null(0.0), pl.col(f"{name}equity").fill_null(1.0)
        )
    return book


def _picked(picks: pl.DataFrame, horizon: int) -> dict[str, Any]:
    known = picks.filter(pl.col("label").is_not_null())
    by_session = known.group_by("date", maintain_order=True).agg(pl.col("net_return").mean())["net_return"].to_numpy()
    low, high = uncertainty.stationary_bootstrap(by_session, lambda sample: sample.mean(axis=1), horizon)
    expected = known.filter(pl.col("expected_net_return").is_not_null())["expected_net_return"].to_numpy()
    return {
        "precision_top_decile": mean(outcome(known)),
        "pick_return": mean(by_session),
        "pick_return_low": number(low),
        "pick_return_high": number(high),
        "expected_pick_return": mean(expected),
    }


def _distribution(returns: Floats, universe: Floats) -> dict[str, Any]:
    skew, kurtosis = risk.moments(returns)
    active = returns - universe
    active_sharpe = risk.daily_sharpe(active)
    return {
        "daily_sharpe": number(risk.daily_sharpe(returns)),
        "skew": number(skew),
        "kurtosis": number(kurtosis),
        "active_sharpe": number(active_sharpe * math.sqrt(risk.SESSIONS_PER_YEAR)),
        "active_sharpe_z": number(selection.sharpe_z(active_sharpe, active.size, *risk.moments(active))),
    }


def _quarter_schema() -> dict[str, Any]:
    special = {"quarter": pl.Date, "rows": pl.Int64, "sessions": pl.Int64}
    return {name: special.get(name, pl.Float64) for name in QuarterScore.model_fields}


def _annual_returns(samples: Floats) -> Floats:
    """`annual_return` of every row; a book that lost everything has lost everything a year."""
    growth = np.log1p(np.maximum(samples, -1 + 1e-12)).mean(axis=1)
    return np.asarray(np.expm1(growth * risk.SESSIONS_PER_YEAR))
