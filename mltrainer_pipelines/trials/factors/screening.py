"""Screening of factors: figures on the quarters that authors are shown, and the verdict on those that they are not.

A factor is judged by its rank IC and by what is left of that beside the features that exist (residual IC). The verdict counts
every factor that was ever screened.

Sources
-------
Harvey, Liu & Zhu (2016), … and the Cross-Section of Expected Returns, Review of Financial Studies 29(1): t-statistics of
    factors corrected for how many were tried, by Bonferroni, by Holm, and by the false discovery rate.
Benjamini & Yekutieli (2001), Annals of Statistics 29(4), theorem 1.3: the false discovery rate where tests depend on each other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.ranks import session_groups, session_ranks
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.expressions.graph import expression_set
from mltrainer_pipelines.features.expressions.parser import parse
from mltrainer_pipelines.features.expressions.quality import LEAST_COVERAGE
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.trials.factors.assessment import forward_returns
from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time

LEVEL = 0.05
"""Chance that any factor of all those ever screened is accepted though it is worth nothing: decided by Bonferroni."""
TOO_GOOD = 0.5
"""Rank IC from which a factor is taken for the outcome in disguise."""
TOO_LIKE = 0.9
"""Rank correlation from which a factor is taken for one that exists."""
STABLE_YEARS = 0.5
"""Share of the hidden years in which an accepted factor has the sign of the whole."""
SHOWN_SHARE = 0.6
"""Share of the sessions, the first ones, that authors are shown."""
CAPACITY_SHARE = 0.01
"""Share of a symbol's dollar volume of a session that trading may be."""

MEMBERS_A_DIRECTION = 3
"""Members that a session needs for each direction of the existing features that is taken out: of fewer, the largest ones are."""

Span = tuple[date, date]


@dataclass(frozen=True)
class Screen:
    """A factor's figures on some sessions: mean rank IC and its t, the same beside the existing features and that t as a
    normal's z, the share of values that are known, and the mean change of a rank a session as a share of the most there can be.
    """

    rank_ic: float
    rank_t: float
    residual_ic: float
    t: float
    z: float
    coverage: float
    turnover: float


@dataclass(frozen=True)
class Part:
    """The rank ICs of some of the sessions: a year, or a regime."""

    name: str
    sessions: int
    rank_ic: float
    residual_ic: float


@dataclass(frozen=True)
class Verdict:
    """What screening decided, and why. `p` is one-sided, in the direction seen on the shown quarters; `screened` how many
    factors had been screened by then; `capacity` dollars a session that the factor's top tenth lets trade.
    """

    accepted: bool
    reason: str
    shown: Screen | None = None
    hidden: Screen | None = None
    p: float = 1.0
    bonferroni: float = 1.0
    holm: float = 1.0
    false_discovery_rate: float = 1.0
    screened: int = 0
    capacity: float | None = None
    years: list[Part] = field(default_factory=list)
    regimes: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class MarketTables:
    """What factors are computed from: adjusted bars, the universe's members by month, and, where they are known, the macro
    series and the regime as of each session's close.
    """

    bars: pl.DataFrame
    universe: pl.DataFrame
    macro: pl.DataFrame | None = None
    regime: pl.DataFrame | None = None


class ScreeningMarket:
    """A market on which factors are screened: which sessions authors are shown, their outcomes, and what exists already.

    The outcome is the return from the next open over `horizon` sessions. Shown are the first `SHOWN_SHARE` of the sessions from
    `first` to `last` but the last `horizon` + 1 of these, whose outcomes reach into the hidden ones.
    """

    def __init__(self, tables: MarketTables, first: date, last: date, horizon: int, existing: FeatureSet):
        self.tables, self.horizon, self.existing = tables, horizon, existing
        days = tables.bars.filter(pl.col("date").is_between(first, last))["date"].unique().sort().to_list()
        edge = int(SHOWN_SHARE * len(days))
        if edge <= horizon + 2:
            raise ValueError(f"{len(days)} sessions are too few to screen factors of {horizon} sessions; give more history")
        self.shown: Span = (days[0], days[edge - horizon - 2])
        self.hidden: Span = (days[edge], days[-1])
        self._outcomes: dict[Span, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def screen(self, expressions: Sequence[str], span: Span) -> list[Screen | None]:
        """Figures of each expression on the sessions of a span; None where it is constant, or unknown for most."""
        if not expressions:
            return []
        values, starts = self._values(expressions, span)
        ranks, ics, residual_ics = self._ics(values, starts, span)
        known = np.isfinite(values).mean(axis=0)
        return [
            _screen(ics[:, i], residual_ics[:, i], float(known[i]), _turnover(ranks[:, i], starts), self.horizon)
            for i in range(len(expressions))
        ]

    def judge(
        self, expression: str, accepted: Sequence[str], screened: int, earlier: Sequence[float] = (), shown: Screen | None = None
    ) -> Verdict:
        """Whether a factor is accepted, of `screened` in all, this one included; `earlier` are the p of those judged before."""
        shown = shown or self.screen([expression], self.shown)[0]
        if (like := self.most_like(expression, accepted)) is not None:
            return Verdict(False, like, shown, screened=screened)
        if shown is None:
            return Verdict(False, f"constant, or unknown for more than {1 - LEAST_COVERAGE:.0%} of the rows", screened=screened)
        if abs(shown.rank_ic) > TOO_GOOD:
            return Verdict(False, _too_good(shown), shown, screened=screened)
        values, starts = self._values([expression], self.hidden)
        ranks, ics, residual_ics = self._ics(values, starts, self.hidden)
        hidden = _screen(
            ics[:, 0], residual_ics[:, 0], float(np.isfinite(values).mean()), _turnover(ranks[:, 0], starts), self.horizon
        )
        if hidden is None:
            return Verdict(False, "constant, or unknown for most rows, on the hidden quarters", shown, screened=screened)
        direction = math.copysign(1.0, shown.residual_ic)
        p = NormalDist().cdf(-direction * hidden.z)
        days = self._sessions(self.hidden)
        years = _parts([str(day.year) for day in days], ics[:, 0], residual_ics[:, 0])
        right = sum(direction * year.residual_ic > 0 for year in years)
        bonferroni = min(1.0, p * screened)
        verdict = Verdict(
            False, "", shown, hidden, p, bonferroni, *_step_down(p, earlier, screened), screened,
            self._capacity(direction * ranks[:, 0]), years, _parts(self._regimes(days), ics[:, 0], residual_ics[:, 0]),
        )  # fmt: skip
        if bonferroni > LEVEL:
            reason = f"its p of {p:.2g} does not survive {screened:,} factors screened"
        elif right < STABLE_YEARS * len(years):
            reason = f"it has its sign in {right} of {len(years)} hidden years"
        else:
            return Verdict(**{**verdict.__dict__, "accepted": True, "reason": "accepted"})
        return Verdict(**{**verdict.__dict__, "reason": reason})

    def since(self, expression: str, first: date, direction: float, least: int) -> tuple[Screen, float] | None:
        """Figures from a day on, and the upper end of the 90 % interval of its residual IC in its direction; None where fewer
        than `least` sessions have an outcome.
        """
        days = [day for day in self._sessions(self.hidden) if day >= first]
        if len(days) < least + self.horizon + 1:
            return None
        span = (days[0], days[-1])
        values, starts = self._values([expression], span)
        _, ics, residual_ics = self._ics(values, starts, span)
        screen = _screen(ics[:, 0], residual_ics[:, 0], float(np.isfinite(values).mean()), 0.0, self.horizon)
        own = direction * residual_ics[:, 0]
        upper = mean_over_time(own[np.isfinite(own)], self.horizon).interval(0.9)[1]
        return None if screen is None or not math.isfinite(upper) else (screen, upper)

    def most_like(self, expression: str, others: Sequence[str]) -> str | None:
        """Why a factor is nothing new beside others: one of the same structure, or one that ranks like it; None where it is new.

        An existing feature counts as well.
        """
        structure = parse(expression).structure
        for other in others:
            if parse(other).structure == structure:
                return f"it has the structure of {other}, only with other numbers"
        correlations = self.likeness(expression, others)
        name, most = max(correlations.items(), key=lambda one: one[1], default=("", 0.0))
        return f"its rank correlation with {name} is {most:.2f}" if most > TOO_LIKE else None

    def likeness(self, expression: str, others: Sequence[str]) -> dict[str, float]:
        """Absolute rank correlation with other expressions and the existing features, the mean over the shown sessions."""
        values, starts = self._values([expression, *others], self.shown)
        sessions = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        existing, _ = self._frame(self.existing, self.shown)
        ranks = session_ranks(np.hstack([values, existing]), sessions).astype(np.float64)
        names = [*others, *self.existing.names]
        by_session = _correlations(ranks[:, 1:], ranks[:, 0], starts)
        known = np.isfinite(by_session).any(axis=0)
        alike = np.abs(np.nanmean(by_session[:, known], axis=0))
        return dict(zip(np.array(names)[known].tolist(), alike.tolist(), strict=True))

    def _values(self, expressions: Sequence[str], span: Span) -> tuple[np.ndarray, np.ndarray]:
        return self._frame(expression_set("screened", {f"f{i}": text for i, text in enumerate(expressions)}), span)

    def _frame(self, chosen: FeatureSet, span: Span) -> tuple[np.ndarray, np.ndarray]:
        """Values (rows, features) and where each session's rows start."""
        t = self.tables
        frame = compute_features(t.bars, t.universe, t.macro, *span, chosen, 1, t.regime)
        return frame.drop("date", "symbol").to_numpy(), session_groups(frame["date"].to_numpy())[1]

    def _ics(self, values: np.ndarray, starts: np.ndarray, span: Span) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ranks of values, and the rank ICs (sessions, factors) of themselves and of what is left beside the existing ones."""
        outcome, basis, sessions = self._known(span)
        ranks = session_ranks(values, sessions).astype(np.float64)
        residuals = ranks.copy()
        for begin, end in pairwise(starts):
            q = basis[begin:end]
            residuals[begin:end] -= q @ (q.T @ ranks[begin:end])
        return ranks, _correlations(ranks, outcome, starts), _correlations(residuals, outcome, starts)

    def _known(self, span: Span) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ranks of the outcomes, an orthonormal basis of the existing features' ranks session by session, and sessions."""
        if span not in self._outcomes:
            t = self.tables
            frame = compute_features(t.bars, t.universe, t.macro, *span, self.existing, 1, t.regime)
            after = forward_returns(t.bars, [self.horizon])
            returns = frame.join(after, on=["date", "symbol"], how="left", maintain_order="left")[f"forward_{self.horizon}"]
            sessions = frame["date"].to_numpy()
            outcome = session_ranks(returns.fill_null(float("nan")).to_numpy().reshape(-1, 1), sessions)
            ranks = session_ranks(frame.drop("date", "symbol").to_numpy(), sessions).astype(np.float64)
            for begin, end in pairwise(session_groups(sessions)[1]):
                u, s, _ = np.linalg.svd(ranks[begin:end], full_matrices=False)
                ranks[begin:end] = 0.0
                kept = min(u.shape[1], max(1, (end - begin) // MEMBERS_A_DIRECTION))
                ranks[begin:end, :kept] = (u * (s > 1e-9))[:, :kept]
            self._outcomes[span] = outcome[:, 0].astype(np.float64), ranks, sessions
        return self._outcomes[span]

    def _sessions(self, span: Span) -> list[date]:
        return [day.astype(object) for day in np.unique(self._known(span)[2])]

    def _regimes(self, days: Sequence[date]) -> list[str] | None:
        if self.tables.regime is None:
            return None
        score = dict(self.tables.regime.select("date", "score").iter_rows())
        return [_regime_name(score.get(day)) for day in days]

    def _capacity(self, ranks: np.ndarray) -> float | None:
        """Dollars that may be traded a session in the top tenth of the hidden rows: the median over the sessions."""
        _, _, sessions = self._known(self.hidden)
        t = self.tables
        if not {"close", "volume"} <= set(t.bars.columns):
            return None
        frame = compute_features(
            t.bars, t.universe, None, *self.hidden, expression_set("dollars", {"dollars": "dollar_volume"}), 1
        )
        top = frame.with_columns(session=sessions, top=ranks > 0.4).filter("top").group_by("date").agg(pl.col("dollars").sum())
        median = top["dollars"].median()
        return CAPACITY_SHARE * float(median) if isinstance(median, float) else None


def _regime_name(score: float | None) -> str:
    return "unknown" if score is None else "bear" if score < 40 else "bull" if score > 60 else "neutral"


def _too_good(shown: Screen) -> str:
    return f"too good to be true: a rank IC of {shown.rank_ic:.2f} is the outcome in disguise"


def _screen(ics: np.ndarray, own: np.ndarray, coverage: float, turnover: float, horizon: int) -> Screen | None:
    whole = len(own)
    ics, own = ics[np.isfinite(ics)], own[np.isfinite(own)]
    if coverage < LEAST_COVERAGE or len(own) < 0.5 * whole or not len(own):
        return None
    whole_mean, mean = mean_over_time(ics, horizon), mean_over_time(own, horizon)
    rank_t, t, z = (value if math.isfinite(value) else 0.0 for value in (whole_mean.t, mean.t, mean.z))
    return Screen(whole_mean.mean, rank_t, mean.mean, t, z, coverage, turnover)


def _parts(names: Sequence[str] | None, ics: np.ndarray, own: np.ndarray) -> list[Part]:
    if names is None:
        return []
    table = pl.DataFrame({"name": names, "ic": ics, "own": own}).filter(pl.col("own").is_finite())
    grouped = table.group_by("name").agg(pl.len(), ic=pl.col("ic").mean(), own=pl.col("own").mean()).sort("name")
    return [Part(*row) for row in grouped.iter_rows()]


def _step_down(p: float, earlier: Sequence[float], screened: int) -> tuple[float, float]:
    """Holm's p and Benjamini & Yekutieli's q of the newest of `screened` factors; those that were never judged have p = 1."""
    known = sorted([*earlier, p])
    place = known.index(p) + 1
    holm = max(min(1.0, (screened - i) * value) for i, value in enumerate(known[:place]))
    from scipy.special import digamma

    harmonic = float(digamma(screened + 1)) + np.euler_gamma
    later: Callable[[int], float] = lambda i: known[i - 1] * screened * harmonic / i  # noqa: E731
    return holm, min(1.0, *(later(i) for i in range(place, len(known) + 1)))


def _correlations(x: np.ndarray, y: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Correlation of each column with `y` in each group of rows (centred ranks: means are 0), NaN where one is constant."""
    begins = starts[:-1]
    products = np.add.reduceat(x * y[:, None], begins)
    scale = np.add.reduceat(x * x, begins) * np.add.reduceat(y * y, begins)[:, None]
    out = np.full_like(products, np.nan)
    np.divide(products, np.sqrt(scale), out=out, where=scale > 1e-12)
    return out


def _turnover(ranks: np.ndarray, starts: np.ndarray) -> float:
    """Mean change of a rank from one session to the next, as a share of the most there can be, where all members stay."""
    sizes = np.diff(starts)
    same = sizes[1:] == sizes[:-1]
    changes = [
        np.abs(ranks[b:c] - ranks[a:b]).mean() for a, b, c, s in zip(starts, starts[1:], starts[2:], same, strict=False) if s
    ]
    return float(np.mean(changes) / 0.5) if changes else 0.0
