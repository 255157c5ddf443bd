"""The agent without Claude: the same lookups and actions, in words of our own."""

from collections.abc import Callable, Collection
from typing import Any

from mltrainer_pipelines.agent import market_queries, phrases, queries
from mltrainer_pipelines.agent.actions import Action
from mltrainer_pipelines.agent.intents import Lookup
from mltrainer_pipelines.agent.search import propose, proposed_trials, tried_trials
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.models.registry import list_models

HELP = """Lookups: models, leaderboard, regime, candidates, explain SYMBOL, portfolio, performance, proposals, report, \
saved results, settings, status; add "from 21" to see more of a list.
Actions, each after your yes: "start momentum analysis", "initiate momentum screening with LightGBM", \
"run the model lightgbm", "try an ensemble of A and B", "increase the confidence threshold to 90 %", "refresh the signals", \
"propose new trials", "approve proposal 3", "set autonomy to budgeted". "stop action 3" stops what runs."""
QUERIES: dict[str, Callable[..., dict[str, Any]]] = {
    "models": queries.models,
    "leaderboard": queries.leaderboard,
    "regime": lambda system: market_queries.regime(system.lake),
    "candidates": market_queries.candidates,
    "explain": market_queries.explain,
    "deeper": market_queries.deeper,
    "portfolio": queries.portfolio,
    "performance": queries.performance,
    "status": queries.status,
    "proposals": queries.proposed,
    "report": queries.learning_report,
    "settings": queries.settings,
    "trial": queries.trial,
    "saved": queries.saved_results,
}


def answer(system: System, wanted: Lookup) -> tuple[str, Any]:
    """The answer to a lookup in words, and the values it was made of."""
    if wanted.query == "help":
        return HELP, None
    value = QUERIES[wanted.query](system, **wanted.arguments)
    return phrases.sentences(wanted.query, value), value


def suggested_models(system: System, timeframe: str, without: Collection[str] = ()) -> list[str]:
    """Two models to screen with: the best of the leaderboard, then core models that were never tried."""
    best = [row["model"] for row in queries.leaderboard(system, timeframe)[timeframe]["best"]]
    tried = {one.config.model for one in tried_trials(system.engine)}
    fresh = [spec.id for spec in sorted(list_models(), key=lambda spec: (not spec.core, spec.cost != "fast", spec.id))]
    order = [*best, *(model for model in fresh if model not in tried), *fresh]
    return [model for model in dict.fromkeys(order) if model not in without][:2]


def next_trial(system: System, timeframe: str) -> dict[str, object] | None:
    """The parameters of a `submit_trial` that the search would try next, with why; None where nothing new is left."""
    tried, taken = tried_trials(system.engine), proposed_trials(system.engine)
    proposed = propose("tpe", 1, system.templates[timeframe], tried, taken, seed=len(tried) + len(taken))
    if not proposed:
        return None
    config = proposed[0].config
    return {
        "model": config.model,
        "timeframe": timeframe,
        "params": config.params,
        "train_sessions": config.train_sessions,
        "rationale": proposed[0].hypothesis[:600],
    }


def outcome_text(ended: Action) -> str:
    """How an action ended, in words."""
    if ended.status in ("rejected", "expired"):
        how = "was dismissed" if ended.status == "rejected" else "expired: nobody approved it within an hour"
        return f"Action {ended.id} {how}."
    how = f"failed: {ended.error}" if ended.status == "failed" else f"is done: {ended.summary}."
    if ended.status == "stopped":
        how = f"was stopped; what it finished stays.{f' ({ended.error}.)' if ended.error else ''}"
    return "\n".join([f"Action {ended.id} {how}", *_result(ended.result or {})])


def _result(result: dict[str, Any]) -> list[str]:
    lines = []
    if "setting" in result:
        lines.append(f"{result['setting']} was {result['before']} and is now {result['now']}.")
    if "decision" in result:
        lines.append(_decided(result))
    lines += [phrases.trial(trial) for trial in result.get("trials", [])]
    if "screening" in result:
        screening = result["screening"]
        if not screening.get("known"):
            lines.append(f"Nothing was screened: {screening.get('why')}.")
        else:
            confidence, symbols = screening.get("mean_confidence"), screening["symbols"]
            average = f" with {phrases.percent(confidence)} average confidence" if confidence is not None else ""
            lines.append(f"{screening['passing']} momentum stocks identified among {screening['scored']} scored{average}.")
            tried = " and ".join(trial["model"] for trial in result.get("trials", []))
            if picks := phrases.picks(screening):
                lines.append(f"{picks}{f' What {tried} would pick shows once it is part of that.' if tried else ''}")
            rows = symbols or screening.get("nearest_misses") or []
            lines += [phrases.candidate(row) + ("" if symbols else f"; below threshold: {row['reason']}") for row in rows[:5]]
            if len(symbols) > 5:
                lines.append(f'These are 5 of {screening["passing"]}; ask for the "candidates" to see more.')
    if "proposals" in result:
        lines += [f"Proposal {one['id']}: {one['hypothesis']}" for one in result["proposals"]["proposals"][:5]]
    if "leaderboard" in result:
        lines.append(phrases.sentences("leaderboard", {**result["leaderboard"], "market": None}))
    return lines + phrases.market(result)


def _decided(result: dict[str, object]) -> str:
    """What became of a proposal: when its trial starts."""
    if result["decision"] == "reject":
        return f"Proposal {result['proposal']} is rejected; its trial does not run."
    starts = "has started" if result.get("status") == "launched" else "starts as soon as Dagster is up (`mltrainer up`)"
    return f"Proposal {result['proposal']} is approved; its trial {result.get('trial', '')} {starts}."
