"""A cycle of proposals, under the same rules for every proposer; where Claude cannot propose, `tpe` does."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy.engine import Engine

from mltrainer_pipelines.agent import autonomy
from mltrainer_pipelines.agent.briefing import Knowledge, current_knowledge
from mltrainer_pipelines.agent.claude import ClaudeProposals, Refusal, propose_with_claude
from mltrainer_pipelines.agent.failures import AgentOffError, ClaudeError
from mltrainer_pipelines.agent.ledger import DailyBudgetError, record_event, spent
from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.agent.proposals import Proposal, store_proposals
from mltrainer_pipelines.agent.search import propose, proposed_trials
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.models.spec import ModelSpec
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.trials.config import TrialConfig, models_for

NO_KEY = "ANTHROPIC_API_KEY is not set"


@dataclass(frozen=True)
class ProposalCycle:
    """What a cycle came to: `proposer` proposed, instead of the one `asked` for where there is a `fallback_reason`.

    `stored` are the ids of the proposals that are new, `approved` of those approved within the budget at once.
    """

    asked: str
    proposer: str
    fallback_reason: str | None = None
    proposals: list[Proposal] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)
    approved: list[int] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: Decimal = Decimal(0)


def run_cycle(
    engine: Engine,
    claude: Claude | None,
    count: int,
    templates: Mapping[str, TrialConfig],
    moment: datetime,
    proposer: str | None = None,
    regime: Mapping[str, object] | None = None,
    models: Sequence[ModelSpec] | None = None,
) -> ProposalCycle:
    """Propose trials, store them, and approve those that the budget covers.

    `count` is of new trials for each timeframe of the templates, which hold everything that is not searched; `claude` is None
    without an API key. The budget is of the day of `moment`, aware and real time. The proposer (`claude`, `tpe` or `random`) is
    the run-time setting's by default. Raises `AgentOffError` if the agent is switched off or its autonomy is `off`.
    """
    settings = runtime_settings.get_all(engine)
    if not settings["agent_enabled"] or settings["autonomy"] == "off":
        which = "agent_enabled is false" if not settings["agent_enabled"] else "autonomy is off"
        raise AgentOffError(f"nothing is proposed: {which}")
    asked = proposer or str(settings["proposer"])
    before = spent(engine, moment).dollars
    knowledge = current_knowledge(engine, regime, autonomy.budget(engine, moment).left())
    taken = proposed_trials(engine)
    used, fallback_reason, made = asked, None, ClaudeProposals()
    if asked == "claude":
        if claude is None:
            used, fallback_reason = "tpe", NO_KEY
        else:
            try:
                # Those that a trial on the templates' feature sets may name, in the order of the registry.
                ids = dict.fromkeys(model for template in templates.values() for model in models_for(template.feature_set))
                allowed = models or [get_model(model) for model in ids]
                made = propose_with_claude(claude, count * len(templates), templates, knowledge, allowed, taken)
            except (ClaudeError, DailyBudgetError) as error:
                used, fallback_reason = "tpe", str(error)
    proposals = made.proposals if used == "claude" else search_proposals(used, count, templates, knowledge, taken, models)
    if fallback_reason is not None:
        detail = {"asked": asked, "proposer": used, "because": fallback_reason}
        record_event(engine, "fallback", "mltrainer", detail, happened_at=moment)
    return ProposalCycle(
        asked=asked,
        proposer=used,
        fallback_reason=fallback_reason,
        proposals=proposals,
        stored=store_proposals(engine, proposals),
        approved=autonomy.approve_within_budget(engine, moment),
        refusals=made.refusals,
        input_tokens=made.input_tokens,
        output_tokens=sum(answer.usage.output for answer in made.answers),
        dollars=spent(engine, moment).dollars - before,
    )


def search_proposals(
    proposer: str,
    count: int,
    templates: Mapping[str, TrialConfig],
    knowledge: Knowledge,
    taken: Collection[str],
    models: Sequence[ModelSpec] | None = None,
) -> list[Proposal]:
    """`count` proposals for each timeframe from one of the searching proposers."""
    ids = [spec.id for spec in models] if models else None
    tried, seed = knowledge.tried, len(knowledge.tried) + len(taken)
    return [
        proposal
        for template in templates.values()
        for proposal in propose(proposer, count, template, tried, taken, seed=seed, models=ids)
    ]
