"""The commands `features` and `labels` on files of bars, as a researcher runs them."""

import json
import re
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from mltrainer_pipelines.cli import app
from mltrainer_pipelines.contracts.timeframes import LONG
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.files import LABEL_COLUMNS, read_bars
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.features.regime.score import regime_scores
from mltrainer_pipelines.features.registry import feature_sets, get_feature_set
from mltrainer_pipelines.market.macro import FRED_SERIES, known_macro
from mltrainer_pipelines_tests.features import panels

RAW = ["date", "symbol", "open", "high", "low", "close", "volume"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def frame():
    return panels.punctured(panels.bars(8, 300), 0.02, seed=4)


@pytest.fixture
def file(frame, tmp_path):
    path = tmp_path / "bars.parquet"
    frame.select(RAW).sample(fraction=1.0, shuffle=True, seed=2).write_parquet(path)
    return path


@pytest.mark.parametrize("feature_set", feature_sets())
def test_every_set_of_a_file_is_what_the_engine_gives(frame, file, tmp_path, feature_set):
    out = tmp_path / "features.parquet"
    done = run("features", "--bars", file, "--set", feature_set, "--out", out, "--workers", 2, "--json")
    assert done.exit_code == 0, done.output
    found, said = pl.read_parquet(out), json.loads(done.stdout)
    assert (said["rows"], said["features"]) == (found.height, len(get_feature_set(feature_set).names))
    assert said["seconds"] > 0
    if feature_set != "macro":  # a file alone has a regime too
        days = panels.days(frame)
        members = panels.universe(frame).drop("sector")
        expected = compute_features(frame, members, None, days[0], days[-1], feature_set)
        assert_frame_equal(found, expected, check_exact=True)


def test_macro_of_a_file_has_the_regime_of_its_own_market(file, tmp_path):
    out = tmp_path / "features.parquet"
    assert run("features", "--bars", file, "--set", "macro", "--out", out).exit_code == 0
    newest = pl.read_parquet(out).tail(1).row(0, named=True)
    assert 0 <= newest["regime_score"] <= 100
    assert newest["rate_10y"] is None


def test_labels_of_a_file_are_what_the_stage_gives(frame, file, tmp_path):
    out = tmp_path / "labels.parquet"
    done = run("labels", "--bars", file, "--timeframe", "long", "--target", 2.5, "--stop", 0.5, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found, said = pl.read_parquet(out), json.loads(done.stdout)
    assert found.columns == list(LABEL_COLUMNS)
    assert said["rows"] == found.height == frame.height
    assert said["known"] == found["label"].is_not_null().sum() > 0
    from mltrainer_pipelines.features.labels.barriers import Barriers

    days = panels.days(frame)
    expected = compute_labels(frame, panels.universe(frame), LONG, Barriers(2.5, 0.5), 10.0, days[0], days[-1])
    assert_frame_equal(found, expected.select(LABEL_COLUMNS), check_exact=True)


def test_a_csv_and_a_parquet_file_of_the_same_bars_give_the_same(frame, file, tmp_path):
    frame.select(RAW).write_csv(tmp_path / "bars.csv")
    for kind in ("parquet", "csv"):
        path = tmp_path / f"bars.{kind}"
        assert run("labels", "--bars", path, "--timeframe", "short", "--out", tmp_path / f"{kind}.csv").exit_code == 0
    assert (tmp_path / "csv.csv").read_text() == (tmp_path / "parquet.csv").read_text()


def test_dates_at_midnight_whole_number_volumes_and_further_columns_are_taken(frame, tmp_path):
    path = tmp_path / "bars.parquet"
    odd = frame.select(
        pl.col("date").cast(pl.Datetime("ns")), pl.col("symbol").cast(pl.Categorical), *RAW[2:6], pl.col("volume").cast(pl.Int64),
        pl.lit("x").alias("note"),
    )  # fmt: skip
    odd.write_parquet(path)
    assert_frame_equal(read_bars(path).select(RAW), frame.select(RAW))


def test_a_column_of_adjusted_closes_is_no_obstacle(frame, tmp_path):
    path = tmp_path / "bars.parquet"
    frame.select(*RAW, adj_close=pl.col("close")).write_parquet(path)
    assert_frame_equal(read_bars(path).select(RAW), frame.select(RAW).sort("date", "symbol"))


def test_a_sector_column_makes_features_within_sectors(frame, tmp_path):
    path, out = tmp_path / "bars.parquet", tmp_path / "features.parquet"
    frame.select(*RAW, sector=pl.col("symbol").str.slice(2).cast(pl.Int32) % 2).write_parquet(path)
    assert run("features", "--bars", path, "--set", "momentum", "--out", out).exit_code == 0
    assert pl.read_parquet(out)["sector_relative_21"].null_count() < 1000


def test_bars_that_cannot_be_used_are_refused_in_one_line(frame, tmp_path):
    bars = frame.select(RAW)
    first = pl.int_range(pl.len()) == 0
    broken = {
        "a column is missing": (bars.drop("high"), "lacks the column\\(s\\) high"),
        "no rows": (bars.clear(), "has no rows"),
        "a row is there twice": (pl.concat([bars, bars[7:8]]), "is there more than once"),
        "a price is negative": (
            bars.with_columns(close=pl.when(first).then(-1.0).otherwise("close")),
            "S00 on 2019-01-02 has a price that is not a number above zero in close",
        ),
        "a price is infinite": (
            bars.with_columns(open=pl.when(first).then(float("inf")).otherwise("open")),
            "not a number above zero in open",
        ),
        "volume is text": (bars.with_columns(volume=pl.lit("many")), "volume 'many', which is not a number"),
        "dates are text": (bars.with_columns(date=pl.lit("yesterday")), "'yesterday', which is not one"),
        "a symbol is missing": (bars.with_columns(symbol=pl.when(~first).then("symbol")), "has no symbol"),
    }
    for what, (rows, message) in broken.items():
        path = tmp_path / "broken.parquet"
        rows.write_parquet(path)
        done = run("features", "--bars", path, "--set", "momentum", "--out", tmp_path / "out.parquet")
        assert done.exit_code == 1, what
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1, what
        assert re.search(message, done.stderr), done.stderr
        assert "adj_" not in done.stderr
    assert not (tmp_path / "out.parquet").exists()


def test_files_sets_and_timeframes_that_are_not_there_are_named(file, tmp_path):
    (tmp_path / "text.parquet").write_text("not parquet")
    wrong = {
        "does not exist": ("features", "--bars", tmp_path / "none.parquet", "--set", "momentum", "--out", tmp_path / "o.parquet"),
        "cannot be read as parquet": ("features", "--bars", tmp_path / "text.parquet", "--out", tmp_path / "o.parquet"),
        "give a file that ends in": ("features", "--bars", Path(__file__), "--out", tmp_path / "o.parquet"),
        "give an output file that ends in": ("features", "--bars", file, "--out", tmp_path / "o.xlsx"),
        "the folder": ("features", "--bars", file, "--out", tmp_path / "nowhere/o.parquet"),
        "there is no feature set 'best'": ("features", "--bars", file, "--set", "best", "--out", tmp_path / "o.parquet"),
        "there is no timeframe 'medium'": ("labels", "--bars", file, "--timeframe", "medium", "--out", tmp_path / "o.parquet"),
        "target must be above 0": (
            "labels", "--bars", file, "--timeframe", "short", "--target", "-1", "--out", tmp_path / "o.parquet",
        ),
    }  # fmt: skip
    for message, arguments in wrong.items():
        done = run(*arguments)
        assert done.exit_code == 1, message
        assert message in done.stderr
        assert "Traceback" not in done.output


def test_a_day_of_one_symbol_has_features_and_a_label_that_are_unknown(tmp_path):
    path, out = tmp_path / "bars.parquet", tmp_path / "out.parquet"
    panels.bars(1, 1).select(RAW).with_columns(pl.col("date").cast(pl.Datetime("us"))).write_parquet(path)
    for feature_set in feature_sets():
        done = run("features", "--bars", path, "--set", feature_set, "--out", out)
        assert done.exit_code == 0, done.output
        assert pl.read_parquet(out).height == 1
    assert run("labels", "--bars", path, "--timeframe", "short", "--out", out).exit_code == 0
    assert pl.read_parquet(out)["label"].to_list() == [None]


def test_times_of_the_close_and_labels_in_a_zone_are_the_sessions_they_mean(tmp_path):
    path = tmp_path / "bars.parquet"
    rows = panels.bars(1, 3).select(RAW)
    for when in (pl.col("date").cast(pl.Datetime) + timedelta(hours=16), pl.col("date").cast(pl.Datetime("us", "UTC"))):
        rows.with_columns(date=when).write_parquet(path)
        assert_frame_equal(read_bars(path).select(RAW), rows)


def test_splits_and_dividends_of_a_file_are_applied_to_features_and_labels(tmp_path):
    plain = panels.bars(2, 300).select(RAW)
    split = pl.col("date") >= plain["date"].unique().sort()[150]
    halved = plain.with_columns(
        *(pl.when(split).then(pl.col(name) / 2).otherwise(name).alias(name) for name in ("open", "high", "low", "close")),
        volume=pl.when(split).then(pl.col("volume") * 2).otherwise("volume"),
    )
    ratio = pl.when(pl.col("date") == plain["date"].unique().sort()[150]).then(2.0)
    halved.with_columns(split_ratio=ratio).write_parquet(tmp_path / "split.parquet")
    plain.write_parquet(tmp_path / "plain.parquet")
    for command in (("features", "--set", "momentum"), ("labels", "--timeframe", "short")):
        for name in ("split", "plain"):
            done = run(*command, "--bars", tmp_path / f"{name}.parquet", "--out", tmp_path / f"{name}.{command[0]}.parquet")
            assert done.exit_code == 0, done.output
        found, expected = (pl.read_parquet(tmp_path / f"{name}.{command[0]}.parquet") for name in ("split", "plain"))
        assert_frame_equal(found, expected, rel_tol=1e-4, abs_tol=1e-5)


@pytest.fixture(scope="module")
def observations(frame):
    """Every series of the pipeline on every session, published on the next one; and revisions, weeks later."""
    days = panels.days(frame)
    first = pl.concat(
        pl.DataFrame(
            {"series_id": name, "date": days[:-1], "value": 3.0 + 0.1 * i + np.sin(np.arange(299) / 9), "published": days[1:]}
        )
        for i, name in enumerate(FRED_SERIES)
    )
    revised = first.with_columns(pl.col("value") + 1.0, published=pl.col("published") + timedelta(days=30))
    return first, pl.concat([revised, first]).sample(fraction=1.0, shuffle=True, seed=1)


def test_a_file_of_macro_observations_fills_the_set_with_first_releases(frame, file, observations, tmp_path):
    path, out = tmp_path / "macro.csv", tmp_path / "features.parquet"
    first, written = observations
    written.write_csv(path)
    done = run("features", "--bars", file, "--macro", path, "--set", "macro", "--out", out)
    assert done.exit_code == 0, done.output
    found, days = pl.read_parquet(out), panels.days(frame)
    known = known_macro(first, days)
    regime = regime_scores(frame, known)
    expected = compute_features(frame, panels.universe(frame), known, days[0], days[-1], "macro", regime=regime)
    assert_frame_equal(found, expected, check_exact=True)
    assert None not in found.tail(1).row(0)


def test_macro_observations_that_cannot_be_used_are_refused_in_one_line(observations, file, tmp_path):
    good = observations[0].head(40)
    broken = {
        "lacks the column\\(s\\) published": good.drop("published"),
        "the column value is String, not a number": good.with_columns(pl.lit("4.1").alias("value")),
        "1 rows have no series_id": pl.concat([good, good.head(1).with_columns(series_id=None)], how="vertical_relaxed"),
        "DGS2 of 2019-01-02 \\(published 2019-01-03\\) is there twice": pl.concat([good, good.head(1)]),
        "DGS2 of 2019-01-02 \\(published 2019-01-01\\) was published before it": good.with_columns(published=date(2019, 1, 1)),
        "has none of the series that features read; series_id is one of DGS2, ": good.with_columns(series_id=pl.lit("VIX")),
    }
    for message, rows in broken.items():
        path = tmp_path / "macro.parquet"
        rows.write_parquet(path)
        done = run("features", "--bars", file, "--macro", path, "--set", "macro", "--out", tmp_path / "out.parquet")
        assert done.exit_code == 1, message
        assert len(done.stderr.strip().splitlines()) == 1, message
        assert re.search(message, done.stderr), done.stderr
    missing = run("features", "--bars", file, "--macro", tmp_path / "none.csv", "--out", tmp_path / "out.parquet")
    assert "none.csv does not exist; give a Parquet or CSV file of macro observations" in missing.stderr
