"""Versions of data: Dagster marks what was made from an older version as stale, and only that."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

TAG = "dagster/data_version"


def kept_versions(context: dg.AssetExecutionContext, asset: str, partitions: Sequence[str]) -> Mapping[str, str]:
    """The versions that partitions have, as far as Dagster knows them."""
    if not partitions:
        return {}
    tags = context.instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, [TAG], asset_partitions=list(partitions)
    )
    return {partition: own[TAG] for partition, own in tags.items() if TAG in own}


def with_version(asset: str, version: str, partition: str, metadata: Mapping[str, Any]) -> dg.AssetMaterialization:
    """A materialization of one partition with a version of its own; a run's result has one version for all of its partitions."""
    return dg.AssetMaterialization(asset, partition=partition, metadata=metadata, tags={TAG: version})
