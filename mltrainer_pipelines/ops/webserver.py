"""Dagster's webserver, with one check in front of it: `python -m mltrainer_pipelines.ops.webserver`.

Asked to backfill a day that is no session, Dagster takes the next session in its place, in silence. This server
refuses such a backfill by name before anything starts, whoever asks: the UI, our own client or a script.
"""

import argparse
from collections.abc import Callable
from typing import Any

import uvicorn
from dagster import AssetKey, DagsterInstance, MultiPartitionsDefinition, PartitionsDefinition, partition_loading_context
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.schema.errors import GraphenePartitionKeysNotFoundError
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema

_REMEDY = "sessions leave out weekends and holidays, months start with a 1st, quarters too and are there once they have ended"


class CheckedWebserver(DagsterWebserver):
    """Dagster's webserver that refuses a backfill of partitions which an asset does not have."""

    def build_graphql_schema(self) -> Schema:
        schema = super().build_graphql_schema()
        field = schema.graphql_schema.mutation_type.fields["launchPartitionBackfill"]
        field.resolve = _refusing_unknown_keys(field.resolve)
        return schema


def unknown_keys(context: Any, params: dict[str, Any]) -> set[str]:
    """Partition keys of a backfill's parameters that its assets do not have.

    Parameters
    ----------
    context : BaseWorkspaceRequestContext
        Knows the assets and, through the instance, the dynamic partitions.
    params : dict
        GraphQL's `LaunchBackfillParams`.

    Notes
    -----
    `partitionNames` speak of the selected assets that no other selected one feeds; Dagster maps them downstream.
    """
    asked: dict[AssetKey, set[str]] = {}
    selected = {AssetKey.from_graphql_input(key) for key in params.get("assetSelection") or []}
    for key in selected:
        if context.asset_graph.has(key) and not context.asset_graph.get(key).parent_keys & selected:
            asked[key] = set(params.get("partitionNames") or [])
    for chosen in params.get("partitionsByAssets") or []:
        partitions = chosen.get("partitions") or {}
        ranges = [*(partitions.get("ranges") or []), *([partitions["range"]] if partitions.get("range") else [])]
        asked[AssetKey.from_graphql_input(chosen["assetKey"])] = {part[end] for part in ranges for end in ("start", "end")}
    found: set[str] = set()
    with partition_loading_context(dynamic_partitions_store=context.instance):
        for key, names in asked.items():
            definition = context.asset_graph.get(key).partitions_def if context.asset_graph.has(key) else None
            if names and definition is not None:
                found |= _missing(definition, names)
    return found


def _missing(definition: PartitionsDefinition, names: set[str]) -> set[str]:
    if not isinstance(definition, MultiPartitionsDefinition):
        return names - set(definition.get_partition_keys())
    # Dimension by dimension: trials times quarters are too many to list.
    dimensions = definition.partitions_defs
    parts = {name: tuple(name.split("|")) for name in names}
    found = {name for name, keys in parts.items() if len(keys) != len(dimensions)}
    for at, dimension in enumerate(dimensions):
        there = set(dimension.partitions_def.get_partition_keys())
        found |= {name for name, keys in parts.items() if name not in found and keys[at] not in there}
    return found


def _refusing_unknown_keys(launch: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(root: Any, info: Any, **arguments: Any) -> Any:
        unknown = unknown_keys(info.context, arguments["backfillParams"])
        if not unknown:
            return launch(root, info, **arguments)
        refusal = GraphenePartitionKeysNotFoundError(unknown)
        refusal.message = f"no such partition: {', '.join(sorted(unknown)[:5])}; {_REMEDY}"
        return refusal

    return resolve


def main() -> None:
    arguments = argparse.ArgumentParser(description="Dagster's webserver for mlTrainer")
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=3000)
    arguments.add_argument("--workspace", required=True, help="the workspace.yaml that names the code location")
    chosen = arguments.parse_args()
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3_600, max_overflow=20)
        target = WorkspaceFileTarget(paths=[chosen.workspace])
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            app = CheckedWebserver(context).create_asgi_app()
            uvicorn.run(app, host=chosen.host, port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main()
