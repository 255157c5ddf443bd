import polars as pl

from mltrainer_pipelines.contracts.content_hash import data_fingerprint
from mltrainer_pipelines_tests.trials.planted import planted_market


def test_equal_tables_have_equal_fingerprints_and_any_change_shows():
    market = planted_market()
    table = market.labels.head(1000)
    changed = [
        table.with_columns(net_return=pl.col("net_return") + 1e-15),
        table.with_columns(symbol=pl.when(pl.col("symbol") == "S003").then(pl.lit("S004")).otherwise("symbol")),
        table.with_columns(exit_date=pl.when(pl.col("symbol") != "S003").then("exit_date")),
        table.reverse(),
        table.head(999),
        table.rename({"net_return": "return"}),
        table.with_columns(pl.col("label").cast(pl.Int16)),
    ]
    assert data_fingerprint(table) == data_fingerprint(pl.concat([table.head(300), table.tail(700)]))
    assert len({data_fingerprint(frame) for frame in [table, *changed]}) == 1 + len(changed)
    assert data_fingerprint(table, market.features) != data_fingerprint(market.features, table)
