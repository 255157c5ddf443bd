"""A trial in parts: by calendar quarter, by the regime of the market, by sector.

A quarter's and a regime's returns are those of the book on their days; the regime of a day is the one that was known at
the close before it. A sector's are those of a book of its own: the picks that fell into the sector, and cash elsewhere.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import polars as pl

from mltrainer_pipelines.trials.scoring import backtest, risk
from mltrainer_pipelines.trials.scoring.forecast import Numbers, forecast, mean, number, outcome
from mltrainer_pipelines.trials.scoring.series import Floats

STATES = ("crash", "neutral", "bull")
"""Columns of the regime table: the probability of each state of the market, filtered at the close."""
UNKNOWN = "unknown"
_BOOKS = ("", "universe_", "momentum_")


class QuarterScore(Numbers):
    """One calendar quarter of a trial: forecast metrics of its decisions, returns of its days."""

    quarter: date
    rows: int
    sessions: int
    auc: float | None
    log_loss: float | None
    brier_skill: float | None
    rank_ic: float | None
    precision_top_decile: float | None
    net_return: float
    universe_net_return: float
    momentum_net_return: float
    daily_mean: float
    daily_deviation: float


class PartScore(Numbers):
    """The decisions of a trial in one regime (the state that was likeliest at the decision) or one sector; or `unknown`.

    `rows` are decisions with a known label, `sessions` daily returns. `pick_return` is the mean net return of the book's picks,
    `universe_pick_return` that of all rows; the other returns are a year of such days, compounded, after costs. Sharpe ratios
    are annualised. The 12-1 momentum baseline is not told apart by sector.
    """

    part: str
    rows: int
    sessions: int
    base_rate: float | None
    hit_rate: float | None
    precision_top_decile: float | None
    auc: float | None
    log_loss: float | None
    brier_skill: float | None
    calibration_error: float | None
    rank_ic: float | None
    rank_ic_t: float | None
    pick_return: float | None
    universe_pick_return: float | None
    net_return: float | None
    sharpe: float | None
    universe_net_return: float | None
    universe_sharpe: float | None
    momentum_net_return: float | None


def by_quarter(rows: pl.DataFrame, picks: pl.DataFrame, equity: pl.DataFrame, horizon: int) -> list[QuarterScore]:
    """A score for each calendar quarter with a decision.

    Rows and picks have their labels (null where not known), `equity` is that of a `ScoreResult`, and labels overlap over
    `horizon` sessions.
    """
    quarter = pl.col("date").dt.truncate("1q").alias("quarter")
    decided, chosen, marked = (
        {key[0]: part for key, part in frame.with_columns(quarter).partition_by("quarter", as_dict=True).items()}
        for frame in (rows.filter(pl.col("label").is_not_null()), picks.filter(pl.col("label").is_not_null()), equity)
    )
    scores = []
    for start in rows.select(quarter).to_series().unique().sort():
        _, metrics = forecast(decided.get(start, rows.clear()), horizon)
        days = marked.get(start, equity.clear())
        returns = days["net_return"].to_numpy()
        scores.append(
            QuarterScore(
                quarter=start,
                rows=decided[start].height if start in decided else 0,
                sessions=days.height,
                **{name: metrics[name] for name in ("auc", "log_loss", "brier_skill", "rank_ic")},
                precision_top_decile=mean(outcome(chosen[start])) if start in chosen else None,
                **{f"{book}net_return": compound(days[f"{book}net_return"].to_numpy()) for book in _BOOKS},
                daily_mean=mean(returns) or 0.0,
                daily_deviation=float(returns.std(ddof=1)) if returns.size > 1 else 0.0,
            )
        )
    return scores


def by_regime(
    rows: pl.DataFrame, picks: pl.DataFrame, equity: pl.DataFrame, regimes: pl.DataFrame, horizon: int
) -> list[PartScore]:
    """A score for each state of the market that a decision was made in, by the probabilities of `STATES` at the closes."""
    likeliest = pl.concat_list(STATES).list.arg_max().replace_strict(dict(enumerate(STATES)), return_dtype=pl.String)
    complete = pl.all_horizontal(pl.col(STATES).is_not_null())
    states = regimes.sort("date").select("date", part=pl.when(complete).then(likeliest).otherwise(pl.lit(UNKNOWN)))
    # the return of a day belongs to the state that was known when the day began
    days = equity.join(states.with_columns(pl.col("part").shift(1)), on="date", how="left")
    decided, chosen = (frame.join(states, on="date", how="left") for frame in (rows, picks))
    return [
        _part(part, decisions, bought, {book: of_day[f"{book}net_return"].to_numpy() for book in _BOOKS}, horizon)
        for part, decisions, bought, of_day in _parts(decided, chosen, days)
    ]


def by_sector(
    rows: pl.DataFrame, picks: pl.DataFrame, prices: backtest.PriceGrid, universe: pl.DataFrame, horizon: int, cost_bps: float
) -> list[PartScore]:
    """A score for each sector that the universe knows of a month and symbol; none where it has no such column."""
    if "sector" not in universe.columns:
        return []
    members = universe.select("month", "symbol", part=pl.col("sector").fill_null(UNKNOWN)).unique(["month", "symbol"])
    month = pl.col("date").dt.truncate("1mo").alias("month")
    decided, chosen = (
        frame.with_columns(month).join(members, on=["month", "symbol"], how="left").drop("month") for frame in (rows, picks)
    )
    scores = []
    for part, decisions, bought, _ in _parts(decided, chosen, None):
        books = {
            book: backtest.tranche_returns(held, prices, horizon, cost_bps)["net_return"].to_numpy()
            for book, held in (("", bought), ("universe_", decisions))
            if not held.is_empty()
        }
        scores.append(_part(part, decisions, bought, books, horizon))
    return scores


def compound(returns: Floats) -> float:
    """What is earned in all."""
    return float((1.0 + returns).prod()) - 1.0


def _parts(
    rows: pl.DataFrame, picks: pl.DataFrame, days: pl.DataFrame | None
) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame, pl.DataFrame]]:
    """Rows, picks and days of each part, in order of their names."""
    part = pl.col("part").fill_null(UNKNOWN)
    rows, picks = rows.with_columns(part), picks.with_columns(part)
    for name in rows["part"].unique().sort():
        in_part = pl.col("part") == name
        yield name, rows.filter(in_part), picks.filter(in_part), rows.clear() if days is None else days.filter(part == name)


def _part(part: str, rows: pl.DataFrame, picks: pl.DataFrame, returns: dict[str, Floats], horizon: int) -> PartScore:
    resolved, bought = (frame.filter(pl.col("label").is_not_null()) for frame in (rows, picks))
    _, metrics = forecast(resolved, horizon)
    earned: dict[str, Any] = {f"{book}net_return": None for book in _BOOKS} | {"sharpe": None, "universe_sharpe": None}
    for book, daily in returns.items():
        earned[f"{book}net_return"] = number(risk.annual_return(daily))
        if book != "momentum_":
            earned[f"{book}sharpe"] = number(risk.sharpe_ratio(daily))
    return PartScore(
        part=part,
        rows=resolved.height,
        sessions=max((daily.size for daily in returns.values()), default=0),
        **{name: value for name, value in metrics.items() if name != "calibrated_rows"},
        precision_top_decile=mean(outcome(bought)),
        pick_return=mean(bought["net_return"].to_numpy()),
        universe_pick_return=mean(resolved["net_return"].to_numpy()),
        **earned,
    )
