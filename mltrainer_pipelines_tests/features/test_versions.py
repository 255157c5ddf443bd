"""Versions of feature sets: what changes them, and what happens to data, trials and champions of another one."""

import lzma
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.registry import feature_sets, get_feature_set
from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines.features.versions import RECORDED, version_of
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines_tests.features import panels
from mltrainer_pipelines_tests.features.scratch import Scratch

COLUMNS = {"momentum": 51, "stock_selection": 61, "technical": 60, "alpha158": 158, "cross_section": 1028, "macro": 37}
SETS = set(feature_sets()[:-1])
SAVED = Path(__file__).parents[1] / "trials/saved"
VERSIONS = """
import json
from mltrainer_pipelines.features.registry import feature_sets
from mltrainer_pipelines.features.versions import version_of
print(json.dumps({name: version_of(name) for name in feature_sets()[:-1]}))
"""


@pytest.fixture
def scratch(tmp_path):
    return Scratch(tmp_path / "copy")


@pytest.mark.parametrize("name", RECORDED)
def test_a_set_that_nobody_added_to_is_still_the_recorded_version(name):
    """Fails where formulas or what they reach were edited: if every value is what it was, record the new digest; if not, say
    here that values have changed and drop the set's line from `RECORDED`: trials then get other ids."""
    if len(get_feature_set(name).names) != COLUMNS[name]:
        pytest.skip("columns were added or removed: another version")
    assert version_of(name) == RECORDED[name][0]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("features/sets/momentum.py", "def _residual_momentum(w: Window)", "# why\n\n\ndef _residual_momentum(  w  : object)"),
        ("features/sets/momentum.py", '"simple return from 126 to 21', '"in other words, from 126 to 21'),
        ("features/sets/momentum.py", "Jegadeesh & Titman (1993)", "somebody else"),
        ("features/window.py", "least = math.ceil(MOST * sessions)", "least = math.ceil( MOST*sessions )  # a share"),
        ("features/window.py", "the formula reads", "your formula reads"),
        ("features/window.py", "Largest fall from a running maximum, as a fraction.", "Another docstring."),
        (
            "features/kernels/nested.py",
            "out[1, k, t - first, s] =",
            "out[1, k, t - first, s] = 2 *",
        ),  # momentum names none of these
        ("features/files.py", "convert it first", "make it one first"),
    ],
)
def test_words_layout_and_what_no_formula_reaches_leave_a_version_alone(scratch, file, old, new):
    scratch.replace(file, old, new)
    assert scratch.value(VERSIONS)["momentum"] == version_of("momentum")


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("sets/momentum.py", "np.sqrt(231.0)", "np.sqrt(232.0)", {"momentum", "cross_section"}),
        ("sets/momentum.py", "(5, 10, 21, 42, 63, 126, 252)", "(5, 10, 21, 42, 63, 126)", {"momentum", "cross_section"}),
        ("sets/macro.py", "YEAR = 252", "YEAR = 251", {"macro"}),
        ("sets/technical.py", "MEMORY = 252", "MEMORY = 253", {"technical", "cross_section"}),
        ("sets/alpha158.py", "WINDOWS = (5, 10", "WINDOWS = (6, 10", {"alpha158", "cross_section"}),
        ("kernels/windows.py", "FILL_LIMIT = 5", "FILL_LIMIT = 4", SETS - {"technical", "alpha158", "alpha101"}),
        ("kernels/nested.py", "ROUNDING_SHARE = 1e-16", "ROUNDING_SHARE = 1e-15", {"alpha158", "alpha101", "cross_section"}),
        ("block.py", "/ (dollars / 1e6)", "/ (dollars / 1e3)", {"momentum", "cross_section"}),
        ("window.py", "MOST = 0.8", "MOST = 0.7", SETS - {"technical"}),
        ("spec.py", "GAP = 6", "GAP = 7", SETS),
    ],
)
def test_what_a_formula_reaches_makes_another_version(scratch, file, old, new, changed):
    scratch.replace(f"features/{file}", old, new)
    found = scratch.value(VERSIONS)
    assert {name for name, version in found.items() if version != version_of(name)} == changed


def test_versions_are_the_same_in_every_process(scratch):
    expected = {name: version_of(name) for name in feature_sets()[:-1]}
    (scratch.package / "features/versions.py").write_text(
        (scratch.package / "features/versions.py")
        .read_text()
        .replace("return name if digest == recorded else digest", "return digest")
    )
    first, second = (scratch.value(VERSIONS, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first == second == {name: RECORDED.get(name, ("", version))[1] for name, version in expected.items()}


def test_lambdas_of_different_closed_over_values_differ():
    def probe(factor):
        return FeatureSet("probe", (Feature("f", ("close",), 0, lambda w: factor * w.now("close"), "us", "a multiple"),))

    assert version_of(probe(2.0)) == version_of(probe(2.0)) != version_of(probe(3.0))
    with pytest.raises(TypeError, match="closes over"):
        version_of(probe(np.ones(3)))


def test_a_part_of_a_set_computes_what_the_whole_does_not_and_reads_alike():
    frame = panels.bars(symbols=8, sessions=300)
    days = frame["date"].unique().sort()
    names = ["rank_momentum_12_1", "breadth_50", "return_5"]
    part = get_feature_set("momentum").only(names)
    assert part.names == names
    assert [base.name for base in part.bases] == ["momentum_12_1", "distance_to_mean_50"]
    found, whole = (
        compute_features(frame, panels.universe(frame), None, days[-20], days[-1], each) for each in (part, "momentum")
    )
    assert_frame_equal(found, whole.select("date", "symbol", *names))
    with pytest.raises(LookupError, match="has no colour"):
        get_feature_set("momentum").only(["colour"])


AFTER = """
import json, sys
from datetime import date
from pathlib import Path
import polars as pl
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.tables import VERSION_NOTE, feature_table
from mltrainer_pipelines.features.versions import FeatureVersionError, version_of
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.ensemble_file import read_ensemble
from mltrainer_pipelines.trials.validation.stored_quarters import missing_quarters, predicted_quarters, write_quarter

def refusal(call):
    try:
        call()
    except (FeatureVersionError, InvalidTrialError) as error:
        return str(error)

folder = Path("FOLDER")
lake, end = Lake(str(folder / "lake")), date(2020, 4, 1)
today = version_of("momentum")
told = {"version": today, "two months": refusal(lambda: feature_table(lake, "momentum", end))}
bars, universe = pl.read_parquet(folder / "bars.parquet"), pl.read_parquet(folder / "universe.parquet")
march = compute_features(bars, universe, None, date(2020, 3, 1), date(2020, 3, 31))
lake.write("features", march, "2020-03-01", {VERSION_NOTE: today})
told["one month"] = refusal(lambda: feature_table(lake, "momentum", end))
lake.write("features", march.clear(), "2020-02-01", {VERSION_NOTE: today})
told["columns"] = feature_table(lake, "momentum", end).columns

old = TrialConfig.from_record(json.loads((folder / "trial.json").read_text()))
new = TrialConfig(model="logistic_l2", timeframe="short")
told |= {"ids": [old.trial_id, new.trial_id], "resumed": refusal(old.require_today), "submitted": refusal(new.require_today)}
mixed = lake.read("trial_predictions", f"{old.trial_id}/2019-01-01")
lake.write("trial_predictions", mixed, f"{new.trial_id}/2019-01-01")
write_quarter(lake, new, "2019-04-01", mixed, None)
told["missing"] = missing_quarters(lake, new, ["2019-01-01", "2019-04-01", "2019-07-01"])
told["mixed"] = refusal(lambda: predicted_quarters(lake, new.trial_id))

champion = read_ensemble((folder / "ensemble.pkl").read_bytes())
told["champion"] = refusal(lambda: champion.feature_set)
if told["champion"] is None:
    rows = compute_features(bars, universe, None, date(2020, 3, 1), date(2020, 3, 31), champion.feature_set)
    champion.predict(rows).write_parquet(folder / "scores.parquet")
print(json.dumps(told))
"""
ONE_MORE = """    Feature("close_1", ("close",), 1, lambda w: w.lagged("close", 1), "us", "close of the session before"),
), description=__doc__ or "")"""


@pytest.fixture
def before(tmp_path):
    """What the version before left: two months of features, a trial with a quarter, a champion."""
    frame = panels.bars(symbols=8, sessions=320)
    frame.write_parquet(tmp_path / "bars.parquet")
    panels.universe(frame).write_parquet(tmp_path / "universe.parquet")
    lake, trial = Lake(str(tmp_path / "lake")), TrialConfig(model="logistic_l2", timeframe="short")
    rows = compute_features(frame, panels.universe(frame), None, date(2020, 2, 1), date(2020, 3, 31))
    for month in ("2020-02-01", "2020-03-01"):
        lake.write("features", rows.filter(pl.col("date").dt.truncate("1mo") == pl.lit(month).str.to_date()), month)
    lake.write("trial_predictions", pl.DataFrame({"score": [0.5]}), f"{trial.trial_id}/2019-01-01")
    (tmp_path / "trial.json").write_text(trial.model_dump_json())
    (tmp_path / "ensemble.pkl").write_bytes(lzma.decompress((SAVED / "champion_short_november_2026.pickle.xz").read_bytes()))
    return tmp_path, rows.filter(pl.col("date") >= date(2020, 3, 1))


def test_a_feature_is_added_to_a_set(scratch, before):
    from mltrainer_pipelines.trials.ensemble_file import read_ensemble

    folder, march = before
    scratch.replace("features/sets/momentum.py", '), description=__doc__ or "")', ONE_MORE)
    told = scratch.value(AFTER.replace("FOLDER", str(folder)))

    today = told["version"]
    assert today != "1"
    assert told["two months"] == (
        "features of 2020-02-01, 2020-03-01 were computed by version 1 of the feature set 'momentum', which is now version "
        f"{today}: materialize features for them again"
    )
    assert told["one month"].startswith("features of 2020-02-01 were computed by version 1")
    assert told["columns"][-1] == "close_1"

    old, new = told["ids"]
    assert old == "logistic-l2-short-240777a1"
    assert new != old
    assert told["resumed"] == (
        f"{old} was submitted with version 1 of the feature set 'momentum', which is now version {today}: "
        f"submit its configuration again; it is then {new}"
    )
    assert told["submitted"] is None
    assert told["missing"] == ["2019-01-01", "2019-07-01"]
    assert "predicted from different versions of its feature set (2019-01-01: 1; 2019-04-01: " in told["mixed"]

    assert told["champion"] is None
    scores = pl.read_parquet(folder / "scores.parquet")
    assert_frame_equal(scores, read_ensemble((folder / "ensemble.pkl").read_bytes()).predict(march))


def test_a_formula_of_a_set_is_changed(scratch, before):
    folder, _ = before
    scratch.replace("features/sets/momentum.py", "np.sqrt(231.0)", "np.sqrt(232.0)")
    told = scratch.value(AFTER.replace("FOLDER", str(folder)))
    assert told["champion"] == (
        "the short champion logistic-l2-short-240777a1 learnt from version 1 of the feature set 'momentum', which is now "
        f"version {told['version']}, and its own columns have other values in it: put their formulas back, or materialize "
        "champion_model to choose and train another one"
    )
