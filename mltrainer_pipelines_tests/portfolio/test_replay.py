"""A period relived gives the positions that were made when it was lived through."""

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.features.engine import look_back
from mltrainer_pipelines.market.history import adjusted_history
from mltrainer_pipelines.market.sessions import NEW_YORK, session_hours
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.replay import DecisionState, NothingToReplayError, replay
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.signals.inputs import LakeInputs
from mltrainer_pipelines.signals.recommendations import publish
from mltrainer_pipelines.signals.refresh import refresh_market
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.model_registry import ChampionVersion
from mltrainer_pipelines_tests.portfolio.markets import positions
from mltrainer_pipelines_tests.signals.test_refresh import ACTIONS, MACRO
from mltrainer_pipelines_tests.signals.test_refresh import quotes_of as told
from mltrainer_pipelines_tests.trials.markets import small_market

SYMBOLS, LIVED = 12, 25
MARKET = small_market(look_back("momentum") + LIVED, SYMBOLS, seed=5)
DAYS = MARKET.sessions[-LIVED:]
SPLIT = DAYS[10]
LOOSE = Thresholds(0.5, 0.0, -1.0, 0.0)


class Momentum:
    """An ensemble whose forecast is a function of features known at the decision."""

    champion = TrialConfig(model="logistic_l2", timeframe="short")

    def predict(self, features: pl.DataFrame, threshold: float) -> pl.DataFrame:
        p = 0.3 + 0.4 * pl.col("rank_return_21").cast(pl.Float64)
        return features.select(
            "date", "symbol", profit_probability=p, probability_low=p - 0.05, probability_high=p + 0.05,
            expected_net_return=p - 0.5, agreement=(p >= threshold).cast(pl.Float64), confidence=(p >= threshold) * 0.9,
        )  # fmt: skip


CHAMPIONS = {"short": (Momentum(), ChampionVersion("mltrainer-short", "1", "t", "candidate", "", {}, datetime.now(NEW_YORK)))}


@pytest.fixture
def bars() -> pl.DataFrame:
    """As traded: S002 splits two for one while positions of it are open."""
    halved = pl.when((pl.col("symbol") == "S002") & (pl.col("date") >= SPLIT)).then(0.5).otherwise(1.0)
    prices = {name: pl.col(f"adj_{name}") * halved for name in ("open", "high", "low", "close")}
    return MARKET.bars.select(
        "date", "symbol", **prices, volume=pl.lit(1e6), vwap=pl.lit(None, pl.Float64), trades=pl.lit(None, pl.Int64)
    )


@pytest.fixture
def lake(bars: pl.DataFrame, tmp_path: Path) -> Lake:
    """Everything but the bars of the sessions to be lived through."""
    lake = Lake(str(tmp_path))
    for day in MARKET.sessions[:-LIVED]:
        lake.write("daily_bars", bars.filter(pl.col("date") == day), str(day))
    for month in MARKET.universe["month"].unique():
        lake.write("universe", MARKET.universe.filter(pl.col("month") == month), str(month))
    actions = [("S001", DAYS[8], "dividend", None, 0.4, None), ("S002", SPLIT, "split", 2.0, None, None)]
    lake.write("corporate_actions", pl.DataFrame(actions, schema=ACTIONS.schema, orient="row"))
    lake.write("macro_series", MACRO)
    lake.write("regime", pl.DataFrame({"date": MARKET.sessions, "score": [60.0] * len(MARKET.sessions)}))
    return lake


def noon(day: date) -> datetime:
    return session_hours(day)[0].replace(hour=12)


def lived_through(lake: Lake, bars: pl.DataFrame, database: Database, quoted: int) -> list[dict]:
    """Session by session, as the jobs do it: of the first `quoted` also a refresh at noon, whose quotes are kept."""
    for number, day in enumerate(DAYS):
        if number < quoted:
            quotes = told(bars, day, noon(day))
            lake.write("delayed_quotes", quotes, str(day))
            found = refresh_market(LakeInputs(lake), quotes, CHAMPIONS, LOOSE, noon(day), explain=False)
            publish(database, found.signals, LOOSE, "simulated")
            open_positions(database.engine, 10.0)
        lake.write("daily_bars", bars.filter(pl.col("date") == day), str(day))
        if number >= quoted:
            closes = session_hours(day)[1]
            found = refresh_market(LakeInputs(lake), told(bars, day, closes), CHAMPIONS, LOOSE, closes, explain=False)
            publish(database, found.signals, LOOSE, "simulated")
            open_positions(database.engine, 10.0)
        settle(database.engine, adjusted_history(lake, DAYS[0], day, look_back=1), day)
    return positions(database.engine)


@pytest.mark.parametrize("quoted", [0, 3])
def test_reliving_a_period_gives_the_positions_of_having_been_there(
    lake: Lake, bars: pl.DataFrame, database: Database, quoted: int
) -> None:
    lived = lived_through(lake, bars, database, quoted)
    found = replay(lake, DAYS[0], DAYS[-1], lambda *_: DecisionState(CHAMPIONS, {}, LOOSE), 10.0)
    assert len(lived) > 30
    assert (found.sessions, found.undecided) == (LIVED, [])
    same = ("symbol", "timeframe", "status", "entry_session", "fill_price", "fill_shares", "exit_session", "exit_reason")
    same += ("profit_loss",)
    assert [row for row in lived if row["symbol"] == "S002" and row["shares"] == 2 * row["fill_shares"]]
    assert [tuple(row[name] for name in same) for row in sorted(found.positions, key=_key)] == [
        tuple(row[name] for name in same) for row in sorted(lived, key=_key)
    ]


def _key(row: dict) -> tuple:
    return row["decided_session"], row["timeframe"], row["symbol"]


def test_sessions_before_the_first_champion_are_told(lake: Lake, bars: pl.DataFrame) -> None:
    for day in DAYS:
        lake.write("daily_bars", bars.filter(pl.col("date") == day), str(day))
    nobody = DecisionState({}, {}, LOOSE)
    found = replay(
        lake, DAYS[0], DAYS[-1], lambda _, day: nobody if day < DAYS[20] else DecisionState(CHAMPIONS, {}, LOOSE), 10.0
    )
    assert found.undecided == DAYS[:20]
    assert min(row["date"] for row in found.recommendations) == DAYS[20]
    with pytest.raises(NothingToReplayError, match="no champion was registered"):
        replay(lake, DAYS[0], DAYS[-1], lambda *_: nobody, 10.0)
    with pytest.raises(NothingToReplayError, match="no daily_bars from 2031"):
        replay(lake, date(2031, 1, 2), date(2031, 2, 2), lambda *_: nobody, 10.0)
    lake.delete("daily_bars", str(DAYS[3]))
    with pytest.raises(NothingToReplayError, match=f"{DAYS[3]} are missing"):
        replay(lake, DAYS[0], DAYS[-1], lambda *_: nobody, 10.0)
