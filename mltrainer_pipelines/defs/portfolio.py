"""Paper trades: a virtual position for every recommendation, and how the books stand."""

from datetime import date
from typing import Any

import dagster as dg

from mltrainer_pipelines.defs.market import corporate_actions, daily_bars
from mltrainer_pipelines.defs.reporting import OWNERS
from mltrainer_pipelines.defs.signals import recommendations
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake


@dg.asset(
    deps=[recommendations, dg.AssetDep(daily_bars, partition_mapping=dg.AllPartitionMapping()), corporate_actions],
    group_name="portfolio",
    kinds={"postgres"},
    owners=OWNERS,
)
def virtual_positions(lake: dg.ResourceParam[Lake], database: dg.ResourceParam[Database]) -> dg.MaterializeResult:
    """Every recommendation bought on paper, filled, marked and closed by the barriers of its label."""
    from mltrainer_pipelines.market.quotes import provisional_bars
    from mltrainer_pipelines.portfolio.positions import bars_needed_from, mark, open_positions, settle
    from mltrainer_pipelines.signals.refresh import newest_refresh

    opened = open_positions(database.engine, get_settings().cost_bps)
    newest = sessions_in_lake(lake, date.min, date.max)[-1]
    first = bars_needed_from(database.engine)
    report: dict[str, Any] = {"opened": len(opened)}
    if first is not None and first <= newest:
        settled = settle(database.engine, adjusted_history(lake, first, newest, look_back=1), newest)
        report |= {"entered": settled.entered, "closed": dict(settled.closed), "pending": settled.still_pending}
    if lake.partitions("delayed_quotes"):
        quotes = newest_refresh(lake.read("delayed_quotes", lake.partitions("delayed_quotes")[-1]), "as_of")
        if quotes["date"][0] > newest and not provisional_bars(quotes).is_empty():
            report["marked"] = mark(database.engine, quotes, lake.read("corporate_actions"))
    return dg.MaterializeResult(metadata={**report, "market": get_settings().market_kind})


@dg.asset(deps=[virtual_positions], group_name="portfolio", kinds={"postgres"}, owners=OWNERS)
def portfolio_performance(lake: dg.ResourceParam[Lake], database: dg.ResourceParam[Database]) -> dg.MaterializeResult:
    """Equity, drawdown, exposure and hit rate of the recommendations and of what the user selected."""
    from mltrainer_pipelines.portfolio.performance import performance

    books = performance(database.engine, sessions_in_lake(lake, date.min, date.max)[-1])
    figures = {f"{book.book}_{name}": float(getattr(book, name)) for book in books for name in ("equity", "drawdown", "exposure")}
    return dg.MaterializeResult(metadata={**figures, "market": get_settings().market_kind})


DEFS = dg.Definitions(assets=[virtual_positions, portfolio_performance])
