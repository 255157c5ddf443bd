"""An expression tried on the newest sessions of the lake's market."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.expressions.graph import expression_set
from mltrainer_pipelines.features.expressions.parser import parse
from mltrainer_pipelines.features.expressions.quality import check_history, check_values
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.listings import listings_of
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.store.lake import Lake, MissingPartitionError
from mltrainer_pipelines.trials.factors.assessment import Assessment, assess


@dataclass(frozen=True)
class LakeTrial:
    """What an expression gave: itself as it was understood, its figures, and its values at the newest session."""

    expression: str
    look_back: int
    first_session: date
    assessment: Assessment
    newest: list[tuple[str, float]]


def try_on_lake(lake: Lake, expression: str, sessions: int) -> LakeTrial:
    """An expression on the universe's members of the newest `sessions` sessions.

    Raises ExpressionError before anything is read; BadFactorError where the values say nothing; MissingPartitionError where the
    lake has no bars or no universe yet.
    """
    node = parse(expression)
    chosen = expression_set("tried", {"factor": expression})
    days = sessions_in_lake(lake, date.min, date.max)
    months = [key for key in lake.partitions("universe") if days and key <= str(days[-1])]
    covered = [day for day in days if months and str(day) >= months[0]][-sessions:]
    if not covered:
        raise MissingPartitionError("universe", [str(days[-1].replace(day=1))] if days else ["any month"], lake.url)
    check_history(chosen, len(days))
    first, last = covered[0], covered[-1]
    members = lake.scan("universe", [key for key in months if key >= str(first.replace(day=1))]).collect()
    bars = adjusted_history(lake, first, last, look_back=look_back(chosen), symbols=members["symbol"].unique())
    reads = chosen.reads
    macro = known_macro(lake.read("macro_series"), days) if any(read.startswith("macro:") for read in reads) else None
    regime = lake.read("regime") if any(read.startswith("regime:") for read in reads) else None
    factor = compute_features(bars, members, macro, first, last, chosen, regime=regime)
    check_values(factor["factor"])
    keys = [key for key in lake.partitions("features") if str(first.replace(day=1)) <= key <= str(last)]
    existing = lake.scan("features", keys).collect() if keys else None
    newest = listings_of(lake).symbols(factor.filter(pl.col("date") == last))
    newest = newest.drop_nulls("factor").sort("factor", descending=True)
    values = list(zip(newest["symbol"].to_list(), newest["factor"].to_list(), strict=True))
    return LakeTrial(node.text, node.look_back, first, assess(factor, bars, existing), values)
