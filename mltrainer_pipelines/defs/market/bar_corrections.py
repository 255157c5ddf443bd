"""The asset `bar_corrections`: what the vendor changed in bars it had given before, looked for each night."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.defs.data_versions import with_version
from mltrainer_pipelines.defs.partitions import months
from mltrainer_pipelines.defs.reporting import OWNERS, column_schema, table
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource, MarketDataResource
from mltrainer_pipelines.market.errors import EmptySessionError
from mltrainer_pipelines.market.sessions import last_closed_session
from mltrainer_pipelines.settings import get_settings, now

if TYPE_CHECKING:
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.store.quarantine import Doubt


@dg.asset(
    partitions_def=months,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(
            "daily_bars",
            partition_mapping=dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True),
        )
    ],
    group_name="market",
    kinds={"polygon", "parquet"},
    owners=OWNERS,
    pool="polygon",
)
def bar_corrections(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    market_data: MarketDataResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """What the vendor changed in bars it had given before, by the month of the bar; the bars themselves are replaced.

    Each night the last five sessions are fetched again. A month that none of them lies in is fetched again as a whole.
    Every changed session is a new materialization of `daily_bars` with a new data version, and every month with
    changes a new version of this record, so that Dagster marks what was made from them as stale.
    """
    import polars as pl

    from mltrainer_pipelines.contracts.content_hash import data_fingerprint
    from mltrainer_pipelines.contracts.lake_tables import BAR_CORRECTIONS
    from mltrainer_pipelines.market.backlog import closures
    from mltrainer_pipelines.market.corrections import corrected_bars, corrections_between, recorded, sessions_to_check
    from mltrainer_pipelines.market.ingestion import BackfillPlan, fetch_sessions, sifted_session, store_session, symbols_before
    from mltrainer_pipelines.store.corrections import in_force
    from mltrainer_pipelines.store.quarantine import doubts_of, quarantine

    keys = context.partition_keys
    months_asked = [date.fromisoformat(key) for key in keys]
    due = sessions_to_check(months_asked, last_closed_session(now()))
    closed = closures(lake)
    wanted = [day for day in due if lake.exists("daily_bars", str(day)) and day not in closed]
    least_s = market_data.budget.seconds_for(len(wanted)) if market_data.budget else 0.0
    plan = BackfillPlan("sessions", tuple(wanted), (), len(wanted), least_s)
    context.log.info(f"Polygon: fetching again: {plan}")
    earlier = symbols_before(lake, wanted[0]) if wanted else []
    all_changes = BAR_CORRECTIONS.empty()
    doubts: list[Doubt] = []
    days: list[date] = []
    confirmed = [one for one in in_force(database.engine, now()) if one.kind == "bar"]
    right = {(one.symbol, one.day) for one in confirmed}
    for session, fetched in fetch_sessions(market_data, plan, earlier, log=context.log.warning):
        if isinstance(fetched, EmptySessionError):
            raise fetched
        key, month = str(session), f"{session:%Y-%m}-01"
        fetched = sifted_session(lake, session, fetched, [str(symbol) for symbol, day in right if day == session])
        days.append(session)
        doubts += [replace(doubt, day=session) for doubt in doubts_of(fetched.rejected.iter_rows(named=True))]
        changes = corrections_between(lake.read("daily_bars", key), fetched.bars, now().date())
        if changes.is_empty():
            continue
        record = lake.read("bar_corrections", month) if lake.exists("bar_corrections", month) else None
        lake.write("bar_corrections", recorded(record, changes), month)  # first: a change that is made is always on record
        store_session(lake, session, fetched, compare=True)
        all_changes = pl.concat([all_changes, changes])
        bars = corrected_bars(changes)
        context.log.info(f"{key}: the vendor changed {bars} bars; the session is replaced")
        metadata = {"dagster/row_count": fetched.bars.height, "corrected_bars": bars, "corrections": table(changes, 20)}
        context.log_event(with_version("daily_bars", data_fingerprint(fetched.bars), key, metadata))
    quarantine(database.engine, "daily_bars", doubts, now(), days, context.run.run_id)
    yield dg.MaterializeResult(
        metadata={
            "dagster/column_schema": column_schema(BAR_CORRECTIONS),
            "market": get_settings().market_kind,
            "checked_sessions": len(wanted),
            "corrected_bars": corrected_bars(all_changes),
            "corrections": table(all_changes, 20),
        }
    )
    for month in keys:
        if not lake.exists("bar_corrections", month):
            lake.write("bar_corrections", BAR_CORRECTIONS.empty(), month)
        count = {"dagster/row_count": lake.row_count("bar_corrections", month)}
        context.log_event(with_version("bar_corrections", _version(lake, month), month, count))


def corrections_of(first_month: int, last_month: int) -> dg.TimeWindowPartitionMapping:
    """What a month has to depend on besides `daily_bars` if it reads the bars of so many months around it.

    Dagster compares no more than a hundred partitions of an asset one by one, which is less than five months of
    sessions. The months of corrections are few enough: what reads a year of bars is marked as stale through them.
    An asset without partitions takes `LastPartitionMapping`: a month's version tells of the month before it too.
    """
    return dg.TimeWindowPartitionMapping(first_month, last_month, allow_nonexistent_upstream_partitions=True)


def open_records(context: dg.AssetExecutionContext, lake: "Lake", keys: Sequence[str]) -> None:
    """An empty record of corrections for each month that has none: so a first correction is seen as a change."""
    from mltrainer_pipelines.contracts.lake_tables import BAR_CORRECTIONS

    for month in sorted({f"{key[:7]}-01" for key in keys}):
        if months.has_partition_key(month) and not lake.exists("bar_corrections", month):
            lake.write("bar_corrections", BAR_CORRECTIONS.empty(), month)
            context.log_event(with_version("bar_corrections", _version(lake, month), month, {"dagster/row_count": 0}))


def _version(lake: "Lake", month: str) -> str:
    """Version of a month's record, that of the month before included: what reads the newest month sees both."""
    from mltrainer_pipelines.contracts.content_hash import data_fingerprint

    before = str((date.fromisoformat(month) - timedelta(days=1)).replace(day=1))
    return data_fingerprint(
        *(lake.read("bar_corrections", key) for key in (before, month) if lake.exists("bar_corrections", key))
    )
