"""Scores per regime and per sector, on the predictions of the scorecard's tests."""

from datetime import timedelta

import polars as pl
import pytest

from mltrainer_pipelines.trials.scoring.breakdown import STATES
from mltrainer_pipelines.trials.scoring.score import score
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard, part_metrics
from mltrainer_pipelines_tests.trials.scoring.test_scorecard import Trial, labels, market, predictions


@pytest.fixture(scope="module")
def regimes() -> pl.DataFrame:
    """Bull in the first months, unknown for a while, then a crash."""
    days = pl.DataFrame({"date": market().sessions})
    first = labels()["date"].min()
    late, known = pl.col("date") >= first + timedelta(days=250), pl.col("date") < first + timedelta(days=100)
    bull = pl.when(late).then(0.1).when(known).then(0.8)
    return days.with_columns(bull=bull, crash=0.9 - bull, neutral=pl.when(bull.is_not_null()).then(0.1))


@pytest.fixture(scope="module")
def card(regimes: pl.DataFrame) -> Scorecard:
    number = pl.col("symbol").str.slice(1).cast(pl.Int64)
    sector = pl.when(number < 15).then(pl.lit("Energy")).when(number < 35).then(pl.lit("Oil & Gas"))
    universe = market().universe.with_columns(sector=sector)
    return score(Trial(), predictions(0.4), labels(), market().bars, regimes=regimes, universe=universe).scorecard


def test_every_decision_is_in_one_regime_and_in_one_sector(card: Scorecard) -> None:
    assert [part.part for part in card.per_regime] == ["bull", "crash", "unknown"]
    assert [part.part for part in card.per_sector] == ["Energy", "Oil & Gas", "unknown"]
    for parts in (card.per_regime, card.per_sector):
        assert sum(part.rows for part in parts) == card.rows
        assert all(part.rank_ic is not None and part.rank_ic > 0 for part in parts)


def test_the_days_of_all_regimes_are_those_of_the_book(card: Scorecard) -> None:
    assert sum(part.sessions for part in card.per_regime) == card.sessions
    growth = 1.0
    for part in card.per_regime:
        assert part.net_return is not None
        growth *= (1 + part.net_return) ** (part.sessions / 252)
    assert growth - 1 == pytest.approx(card.total_return)


def test_a_day_belongs_to_the_regime_that_was_known_when_it_began(regimes: pl.DataFrame) -> None:
    changed = pl.when(pl.col("date") == market().sessions[300]).then(1.0 - pl.col("bull")).otherwise("bull")
    other = regimes.with_columns(bull=changed).with_columns(crash=0.9 - pl.col("bull"))
    assert set(STATES) <= set(other.columns)
    found = [score(Trial(), predictions(0.4), labels(), market().bars, regimes=table).scorecard for table in (regimes, other)]
    before, after = ({part.part: part for part in card.per_regime} for card in found)
    # the session itself, decided in the crash: its day's return stays with the regime of the evening before
    assert after["crash"].rows == before["crash"].rows + 40
    assert after["crash"].sessions == before["crash"].sessions + 1
    assert after["bull"].sessions == before["bull"].sessions - 1


def test_the_parts_are_flat_numbers_for_mlflow_and_survive_json(card: Scorecard) -> None:
    told = part_metrics(card)
    assert told["sector.Oil & Gas.rank_ic"] == card.per_sector[1].rank_ic
    assert told["regime.bull.sharpe"] == card.per_regime[0].sharpe
    assert Scorecard.model_validate_json(card.model_dump_json()) == card
