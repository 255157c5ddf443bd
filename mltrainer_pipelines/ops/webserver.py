"""Dagster's webserver, with two checks in front of it: `python -m mltrainer_pipelines.ops.webserver`.

Only its own page and who has the installation's token may change anything (`ops.request_guard`). And asked to backfill a day
that is no session, Dagster takes the next session in its place, in silence: this server refuses such a backfill by name before
anything starts, whoever asks: the UI, our own client or a script.
"""

import argparse
from typing import Any

import dagster as dg
import uvicorn
from starlette.types import Scope

from mltrainer_pipelines.ops.dagster_internals import webserver_app
from mltrainer_pipelines.ops.impatient_http import BodyDeadline, ImpatientProtocol
from mltrainer_pipelines.ops.installation_token import load_token, token_file
from mltrainer_pipelines.ops.request_guard import SAFE_METHODS, RequestGuard
from mltrainer_pipelines.settings import get_settings

_REMEDY = "sessions leave out weekends and holidays, months start with a 1st, quarters too and are there once they have ended"


def unknown_keys(context: Any, params: dict[str, Any]) -> set[str]:
    """Partition keys of a backfill's parameters (GraphQL's `LaunchBackfillParams`) that its assets do not have.

    `context` knows the assets and, through the instance, the dynamic partitions. `partitionNames` speak of the selected
    assets that no other selected one feeds; Dagster maps them downstream.
    """
    requested: dict[dg.AssetKey, set[str]] = {}
    selected = {dg.AssetKey.from_graphql_input(key) for key in params.get("assetSelection") or []}
    for key in selected:
        if context.asset_graph.has(key) and not context.asset_graph.get(key).parent_keys & selected:
            requested[key] = set(params.get("partitionNames") or [])
    for chosen in params.get("partitionsByAssets") or []:
        partitions = chosen.get("partitions") or {}
        ranges = [*(partitions.get("ranges") or []), *([partitions["range"]] if partitions.get("range") else [])]
        requested[dg.AssetKey.from_graphql_input(chosen["assetKey"])] = {part[end] for part in ranges for end in ("start", "end")}
    unknown: set[str] = set()
    with dg.partition_loading_context(dynamic_partitions_store=context.instance):
        for key, names in requested.items():
            definition = context.asset_graph.get(key).partitions_def if context.asset_graph.has(key) else None
            if names and definition is not None:
                unknown |= _missing(definition, names)
    return unknown


def _missing(definition: dg.PartitionsDefinition, names: set[str]) -> set[str]:
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return names - set(definition.get_partition_keys())
    # Dimension by dimension: trials times quarters are too many to list.
    dimensions = definition.partitions_defs
    parts = {name: tuple(name.split("|")) for name in names}
    missing = {name for name, keys in parts.items() if len(keys) != len(dimensions)}
    for at, dimension in enumerate(dimensions):
        keys_of_dimension = set(dimension.partitions_def.get_partition_keys())
        missing |= {name for name, keys in parts.items() if name not in missing and keys[at] not in keys_of_dimension}
    return missing


def changes(scope: Scope) -> bool:
    """GraphQL's requests are told apart where they are parsed."""
    return scope["method"] not in SAFE_METHODS and scope["path"] != "/graphql"


def main() -> None:
    arguments = argparse.ArgumentParser(description="Dagster's webserver for mlTrainer")
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=3000)
    arguments.add_argument("--workspace", required=True, help="the workspace.yaml that names the code location")
    chosen = arguments.parse_args()
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3_600, max_overflow=20)
        with webserver_app(instance, chosen.workspace, unknown_keys, _REMEDY) as app:
            settings = get_settings()
            guarded = RequestGuard(BodyDeadline(app), load_token(token_file(settings)), settings.api_hosts, changes)
            # the address of who asks is that of the connection, whatever a header says
            http = ImpatientProtocol
            uvicorn.run(guarded, host=chosen.host, port=chosen.port, http=http, log_level="warning", proxy_headers=False)


if __name__ == "__main__":
    main()
