"""`mltrainer import`: from files to a market with a name, splits held against the prices."""

import json
from datetime import date

import polars as pl
import pytest
from typer.testing import CliRunner

from mltrainer_pipelines.cli import app
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.settings import Settings, get_settings

DAYS = sessions_between(date(2015, 1, 2), date(2016, 12, 30))
SPLIT_DAY = DAYS[250]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MLTRAINER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLTRAINER_MARKET", raising=False)
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def market(split: float = 2.0) -> pl.DataFrame:
    """Two calm symbols; SPLT halves at its split, and trades twice the shares then."""
    rows = []
    for symbol in ("CALM", "SPLT"):
        for n, day in enumerate(DAYS):
            factor = split if symbol == "SPLT" and day >= SPLIT_DAY else 1.0
            price = 100 * (1 + 0.01 * ((n * 7) % 5 - 2)) / factor
            rows.append(
                {"date": day, "symbol": symbol, "open": price * 1.001, "high": price * 1.01, "low": price * 0.99, "close": price,
                 "volume": 1e6 * factor}
            )  # fmt: skip
    return pl.DataFrame(rows)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def imported(*arguments):
    done = run("import", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_file_becomes_a_market_with_its_dates_and_one_line_to_go_on(home):
    market(1.0).filter(pl.col("date") != DAYS[99]).write_csv(home / "Prices 2015.csv")
    found = imported(home / "Prices 2015.csv")
    assert (found["symbols"], found["first"], found["last"]) == (2, str(DAYS[0]), str(DAYS[-1]))
    assert found["missing_sessions"] == [str(DAYS[99])]
    assert found["next"] == "mltrainer demo --market prices-2015"
    settings = Settings(mltrainer_home=home / "home", mltrainer_market="prices-2015")
    assert (settings.mltrainer_history_start, settings.mltrainer_as_of.date()) == (DAYS[0], DAYS[-1])
    assert settings.mltrainer_exchange == f"replay:{found['file']}"
    assert settings.market_id.startswith("replay-prices-2015")


@pytest.mark.parametrize(("first", "training", "enough"), [(2011, 548, True), (2013, 270, True), (2014, 270, False)])
def test_two_years_are_enough_for_the_demo_and_less_is_said(home, first, training, enough):
    days = sessions_between(date(first, 1, 2), date(2014, 12, 31))
    calm = {"symbol": "CALM", "open": 10.0, "high": 10.1, "low": 9.9, "close": 10.0, "volume": 1e6}
    pl.DataFrame([{"date": day, **calm} for day in days]).write_csv(home / "mine.csv")
    found = imported(home / "mine.csv")
    assert Settings(mltrainer_home=home / "home", mltrainer_market="mine").mltrainer_training_days == training
    assert any("too short" in note for note in found["notes"]) is not enough


def test_a_market_that_was_not_imported_is_named_with_those_that_were(home):
    market(1.0).write_csv(home / "mine.csv")
    imported(home / "mine.csv")
    with pytest.raises(ValueError, match=r"MLTRAINER_MARKET=yours.*there: mine"):
        Settings(mltrainer_home=home / "home", mltrainer_market="yours")


@pytest.mark.parametrize("ratio", [2.0, 1.5, 0.1, 7.0])
def test_a_split_that_is_not_given_sets_its_symbol_aside_by_name(home, ratio):
    market(ratio).write_csv(home / "raw.csv")
    found = imported(home / "raw.csv")
    assert [(row["symbol"], row["date"], round(row["ratio"], 3)) for row in found["suspected_splits"]] == [
        ("SPLT", str(SPLIT_DAY), ratio)
    ]
    assert found["symbols"] == 1
    text = run("import", home / "raw.csv").stdout
    assert "Suspected splits" in text
    assert "--infer-splits" in text
    inferred = imported(home / "raw.csv", "--infer-splits")
    assert (inferred["symbols"], inferred["splits"], inferred["inferred_splits"]) == (2, 1, 1)
    beside = pl.read_parquet(inferred["file"].replace(".parquet", ".splits.parquet"))
    assert beside.select("symbol", "ex_date", "inferred").rows() == [("SPLT", SPLIT_DAY, True)]
    assert imported(home / "raw.csv", "--real-moves")["symbols"] == 2


def test_given_splits_are_held_against_the_price(home):
    market().write_csv(home / "raw.csv")
    for day, ratio, problem in ((SPLIT_DAY, 2.0, None), (SPLIT_DAY, 0.5, "0.5 for 1"), (DAYS[251], 2.0, None)):
        pl.DataFrame({"symbol": ["SPLT", "NONE"], "date": [day] * 2, "ratio": [ratio] * 2}).write_csv(home / "raw_splits.csv")
        found = imported(home / "raw.csv")
        assert any("symbols without bars are left out: NONE" in note for note in found["notes"])
        if (day, ratio) == (SPLIT_DAY, 2.0):
            assert (found["splits"], found["refused_actions"], found["suspected_splits"]) == (1, [], [])
        else:
            assert found["splits"] == 0
            assert [row["symbol"] for row in found["suspected_splits"]] == ["SPLT"]
        if problem:
            assert problem in found["refused_actions"][0]["reason"]


def test_splits_that_the_prices_are_adjusted_for_are_not_applied_again(home):
    marked = market(1.0).with_columns(
        pl.when((pl.col("symbol") == "SPLT") & (pl.col("date") == SPLIT_DAY)).then(2.0).otherwise(0.0).alias("Stock Splits")
    )
    marked.write_csv(home / "yahoo.csv")
    found = imported(home / "yahoo.csv")
    assert (found["symbols"], found["splits"], found["suspected_splits"]) == (2, 0, [])
    assert "adjusted for splits already" in found["notes"][0]


def test_splits_are_read_from_adjusted_closes_beside_the_prices(home):
    raw = market(2.0)
    before = (pl.col("symbol") == "SPLT") & (pl.col("date") < SPLIT_DAY)
    raw.with_columns(Adjusted_close=pl.when(before).then(pl.col("close") / 2).otherwise("close")).write_csv(home / "eod.csv")
    found = imported(home / "eod.csv")
    assert (found["symbols"], found["splits"], found["suspected_splits"]) == (2, 1, [])


def test_bad_rows_are_kept_in_a_file_with_the_reason(home):
    text = market(1.0).write_csv().replace("2015-01-06,CALM,", "2015-01-06,CALM,-", 1)
    (home / "bad.csv").write_text(text)
    found = imported(home / "bad.csv")
    rows = pl.read_csv(found["rejected_file"])
    assert (found["rejected_rows"], rows["symbol"][0], rows["date"][0]) == (1, "CALM", "2015-01-06")
    assert "open" in rows["reason"][0]


def test_options_that_cannot_be_used_are_refused_in_one_line(home):
    market(1.0).write_csv(home / "a.csv")
    for option, value in (("--dates", "us"), ("--decimal", ","), ("--columns", "close"), ("--name", "My Market")):
        done = run("import", home / "a.csv", option, value)
        assert (done.exit_code, len(done.stderr.strip().splitlines())) >= (1, 1)
        assert option in done.stderr
