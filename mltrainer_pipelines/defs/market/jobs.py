"""The jobs that fetch a session and look for corrected bars."""

import dagster as dg

ingest_session = dg.define_asset_job(
    "ingest_session",
    selection=dg.AssetSelection.assets("daily_bars", "listings", "corporate_actions", "macro_series"),
    description="One session's bars, and what was announced and published since: the evening's intake.",
)


correct_bars = dg.define_asset_job(
    "correct_bars",
    selection=dg.AssetSelection.assets("bar_corrections"),
    description="The last five sessions fetched again; what the vendor changed is replaced and put on record.",
)
