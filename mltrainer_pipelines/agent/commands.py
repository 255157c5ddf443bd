"""The agent without Claude: the same lookups and actions, in words of our own."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from mltrainer_pipelines.agent import queries
from mltrainer_pipelines.agent.actions import Action
from mltrainer_pipelines.agent.intents import Lookup
from mltrainer_pipelines.agent.ledger import NEW_YORK
from mltrainer_pipelines.agent.search import propose, proposed_trials, tried_trials
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.models.registry import list_models

HELP = """Lookups: models, leaderboard, regime, candidates, explain SYMBOL, portfolio, performance, proposals, report, \
settings, status.
Actions, each after your yes: "start momentum analysis", "initiate momentum screening with LightGBM", \
"run the model lightgbm", "try an ensemble of A and B", "increase the confidence threshold to 90 %", "refresh the signals", \
"propose new trials", "approve proposal 3", "set autonomy to budgeted"."""
QUERIES: dict[str, Callable[..., dict[str, Any]]] = {
    "models": queries.models,
    "leaderboard": queries.leaderboard,
    "regime": lambda system: queries.regime(system.lake),
    "candidates": queries.candidates,
    "explain": queries.explain,
    "portfolio": queries.portfolio,
    "performance": queries.performance,
    "status": queries.status,
    "proposals": queries.proposed,
    "report": queries.learning_report,
    "settings": queries.settings,
    "trial": queries.trial,
}


def answer(system: System, wanted: Lookup) -> tuple[str, Any]:
    """The answer to a lookup in words, and the values it was made of."""
    if wanted.query == "help":
        return HELP, None
    value = QUERIES[wanted.query](system, **wanted.arguments)
    values = {name: item for name, item in value.items() if name not in ("known", "found", "why")}
    why = str(value.get("why", ""))
    reason = [f"{why[0].upper()}{why[1:]}."] if why else []
    return "\n".join([*reason, *_lines(values)]), value


def suggested_models(system: System, timeframe: str) -> list[str]:
    """Two models to screen with: the best of the leaderboard, then core models that were never tried."""
    best = [row["model"] for row in queries.leaderboard(system, timeframe)[timeframe]["best"]]
    tried = {one.config.model for one in tried_trials(system.engine)}
    fresh = [spec.id for spec in sorted(list_models(), key=lambda spec: (not spec.core, spec.cost != "fast", spec.id))]
    order = [*best, *(model for model in fresh if model not in tried), *fresh]
    return list(dict.fromkeys(order))[:2]


def next_trial(system: System, timeframe: str) -> dict[str, Any] | None:
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
    for trial in result.get("trials", []):
        sharpe = "unknown" if trial.get("sharpe") is None else f"{trial['sharpe']:.2f}"
        net, precision = (_percent(trial.get(name)) for name in ("net_return", "precision_top_decile"))
        lines.append(
            f"{trial['model']} ({trial['trial_id']}, {trial.get('grade')}): Sharpe ratio {sharpe}, net return {net} a year, "
            f"{precision} of its picks profitable, over {trial.get('sessions')} sessions out of sample."
        )
    if "screening" in result:
        screening = result["screening"]
        if not screening.get("known"):
            lines.append(f"Nothing was screened: {screening.get('why')}.")
        else:
            confidence, symbols = screening.get("mean_confidence"), screening["symbols"]
            average = f" with {_percent(confidence)} average confidence" if confidence is not None else ""
            lines.append(f"{screening['passing']} momentum stocks identified among {screening['scored']} scored{average}.")
            rows = symbols or screening.get("nearest_misses") or []
            lines += [_candidate(row) + ("" if symbols else f"; below threshold: {row['reason']}") for row in rows[:5]]
    if "proposals" in result:
        lines += [f"Proposal {one['id']}: {one['hypothesis']}" for one in result["proposals"]["proposals"][:5]]
    if "leaderboard" in result:
        lines += [line for line in _lines(result["leaderboard"]) if line]
    if result.get("market") in ("simulated", "replay"):
        lines.append(f"(The market is {'simulated' if result['market'] == 'simulated' else 'a recording'}.)")
    return lines


def _lines(value: Any, name: str = "", depth: int = 0) -> list[str]:
    """Nested values as indented lines, numbers rounded for reading; rows of a table on a line each."""
    pad = "  " * depth
    label = f"{pad}{name.replace('_', ' ')}: " if name else pad
    if isinstance(value, dict):
        if name and all(not isinstance(item, dict | list) for item in value.values()):
            return [label + _row(value)]
        head = [label.rstrip()] if name else []
        return head + [line for key, item in value.items() for line in _lines(item, str(key), depth + bool(name))]
    if isinstance(value, list):
        if not value:
            return [label + "none"]
        if all(not isinstance(item, dict | list) for item in value):
            return [label + ", ".join(_short(item) for item in value)]
        return [label.rstrip(), *(f"{pad}  {_row(row)}" for row in value)]
    return [label + _short(value)]


def _candidate(row: dict[str, Any]) -> str:
    probability, confidence = _percent(row["profit_probability"]), _percent(row["confidence"])
    what = f"{row['symbol']} ({row['timeframe']}, {row['grade']})"
    return f"  {what}: probability {probability}, confidence {confidence}, expected {_percent(row['expected_net_return'])}"


def _row(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in values.items() if value is not None)


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Decimal):
        return f"{value:,.2f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    return "unknown" if value is None else str(value)


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"
