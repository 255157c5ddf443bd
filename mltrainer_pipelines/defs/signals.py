"""Signals: delayed quotes, the market scored by the champions, and the strong buys among them."""

from datetime import datetime

import dagster as dg
import polars as pl

from mltrainer_pipelines.defs.features import regime
from mltrainer_pipelines.defs.market import corporate_actions, daily_bars, macro_series, universe
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.trials import champion_model
from mltrainer_pipelines.market.polygon import PolygonMarket
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.tracking import NoChampionError, Tracking

_ALL = dg.AllPartitionMapping()
_SHOWN = ("symbol", "timeframe", "grade", "profit_probability", "confidence", "expected_net_return", "entry_price", "reason")


@dg.asset(group_name="signals", kinds={"polygon", "parquet"}, owners=OWNERS)
def delayed_quotes(lake: dg.ResourceParam[Lake], polygon: dg.ResourceParam[PolygonMarket]) -> dg.MaterializeResult:
    """The whole market as of 15 minutes ago, in one call; a refresh is added to its session's file."""
    from mltrainer_pipelines.market import quotes
    from mltrainer_pipelines.signals.refresh import with_refresh

    found = quotes.delayed_quotes(polygon, now())
    session = str(found["date"][0])
    stored = lake.read("delayed_quotes", session) if lake.exists("delayed_quotes", session) else None
    lake.write("delayed_quotes", with_refresh(stored, found, "as_of"), session)
    return dg.MaterializeResult(metadata=frame_metadata(found, stale=int(found["stale"].sum()), as_of=str(found["as_of"][0])))


@dg.asset(
    deps=[
        delayed_quotes,
        regime,
        corporate_actions,
        macro_series,
        *(dg.AssetDep(asset, partition_mapping=_ALL) for asset in (daily_bars, universe, champion_model)),
    ],
    group_name="signals",
    kinds={"polars", "parquet"},
    owners=OWNERS,
)
def signals(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], tracking: dg.ResourceParam[Tracking]
) -> dg.MaterializeResult:
    """Every symbol of the universe scored by the champion of each timeframe, and which rule keeps it from being a strong buy."""
    from mltrainer_pipelines.features.timeframes import TIMEFRAMES
    from mltrainer_pipelines.signals.refresh import newest_refresh, refreshed_signals, with_refresh

    quotes = newest_refresh(lake.read("delayed_quotes", lake.partitions("delayed_quotes")[-1]), "as_of")
    champions, absent = {}, []
    for timeframe in TIMEFRAMES:
        try:
            champions[timeframe] = tracking.load_champion(timeframe)
        except NoChampionError as error:
            absent.append(error)
            context.log.warning(str(error))
    if not champions:
        raise absent[0]
    scored = refreshed_signals(lake, quotes, champions, _thresholds(), _moment(quotes))
    session = str(scored["date"][0])
    stored = lake.read("signals", session) if lake.exists("signals", session) else None
    lake.write("signals", with_refresh(stored, scored, "timestamp"), session)
    strongest = scored.sort("profit_probability", descending=True, nulls_last=True).select(_SHOWN)
    return dg.MaterializeResult(
        metadata=frame_metadata(scored, strong_buys=int(scored["strong_buy"].sum()), strongest=table(strongest, 20))
    )


@dg.asset(deps=[signals], group_name="signals", kinds={"postgres"}, owners=OWNERS)
def recommendations(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], database: dg.ResourceParam[Database]
) -> dg.MaterializeResult:
    """The strong buys, each recommended once a symbol, timeframe and session, with the grade of the model behind it."""
    from mltrainer_pipelines.signals.recommendations import publish
    from mltrainer_pipelines.signals.refresh import newest_refresh

    scored = newest_refresh(lake.read("signals", lake.partitions("signals")[-1]), "timestamp")
    published = publish(database, scored, _thresholds(), get_settings().market_kind)
    strong = scored.filter(pl.col("strong_buy"))
    if strong.is_empty():
        context.log.info("nothing is good enough to be recommended now")
    shown = table(strong.select(_SHOWN))
    return dg.MaterializeResult(metadata={"new": published.new, "known_before": published.existing, "strong_buys": shown})


def _thresholds() -> Thresholds:
    settings = get_settings()
    return Thresholds(settings.min_profit_probability, settings.min_confidence, min_regime=settings.min_regime_score)


def _moment(quotes: pl.DataFrame) -> datetime:
    return quotes["as_of"][0]


refresh_signals = dg.define_asset_job(
    "refresh_signals",
    selection=dg.AssetSelection.assets(
        "delayed_quotes", "signals", "recommendations", "virtual_positions", "portfolio_performance"
    ),
    description="Score the market on delayed prices, recommend, and paper-trade what is recommended.",
)


@dg.schedule(job=refresh_signals, cron_schedule="*/15 9-16 * * 1-5", execution_timezone="America/New_York")
def refresh_signals_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Every 15 minutes of the session, from the first delayed price to the closing one; honours holidays and early closes."""
    from mltrainer_pipelines.market.quotes import DELAY
    from mltrainer_pipelines.market.sessions import is_session, session_hours

    tick = context.scheduled_execution_time
    day = tick.date()
    if not is_session(day):
        return dg.SkipReason(f"{day} is a holiday: the exchange does not trade")
    opens, closes = session_hours(day)
    if not opens + DELAY <= tick <= closes + DELAY:
        return dg.SkipReason(
            f"{tick:%H:%M} lies outside of the session of {day}, {opens:%H:%M} to {closes:%H:%M}, seen 15 minutes later"
        )
    return dg.RunRequest(run_key=tick.isoformat())


@dg.asset_check(asset=recommendations)
def levels_ascend(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Of every recommendation the stop lies below the entry and the target above it."""
    from mltrainer_pipelines.signals.recommendations import recommendations_frame

    made = recommendations_frame(database)
    wrong = made.filter(~((pl.col("stop_loss") < pl.col("entry_price")) & (pl.col("entry_price") < pl.col("target_price"))))
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"recommendations": made.height, "wrong": wrong.height})


DEFS = dg.Definitions(
    assets=[delayed_quotes, signals, recommendations],
    asset_checks=[levels_ascend],
    jobs=[refresh_signals],
    schedules=[refresh_signals_schedule],
)
