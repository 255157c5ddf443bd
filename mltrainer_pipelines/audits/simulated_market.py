"""The simulated market as the frames the stages work on, and as what trials run on, without a server between."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.exchange.market import Bars
from mltrainer_pipelines.exchange.simulated import SimulatedMarket
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.universe import universes_of
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.validation.run_in_memory import History

COST_BPS = 10.0
"""Fee and slippage a side of everything that an audit buys and sells."""

_PRICES = ("open", "high", "low", "close", "volume", "vwap")
_ACTIONS = {"symbol": pl.String, "ex_date": pl.Date, "kind": pl.String, "ratio": pl.Float64, "cash": pl.Float64}
_REFERENCE = {"symbol": pl.String, "name": pl.String, "type": pl.String, "sector": pl.String, "active": pl.Boolean}
_OBSERVATIONS = {"series_id": pl.String, "date": pl.Date, "value": pl.Float64, "published": pl.Date}


@dataclass(frozen=True)
class AuditMarket:
    """The simulated market of an audit: reproducible, and independent of today's date.

    A `premium` of 0 leaves nothing to predict, 1 is easy to find (a demo has 0.85). Decisions are made from `first` on, the
    first session of a month; the market begins a year of sessions before.
    """

    seed: int = 7
    symbols: int = 120
    premium: float = 1.0
    first: date = date(2021, 1, 4)
    last: date = date(2026, 9, 30)

    def frames(self) -> "SimulatedFrames":
        """Everything of `exchange.simulated.SimulatedMarket`, from a year of sessions before `first` on.

        >>> frames = AuditMarket(symbols=5, first=date(2024, 1, 2), last=date(2024, 3, 28)).frames()
        >>> str(frames.bars["date"].min()), frames.bars.columns[2:6]
        ('2022-12-29', ['open', 'high', 'low', 'close'])
        """
        market = SimulatedMarket(self.seed, self.symbols, self.premium, self.first, self.last)
        sessions, tickers, truth = market.sessions(), market.tickers(), market.true_regime()
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
            regimes=pl.DataFrame({"date": list(truth), "regime": [state.name.lower() for state in truth.values()]}),
        )


@dataclass(frozen=True)
class SimulatedFrames:
    """A simulated market in the lake's contracts, whole: whoever uses it sees to what is known when.

    `bars` are unadjusted (date, symbol, open, high, low, close, volume, vwap), of all companies that ever traded;
    `observations` are first releases; `regimes` (date and ``bull``, ``bear`` or ``crash``) is the truth that no client ever
    sees.
    """

    bars: pl.DataFrame
    actions: pl.DataFrame
    observations: pl.DataFrame
    reference: pl.DataFrame
    regimes: pl.DataFrame


def simulated_history(market: AuditMarket, frames: SimulatedFrames | None = None, configs: Sequence[TrialConfig] = ()) -> History:
    """Adjusted bars, the universe as each month knew it, features and the labels of both timeframes of a simulated market.

    `frames` are the market's own, where they have been made already; `configs` are trials that will run on it, whose feature
    sets are computed too.

    >>> market = AuditMarket(symbols=8, first=date(2024, 1, 2), last=date(2024, 2, 29))
    >>> history = simulated_history(market)
    >>> history.universe.columns[:3], history.labels["timeframe"].unique().sort().to_list()
    (['month', 'symbol', 'rank'], ['long', 'short'])
    """
    frames = frames or market.frames()
    bars = adjusted(frames.bars, frames.actions)
    months = bars.filter(pl.col("date") >= market.first)["date"].dt.truncate("1mo").unique().sort().to_list()
    members = universes_of(months, frames.bars, frames.reference, max(5, market.symbols))
    labels = [
        compute_labels(bars, members, timeframe, Barriers(), COST_BPS, market.first, market.last)
        for timeframe in TIMEFRAMES.values()
    ]
    default = TrialConfig.model_fields["feature_set"].default
    sets = sorted({config.feature_set for config in configs} - {default})
    own, *others = (compute_features(bars, members, None, market.first, market.last, name) for name in (default, *sets))
    return History(own, pl.concat(labels), bars, members, dict(zip(sets, others, strict=True)))


def _frame(bars: Bars) -> pl.DataFrame:
    opened = pl.Series(bars.start).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("America/New_York")
    return pl.DataFrame(
        {"date": opened.dt.date(), "symbol": pl.Series(bars.symbol, dtype=pl.String)}
        | {name: pl.Series(getattr(bars, name), dtype=pl.Float64) for name in _PRICES}
    )
