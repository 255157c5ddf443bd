"""What a proposer is told: the catalogue, what was tried, what became of earlier hypotheses, the report, the budget.

It is bounded however much there is to tell: the best and the worst trials, one line a model, the last
hypotheses. Everything in it is data (`outside.as_data`).
"""

import re
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.agent.prices import estimated_tokens
from mltrainer_pipelines.agent.proposals import StoredProposal, proposals
from mltrainer_pipelines.agent.sanitize import as_data
from mltrainer_pipelines.agent.search import TRAIN_SESSIONS, Tried, tried_trials
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.models.spec import Choices, ModelSpec, Range
from mltrainer_pipelines.store.tables import LeaderboardRow, LearningReport

LEAST_HYPOTHESES = 3
"""Earlier hypotheses, with what became of them, that are told however little room there is."""
FIRST_REQUEST_TOKENS = 3600
"""Most tokens of the first request of a round with its prompt; with a repair the whole round stays under 10,000."""

_LONGEST_TEXT = 220
Verdict = Literal["confirmed", "refuted", "failed", "waiting", "unjudged"]
_BAR = re.compile(r"Sharpe ratio after costs is not above (-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Knowledge:
    """What is known when trials are proposed.

    Parameters
    ----------
    tried : sequence of Tried
        Every trial that was submitted, with its Sharpe ratio where it has one.
    standings : sequence of mapping
        Rows of the leaderboard.
    earlier : sequence of StoredProposal
        Earlier proposals, oldest first.
    report : mapping, optional
        The newest learning report.
    regime : mapping, optional
        The newest regime score and its parts.
    budget : mapping, optional
        What is left of the day.
    """

    tried: Sequence[Tried] = ()
    standings: Sequence[Mapping[str, Any]] = ()
    earlier: Sequence[StoredProposal] = ()
    report: Mapping[str, Any] | None = None
    regime: Mapping[str, Any] | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)


def knowledge(engine: Engine, regime: Mapping[str, Any] | None = None, budget: Mapping[str, Any] | None = None) -> Knowledge:
    """What the database knows now; regime and budget as the caller has them."""
    ranked = sa.select(LeaderboardRow.__table__).order_by(LeaderboardRow.timeframe, LeaderboardRow.rank)
    newest = sa.select(LearningReport.report).order_by(LearningReport.id.desc()).limit(1)
    with engine.connect() as connection:
        standings = [dict(row) for row in connection.execute(ranked).mappings()]
        report = connection.execute(newest).scalar_one_or_none()
    return Knowledge(tried_trials(engine), standings, proposals(engine), report, regime, dict(budget or {}))


def verdict(stored: StoredProposal) -> Verdict:
    """What became of a hypothesis: judged by the Sharpe ratio that its `refuted_if` names."""
    if stored.status == "failed":
        return "failed"
    if stored.status != "done" or stored.result is None:
        return "waiting"
    bar, sharpe = _BAR.search(stored.proposal.refuted_if), stored.result.get("sharpe")
    if bar is None or not isinstance(sharpe, int | float):
        return "unjudged"
    return "confirmed" if sharpe > float(bar[1]) else "refuted"


def refuted_at(sharpe: float) -> str:
    """The part of `refuted_if` that a verdict is read from."""
    return f"its out-of-sample Sharpe ratio after costs is not above {sharpe:.2f}"


def briefing(known: Knowledge, models: Sequence[ModelSpec], wanted: Mapping[str, Any], prompt_text: str) -> str:
    """The data of a request for proposals.

    Parameters
    ----------
    models : sequence of ModelSpec
        Those that may be proposed.
    wanted : mapping
        What is asked for: how many, of which timeframes.
    prompt_text : str
        Of the prompt it goes with; both together stay within `FIRST_REQUEST_TOKENS`.
    """
    for size in (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.1):
        text = _told(known, models, wanted, size)
        if estimated_tokens([prompt_text, text]) <= FIRST_REQUEST_TOKENS:
            return text
    return _told(known, models, wanted, 0.0)


def _told(known: Knowledge, models: Sequence[ModelSpec], wanted: Mapping[str, Any], size: float) -> str:
    parts = {
        "asked_for": {**wanted, "train_sessions": f"one of {', '.join(map(str, TRAIN_SESSIONS))}, or between"},
        "budget": known.budget,
        "catalogue": _catalogue(models),
        "search_spaces": _spaces(known, models, max(3, round(24 * size))),
        "results_by_model": _by_model(known.tried, round(40 * size)),
        "leaderboard": _leaderboard(known, round(12 * size), round(3 * size)),
        "earlier_hypotheses": _hypotheses(known.earlier, max(LEAST_HYPOTHESES, round(12 * size))),
        "regime": known.regime or "not known",
        "learning_report": _report(known.report, round(6 * size)),
    }
    return "\n".join(f'<data name="{name}">{as_data(part, _LONGEST_TEXT)}</data>' for name, part in parts.items())


def _catalogue(models: Sequence[ModelSpec]) -> dict[str, str]:
    """Ids by family and cost: a name costs few tokens, so that even a large catalogue is told whole."""
    groups: dict[str, list[str]] = {}
    for spec in models:
        groups.setdefault(f"{spec.family}, {spec.cost}", []).append(spec.id)
    # Joined into texts that the bound on a text does not cut; a long list of names it would.
    told: dict[str, str] = {}
    for name, ids in groups.items():
        lines = textwrap.wrap(" ".join(ids), _LONGEST_TEXT, break_long_words=False, break_on_hyphens=False)
        told |= {f"{name} {place}" if place > 1 else name: line for place, line in enumerate(lines, start=1)}
    return told


def _spaces(known: Knowledge, models: Sequence[ModelSpec], most: int) -> dict[str, dict[str, str]]:
    """Search spaces of the models worth a closer look: the best so far, then the core ones, then those never tried."""
    best: dict[str, float] = {}
    for tried in known.tried:
        best[tried.config.model] = max(best.get(tried.config.model, -9.0), tried.value if tried.value is not None else -9.0)
    order = sorted(models, key=lambda spec: (-best.get(spec.id, -8.0), not spec.core, spec.cost != "fast", spec.id))
    return {spec.id: {name: _space(space) for name, space in spec.search_space.items()} for spec in order[:most]}


def _space(space: Range | Choices) -> str:
    if isinstance(space, Choices):
        return "|".join(map(str, space.values))
    kind = ("int " if space.integer else "") + f"{space.low:g}..{space.high:g}" + (" log" if space.log else "")
    return f"{kind}, {space.default:g}"


def _by_model(tried: Sequence[Tried], most: int) -> list[str]:
    groups: dict[tuple[str, str], list[float | None]] = {}
    for one in tried:
        groups.setdefault((one.config.model, one.config.timeframe), []).append(one.value)
    lines = []
    for (model, timeframe), values in groups.items():
        known = sorted(value for value in values if value is not None)
        best = known[-1] if known else None
        text = f"best {best:.2f}, median {statistics.median(known):.2f}" if best is not None else "no result yet"
        lines.append((best if best is not None else -9.0, f"{model} {timeframe}: {len(values)} trials, Sharpe {text}"))
    return [line for _, line in sorted(lines, reverse=True)[:most]]


def _leaderboard(known: Knowledge, top: int, bottom: int) -> dict[str, list[str]]:
    configs = {one.config.trial_id: one.config for one in known.tried}
    told: dict[str, list[str]] = {}
    for timeframe in TIMEFRAMES:
        rows = [row for row in known.standings if row["timeframe"] == timeframe]
        chosen = rows if len(rows) <= top + bottom else [*rows[:top], *rows[len(rows) - bottom :]]
        told[f"{timeframe}, {len(rows)} trials"] = [_standing(row, configs.get(row["trial_id"])) for row in chosen]
    return told


def _standing(row: Mapping[str, Any], config: Any) -> str:
    def shown(name: str, digits: int = 2) -> str:
        value = row[name]
        return "?" if value is None else f"{value:.{digits}f}"

    parts = [f"{row['rank']}. {row['model']} {row['grade']}", f"sharpe {shown('sharpe')}", f"dsr {shown('deflated_sharpe')}"]
    parts += [f"ic {shown('rank_ic', 3)}", f"brier {shown('brier_skill', 3)}"]
    if config is not None:
        parts.append(f"train {config.train_sessions}")
        parts += [
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in config.params.items()
        ]
    return " ".join(parts)


def _hypotheses(earlier: Sequence[StoredProposal], most: int) -> list[dict[str, Any]]:
    judged = [stored for stored in earlier if stored.status in ("done", "failed")]
    waiting = [stored for stored in earlier if stored.status in ("proposed", "approved", "launched")]
    told = []
    for stored in [*judged[len(judged) - most :], *waiting[-max(1, most // 4) :]]:
        result = stored.result or {}
        entry: dict[str, Any] = {
            "by": stored.proposal.proposer,
            "trial": stored.proposal.config.trial_id,
            "hypothesis": stored.proposal.hypothesis,
            "outcome": verdict(stored),
            "expected_gain": stored.proposal.expected_gain,
        }
        if stored.status == "done":
            entry["sharpe"] = result.get("sharpe")
        elif stored.status == "failed":
            entry["error"] = str(result.get("error", ""))[:120]
        told.append({name: value for name, value in entry.items() if value is not None})
    return told


def _report(report: Mapping[str, Any] | None, most: int) -> Any:
    """The report, and so many of each of its groups, in three numbers each."""
    if not report or not report.get("overall"):
        return "no closed positions yet"

    def short(summary: Mapping[str, Any]) -> str:
        hits, net, over = (summary.get(name) or 0.0 for name in ("hit_rate", "mean_net_return", "over_confidence"))
        return f"{summary.get('closed')} closed, hit rate {hits:.2f}, net {net:+.4f}, over-confidence {over:+.2f}"

    groups = report.get("groups") or {}
    told = {name: {key: short(row) for key, row in list(rows.items())[:most]} for name, rows in groups.items()}
    return {"as_of": report.get("as_of"), "all": short(report["overall"]), **(told if most else {})}
