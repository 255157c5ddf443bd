"""The jobs of factor research."""

import dagster as dg

propose_factors = dg.define_asset_job(
    "propose_factors",
    selection=dg.AssetSelection.assets("factor_proposals"),
    description="Take a person's expressions into the library, or search new ones on the shown quarters.",
)

screen_factors = dg.define_asset_job(
    "screen_factors",
    selection=dg.AssetSelection.assets("factor_screening"),
    description="Judge proposed factors on the quarters that nobody was shown.",
)

discover_factors = dg.define_asset_job(
    "discover_factors",
    selection=dg.AssetSelection.assets("discovered_factors"),
    description="Retire what stopped working, and make the accepted factors a feature set.",
)
