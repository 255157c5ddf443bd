"""The job that learns from what became of the recommendations."""

import dagster as dg

learn = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets(
        "virtual_positions", "portfolio_performance", "outcomes", "model_weights", "drift", "learning_report"
    ),
    description="Settle the paper trades on the session's final bars, and learn from those that closed.",
)
