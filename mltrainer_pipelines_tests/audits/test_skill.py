"""Skill on small markets: rows, members, verdicts, and what is written."""

import json
from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score
from typer.testing import CliRunner

from mltrainer_pipelines.audits.simulated_market import AuditMarket
from mltrainer_pipelines.audits.skill_market import SkillMarket, recorded_market
from mltrainer_pipelines.audits.skill_models import COMPOSITE, DEFAULT, PEER, windows_of
from mltrainer_pipelines.audits.skill_scores import paired_difference, score_models
from mltrainer_pipelines.cli import app
from mltrainer_pipelines.market.sessions import sessions_between

SYMBOLS = 30


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A recording of three simulated years, with sectors and members beside it."""
    frames = AuditMarket(seed=5, symbols=SYMBOLS, premium=0.0, first=date(2022, 1, 3), last=date(2024, 6, 28)).frames()
    path = tmp_path_factory.mktemp("recording") / "market.parquet"
    frames.bars.select("date", "symbol", "open", "high", "low", "close", "volume").write_parquet(path)
    splits = frames.actions.filter(pl.col("kind") == "split").select("symbol", "ex_date", "ratio")
    splits.write_parquet(path.with_name("market.splits.parquet"))
    frames.reference.select("symbol", "sector").write_parquet(path.with_name("market.names.parquet"))
    members = frames.bars.select("symbol").unique().sort("symbol").with_columns(start=pl.lit(date(2020, 1, 1)))
    late = pl.when(pl.int_range(pl.len()) == 0).then(date(2023, 1, 1)).otherwise("start")
    members = members.with_columns(start=late, end=pl.lit(None, pl.Date))
    members.write_parquet(path.with_name("market.members.parquet"))
    return path


def test_the_market_holds_members_only_and_knows_their_sectors(recording):
    market = recorded_market(recording, 25)
    late = pl.read_parquet(recording.with_name("market.members.parquet"))["symbol"][0]
    assert market.universe.filter(pl.col("symbol") == late, pl.col("month") < date(2023, 1, 1)).is_empty()
    assert market.universe["rank"].max() <= 25
    assert market.universe["sector"].null_count() == 0
    assert market.universe.group_by("month").agg(pl.col("rank").n_unique() == pl.len())["rank"].all()


def test_shuffled_symbols_have_the_same_moves_in_another_order(recording):
    bars, shuffled = recorded_market(recording, 25).bars, recorded_market(recording, 25, shuffle=1).bars
    keys = ("date", "symbol")
    assert shuffled.select(keys).equals(bars.sort("symbol", "date").select(keys))
    symbol = bars["symbol"][0]
    moves, others = (
        frame.filter(pl.col("symbol") == symbol).sort("date")["adj_close"].pct_change().drop_nulls().to_numpy()
        for frame in (bars, shuffled)
    )
    common = np.isclose(np.sort(moves)[:, None], np.sort(others)[None, :], atol=1e-9).any(axis=1)
    assert common.mean() > 0.99
    assert abs(np.corrcoef(moves, others)[0, 1]) < 0.2


def test_on_a_market_with_nothing_to_find_no_skill_is_claimed_and_everything_is_told(recording, tmp_path):
    out = tmp_path / "predictions.parquet"
    result = CliRunner().invoke(
        app, ["audit", "skill", "--bars", str(recording), "--size", "25", "--out", str(out), "--threads", "1", "--json"]
    )
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert found["passed"] is False
    assert "do not beat" in found["verdict"]
    for timeframe in ("short", "long"):
        models = {model["name"]: model for model in found["timeframes"][timeframe]["models"]}
        assert {DEFAULT, COMPOSITE, PEER, "momentum_12_1", "reversal_5", "logistic_regression"} <= models.keys()
        assert "momentum_252_21" not in models, "12-1 momentum counts as two models"
        assert [name for name, model in models.items() if model["default"]] == [DEFAULT]
        assert len({(model["rows"], model["sessions"]) for model in models.values()}) == 1
        # one year holds four positions of 70 sessions: chance alone reaches a rank IC of 0.1, so it is judged in its errors
        assert abs(models[DEFAULT]["z"] or 0.0) < found["timeframes"][timeframe]["t_needed"]
        assert models[DEFAULT]["per_year"][0].keys() >= {"year", "rank_ic", "top_decile_excess"}
    predictions = pl.read_parquet(out)
    assert predictions.columns == ["date", "symbol", "timeframe", "score", "probability", "net_return"]
    assert predictions.select("date", "symbol", "timeframe").is_duplicated().sum() == 0
    for timeframe in ("short", "long"):
        assert_scored_alike(predictions.filter(pl.col("timeframe") == timeframe), found["timeframes"][timeframe]["models"])


def assert_scored_alike(predictions, models):
    """What others' tools say about the predictions is what the audit says about the default model."""
    default = next(model for model in models if model["default"])
    table = predictions.to_pandas()
    sessions = table.groupby("date")[["score", "net_return"]]
    ics = sessions.apply(
        lambda rows: rows["score"].corr(rows["net_return"], method="spearman") if rows["score"].nunique() > 1 else 0
    )
    assert default["rank_ic"] == pytest.approx(ics.mean(), abs=1e-6)
    top = sessions.apply(
        lambda rows: rows.nlargest(round(len(rows) / 10), "score")["net_return"].mean() - rows["net_return"].mean()
    )
    assert default["top_decile_excess"] == pytest.approx(top.mean(), abs=1e-6)
    scores = table.groupby("date")["score"]
    places = scores.rank(pct=True) - 0.5 / scores.transform("size")
    assert default["auc"] == pytest.approx(roc_auc_score(table["net_return"] > 0, places), abs=1e-6)
    known = table.dropna(subset="probability")
    error = brier_score_loss(known["net_return"] > 0, known["probability"])
    assert len(known) > 0
    share = (known["net_return"] > 0).mean()
    assert default["brier_skill"] == pytest.approx(1 - error / (share * (1 - share)), abs=1e-6)


def test_a_better_score_is_ahead_on_the_same_rows():
    rng = np.random.default_rng(3)
    days = sessions_between(date(2020, 1, 2), date(2022, 12, 30))
    keys = pl.DataFrame(
        {"date": np.repeat(np.array(days, dtype="datetime64[D]"), 40), "symbol": [f"S{i:02}" for i in range(40)] * len(days)}
    )
    outcome = rng.normal(size=keys.height)
    table = keys.with_columns(net_return=pl.Series(outcome))
    labels = table.with_columns(
        timeframe=pl.lit("short"),
        label=(pl.col("net_return") > 0).cast(pl.Int8),
        exit_date=pl.col("date"),
        barrier=pl.lit("time"),
    )
    liquidity = keys.with_columns(dollar_volume=pl.lit(1.0), illiquidity=pl.lit(1.0))
    states = keys.select("date").unique().with_columns(state=pl.lit("bull"))
    market = SkillMarket("made", table, table, labels, states, liquidity)
    good = keys.with_columns(score=pl.Series(outcome + 3 * rng.normal(size=keys.height)))
    bad = keys.with_columns(score=pl.Series(rng.normal(size=keys.height))).tail(-400)
    first, second = score_models(market, "short", {"good": good, "bad": bad}, ())
    assert first.figures["rows"] == second.figures["rows"] == bad.height
    assert first.figures["rank_ic"] > 0.2
    assert abs(second.figures["t"]) < 4
    assert paired_difference(first, second, "short")["t"] > 3
    assert [part["years"] for part in first.figures["blocks"]] == ["2020-2020", "2021-2021", "2022-2022"]


def test_three_years_are_predicted_after_half_of_them_and_sixteen_years_two_at_a_time():
    days = sessions_between(date(2020, 1, 2), date(2022, 12, 30))
    assert [str(start) for start, _ in windows_of(_market_of(days))] == ["2021-07-01", "2022-01-01", "2022-07-01"]
    long = windows_of(_market_of([date(2000, 3, 1), date(2018, 12, 31)]))
    assert [start.year for start, _ in long] == list(range(2003, 2019, 2))
    assert long[-1][1] == date(2019, 1, 1)


def _market_of(days):
    bars = pl.DataFrame({"date": days})
    universe = pl.DataFrame({"month": sorted({day.replace(day=1) for day in days})})
    return SkillMarket("made", bars, universe, bars, bars, bars)
