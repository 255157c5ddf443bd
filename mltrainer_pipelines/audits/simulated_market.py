"""The simulated market as the frames the stages work on, without a server between: for audits and tests."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from mltrainer_pipelines.exchange.market import Bars
from mltrainer_pipelines.exchange.regimes import Regime
from mltrainer_pipelines.exchange.simulated import SimulatedMarket

_PRICES = ("open", "high", "low", "close", "volume", "vwap")
_ACTIONS = {"symbol": pl.String, "ex_date": pl.Date, "kind": pl.String, "ratio": pl.Float64, "cash": pl.Float64}
_REFERENCE = {"symbol": pl.String, "name": pl.String, "type": pl.String, "sector": pl.String, "active": pl.Boolean}
_OBSERVATIONS = {"series_id": pl.String, "date": pl.Date, "value": pl.Float64, "published": pl.Date}


@dataclass(frozen=True)
class SimulatedFrames:
    """A simulated market in the lake's contracts, whole: whoever uses it sees to what is known when.

    Parameters
    ----------
    bars : DataFrame
        date, symbol, open, high, low, close, volume, vwap; unadjusted, all companies that ever traded.
    actions : DataFrame
        symbol, ex_date, kind, ratio, cash.
    observations : DataFrame
        series_id, date, value, published: first releases.
    reference : DataFrame
        symbol, name, type, sector, active.
    regimes : DataFrame
        date, regime (``bull``, ``bear`` or ``crash``): the truth that no client ever sees.
    """

    bars: pl.DataFrame
    actions: pl.DataFrame
    observations: pl.DataFrame
    reference: pl.DataFrame
    regimes: pl.DataFrame


def simulated_frames(seed: int, symbols: int, first: date, last: date, premium: float = 1.0) -> SimulatedFrames:
    """The market of `exchange.simulated.SimulatedMarket` with these parameters, warm-up included."""
    market = SimulatedMarket(seed, symbols, premium, first, last)
    sessions, tickers = market.sessions(), market.tickers()
    splits = [(split.symbol, split.ex_date, "split", split.ratio, None) for split in market.splits()]
    dividends = [(paid.symbol, paid.ex_date, "dividend", None, paid.cash) for paid in market.dividends()]
    published = [
        (series.series_id, row.observed, row.value, row.published)
        for series in market.macro().values()
        for row in series.values
        if row.value is not None
    ]
    observations = pl.DataFrame(published, schema=_OBSERVATIONS, orient="row").sort("series_id", "date", "published")
    listed = [(t.symbol, t.name, t.type, t.sic_description, t.delisted is None) for t in tickers]
    return SimulatedFrames(
        bars=pl.concat([_frame(market.history(t.symbol, sessions[0], sessions[-1])) for t in tickers]),
        actions=pl.DataFrame(splits + dividends, schema=_ACTIONS, orient="row"),
        observations=observations.unique(["series_id", "date"], keep="first", maintain_order=True),
        reference=pl.DataFrame(listed, schema=_REFERENCE, orient="row"),
        regimes=_regimes(market.true_regime()),
    )


def _frame(bars: Bars) -> pl.DataFrame:
    opened = pl.Series(bars.start).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("America/New_York")
    return pl.DataFrame(
        {"date": opened.dt.date(), "symbol": pl.Series(bars.symbol, dtype=pl.String)}
        | {name: pl.Series(getattr(bars, name), dtype=pl.Float64) for name in _PRICES}
    )


def _regimes(truth: dict[date, Regime]) -> pl.DataFrame:
    return pl.DataFrame({"date": list(truth), "regime": [state.name.lower() for state in truth.values()]})
