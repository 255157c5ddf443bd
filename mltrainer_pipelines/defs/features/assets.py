"""Features, labels and the regime, month by month."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.defs.conditions import follows_inputs
from mltrainer_pipelines.defs.market.assets import corporate_actions, listings, macro_series, universe
from mltrainer_pipelines.defs.market.bar_corrections import bar_corrections, corrections_of
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.defs.partitions import months
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata
from mltrainer_pipelines.defs.resources import LakeResource
from mltrainer_pipelines.features.code_versions import code_versions
from mltrainer_pipelines.settings import get_settings

if TYPE_CHECKING:
    import polars as pl

    from mltrainer_pipelines.contracts.table import Table
    from mltrainer_pipelines.store.lake import Lake

_TWO_MONTHS = timedelta(days=35)
"""Features of the month before are computed again in the first days of a month: its last bars may have come late."""
_LABELS_OPEN = timedelta(days=130)
"""A label is known when its position has ended: up to 70 sessions, four months, later."""


def _span(start_offset: int, end_offset: int) -> dg.TimeWindowPartitionMapping:
    return dg.TimeWindowPartitionMapping(start_offset, end_offset, allow_nonexistent_upstream_partitions=True)


@dg.asset(
    partitions_def=months,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(daily_bars, partition_mapping=_span(-13, 0)),
        dg.AssetDep(bar_corrections, partition_mapping=corrections_of(-13, 0)),
        dg.AssetDep(universe, partition_mapping=_span(0, 0)),
        corporate_actions,
        listings,
        macro_series,
    ],
    automation_condition=follows_inputs(_TWO_MONTHS),
    group_name="features",
    kinds={"numba", "parquet"},
    owners=OWNERS,
    code_version=code_versions().stored,
)
def features(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Momentum features of the universe's members, known at the close of each session."""
    import polars as pl

    from mltrainer_pipelines.contracts.lake_tables import FEATURES
    from mltrainer_pipelines.contracts.table import Column
    from mltrainer_pipelines.features.registry import get_feature_set
    from mltrainer_pipelines.features.tables import STORED, VERSION_NOTE, computed_features
    from mltrainer_pipelines.features.versions import version_of
    from mltrainer_pipelines.market.history import sessions_in_lake

    keys = context.partition_keys
    first, last = _first_and_last_day(keys)
    columns = (Column(feature.name, pl.Float32(), feature.summary, nullable=True) for feature in get_feature_set(STORED).features)
    table = FEATURES.extended(columns)
    # A month that has just begun has a universe and no session yet.
    computed = computed_features(lake, first, last) if sessions_in_lake(lake, first, last) else table.empty()
    notes = {VERSION_NOTE: version_of(STORED)}
    return _written(context, lake, table, computed, keys, notes, features=len(computed.columns) - 2)


@dg.asset(
    partitions_def=months,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(daily_bars, partition_mapping=_span(-4, 4)),
        dg.AssetDep(bar_corrections, partition_mapping=corrections_of(-4, 4)),
        dg.AssetDep(universe, partition_mapping=_span(0, 0)),
        dg.AssetDep(features, partition_mapping=_span(0, 0)),
        corporate_actions,
        listings,
    ],
    automation_condition=follows_inputs(_LABELS_OPEN),
    group_name="features",
    kinds={"numba", "parquet"},
    owners=OWNERS,
)
def labels(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """What each decision earned at the first barrier its position met, for both timeframes; null while unknown."""
    from mltrainer_pipelines.contracts.lake_tables import LABELS
    from mltrainer_pipelines.features.tables import computed_labels
    from mltrainer_pipelines.market.history import sessions_in_lake

    keys = context.partition_keys
    first, last = _first_and_last_day(keys)
    begun = sessions_in_lake(lake, first, last)
    computed = computed_labels(lake, first, last, get_settings().cost_bps) if begun else LABELS.empty()
    return _written(context, lake, LABELS, computed, keys, None, known=computed["label"].is_not_null().sum())


@dg.asset(
    deps=[
        daily_bars,
        dg.AssetDep(bar_corrections, partition_mapping=dg.LastPartitionMapping()),
        corporate_actions,
        listings,
        macro_series,
        universe,
    ],
    automation_condition=follows_inputs(),
    group_name="features",
    kinds={"polars", "parquet"},
    owners=OWNERS,
)
def regime(lake: LakeResource) -> dg.MaterializeResult:
    """The market's regime at each close, 0 (crash) to 100 (strong bull), and the parts it is made of."""
    from mltrainer_pipelines.contracts.lake_tables import REGIME
    from mltrainer_pipelines.features.tables import computed_regime

    scores = computed_regime(lake)
    lake.write("regime", scores)
    newest = scores.tail(1).to_dicts()[0]
    return dg.MaterializeResult(metadata=frame_metadata(scores, REGIME, newest_score=newest["score"], plot=_regime_plot(scores)))


def _first_and_last_day(keys: Sequence[str]) -> tuple[date, date]:
    """First day of the first month and last day of the last one."""
    first, last = date.fromisoformat(keys[0]), date.fromisoformat(keys[-1])
    return first, (last + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def _written(
    context: dg.AssetExecutionContext,
    lake: "Lake",
    table: "Table",
    frame: "pl.DataFrame",
    keys: Sequence[str],
    notes: Mapping[str, str] | None,
    **metadata: object,
) -> dg.MaterializeResult:
    """Write a frame month by month and report on it."""
    import polars as pl

    months_of = frame.with_columns(_month=pl.col("date").dt.truncate("1mo")).partition_by(
        "_month", as_dict=True, include_key=False
    )
    for key in keys:
        part = months_of.get((date.fromisoformat(key),), frame.clear())
        lake.write(table.name, part, key, notes)
        context.add_asset_metadata({"dagster/row_count": part.height}, partition_key=key)
    described = {name: value for name, value in frame_metadata(frame, table, **metadata).items() if name != "dagster/row_count"}
    return dg.MaterializeResult(metadata=described)


def _regime_plot(scores: "pl.DataFrame") -> dg.MarkdownMetadataValue:
    """The score over the last two years as a line of blocks, one a month: a picture that every UI shows."""
    import polars as pl

    monthly = scores.drop_nulls("score").group_by_dynamic("date", every="1mo").agg(pl.col("score").mean()).tail(24).to_dicts()
    blocks = "▁▂▃▄▅▆▇█"
    line = "".join(blocks[min(7, int(month["score"] / 12.5))] for month in monthly)
    span = f"from {monthly[0]['date']} to {monthly[-1]['date']}" if monthly else "none yet"
    return dg.MetadataValue.md(f"`{line}`\n\nmonthly means, {span}")
