"""The judgement of a trial: how well it forecasts out of sample, what following it would have earned, and how sure that is.

Rows whose label is not known yet are left out of every forecast metric. Metrics of probabilities
use the rows that have one (the first windows have none: nothing earlier to calibrate on). The book
picks the top decile by score on every session, and so do the baselines by their own rule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mltrainer_pipelines.trials.scoring import backtest, risk, selection
from mltrainer_pipelines.trials.scoring.breakdown import QuarterScore, by_quarter, by_regime, by_sector, compound
from mltrainer_pipelines.trials.scoring.deflation import deflation, trial_variance
from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time
from mltrainer_pipelines.trials.scoring.forecast import forecast, held_rank_ics, level_and_ranking, mean, number, outcome
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard, unbelievable
from mltrainer_pipelines.trials.scoring.series import Floats

if TYPE_CHECKING:
    from mltrainer_pipelines.trials.config import TrialConfig

TOP = 0.1
"""Share of a session's symbols that the book, and the momentum baseline, buys."""
WEEK = 5
"""Sessions over which returns of single sessions may depend on each other: prices that lag, trades that take days."""
_MARKED = ("net_return", "equity")


class NothingToScoreError(ValueError):
    """A trial has no out-of-sample prediction whose label is known."""


@dataclass(frozen=True)
class ScoreResult:
    """A scorecard and the frames it was read from.

    Of `equity` a row is a session: date; net_return, equity, drawdown, exposure, turnover of the book; universe_ and
    momentum_net_return, _equity. Of `calibration` a bin: probability (mean forecast), observed (share of labels that are 1),
    rows. `per_quarter` has the fields of `QuarterScore` as columns.
    """

    scorecard: Scorecard
    equity: pl.DataFrame
    calibration: pl.DataFrame
    per_quarter: pl.DataFrame


def score(
    config: "TrialConfig",
    calibrated: pl.DataFrame,
    labels: pl.DataFrame,
    adjusted_bars: pl.DataFrame,
    other_trial_sharpes: Sequence[float] = (),
    trials_run: int | None = None,
    cost_bps: float = 10.0,
    regimes: pl.DataFrame | None = None,
    universe: pl.DataFrame | None = None,
    by_quarters: bool = True,
) -> ScoreResult:
    """Judge a trial by its out-of-sample predictions; NothingToScoreError if none of them has a known label.

    Predictions are date, symbol, score, probability (null where no earlier window could calibrate), expected_net_return; their
    rows are the universe that both baselines choose from. Labels are of this timeframe at least, null where not known yet. Bars
    are date, symbol, adj_open, adj_close over the predictions, what was held after them, and 252 sessions before them (the
    momentum baseline holds cash where it has less history). `other_trial_sharpes` are the `daily_sharpe` of every other trial
    ever scored, of any timeframe, the discarded ones too; `trials_run` counts the trials ever run, this one included, where some
    left no Sharpe ratio (failed ones count). `cost_bps` is the cost of one side of a trade, as in the labels. Regimes (date,
    crash, neutral, bull) and a universe (month, symbol, sector) are for the scores per regime and per sector. Without
    `by_quarters` there are none per quarter either: nothing else depends on them.
    """
    horizon = config.horizon.max_sessions
    rows = _with_labels(calibrated, labels, config.horizon.name)
    resolved = rows.filter(pl.col("label").is_not_null())
    if resolved.is_empty():
        raise NothingToScoreError(
            f"{config.trial_id}: none of its {calibrated.height} predictions has a known label yet; "
            f"a {config.horizon.name} label is known after at most {horizon} sessions, so score it later or over earlier quarters"
        )
    if resolved["score"].null_count() or not resolved["score"].is_finite().all():
        raise ValueError(
            f"{config.trial_id}: a score is null or not finite; a model that cannot score a row must fail, not pass on"
        )
    _require_cost(resolved, cost_bps)
    picks = backtest.top_fraction(rows, "score", TOP)
    prices = backtest.PriceGrid.from_bars(adjusted_bars)
    equity = _books(picks, rows, prices, horizon, cost_bps)
    quarters = by_quarter(rows, picks, equity, horizon) if by_quarters else []

    returns, market, momentum = (equity[f"{book}net_return"].to_numpy() for book in ("", "universe_", "momentum_"))
    trials = max(trials_run or 1, len(other_trial_sharpes) + 1)
    held = mean_over_time(held_rank_ics(rows, prices, horizon), WEEK)
    distribution = {**_distribution(returns, market), "held_rank_ic": number(held.mean), "ranking_z": number(held.z)}
    variance = trial_variance([*other_trial_sharpes, distribution["daily_sharpe"]], returns.size)
    growth = mean_over_time(np.log1p(np.maximum(returns, -1 + 1e-12)), horizon)
    low, high = (number(math.expm1(bound * risk.SESSIONS_PER_YEAR)) for bound in growth.interval())
    curve, forecast_metrics = forecast(resolved, horizon)
    card = Scorecard(
        trial_id=config.trial_id,
        model=config.model,
        timeframe=config.horizon.name,
        feature_set=config.feature_set,
        first_session=rows["date"].min(),
        last_session=rows["date"].max(),
        sessions=equity.height,
        rows=resolved.height,
        quarters=len(quarters),
        **forecast_metrics,
        **level_and_ranking(resolved, labels, horizon),
        **_picked(picks, resolved, horizon),
        net_return=risk.annual_return(returns),
        net_return_low=low,
        net_return_high=high,
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
    kinds = {"quarter": pl.Date, "rows": pl.Int64, "sessions": pl.Int64}
    schema = {name: kinds.get(name, pl.Float64) for name in QuarterScore.model_fields}
    return ScoreResult(card, equity, curve, pl.DataFrame([quarter.model_dump() for quarter in quarters], schema=schema))


def _with_labels(calibrated: pl.DataFrame, labels: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    if calibrated.select("date", "symbol").is_duplicated().any():
        raise ValueError("the predictions have two rows for one date and symbol; quarters must not overlap")
    own = labels.filter(pl.col("timeframe") == timeframe) if "timeframe" in labels.columns else labels
    columns = ["date", "symbol", "entry_date", "exit_date", "gross_return", "net_return", "label"]
    return calibrated.join(own.select(columns), on=["date", "symbol"], how="left", validate="1:1").sort("date", "symbol")


def _require_cost(resolved: pl.DataFrame, cost_bps: float) -> None:
    kept = (1.0 + pl.col("net_return")) / (1.0 + pl.col("gross_return"))
    of_labels = resolved.select(((1.0 - kept) / (1.0 + kept)).median()).item() * 1e4
    if abs(of_labels - cost_bps) > 0.1:
        raise ValueError(
            f"the labels have a cost of {of_labels:.2f} basis points a side and the book {cost_bps:.2f}: "
            "a scorecard has one cost; compute labels with the same cost, or score with theirs"
        )


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


def _picked(picks: pl.DataFrame, rows: pl.DataFrame, horizon: int) -> dict[str, Any]:
    resolved = picks.filter(pl.col("label").is_not_null())
    of_all = rows.group_by("date").agg(of_all=pl.col("net_return").mean())
    picked = resolved.group_by("date", maintain_order=True).agg(pl.col("net_return").mean()).join(of_all, on="date").sort("date")
    by_session = picked["net_return"].to_numpy()
    excess = mean_over_time((picked["net_return"] - picked["of_all"]).to_numpy(), horizon)
    low, high = mean_over_time(by_session, horizon).interval()
    excess_low, excess_high = excess.interval()
    expected = resolved.filter(pl.col("expected_net_return").is_not_null())["expected_net_return"].to_numpy()
    return {
        "precision_top_decile": mean(outcome(resolved)),
        "pick_return": mean(by_session),
        "pick_return_low": number(low),
        "pick_return_high": number(high),
        "expected_pick_return": mean(expected),
        "pick_excess": number(excess.mean),
        "pick_excess_low": number(excess_low),
        "pick_excess_high": number(excess_high),
        "pick_excess_z": number(excess.z),
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
