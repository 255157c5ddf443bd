"""How often each asset is made, and how late it may come: what `freshness` and Dagster's freshness policies go by."""

from datetime import timedelta

BY_SESSION = ("daily_bars", "delayed_quotes", "signals")
"""Kept in the lake by session."""
BY_CONTENT = ("features", "labels", "regime")
"""Kept in the lake in larger parts; their newest row says how far they reach."""
_EACH_SESSION = (
    *("listings", "corporate_actions", "macro_series", "recommendations", "virtual_positions", "portfolio_performance"),
    *("outcomes", "model_weights", "drift", "learning_report", "trial_proposals"),
)
_EACH_QUARTER = ("trial_predictions", "trial_scorecard", "leaderboard", "market_skill")
ON_DEMAND = ("factor_proposals", "factor_screening", "discovered_factors")
"""Made when somebody asks for it, and never late."""
ALLOWED = {
    **dict.fromkeys(_EACH_SESSION, timedelta()),
    "champion_model": timedelta(days=7),
    "bar_corrections": timedelta(days=5),
    **dict.fromkeys(_EACH_QUARTER, timedelta(days=92)),
    **dict.fromkeys(ON_DEMAND, timedelta(days=36_500)),
}
"""Of what is known by its last materialization alone: how much later than the newest session that may be."""
ASSETS = (*BY_SESSION, "universe", *BY_CONTENT, *ALLOWED)
