"""The causality audit: what was computed for a date must not depend on what came after it.

Everything between raw bars and training rows is computed on the whole history, then again on inputs that end at each
of many dates, and on inputs whose future is replaced by noise. Every value up to the date must be identical, to the
last bit. The newest session is also computed from no more history than the feature set declares.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.features.panel import BadPanelError, sessions_of
from mltrainer_pipelines.features.regime.score import regime_scores
from mltrainer_pipelines.features.spec import FeatureSet
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.macro import known_macro

Against = Literal["truncated", "noise", "short history"]


@dataclass(frozen=True)
class Violation:
    """A value that changed with the future.

    `name` is a feature, ``adjusted.<column>``, ``universe.<column>``, ``regime.<column>`` or ``labels.<timeframe>.<column>``;
    ``<stage>.rows`` where rows are missing or too many. Inputs up to `cut` were left alone, and `against` says what was done to
    the rest. `date` is the first date on which it differs, `count` how many values do.
    """

    name: str
    cut: date
    against: Against
    date: date
    symbol: str | None
    count: int


@dataclass(frozen=True)
class CausalityReport:
    """What an audit compared, values by name, and what failed."""

    checked: Mapping[str, int]
    violations: tuple[Violation, ...]

    @property
    def passed(self) -> bool:
        return not self.violations

    @property
    def leaking(self) -> list[str]:
        """Names with a violation, sorted."""
        return sorted({violation.name for violation in self.violations})


@dataclass(frozen=True)
class _Inputs:
    bars: pl.DataFrame
    actions: pl.DataFrame | None
    observations: pl.DataFrame | None


def audit(
    bars: pl.DataFrame,
    actions: pl.DataFrame | None,
    universe: Callable[[pl.DataFrame], pl.DataFrame],
    cut_dates: Sequence[date],
    feature_set: str | FeatureSet = "momentum",
    observations: pl.DataFrame | None = None,
    sessions: int | None = None,
    barriers: Barriers | None = None,
    cost_bps: float = 10.0,
    seed: int = 0,
) -> CausalityReport:
    """Prove, or refute, that nothing computed for a date depends on later data.

    Covers price adjustment, universe membership, every feature of the set (ranks and macro included), the regime and
    its parts, and which labels are known: one whose exit lies after the cut must be unknown at the cut, and one that
    is known must never change, so that purging by exit date is enough.

    Parameters
    ----------
    bars : DataFrame
        Unadjusted daily bars of all symbols.
    actions : DataFrame or None
        Splits and dividends.
    universe : callable
        Takes unadjusted bars as far as they are known and gives the universe (month, symbol, …) of each month they
        reach.
    cut_dates : sequence of date
        Where the data end; at least one session with a universe must lie at or before each. Dates in the middle of
        a month catch the most.
    feature_set : str or FeatureSet
    observations : DataFrame, optional
        Macro observations (series_id, date, value, published).
    sessions : int, optional
        Compare features and labels on this many sessions before each cut; all of them by default.
    barriers : Barriers, optional
        Of the labels; one volatility each way by default.
    cost_bps : float
    seed : int
        Of the noise.

    Raises
    ------
    BadPanelError
        If the inputs cannot be used, or a cut has nothing before it to compare.
    """
    if not cut_dates:
        raise BadPanelError("audit: no cut date was given; give at least one session to end the data at")
    whole = _Inputs(bars, actions, observations)
    checked: dict[str, int] = {}
    violations: list[Violation] = []
    days = sessions_of(bars)
    random = np.random.default_rng(seed)
    first = _first_session(universe(bars), days)
    truth = _computed(whole, universe, feature_set, barriers or Barriers(), cost_bps, first, days[-1].item())
    for cut in sorted(cut_dates):
        before = days[(days >= np.datetime64(first)) & (days <= np.datetime64(cut))]
        if not len(before):
            raise BadPanelError(f"audit: nothing to compare at {cut}: the first session with a universe is {first}; cut later")
        since = before[0 if sessions is None else max(0, len(before) - sessions)].item()
        variants: list[tuple[Against, _Inputs]] = [
            ("truncated", _until(whole, cut)),
            ("noise", _with_noise_after(whole, cut, random)),
        ]
        for against, inputs in variants:
            found = _computed(inputs, universe, feature_set, barriers or Barriers(), cost_bps, since, before[-1].item())
            for stage, frame in truth.items():
                expected, got = _known_at(stage, frame, cut, since), _known_at(stage, found[stage], cut, since)
                _compare(stage, expected, got, cut, against, checked, violations)
        _check_declared_history(truth, whole, universe, feature_set, before[-1].item(), cut, checked, violations)
    return CausalityReport(checked, tuple(violations))


def _computed(
    inputs: _Inputs,
    universe: Callable[[pl.DataFrame], pl.DataFrame],
    feature_set: str | FeatureSet,
    barriers: Barriers,
    cost_bps: float,
    first: date,
    last: date,
) -> dict[str, pl.DataFrame]:
    prices = adjusted(inputs.bars, inputs.actions)
    members = universe(inputs.bars)
    macro = _macro(inputs)
    regime = regime_scores(prices, macro, members)
    return {
        "adjusted": prices.select("date", "symbol", "adj_open", "adj_high", "adj_low", "adj_close", "adj_volume"),
        "universe": members.select(pl.col("month").alias("date"), pl.exclude("month")),
        "features": compute_features(prices, members, macro, first, last, feature_set, regime=regime),
        "regime": regime,
        **{
            f"labels.{timeframe.name}": compute_labels(prices, members, timeframe, barriers, cost_bps, first, last)
            for timeframe in TIMEFRAMES.values()
        },
    }


def _check_declared_history(
    truth: dict[str, pl.DataFrame],
    whole: _Inputs,
    universe: Callable[[pl.DataFrame], pl.DataFrame],
    feature_set: str | FeatureSet,
    session: date,
    cut: date,
    checked: dict[str, int],
    violations: list[Violation],
) -> None:
    known = _until(whole, cut)
    days = sessions_of(known.bars)
    since = days[max(0, len(days) - 1 - look_back(feature_set))].item()
    # The adjustment factor and the regime run from the first bar: they are taken as they were, and only rows are cut off.
    prices, members, macro = adjusted(known.bars, known.actions), universe(known.bars), _macro(known)
    regime = regime_scores(prices, macro, members)
    recent = prices.filter(pl.col("date") >= since)
    found = compute_features(recent, members, macro, session, session, feature_set, regime=regime)
    expected = truth["features"].filter(pl.col("date") == session)
    _compare("features", expected, found, cut, "short history", checked, violations)


def _macro(inputs: _Inputs) -> pl.DataFrame | None:
    if inputs.observations is None:
        return None
    return known_macro(inputs.observations, sessions_of(inputs.bars).tolist())


def _first_session(members: pl.DataFrame, days: np.ndarray) -> date:
    if members.is_empty():
        raise BadPanelError("audit: the universe has no month; give bars of more months, or another universe")
    later = days[days >= np.datetime64(min(members["month"].to_list()))]
    if not len(later):
        raise BadPanelError("audit: the bars end before the universe's first month; give later bars")
    return later[0].item()


def _until(inputs: _Inputs, cut: date) -> _Inputs:
    return _Inputs(
        inputs.bars.filter(pl.col("date") <= cut),
        None if inputs.actions is None else inputs.actions.filter(pl.col("ex_date") <= cut),
        None if inputs.observations is None else inputs.observations.filter(pl.col("published") <= cut),
    )


def _with_noise_after(inputs: _Inputs, cut: date, random: np.random.Generator) -> _Inputs:
    later = pl.col("date") > cut
    size = inputs.bars.height
    prices = pl.Series(np.exp(random.normal(0.0, 0.5, size)))
    shares = pl.Series(np.exp(random.normal(0.0, 1.5, size)))
    priced = [name for name in ("open", "high", "low", "close", "vwap") if name in inputs.bars.columns]
    bars = inputs.bars.with_columns(
        *(pl.when(later).then(pl.col(name) * prices).otherwise(name).alias(name) for name in priced),
        pl.when(later).then(pl.col("volume") * shares).otherwise("volume").alias("volume"),
    )
    actions = inputs.actions
    if actions is not None:
        # A dividend could exceed a price that is noise: later actions become splits.
        future = pl.col("ex_date") > cut
        actions = actions.with_columns(
            pl.when(future).then(pl.lit("split")).otherwise("kind").alias("kind"),
            pl.when(future).then(pl.lit(7.0)).otherwise("ratio").alias("ratio"),
            pl.when(future).then(None).otherwise("cash").alias("cash"),
        )
    observations = inputs.observations
    if observations is not None:
        noise = pl.Series(random.normal(0.0, 10.0, observations.height))
        unpublished = pl.col("published") > cut
        observations = observations.with_columns(
            pl.when(unpublished).then(pl.col("value") + noise).otherwise("value").alias("value")
        )
    return _Inputs(bars, actions, observations)


def _known_at(stage: str, frame: pl.DataFrame, cut: date, since: date) -> pl.DataFrame:
    """Rows up to the cut; of features and labels those from `since`; what the cut leaves unknown of a label is null."""
    frame = frame.filter(pl.col("date") <= cut)
    if stage == "features":
        return frame.filter(pl.col("date") >= since)
    if not stage.startswith("labels."):
        return frame
    known = (pl.col("exit_date") <= cut).fill_null(value=False)
    return frame.filter(pl.col("date") >= since).with_columns(
        pl.when(pl.col("entry_date") <= cut).then("entry_date"),
        *(pl.when(known).then(name) for name in ("exit_date", "barrier", "gross_return", "net_return", "label")),
    )


def _compare(
    stage: str,
    expected: pl.DataFrame,
    found: pl.DataFrame,
    cut: date,
    against: Against,
    checked: dict[str, int],
    violations: list[Violation],
) -> None:
    keys = [name for name in ("date", "symbol") if name in expected.columns]
    columns = [name for name in expected.columns if name not in keys]
    prefix = "" if stage == "features" else f"{stage}."
    both = expected.select(*keys, pl.lit(value=True).alias("_expected"), *columns).join(
        found.select(*keys, pl.lit(value=True).alias("_found"), *columns), on=keys, how="full", coalesce=True, suffix=":found"
    )
    both = both.sort(*keys)
    present = pl.col("_expected").is_not_null() & pl.col("_found").is_not_null()
    tests = {f"{stage}.rows": present, **{prefix + n: ~present | pl.col(n).eq_missing(pl.col(f"{n}:found")) for n in columns}}
    same = both.select(test.alias(name) for name, test in tests.items())
    for name in tests:
        checked[name] = checked.get(name, 0) + both.height
        wrong = ~same[name]
        if wrong.any():
            where = both.filter(wrong).row(0, named=True)
            violations.append(Violation(name, cut, against, where["date"], where.get("symbol"), int(wrong.sum())))
