"""The job that scores the market and recommends."""

import dagster as dg

refresh_signals = dg.define_asset_job(
    "refresh_signals",
    selection=dg.AssetSelection.assets(
        "delayed_quotes", "signals", "recommendations", "virtual_positions", "portfolio_performance"
    ),
    description="Score the market on delayed prices, recommend, and paper-trade what is recommended.",
)
