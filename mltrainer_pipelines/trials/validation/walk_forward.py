"""The walk-forward: fit on what was known before a quarter, predict the quarter, one quarter after the other.

A quarter's predictions depend on the configuration and on rows known before the quarter only, never on which other quarters the
same run computes: a resumed trial gives what an uninterrupted one gives. Where a model works on bins (`BinnedEstimator`), those
of the whole table are cut once, by the training rows of the history's first window; every later window learns from that table.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import date
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.models.panel import UNKNOWN
from mltrainer_pipelines.models.spec import BinnedEstimator, ProbabilityEstimator
from mltrainer_pipelines.trials.config import MIN_TRAIN_SESSIONS, TrialConfig
from mltrainer_pipelines.trials.quarters import quarters_between
from mltrainer_pipelines.trials.scoring.cross_section import above_median
from mltrainer_pipelines.trials.scoring.permutation_importance import permutation_importance
from mltrainer_pipelines.trials.validation.neutral_outcomes import NeutralOutcomes
from mltrainer_pipelines.trials.validation.quarters import FittedModel, QuarterPredictions
from mltrainer_pipelines.trials.validation.table import (
    KEYS,
    BadFeaturesError,
    feature_names,
    model_matrix,
    most_liquid,
    row_groups,
    with_sectors,
)
from mltrainer_pipelines.trials.validation.windows import (
    EMBARGO_SESSIONS,
    EmptyWindowError,
    Window,
    as_of_window,
    quarter_window,
)

MIN_TRAIN_ROWS = 300
"""Rows with a known outcome below which no model is fitted."""


class TooFewRowsError(ValueError):
    """A window without enough known outcomes to learn from: names the window, what it has and what to do."""


class BadPredictionsError(ValueError):
    """A model gave something other than probabilities: names the trial, the window and the rows."""


class WalkForward:
    """The table of a trial, built once and used for all of its quarters.

    Features are date, symbol and feature columns (null where unknown), for every session that is trained on or predicted. Labels
    are date, symbol, exit_date, barrier, net_return, label, all but the keys null where not yet known; with a `timeframe` column
    only the configuration's is used. Sessions are in order, by default those of XNYS from the first to the last date of the
    features. With a `universe` (month, symbol, rank) the `config.universe_size` most liquid symbols of each month are kept.
    `embargo` sessions are left out between the last known label and a quarter.

    BadFeaturesError if the features have no row, no feature column, infinite values, or a (date, symbol) twice.
    """

    def __init__(
        self,
        config: TrialConfig,
        features: pl.DataFrame,
        labels: pl.DataFrame,
        sessions: Sequence[date] | None = None,
        universe: pl.DataFrame | None = None,
        embargo: int = EMBARGO_SESSIONS,
        threads: int = 1,
    ):
        self.config, self.embargo, self.threads = config, embargo, threads
        names = feature_names(features)
        if features.is_empty():
            raise BadFeaturesError(f"trial {config.trial_id}: no row of features; materialize features for its quarters first")
        features = features.sort(KEYS)
        # ranks are among the whole session's rows, as they are when the market is scored; only then are some left out
        X = model_matrix(features, names, config.normalise)
        if universe is not None:
            kept = most_liquid(features, universe, config.universe_size)
            features, X = features.filter(kept), X[_as_slice(kept)]
        self.others: pl.DataFrame | None = None
        columns = [*KEYS, "exit_date", "barrier", "net_return", "label"]
        if "timeframe" in labels.columns:
            if config.spec.both_timeframes:
                self.others = labels.filter(pl.col("timeframe") != config.timeframe).select(columns)
            labels = labels.filter(pl.col("timeframe") == config.timeframe)
        rows = features.select(KEYS).join(labels.select(columns), on=KEYS, how="left", maintain_order="left")
        if rows.height > features.height or rows.select(KEYS).is_duplicated().any():
            raise BadFeaturesError(
                f"trial {config.trial_id}: features or labels hold a (date, symbol) twice; materialize that month again"
            )
        if config.spec.columns:
            config.spec.check_columns(names)
        self._neutral: NeutralOutcomes | None = None
        if config.target == "neutral":
            members = rows.select(KEYS) if universe is None else with_sectors(rows.select(KEYS), universe)
            self._neutral = NeutralOutcomes(rows, features, members)
        if config.spec.sectors and universe is not None:
            rows = with_sectors(rows, universe)
        self.feature_names, self.rows, self.X = names, rows, X
        if sessions is None:
            from mltrainer_pipelines.market.sessions import sessions_between

            sessions = sessions_between(rows["date"][0], rows["date"][-1])
        self.sessions = list(sessions)
        self._binned: Any = None
        self._binning = Lock()

    def __getstate__(self) -> dict[str, object]:
        """What another process needs: the table. Bins stay here; it cuts the same ones for itself."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_binned", "_binning")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _binned=None, _binning=Lock())

    def quarters(self) -> list[tuple[date, date]]:
        """Quarters, as (first day, first day after), that have rows to predict and half a year of known outcomes before them."""
        return list(self._quarters())

    def _quarters(self) -> Iterator[tuple[date, date]]:
        dates = self.rows["date"]
        for start, end in quarters_between(dates[0], dates[-1]):
            try:
                window = self.window(start, end)
            except EmptyWindowError:
                continue
            train = self.rows.filter(window.trains)
            if train["date"].n_unique() >= MIN_TRAIN_SESSIONS and train.height >= MIN_TRAIN_ROWS:
                yield start, end

    def window(self, quarter_start: date, quarter_end: date) -> Window:
        """The window that predicts the quarter; `quarter_end` is the first day after it."""
        return quarter_window(quarter_start, quarter_end, self.sessions, self.config.train_sessions, self.embargo)

    def fit(self, window: Window) -> FittedModel:
        """Fit on the rows whose outcome was known before the window; TooFewRowsError where they are too few, or of one class."""
        begin = time.perf_counter()
        kept = self.rows.select(window.trains).to_series().to_numpy()
        resolved = self.rows.filter(kept)
        where = f"trial {self.config.trial_id}, window from {window.test_first}"
        if resolved.height < MIN_TRAIN_ROWS:
            raise TooFewRowsError(
                f"{where}: {resolved.height} rows from {window.train_first} have an outcome known before {window.cutoff}, "
                f"{MIN_TRAIN_ROWS} are needed; start with a later quarter, or materialize features and labels of earlier months"
            )
        y, base_rate = resolved["label"].to_numpy(), float(resolved["label"].mean())  # type: ignore[arg-type]
        if y.min() == y.max():
            raise TooFewRowsError(
                f"{where}: all {len(y)} outcomes known before {window.cutoff} are {'gains' if y[0] else 'losses'}, so there is "
                "nothing to tell apart; start with a later quarter, a longer train_sessions or a larger universe_size"
            )
        groups = resolved["date"].to_physical().to_numpy()
        ranks: np.ndarray | None = None
        if self.config.target != "absolute":
            if self._neutral is not None:
                ranks = self._neutral.ranks(kept)
                y, usable = (ranks > 0).astype(np.int8), ~np.isnan(ranks)
                ranks = ranks[usable]
            else:
                y, usable = above_median(resolved["net_return"].to_numpy(), groups)
            if y[usable].size < MIN_TRAIN_ROWS or y[usable].min() == y[usable].max():
                raise TooFewRowsError(
                    f"{where}: of {len(y)} outcomes known before {window.cutoff} too few have others of their session to compare "
                    "with; start with a later quarter or a larger universe_size, or learn the target 'absolute'"
                )
            kept[kept] = usable
            y = y[usable]
        rows = _as_slice(kept)
        spec = self.config.spec
        groups = row_groups(self.rows.filter(kept))
        if spec.both_timeframes and self.others is not None:
            resolved_others = self.others.filter(window.resolved)
            others = self.rows.filter(kept).select(KEYS).join(resolved_others, on=KEYS, how="left", maintain_order="left")
            groups["other"] = others["label"].fill_null(UNKNOWN).to_numpy()
        if ranks is not None:
            groups["outcome"] = ranks
        estimator = spec.build(self.config.params, seed=self.config.seed, threads=self.threads, feature_names=self.feature_names)
        try:
            if isinstance(estimator, BinnedEstimator) and self._has_bins(window, rows):
                estimator.fit_binned(self._bins(estimator), np.flatnonzero(kept), y)
            else:
                estimator.fit(self.X[rows], y, groups)
        except Exception as error:
            error.add_note(where)
            raise
        return FittedModel(
            estimator=estimator,
            feature_names=self.feature_names,
            trained_rows=len(y),
            trained_from=resolved["date"][0],
            trained_until=resolved["date"][-1],
            base_rate=base_rate,
            seconds=time.perf_counter() - begin,
        )

    def fit_as_of(self, as_of: date) -> FittedModel:
        """Fit on every row whose outcome is known at the close of session `as_of`."""
        return self.fit(as_of_window(as_of, self.sessions, self.config.train_sessions))

    def predict_quarter(self, quarter_start: date, quarter_end: date) -> QuarterPredictions:
        """Fit on what was known before a quarter and predict it; `quarter_end` is the first day after it.

        EmptyWindowError or TooFewRowsError if it has no session, or too little is known before it; BadFeaturesError or
        BadPredictionsError if it has no features, or the model gives NaN or values outside of [0, 1].
        """
        return self.predict_with(self.fit(self.window(quarter_start, quarter_end)), quarter_start, quarter_end)

    def predict_with(self, fitted: FittedModel, quarter_start: date, quarter_end: date) -> QuarterPredictions:
        """Predict a quarter with a model fitted before it; as `predict_quarter`."""
        begin = time.perf_counter()
        window = self.window(quarter_start, quarter_end)
        dates = self.rows["date"]
        first, end = dates.search_sorted(window.test_first, "left"), dates.search_sorted(window.test_last, "right")
        if first == end:
            raise BadFeaturesError(
                f"trial {self.config.trial_id}: no features from {window.test_first} to {window.test_last}; "
                "materialize features for these months first"
            )
        scores = self._scores(fitted.estimator, first, end)
        keys = self.rows[first:end].select(KEYS)
        bad = np.flatnonzero(~((scores >= 0.0) & (scores <= 1.0)))  # NaN compares false
        if len(bad):
            row = int(bad[0])
            raise BadPredictionsError(
                f"trial {self.config.trial_id}, quarter from {quarter_start}: {len(bad)} of {len(scores)} predictions are not "
                f"probabilities, the first is {scores[row]} for {keys['symbol'][row]} on {keys['date'][row]}; this model cannot "
                "be trusted on these features"
            )
        importances = None
        if not self.config.spec.needs_groups:

            def predict(X: np.ndarray) -> np.ndarray:
                return np.asarray(fitted.estimator.predict_proba(X), dtype=np.float64)[:, 1]

            seed = self.config.seed + quarter_start.toordinal()
            importances = permutation_importance(predict, self.X[first:end], scores, fitted.feature_names, seed)
        return QuarterPredictions(
            quarter_start=quarter_start,
            quarter_end=quarter_end,
            predictions=keys.with_columns(score=scores),
            window=window,
            trained_rows=fitted.trained_rows,
            trained_from=fitted.trained_from,
            trained_until=fitted.trained_until,
            base_rate=fitted.base_rate,
            seconds=fitted.seconds + time.perf_counter() - begin,
            importances=importances,
        )

    @property
    def shares_bins(self) -> bool:
        """Whether the windows learn from one table of bins, and may do so at the same time in threads."""
        return isinstance(self.config.spec.build(self.config.params), BinnedEstimator)

    @cached_property
    def _first_window(self) -> tuple[Window, slice | np.ndarray] | None:
        """The first window of the history that trains, and its training rows; None where it is too short for one."""
        for quarter in self._quarters():
            window = self.window(*quarter)
            return window, _as_slice(self.rows.select(window.trains).to_series().to_numpy())
        return None

    @cached_property
    def _unseen(self) -> np.ndarray:
        """Positions of the features that were the same for all rows of the first window: it has no bins for them."""
        assert self._first_window is not None  # noqa: S101
        return np.flatnonzero(_constant(self.X[self._first_window[1]]))

    def _has_bins(self, window: Window, rows: slice | np.ndarray) -> bool:
        """Whether the first window's bins serve a window: it is no earlier one, and knows no feature that the first did not."""
        if self._first_window is None or window.cutoff < self._first_window[0].cutoff:
            return False
        return not self._unseen.size or bool(_constant(self.X[rows][:, self._unseen]).all())

    def _bins(self, estimator: BinnedEstimator) -> object:
        """The table in bins cut by the first window's training rows, made at its first use."""
        with self._binning:
            if self._binned is None:
                assert self._first_window is not None  # noqa: S101
                self._binned = estimator.binned(self.X, self._first_window[1])
            return self._binned

    def _scores(self, estimator: ProbabilityEstimator, first: int, end: int) -> np.ndarray:
        """The estimator's probabilities for rows `first` to `end`; it is also shown the sessions before that it looks back on."""
        spec, start = self.config.spec, first
        if spec.look_back:
            dates = self.rows["date"]
            days = dates[: first + 1].unique().sort()
            start = int(dates.search_sorted(days[max(0, len(days) - 1 - spec.look_back)], "left"))
        groups = row_groups(self.rows[start:end]) if spec.needs_groups else None
        return np.asarray(estimator.predict_proba(self.X[start:end], groups, first - start), dtype=np.float64)[:, 1]


def _constant(X: np.ndarray) -> np.ndarray:
    """Whether each column has fewer than two different known values."""
    present = ~np.isnan(X)
    lowest, highest = np.where(present, X, np.inf).min(axis=0), np.where(present, X, -np.inf).max(axis=0)
    return np.asarray(lowest >= highest)


def _as_slice(kept: np.ndarray) -> slice | np.ndarray:
    """The kept rows as a slice where they are neighbours: a view of the matrix instead of a copy."""
    positions = np.flatnonzero(kept)
    if len(positions) and positions[-1] - positions[0] + 1 == len(positions):
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions
