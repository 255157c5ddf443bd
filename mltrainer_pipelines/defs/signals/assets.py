"""Delayed quotes, the market scored by the champions, and the strong buys among them."""

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.defs.features.assets import regime
from mltrainer_pipelines.defs.market.assets import corporate_actions, macro_series, universe
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource, MarketDataResource
from mltrainer_pipelines.defs.trials.assets import champion_model
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.trials.registry.tracking import Tracking

if TYPE_CHECKING:
    import polars as pl

    from mltrainer_pipelines.signals.learned import Recalibration
    from mltrainer_pipelines.signals.refresh import Refresh
    from mltrainer_pipelines.store.database import Database
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
    from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion

_ALL = dg.AllPartitionMapping()


_SHOWN = (
    *("symbol", "timeframe", "grade", "profit_probability", "confidence", "expected_net_return", "entry_price"),
    *("reason", "why"),
)

TRANSIENT_RETRY = dg.RetryPolicy(max_retries=4, delay=2, backoff=dg.Backoff.EXPONENTIAL)
"""For steps that change nothing when they are repeated: a database, MLflow or a vendor that restarts is back within seconds."""


@dg.asset(group_name="signals", kinds={"polygon", "parquet"}, owners=OWNERS, retry_policy=TRANSIENT_RETRY)
def delayed_quotes(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    market_data: MarketDataResource,
) -> dg.MaterializeResult[None]:
    """The whole market as of 15 minutes ago, in one call; a refresh is added to its session's file.

    Where the plan of the key has no such prices: as of the last close, from the day's bars. A quote that cannot be right is
    left out and goes to the quarantine.
    """
    from mltrainer_pipelines.contracts.lake_tables import DELAYED_QUOTES
    from mltrainer_pipelines.market import quotes
    from mltrainer_pipelines.market.errors import NOT_IN_PLAN, KeyRefusedError
    from mltrainer_pipelines.signals.scoring import UnusableInputError
    from mltrainer_pipelines.store.quarantine import doubts_of, quarantine

    try:
        if get_settings().has_no_snapshots:
            frame = quotes.closing_quotes(lake, now())
        else:
            frame = quotes.delayed_quotes(market_data, now(), timedelta(minutes=get_settings().mltrainer_stale_minutes))
    except KeyRefusedError as error:
        if error.status != NOT_IN_PLAN:
            raise
        context.log.info("the plan of the key has no prices during a session: as of the last close, from the day's bars")
        frame = quotes.closing_quotes(lake, now())
    if frame.is_empty():
        raise UnusableInputError(
            f"the snapshot of {now():%Y-%m-%d %H:%M} holds no price; is the exchange up, and its clock ours?"
        )
    frame, wrong = quotes.sifted_quotes(frame)
    doubts = [replace(doubt, row={}) for doubt in doubts_of(wrong.iter_rows(named=True))]  # one a symbol and session
    quarantine(database.engine, "delayed_quotes", doubts, now(), run_id=context.run.run_id)
    _add_refresh(lake, database, "delayed_quotes", frame, "as_of")
    metadata = frame_metadata(
        frame, DELAYED_QUOTES, set_aside=wrong.height, stale=int(frame["stale"].sum()), as_of=str(frame["as_of"][0])
    )
    return dg.MaterializeResult(metadata=metadata)


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
    retry_policy=TRANSIENT_RETRY,
)
def signals(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    tracking: dg.ResourceParam[Tracking],
) -> dg.MaterializeResult[None]:
    """Every symbol of the universe scored for both timeframes, why, and which rule keeps it from being a strong buy.

    Where a champion is missing or cannot be read, its timeframe has no signals and an alert says so; positions go on.
    """
    from mltrainer_pipelines.contracts.lake_tables import MEMBER_FORECASTS, SIGNALS
    from mltrainer_pipelines.market.listings import listings_of
    from mltrainer_pipelines.signals.inputs import LakeInputs
    from mltrainer_pipelines.signals.recommendations import alert_where_crowded
    from mltrainer_pipelines.signals.refresh import newest_refresh, refresh_market
    from mltrainer_pipelines.signals.thresholds import thresholds_at

    listings = listings_of(lake)
    quotes = listings.companies(newest_refresh(lake.read("delayed_quotes", lake.partitions("delayed_quotes")[-1]), "as_of"))
    moment, session = quotes["as_of"][0], quotes["date"][0]
    champions, corrections, absent = _known_champions(context, database, tracking, session)
    if not champions:
        context.log.warning(f"no signals: {'; '.join(absent.values())}")
        return dg.MaterializeResult(metadata={"status": "no signals", "absent": absent, "market": get_settings().market_kind})
    thresholds = thresholds_at(database.engine, get_settings().threshold_defaults)
    refresh = refresh_market(LakeInputs(lake), quotes, champions, thresholds, moment, corrections)
    scored = listings.symbols(refresh.signals)
    _add_refresh(lake, database, "signals", scored, "timestamp")
    lake.write(MEMBER_FORECASTS.name, refresh.forecasts, str(scored["date"][0]))
    status = _report_quote_checks(context, database, refresh, session)
    for message in alert_where_crowded(database.engine, scored, context.run.run_id):
        context.log.warning(message)
    strongest = scored.sort("profit_probability", descending=True, nulls_last=True).select(_SHOWN)
    return dg.MaterializeResult(
        metadata=frame_metadata(
            scored,
            SIGNALS,
            status=status,
            absent=absent,
            strong_buys=int(scored["strong_buy"].sum()),
            untrusted_prices=table(refresh.quote_checks.failures),
            settings_version=scored["settings_version"][0],
            weights={timeframe: ensemble.weights for timeframe, (ensemble, _) in champions.items()},
            strongest=table(strongest, 20),
        )
    )


@dg.asset(deps=[signals], group_name="signals", kinds={"postgres"}, owners=OWNERS, retry_policy=TRANSIENT_RETRY)
def recommendations(
    context: dg.AssetExecutionContext, lake: LakeResource, database: DatabaseResource
) -> dg.MaterializeResult[None]:
    """The strong buys, each recommended once a symbol, timeframe and session, with the grade of the model behind it."""
    import polars as pl

    from mltrainer_pipelines.signals.recommendations import publish
    from mltrainer_pipelines.signals.thresholds import thresholds_at

    settings = get_settings()
    scored = newest_signals(lake)
    if scored is None:
        context.log.warning("there are no signals of the newest quotes, so nothing is recommended")
        return dg.MaterializeResult(metadata={"new": 0, "known_before": 0, "market": settings.market_kind})
    version = scored["settings_version"][0] if "settings_version" in scored.columns else None
    thresholds = thresholds_at(database.engine, settings.threshold_defaults, version)
    published = publish(database, scored, thresholds, settings.market_kind)
    strong = scored.filter(pl.col("strong_buy"))
    if strong.is_empty():
        context.log.info("nothing is good enough to be recommended now")
    strongest = table(strong.select(pl.col(name) for name in _SHOWN if name in strong.columns))
    return dg.MaterializeResult(metadata={"new": published.new, "known_before": published.existing, "strong_buys": strongest})


def newest_signals(lake: "Lake") -> "pl.DataFrame | None":
    """The signals made of the newest quotes; None where those were not scored: older ones are not decided on again."""
    from mltrainer_pipelines.signals.refresh import newest_refresh

    quoted, scored = lake.partitions("delayed_quotes"), lake.partitions("signals")
    if not quoted or not scored:
        return None
    frame = newest_refresh(lake.read("signals", scored[-1]), "timestamp")
    moment = lake.read("delayed_quotes", quoted[-1])["as_of"].max()
    return frame if frame["timestamp"][0] == moment else None


def _add_refresh(lake: "Lake", database: "Database", asset: str, frame: "pl.DataFrame", moment_column: str) -> None:
    """Add a refresh to its session's file, one process after the other: of two at once neither is lost."""
    from mltrainer_pipelines.signals.refresh import with_refresh
    from mltrainer_pipelines.store.locks import advisory_lock

    session = str(frame["date"][0])
    with advisory_lock(database.engine, f"{asset}/{session}"):
        stored = lake.read(asset, session) if lake.exists(asset, session) else None
        lake.write(asset, with_refresh(stored, frame, moment_column), session)


def _known_champions(
    context: dg.AssetExecutionContext, database: "Database", tracking: Tracking, session: date
) -> tuple[dict[str, tuple["ChampionEnsemble", "ChampionVersion"]], dict[str, "Recalibration"], dict[str, str]]:
    """The ensembles as weighted and corrected by what was learnt before the session, and why a timeframe has none."""
    from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
    from mltrainer_pipelines.signals.champions import Champions, ChampionUnloadableError
    from mltrainer_pipelines.signals.learned import recalibration_before, weighted
    from mltrainer_pipelines.store.alerts import raise_alert
    from mltrainer_pipelines.trials.registry.model_registry import NoChampionError

    store = Champions(tracking, get_settings().state / "champions", database.engine)
    champions, corrections, absent = {}, {}, {}
    for timeframe in TIMEFRAMES:
        try:
            ensemble, version = store.load(timeframe)
        except NoChampionError as error:
            absent[timeframe] = str(error)
        except ChampionUnloadableError as error:
            absent[timeframe] = str(error)
            key = f"champion:{timeframe}:{session}"
            raise_alert(database.engine, key, "champion", "error", str(error), {"timeframe": timeframe}, context.run.run_id)
        else:
            champions[timeframe] = weighted(database.engine, ensemble, session), version
            corrections[timeframe] = recalibration_before(database.engine, session, timeframe, version.trial_id)
    for reason in absent.values():
        context.log.warning(reason)
    return champions, corrections, absent


def _report_quote_checks(context: dg.AssetExecutionContext, database: "Database", refresh: "Refresh", session: date) -> str:
    """What the refresh makes of the prices, in words; an alert a session where they are not to be trusted."""
    from mltrainer_pipelines.store.alerts import raise_alert

    checks = refresh.quote_checks
    if checks.market_failure:
        context.log.warning(f"nothing is recommended: {checks.market_failure}")
        details = {"present": checks.present, "expected": checks.expected}
        message = f"nothing is recommended on {session}: {checks.market_failure}"
        raise_alert(database.engine, f"snapshot:{session}", "snapshot", "warning", message, details, context.run.run_id)
        return f"nothing recommended: {checks.market_failure}"
    for symbol, failure in checks.failures.iter_rows():
        context.log.warning(f"{symbol} is left out: {failure}")
        message = f"{symbol} is left out on {session}: {failure}"
        raise_alert(
            database.engine, f"price:{symbol}:{session}", "price", "warning", message, {"symbol": symbol}, context.run.run_id
        )
    count = checks.failures.height
    return f"scored; {count} price{'s' * (count > 1)} left out" if count else "scored"
