"""Paper trades: a virtual position for every recommendation, and the performance of the books."""

from datetime import date
from typing import Any

import dagster as dg

from mltrainer_pipelines.defs.market.assets import corporate_actions
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.defs.reporting import OWNERS
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource
from mltrainer_pipelines.defs.signals.assets import TRANSIENT_RETRY, newest_signals, recommendations
from mltrainer_pipelines.settings import get_settings, now


@dg.asset(
    deps=[recommendations, dg.AssetDep(daily_bars, partition_mapping=dg.AllPartitionMapping()), corporate_actions],
    group_name="portfolio",
    kinds={"postgres"},
    owners=OWNERS,
    retry_policy=TRANSIENT_RETRY,
)
def virtual_positions(lake: LakeResource, database: DatabaseResource) -> dg.MaterializeResult[None]:
    """Every recommendation bought on paper, filled, marked and closed by the barriers of its label.

    So are the leanings and a sample of the signals just below the thresholds, each in a table of its own.
    """
    from mltrainer_pipelines.market.backlog import closures, complete_until
    from mltrainer_pipelines.market.corrections import recently_corrected
    from mltrainer_pipelines.market.history import adjusted_history
    from mltrainer_pipelines.market.listings import company_actions, listings_of
    from mltrainer_pipelines.market.quotes import provisional_bars
    from mltrainer_pipelines.portfolio.marking import mark, open_symbols, trusted_quotes
    from mltrainer_pipelines.portfolio.positions import open_leanings, open_positions, open_samples
    from mltrainer_pipelines.portfolio.settlement import bars_needed_from, settle
    from mltrainer_pipelines.signals.refresh import newest_refresh
    from mltrainer_pipelines.signals.rules import near_misses
    from mltrainer_pipelines.signals.thresholds import thresholds_at

    settings = get_settings()
    opened = open_positions(database.engine, settings.cost_bps)
    report: dict[str, Any] = {"opened": len(opened)}
    scored = newest_signals(lake)
    if scored is not None:
        report["leanings"] = open_leanings(database.engine, scored, settings.cost_bps, settings.market_kind)
    if scored is not None and "settings_version" in scored.columns:
        thresholds = thresholds_at(database.engine, settings.threshold_defaults, scored["settings_version"][0])
        near = near_misses(scored, thresholds)
        report["sampled"] = open_samples(database.engine, near, settings.cost_bps, settings.market_kind)
    newest, listings = complete_until(lake), listings_of(lake)
    mended = recently_corrected(lake, now().date())
    first = bars_needed_from(database.engine, mended)
    if first is not None and first <= newest:
        settled = settle(
            database.engine, adjusted_history(lake, first, newest, look_back=1), newest, listings, closures(lake), mended
        )
        report |= {"entered": settled.entered, "closed": dict(settled.closed), "pending": settled.still_pending}
    if lake.partitions("delayed_quotes"):
        quotes = newest_refresh(lake.read("delayed_quotes", lake.partitions("delayed_quotes")[-1]), "as_of")
        quotes = listings.companies(quotes)
        if quotes["date"][0] > newest and not provisional_bars(quotes).is_empty():
            trusted = trusted_quotes(lake, quotes, open_symbols(database.engine, listings))
            report["marked"] = mark(database.engine, trusted, company_actions(lake), listings)
    return dg.MaterializeResult(metadata={**report, "market": settings.market_kind})


@dg.asset(deps=[virtual_positions], group_name="portfolio", kinds={"postgres"}, owners=OWNERS, retry_policy=TRANSIENT_RETRY)
def portfolio_performance(lake: LakeResource, database: DatabaseResource) -> dg.MaterializeResult[None]:
    """Equity, drawdown, exposure, turnover, hit rate, alpha and beta of the recommendations, of what the user selected, and of
    what the user passed over.

    During a session the row of that session stands on delayed prices; the evening's final bars replace it.
    """
    import polars as pl

    from mltrainer_pipelines.market.history import sessions_in_lake
    from mltrainer_pipelines.market.listings import company_actions, listings_of
    from mltrainer_pipelines.portfolio.holdings import held_symbols, last_prices
    from mltrainer_pipelines.portfolio.marking import trusted_quotes
    from mltrainer_pipelines.portfolio.performance import missing_benchmark, performance
    from mltrainer_pipelines.signals.refresh import newest_refresh

    newest = sessions_in_lake(lake, date.min, date.max)[-1]
    quoted = [date.fromisoformat(key) for key in lake.partitions("delayed_quotes")]
    under_way = max([day for day in quoted if day > newest], default=newest)
    benchmark = missing_benchmark(database.engine, lake, newest, under_way)
    listings = listings_of(lake)
    held, quotes = held_symbols(database.engine, under_way, listings), None
    if held and under_way > newest:
        newest_quotes = listings.companies(newest_refresh(lake.read("delayed_quotes", str(under_way)), "as_of"))
        quotes = trusted_quotes(lake, newest_quotes, pl.Series(held))
    prices, actions = last_prices(lake, held, newest, quotes), company_actions(lake)
    books = performance(database.engine, under_way, benchmark=benchmark, prices=prices, actions=actions, listings=listings)
    names = ("equity", "drawdown", "exposure", "turnover", "hit_rate", "alpha", "beta")
    figures = {
        f"{book.book}_{name}": float(value) for book in books for name in names if (value := getattr(book, name)) is not None
    }
    return dg.MaterializeResult(metadata={**figures, "session": str(under_way), "market": get_settings().market_kind})
