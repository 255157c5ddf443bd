"""The audit of discovery: on simulated markets a planted rule is found, and on markets without any nothing is accepted."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from mltrainer_pipelines.agent.evolution import Candidate, Search, evolve, random_search
from mltrainer_pipelines.audits.planted_rules import PlantedRule, drawn_rule, market_with
from mltrainer_pipelines.audits.result import AuditResult, Progress
from mltrainer_pipelines.features.expressions.graph import expression_set
from mltrainer_pipelines.trials.factors.screening import MarketTables, ScreeningMarket

EXISTING = {
    "momentum": "Ref(close, 21)/Ref(close, 120) - 1",
    "reversal": "close/Ref(close, 5) - 1",
    "volatility": "Std(log_return, 20)",
}
"""What the simulated markets' features are before anybody searches."""
FOUND = 0.8
"""Rank correlation with the planted rule from which a factor counts as it."""
JUDGED = 5
"""Factors of a search that are put forward to be judged."""
TENTH = 10
NULL_MARKETS = 2
FIRST_SESSION = 130


@dataclass
class Attempt:
    """A search on one market: tries until the fittest was the rule (None if never), the likeness of what was accepted."""

    rule: str
    tries: int | None
    accepted: list[str]
    likeness: float
    random_tries: int | None

    @property
    def recovered(self) -> bool:
        return self.likeness >= FOUND


def audit_discovery(
    seeds: int = 10, tries: int = 3000, first_seed: int = 0, *, progress: Progress = lambda *_: None
) -> AuditResult:
    """Search a market of each seed with a planted rule, by `evolve` with so many tries and by random trees with ten times those
    that `evolve` needed; then markets without a rule, at least 2,000 tries in all.

    A search knows the shown quarters alone; its fittest few are judged on the hidden ones, with every try counted.
    """
    began, attempts = time.perf_counter(), []
    for number, seed in enumerate(range(first_seed, first_seed + seeds)):
        progress(f"market {seed}", number / (seeds + NULL_MARKETS))
        attempts.append(_attempt(seed, tries))
    screened = accepted = 0
    while screened < max(2000, NULL_MARKETS * tries):
        seed = first_seed + seeds + screened
        progress("a market with nothing to find", (seeds + screened / tries) / (seeds + NULL_MARKETS))
        market = screening_market(None, seed)
        search = evolve(market, seed, tries)
        screened += len(search.tried)
        accepted += len(_accepted(market, search))
    return _result(attempts, screened, accepted, tries, time.perf_counter() - began)


def screening_market(rule: PlantedRule | None, seed: int) -> ScreeningMarket:
    """A simulated market in which a rule pays from one session to the next, or none does."""
    bars = market_with(rule, seed)
    days = bars["date"].unique().sort()
    members = bars.select("symbol", "sector").unique().sort("symbol")
    universe = members.join(days.dt.truncate("1mo").unique().sort().alias("month").to_frame(), how="cross")
    existing = expression_set("existing", EXISTING)
    return ScreeningMarket(MarketTables(bars, universe), days[FIRST_SESSION], days[-1], 1, existing)


def _attempt(seed: int, tries: int) -> Attempt:
    rule = drawn_rule(seed)
    market = screening_market(rule, seed)
    computed, needed = 0, list[int]()

    def count(said: str, share: float) -> None:
        nonlocal computed
        computed = round(share * tries)

    def noted(best: Candidate) -> bool:
        if not needed and _likeness(market, best.node.text, rule) >= FOUND:
            needed.append(computed)
        return False

    search = evolve(market, seed, tries, progress=count, enough=noted)
    accepted = _accepted(market, search)
    likeness = max((_likeness(market, text, rule) for text in accepted), default=0.0)
    most, by_chance = TENTH * (needed[0] if needed else tries), list[int]()

    def count_random(said: str, share: float) -> None:
        nonlocal computed
        computed = round(share * most)

    def is_rule(best: Candidate) -> bool:
        if _likeness(market, best.node.text, rule) >= FOUND:
            by_chance.append(computed)
        return bool(by_chance)

    random_search(market, seed, most, progress=count_random, enough=is_rule)
    return Attempt(
        rule.expression, needed[0] if needed else None, accepted, likeness, by_chance[0] if by_chance else None
    )  # fmt: skip


def _accepted(market: ScreeningMarket, search: Search) -> list[str]:
    """What is accepted of the fittest few, judged one after the other."""
    accepted: list[str] = []
    screened = len(search.tried)
    for idea in search.ideas(market, JUDGED, []):
        if market.judge(idea.expression, accepted, screened).accepted:
            accepted.append(idea.expression)
    return accepted


def _likeness(market: ScreeningMarket, expression: str, rule: PlantedRule) -> float:
    return market.likeness(expression, [rule.expression]).get(rule.expression, 0.0)


def _result(attempts: list[Attempt], screened: int, accepted: int, tries: int, seconds: float) -> AuditResult:
    recovered = sum(attempt.recovered for attempt in attempts)
    tenth = sum(one.tries is not None and one.random_tries is None for one in attempts)
    reached = [one.tries for one in attempts if one.tries is not None]
    passed = recovered >= 0.8 * len(attempts) and 2 * tenth > len(attempts) and accepted == 0
    findings: dict[str, Any] = {
        "markets": [
            {
                "rule": one.rule, "found": one.recovered, "likeness": round(one.likeness, 3), "accepted": one.accepted,
                "tries": one.tries, "random_tries": one.random_tries,
            }
            for one in attempts
        ],
        "found": recovered, "budget": tries, "median_tries": median(reached) if reached else None,
        "random_needs_over_ten_times": tenth, "screened_on_nothing": screened, "accepted_on_nothing": accepted,
    }  # fmt: skip
    lines = [
        f"{'found' if one.recovered else 'MISSED'}: {one.rule} (likeness {one.likeness:.2f}"
        + (f", after {one.tries:,} tries; random {_random(one)})" if one.tries else ")")
        for one in attempts
    ]
    lines.append(f"{recovered} of {len(attempts)} planted rules found with {tries:,} tries; at least 8 in 10 are needed")
    lines.append(f"random expressions needed more than ten times the tries on {tenth} of {len(attempts)} markets")
    lines.append(f"{accepted} of {screened:,} factors accepted where there is nothing to find")
    return AuditResult("discovery", passed, findings, tuple(lines), seconds)


def _random(one: Attempt) -> str:
    return f"after {one.random_tries:,}" if one.random_tries else f"not after {TENTH * (one.tries or 0):,}"
