"""Every proposer on a small simulated market made in this process: what `mltrainer agent compare` runs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

from mltrainer_pipelines.agent.briefing import Knowledge
from mltrainer_pipelines.agent.claude import propose_with_claude
from mltrainer_pipelines.agent.comparison import Proposer, TrialRunner, compare, plot
from mltrainer_pipelines.agent.ledger import spent
from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.agent.proposals import Proposal, StoredProposal
from mltrainer_pipelines.agent.search import Tried, propose
from mltrainer_pipelines.audits.simulated_market import AuditMarket, simulated_history
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.quarters import quarters_between

MODELS = ("logistic_l2", "lightgbm", "decision_tree", "sgd", "lda", "qda", "naive_bayes")
"""What is searched: core models of different kinds, a trial of which takes seconds.

The whole registry would take minutes a trial, and its hundreds of models more trials than anybody waits for.
"""
MARKET = AuditMarket(symbols=60, first=date(2018, 1, 2), last=date(2021, 12, 31))
FIRST_QUARTER = date(2019, 7, 1)


def simulated_runner(market: AuditMarket = MARKET, first_quarter: date = FIRST_QUARTER) -> TrialRunner:
    """A simulated market ready for trials, which are predicted from `first_quarter` on."""
    return TrialRunner(simulated_history(market), quarters_between(first_quarter, market.last))


def compare_proposers(
    trials: int,
    batch: int,
    seeds: int,
    plot_file: Path | None = None,
    claude: Claude | None = None,
    timeframe: str = "short",
    on_trial: Callable[[str, float], None] = lambda _what, _share: None,
    runner: TrialRunner | None = None,
) -> dict[str, object]:
    """Compare `random`, `tpe` and, where it is given, `claude`, over `MODELS`.

    Each proposer runs `trials` trials a seed, proposed `batch` at once, on `runner` (`simulated_runner` by default); `on_trial`
    is called with the proposer's name and the share of everything that is done by now. The result holds `market`, `models` (ids
    to choose among), `trials`, `proposers` (by name: the mean course and the speed-up over `random`), `courses`, `left_out`
    (proposers that could not take part, and why), `plot` (path or None) and `dollars`.
    """
    template = TrialConfig.parse({"model": "logistic_l2", "timeframe": timeframe, "universe_size": 60})

    def searching(name: str) -> Proposer:
        return lambda many, template, tried, seed: propose(name, many, template, tried, seed=seed, models=MODELS)

    proposers: dict[str, Proposer] = {name: searching(name) for name in ("random", "tpe")}
    if claude is not None:
        proposers["claude"] = _by_claude(claude)
    finished = count(1)

    def report(name: str, _: int) -> None:
        on_trial(name, next(finished) / (len(proposers) * seeds * trials))

    comparison = compare(proposers, runner or simulated_runner(), template, trials, batch, range(seeds), report)
    if plot_file is not None:
        plot(comparison, plot_file)
    return {
        "market": "simulated",
        "models": list(MODELS),
        "trials": trials,
        "proposers": comparison.summary(),
        "courses": [asdict(course) for course in comparison.courses],
        "left_out": {} if claude else {"claude": "no key (ANTHROPIC_API_KEY), so it was not measured"},
        "plot": None if plot_file is None else str(plot_file),
        "dollars": 0.0 if claude is None else float(spent(claude.engine, datetime.now(UTC)).dollars),
    }


def text(comparison: dict[str, Any]) -> str:
    """A comparison for a reader."""
    head = f"{comparison['trials']} trials a proposer on a simulated market, among {len(comparison['models'])} models"
    lines = [f"{head}; Sharpe ratios annualised, after costs."]
    for name, summary in comparison["proposers"].items():
        best, later = (_last(summary[key]) for key in ("best_by_trials", "later_by_trials"))
        reached = "never as good as random search at its end"
        if summary["speed_up"]:
            reached = f"as good as random search at its end after {summary['trials_to_random_final']} trials"
        lines.append(f"{name}: best {best} over the quarters it learnt from, {later} over the later ones; {reached}.")
    lines += [f"{name} did not take part: {why}." for name, why in comparison["left_out"].items()]
    return "\n".join([*lines, *([f"Plot: {comparison['plot']}"] if comparison["plot"] else [])])


def _last(course: Sequence[float | None]) -> str:
    return "unknown" if not course or course[-1] is None else f"{course[-1]:.2f}"


def _by_claude(claude: Claude) -> Proposer:
    models = [get_model(name) for name in MODELS]
    made: dict[str, Proposal] = {}

    def proposer(many: int, template: TrialConfig, tried: Sequence[Tried], seed: int) -> list[Proposal]:
        earlier = [
            StoredProposal(n, "done", made[one.config.trial_id], None, None, {"sharpe": one.value})
            for n, one in enumerate(tried)
            if one.config.trial_id in made
        ]
        ranked = sorted((one for one in tried if one.value is not None), key=lambda one: one.value or 0.0, reverse=True)
        leaderboard = [_leaderboard_row(rank, one) for rank, one in enumerate(ranked, start=1)]
        knowledge = Knowledge(tried, leaderboard, earlier)
        proposals = propose_with_claude(claude, many, {template.timeframe: template}, knowledge, models).proposals
        made.update({proposal.config.trial_id: proposal for proposal in proposals})
        return proposals

    return proposer


def _leaderboard_row(rank: int, one: Tried) -> dict[str, object]:
    unknown = dict.fromkeys(("deflated_sharpe", "net_return", "rank_ic", "brier_skill"))
    config = one.config
    row = {"timeframe": config.timeframe, "trial_id": config.trial_id, "rank": rank, "model": config.model}
    return {**row, "grade": "candidate", "sharpe": one.value, **unknown}
