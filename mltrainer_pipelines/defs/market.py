"""Market data: daily bars and their corrections, corporate actions, macro series, and the universe chosen from them."""

import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from mltrainer_pipelines.defs.data_versions import kept_versions, version_of, with_version
from mltrainer_pipelines.defs.market_checks import MARKET_CHECKS
from mltrainer_pipelines.defs.partitions import months, require_sessions, sessions
from mltrainer_pipelines.defs.reporting import OVERWRITE, OWNERS, record_written, table
from mltrainer_pipelines.market.corrections import CORRECTED_SESSIONS, CORRECTION_SCHEMA
from mltrainer_pipelines.market.errors import EmptySessionError, UnknownSeriesError
from mltrainer_pipelines.market.fred import FredSeries
from mltrainer_pipelines.market.ingestion import BackfillPlan, fetched, planned_backfill, progress_bar, symbols_before
from mltrainer_pipelines.market.macro import MACRO_SCHEMA, fetch_macro
from mltrainer_pipelines.market.polygon import PolygonMarket
from mltrainer_pipelines.market.sessions import (
    is_session,
    last_closed_session,
    previous_session,
    session_hours,
    sessions_between,
)
from mltrainer_pipelines.market.universe import universes_of
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.store.lake import Lake

_PROGRESS_LINES = 20
_LIMITED_MINUTES = 5
"""Minutes' worth of a call budget that a universe may spend on the sectors of its new members."""


class SessionNotClosedError(ValueError):
    """The bar of a session was asked for before the session ended: names the session and when to ask again."""


class PartitionsConfig(dg.Config):
    """How a run treats partitions that exist."""

    overwrite: bool = Field(default=False, description=OVERWRITE)


class BarsConfig(PartitionsConfig):
    """How a run treats partitions that exist, and sessions that look too small."""

    accept_thin_sessions: bool = Field(
        default=False,
        description="Store sessions that have less than half of the symbols of the sessions before them. Without it the run "
        "fails at the first of them.",
    )


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
    config: BarsConfig,
    lake: dg.ResourceParam[Lake],
    polygon: dg.ResourceParam[PolygonMarket],
) -> Iterator[dg.MaterializeResult]:
    """Unadjusted daily bars of the whole US market, one partition a trading session.

    Known after the session's close. A partition that exists is complete and is left as it is, so that a killed
    backfill resumes where it stopped; `overwrite` fetches it again. Bars that cannot be right are never stored: a
    stray few are set aside in `rejected_bars` of the lake, more than that fail the run.
    """
    require_sessions(context.run)
    keys = context.partition_keys
    present = set(lake.partitions("daily_bars")) if len(keys) > 1 else {key for key in keys if lake.exists("daily_bars", key)}
    wanted = [key for key in keys if config.overwrite or key not in present]
    _require_closed(wanted)
    versions = kept_versions(context, "daily_bars", [key for key in keys if key in present])
    plan = planned_backfill(polygon, [date.fromisoformat(key) for key in wanted])
    context.log.info(f"Polygon: {plan}; {len(keys) - len(wanted)} sessions are there already")

    rows: dict[str, int] = {}
    changed: list[str] = []
    empty: list[EmptySessionError] = []
    rejected, begin = 0, time.monotonic()
    earlier = symbols_before(lake, plan.sessions[0]) if plan.sessions else []
    try:
        coming = fetched(polygon, plan, earlier, config.accept_thin_sessions, context.log.warning)
        for done, (session, found) in enumerate(coming, start=1):
            key = str(session)
            if isinstance(found, EmptySessionError):
                empty.append(found)
                continue
            if _stored(lake, key, found.bars, found.rejected, compare=key in present):
                changed.append(key)
            rows[key] = found.bars.height
            rejected += found.rejected.height
            if done * _PROGRESS_LINES // len(wanted) > (done - 1) * _PROGRESS_LINES // len(wanted):
                context.log.info(progress_bar(done, len(wanted), time.monotonic() - begin))
        if empty:
            raise _all_of(empty)
    except Exception:
        record_written(context, "daily_bars", rows)
        raise
    _open_records(context, lake, keys)
    _describe(context, lake, keys, rows)
    yield dg.MaterializeResult(
        metadata={
            "market": get_settings().market_kind,
            "fetched_sessions": len(wanted),
            "fetched_rows": sum(rows.values()),
            "calls": plan.calls,
            "rejected_rows": rejected,
        }
    )
    # What was left as it was keeps its version: nothing that was made from it is out of date.
    for key, version in versions.items():
        if key not in changed:
            context.log_event(with_version("daily_bars", version, key, {"unchanged": True}))


def _stored(lake: Lake, key: str, bars: pl.DataFrame, rejected: pl.DataFrame, compare: bool) -> bool:
    """Write a session; returns whether its bars are other than those that were there."""
    if rejected.is_empty():
        if compare:
            lake.delete("rejected_bars", key)
    else:
        lake.write("rejected_bars", rejected, key)
    if compare and lake.read("daily_bars", key).equals(bars):
        return False
    lake.write("daily_bars", bars, key)
    return True


def _open_records(context: dg.AssetExecutionContext, lake: Lake, keys: Sequence[str]) -> None:
    """An empty record of corrections for each month that has none: so a first correction is seen as a change."""
    for month in sorted({f"{key[:7]}-01" for key in keys} & set(months.get_partition_keys())):
        if not lake.exists("bar_corrections", month):
            lake.write("bar_corrections", pl.DataFrame(schema=CORRECTION_SCHEMA), month)
            context.log_event(with_version("bar_corrections", _corrections_version(lake, month), month, {"dagster/row_count": 0}))


def _describe(context: dg.AssetExecutionContext, lake: Lake, keys: Sequence[str], rows: dict[str, int]) -> None:
    """Rows of each session; on the last one, where the UI looks, also columns and coverage."""
    from mltrainer_pipelines.defs.figures import coverage_plot
    from mltrainer_pipelines.defs.schemas import column_schema

    counts = {key: rows[key] if key in rows else lake.row_count("daily_bars", key) for key in keys}
    last = {
        "dagster/column_schema": column_schema("daily_bars"),
        "first_session": keys[0],
        "last_session": keys[-1],
        **({"coverage": coverage_plot(counts)} if len(counts) > 1 else {}),
    }
    add_partition_metadata(context, {key: {"dagster/row_count": counts[key]} | (last if key == keys[-1] else {}) for key in keys})


def add_partition_metadata(context: dg.AssetExecutionContext, metadata: dict[str, dict[str, Any]]) -> None:
    for key, values in metadata.items():
        context.add_asset_metadata(values, partition_key=key)


def _require_closed(keys: list[str]) -> None:
    newest = last_closed_session(now())
    for key in keys:
        day = date.fromisoformat(key)
        if day > newest:
            closes = session_hours(day)[1]
            raise SessionNotClosedError(
                f"the session {key} closes at {closes:%Y-%m-%d %H:%M %Z}; ask for its daily bar after that"
            )


def _all_of(errors: Sequence[Exception]) -> Exception:
    """The first error, with a note on how many others there are."""
    if len(errors) > 1:
        errors[0].add_note(f"{len(errors)} sessions came back empty; the other sessions of this run are written")
    return errors[0]


@dg.asset(
    partitions_def=months,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(
            daily_bars,
            partition_mapping=dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True),
        )
    ],
    group_name="market",
    kinds={"polygon", "parquet"},
    owners=OWNERS,
    pool="polygon",
)
def bar_corrections(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], polygon: dg.ResourceParam[PolygonMarket]
) -> Iterator[dg.MaterializeResult]:
    """What the vendor changed in bars it had given before, by the month of the bar; the bars themselves are replaced.

    Each night the last five sessions are fetched again. A month that none of them lies in is fetched again as a whole.
    Every changed session is a new materialization of `daily_bars` with a new data version, and every month with
    changes a new version of this record, so that Dagster marks what was made from them as stale.
    """
    from mltrainer_pipelines.defs.schemas import column_schema
    from mltrainer_pipelines.market.corrections import corrected_bars, corrections_between, recorded

    keys = context.partition_keys
    wanted = [day for day in _sessions_to_check(keys) if lake.exists("daily_bars", str(day))]
    plan = BackfillPlan("sessions", tuple(wanted), (), len(wanted))
    context.log.info(f"Polygon: fetching again: {plan}")
    earlier = symbols_before(lake, wanted[0]) if wanted else []
    found_now = pl.DataFrame(schema=CORRECTION_SCHEMA)
    for session, found in fetched(polygon, plan, earlier, say=context.log.warning):
        if isinstance(found, EmptySessionError):
            raise found
        key, month = str(session), f"{session:%Y-%m}-01"
        changes = corrections_between(lake.read("daily_bars", key), found.bars, now().date())
        if changes.is_empty():
            continue
        known = lake.read("bar_corrections", month) if lake.exists("bar_corrections", month) else None
        lake.write("bar_corrections", recorded(known, changes), month)  # first: a change that is made is always on record
        _stored(lake, key, found.bars, found.rejected, compare=True)
        found_now = pl.concat([found_now, changes])
        bars = corrected_bars(changes)
        context.log.info(f"{key}: the vendor changed {bars} bars; the session is replaced")
        metadata = {"dagster/row_count": found.bars.height, "corrected_bars": bars, "corrections": table(changes, 20)}
        context.log_event(with_version("daily_bars", version_of(found.bars), key, metadata))
    yield dg.MaterializeResult(
        metadata={
            "dagster/column_schema": column_schema("bar_corrections"),
            "market": get_settings().market_kind,
            "checked_sessions": len(wanted),
            "corrected_bars": corrected_bars(found_now),
            "corrections": table(found_now, 20),
        }
    )
    for month in keys:
        if not lake.exists("bar_corrections", month):
            lake.write("bar_corrections", pl.DataFrame(schema=CORRECTION_SCHEMA), month)
        count = {"dagster/row_count": lake.row_count("bar_corrections", month)}
        context.log_event(with_version("bar_corrections", _corrections_version(lake, month), month, count))


def corrections_of(first_month: int, last_month: int) -> dg.TimeWindowPartitionMapping:
    """What a month has to depend on besides `daily_bars` if it reads the bars of so many months around it.

    Dagster compares no more than a hundred partitions of an asset one by one, which is less than five months of
    sessions. The months of corrections are few enough: what reads a year of bars is marked as stale through them.
    An asset without partitions takes `LastPartitionMapping`: a month's version tells of the month before it too.
    """
    return dg.TimeWindowPartitionMapping(first_month, last_month, allow_nonexistent_upstream_partitions=True)


def _sessions_to_check(keys: Sequence[str]) -> list[date]:
    """The newest sessions where they lie in these months; of months without any of them all sessions."""
    newest = last_closed_session(now())
    recent = sessions_between(previous_session(newest, CORRECTED_SESSIONS - 1), newest)
    chosen: list[date] = []
    for key in keys:
        first = date.fromisoformat(key)
        whole = [day for day in sessions_between(first, _last_day(first)) if day <= newest]
        chosen += [day for day in whole if day in recent] or whole
    return chosen


def _corrections_version(lake: Lake, month: str) -> str:
    """Version of a month's record, that of the month before included: what reads the newest month sees both."""
    before = str((date.fromisoformat(month) - timedelta(days=1)).replace(day=1))
    return version_of(*(lake.read("bar_corrections", key) for key in (before, month) if lake.exists("bar_corrections", key)))


def _last_day(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1) - timedelta(days=1)


@dg.asset(group_name="market", kinds={"polygon", "parquet"}, owners=OWNERS, pool="polygon")
def corporate_actions(lake: dg.ResourceParam[Lake], polygon: dg.ResourceParam[PolygonMarket]) -> dg.MaterializeResult:
    """Splits and cash dividends by ex-date, from the start of the history to today."""
    from mltrainer_pipelines.market import corporate_actions as actions

    found = actions.corporate_actions(polygon, get_settings().mltrainer_history_start, now().date())
    kinds = dict(found.group_by("kind").len().sort("kind").iter_rows())
    return _whole(lake, "corporate_actions", found, splits=kinds.get("split", 0), dividends=kinds.get("dividend", 0))


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
    for series_id in get_settings().macro_series:
        try:
            if client:
                known.append(fetch_macro(client, [series_id], first, now().date()))
            else:
                missing.append(series_id)
        except UnknownSeriesError:
            missing.append(series_id)
    found = pl.concat([pl.DataFrame(schema=MACRO_SCHEMA), *known])
    return _whole(lake, "macro_series", found, series=len(known), missing_series=", ".join(missing) or "none")


def _whole(lake: Lake, asset: str, frame: pl.DataFrame, **metadata: Any) -> dg.MaterializeResult:
    """Validate and write an asset without partitions; the same content has the same version, so nothing is out of date for it."""
    from mltrainer_pipelines.defs.schemas import frame_metadata
    from mltrainer_pipelines.market.schemas import validated

    lake.write(asset, validated(asset, frame))
    return dg.MaterializeResult(metadata=frame_metadata(asset, frame, **metadata), data_version=dg.DataVersion(version_of(frame)))


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
    from mltrainer_pipelines.defs.schemas import frame_metadata
    from mltrainer_pipelines.market.profiles import with_sectors
    from mltrainer_pipelines.market.schemas import validated

    wanted = [date.fromisoformat(key) for key in context.partition_keys]
    reference = pl.concat([polygon.reference_tickers(now().date(), active=active) for active in (True, False)])
    bars = lake.scan("daily_bars", _sessions_in_lake(lake, wanted[0] - timedelta(days=130), wanted[-1]))
    chosen = universes_of(wanted, bars, reference, get_settings().mltrainer_universe_size)
    known = lake.read("ticker_profiles") if lake.exists("ticker_profiles") else None
    affordable = polygon.budget.calls_per_minute * _LIMITED_MINUTES if polygon.budget else None
    chosen, profiles = with_sectors(chosen, known, polygon, affordable, context.log.info)
    lake.write("ticker_profiles", profiles)
    validated("universe", chosen)
    for month, key in zip(wanted, context.partition_keys, strict=True):
        members = chosen.filter(pl.col("month") == month)
        lake.write("universe", members, key)
        context.add_asset_metadata({"dagster/row_count": members.height}, partition_key=key)
    newest = chosen.filter(pl.col("month") == wanted[-1])
    shown = frame_metadata("universe", newest, months=len(wanted), most_liquid=table(newest, 20))
    return dg.MaterializeResult(metadata={name: value for name, value in shown.items() if name != "dagster/row_count"})


def _sessions_in_lake(lake: Lake, first: date, last: date) -> list[str]:
    """Sessions of the calendar in [first, last) that have bars in the lake."""
    return [key for key in lake.partitions("daily_bars") if str(first) <= key < str(last)]


ingest_session = dg.define_asset_job(
    "ingest_session",
    selection=dg.AssetSelection.assets("daily_bars", "corporate_actions", "macro_series"),
    description="One session's bars, and what was announced and published since: the evening's intake.",
)

correct_bars = dg.define_asset_job(
    "correct_bars",
    selection=dg.AssetSelection.assets("bar_corrections"),
    description="The last five sessions fetched again; what the vendor changed is replaced and put on record.",
)


@dg.schedule(job=ingest_session, cron_schedule="30 18 * * 1-5", execution_timezone="America/New_York")
def ingest_session_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """After the close of every session, New York time."""
    day = context.scheduled_execution_time.date()
    if not is_session(day):
        return dg.SkipReason(f"{day} is a holiday: the exchange does not trade")
    return dg.RunRequest(run_key=str(day), partition_key=str(day))


@dg.schedule(job=correct_bars, cron_schedule="0 4 * * *", execution_timezone="America/New_York")
def correct_bars_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
    """Each night: one run for each month that the last five sessions lie in."""
    from mltrainer_pipelines.market.corrections import months_of

    night = context.scheduled_execution_time
    newest = last_closed_session(night)
    recent = sessions_between(previous_session(newest, CORRECTED_SESSIONS - 1), newest)
    known = set(months.get_partition_keys())
    keys = [str(month) for month in months_of(recent) if str(month) in known]
    return [dg.RunRequest(run_key=f"{night:%Y-%m-%d} {key}", partition_key=key) for key in keys]


DEFS = dg.Definitions(
    assets=[daily_bars, bar_corrections, corporate_actions, macro_series, universe],
    asset_checks=MARKET_CHECKS,
    jobs=[ingest_session, correct_bars],
    schedules=[ingest_session_schedule, correct_bars_schedule],
)
