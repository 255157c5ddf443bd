"""The asset `daily_bars`: the whole market of each session, fetched by a backfill that can be killed and resumed."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from mltrainer_pipelines.defs.data_versions import kept_versions, with_version
from mltrainer_pipelines.defs.market.bar_corrections import open_records
from mltrainer_pipelines.defs.partitions import require_sessions, sessions
from mltrainer_pipelines.defs.reporting import OVERWRITE, OWNERS, column_schema, record_written
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource, MarketDataResource
from mltrainer_pipelines.market.errors import EmptySessionError
from mltrainer_pipelines.market.sessions import last_closed_session, session_hours
from mltrainer_pipelines.settings import get_settings, now

if TYPE_CHECKING:
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.store.quarantine import Doubt

_PROGRESS_LINES = 20


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
    lake: LakeResource,
    database: DatabaseResource,
    market_data: MarketDataResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """Unadjusted daily bars of the whole US market, one partition a trading session.

    Known after the session's close. A partition that exists is complete and is left as it is, so that a killed
    backfill resumes where it stopped; `overwrite` fetches it again. Bars that cannot be right are never stored: a
    stray few are set aside in `rejected_bars` of the lake and in the quarantine, more than that fail the run. A low or
    high that nobody traded at is clipped and put on record there.
    """
    from mltrainer_pipelines.market.backlog import note_closures
    from mltrainer_pipelines.market.bars import NO_BARS
    from mltrainer_pipelines.market.ingestion import (
        fetch_sessions,
        planned_backfill,
        progress_bar,
        sifted_session,
        store_session,
        symbols_before,
    )
    from mltrainer_pipelines.store.corrections import in_force
    from mltrainer_pipelines.store.quarantine import doubts_of, quarantine

    require_sessions(context.run)
    keys = context.partition_keys
    present = set(lake.partitions("daily_bars")) if len(keys) > 1 else {key for key in keys if lake.exists("daily_bars", key)}
    wanted = [key for key in keys if config.overwrite or key not in present]
    _require_closed(wanted)
    versions = kept_versions(context, "daily_bars", [key for key in keys if key in present])
    plan = planned_backfill(market_data, [date.fromisoformat(key) for key in wanted])
    context.log.info(
        f"{get_settings().mltrainer_market_vendor.capitalize()}: {plan}; {len(keys) - len(wanted)} sessions are there already"
    )

    rows: dict[str, int] = {}
    changed: list[str] = []
    empty: list[EmptySessionError] = []
    doubts: list[Doubt] = []
    begin = time.monotonic()
    corrections = in_force(database.engine, now())
    right = {(one.symbol, one.day) for one in corrections if one.kind == "bar"}
    earlier = symbols_before(lake, plan.sessions[0]) if plan.sessions else []
    try:
        answers = fetch_sessions(market_data, plan, earlier, config.accept_thin_sessions, context.log.warning)
        for done, (session, validated) in enumerate(answers, start=1):
            key = str(session)
            if isinstance(validated, EmptySessionError):
                empty.append(validated)
                continue
            if empty and get_settings().market_kind == "replay":  # a gap in a recording stays one: it costs that session
                for gap in empty:
                    context.log.warning(f"the recording has no bars of {gap.session}")
                    store_session(lake, gap.session, NO_BARS, compare=str(gap.session) in present)
                    rows[str(gap.session)] = 0
                note_closures(lake, [gap.session for gap in empty], now().date())
                empty.clear()
            validated = sifted_session(lake, session, validated, [str(symbol) for symbol, day in right if day == session])
            doubts += [replace(doubt, day=session) for doubt in doubts_of(validated.rejected.iter_rows(named=True))]
            if store_session(lake, session, validated, compare=key in present):
                changed.append(key)
            rows[key] = validated.bars.height
            if done * _PROGRESS_LINES // len(wanted) > (done - 1) * _PROGRESS_LINES // len(wanted):
                context.log.info(progress_bar(done, len(wanted), time.monotonic() - begin))
        declared = {one.day for one in corrections if one.kind == "closure"} | get_settings().closed_days
        closed = _closures(lake, [error.session for error in empty], declared)
        note_closures(lake, closed, now().date())
        if unexplained := [error for error in empty if error.session not in closed]:
            unexplained[0].add_note(f"{len(unexplained)} sessions came back empty; the other sessions of this run are written")
            raise unexplained[0]
    except Exception:
        record_written(context, "daily_bars", rows)
        raise
    finally:
        done_days = [date.fromisoformat(key) for key in rows]
        quarantine(database.engine, "daily_bars", doubts, now(), done_days, context.run.run_id)
    open_records(context, lake, keys)
    _describe(context, lake, keys, rows)
    yield dg.MaterializeResult(
        metadata={
            "market": get_settings().market_kind,
            "fetched_sessions": len(wanted),
            "fetched_rows": sum(rows.values()),
            "calls": plan.calls,
            "rejected_rows": len(doubts),
            "closures": ", ".join(str(error.session) for error in empty) or "none",
        }
    )
    # What was left as it was keeps its version: nothing that was made from it is out of date.
    for key, version in versions.items():
        if key not in changed:
            context.log_event(with_version("daily_bars", version, key, {"unchanged": True}))


def _describe(context: dg.AssetExecutionContext, lake: "Lake", keys: Sequence[str], rows: dict[str, int]) -> None:
    """Rows of each session; on the last one, where the UI looks, also columns and coverage."""
    from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS
    from mltrainer_pipelines.defs.figures import coverage_plot

    counts = {key: rows[key] if key in rows else _rows_in_lake(lake, key) for key in keys}
    last: dict[str, Any] = {
        "dagster/column_schema": column_schema(DAILY_BARS),
        "first_session": keys[0],
        "last_session": keys[-1],
        **({"coverage": coverage_plot(counts)} if len(counts) > 1 else {}),
    }
    for key in keys:
        context.add_asset_metadata({"dagster/row_count": counts[key]} | (last if key == keys[-1] else {}), partition_key=key)


def _rows_in_lake(lake: "Lake", key: str) -> int:
    return lake.row_count("daily_bars", key) if lake.exists("daily_bars", key) else 0


def _closures(lake: "Lake", empty: Sequence[date], declared: Collection[date]) -> list[date]:
    """Of sessions without any bar, those on which nothing traded: sessions around them have bars, or a person says so."""
    present = lake.partitions("daily_bars")
    return [day for day in empty if day in declared or (present and present[0] < str(day) < present[-1])]


def _require_closed(keys: list[str]) -> None:
    newest = last_closed_session(now())
    for key in keys:
        day = date.fromisoformat(key)
        if day > newest:
            closes = session_hours(day)[1]
            raise SessionNotClosedError(
                f"the session {key} closes at {closes:%Y-%m-%d %H:%M %Z}; ask for its daily bar after that"
            )
