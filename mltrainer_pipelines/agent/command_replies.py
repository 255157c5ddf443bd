"""Replies without Claude: what was asked for as cards, lookups in sentences, and the next step after results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mltrainer_pipelines.agent import commands, conversation
from mltrainer_pipelines.agent.action_kinds import ActionError
from mltrainer_pipelines.agent.actions import Action, propose_action
from mltrainer_pipelines.agent.chat_events import ChatEvent, action_event, notice, text_block, tool_event
from mltrainer_pipelines.agent.decisions import decision
from mltrainer_pipelines.agent.intents import Lookup, lookup
from mltrainer_pipelines.agent.setting_wishes import RequestedAction
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.agent.wishes import wishes
from mltrainer_pipelines.store.lake import MissingPartitionError

_SAID_AS = {
    "momentum_screening": "start momentum analysis",
    "submit_trial": "run lightgbm",
    "ensemble": "try an ensemble of lightgbm and catboost",
    "change_setting": "set the confidence threshold to 80 %",
    "decide_proposal": "approve proposal 3",
    "refresh_signals": "refresh the signals",
    "propose_trials": "propose new trials",
}


def _example(unsure: Sequence[RequestedAction]) -> str:
    """A plain request of the kind that may have been meant."""
    return _SAID_AS[unsure[0].kind if unsure else "refresh_signals"]


@dataclass(frozen=True)
class CommandReplies:
    """What the agent says and puts before the user by itself; everything it says is stored."""

    system: System

    def answer(self, session_id: str, turn: int, message: str | None, unseen: Sequence[Action]) -> Iterator[ChatEvent]:
        if message is None:
            yield from self.next_step(session_id, turn, unseen)
            return
        asked = wishes(message)
        if asked.actions:
            yield from self.propose(session_id, asked.actions, "user", turn)
            for text in asked.others:
                if (wanted := lookup(text)) is not None:
                    yield from self.look_up(session_id, turn, wanted)
            if asked.unused:
                yield from self.say(session_id, turn, f"I did not use these words of yours: {', '.join(asked.unused[:12])}.")
        elif decision(message) is not None:
            yield from self.say(session_id, turn, "No action is pending.")
        elif "refusal" in asked.moods and "question" not in asked.moods:
            yield from self.say(session_id, turn, "Nothing was started or changed.")
        elif asked.unsure or "report" in asked.moods:
            about = "whether you want that now" if asked.unsure else "what you want of me, or what you only report"
            text = f'I am not sure {about}, so I started nothing. Ask for it plainly, for example "{_example(asked.unsure)}".'
            yield from self.say(session_id, turn, text)
        elif (wanted := lookup(message)) is None:
            yield from self.say(session_id, turn, f"I did not understand that.\n{commands.HELP}")
        else:
            yield from self.look_up(session_id, turn, wanted)

    def look_up(self, session_id: str, turn: int, wanted: Lookup) -> Iterator[ChatEvent]:
        try:
            text, value = commands.answer(self.system, wanted)
        except MissingPartitionError as error:
            text, value = f"{error}.", None
        if value is not None:
            yield tool_event(wanted.query, wanted.arguments)
        yield from self.say(session_id, turn, text)

    def next_step(self, session_id: str, turn: int, unseen: Sequence[Action]) -> Iterator[ChatEvent]:
        """Results in words, and what the search would try next."""
        yield from self.say(session_id, turn, "\n".join(commands.outcome_text(one) for one in unseen))
        computed = [one for one in unseen if one.status == "done" and (one.result or {}).get("trials")]
        if not computed:
            return
        params = commands.next_trial(self.system, computed[-1].params.get("timeframe", "short"))
        if params is not None:
            yield from self.say(session_id, turn, f"Next I would try this: {params['rationale']}")
            yield from self.propose(session_id, [RequestedAction("submit_trial", params)], "mltrainer", turn)

    def propose(
        self, session_id: str, requests: Sequence[RequestedAction], by: str, turn: int | None = None
    ) -> Iterator[ChatEvent]:
        """Put actions before the user, with a sentence for each where a turn is given."""
        for request in requests:
            params, remarks = dict(request.params), list(request.problems)
            if request.question:
                text = f"{request.question[0].upper()}{request.question[1:]}"
                yield from [notice(text)] if turn is None else self.say(session_id, turn, text)
                continue
            if request.kind in ("momentum_screening", "ensemble") and not params.get("models") and not remarks:
                timeframe = params["timeframe"]
                params["models"] = commands.suggested_models(self.system, timeframe, request.without)
                remarks.append(f"I suggest we initiate momentum screening ({timeframe}) using {' and '.join(params['models'])}")
            try:
                action = propose_action(self.system, session_id, request.kind, params, by)
            except ActionError as error:
                text = "; ".join(request.problems or dict.fromkeys([*remarks, str(error)])) + "."
                yield from [notice(text)] if turn is None else self.say(session_id, turn, text)
                continue
            if turn is not None:
                before = "; ".join(remarks) + ". " if remarks else ""
                text = f"{before}Action {action.id}: {action.summary}. Type 'yes' to execute."
                yield from self.say(session_id, turn, text)
            yield action_event(action)

    def say(self, session_id: str, turn: int, text: str) -> Iterator[ChatEvent]:
        conversation.append(self.system, session_id, turn, [("assistant", [text_block(text)])])
        yield ChatEvent("text", {"text": text + "\n"})
