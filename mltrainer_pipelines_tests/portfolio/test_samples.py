from datetime import date

import polars as pl
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import session_hours, sessions_between
from mltrainer_pipelines.portfolio.positions import open_leanings, open_positions, open_samples
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.signals.leanings import paper_records
from mltrainer_pipelines.signals.rules import Thresholds, near_misses, strong_buys
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import LeaningPosition, SamplePosition
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, bars_of, positions, recommend

DAYS = sessions_between(date(2015, 3, 2), date(2015, 3, 31))
T = DAYS[0]


def signals(count: int, probability: float = 0.57, **changes: object) -> pl.DataFrame:
    row = {
        "timestamp": session_hours(T)[1],
        "date": T,
        "timeframe": "short",
        "signal_strength": 0.8,
        "profit_probability": probability,
        "confidence": 0.65,
        "expected_net_return": 0.01,
        "regime_score": 60.0,
        "price_source": "close",
        "entry_price": 100.0,
        "target_price": 107.173843,
        "stop_loss": 93.306306,
        "volatility": 0.02,
        "model_used": "logistic_l2",
        "model_version": "1",
        "trial_id": "a",
        "grade": "candidate",
        "sector": "BANKS",
        "settings_version": 3,
        **changes,
    }
    frame = pl.DataFrame([row] * count).with_columns(symbol=pl.Series([f"S{n:02}" for n in range(count)]))
    return strong_buys(frame.with_columns(_differing()), Thresholds())


def _differing() -> pl.Expr:
    """Probabilities that differ a little: where all are one number, nothing is recommended."""
    return pl.col("profit_probability") + pl.int_range(pl.len()) * 1e-4


def samples(database: Database) -> list[dict]:
    with database.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(SamplePosition.__table__)).mappings()]


def test_only_what_lies_just_below_is_sampled_and_never_by_how_good_it_looks() -> None:
    assert near_misses(signals(3, probability=0.5), Thresholds()).is_empty()
    assert near_misses(signals(3, probability=0.65, confidence=0.8), Thresholds()).is_empty()  # strong buys
    assert near_misses(signals(3, regime_score=10.0), Thresholds()).is_empty()
    assert near_misses(signals(3, price_source="stale"), Thresholds()).is_empty()
    chosen = near_misses(signals(40), Thresholds(), most=5)
    better = signals(40).with_columns(profit_probability=pl.lit(0.59) + pl.int_range(pl.len()) * 1e-4)
    assert chosen.height == 5
    assert near_misses(better, Thresholds(), most=5)["symbol"].to_list() == chosen["symbol"].to_list()
    assert chosen["symbol"].to_list() != sorted(signals(40)["symbol"])[:5]


def test_a_session_has_so_many_samples_over_all_its_refreshes(database: Database) -> None:
    near = near_misses(signals(40), Thresholds(), most=40)
    assert open_samples(database.engine, near.head(3), 10.0, "simulated") == 3
    assert open_samples(database.engine, near.head(3), 10.0, "simulated") == 0
    assert open_samples(database.engine, near, 10.0, "simulated", most=5) == 2
    assert len(samples(database)) == 5
    assert positions(database.engine) == []


def test_a_sample_is_settled_as_a_recommendation_of_the_same_signal_is(database: Database) -> None:
    recommend(database.engine, T, "S00")
    open_positions(database.engine, 10.0)
    assert open_samples(database.engine, signals(1), 10.0, "simulated") == 1
    bars = adjusted(bars_of("S00", DAYS, [(100.0,) * 4, (100.0,) * 4, (120.0,) * 4]), NO_ACTIONS)
    settle(database.engine, bars, DAYS[2])
    (sample,), (position,) = samples(database), positions(database.engine)
    assert sample["status"] == "closed"
    same = ("exit_reason", "exit_session", "net_return", "profit_loss", "fill_price", "fill_shares", "fees")
    assert {name: sample[name] for name in same} == {name: position[name] for name in same}
    assert (sample["reason"], sample["settings_version"]) == ("probability 0.56 below 0.60; confidence 0.65 below 0.70", 3)


def test_leanings_are_bought_apart_settled_alike_and_tell_what_they_earned_after_costs(database: Database) -> None:
    recommend(database.engine, T, "S01")
    open_positions(database.engine, 10.0)
    leaning = signals(3, probability=0.5).with_columns(signal_strength=pl.Series([0.7, 0.9, 0.8]))
    leaning = leaning.with_columns(strong_buy=pl.col("symbol") == "S01")
    assert paper_records(database.engine) == []
    assert open_leanings(database.engine, leaning, 10.0, "simulated", most=2) == 2
    assert open_leanings(database.engine, leaning, 10.0, "simulated", most=2) == 0
    assert len(positions(database.engine)) == 1
    assert samples(database) == []
    flat, up = [(100.0,) * 4] * 2, [(100.0,) * 4, (120.0,) * 4]
    bars = [bars_of(name, DAYS, [(100.0,) * 4, *path]) for name, path in (("S01", up), ("S02", flat))]
    settle(database.engine, adjusted(pl.concat(bars), NO_ACTIONS), DAYS[2])
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(LeaningPosition.__table__).order_by(LeaningPosition.place)).mappings().all()
    assert [(row["symbol"], row["place"], row["recommended"], row["status"]) for row in rows] == [
        ("S01", 1, True, "closed"),
        ("S02", 2, False, "open"),
    ]
    (record,) = paper_records(database.engine)
    (position,) = positions(database.engine)
    assert (record.pending, record.open, record.closed, record.recommended, record.hit_rate) == (0, 1, 1, 1, 1.0)
    assert record.mean_net_return == position["net_return"]
    assert record.mean_gross_return == pytest.approx((1 + position["net_return"]) * 1.001 / 0.999 - 1)
    assert record.mean_net_return_low is None
