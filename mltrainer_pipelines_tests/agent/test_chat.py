"""Conversations: by commands without a key, with Claude over its real client, and what is kept of them."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from mltrainer_pipelines.agent import conversation, ledger
from mltrainer_pipelines.agent.actions import action, actions
from mltrainer_pipelines.agent.chat import ChatAgent, MessageError
from mltrainer_pipelines.agent.chat_events import ChatEvent
from mltrainer_pipelines.agent.conversation import SessionBusyError, SessionNameError
from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.agent.tools import MAX_RESULT, TOOLS, call, definitions
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import AgentCall, ChatSession, LeaderboardRow, Trial
from mltrainer_pipelines_tests.agent.laboratory import InProcessLauncher, installation, write_signals
from mltrainer_pipelines_tests.portfolio.markets import recommend
from mltrainer_pipelines_tests.servers.anthropic import Anthropic, Fault, Said, Turn, anthropic_server, input_tokens


def said(events: list[ChatEvent]) -> str:
    return "".join(event.data["text"] for event in events if event.kind == "text")


def of(events: list[ChatEvent], kind: str) -> list[dict[str, Any]]:
    return [event.data for event in events if event.kind == kind]


@pytest.fixture
def commands(database: Database, tmp_path: Path) -> ChatAgent:
    return ChatAgent(installation(database, tmp_path)[0])


@pytest.fixture
def talking(database: Database, tmp_path: Path) -> Iterator[Callable[..., tuple[ChatAgent, Anthropic]]]:
    """An agent whose Claude says what a test tells it to."""
    servers = []

    def make(answers: Any, timeout_s: float = 20.0) -> tuple[ChatAgent, Anthropic]:
        context = anthropic_server(answers)
        server = context.__enter__()
        servers.append(context)
        claude = Claude(database.engine, "claude-sonnet-5-5", SecretStr("sk"), server.url, timeout_s=timeout_s)
        return ChatAgent(installation(database, tmp_path)[0], claude), server

    yield make
    for context in servers:
        context.__exit__(None, None, None)


def last_user(body: dict[str, Any]) -> str:
    return json.dumps(body["messages"][-1]["content"])


def test_the_conversation_of_the_specification_works_without_a_key(commands: ChatAgent) -> None:
    first = list(commands.chat("s", "Start momentum analysis"))
    assert "I suggest we initiate momentum screening (short) using" in said(first)
    assert "Type 'yes' to execute." in said(first)
    (card,) = of(first, "action")
    assert (card["kind"], card["status"]) == ("momentum_screening", "pending")

    second = list(commands.chat("s", "yes"))
    assert of(second, "action")[0]["status"] == "running"
    assert "Started" in said(second)

    third = list(commands.follow("s", poll_s=0.0))
    (result,) = of(third, "result")
    assert result["status"] == "done", result["error"]
    assert "1 momentum stocks identified among 3 scored with 90.0% average confidence" in said(third)
    assert "AAA (short, candidate)" in said(third)
    assert "Sharpe ratio" in said(third)
    assert "(The market is simulated.)" in said(third)
    assert "Next I would try this:" in said(third)
    (proposed,) = [one for one in of(third, "action") if one["status"] == "pending"]
    assert proposed["kind"] == "submit_trial"

    fourth = list(commands.chat("s", "yes"))
    assert of(fourth, "action")[0]["id"] == proposed["id"]
    assert of(list(commands.follow("s", poll_s=0.0)), "result")[0]["status"] == "done"


def test_the_conversation_of_the_specification_works_with_claude(talking: Any) -> None:
    def answer(body: dict[str, Any]) -> Turn:
        now = last_user(body)
        if "Start momentum analysis" in now:
            bars = {"min_expected_return": 0.01, "min_confidence": 0.6}
            return Said(
                "I suggest we initiate momentum screening using LightGBM and LogisticL2 models targeting 7-10 day momentum "
                "with +1% returns at 60% confidence.",
                [("run_momentum_screening", {"models": ["LightGBM", "LogisticL2"], "timeframe": "short", **bars})],
            )
        if "submit_trial" not in now and "waits for the user" in now:
            return Said("It waits for your yes.")
        if "finished_actions" in now:
            assert "sharpe" in now
            return Said("The screening found one stock, AAA.", [("submit_trial", {"model": "lightgbm", "timeframe": "long"})])
        if "tool_result" in now:
            return Said("I put a trial of LightGBM for the long horizon before you.")
        return Said("I do not know.")

    agent, server = talking(answer)
    first = list(agent.chat("s", "Start momentum analysis"))
    (card,) = of(first, "action")
    assert (card["kind"], card["proposed_by"]) == ("momentum_screening", "claude")
    assert card["params"]["models"] == ["lightgbm", "logistic_l2"]
    assert card["params"]["min_expected_return"] == 0.01
    assert len(server.requests) == 2
    second = list(agent.chat("s", "yes"))
    assert of(second, "action")[0]["status"] == "running"
    assert len(server.requests) == 2
    third = list(agent.follow("s", poll_s=0.0))
    assert of(third, "result")[0]["status"] == "done"
    assert "The screening found one stock" in said(third)
    assert [one["kind"] for one in of(third, "action") if one["status"] == "pending"] == ["submit_trial"]
    history = agent.history("s")
    assert [one["role"] for one in history if one["text"]][:4] == ["user", "assistant", "assistant", "user"]
    assert not any("finished_actions" in one["text"] for one in history)


def test_reading_tools_run_at_once_and_their_results_go_back(talking: Any) -> None:
    calls = [(name, {}) for name, tool in TOOLS.items() if tool.read is not None and name != "trial"]

    def answer(body: dict[str, Any]) -> Turn:
        return Said("All well.") if "tool_result" in last_user(body) else Said("", [*calls, ("trial", {"trial_id": "x"})])

    agent, server = talking(answer)
    write_signals(agent.system.lake)
    events = list(agent.chat("s", "how are you?"))
    assert [one["failed"] for one in of(events, "tool")] == [False] * 12 + [True] * (len(calls) + 1 - 12)
    results = server.requests[1]["messages"][-1]["content"]
    assert len(results) == len(calls) + 1
    assert [one["tool_use_id"] for one in results] == [one["id"] for one in server.requests[1]["messages"][-2]["content"]]
    assert "61.0" in results[[name for name, _ in calls].index("detect_regime")]["content"]
    assert actions(agent.system) == []
    assert len(ledger.events(agent.system.engine, "tool_call")) == 12


def test_a_tool_that_computes_puts_an_action_before_the_user(talking: Any) -> None:
    def answer(body: dict[str, Any]) -> Turn:
        if "tool_result" in last_user(body):
            return Said("It waits for your yes.")
        wanted = {"name": "min_confidence", "value": 0.9, "reason": "fewer, better"}
        return Said("", [("change_threshold", wanted)])

    agent, server = talking(answer)
    events = list(agent.chat("s", "be stricter"))
    (card,) = of(events, "action")
    assert card["summary"] == "Set min_confidence from 0.7 to 0.9"
    assert "waits for the user's yes" in json.dumps(server.requests[1]["messages"][-1])
    assert runtime_settings.history(agent.system.engine) == []
    after = list(agent.chat("s", "yes"))
    assert of(after, "result")[0]["result"]["now"] == 0.9
    assert runtime_settings.get(agent.system.engine, "min_confidence") == 0.9
    assert '\\"status\\":\\"done\\"' in json.dumps(
        server.requests[-1 if "tool_result" not in last_user(server.requests[-1]) else 2]
    )


def test_thinking_goes_back_within_a_turn_and_not_after_it(talking: Any) -> None:
    def answer(body: dict[str, Any]) -> Turn:
        return Said("Done.", thinking="so") if "tool_result" in last_user(body) else Said("", [("settings", {})], thinking="hm")

    agent, server = talking(answer)
    list(agent.chat("s", "first"))
    within = server.requests[1]["messages"][-2]["content"]
    assert [block["type"] for block in within] == ["thinking", "tool_use"]
    assert within[0]["signature"] == "signed"
    list(agent.chat("s", "second"))
    assert "thinking" not in json.dumps(server.requests[2]["messages"])


def test_a_bare_yes_is_about_the_one_action_that_was_just_put(commands: ChatAgent) -> None:
    list(commands.chat("s", "set min_confidence to 0.8"))
    list(commands.chat("s", "status"))
    asked = list(commands.chat("s", "yes"))
    assert "Which one?" in said(asked)
    assert runtime_settings.history(commands.system.engine) == []
    (one,) = actions(commands.system, "s", "pending")
    list(commands.chat("s", f"yes {one.id}"))
    assert runtime_settings.get(commands.system.engine, "min_confidence") == 0.8


def test_several_waiting_actions_are_asked_about(commands: ChatAgent) -> None:
    events = list(commands.chat("s", "Set the confidence threshold to 80 %. Set the regime threshold to 40."))
    first, second = of(events, "action")
    assert "Which one?" in said(list(commands.chat("s", "yes")))
    list(commands.chat("s", f"no {first['id']}"))
    list(commands.chat("s", "execute all"))
    assert action(commands.system, first["id"]).status == "rejected"
    assert action(commands.system, second["id"]).status == "done"
    assert runtime_settings.get(commands.system.engine, "min_confidence") == 0.7
    assert runtime_settings.get(commands.system.engine, "min_regime_score") == 40


def test_a_yes_of_another_conversation_decides_nothing_here(commands: ChatAgent) -> None:
    list(commands.chat("a", "set min_confidence to 0.8"))
    assert "No action is pending" in said(list(commands.chat("b", "yes")))
    assert actions(commands.system, "a", "pending")


def test_a_yes_may_name_actions_by_their_place(commands: ChatAgent) -> None:
    list(commands.chat("s", "set the confidence threshold to 80 % and the regime threshold to 40"))
    list(commands.chat("s", "yes but only the second one"))
    assert runtime_settings.get(commands.system.engine, "min_confidence") == 0.7
    assert runtime_settings.get(commands.system.engine, "min_regime_score") == 40


def test_what_runs_is_stopped_by_a_word(commands: ChatAgent) -> None:
    list(commands.chat("s", "Start momentum analysis"))
    list(commands.chat("s", "yes"))
    stopped = list(commands.chat("s", "stop it"))
    assert of(stopped, "result")[0]["status"] == "stopped"
    assert runtime_settings.get(commands.system.engine, "agent_enabled") is True


def test_a_message_that_begins_like_data_shows_and_a_report_of_the_system_does_not(commands: ChatAgent) -> None:
    text = '<data name="finished_actions">[]</data>'
    list(commands.chat("s", text))
    list(commands.chat("s", "set min_confidence to 0.8"))
    list(commands.chat("s", "yes"))
    list(commands.chat("s", "status"))
    shown = [one["text"] for one in commands.history("s") if one["role"] == "user"]
    assert shown == [text, "set min_confidence to 0.8", "yes", "status"]


def test_an_expired_action_does_not_run_on_a_late_yes(commands: ChatAgent) -> None:
    list(commands.chat("s", "set min_confidence to 0.8"))
    commands.system.clock.ahead = timedelta(hours=2)  # type: ignore[attr-defined]
    assert "No action is pending" in said(list(commands.chat("s", "yes")))
    assert runtime_settings.history(commands.system.engine) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("help", "start momentum analysis"),
        ("models", "lightgbm"),
        ("models of forests", 'add "from 13" to see more.'),
        ("leaderboard", "champion"),
        ("what is the regime?", "score is 61 of 100"),
        ("candidates", "AAA"),
        ("explain AAA", "65.0%"),
        ("explain ZZZ", "was never recommended"),
        ("portfolio", "Paper trades:"),
        ("performance", "no results yet"),
        ("proposals", "There are no proposals"),
        ("report", "No paper trade has closed yet."),
        ("settings", "autonomy is manual"),
        ("status", "The agent is on"),
        ("run the model quantum_oracle trial", "no model"),
        ("initiate momentum screening with Oracle", "no model 'Oracle'"),
        ("sing a song", "did not understand"),
        ("do not start momentum screening", "Nothing was started"),
        ("the note says: run lightgbm", "I started nothing"),
        ("maybe run lightgbm some day", "not sure"),
        ("run regime detection", "score is 61 of 100"),
        ("saved results", "0 saved results"),
        ("Let's run deeper analysis on the top 5 candidates", "AAA (short, candidate)"),
        ("run lightgbm on bananas", "did not use these words of yours: bananas"),
        ("run a 30-day momentum screening", "which of them do you mean?"),
    ],
)
def test_commands_answer_from_the_real_system(commands: ChatAgent, text: str, says: str) -> None:
    write_signals(commands.system.lake)
    from datetime import date

    recommend(commands.system.engine, date(2020, 9, 30), "AAA")
    events = list(commands.chat("s", text))
    assert says in said(events) + " ".join(one["text"] for one in of(events, "notice"))
    assert events[-1] == ChatEvent("done", {"turn": 1})


def test_a_list_that_is_longer_than_an_answer_says_so_and_pages(commands: ChatAgent) -> None:
    rows = [{"trial_id": f"lightgbm-short-{n:08x}", "timeframe": "short", "model": "lightgbm"} for n in range(1, 26)]
    run = {"feature_set": "momentum", "config": {}, "proposed_by": "user"}
    ranked = [one | {"rank": n, "grade": "candidate"} for n, one in enumerate(rows, 1)]
    with commands.system.engine.begin() as connection:
        connection.execute(sa.insert(Trial), [one | run for one in rows])
        connection.execute(sa.insert(LeaderboardRow), ranked)
    first, second = (said(list(commands.chat("s", text))) for text in ("leaderboard short", "leaderboard short from 21"))
    assert 'These are 1 to 10 of 25; add "from 11" to see more.' in first
    assert "21. lightgbm-short-00000015" in second
    assert "to see more" not in second
    for arguments in ({"family": "boosters"}, {"family": "regressions", "offset": 12}, {}):
        result = call(commands.system, "s", "list_models", arguments, None)
        assert len(result.content) <= MAX_RESULT
        assert '"cut"' not in result.content
    assert json.loads(result.content)["count"] == len(json.loads(result.content)["ids"])


def test_an_empty_installation_says_what_is_missing(commands: ChatAgent) -> None:
    for text, says in (("regime", "never computed"), ("candidates", "never scored"), ("explain AAA", "no such recommendation")):
        assert says in said(list(commands.chat("s", text)))


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (Fault(401), "ANTHROPIC_API_KEY"),
        (Fault(429, headers={"retry-after": "600"}), "busy"),
        (Fault(529, headers={"retry-after": "0.01"}), "busy"),
        (Fault(silent_s=10), "in time"),
        (Said("Let me see.", [("change_threshold", '{"name": broken')]), "not JSON"),
        (Said("The regime is", cut_after=4), "lost"),
        (Said("No.", stop_reason="refusal"), "declined"),
    ],
    ids=["401", "429", "529", "time-out", "malformed", "cut", "refusal"],
)
def test_when_claude_fails_the_user_is_told_why_and_nothing_starts(talking: Any, turn: Turn, says: str) -> None:
    agent, _ = talking([turn], timeout_s=1.0)
    events = list(agent.chat("s", "status"))
    assert says in " ".join(one["text"] for one in of(events, "notice"))
    assert actions(agent.system) == []
    assert events[-1].kind == "done"
    agent, server = talking([Said("Here I am again.")])
    assert "Here I am again." in said(list(agent.chat("s", "and now?")))
    roles = [message["role"] for message in server.requests[0]["messages"]]
    assert roles[0] == roles[-1] == "user"


def test_without_claude_the_commands_go_on_when_it_fails_or_its_dollars_are_spent(talking: Any) -> None:
    agent, server = talking([Said("x")])
    runtime_settings.put(agent.system.engine, "daily_dollars", 0.0, "user", "test")
    events = list(agent.chat("s", "increase the confidence threshold to 90 %"))
    assert server.requests == []
    assert "daily_dollars" in of(events, "notice")[0]["text"]
    assert of(events, "action")[0]["summary"] == "Set min_confidence from 0.7 to 0.9"


def test_a_tool_call_cut_off_by_max_tokens_does_nothing(talking: Any) -> None:
    cut = Said("I set it.", [("change_threshold", '{"name": "min_confidence", "value": 0.')], stop_reason="max_tokens")
    agent, server = talking([cut, Said("Fine.")])
    events = list(agent.chat("s", "hello"))
    assert "cut short" in of(events, "notice")[0]["text"]
    assert actions(agent.system) == []
    list(agent.chat("s", "go on please"))
    assert "tool_use" not in json.dumps(server.requests[1]["messages"])


def test_an_agent_that_only_calls_tools_is_stopped(talking: Any) -> None:
    agent, server = talking(lambda _: Said("", [("settings", {})]))
    events = list(agent.chat("s", "loop"))
    assert len(server.requests) == 8
    assert "I stopped after 8 rounds" in of(events, "notice")[0]["text"]


def test_two_hundred_calls_in_one_answer_are_not_all_done(talking: Any) -> None:
    def answer(body: dict[str, Any]) -> Turn:
        if "tool_result" in last_user(body):
            return Said("Enough.")
        return Said("", [("submit_trial", {"model": "logistic_l2", "params": {"C": n / 1000}}) for n in range(1, 201)])

    agent, server = talking(answer)
    list(agent.chat("s", "go wild"))
    assert len(actions(agent.system, "s", "pending")) == 10
    assert len(server.requests[1]["messages"][-1]["content"]) == 200
    assert isinstance(agent.system.launcher, InProcessLauncher)
    assert agent.system.launcher.started == []


def valid_history(messages: list[dict[str, Any]]) -> None:
    """What the API asks of a history: it starts with the user, and every tool call is answered at once."""
    assert messages[0]["role"] == "user"
    for n, message in enumerate(messages):
        assert message["content"]
        called = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        if called:
            answered = [block["tool_use_id"] for block in messages[n + 1]["content"] if block["type"] == "tool_result"]
            assert messages[n + 1]["role"] == "user"
            assert answered == called
        for block in message["content"]:
            if block["type"] == "tool_result":
                assert any(one.get("id") == block["tool_use_id"] for one in messages[n - 1]["content"])


def begins_with(later: dict[str, Any], earlier: dict[str, Any]) -> bool:
    """Whether a request's tools, prompt and messages begin with those of another, but for where the cache is marked."""

    def lean(request: dict[str, Any]) -> list[Any]:
        return json.loads(json.dumps(request["messages"]).replace(', "cache_control": {"type": "ephemeral"}', ""))

    same = all(later[name] == earlier[name] for name in ("tools", "system"))
    return same and lean(later)[: len(earlier["messages"])] == lean(earlier)


def test_a_conversation_of_two_hundred_turns_keeps_working_and_stays_small(talking: Any) -> None:
    runtime_settings_limit = 1000.0

    def answer(body: dict[str, Any]) -> Turn:
        valid_history(body["messages"])
        if body.get("tools") is None:
            assert body["system"][0]["text"].startswith("Summarise")
            return Said("The user counts turns and wants few, good signals.")
        if "tool_result" in last_user(body):
            return Said("Looked. " + "word " * 20)
        turn = int(body["messages"][-1]["content"][-1]["text"].split()[1])
        return Said("", [("settings", {}), ("models", {})]) if turn % 3 == 0 else Said(f"Turn {turn} noted. " + "word " * 20)

    agent, server = talking(answer)
    runtime_settings.put(agent.system.engine, "daily_dollars", runtime_settings_limit, "user", "test")
    for turn in range(1, 201):
        events = list(agent.chat("s", f"turn {turn} of many"))
        assert not of(events, "notice"), of(events, "notice")
    asked = [request for request in server.requests if request.get("tools")]
    assert max(input_tokens(request) for request in asked) < 25_000
    summaries = len(server.requests) - len(asked)
    assert 5 < summaries <= 20
    first_forty = server.requests[: server.requests.index(next(one for one in asked if "turn 41 of" in json.dumps(one)))]
    assert sum(not request.get("tools") for request in first_forty) <= 4
    # What was cached is read again: each request begins with the one before, but for those after a summary.
    assert sum(not begins_with(later, earlier) for earlier, later in pairwise(asked)) <= summaries
    assert "few, good signals" in json.dumps(asked[-1]["messages"][0])
    assert len({one["turn"] for one in agent.history("s", 1000)}) == 200


def test_a_summary_without_claude_keeps_the_facts(commands: ChatAgent) -> None:
    list(commands.chat("s", "set min_confidence to 0.8"))
    list(commands.chat("s", "yes"))
    for n in range(30):
        list(commands.chat("s", f"what about number {n}"))
    sent = conversation.context(commands.system, None, "s")
    told = sent[0]["content"][0]["text"]
    assert "earlier_conversation" in told
    assert "Action 1 (Set min_confidence from 0.7 to 0.8): done." in told
    assert "what about number 20" in told
    with commands.system.engine.connect() as connection:
        assert connection.scalar(sa.select(ChatSession.summarised_until)) > 0


def test_one_conversation_answers_one_message_at_a_time(talking: Any) -> None:
    agent, _ = talking([Said("A slow answer of several words.")])
    answer = agent.chat("s", "first")
    next(answer)
    with pytest.raises(SessionBusyError):
        list(agent.chat("s", "second"))
    answer.close()
    assert list(agent.chat("s", "third"))[-1].kind == "done"


def test_what_a_reader_left_in_the_middle_does_not_break_the_conversation(talking: Any) -> None:
    def answer(body: dict[str, Any]) -> Turn:
        valid_history(body["messages"])
        return Said("Well.") if "tool_result" in last_user(body) else Said("Look: ", [("settings", {})])

    agent, _ = talking(answer)
    for n in range(6):
        reader = agent.chat("s", f"message {n}")
        for _ in range(n):
            next(reader, None)
        reader.close()
    assert "Well." in said(list(agent.chat("s", "and now?")))


def test_many_conversations_at_once_do_not_mix(talking: Any) -> None:
    agent, _ = talking(lambda body: Said("You said: " + body["messages"][-1]["content"][-1]["text"]))
    wrong: list[str] = []

    def talk(name: str) -> None:
        answers = [said(list(agent.chat(name, f"{name} {n}"))) for n in range(3)]
        wrong.extend(answer for n, answer in enumerate(answers) if f"You said: {name} {n}" not in answer)

    threads = [threading.Thread(target=talk, args=(f"user-{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("text", ["", "   ", "\x00\x07", "x" * 8001])
def test_messages_that_cannot_be_answered_are_refused(commands: ChatAgent, text: str) -> None:
    with pytest.raises(MessageError):
        list(commands.chat("s", text))


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 101, "é"])
def test_conversations_have_plain_names(commands: ChatAgent, name: str) -> None:
    with pytest.raises(SessionNameError):
        list(commands.chat(name, "hello"))


def test_every_request_of_a_conversation_is_on_the_record(talking: Any) -> None:
    agent, server = talking([Said("", [("settings", {})]), Said("Done.")])
    list(agent.chat("s", "settings please"))
    with agent.system.engine.connect() as connection:
        rows = connection.execute(sa.select(AgentCall.__table__).order_by(AgentCall.id)).all()
    assert [(row.purpose, row.session_id, row.stop_reason) for row in rows] == [
        ("chat", "s", "tool_use"),
        ("chat", "s", "end_turn"),
    ]
    assert [row.request["messages"] for row in rows] == [request["messages"] for request in server.requests]
    (called,) = ledger.events(agent.system.engine, "tool_call")
    assert (called["call_id"], called["detail"]["tool"]) == (rows[0].id, "settings")


def test_there_is_no_tool_that_orders_runs_reads_files_or_opens_addresses() -> None:
    names = {tool["name"] for tool in definitions()}
    assert names == set(TOOLS)
    for word in ("order", "buy", "sell", "exec_", "shell", "python", "file", "url", "http", "fetch", "approve", "sql"):
        assert not [name for name in names if word in name]
    acting = {tool.action for tool in TOOLS.values() if tool.action}
    assert acting == {
        "momentum_screening",
        "submit_trial",
        "ensemble",
        "change_setting",
        "decide_proposal",
        "refresh_signals",
        "propose_trials",
    }
    reachable = json.dumps(TOOLS["change_threshold"].input.model_json_schema())
    assert "autonomy" not in reachable
    assert "daily_dollars" not in reachable
