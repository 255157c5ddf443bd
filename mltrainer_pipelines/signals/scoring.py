"""Scoring the market now: every symbol, both timeframes, with the price levels a trade would have.

A decision uses the features of one session: of a closed one, or of the running one as known 15
minutes ago. During the session the entry price is the last delayed price; when the market is closed
it is the decision's close, and the entry itself happens at the next open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.lake_tables import DRIVER, SIGNALS
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.features.labels.barriers import Barriers, price_levels
from mltrainer_pipelines.signals.reasons import reasons
from mltrainer_pipelines.signals.rules import CLOSED, DELAYED, MISSING, STALE, UNTRUSTED, Thresholds, strong_buys
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.promotion import Grade

PRICE_SCHEMA: dict[str, pl.DataType] = {"symbol": pl.String(), "price": pl.Float64(), "price_source": pl.String()}


class UnusableInputError(ValueError):
    """Something the market cannot be scored with: names the input, what is wrong with it, and what to give."""


class Scorer(Protocol):
    """What scoring asks of an ensemble; `ChampionEnsemble` has it."""

    def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame: ...


@dataclass(frozen=True)
class Champion:
    """A champion as every signal of it is stamped: its trial, its model in the model registry, its version in the registry, its
    grade, and the barriers that its labels were made with.
    """

    trial_id: str
    model: str
    version: str
    grade: Grade
    barriers: Barriers


def delayed_prices(quotes: pl.DataFrame) -> pl.DataFrame:
    """Prices to score with during a session: symbol, price, price_source, from delayed quotes (symbol, close, stale)."""
    usable = pl.col("close").is_not_null() & (pl.col("close") > 0)
    fresh = pl.when(pl.col("stale").fill_null(True)).then(pl.lit(STALE)).otherwise(pl.lit(DELAYED))
    source = pl.when(usable).then(fresh).otherwise(pl.lit(MISSING))
    return quotes.select("symbol", price=pl.when(usable).then("close"), price_source=source).cast(PRICE_SCHEMA)  # type: ignore[arg-type]


def closing_prices(bars: pl.DataFrame) -> pl.DataFrame:
    """Prices to score with after a close: symbol, price, price_source, from that session's unadjusted bars."""
    return bars.select("symbol", price="close", price_source=pl.lit(CLOSED)).cast(PRICE_SCHEMA)  # type: ignore[arg-type]


def score_market(
    features_now: pl.DataFrame,
    ensembles: Mapping[str, tuple[Scorer, Champion]],
    prices: pl.DataFrame,
    volatility: pl.DataFrame,
    regime_score: float | None,
    thresholds: Thresholds,
    moment: datetime,
    members: pl.DataFrame | None = None,
    failures: pl.DataFrame | None = None,
    market_failure: str | None = None,
    explained: Mapping[str, ChampionEnsemble] | None = None,
) -> pl.DataFrame:
    """`SIGNALS`: every symbol scored for every timeframe that has a champion, by timeframe and expected net return, best first.

    The features are those of the decision's session; `prices` come from `delayed_prices` or `closing_prices`, `volatility`
    (symbol, volatility; daily) and `regime_score` (0 to 100; None closes the gate) are as known at the decision. `members`
    (symbol and, if known, sector) are the universe: one without features gets a signal without a forecast. `failures` and
    `market_failure` are those of `quote_checks.check_quotes`; predictions of the ensembles in `explained` get their reasons.
    A symbol whose price is stale, missing or not trusted has no price levels; it is never a strong buy. `signal_strength`
    is the share of the timeframe's other symbols that are expected to earn less, ties counting half.

    Raises
    ------
    UnusableInputError
        If there is no champion, the features are of no or several sessions, a symbol comes twice, or the
        moment has no time zone.
    """
    _check(features_now, ensembles, prices, volatility, moment)
    listed = features_now.select("symbol") if members is None else members
    sectors = listed.with_columns(sector=pl.col("sector") if "sector" in listed.columns else pl.lit(None, pl.String))
    quote_failures = pl.DataFrame(schema={"symbol": pl.String, "failure": pl.String}) if failures is None else failures
    source = pl.col("price_source")
    failure = pl.concat_str(pl.col("failure"), pl.lit(market_failure, pl.String), separator="; ", ignore_nulls=True)
    market = (
        sectors.select("symbol", "sector")
        .with_columns(date=pl.lit(features_now["date"][0]))
        .join(prices.select(*PRICE_SCHEMA), on="symbol", how="left")
        .join(volatility.select("symbol", pl.col("volatility").cast(pl.Float64)), on="symbol", how="left")
        .join(quote_failures, on="symbol", how="left")
        .with_columns(
            price_source=pl.when(pl.col("failure").is_not_null()).then(pl.lit(UNTRUSTED)).otherwise(source.fill_null(MISSING)),
            volatility=pl.col("volatility").fill_nan(None),
            failure=pl.when(failure != "").then(failure),
        )
        .with_columns(entry_price=pl.when(pl.col("price_source").is_in([DELAYED, CLOSED])).then("price"))
    )
    stamped = market.with_columns(
        timestamp=pl.lit(moment).dt.convert_time_zone("America/New_York"),
        regime_score=pl.lit(regime_score, dtype=pl.Float64),
        settings_version=pl.lit(thresholds.version, dtype=pl.Int64),
    )
    parts = []
    for timeframe in sorted(ensembles):
        why = (explained or {}).get(timeframe)
        parts.append(_signals_of(timeframe, features_now, stamped, *ensembles[timeframe], thresholds, why))
    scored = SIGNALS.cast(strong_buys(pl.concat(parts), thresholds))
    return scored.sort("timeframe", "expected_net_return", "symbol", descending=[False, True, False], nulls_last=True)


def _signals_of(
    timeframe: str,
    features: pl.DataFrame,
    market: pl.DataFrame,
    ensemble: Scorer,
    champion: Champion,
    thresholds: Thresholds,
    explained: ChampionEnsemble | None,
) -> pl.DataFrame:
    # The ensemble's intervals are fitted by regime. Some feature sets hold the score already, under the same name.
    has_regime = "regime_score" in features.columns
    regime = {} if has_regime else {"regime_score": pl.lit(market["regime_score"].first(), pl.Float64)}
    forecast = ensemble.predict(features.with_columns(**regime), thresholds.min_probability)
    if "uncorrected_probability" not in forecast.columns:
        forecast = forecast.with_columns(uncorrected_probability="profit_probability")
    joined = market.join(forecast, on=["date", "symbol"], how="left", validate="1:1")
    if explained is None:
        joined = joined.with_columns(why=pl.lit(None, pl.String), drivers=pl.lit(None, pl.List(DRIVER)))
    else:
        joined = joined.join(reasons(explained, features), on=["date", "symbol"], how="left")
    entry, daily = (joined[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("entry_price", "volatility"))
    targets, stops = price_levels(entry, daily, TIMEFRAMES[timeframe], champion.barriers)
    expected = pl.col("expected_net_return").fill_nan(None)
    return joined.with_columns(
        timeframe=pl.lit(timeframe),
        target_price=pl.Series(targets, dtype=pl.Float64).fill_nan(None),
        stop_loss=pl.Series(stops, dtype=pl.Float64).fill_nan(None),
        expected_net_return=expected,
        signal_strength=pl.when(expected.count() > 1)
        .then((expected.rank("average") - 1) / (expected.count() - 1))
        .otherwise(pl.when(expected.is_not_null()).then(1.0)),
        model_used=pl.lit(champion.model),
        model_version=pl.lit(champion.version),
        trial_id=pl.lit(champion.trial_id),
        grade=pl.lit(champion.grade),
    )


def _check(
    features: pl.DataFrame, ensembles: Mapping[str, object], prices: pl.DataFrame, volatility: pl.DataFrame, moment: datetime
) -> None:
    if moment.tzinfo is None:
        raise UnusableInputError(f"the moment {moment.isoformat()} has no time zone; give an aware one, such as settings.now()")
    if not ensembles:
        raise UnusableInputError("there is no champion to score with; materialize champion_model for a timeframe first")
    unknown = sorted(set(ensembles) - set(TIMEFRAMES))
    if unknown:
        raise UnusableInputError(f"no timeframe is called {', '.join(unknown)}; there are {', '.join(TIMEFRAMES)}")
    sessions = features["date"].unique().sort().to_list()
    if len(sessions) != 1:
        given = f"{len(sessions)} sessions, {sessions[0]} to {sessions[-1]}" if sessions else "no session, they have no row"
        raise UnusableInputError(f"the features are of {given}; the market is scored for one decision: give its session's rows")
    for name, frame in (("features", features), ("prices", prices), ("volatility", volatility)):
        twice = frame.filter(pl.col("symbol").is_duplicated())["symbol"].unique().sort()
        if len(twice):
            raise UnusableInputError(f"the {name} have {twice[0]} more than once; give one row a symbol")
