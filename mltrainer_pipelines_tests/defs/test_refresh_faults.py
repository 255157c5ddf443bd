"""A refresh without a champion, with one that does not load, on prices that are not trusted: it says so, and positions go on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.contracts.lake_tables import DELAYED_QUOTES
from mltrainer_pipelines.defs.portfolio.assets import portfolio_performance, virtual_positions
from mltrainer_pipelines.defs.signals.assets import _report_quote_checks, recommendations, signals
from mltrainer_pipelines.market.sessions import next_session, session_hours
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.signals.quote_checks import check_quotes
from mltrainer_pipelines.signals.recommendations import recommendations_frame
from mltrainer_pipelines.signals.refresh import Refresh
from mltrainer_pipelines.store.alerts import alerts
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import PortfolioPerformance, UserPosition
from mltrainer_pipelines.trials.ensemble_file import FILE
from mltrainer_pipelines.trials.registry.champion_files import record_file
from mltrainer_pipelines.trials.registry.tracking import Tracking
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, bars_of, positions, recommend
from mltrainer_pipelines_tests.signals.test_champions import Registry

BEFORE = date(2015, 3, 2)
TODAY, TOMORROW = next_session(BEFORE), next_session(BEFORE, 2)
PRICE = (100.0, 101.0, 99.0, 100.0)


class EmptyRegistry(Registry):
    """MLflow's registry before the first champion."""

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        self.path = self.path.replace("mltrainer-short", "mltrainer-nobody")
        super().do_GET()


@contextmanager
def registry(handler: type[Registry]) -> Iterator[Tracking]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield Tracking(f"http://127.0.0.1:{server.server_port}", patience=0.5)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLTRAINER_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield get_settings().state
    get_settings.cache_clear()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two sessions of final bars, and a session under way in which BAD is quoted at a third of its last close."""
    lake = Lake(str(tmp_path / "lake"))
    for day in (BEFORE, TODAY):
        lake.write("daily_bars", pl.concat([bars_of(name, [day], [PRICE]) for name in ("AAA", "BAD")]), str(day))
    moment = session_hours(TOMORROW)[0].replace(hour=12)
    known = {"as_of": moment, "date": TOMORROW, "updated_at": moment, "stale": False, "volume": 1e6, "previous_close": 100.0}
    told = [dict(zip(("open", "high", "low", "close"), bar, strict=True)) for bar in (PRICE, tuple(p / 3 for p in PRICE))]
    rows = [{**known, **told[0], "symbol": "AAA", "close": 100.5}, {**known, **told[1], "symbol": "BAD"}]
    lake.write("delayed_quotes", pl.DataFrame(rows, schema=DELAYED_QUOTES.schema), str(TOMORROW))
    lake.write("corporate_actions", NO_ACTIONS)
    return lake


def refreshed(lake: Lake, database: Database, tracking: Tracking) -> dict[str, Any]:
    """Metadata of the signals of a refresh that succeeded, with a position of each symbol from the day before."""
    for symbol in ("AAA", "BAD"):
        recommend(database.engine, BEFORE, symbol)
    open_positions(database.engine, 10.0)
    assets = [signals, recommendations, virtual_positions, portfolio_performance]
    result = dg.materialize(assets, resources={"lake": lake, "database": database, "tracking": tracking})
    assert recommendations_frame(database)["session"].unique().to_list() == [BEFORE]
    return {name: value.value for name, value in result.asset_materializations_for_node("signals")[0].metadata.items()}


def test_without_a_champion_nothing_is_recommended_and_the_positions_go_on(lake: Lake, database: Database, home: Path) -> None:
    with registry(EmptyRegistry) as tracking:
        told = refreshed(lake, database, tracking)
    assert told["status"] == "no signals"
    assert "no short champion is registered" in told["absent"]["short"]
    assert alerts(database.engine) == []
    held = {p["symbol"]: p for p in positions(database.engine)}
    assert [p["status"] for p in held.values()] == ["open", "open"]
    assert float(held["AAA"]["current_price"]) == 100.5
    # A third of the last close, and no split is known: what it is worth is not known, so the last mark stays.
    assert float(held["BAD"]["current_price"]) == 100.0


def test_a_champion_that_no_longer_loads_raises_an_alert_and_the_positions_go_on(
    lake: Lake, database: Database, home: Path
) -> None:
    place = home / "champions/mltrainer-short/3-1446220800123"
    place.mkdir(parents=True)
    content = b"of another version of the code"
    (place / FILE).write_bytes(content)
    record_file(database.engine, "mltrainer-short", "3", content)
    with registry(Registry) as tracking:
        told = refreshed(lake, database, tracking)
    assert "version 3 of mltrainer-short cannot be read" in told["absent"]["short"]
    (alert,) = alerts(database.engine)
    assert (alert["kind"], alert["severity"], alert["details"]) == ("champion", "error", {"timeframe": "short"})
    assert "materialize champion_model to train it anew" in alert["message"]
    assert {p["status"] for p in positions(database.engine)} == {"open"}


def test_a_split_that_was_announced_is_known_while_its_session_is_under_way(lake: Lake, database: Database, home: Path) -> None:
    split = pl.DataFrame([("BAD", TOMORROW, "split", 3.0, None, None)], schema=NO_ACTIONS.schema, orient="row")
    lake.write("corporate_actions", split)
    with registry(EmptyRegistry) as tracking:
        refreshed(lake, database, tracking)
    held = next(p for p in positions(database.engine) if p["symbol"] == "BAD")
    assert float(held["current_price"]) == pytest.approx(100 / 3, abs=1e-6)
    assert held["shares"] == 3 * held["fill_shares"]
    assert abs(held["profit_loss"] + held["fees"]) < 1


@pytest.mark.parametrize("half", [True, False])
def test_prices_that_are_not_trusted_are_told_in_the_status_and_raise_one_alert_a_session(database: Database, half: bool) -> None:
    names = [f"S{number}" for number in range(10)]
    last = pl.concat([bars_of(name, [BEFORE], [PRICE]) for name in names])
    wild = tuple(10 * price for price in PRICE)
    told = pl.concat([bars_of(name, [TODAY], [wild if name == "S3" else PRICE]) for name in (names[:5] if half else names)])
    found = Refresh(pl.DataFrame(), pl.DataFrame(), check_quotes(told, last, NO_ACTIONS, pl.Series(names)))

    @dg.asset
    def looked_at(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"status": _report_quote_checks(context, database, found, TODAY)})

    for _ in range(2):
        result = dg.materialize([looked_at])
    status = result.asset_materializations_for_node("looked_at")[0].metadata["status"].value
    (alert,) = alerts(database.engine)
    if half:
        assert status == "nothing recommended: only 4 of 10 symbols have a valid price of the session, 80% are needed"
        assert (alert["kind"], alert["details"]) == ("snapshot", {"present": 4, "expected": 10})
    else:
        assert status == "scored; 1 price left out"
        assert alert["kind"] == "price"
        assert "S3 is left out on 2015-03-03: its price of 1000.0 is 10.0 times the last close" in alert["message"]


def test_what_the_user_holds_is_valued_at_the_newest_trusted_price(lake: Lake, database: Database, home: Path) -> None:
    bought = {"actual_buy_price": Decimal(90), "actual_shares": Decimal(10), "selected_time": session_hours(TODAY)[0]}
    with registry(EmptyRegistry) as tracking:
        refreshed(lake, database, tracking)
    with database.engine.begin() as connection:
        for number in (1, 2):  # AAA and BAD
            connection.execute(sa.insert(UserPosition).values({"recommendation_id": number} | bought))
    assert dg.materialize([portfolio_performance], resources={"lake": lake, "database": database}).success
    row = PortfolioPerformance
    with database.engine.connect() as connection:
        user = connection.execute(
            sa.select(row.unrealized, row.open_positions).where(row.book == "user", row.date == TOMORROW)
        ).one()
    fees = 2 * Decimal("0.90") + Decimal("1.00") + Decimal("1.00")  # 1005 is charged 1.005: half to even
    assert user == (1005 + 1000 - 1800 - fees, 2)
