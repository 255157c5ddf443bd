import threading
from datetime import date

import polars as pl
import pytest
from sqlalchemy import select

from mltrainer_pipelines.learning.outcomes import record_outcomes
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import Outcome
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, bars_of, positions, recommend

DAYS = sessions_between(date(2015, 3, 2), date(2015, 3, 31))
FLAT = (100.0, 100.0, 100.0, 100.0)


@pytest.fixture
def closed(database: Database) -> Database:
    """UP is closed with a profit, DOWN with a loss, SAME is open, HALT was never bought."""
    bars = [
        bars_of("UP", DAYS, [FLAT, FLAT, (120.0,) * 4]),
        bars_of("DOWN", DAYS, [FLAT, FLAT, (80.0,) * 4]),
        bars_of("SAME", DAYS, [FLAT] * 3),
        bars_of("HALT", DAYS, [FLAT, None, FLAT]),
    ]
    for number, symbol in enumerate(("UP", "DOWN", "SAME", "HALT")):
        recommend(database.engine, DAYS[0], symbol, profit_probability=0.6 + number / 10, trial_id="logistic-l2-short-00000000")
    open_positions(database.engine, 10.0)
    settle(database.engine, adjusted(pl.concat(bars), NO_ACTIONS), DAYS[2])
    return database


def test_each_closed_position_is_joined_to_what_was_predicted_for_it(closed: Database) -> None:
    assert record_outcomes(closed.engine) == 2
    with closed.engine.connect() as connection:
        up, down = connection.execute(select(Outcome.__table__).order_by(Outcome.position_id)).all()
    traded = {p["symbol"]: p for p in positions(closed.engine)}
    assert (up.symbol, up.predicted_probability, up.profitable, up.exit_reason) == ("UP", 0.6, True, "target")
    assert (down.symbol, down.predicted_probability, down.profitable, down.exit_reason) == ("DOWN", 0.7, False, "stop")
    assert up.net_return == traded["UP"]["net_return"] > 0
    assert (up.closed_session, up.regime_score, up.model_used) == (DAYS[2], 60.0, "logistic_l2")


def test_outcomes_are_recorded_once_from_however_many_threads(closed: Database) -> None:
    added: list[int] = []
    threads = [threading.Thread(target=lambda: added.append(record_outcomes(closed.engine))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [0, 0, 0, 2]
    assert record_outcomes(closed.engine) == 0


def test_without_closed_positions_there_are_no_outcomes(database: Database) -> None:
    assert record_outcomes(database.engine) == 0
    with database.engine.connect() as connection:
        assert connection.execute(select(Outcome.__table__)).all() == []


def test_outcomes_hold_the_forecast_and_whether_it_came_true(closed: Database) -> None:
    record_outcomes(closed.engine)
    columns = select(Outcome.predicted_probability, Outcome.profitable, Outcome.closed_session).order_by(Outcome.position_id)
    with closed.engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(columns)]
    assert rows == [(0.6, True, DAYS[2]), (0.7, False, DAYS[2])]
