"""The data of a request for proposals: the models, results so far, outcomes of earlier hypotheses, report, budget.

Its length is bounded: the best and the worst trials, one line a model, the last hypotheses. Everything in it is data
(`sanitize.as_data`).
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

MIN_HYPOTHESES = 3
"""Earlier hypotheses, with their outcomes, that are included however little room there is."""
FIRST_REQUEST_TOKENS = 3600
"""Most tokens of the first request of a round with its prompt; with a repair the whole round stays under 10,000."""

_LONGEST_TEXT = 220
Verdict = Literal["confirmed", "refuted", "failed", "waiting", "unjudged"]
_BAR = re.compile(r"Sharpe ratio after costs is not above (-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Knowledge:
    """Everything that a proposer can go by: every submitted trial (`tried`), rows of the leaderboard, earlier proposals (oldest
    first), the newest learning report, the newest regime score with its parts, and what is left of the day's budget.
    """

    tried: Sequence[Tried] = ()
    leaderboard: Sequence[Mapping[str, Any]] = ()
    earlier: Sequence[StoredProposal] = ()
    report: Mapping[str, Any] | None = None
    regime: Mapping[str, Any] | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)


def current_knowledge(
    engine: Engine, regime: Mapping[str, object] | None = None, budget: Mapping[str, object] | None = None
) -> Knowledge:
    """Knowledge from the database; regime and budget as the caller has them."""
    ranked = sa.select(LeaderboardRow.__table__).order_by(LeaderboardRow.timeframe, LeaderboardRow.rank)
    newest = sa.select(LearningReport.report).order_by(LearningReport.id.desc()).limit(1)
    with engine.connect() as connection:
        leaderboard = [dict(row) for row in connection.execute(ranked).mappings()]
        report = connection.execute(newest).scalar_one_or_none()
    return Knowledge(tried_trials(engine), leaderboard, proposals(engine), report, regime, dict(budget or {}))


def verdict(stored: StoredProposal) -> Verdict:
    """The outcome of a hypothesis, judged by the Sharpe ratio that its `refuted_if` names."""
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


def briefing(knowledge: Knowledge, models: Sequence[ModelSpec], wanted: Mapping[str, object], prompt_text: str) -> str:
    """The data of a request for proposals among `models`; with the prompt's text it stays within `FIRST_REQUEST_TOKENS`.

    `wanted` holds the number of trials and their timeframes.
    """
    for size in (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.1):
        text = _sections(knowledge, models, wanted, size)
        if estimated_tokens([prompt_text, text]) <= FIRST_REQUEST_TOKENS:
            return text
    return _sections(knowledge, models, wanted, 0.0)


def _sections(knowledge: Knowledge, models: Sequence[ModelSpec], wanted: Mapping[str, object], size: float) -> str:
    parts = {
        "asked_for": {**wanted, "train_sessions": f"one of {', '.join(map(str, TRAIN_SESSIONS))}, or between"},
        "budget": knowledge.budget,
        "catalogue": _models_by_family(models),
        "search_spaces": _spaces(knowledge, models, max(3, round(24 * size))),
        "results_by_model": _by_model(knowledge.tried, round(40 * size)),
        "leaderboard": _leaderboard(knowledge, round(12 * size), round(3 * size)),
        "earlier_hypotheses": _hypotheses(knowledge.earlier, max(MIN_HYPOTHESES, round(12 * size))),
        "regime": knowledge.regime or "not known",
        "learning_report": _report(knowledge.report, round(6 * size)),
    }
    return "\n".join(f'<data name="{name}">{as_data(part, _LONGEST_TEXT)}</data>' for name, part in parts.items())


def _models_by_family(models: Sequence[ModelSpec]) -> dict[str, str]:
    """Ids by family and cost: a name costs few tokens, so that even a large registry fits."""
    groups: dict[str, list[str]] = {}
    for spec in models:
        groups.setdefault(f"{spec.family}, {spec.cost}", []).append(spec.id)
    # Lines short enough that `as_data` does not cut them.
    lines: dict[str, str] = {}
    for name, ids in groups.items():
        wrapped = textwrap.wrap(" ".join(ids), _LONGEST_TEXT, break_long_words=False, break_on_hyphens=False)
        lines |= {f"{name} {place}" if place > 1 else name: line for place, line in enumerate(wrapped, start=1)}
    return lines


def _spaces(knowledge: Knowledge, models: Sequence[ModelSpec], most: int) -> dict[str, dict[str, str]]:
    """Search spaces of the models worth a closer look: the best so far, then the core ones, then those never tried."""
    best: dict[str, float] = {}
    for tried in knowledge.tried:
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
        scored = sorted(value for value in values if value is not None)
        best = scored[-1] if scored else None
        text = f"best {best:.2f}, median {statistics.median(scored):.2f}" if best is not None else "no result yet"
        lines.append((best if best is not None else -9.0, f"{model} {timeframe}: {len(values)} trials, Sharpe {text}"))
    return [line for _, line in sorted(lines, reverse=True)[:most]]


def _leaderboard(knowledge: Knowledge, top: int, bottom: int) -> dict[str, list[str]]:
    configs = {one.config.trial_id: one.config for one in knowledge.tried}
    lines: dict[str, list[str]] = {}
    for timeframe in TIMEFRAMES:
        rows = [row for row in knowledge.leaderboard if row["timeframe"] == timeframe]
        chosen = rows if len(rows) <= top + bottom else [*rows[:top], *rows[len(rows) - bottom :]]
        lines[f"{timeframe}, {len(rows)} trials"] = [_leaderboard_line(row, configs.get(row["trial_id"])) for row in chosen]
    return lines


def _leaderboard_line(row: Mapping[str, Any], config: Any) -> str:
    def rounded(name: str, digits: int = 2) -> str:
        value = row[name]
        return "?" if value is None else f"{value:.{digits}f}"

    parts = [f"{row['rank']}. {row['model']} {row['grade']}", f"sharpe {rounded('sharpe')}", f"dsr {rounded('deflated_sharpe')}"]
    parts += [f"ic {rounded('rank_ic', 3)}", f"brier {rounded('brier_skill', 3)}"]
    if config is not None:
        params = ((name, f"{value:.3g}" if isinstance(value, float) else value) for name, value in config.params.items())
        parts += [f"train {config.train_sessions}", *(f"{name}={value}" for name, value in params)]
    return " ".join(parts)


def _hypotheses(earlier: Sequence[StoredProposal], most: int) -> list[dict[str, object]]:
    judged = [stored for stored in earlier if stored.status in ("done", "failed")]
    waiting = [stored for stored in earlier if stored.status in ("proposed", "approved", "launched")]
    entries = []
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
        entries.append({name: value for name, value in entry.items() if value is not None})
    return entries


def _report(report: Mapping[str, Any] | None, most: int) -> object:
    """The report, and so many of each of its groups, in three numbers each."""
    if not report or not report.get("overall"):
        return "no closed positions yet"

    def short(summary: Mapping[str, Any]) -> str:
        hits, net, over = (summary.get(name) or 0.0 for name in ("hit_rate", "mean_net_return", "over_confidence"))
        return f"{summary.get('closed')} closed, hit rate {hits:.2f}, net {net:+.4f}, over-confidence {over:+.2f}"

    groups = report.get("groups") or {}
    parts = {name: {key: short(row) for key, row in list(rows.items())[:most]} for name, rows in groups.items()}
    return {"as_of": report.get("as_of"), "all": short(report["overall"]), **(parts if most else {})}
