"""The causality audit of everything between raw bars and training rows, on a simulated market."""

import time
from dataclasses import asdict, dataclass
from datetime import date

import polars as pl

from mltrainer_pipelines.audits.simulated_market import COST_BPS, AuditMarket, SimulatedFrames
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.features.causality import Violation, audit
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.features.registry import feature_sets, get_feature_set
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.universe import first_universe_month, universes_of
from mltrainer_pipelines.trials.quarters import quarters_between
from mltrainer_pipelines.trials.validation.windows import EmptyWindowError, Window, quarter_window

EVERY_SET = tuple(name for name in feature_sets() if name != "default")
"""Audited by default; ``default`` is one of them."""


@dataclass(frozen=True)
class CausalityMarket(AuditMarket):
    """By default a market in which companies list, split and fail, and all three regimes occur, while it is audited.

    The universe has `members` symbols, fewer than the market, so that membership changes. The data end at `cuts` dates, spread
    over the sessions from `first` on; features and labels of `sessions` sessions before each are compared.
    """

    seed: int = 21
    symbols: int = 36
    first: date = date(2023, 1, 3)
    last: date = date(2024, 3, 28)
    members: int = 24
    cuts: int = 12
    sessions: int = 10


@dataclass(frozen=True)
class SimulatedAudit:
    """Outcome of the audit of one or more feature sets on a simulated market.

    `checked` counts the values compared, by name; `training_rows` those of all windows of the walk-forward. `unpurged` counts
    training rows with an exit inside or after their window, by timeframe and window: it is empty where the purge holds.
    """

    sets: tuple[str, ...]
    cuts: tuple[date, ...]
    checked: dict[str, int]
    violations: tuple[Violation, ...]
    training_rows: int
    unpurged: dict[str, int]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.violations and not self.unpurged and self.training_rows > 0

    def as_dict(self) -> dict[str, object]:
        """As `mltrainer audit causality --json` prints it."""
        return {
            "passed": self.passed,
            "market": "simulated",
            "sets": list(self.sets),
            "cuts": [str(cut) for cut in self.cuts],
            "names": len(self.checked),
            "values": sum(self.checked.values()),
            "leaking": sorted({violation.name for violation in self.violations}),
            "violations": [asdict(v) | {"cut": str(v.cut), "date": str(v.date)} for v in self.violations],
            "training_rows": self.training_rows,
            "unpurged": self.unpurged,
            "seconds": round(self.seconds, 3),
        }

    def text(self) -> str:
        """The same for a reader."""
        lines = [
            f"causality of {', '.join(self.sets)} on a simulated market: {'passed' if self.passed else 'FAILED'}",
            f"  {len(self.checked):,} names, {sum(self.checked.values()):,} values, {len(self.cuts)} cuts, {self.seconds:.0f} s",
            f"  {self.training_rows:,} training rows, {sum(self.unpurged.values()):,} of them reach into their window",
        ]
        lines += [
            f"  {v.name}: {v.count} values differ at the cut {v.cut} ({v.against}), first on {v.date}"
            + (f" for {v.symbol}" if v.symbol else "")
            for v in self.violations
        ]
        return "\n".join(lines)


def audit_simulated_market(feature_set: str | None = None, market: CausalityMarket | None = None) -> SimulatedAudit:
    """Audit one feature set, or all of them, and the purge of every window of a walk-forward.

    Ranks, price adjustment, universe membership, macro series, the regime and the labels are covered whichever set is chosen.
    Raises UnknownFeatureSetError if there is no such set.
    """
    sets = EVERY_SET if feature_set is None else (get_feature_set(feature_set).name,)
    chosen, start = market or CausalityMarket(), time.perf_counter()
    frames = chosen.frames()

    def universe(bars: pl.DataFrame) -> pl.DataFrame:
        days = bars["date"].unique().sort()
        months = [month for month in days.dt.truncate("1mo").unique().sort() if month >= first_universe_month(days[0])]
        return universes_of(months, bars, frames.reference, chosen.members)

    cuts = _cuts(frames.bars, chosen)
    reports = [
        audit(frames.bars, frames.actions, universe, cuts, name, frames.observations, chosen.sessions, seed=chosen.seed)
        for name in sets
    ]
    checked = {name: count for report in reports for name, count in report.checked.items()}
    # what does not depend on the feature set shows in each report
    violations = tuple(dict.fromkeys(violation for report in reports for violation in report.violations))
    rows, unpurged = _purge(frames, universe(frames.bars))
    return SimulatedAudit(sets, tuple(cuts), checked, violations, rows, unpurged, time.perf_counter() - start)


def _cuts(bars: pl.DataFrame, market: CausalityMarket) -> list[date]:
    """Sessions spread evenly from a month after the first day of interest to the last."""
    days = bars.filter(pl.col("date") >= market.first)["date"].unique().sort().to_list()[21:]
    return [days[(i + 1) * (len(days) - 2) // market.cuts] for i in range(market.cuts)]


def _purge(frames: SimulatedFrames, members: pl.DataFrame) -> tuple[int, dict[str, int]]:
    """Training rows of every window of a quarterly walk-forward, and those that reach into their window."""
    bars = adjusted(frames.bars, frames.actions)
    sessions = bars["date"].unique().sort().to_list()
    first = max(min(members["month"].to_list()), sessions[0])
    rows, unpurged = 0, {}
    for timeframe in TIMEFRAMES.values():
        labels = compute_labels(bars, members, timeframe, Barriers(), COST_BPS, first, sessions[-1])
        for quarter_start, quarter_end in quarters_between(first, sessions[-1]):
            try:
                window = quarter_window(quarter_start, quarter_end, sessions, len(sessions))
            except EmptyWindowError:
                continue
            trained = labels.filter(window.trains)
            rows += trained.height
            if inside := rows_not_over(trained, window):
                unpurged[f"{timeframe.name} {window.test_first}"] = inside
    return rows, unpurged


def rows_not_over(trained: pl.DataFrame, window: Window) -> int:
    """Training rows whose exit session is unknown, inside the window, or after it."""
    return trained.filter((pl.col("exit_date") >= window.test_first).fill_null(value=True)).height
