"""Searching proposers: new trials from the model registry, at random or where results so far were good (TPE).

Both search the models of the model registry, their parameters and the length of the training window, and never propose a trial
that was tried or is proposed already. Their objective is the out-of-sample Sharpe ratio after costs; the deflated Sharpe
ratio of every scorecard accounts for the number of trials.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.agent.proposals import Proposal
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.models.spec import Choices, ParamValue, Range
from mltrainer_pipelines.store.tables import Trial, TrialProposal, TrialScorecard
from mltrainer_pipelines.trials.config import TrialConfig, models_for

if TYPE_CHECKING:
    import optuna

OBJECTIVE = "sharpe"
"""Metric of the scorecard that the search maximizes: annualized, out of sample, after costs."""
TRAIN_SESSIONS = (252, 504, 756, 1260)
STARTUP = 10
"""Results that TPE needs before it models them; until then it draws at random, and says so."""
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("RandomSampler", {}),
    # The liar counts open questions as poor results, so that one batch does not repeat itself.
    "tpe": ("TPESampler", {"n_startup_trials": STARTUP, "constant_liar": True}),
}
"""Each proposer's class of `optuna.samplers` and its options."""
PROPOSERS = tuple(SAMPLERS)


@dataclass(frozen=True)
class Tried:
    """A trial that was submitted: its configuration and its objective, None where it has no result."""

    config: TrialConfig
    value: float | None


def propose(
    proposer: str,
    count: int,
    template: TrialConfig,
    tried: Sequence[Tried] = (),
    taken: Collection[str] = (),
    seed: int = 0,
    models: Sequence[str] | None = None,
) -> list[Proposal]:
    """Propose `count` new trials, fewer where the space has nothing new left; the same arguments give the same proposals.

    TPE is the tree-structured Parzen estimator of Bergstra et al. (2011, NeurIPS), as Optuna implements it: it draws where good
    results were dense and bad ones rare. `template` is what is not searched: timeframe, feature set, label, universe, seed;
    `tried` are results so far, those of another timeframe, feature set or label aside; `taken` further trial ids not to propose;
    `models` the ids to choose among, all of the registry by default. A `ValueError` for an unknown proposer or a count
    below 1, `models.registry.UnknownModelError` for an unknown model.

    >>> (proposal,) = propose("random", 1, TrialConfig(model="lightgbm", timeframe="long"), models=["logistic_l2"])
    >>> proposal.config.model, proposal.config.timeframe
    ('logistic_l2', 'long')
    """
    if proposer not in PROPOSERS:
        raise ValueError(f"there is no proposer {proposer!r}; there are {', '.join(PROPOSERS)}")
    if count < 1:
        raise ValueError(f"count={count}: ask for at least 1 proposal")
    ids = [get_model(model).id for model in models] if models else models_for(template.feature_set)
    fixed = ("timeframe", "feature_set", "label", "universe_size")
    alike = [t for t in tried if all(getattr(t.config, name) == getattr(template, name) for name in fixed)]
    study = _study(proposer, seed, ids, alike)
    excluded = {t.config.trial_id for t in tried} | set(taken)
    best = max((t for t in alike if t.value is not None), key=lambda t: (t.value, t.config.trial_id), default=None)
    informed = proposer == "tpe" and sum(t.value is not None for t in alike) >= STARTUP
    proposals: list[Proposal] = []
    for _ in range(50 * count):
        config = _sample(study.ask(), ids, template, proposer)
        if config.trial_id not in excluded:
            excluded.add(config.trial_id)
            proposals.append(_proposal(config, proposer, informed, best))
            if len(proposals) == count:
                break
    return proposals


def tried_trials(engine: Engine) -> list[Tried]:
    """Every trial that was submitted, with its objective where it was scored."""
    scored = sa.select(Trial.config, TrialScorecard.metrics)
    scored = scored.outerjoin(TrialScorecard, TrialScorecard.trial_id == Trial.trial_id)
    with engine.connect() as connection:
        rows = connection.execute(scored.order_by(Trial.trial_id)).all()
    return [Tried(TrialConfig.from_record(config), metrics.get(OBJECTIVE) if metrics else None) for config, metrics in rows]


def proposed_trials(engine: Engine) -> set[str]:
    """Ids of the trials that were ever proposed, the rejected ones too."""
    with engine.connect() as connection:
        return set(connection.scalars(sa.select(TrialProposal.trial_id)))


def _study(proposer: str, seed: int, ids: Sequence[str], tried: Sequence[Tried]) -> "optuna.Study":
    import optuna

    kind, options = SAMPLERS[proposer]
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        sampler = getattr(optuna.samplers, kind)(seed=seed, **options)
        study = optuna.create_study(sampler=sampler, direction="maximize")
    finally:
        optuna.logging.set_verbosity(before)
    for t in tried:
        if t.value is not None and t.config.model in ids and t.config.train_sessions in TRAIN_SESSIONS:
            values: dict[str, Any] = {"model": t.config.model, "train_sessions": t.config.train_sessions}
            spaces: dict[str, Any] = {
                "model": optuna.distributions.CategoricalDistribution(list(ids)),
                "train_sessions": optuna.distributions.CategoricalDistribution(TRAIN_SESSIONS),
            }
            for name, space in get_model(t.config.model).search_space.items():
                value = t.config.params[name]
                values[f"{t.config.model}.{name}"] = space.values.index(value) if isinstance(space, Choices) else value
                spaces[f"{t.config.model}.{name}"] = _distribution(space)
            study.add_trial(optuna.trial.create_trial(params=values, distributions=spaces, value=t.value))
    return study


def _distribution(space: Range | Choices) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(space, Choices):
        return CategoricalDistribution(tuple(range(len(space.values))))
    if space.integer:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _sample(trial: "optuna.Trial", ids: Sequence[str], template: TrialConfig, proposer: str) -> TrialConfig:
    model = trial.suggest_categorical("model", list(ids))
    train_sessions = trial.suggest_categorical("train_sessions", TRAIN_SESSIONS)
    params = {name: _suggest(trial, f"{model}.{name}", space) for name, space in get_model(model).search_space.items()}
    values = template.model_dump() | {"model": model, "params": params, "train_sessions": train_sessions}
    return TrialConfig.parse(values | {"proposed_by": proposer, "rationale": ""})


def _suggest(trial: "optuna.Trial", name: str, space: Range | Choices) -> ParamValue:
    if isinstance(space, Choices):
        index: int = trial.suggest_categorical(name, tuple(range(len(space.values))))
        return space.values[index]
    if space.integer:
        return int(trial.suggest_int(name, int(space.low), int(space.high), log=space.log))
    # Four significant digits: readable, and as fine as any result can tell apart.
    value = float(f"{trial.suggest_float(name, space.low, space.high, log=space.log):.4g}")
    return min(max(value, space.low), space.high)


def _proposal(config: TrialConfig, proposer: str, informed: bool, best: Tried | None) -> Proposal:
    values = ((name, f"{value:g}" if isinstance(value, float) else value) for name, value in config.params.items())
    setting = ", ".join(f"{name}={value}" for name, value in values)
    what = f"{config.model} ({setting}) trained on {config.train_sessions} sessions"
    if informed:
        why = "lies where the results so far were good and poor ones were rare (TPE)"
    elif proposer == "tpe":
        why = f"is drawn at random: TPE has fewer than {STARTUP} results of this timeframe to go by"
    else:
        why = "is drawn at random from the search space, to cover what nobody thought of"
    if best is None:
        against, bar = "no trial of this timeframe has a result yet", "0"
    else:
        bar = f"{best.value:.2f}"
        against = f"the best so far, {best.config.trial_id}, has a Sharpe ratio of {bar}"
    refuted_if = f"its out-of-sample Sharpe ratio after costs is not above {bar}"
    hypothesis = f"{what} {why}; {against}."
    return Proposal(config.model_copy(update={"rationale": hypothesis}), proposer, hypothesis, refuted_if)
