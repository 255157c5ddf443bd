"""The job that computes features, labels and the regime."""

import dagster as dg

build_features = dg.define_asset_job(
    "build_features",
    selection=dg.AssetSelection.assets("universe", "features", "labels", "regime"),
    description="Universe, features and labels of the months asked for, and the regime.",
)
