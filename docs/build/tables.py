"""`docs/tables.md`, written from the declarations of the lake's tables."""

from mltrainer_pipelines.contracts.lake_tables import LAKE_TABLES
from mltrainer_pipelines.contracts.table import Table

_INTRODUCTION = """\
# Tables of the lake

*Written from the declarations by `make docs`; a test fails where it is out of date. Change
`contracts/lake_tables.py`, not this page.*

Every table is Parquet, `<table>/<partition>.parquet` in the lake. A partition is written whole, and one that exists is
complete. Prices are dollars a share, unadjusted; times are New York's.
"""


def tables_page() -> str:
    """The page, as the declarations have it now."""
    return "\n".join([_INTRODUCTION, *(_section(table) for table in LAKE_TABLES.values())])


def _section(table: Table) -> str:
    files = "One file." if table.partition == "all" else f"A file for each {table.partition}."
    keys = f" Unique in {', '.join(f'`{name}`' for name in table.unique)}." if table.unique else ""
    rows = [
        f"| `{column.name}` | {_type_name(str(column.dtype))} | {column.description} | {', '.join(column.constraints)} |\n"
        for column in table.columns
    ]
    more = f"\n{table.more}\n" if table.more else ""
    header = "| column | type | meaning | rules |\n|---|---|---|---|\n"
    return f"## {table.name}\n\n{table.description} {files}{keys}\n\n{header}{''.join(rows)}{more}"


def _type_name(dtype: str) -> str:
    return dtype.split("(")[0]
