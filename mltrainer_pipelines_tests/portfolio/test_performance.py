from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from sqlalchemy import insert, select, update

from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.portfolio.account import CENT, PaperAccount
from mltrainer_pipelines.portfolio.holdings import held_symbols
from mltrainer_pipelines.portfolio.performance import BookPerformance, performance, universe_returns
from mltrainer_pipelines.portfolio.performance import sessions_without_benchmark as lacking
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import PortfolioPerformance, UserPosition
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, at, bars_of, positions, recommend

DAYS = sessions_between(date(2015, 3, 2), date(2015, 3, 31))
ACCOUNT = PaperAccount(Decimal(100_000))


def lived_through(database: Database) -> dict[date, list[BookPerformance]]:
    """Two positions bought at 100: WIN reaches its target on the fourth session, DROP falls and stays open."""
    win = [(100.0, 100.0, 100.0, 100.0)] * 3 + [(120.0, 120.0, 120.0, 120.0)] * 3
    drop = [(100.0, 100.0, 100.0, 100.0)] * 2 + [(99.0, 99.0, 97.0, 97.0)] * 4
    bars = adjusted(pl.concat([bars_of("WIN", DAYS, win), bars_of("DROP", DAYS, drop)]), NO_ACTIONS)
    for symbol in ("WIN", "DROP"):
        recommend(database.engine, DAYS[0], symbol)
    open_positions(database.engine, 10.0, ACCOUNT)
    books = {}
    for day in DAYS[:5]:
        settle(database.engine, bars, day)
        books[day] = performance(database.engine, day, ACCOUNT)
    return books


def test_before_the_first_entry_the_account_is_whole(database: Database) -> None:
    recommend(database.engine, DAYS[0])
    open_positions(database.engine, 10.0, ACCOUNT)
    for book in performance(database.engine, DAYS[0], ACCOUNT):
        assert (book.equity, book.cash, book.drawdown, book.exposure) == (100_000, 100_000, 0, 0)
        assert (book.open_positions, book.closed_positions, book.hit_rate) == (0, 0, None)


def test_equity_is_the_account_and_the_profit_of_its_positions(database: Database) -> None:
    books = lived_through(database)
    for day, (book, *_) in books.items():
        assert book.equity == 100_000 + book.realized + book.unrealized
        assert book.date == day
    win, drop = sorted(positions(database.engine), key=lambda p: p["symbol"], reverse=True)
    last = books[DAYS[4]][0]
    assert (win["exit_reason"], drop["status"]) == ("target", "open")
    assert (last.realized, last.unrealized) == (win["profit_loss"], drop["profit_loss"])
    assert last.realized > 0 > last.unrealized
    held = (drop["shares"] * drop["current_price"]).quantize(Decimal("0.01"))
    assert last.cash == last.equity - held
    assert last.exposure == pytest.approx(float(held / last.equity))
    assert (last.open_positions, last.closed_positions, last.hit_rate) == (1, 1, 1.0)


def test_the_drawdown_is_measured_from_the_highest_equity_so_far(database: Database) -> None:
    books = [book for book, *_ in lived_through(database).values()]
    equities = [Decimal(100_000), *(book.equity for book in books)]
    for number, book in enumerate(books):
        assert book.drawdown == pytest.approx(float(book.equity / max(equities[: number + 2]) - 1))
    assert min(book.drawdown for book in books) < 0


def test_the_users_book_follows_the_users_own_buying_and_selling_and_not_the_paper_trade(database: Database) -> None:
    recommend(database.engine, DAYS[0], "WIN")
    own = {"actual_buy_price": Decimal("105.50"), "actual_shares": Decimal(7), "selected_time": at(DAYS[1], 11)}
    with database.engine.begin() as connection:
        connection.execute(insert(UserPosition).values({"recommendation_id": 1} | own))
    prices = [(100.0,) * 4] * 2 + [(110.0,) * 4] + [(104.0,) * 4] * 3
    open_positions(database.engine, 10.0, ACCOUNT)
    settle(database.engine, adjusted(bars_of("WIN", DAYS, prices), NO_ACTIONS), DAYS[3])
    assert positions(database.engine)[0]["exit_session"] == DAYS[2]  # 110 is beyond the target
    assert held_symbols(database.engine, DAYS[3]) == ["WIN"]
    before, bought, kept = (user_book(database, day, {"WIN": Decimal(104)}) for day in (DAYS[0], DAYS[1], DAYS[3]))
    assert (before.open_positions, before.equity) == (0, 100_000)
    assert bought.turnover == pytest.approx(738.5 / (2 * float(bought.equity)))
    assert (kept.open_positions, kept.closed_positions, kept.realized) == (1, 0, 0)
    fees = Decimal("0.74") + Decimal("0.73")
    assert kept.unrealized == Decimal("728.00") - Decimal("738.50") - fees

    with database.engine.begin() as connection:
        connection.execute(update(UserPosition).values(actual_sell_price=Decimal("107.25"), closed_time=at(DAYS[4], 10)))
    assert user_book(database, DAYS[3], {"WIN": Decimal(104)}) == kept  # of a sale to come nothing shows
    sold = user_book(database, DAYS[4], {})
    assert (sold.open_positions, sold.closed_positions, sold.hit_rate) == (0, 1, 1.0)
    assert sold.realized == Decimal("750.75") - Decimal("738.50") - Decimal("0.74") - Decimal("0.75")
    assert sold.turnover == pytest.approx(750.75 / (2 * float(sold.equity)))
    assert held_symbols(database.engine, DAYS[4]) == []


def test_splits_and_dividends_while_the_user_holds_count_and_those_before_and_after_do_not(database: Database) -> None:
    recommend(database.engine, DAYS[0], "WIN")
    rows = [
        ("WIN", DAYS[1], "split", 2.0, None, None),  # before the purchase: in its price already
        ("WIN", DAYS[3], "dividend", None, 1.5, None),
        ("WIN", DAYS[4], "split", 3.0, None, None),
        ("WIN", DAYS[4], "dividend", None, 0.6, None),  # on one day it is paid on the shares before the split
        ("WIN", DAYS[6], "split", 10.0, None, None),
        ("ELSE", DAYS[3], "split", 5.0, None, None),
    ]
    actions = pl.DataFrame(rows, schema=NO_ACTIONS.schema, orient="row")
    own = {"actual_buy_price": Decimal(90), "actual_shares": Decimal(10), "selected_time": at(DAYS[1], 11)}
    with database.engine.begin() as connection:
        connection.execute(insert(UserPosition).values({"recommendation_id": 1} | own))
    open_positions(database.engine, 10.0, ACCOUNT)
    held = user_book(database, DAYS[4], {"WIN": Decimal(31)}, actions)
    assert held.unrealized == 30 * 31 + 15 + 6 - 900 - Decimal("0.90") - Decimal("0.93")
    with database.engine.begin() as connection:
        connection.execute(update(UserPosition).values(actual_sell_price=Decimal(32), closed_time=at(DAYS[5], 15)))
    sold = user_book(database, DAYS[7], {}, actions)
    assert sold.realized == 30 * 32 + 15 + 6 - 900 - Decimal("0.90") - Decimal("0.96")


def test_a_selection_without_a_price_of_its_own_goes_with_the_paper_trade_until_it_is_sold(database: Database) -> None:
    lived_through(database)
    with database.engine.begin() as connection:
        connection.execute(insert(UserPosition).values({"recommendation_id": 2, "selected_time": at(DAYS[1], 10)}))
    drop = next(p for p in positions(database.engine) if p["symbol"] == "DROP")
    assert user_book(database, DAYS[4], {"DROP": Decimal(97)}).unrealized == drop["profit_loss"]
    with database.engine.begin() as connection:
        connection.execute(update(UserPosition).values(actual_sell_price=Decimal(99), closed_time=at(DAYS[3], 10)))
    value, cost = (drop["fill_shares"] * 99).quantize(CENT), drop["notional"]
    fees = (cost / 1000).quantize(CENT) + (value / 1000).quantize(CENT)
    assert user_book(database, DAYS[4], {}).realized == value - cost - fees


def user_book(database: Database, day: date, prices: dict[str, Decimal], actions: pl.DataFrame | None = None) -> BookPerformance:
    return performance(database.engine, day, ACCOUNT, prices=prices, actions=actions)[1]


def test_recording_a_session_again_replaces_it(database: Database) -> None:
    books = lived_through(database)
    again = performance(database.engine, DAYS[4], ACCOUNT)
    assert again == books[DAYS[4]]
    with database.engine.connect() as connection:
        rows = connection.execute(select(PortfolioPerformance.__table__).order_by("date", "book")).all()
    assert len(rows) == 15
    assert rows[-2].equity == again[0].equity


def test_what_the_user_passed_over_is_a_book_of_its_own(database: Database) -> None:
    lived_through(database)
    with database.engine.begin() as connection:
        connection.execute(insert(UserPosition).values({"recommendation_id": 1}))
    everything, user, passed_over = performance(database.engine, DAYS[4], ACCOUNT)
    assert (user.book, passed_over.book) == ("user", "passed_over")
    assert (user.closed_positions, passed_over.closed_positions) == (1, 0)  # WIN was taken, DROP passed over
    assert user.realized + passed_over.realized == everything.realized
    assert user.unrealized + passed_over.unrealized == everything.unrealized


def test_wins_losses_and_turnover_are_those_of_the_trades(database: Database) -> None:
    books = lived_through(database)
    win, drop = sorted(positions(database.engine), key=lambda p: p["symbol"], reverse=True)
    entered, closed = books[DAYS[1]][0], books[DAYS[3]][0]
    assert entered.turnover == pytest.approx(float((win["notional"] + drop["notional"]) / (2 * entered.equity)))
    assert closed.turnover == pytest.approx(float(win["shares"] * win["exit_price"] / (2 * closed.equity)))
    assert books[DAYS[2]][0].turnover == 0
    assert (closed.average_win, closed.average_loss) == (win["profit_loss"], None)


def test_alpha_and_beta_are_those_of_a_regression_on_the_universe(database: Database) -> None:
    days = sessions_between(date(2015, 3, 2), date(2015, 5, 15))
    rng = np.random.default_rng(0)
    market = dict(zip(days, rng.normal(0, 0.01, len(days)).tolist(), strict=True))
    equity, daily = Decimal(100_000), []
    with database.engine.begin() as connection:
        for day in days[:-1]:
            daily.append(0.0004 + 0.6 * market[day] + rng.normal(0, 0.001))
            equity = (equity * Decimal(str(1 + daily[-1]))).quantize(Decimal("0.01"))
            row = {"date": day, "book": "recommendations", "equity": equity, "benchmark_return": market[day]}
            counts = ("cash", "drawdown", "exposure", "open_positions", "closed_positions", "realized", "unrealized")
            rest = dict.fromkeys(counts, 0)
            connection.execute(insert(PortfolioPerformance).values(row | rest))
    book, *_ = performance(database.engine, days[-1], PaperAccount(equity), benchmark=market)
    ours = np.array([*daily[1:], 0.0])
    theirs = np.array([market[day] for day in days[1:]])
    slope, intercept = np.polyfit(theirs, ours, 1)
    assert book.beta == pytest.approx(slope, rel=1e-4)
    assert book.alpha == pytest.approx(intercept * 252, rel=1e-3)
    assert lacking(database.engine, days[-1]) == []


def test_the_universes_return_is_the_mean_of_its_members(database: Database) -> None:
    flat, up = [(100.0,) * 4] * 3, [(100.0,) * 4, (102.0,) * 4, (102.0,) * 4]
    bars = adjusted(pl.concat([bars_of("A", DAYS, flat), bars_of("B", DAYS, up), bars_of("C", DAYS, up)]), NO_ACTIONS)
    members = pl.DataFrame({"month": [DAYS[0].replace(day=1)] * 2, "symbol": ["A", "B"]})
    assert universe_returns(bars, members) == pytest.approx({DAYS[1]: 0.01, DAYS[2]: 0.0})
