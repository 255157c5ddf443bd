"""The causality audit: what was computed for a date must not depend on what came after it.

Everything between raw bars and training rows is computed on the whole history, then again on inputs that end at each
of many dates, and on inputs whose future is replaced by noise. Every value up to the date must be identical, to the
last bit. The newest session is also computed from no more history than the feature set declares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
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
Universe = Callable[[pl.DataFrame], pl.DataFrame]


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

    checked: dict[str, int]
    violations: list[Violation]

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
    universe: Universe,
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
    observations : DataFrame, optional
        Macro observations (series_id, date, value, published).
    sessions : int, optional
        Compare features and labels on this many sessions before each cut; all of them by default.
    barriers : Barriers, optional
        Of the labels; one volatility each way by default.
    seed : int
        Of the noise.

    Raises BadPanelError if the inputs cannot be used, or a cut has nothing before it to compare.
    """
    if not cut_dates:
        raise BadPanelError("audit: no cut date was given; give at least one session to end the data at")
    whole = _Inputs(bars, actions, observations)
    report = CausalityReport({}, [])
    days = sessions_of(bars)
    random = np.random.default_rng(seed)
    first = _first_session(universe(bars), days)
    compute = partial(_computed, universe=universe, feature_set=feature_set, barriers=barriers or Barriers(), cost_bps=cost_bps)
    truth = compute(whole, first, days[-1].item())
    for cut in sorted(cut_dates):
        before = days[(days >= np.datetime64(first)) & (days <= np.datetime64(cut))]
        if not len(before):
            raise BadPanelError(f"audit: nothing to compare at {cut}: the first session with a universe is {first}; cut later")
        since, session = before[0 if sessions is None else max(0, len(before) - sessions)].item(), before[-1].item()
        variants: dict[Against, _Inputs] = {"truncated": _until(whole, cut), "noise": _with_noise_after(whole, cut, random)}
        for against, inputs in variants.items():
            computed = compute(inputs, since, session)
            for stage, frame in truth.items():
                expected, actual = _known_at(stage, frame, cut, since), _known_at(stage, computed[stage], cut, since)
                _compare(report, stage, expected, actual, cut, against)
        expected = truth["features"].filter(pl.col("date") == session)
        actual = _from_short_history(variants["truncated"], universe, feature_set, session)
        _compare(report, "features", expected, actual, cut, "short history")
    return report


def _computed(
    inputs: _Inputs,
    first: date,
    last: date,
    universe: Universe,
    feature_set: str | FeatureSet,
    barriers: Barriers,
    cost_bps: float,
) -> dict[str, pl.DataFrame]:
    prices, members, macro = _prepared(inputs, universe)
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


def _from_short_history(inputs: _Inputs, universe: Universe, feature_set: str | FeatureSet, session: date) -> pl.DataFrame:
    """Features of the newest session from no more sessions before it than the feature set declares."""
    days = sessions_of(inputs.bars)
    since = days[max(0, len(days) - 1 - look_back(feature_set))].item()
    # The adjustment factor and the regime run from the first bar: they are taken as they were, and only rows are cut off.
    prices, members, macro = _prepared(inputs, universe)
    regime = regime_scores(prices, macro, members)
    recent = prices.filter(pl.col("date") >= since)
    return compute_features(recent, members, macro, session, session, feature_set, regime=regime)


def _prepared(inputs: _Inputs, universe: Universe) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None]:
    """Adjusted prices, the universe, and the macro series as known at each session."""
    observations, days = inputs.observations, sessions_of(inputs.bars).tolist()
    macro = None if observations is None else known_macro(observations, days)
    return adjusted(inputs.bars, inputs.actions), universe(inputs.bars), macro


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
    resolved = (pl.col("exit_date") <= cut).fill_null(value=False)
    return frame.filter(pl.col("date") >= since).with_columns(
        pl.when(pl.col("entry_date") <= cut).then("entry_date"),
        *(pl.when(resolved).then(name) for name in ("exit_date", "barrier", "gross_return", "net_return", "label")),
    )


def _compare(
    report: CausalityReport, stage: str, expected: pl.DataFrame, actual: pl.DataFrame, cut: date, against: Against
) -> None:
    keys = [name for name in ("date", "symbol") if name in expected.columns]
    columns = [name for name in expected.columns if name not in keys]
    prefix = "" if stage == "features" else f"{stage}."
    both = expected.select(*keys, pl.lit(value=True).alias("_expected"), *columns).join(
        actual.select(*keys, pl.lit(value=True).alias("_actual"), *columns), on=keys, how="full", coalesce=True, suffix=":actual"
    )
    both = both.sort(*keys)
    present = pl.col("_expected").is_not_null() & pl.col("_actual").is_not_null()
    tests = {f"{stage}.rows": present, **{prefix + n: ~present | pl.col(n).eq_missing(pl.col(f"{n}:actual")) for n in columns}}
    same = both.select(test.alias(name) for name, test in tests.items())
    for name in tests:
        report.checked[name] = report.checked.get(name, 0) + both.height
        wrong = ~same[name]
        if wrong.any():
            where = both.filter(wrong).row(0, named=True)
            report.violations.append(Violation(name, cut, against, where["date"], where.get("symbol"), int(wrong.sum())))
