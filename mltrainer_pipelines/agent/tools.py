"""The tools that Claude has in conversation: reading ones answer at once, acting ones put an action before the user.

There is no tool that places orders, runs code, reads files or opens addresses, and none that approves.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from mltrainer_pipelines.agent import action_kinds as kinds
from mltrainer_pipelines.agent import market_queries, queries
from mltrainer_pipelines.agent.action_kinds import ActionError, ActionParams, Kind, problems
from mltrainer_pipelines.agent.actions import Action, propose_action
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.agent.sanitize import as_data
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.store.lake import MissingPartitionError

_ACTING = "Action, waits for the user's yes: "
_SCREENING = "try models walk-forward, score the market, list what clears the bars."
_ENSEMBLE = "try models, then refit the champion with the best trials voting beside it."
MAX_RESULT = 6_000
"""Characters of a tool's result that reach a prompt."""


class Nothing(ActionParams):
    pass


Offset = Annotated[int, Field(ge=0, description="Rows to leave out at the beginning, to see further ones.")]


class Rows(ActionParams):
    offset: Offset = 0


class Saved(Rows):
    trial_id: str | None = None


class Family(Rows):
    family: str | None = Field(None, description="A family or a model's id: then with search spaces.")


class Top(Rows):
    timeframe: TimeframeName | None = None
    top: Annotated[int, Field(ge=1, le=20)] = 10


class TrialId(ActionParams):
    trial_id: str


class Screened(Rows):
    timeframe: TimeframeName | None = None
    min_probability: float | None = None
    min_confidence: float | None = None
    min_expected_return: float | None = None


class Best(ActionParams):
    timeframe: TimeframeName | None = None
    top: Annotated[int, Field(ge=1, le=20)] = 5


class Explained(ActionParams):
    recommendation_id: int | None = None
    symbol: str | None = None


class Status(Rows):
    status: Literal["proposed", "approved", "rejected", "launched", "done", "failed"] | None = None


class Threshold(ActionParams):
    """A threshold of a strong buy: probability and confidence from 0 to 1, the regime score from 0 to 100."""

    name: Literal["min_profit_probability", "min_confidence", "min_regime_score"]
    value: float
    reason: Annotated[str, Field(max_length=300)] = ""


@dataclass(frozen=True)
class Tool:
    """A tool: its input, and either what it reads or the kind of action it proposes."""

    name: str
    description: str
    input: type[BaseModel]
    read: Callable[..., Any] | None = None
    action: Kind | None = None


_TOOLS = (
    Tool("list_models", "The model registry.", Family, queries.models),
    Tool("leaderboard", "The best trials and the champions.", Top, queries.leaderboard),
    Tool("trial", "A trial's configuration and results.", TrialId, queries.trial),
    Tool("detect_regime", "The market's regime score now.", Nothing, lambda system: market_queries.regime(system.lake)),
    Tool("momentum_candidates", "Symbols that clear given bars in the newest scoring.", Screened, market_queries.candidates),
    Tool("analyse_candidates", "The best candidates with prices and reasons.", Best, market_queries.deeper),
    Tool("explain_recommendation", "Why a symbol is or is not recommended.", Explained, market_queries.explain),
    Tool("portfolio", "Paper trades and the user's positions.", Rows, queries.portfolio),
    Tool("performance", "Newest results of both books.", Nothing, queries.performance),
    Tool("learning_report", "What closed positions teach.", Nothing, queries.learning_report),
    Tool("proposals", "Proposed trials and their outcomes.", Status, queries.proposed),
    Tool("saved_results", "Results the user stored with trials.", Saved, queries.saved_results),
    Tool("settings", "Run-time settings.", Nothing, queries.settings),
    Tool("system_status", "Freshness, budget, actions.", Nothing, queries.status),
    Tool("run_momentum_screening", f"{_ACTING}{_SCREENING}", kinds.MomentumScreening, action="momentum_screening"),
    Tool("submit_trial", f"{_ACTING}run one model walk-forward.", kinds.SubmitTrial, action="submit_trial"),
    Tool("try_ensemble", f"{_ACTING}{_ENSEMBLE}", kinds.Ensemble, action="ensemble"),
    Tool("change_threshold", f"{_ACTING}change a threshold.", Threshold, action="change_setting"),
    Tool("decide_proposal", f"{_ACTING}decide on a proposal.", kinds.DecideProposal, action="decide_proposal"),
    Tool("refresh_signals", f"{_ACTING}score the market now.", Nothing, action="refresh_signals"),
    Tool("propose_trials", f"{_ACTING}have new trials proposed.", Nothing, action="propose_trials"),
)
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _TOOLS}


@dataclass(frozen=True)
class ToolResult:
    """What a tool call came to: text for the agent, and the action it put before the user, if any."""

    content: str
    failed: bool = False
    action: Action | None = None


@lru_cache(maxsize=1)
def definitions() -> Sequence[dict[str, Any]]:
    """The tools as the Messages API takes them, always in the same order (they are cached there)."""
    return [{"name": tool.name, "description": tool.description, "input_schema": _schema(tool.input)} for tool in TOOLS.values()]


def call(system: System, session_id: str, name: str, given: object, call_id: int | None) -> ToolResult:
    """Make a tool call of the agent, and record it.

    A call that fails (unknown tool, wrong input, no data yet) gives the agent a reason; it starts nothing.
    """
    result = _result_of(system, session_id, name, given)
    detail = {"tool": name, "input": given, "failed": result.failed, "result": result.content[:2000]}
    record_event(system.engine, "tool_call", "claude", detail, session_id, call_id, system.clock())
    return result


def _result_of(system: System, session_id: str, name: str, given: object) -> ToolResult:
    tool = TOOLS.get(name)
    if tool is None:
        return ToolResult(as_data({"error": f"there is no tool {name!r}; there are {', '.join(TOOLS)}"}), failed=True)
    try:
        checked = tool.input.model_validate(given)
    except ValidationError as error:
        return ToolResult(as_data({"error": problems(error)}), failed=True)
    arguments = checked.model_dump(exclude_none=True)
    try:
        if tool.action is not None:
            action = propose_action(system, session_id, tool.action, arguments, "claude")
            status = {"action": action.id, "what": action.summary, "status": "waits for the user's yes"}
            return ToolResult(as_data(status, 600), action=action)
        assert tool.read is not None  # noqa: S101
        text = as_data(tool.read(system, **arguments))
        if len(text) > MAX_RESULT:
            hint = "cut: narrow the question, or page with offset where there is one"
            text = json.dumps({"cut": True, "of_characters": len(text), "how_to_see_more": hint, "beginning": text[:MAX_RESULT]})
        return ToolResult(text)
    except (ActionError, MissingPartitionError) as error:
        return ToolResult(as_data({"error": str(error)}, 600), failed=True)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without titles, which only cost tokens."""

    def lean(part: object) -> Any:
        if isinstance(part, dict):
            return {name: lean(value) for name, value in part.items() if not (name == "title" and isinstance(value, str))}
        return [lean(value) for value in part] if isinstance(part, list) else part

    schema: dict[str, Any] = lean(model.model_json_schema())
    return schema
