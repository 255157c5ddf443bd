"""`mltrainer agent compare`: a small simulated market made in this process, and every proposer on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mltrainer_pipelines.settings import Settings

if TYPE_CHECKING:
    from mltrainer_pipelines.agent.comparison import Laboratory, Proposer
    from mltrainer_pipelines.agent.messages import Claude
    from mltrainer_pipelines.models.spec import ModelSpec

MODELS = ("logistic_l2", "lightgbm", "decision_tree", "sgd", "lda", "qda", "naive_bayes")
"""What is searched: core models of different kinds, a trial of which takes seconds.

The whole catalogue would take minutes a trial, and its hundreds of models more trials than anybody waits for.
"""
FIRST, FIRST_QUARTER, LAST = date(2018, 1, 2), date(2019, 7, 1), date(2021, 12, 31)


def simulated_laboratory(
    symbols: int = 60,
    premium: float = 1.0,
    seed: int = 7,
    timeframe: str = "short",
    first: date = FIRST,
    first_quarter: date = FIRST_QUARTER,
    last: date = LAST,
) -> "Laboratory":
    """A simulated market with its features and labels, ready for trials.

    Parameters
    ----------
    symbols : int
    premium : float
        Strength of what can be predicted; 0 gives a market in which nothing can.
    first, last : date
        Of the features; trials are predicted from `first_quarter` on, which starts a quarter.
    """
    from mltrainer_pipelines.agent.comparison import Laboratory
    from mltrainer_pipelines.audits.simulated_market import simulated_frames
    from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
    from mltrainer_pipelines.features.engine import compute_features
    from mltrainer_pipelines.features.labels.barriers import Barriers
    from mltrainer_pipelines.features.labels.labels import compute_labels
    from mltrainer_pipelines.market.adjustment import adjusted
    from mltrainer_pipelines.trials.validation.windows import quarters_between

    market = simulated_frames(seed, symbols, first, last, premium)
    bars = adjusted(market.bars, market.actions)
    months = bars.filter(pl.col("date") >= first).select(pl.col("date").dt.month_start().unique().sort()).to_series()
    traded = bars.group_by("symbol").agg(pl.col("volume").sum().alias("volume")).sort("volume", "symbol", descending=True)
    members = traded.select("symbol", rank=pl.int_range(1, pl.len() + 1).cast(pl.Int32))
    universe = pl.DataFrame({"month": months}).join(members, how="cross")
    features = compute_features(bars, universe, None, first, last)
    labels = compute_labels(bars, universe, TIMEFRAMES[timeframe], Barriers(), 10.0, first, last)
    quarters = quarters_between(first_quarter, last)
    return Laboratory(features, labels, bars, universe, quarters)


def compare_proposers(
    settings: Settings,
    trials: int,
    batch: int,
    seeds: int,
    plot_file: Path | None,
    timeframe: str = "short",
    on_trial: Callable[[str, float], None] = lambda _what, _share: None,
    laboratory: "Laboratory | None" = None,
) -> dict[str, Any]:
    """Compare `random`, `tpe` and, where a key is set, `claude`, over `MODELS`.

    Parameters
    ----------
    on_trial : callable
        Told what is done and which share of everything is done by now.
    laboratory : Laboratory, optional
        Where trials are run; `simulated_laboratory` by default.

    Returns
    -------
    dict
        `market`, `models` (the ids to choose among), `trials`, `proposers` (by name: the mean course and the speed-up
        over `random`), `courses`, `left_out` (proposers that could not take part, and why), `plot` (path or None),
        `dollars`.
    """
    from mltrainer_pipelines.agent.comparison import compare, plot
    from mltrainer_pipelines.agent.search import propose
    from mltrainer_pipelines.models.registry import get_model
    from mltrainer_pipelines.trials.config import TrialConfig

    laboratory = laboratory or simulated_laboratory(timeframe=timeframe)
    template = TrialConfig.parse({"model": "logistic_l2", "timeframe": timeframe, "universe_size": 60})
    models = [get_model(name) for name in MODELS]

    def searching(name: str) -> "Proposer":
        return lambda many, template, tried, seed: propose(name, many, template, tried, seed=seed, models=MODELS)

    proposers: dict[str, Proposer] = {name: searching(name) for name in ("random", "tpe")}
    left_out = {} if settings.anthropic_api_key else {"claude": "no key (ANTHROPIC_API_KEY), so it was not measured"}
    with _claude(settings) as claude:
        if claude is not None:
            proposers["claude"] = _by_claude(claude, models)
        done = count(1)

        def tell(name: str, _: int) -> None:
            on_trial(name, next(done) / (len(proposers) * seeds * trials))

        found = compare(proposers, laboratory, template, trials, batch, range(seeds), tell)
        dollars = _dollars(claude)
    if plot_file is not None:
        plot(found, plot_file)
    return {
        "market": "simulated",
        "models": list(MODELS),
        "trials": trials,
        "proposers": found.summary(),
        "courses": [asdict(course) for course in found.courses],
        "left_out": left_out,
        "plot": None if plot_file is None else str(plot_file),
        "dollars": dollars,
    }


def shown(found: dict[str, Any]) -> str:
    """A comparison for a reader."""
    head = f"{found['trials']} trials a proposer on a simulated market, among {len(found['models'])} models"
    lines = [f"{head}; Sharpe ratios annualised, after costs."]
    for name, told in found["proposers"].items():
        best, later = (values[-1] if values else None for values in (told["best_by_trials"], told["later_by_trials"]))
        speed = told["speed_up"]
        reached = (
            f"as good as random's end after {told['trials_to_random_final']} trials" if speed else "never as good as random's end"
        )
        lines.append(f"{name}: best {_number(best)} over the quarters told, {_number(later)} over the later ones; {reached}.")
    lines += [f"{name} did not take part: {why}." for name, why in found["left_out"].items()]
    return "\n".join([*lines, *([f"Plot: {found['plot']}"] if found["plot"] else [])])


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


@contextmanager
def _claude(settings: Settings) -> "Iterator[Claude | None]":
    """Claude with the database of this home, in which everything it is asked is recorded; None without a key."""
    if settings.anthropic_api_key is None:
        yield None
        return
    from mltrainer_pipelines.ops.agent import claude_of
    from mltrainer_pipelines.ops.databases import provided_databases
    from mltrainer_pipelines.store.database import Database

    with provided_databases(settings) as urls:
        database = Database(urls["mltrainer"])
        try:
            yield claude_of(settings, database.engine)
        finally:
            database.dispose()


def _by_claude(claude: "Claude", models: "Sequence[ModelSpec]") -> "Proposer":
    from mltrainer_pipelines.agent.briefing import Knowledge
    from mltrainer_pipelines.agent.claude import propose_with_claude
    from mltrainer_pipelines.agent.proposals import Proposal, StoredProposal
    from mltrainer_pipelines.agent.search import Tried
    from mltrainer_pipelines.trials.config import TrialConfig

    made: dict[str, Proposal] = {}

    def proposer(many: int, template: TrialConfig, tried: Sequence[Tried], seed: int) -> list[Proposal]:
        earlier = [
            StoredProposal(n, "done", made[one.config.trial_id], None, None, {"sharpe": one.value})
            for n, one in enumerate(tried)
            if one.config.trial_id in made
        ]
        ranked = sorted((one for one in tried if one.value is not None), key=lambda one: one.value or 0.0, reverse=True)
        standings = [_standing(place, one) for place, one in enumerate(ranked, start=1)]
        known = Knowledge(tried, standings, earlier)
        found = propose_with_claude(claude, many, {template.timeframe: template}, known, models).proposals
        made.update({proposal.config.trial_id: proposal for proposal in found})
        return found

    return proposer


def _standing(place: int, one: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("deflated_sharpe", "net_return", "rank_ic", "brier_skill"))
    config = one.config
    told = {"timeframe": config.timeframe, "trial_id": config.trial_id, "rank": place, "model": config.model}
    return {**told, "grade": "candidate", "sharpe": one.value, **unknown}


def _dollars(claude: "Claude | None") -> float:
    if claude is None:
        return 0.0
    from mltrainer_pipelines.agent.ledger import spent

    return float(spent(claude.engine, datetime.now(UTC)).dollars)
