"""The market that skill is measured on: a recording, or what an installation has ingested."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from mltrainer_pipelines.audits.simulated_market import COST_BPS
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.exchange.recording_file import read
from mltrainer_pipelines.exchange.replay import RecordedMarket
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.features.regime.score import regime_scores
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.universe import first_universe_month, universes_of
from mltrainer_pipelines.store.lake import Lake

SIZE = 200
"""The most liquid symbols of each month that are judged."""
_ACTIONS = {"symbol": pl.String, "ex_date": pl.Date, "kind": pl.String, "ratio": pl.Float64, "cash": pl.Float64}
_LIQUIDITY_SESSIONS = 63


class NoMarketError(ValueError):
    """There is nothing to measure skill on: says what is missing and what to do."""


@dataclass(frozen=True)
class SkillMarket:
    """Adjusted bars, the universe (month, symbol, rank, sector), the labels of both timeframes, each session's state of the
    market (date, state), and the liquidity by which scores are neutralized (date, symbol, dollar_volume, illiquidity).
    """

    name: str
    bars: pl.DataFrame
    universe: pl.DataFrame
    labels: pl.DataFrame
    states: pl.DataFrame
    liquidity: pl.DataFrame

    def features(self, feature_set: str) -> pl.DataFrame:
        """A feature set of the universe's members over the whole range."""
        return compute_features(self.bars, self.universe, None, *self._span(), feature_set)

    def _span(self) -> tuple[date, date]:
        return _span(self.bars, self.universe)


def recorded_market(path: Path, size: int = SIZE, shuffle: int | None = None) -> SkillMarket:
    """The market of a recording: of each month the most liquid symbols, of the members where `<stem>.members` says who was one.

    `<stem>.names` (symbol, sector) tells sectors, splits and dividends adjust the prices. With `shuffle`, a seed, the daily moves
    of each symbol are put in another order: no skill may remain.

    Raises RecordingError for a file that cannot be used, NoMarketError where it holds too little.
    """
    recording = RecordedMarket(path)
    bars = pl.concat([pl.DataFrame(_columns(recording.day(day), day)) for day in recording.sessions()])
    splits = [(split.symbol, split.ex_date, "split", split.ratio, None) for split in recording.splits()]
    dividends = [(paid.symbol, paid.ex_date, "dividend", None, paid.cash) for paid in recording.dividends()]
    actions = pl.DataFrame(splits + dividends, schema=_ACTIONS, orient="row")
    months = _months(bars)
    ranked = universes_of(months, bars, None, bars["symbol"].n_unique())
    members, names = (path.with_name(f"{path.stem}.{what}{path.suffix}") for what in ("members", "names"))
    if members.exists():
        spells = read(members)
        here = ranked.join(spells.select("symbol", "start", "end"), on="symbol")
        here = here.filter(pl.col("start") <= pl.col("month"), (pl.col("end") > pl.col("month")).fill_null(True))
        ranked = ranked.join(here.select("month", "symbol").unique(), on=["month", "symbol"], how="semi")
    ranked = ranked.with_columns(rank=pl.col("rank").rank("ordinal").over("month").cast(pl.Int64)).filter(pl.col("rank") <= size)
    if names.exists():
        ranked = ranked.drop("sector").join(read(names).select("symbol", "sector").unique("symbol"), on="symbol", how="left")
    adjusted_bars = adjusted(bars, actions)
    if shuffle is not None:
        adjusted_bars = _shuffled(adjusted_bars, shuffle)
    return _market(path.name, adjusted_bars, ranked, None)


def ingested_market(lake: Lake, size: int = SIZE) -> SkillMarket:
    """The market of an installation, as its lake has it; NoMarketError where it was not ingested."""
    if not lake.partitions("universe") or not lake.partitions("labels"):
        raise NoMarketError("there is no universe or no labels yet; run `mltrainer demo`, or give a recording with --bars")
    universe = lake.scan("universe").collect().filter(pl.col("rank") <= size)
    sessions = sessions_in_lake(lake, date.min, date.max)
    bars = adjusted_history(lake, sessions[0], sessions[-1], symbols=universe["symbol"].unique())
    return _market("this installation's market", bars, universe, lake.scan("labels").collect())


def _market(name: str, bars: pl.DataFrame, universe: pl.DataFrame, labels: pl.DataFrame | None) -> SkillMarket:
    bars = bars.join(universe.select("symbol").unique(), on="symbol", how="semi")
    first, last = _span(bars, universe)
    if labels is None:
        labels = pl.concat(
            compute_labels(bars, universe, timeframe, Barriers(), COST_BPS, first, last) for timeframe in TIMEFRAMES.values()
        )
    scores = regime_scores(bars, None, universe)
    crash = pl.when(pl.col("crash") >= pl.max_horizontal("neutral", "bull")).then(pl.lit("crash"))
    state = crash.when(pl.col("bull") >= pl.col("neutral")).then(pl.lit("bull")).otherwise(pl.lit("neutral"))
    moved = (pl.col("adj_close") / pl.col("adj_close").shift(1) - 1.0).abs().over("symbol")
    dollars = pl.col("close") * pl.col("volume")
    liquidity = bars.sort("symbol", "date").select(
        "date",
        "symbol",
        dollar_volume=dollars.rolling_median(_LIQUIDITY_SESSIONS, min_samples=1).over("symbol"),
        illiquidity=pl.when(dollars > 0).then(moved / dollars).rolling_mean(21, min_samples=1).over("symbol"),
    )
    return SkillMarket(name, bars, universe, labels, scores.select("date", state=state), liquidity)


def _span(bars: pl.DataFrame, universe: pl.DataFrame) -> tuple[date, date]:
    first: date = universe["month"].min()  # type: ignore[assignment]
    last: date = bars["date"].max()  # type: ignore[assignment]
    return first, last


def _months(bars: pl.DataFrame) -> list[date]:
    first: date = bars["date"].min()  # type: ignore[assignment]
    start = first_universe_month(first)
    months = bars.filter(pl.col("date") >= start)["date"].dt.truncate("1mo").unique().sort().to_list()
    if not months:
        raise NoMarketError("the recording has less than a month of bars; give some years")
    return months


def _columns(day: object, session: date) -> dict[str, object]:
    names = ("open", "high", "low", "close", "volume")
    symbols = pl.Series(day.symbol, dtype=pl.String)  # type: ignore[attr-defined]
    return {
        "date": pl.repeat(session, len(symbols), dtype=pl.Date, eager=True),
        "symbol": symbols,
        **{name: pl.Series(getattr(day, name), dtype=pl.Float64) for name in names},
    }


def _shuffled(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The same daily moves of each symbol in another order: open, high, low and close relative to the close before."""
    bars = bars.sort("symbol", "date")
    prices = ("adj_open", "adj_high", "adj_low", "adj_close")
    before = pl.col("adj_close").shift(1).fill_null(pl.col("adj_open")).over("symbol")
    moves = bars.select("symbol", *((pl.col(name) / before).alias(name) for name in prices), "adj_volume", "close", "volume")
    order = pl.int_range(pl.len()).shuffle(seed=seed).over("symbol")
    moves = moves.with_columns(order=order).sort("symbol", "order").drop("order")
    level = pl.col("adj_close").cum_prod().over("symbol")
    start = level.shift(1).fill_null(1.0).over("symbol")
    path = moves.select(*((start * pl.col(name) * 100.0).alias(name) for name in prices), "adj_volume")
    raw = path.select(close="adj_close", volume="adj_volume")
    return pl.concat([bars.select("date", "symbol"), path, raw], how="horizontal")
