"""Market data: daily bars, corporate actions, macro series, and the universe chosen from them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import dagster as dg
import polars as pl
from pydantic import Field

from mltrainer_pipelines.defs.partitions import months, sessions
from mltrainer_pipelines.defs.reporting import OVERWRITE, OWNERS, frame_metadata, record_written, table
from mltrainer_pipelines.market.errors import EmptySessionError, UnknownSeriesError
from mltrainer_pipelines.market.fred import FredSeries
from mltrainer_pipelines.market.macro import MACRO_SCHEMA, MACRO_SERIES, fetch_macro
from mltrainer_pipelines.market.polygon import PolygonMarket
from mltrainer_pipelines.market.sessions import is_session, last_closed_session, session_hours, sessions_between
from mltrainer_pipelines.market.universe import universes_of
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.store.lake import Lake

_FETCHING = 4
"""Sessions asked for at once: the next answers travel while this one is checked and written."""


class SessionNotClosedError(ValueError):
    """The bar of a session was asked for before the session ended: names the session and when to ask again."""


class PartitionsConfig(dg.Config):
    """How a run treats partitions that exist."""

    overwrite: bool = Field(default=False, description=OVERWRITE)


@dg.asset(
    partitions_def=sessions,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="market",
    kinds={"polygon", "parquet"},
    owners=OWNERS,
    pool="polygon",
)
def daily_bars(
    context: dg.AssetExecutionContext,
    config: PartitionsConfig,
    lake: dg.ResourceParam[Lake],
    polygon: dg.ResourceParam[PolygonMarket],
) -> dg.MaterializeResult:
    """Unadjusted daily bars of the whole US market, one partition a trading session.

    Known after the session's close. A partition that exists is complete and is left as it is, so that a
    killed backfill resumes where it stopped; `overwrite` fetches it again.
    """
    keys = [key for key in context.partition_keys if config.overwrite or not lake.exists("daily_bars", key)]
    _require_closed(keys)
    context.log.info(f"{len(keys)} calls to Polygon for {len(context.partition_keys)} sessions; the others are there already")
    written, empty, rows = [], [], 0
    try:
        for key, bars in _fetched(keys, polygon):
            if isinstance(bars, EmptySessionError):
                empty.append(bars)
                continue
            lake.write("daily_bars", bars, key)
            written.append(key)
            rows += bars.height
            context.add_asset_metadata({"dagster/row_count": bars.height}, partition_key=key)
        if empty:
            raise _all_of(empty)
    except Exception:
        record_written(context, "daily_bars", written)
        raise
    sample = lake.read("daily_bars", context.partition_keys[-1])
    return dg.MaterializeResult(
        metadata={
            "dagster/column_schema": frame_metadata(sample)["dagster/column_schema"],
            "market": get_settings().market_kind,
            "fetched_sessions": len(keys),
            "fetched_rows": rows,
        }
    )


def _require_closed(keys: list[str]) -> None:
    newest = last_closed_session(now())
    for key in keys:
        day = date.fromisoformat(key)
        if day > newest:
            closes = session_hours(day)[1]
            raise SessionNotClosedError(
                f"the session {key} closes at {closes:%Y-%m-%d %H:%M %Z}; ask for its daily bar after that"
            )


def _fetched(keys: list[str], polygon: PolygonMarket) -> Iterator[tuple[str, pl.DataFrame | Exception]]:
    """Sessions with their bars in order, a few fetched ahead; an empty session comes as its error."""
    with ThreadPoolExecutor(_FETCHING) as pool:
        coming = [(key, pool.submit(polygon.grouped_daily, date.fromisoformat(key))) for key in keys[:_FETCHING]]
        try:
            for place, key in enumerate(keys):
                following = keys[place + _FETCHING : place + _FETCHING + 1]
                try:
                    yield key, coming[place][1].result()
                except EmptySessionError as error:
                    yield key, error
                coming += [(late, pool.submit(polygon.grouped_daily, date.fromisoformat(late))) for late in following]
        finally:
            pool.shutdown(cancel_futures=True)


def _all_of(errors: list[Exception]) -> Exception:
    """The first error, with a note on how many others there are."""
    if len(errors) > 1:
        errors[0].add_note(f"{len(errors)} sessions came back empty; the other sessions of this run are written")
    return errors[0]


@dg.asset(deps=[daily_bars], group_name="market", kinds={"polygon", "parquet"}, owners=OWNERS, pool="polygon")
def corporate_actions(lake: dg.ResourceParam[Lake], polygon: dg.ResourceParam[PolygonMarket]) -> dg.MaterializeResult:
    """Splits and cash dividends by ex-date, from the start of the history to today."""
    from mltrainer_pipelines.market import corporate_actions as actions

    found = actions.corporate_actions(polygon, get_settings().mltrainer_history_start, now().date())
    lake.write("corporate_actions", found)
    kinds = dict(found.group_by("kind").len().sort("kind").iter_rows())
    return dg.MaterializeResult(metadata=frame_metadata(found, splits=kinds.get("split", 0), dividends=kinds.get("dividend", 0)))


@dg.asset(group_name="market", kinds={"fred", "parquet"}, owners=OWNERS)
def macro_series(lake: dg.ResourceParam[Lake], fred: dg.ResourceParam[object]) -> dg.MaterializeResult:
    """FRED's series as first published, each observation with its publication date; never revised.

    Without `FRED_API_KEY` beside a real Polygon key, or where a recording has no macro data, the table is
    empty: what needs it is then missing, not invented.
    """
    client = fred if isinstance(fred, FredSeries) else None
    known, missing = [], []
    # Rates need a past of their own before the first session: a year of changes is a feature.
    first = get_settings().mltrainer_history_start - timedelta(days=400)
    for series_id in MACRO_SERIES:
        try:
            if client:
                known.append(fetch_macro(client, [series_id], first, now().date()))
            else:
                missing.append(series_id)
        except UnknownSeriesError:
            missing.append(series_id)
    found = pl.concat([pl.DataFrame(schema=MACRO_SCHEMA), *known])
    lake.write("macro_series", found)
    return dg.MaterializeResult(metadata=frame_metadata(found, series=len(known), missing_series=", ".join(missing) or "none"))


@dg.asset(
    partitions_def=months,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(
            daily_bars,
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-4, end_offset=-1, allow_nonexistent_upstream_partitions=True
            ),
        )
    ],
    group_name="market",
    kinds={"polars", "parquet"},
    owners=OWNERS,
    pool="polygon",
)
def universe(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], polygon: dg.ResourceParam[PolygonMarket]
) -> dg.MaterializeResult:
    """The most liquid common stocks of each month, chosen from the sessions before it among all symbols traded then."""
    wanted = [date.fromisoformat(key) for key in context.partition_keys]
    reference = pl.concat([polygon.reference_tickers(now().date(), active=active) for active in (True, False)])
    bars = lake.scan("daily_bars", _sessions_in_lake(lake, wanted[0] - timedelta(days=130), wanted[-1]))
    chosen = universes_of(wanted, bars, reference, get_settings().mltrainer_universe_size)
    for month, key in zip(wanted, context.partition_keys, strict=True):
        members = chosen.filter(pl.col("month") == month)
        lake.write("universe", members, key)
        context.add_asset_metadata({"dagster/row_count": members.height}, partition_key=key)
    newest = chosen.filter(pl.col("month") == wanted[-1])
    return dg.MaterializeResult(metadata=frame_metadata(newest, months=len(wanted), most_liquid=table(newest, 20)))


def _sessions_in_lake(lake: Lake, first: date, last: date) -> list[str]:
    """Sessions of the calendar in [first, last) that have bars in the lake."""
    return [key for key in lake.partitions("daily_bars") if str(first) <= key < str(last)]


@dg.asset_check(asset=daily_bars)
def every_session_is_there(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Between the first and the last session in the lake, no trading session is missing."""
    present = lake.partitions("daily_bars")
    if not present:
        return dg.AssetCheckResult(passed=False, metadata={"sessions": 0})
    expected = {str(day) for day in sessions_between(date.fromisoformat(present[0]), date.fromisoformat(present[-1]))}
    missing = sorted(expected - set(present))
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"sessions": len(present), "missing": ", ".join(missing[:20]) or "none"},
    )


ingest_session = dg.define_asset_job(
    "ingest_session",
    selection=dg.AssetSelection.assets("daily_bars", "corporate_actions", "macro_series"),
    description="One session's bars, and what was announced and published since: the evening's intake.",
)


@dg.schedule(job=ingest_session, cron_schedule="30 18 * * 1-5", execution_timezone="America/New_York")
def ingest_session_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """After the close of every session, New York time."""
    day = context.scheduled_execution_time.date()
    if not is_session(day):
        return dg.SkipReason(f"{day} is a holiday: the exchange does not trade")
    return dg.RunRequest(run_key=str(day), partition_key=str(day))


DEFS = dg.Definitions(
    assets=[daily_bars, corporate_actions, macro_series, universe],
    asset_checks=[every_session_is_there],
    jobs=[ingest_session],
    schedules=[ingest_session_schedule],
)
