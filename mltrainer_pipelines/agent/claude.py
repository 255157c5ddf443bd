"""The proposer `claude`: trials from Claude through structured output, validated here.

A trial is refused with its reason where the model is unknown, a parameter lies outside of its space, it was tried or
proposed before, or it is more than requested. The reasons go back once for repair.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from mltrainer_pipelines.agent.briefing import Knowledge, briefing, refuted_at
from mltrainer_pipelines.agent.failures import ClaudeError
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.agent.messages import Answer, Claude
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.agent.proposals import Proposal
from mltrainer_pipelines.agent.sanitize import as_data, plain
from mltrainer_pipelines.models.spec import ModelSpec
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig

MAX_TOKENS = 8000
"""Of one answer, thinking included."""
_REASONS_SENT_BACK = 8
_TEXT = 600


class ParameterValue(BaseModel):
    """One parameter of a model. (An object with free keys is nothing that structured output can promise.)"""

    name: str
    value: int | float | bool | str


class ProposedTrial(BaseModel):
    """A trial as Claude proposes it."""

    model_config = ConfigDict(allow_inf_nan=False)

    model: str = Field(description="Id of a model of the registry.")
    timeframe: str = Field(description="short or long.")
    train_sessions: int
    params: list[ParameterValue] = Field(description="Those that differ from the defaults.")
    hypothesis: str
    refuted_if: str
    refuted_at_or_below_sharpe: float = Field(description="The out-of-sample Sharpe ratio at or below which it is refuted.")
    expected_gain: float = Field(description="Expected gain in Sharpe ratio over the best trial of the timeframe.")


class ProposedTrials(BaseModel):
    """Everything that Claude proposes at once."""

    trials: list[ProposedTrial]


@dataclass(frozen=True)
class Refusal:
    """A proposal that was not taken, and why."""

    trial: ProposedTrial
    reason: str


@dataclass(frozen=True)
class ClaudeProposals:
    """What Claude proposed: what was accepted, what was refused, and the answers it took."""

    proposals: list[Proposal] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def input_tokens(self) -> int:
        return sum(answer.usage.all_input for answer in self.answers)


def propose_with_claude(
    claude: Claude,
    count: int,
    templates: Mapping[str, TrialConfig],
    knowledge: Knowledge,
    models: Sequence[ModelSpec],
    taken: Collection[str] = (),
) -> ClaudeProposals:
    """Ask Claude for at most `count` new trials of `models`, of all timeframes of the templates together.

    The templates hold everything that is not searched; `taken` are ids of trials that were proposed before (those tried are in
    `knowledge`). Raises `ClaudeError` or `ledger.DailyBudgetError` if there is no usable first answer; a failed repair leaves
    what was taken before it.
    """
    text = prompt("propose")
    wanted = {"trials": count, "timeframes": sorted(templates)}
    data = briefing(knowledge, models, wanted, text.text)
    # Both requests start with the same block, marked for the cache: the repair reads it from there.
    start = {"type": "text", "text": data, "cache_control": {"type": "ephemeral"}}
    request = {"type": "text", "text": f"Propose {count} trials."}
    parsed, answer = claude.parse("propose", text, [{"role": "user", "content": [start, request]}], ProposedTrials, MAX_TOKENS)
    used = {one.config.trial_id for one in knowledge.tried} | set(taken)
    accepted, refusals = validate_trials(parsed.trials, count, templates, models, used)
    _record(claude, answer, accepted, refusals)
    answers = [answer]
    if refusals and len(accepted) < count:
        repair = {"type": "text", "text": _repair(refusals, count - len(accepted))}
        try:
            second, answer = claude.parse(
                "repair", text, [{"role": "user", "content": [start, repair]}], ProposedTrials, MAX_TOKENS
            )
        except ClaudeError as error:
            record_event(claude.engine, "validation", "mltrainer", {"repair": f"no answer: {error}"})
            return ClaudeProposals(accepted, refusals, answers)
        used |= {proposal.config.trial_id for proposal in accepted}
        repaired, still = validate_trials(second.trials, count - len(accepted), templates, models, used)
        _record(claude, answer, repaired, still)
        accepted, refusals, answers = [*accepted, *repaired], still, [*answers, answer]
    return ClaudeProposals(accepted, refusals, answers)


def validate_trials(
    trials: Sequence[ProposedTrial],
    count: int,
    templates: Mapping[str, TrialConfig],
    models: Sequence[ModelSpec],
    used: Collection[str],
) -> tuple[list[Proposal], list[Refusal]]:
    """Take the first `count` trials that are valid and new; refuse the others, each with its reason."""
    allowed = {spec.id for spec in models}
    ids = set(used)
    accepted: list[Proposal] = []
    refusals: list[Refusal] = []
    for trial in trials:
        try:
            config = _config(trial, templates, allowed)
        except InvalidTrialError as error:
            refusals.append(Refusal(trial, str(error)))
            continue
        if config.trial_id in ids:
            refusals.append(Refusal(trial, f"{config.trial_id} was tried or proposed before: change what is tested"))
        elif len(accepted) == count:
            refusals.append(Refusal(trial, f"more than the {count} trials requested"))
        else:
            ids.add(config.trial_id)
            refuted_if = f"{refuted_at(trial.refuted_at_or_below_sharpe)}; {plain(trial.refuted_if, _TEXT)}"
            accepted.append(Proposal(config, "claude", config.rationale, refuted_if, trial.expected_gain))
    return accepted, refusals


def _config(trial: ProposedTrial, templates: Mapping[str, TrialConfig], allowed: Collection[str]) -> TrialConfig:
    template = templates.get(trial.timeframe)
    if template is None:
        raise InvalidTrialError(f"timeframe: {plain(trial.timeframe, 40)!r} is none of {', '.join(sorted(templates))}")
    names = [parameter.name for parameter in trial.params]
    if len(set(names)) < len(names):
        raise InvalidTrialError("params: a parameter is given twice")
    values = template.model_dump() | {
        "model": plain(trial.model, 80),
        "params": {plain(parameter.name, 80): parameter.value for parameter in trial.params},
        "train_sessions": trial.train_sessions,
        "proposed_by": "claude",
        "rationale": plain(trial.hypothesis, _TEXT),
    }
    config = TrialConfig.parse(values)
    if config.model not in allowed:
        raise InvalidTrialError(f"model: {config.model} is not among those that may be proposed now")
    return config


def _repair(refusals: Sequence[Refusal], missing: int) -> str:
    reasons = [
        {"proposed": refusal.trial.model_dump(include={"model", "timeframe", "params"}), "refused_because": refusal.reason}
        for refusal in refusals[:_REASONS_SENT_BACK]
    ]
    left_out = len(refusals) - len(reasons)
    more = f" ({left_out} more were refused for similar reasons)" if left_out else ""
    return (
        f'Of what you proposed before, these were refused{more}:\n<data name="refused">{as_data(reasons, 200)}</data>\n'
        f"Propose {missing} trials in their place that pass. Those not named here were taken; do not propose them again."
    )


def _record(claude: Claude, answer: Answer, accepted: Sequence[Proposal], refusals: Sequence[Refusal]) -> None:
    detail = {
        "accepted": [proposal.config.trial_id for proposal in accepted],
        "refused": [{"trial": refusal.trial.model_dump(), "reason": refusal.reason} for refusal in refusals],
    }
    record_event(claude.engine, "validation", "mltrainer", detail, call_id=answer.call_id)
