"""Notifications: what is told, once each, to mail servers and webhooks that are real, also when they are down."""

import io
import logging
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.market.sessions import session_hours
from mltrainer_pipelines.ops.notifications.addresses import AddressError, addresses, save
from mltrainer_pipelines.ops.notifications.delivery import Delivered, last_deliveries, notify, try_out
from mltrainer_pipelines.ops.supervisor import free_port
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.alerts import raise_alert
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import Notification, Promotion, Trial, TrialProposal, UserPosition, VirtualPosition
from mltrainer_pipelines_tests.portfolio.markets import recommend
from mltrainer_pipelines_tests.servers.receivers import mail_server, webhook

SESSION = date(2015, 3, 2)
MOMENT = session_hours(SESSION)[1] + timedelta(minutes=15)


@pytest.fixture
def installation(tmp_path: Path) -> Callable[..., Settings]:
    def make(*urls: str) -> Settings:
        return Settings(mltrainer_home=tmp_path, mltrainer_notify=" ".join(urls))

    return make


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that a log of this process, at its most talkative, would hold."""
    written, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(written), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("mail.log").propagate = False  # that is the mail server's
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def hook(port: int) -> str:
    return f"json://127.0.0.1:{port}/hush-hush-token"


def mail(port: int) -> str:
    return f"mailto://127.0.0.1:{port}/desk@example.com?from=mltrainer@example.com"


def due_again(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.update(Notification).values(next_attempt=sa.func.now()))


def statuses(database: Database) -> list[str]:
    with database.engine.connect() as connection:
        return list(connection.scalars(sa.select(Notification.status).order_by(Notification.id)))


def test_a_refresh_is_told_in_one_message_by_mail_and_webhook_and_once(
    database: Database, installation: Callable[..., Settings]
) -> None:
    for symbol in ("AAA", "BBB"):
        recommend(database.engine, SESSION, symbol)
    with mail_server() as post, webhook() as web:
        settings = installation(mail(post.port), hook(web.port))
        assert notify(settings, database.engine, MOMENT) == Delivered(1, 1, 0)
        assert notify(settings, database.engine, MOMENT) == Delivered(0, 0, 0)
        recommend(database.engine, SESSION, "CCC")
        assert notify(settings, database.engine, MOMENT).sent == 1
        (title, text), (_, later) = web.messages
        assert title == "mlTrainer (simulated market): 2 new recommendations, 2015-03-02 16:00 New York"
        assert "AAA (short, candidate): about $100.00, target $107.17, stop $93.31, profit probability 65%" in text
        assert "BBB" in text
        assert "cannot place orders" in text
        assert "CCC" in later
        assert "AAA" not in later
        assert [subject for subject, _ in post.messages] == [title for title, _ in web.messages]
        assert "BBB" in post.messages[0][1]


def test_everything_that_is_behind_is_told_in_one_message(database: Database, installation: Callable[..., Settings]) -> None:
    for asset in ("daily_bars", "features"):
        raise_alert(database.engine, f"stale:{asset}", "stale_data", "warning", f"{asset} is 3 sessions behind")
    with webhook() as web:
        assert notify(installation(hook(web.port)), database.engine, MOMENT) == Delivered(1, 1, 0)
        ((title, text),) = web.messages
        assert title.endswith("Data are behind")
        assert "daily_bars is 3" in text
        assert "features is 3" in text


def test_what_is_older_than_a_day_is_no_news(database: Database, installation: Callable[..., Settings]) -> None:
    recommend(database.engine, SESSION)
    with webhook() as web:
        assert notify(installation(hook(web.port)), database.engine, MOMENT + timedelta(days=2)).new == 0


def test_every_kind_is_told_and_can_be_switched(database: Database, installation: Callable[..., Settings]) -> None:
    engine = database.engine

    def happen(name: str) -> None:
        raise_alert(engine, f"run:{name}", "run_failure", "error", f"ingest_session {name} failed", {"job": "ingest_session"})
        raise_alert(engine, f"drift:{name}", "drift", "warning", f"short: {name} drifts")
        with engine.begin() as connection:
            own = {"config": {}, "timeframe": "short", "model": "lightgbm", "name": name}
            columns = {column.name for column in Trial.__table__.columns}
            trial = {"trial_id": name} | {key: value for key, value in own.items() if key in columns}
            connection.execute(sa.insert(Trial).values(**_required(Trial, trial)))
            for decision in ("promoted", "refused"):
                row = {"timeframe": "short", "trial_id": name, "decision": decision, "grade": "candidate", "reasons": ["best"]}
                connection.execute(sa.insert(Promotion).values(**row))
            proposal = {"proposer": "tpe", "trial_id": f"wanted-{name}", "hypothesis": "momentum lasts", "refuted_if": "it ends"}
            made = {"config": {}, "created_at": sa.func.now() - timedelta(minutes=5)}
            connection.execute(sa.insert(TrialProposal).values(**proposal, **made))

    with webhook() as web:
        settings = installation(hook(web.port))
        happen("first")
        assert notify(settings, engine, MOMENT) == Delivered(4, 4, 0)
        titles = [title.removeprefix("mlTrainer (simulated market): ") for title, _ in web.messages]
        assert titles == ["ingest_session failed", "A model drifts", "New short champion: first", "1 proposal waits for your yes"]
        for kind in ("failures", "drift", "champion", "proposals"):
            runtime_settings.put(engine, f"notify_{kind}", False, "user", "quiet")
        happen("second")
        assert notify(settings, engine, MOMENT) == Delivered(4, 0, 0)
        for kind in ("failures", "drift", "champion", "proposals"):
            runtime_settings.put(engine, f"notify_{kind}", True, "user", "loud")
        assert notify(settings, engine, MOMENT) == Delivered(0, 0, 0), "what happened while a kind was off is not told later"
        assert len(web.messages) == 4


def _required(table: Any, values: dict[str, Any]) -> dict[str, Any]:
    """With something in every column that must have something."""
    filler = {str: "x", int: 1, float: 1.0, dict: {}, list: []}
    lacking = [c for c in table.__table__.columns if not c.nullable and c.server_default is None and c.name not in values]
    return values | {c.name: filler.get(c.type.python_type, {}) for c in lacking if not c.identity}


@pytest.mark.parametrize(("level", "price"), [("target", "130"), ("stop", "70")])
def test_a_level_reached_is_told_of_what_the_user_holds_alone(
    database: Database, installation: Callable[..., Settings], level: str, price: str
) -> None:
    engine = database.engine
    held, sold = (recommend(engine, SESSION, symbol) for symbol in ("HELD", "SOLD"))
    recommend(engine, SESSION, "ONPAPER")
    open_positions(engine, 5.0)
    with engine.begin() as connection:
        connection.execute(sa.update(VirtualPosition).values(status="open", fill_price=100, current_price=Decimal(100)))
        connection.execute(sa.insert(UserPosition).values(recommendation_id=held))
        gone = {"actual_sell_price": 101, "closed_time": MOMENT}
        connection.execute(sa.insert(UserPosition).values(recommendation_id=sold, **gone))
    with webhook() as web:
        settings = installation(hook(web.port))
        runtime_settings.put(engine, "notify_recommendations", False, "user", "only levels")
        assert notify(settings, engine, MOMENT).sent == 0
        with engine.begin() as connection:
            connection.execute(sa.update(VirtualPosition).values(current_price=Decimal(price)))
        assert notify(settings, engine, MOMENT).sent == 1
        with engine.begin() as connection:
            closed = {"status": "closed", "exit_reason": level, "exit_session": SESSION}
            connection.execute(sa.update(VirtualPosition).values(**closed))
        assert notify(settings, engine, MOMENT).sent == 0, "told during the session, it is not told again at the close"
        ((title, text),) = web.messages
        assert title.endswith(f"HELD reached its {level}")
        assert f"its price ${price}.00" in text


def test_a_receiver_that_is_down_gets_the_message_when_it_is_back_and_the_other_does_not_get_it_twice(
    database: Database, installation: Callable[..., Settings], log: io.StringIO
) -> None:
    recommend(database.engine, SESSION)
    port = free_port()
    with webhook() as web:
        settings = installation(mail(port), hook(web.port))
        assert notify(settings, database.engine, MOMENT) == Delivered(1, 0, 1)
        assert notify(settings, database.engine, MOMENT).failed == 0, "it waits before it tries again"
        due_again(database)
        assert notify(settings, database.engine, MOMENT).failed == 1
        assert statuses(database) == ["waiting"]
        state = {
            one.service: last_deliveries(database.engine, addresses(settings))[one.fingerprint] for one in addresses(settings)
        }
        assert state["JSON"]["error"] is None
        assert "onnection error" in state["E-Mail"]["error"]
        with mail_server(port) as post:
            post.refuses = True
            due_again(database)
            assert notify(settings, database.engine, MOMENT).failed == 1
            post.refuses = False
            due_again(database)
            assert notify(settings, database.engine, MOMENT).sent == 1
            assert (len(post.messages), len(web.messages)) == (1, 1)
        assert statuses(database) == ["sent"]
    assert "desk@example.com" not in f"{log.getvalue()} {state}"


def test_a_receiver_that_stays_down_is_given_up_after_a_day(database: Database, installation: Callable[..., Settings]) -> None:
    recommend(database.engine, SESSION)
    settings = installation(hook(free_port()))
    notify(settings, database.engine, MOMENT)
    with database.engine.begin() as connection:
        past = Notification.created_at - timedelta(days=1, minutes=1)
        connection.execute(sa.update(Notification).values(created_at=past, next_attempt=sa.func.now()))
    notify(settings, database.engine, MOMENT)
    assert statuses(database) == ["given_up"]


def test_without_an_address_nothing_waits_for_one(database: Database, installation: Callable[..., Settings]) -> None:
    recommend(database.engine, SESSION)
    assert notify(installation(), database.engine, MOMENT) == Delivered(1, 0, 0)
    with webhook() as web:
        assert notify(installation(hook(web.port)), database.engine, MOMENT) == Delivered(0, 0, 0)
        assert web.messages == []


def test_addresses_are_secrets(installation: Callable[..., Settings], log: io.StringIO) -> None:
    with webhook() as web:
        web.refuses = True
        settings = installation(hook(web.port))
        (tried,) = try_out(settings)
        assert tried["service"] == "JSON"
        assert "500" in tried["error"]
        shown = f"{tried} {settings!r} {addresses(settings)!r} {log.getvalue()}"
        assert "hush-hush-token" not in shown
        with pytest.raises(AddressError, match=r"address 1 of System page is none that Apprise understands") as refused:
            save(settings, "tgram://hush-hush-token")
        assert "hush" not in str(refused.value)
        with pytest.raises(AddressError, match="holds no address"):
            save(settings, " , ")


def test_addresses_of_the_page_are_kept_for_their_owner_alone_and_told_too(installation: Callable[..., Settings]) -> None:
    settings = installation()
    with webhook() as first, webhook() as second:
        save(settings, f"{hook(first.port)}, {hook(second.port)}")
        assert (settings.state / "notify-addresses").stat().st_mode & 0o777 == 0o600
        assert [one["error"] for one in try_out(settings)] == [None, None]
        ((title, _),) = second.messages
        assert title == "mlTrainer (simulated market): a test"
        save(settings, "")
        assert try_out(settings) == []
