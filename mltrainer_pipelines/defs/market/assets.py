"""The corporate actions, macro series and universe that belong to the daily bars."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from mltrainer_pipelines.defs.conditions import follows_inputs
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.defs.partitions import months
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata
from mltrainer_pipelines.defs.reporting import table as markdown_table
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource, MarketDataResource
from mltrainer_pipelines.settings import get_settings, now

if TYPE_CHECKING:
    import polars as pl

    from mltrainer_pipelines.contracts.table import Table
    from mltrainer_pipelines.store.lake import Lake

_LIMITED_MINUTES = 5
"""Minutes' worth of a call budget that a universe may spend on the sectors of its new members."""


_ASKED_FROM, _ASKED_ON = "asked_from", "asked_on"


class ActionsConfig(dg.Config):
    """How much of the corporate actions a run fetches."""

    everything: bool = Field(
        default=False, description="Fetch the whole history again, not only the last 30 days and what is announced."
    )


@dg.asset(deps=[daily_bars], group_name="market", kinds={"polygon", "parquet"}, owners=OWNERS, pool="polygon")
def listings(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    market_data: MarketDataResource,
) -> dg.MaterializeResult[None]:
    """Which company a symbol was, and when: by the vendor's FIGI and ticker events, corrections, and gaps in its bars.

    Features, labels, the universe and positions follow the company. What begins, or comes back after five sessions
    without a bar, is asked about once.
    """
    from mltrainer_pipelines.contracts.lake_tables import LISTINGS, TICKER_EVENTS
    from mltrainer_pipelines.market.identity import asked_events, resolved_listings, runs_of
    from mltrainer_pipelines.store.corrections import in_force

    runs = runs_of(lake)
    stored = lake.read("ticker_events") if lake.exists("ticker_events") else TICKER_EVENTS.empty()
    affordable = market_data.budget.calls_per_minute * _LIMITED_MINUTES if market_data.budget else None
    events = asked_events(market_data, runs.to_ask(), stored, affordable, context.log.info)
    lake.write("ticker_events", events)
    frame = resolved_listings(runs, events, in_force(database.engine, now()))
    return _whole(lake, LISTINGS, frame, symbols=len({run.symbol for run in runs.runs}), asked=events["asked"].n_unique())


@dg.asset(deps=[daily_bars, listings], group_name="market", kinds={"polygon", "parquet"}, owners=OWNERS, pool="polygon")
def corporate_actions(
    context: dg.AssetExecutionContext,
    config: ActionsConfig,
    lake: LakeResource,
    database: DatabaseResource,
    market_data: MarketDataResource,
) -> dg.MaterializeResult[None]:
    """Splits and cash dividends by ex-date, from the start of the history to those announced for the next two weeks.

    An action counts from its ex-date. Of those that are known, the last 30 days are fetched again. What the price of
    the ex-date contradicts is set aside, and so is a symbol whose price steps as by a split that nobody lists, see the
    quarantine; a correction overrules both.
    """
    from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
    from mltrainer_pipelines.market import corporate_actions as actions
    from mltrainer_pipelines.store.corrections import in_force
    from mltrainer_pipelines.store.quarantine import doubts_of, quarantine

    first, today = get_settings().mltrainer_history_start, now().date()
    stored_until = None if config.everything else _actions_stored_until(context, lake, first)
    if stored_until is None:
        listed = actions.corporate_actions(market_data, first, today + actions.ANNOUNCED_AHEAD)
    else:
        listed = actions.continued_actions(market_data, actions.listed_before(lake), stored_until, today)
    corrections, suspect = in_force(database.engine, now()), not get_settings().is_imported  # an import has asked already
    sifted = actions.sifted_by_company(lake, listed, corrections, suspect=suspect)
    frame = sifted.believed
    lake.write("rejected_actions", sifted.rejected)
    doubts = doubts_of(actions.doubted(sifted.rejected).iter_rows(named=True), day="ex_date")
    quarantine(database.engine, "corporate_actions", doubts, now(), run_id=context.run.run_id)
    kinds = dict(frame.group_by("kind").len().sort("kind").iter_rows())
    counts = {"splits": kinds.get("split", 0), "dividends": kinds.get("dividend", 0)}
    return _whole(
        lake, CORPORATE_ACTIONS, frame, **counts, set_aside=len(doubts), **{_ASKED_FROM: str(first), _ASKED_ON: str(today)}
    )


def _actions_stored_until(context: dg.AssetExecutionContext, lake: "Lake", first: date) -> date | None:
    """The day on which the lake's actions were last fetched; None where they do not reach back to `first`."""
    event = context.instance.get_latest_materialization_event(context.asset_key)
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
    if not lake.exists("corporate_actions") or not {_ASKED_FROM, _ASKED_ON} <= metadata.keys():
        return None
    asked_from, asked_on = (date.fromisoformat(str(metadata[name].value)) for name in (_ASKED_FROM, _ASKED_ON))
    return asked_on if asked_from <= first else None


@dg.asset(group_name="market", kinds={"fred", "parquet"}, owners=OWNERS)
def macro_series(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    macro_data: dg.ResourceParam[object],
) -> dg.MaterializeResult[None]:
    """FRED's series as first published, each observation with its publication date; never revised.

    A series that cannot be had keeps what is stored of it, and goes to the quarantine. Without `FRED_API_KEY` beside a
    real Polygon key, or where a recording has no macro data, the table is empty: what needs it is then missing, not
    invented.
    """
    from mltrainer_pipelines.contracts.lake_tables import MACRO_SERIES
    from mltrainer_pipelines.market.macro import sifted_macro
    from mltrainer_pipelines.market.vendors.protocol import MacroData
    from mltrainer_pipelines.store.quarantine import quarantine

    # Rates need a past of their own before the first session: a year of changes is a feature.
    first, series = get_settings().mltrainer_history_start - timedelta(days=400), get_settings().macro_series
    frame = MACRO_SERIES.empty()
    if isinstance(macro_data, MacroData):
        stored = lake.read("macro_series") if lake.exists("macro_series") else None
        frame, doubts = sifted_macro(macro_data, series, first, now().date(), stored)
        quarantine(database.engine, "macro_series", doubts, now(), run_id=context.run.run_id)
    present = set(frame["series_id"])
    missing = ", ".join(name for name in series if name not in present) or "none"
    return _whole(lake, MACRO_SERIES, frame, series=len(present), missing_series=missing)


def _whole(lake: "Lake", table: "Table", frame: "pl.DataFrame", **metadata: Any) -> dg.MaterializeResult[None]:
    """Validate and write an asset without partitions; the same content has the same version, so nothing is out of date for it."""
    from mltrainer_pipelines.contracts.content_hash import data_fingerprint

    lake.write(table.name, table.validate(frame))
    return dg.MaterializeResult(
        metadata=frame_metadata(frame, table, **metadata), data_version=dg.DataVersion(data_fingerprint(frame))
    )


@dg.asset(
    partitions_def=months,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(
            daily_bars,
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-4, end_offset=-1, allow_nonexistent_upstream_partitions=True
            ),
        ),
        listings,
    ],
    automation_condition=follows_inputs(),
    group_name="market",
    kinds={"polars", "parquet"},
    owners=OWNERS,
    pool="polygon",
)
def universe(
    context: dg.AssetExecutionContext, lake: LakeResource, market_data: MarketDataResource
) -> dg.MaterializeResult[None]:
    """The most liquid common stocks of each month, chosen from the sessions before it among all companies traded then."""
    import polars as pl

    from mltrainer_pipelines.contracts.lake_tables import UNIVERSE
    from mltrainer_pipelines.market.listings import listings_of
    from mltrainer_pipelines.market.profiles import with_sectors
    from mltrainer_pipelines.market.universe import universes_in_lake

    wanted = [date.fromisoformat(key) for key in context.partition_keys]
    reference = pl.concat([market_data.reference_tickers(now().date(), active=active) for active in (True, False)])
    chosen = universes_in_lake(lake, wanted, reference, get_settings().mltrainer_universe_size)
    profiles_before = lake.read("ticker_profiles") if lake.exists("ticker_profiles") else None
    affordable = market_data.budget.calls_per_minute * _LIMITED_MINUTES if market_data.budget else None
    chosen, profiles = with_sectors(chosen, profiles_before, market_data, affordable, context.log.info, listings_of(lake))
    lake.write("ticker_profiles", profiles)
    UNIVERSE.validate(chosen)
    for month, key in zip(wanted, context.partition_keys, strict=True):
        members = chosen.filter(pl.col("month") == month)
        lake.write("universe", members, key)
        context.add_asset_metadata({"dagster/row_count": members.height}, partition_key=key)
    newest = chosen.filter(pl.col("month") == wanted[-1])
    metadata = frame_metadata(newest, UNIVERSE, months=len(wanted), most_liquid=markdown_table(newest, 20))
    return dg.MaterializeResult(metadata={name: value for name, value in metadata.items() if name != "dagster/row_count"})
