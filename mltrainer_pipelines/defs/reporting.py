"""What a materialization says of itself: rows, columns, the sessions it spans, the market it is of."""

import shutil
import subprocess
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import dagster as dg

from mltrainer_pipelines.settings import PROJECT_ROOT, get_settings

if TYPE_CHECKING:
    import polars as pl

    from mltrainer_pipelines.contracts.table import Table
    from mltrainer_pipelines.trials.registry.tracking import Provenance

OWNERS = ["team:mltrainer"]
OVERWRITE = "Compute partitions again that are there already. Without it a run writes what is missing, and so resumes."


def frame_metadata(frame: "pl.DataFrame", declared: "Table | None" = None, **more: Any) -> dict[str, Any]:
    """Row count, columns, symbols and first and last session of a frame, and what the caller adds.

    `declared` is the lake's table that the frame is of: its columns then come with their meanings and rules.
    """
    metadata: dict[str, Any] = {
        "dagster/row_count": frame.height,
        "dagster/column_schema": column_schema(declared) if declared else _bare_columns(frame.schema),
        "market": get_settings().market_kind,
    }
    if "date" in frame.columns and frame.height:
        metadata |= {"first_session": str(frame["date"].min()), "last_session": str(frame["date"].max())}
    if "symbol" in frame.columns:
        metadata["symbols"] = frame["symbol"].n_unique()
    return metadata | more


def column_schema(declared: "Table") -> dg.TableSchema:
    """The columns of a table of the lake as Dagster shows them, with meanings and rules."""
    columns = [
        dg.TableColumn(
            column.name,
            str(column.dtype),
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable, other=column.constraints),
        )
        for column in declared.columns
    ]
    rules = [f"unique in ({', '.join(declared.unique)})"] if declared.unique else []
    return dg.TableSchema(columns=columns, constraints=dg.TableConstraints(other=rules))


def _bare_columns(schema: "pl.Schema") -> dg.TableSchema:
    return dg.TableSchema(columns=[dg.TableColumn(name, str(kind)) for name, kind in schema.items()])


def table(frame: "pl.DataFrame", rows: int = 50) -> dg.MarkdownMetadataValue:
    """The first rows of a frame as a Markdown table, numbers rounded for reading."""
    import polars as pl

    rounded = frame.head(rows).with_columns(pl.selectors.float().round(4))
    lines = [" | ".join(rounded.columns), " | ".join("---" for _ in rounded.columns)]
    lines += [" | ".join("" if value is None else str(value) for value in row) for row in rounded.iter_rows()]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def record_written(context: dg.AssetExecutionContext, asset: str, partitions: Iterable[str]) -> None:
    """Tell Dagster of partitions that a run wrote before it has to fail on another one."""
    for partition in partitions:
        context.log_event(dg.AssetMaterialization(asset_key=asset, partition=partition))


def provenance(run_id: str, fingerprint: str) -> "Provenance":
    """Where a result logged to MLflow comes from: the market, this Dagster run, the code, the data."""
    from mltrainer_pipelines.trials.registry.tracking import Provenance

    settings = get_settings()
    return Provenance(settings.market_kind, run_id, f"{settings.dagster_link}/runs/{run_id}", _commit(), fingerprint)


def _commit() -> str:
    """Commit of the code that runs; empty where it is not a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "rev-parse", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()
