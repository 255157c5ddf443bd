"""The code location: what it defines, and what loading it may not import."""

import subprocess
import sys

import dagster as dg
import pytest

from mltrainer_pipelines.definitions import defs
from mltrainer_pipelines.features.code_versions import code_versions

HEAVY = (
    *("torch", "mlflow", "sklearn", "lightgbm", "xgboost", "anthropic", "scipy", "numba", "matplotlib", "ray"),
    *("numpy", "pandas", "polars", "pyarrow", "sqlalchemy", "psycopg2", "exchange_calendars", "httpx"),
)
"""Imported where they are used: with any of them loading the definitions takes longer than importing Dagster."""
LOOP = {
    "market": {"daily_bars", "bar_corrections", "listings", "corporate_actions", "macro_series", "universe"},
    "features": {"features", "labels", "regime"},
    "trials": {"trial_predictions", "trial_scorecard", "leaderboard", "champion_model", "market_skill"},
    "signals": {"delayed_quotes", "signals", "recommendations"},
    "portfolio": {"virtual_positions", "portfolio_performance"},
    "learning": {"outcomes", "model_weights", "drift", "learning_report"},
    "agent": {"trial_proposals"},
    "factors": {"factor_proposals", "factor_screening", "discovered_factors"},
}


def test_loading_the_code_location_imports_nothing_heavy() -> None:
    # a first time, so that the versions of the feature sets are there
    code_versions()
    program = f"import sys, mltrainer_pipelines.definitions; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_assets_of_the_loop_are_there_in_their_groups() -> None:
    graph = defs.resolve_asset_graph()
    found: dict[str, set[str]] = {}
    for key in graph.materializable_asset_keys:
        found.setdefault(graph.get(key).group_name or "", set()).add(key.to_user_string())
    assert found == LOOP


def test_every_asset_says_what_it_is_whose_it_is_and_of_what_kind() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key


@pytest.mark.parametrize(
    "name",
    [
        *("ingest_session", "build_features", "walk_forward", "promote_champion", "refresh_signals", "learn"),
        *("propose_trials", "screen_factors"),
    ],
)
def test_the_jobs_are_there_with_a_description(name: str) -> None:
    assert defs.resolve_job_def(name).description


def test_everything_recommended_descends_from_the_bars() -> None:
    graph = defs.resolve_asset_graph()
    upstream = graph.get_ancestor_asset_keys(dg.AssetKey("virtual_positions"))
    assert {key.to_user_string() for key in upstream} >= {
        "daily_bars",
        "features",
        "labels",
        "leaderboard",
        "champion_model",
        "signals",
    }


def test_no_resource_shows_a_key_in_its_configuration() -> None:
    from mltrainer_pipelines.defs.resources import RESOURCES

    for name, resource in RESOURCES.items():
        schema = resource.config_schema.as_field()
        assert not schema.is_required, name
        assert schema.config_type.given_name is None or "Any" in schema.config_type.given_name, name
