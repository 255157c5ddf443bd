"""What a model of the registry declares: where it comes from, what may be tuned, what it costs, how it is built."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

ParamValue = float | int | str | bool
Cost = Literal["fast", "medium", "slow"]


class InvalidParamsError(ValueError):
    """Parameters that a model does not have or that lie outside of its search space: says what would be valid."""


class MissingColumnsError(ValueError):
    """A model reads features by name that its table does not hold: names them and the remedy."""


class ProbabilityEstimator(Protocol):
    """scikit-learn's contract, as every estimator of the registry keeps it.

    `X` is (rows, features) float32, NaN where unknown, rows in order of time; `y` is (rows,) of 0 and 1;
    `groups` says which rows were decided at the same session: integers, or session and symbol (`panel.panel_groups`),
    which models with a `look_back` need to find a row's past among the rows given. The first `n_context` rows are that past only.
    `look_back`, `sectors` and `needs_groups` are those of its `ModelSpec`: a saved estimator says itself what it has to be given.
    """

    @property
    def look_back(self) -> int: ...

    @property
    def sectors(self) -> bool: ...

    @property
    def needs_groups(self) -> bool: ...

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> "ProbabilityEstimator": ...

    def predict_proba(self, X: np.ndarray, groups: np.ndarray | None = None, n_context: int = 0) -> np.ndarray: ...

    def get_params(self, deep: bool = True) -> dict[str, Any]: ...


@runtime_checkable
class BinnedEstimator(Protocol):
    """An estimator whose table can be put into bins once, for all windows that learn from parts of it.

    `binned(X, first)` cuts the bins by the rows `first` alone, so that nothing later shows in them; `fit_binned` fits on
    rows of it (ascending positions, with a label of 0 or 1 each), for several windows at a time where threads call it.
    """

    def binned(self, X: np.ndarray, first: slice | np.ndarray) -> Any: ...

    def fit_binned(self, binned: object, rows: np.ndarray, y: np.ndarray) -> ProbabilityEstimator: ...


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; proposers draw on a log scale where `log` says so."""

    low: float
    high: float
    default: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.default <= self.high or (self.log and self.low <= 0):
            raise ValueError(f"not a range: {self}")

    def checked(self, value: object) -> ParamValue | None:
        """`value` in the range's own type, or None where it lies outside."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if not self.low <= value <= self.high or (self.integer and value != int(value)):
            return None
        return int(value) if self.integer else float(value)

    def describe(self) -> str:
        kind = "an integer" if self.integer else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choices:
    """One of a few values; the first is the default."""

    values: tuple[ParamValue, ...]

    @property
    def default(self) -> ParamValue:
        return self.values[0]

    def checked(self, value: object) -> ParamValue | None:
        """The value as declared, or None where it is not one of them."""
        return next((choice for choice in self.values if choice == value and type(choice) is type(value)), None)

    def describe(self) -> str:
        return "one of " + ", ".join(map(repr, self.values))


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model of the registry.

    Parameters
    ----------
    id, family : str
        Lower case with underscores, the `model` of a trial; the name of the file that declares it.
    source, summary : str
        Paper or library page of the method; one line: what it is good at.
    cost : {'fast', 'medium', 'slow'}
        Measured on 90,000 × 30 rows with one thread: up to 2 s, up to 20 s, more.
    core, gpu, handles_missing : bool
        One of the core models; runs on a GPU where there is one; reads NaN itself, which its estimator imputes otherwise.
    search_space : Mapping[str, Range or Choices]
        Every parameter that a trial may set, with its default.
    builder : callable
        `(params, seed, threads) -> ProbabilityEstimator`; imports its library when fitted, not before.
    columns : tuple of str
        Features that it reads by name, and no others; empty where it reads whatever it is given. Such a model is built with
        the names of its table's columns.
    look_back : int
        Sessions before a row's own that it reads, of the same symbol; 0 for a model of single rows. Such a model is fitted and
        asked with groups that name the symbol, and knows of the past what the rows given hold.
    optional_columns : tuple of str
        Features that it treats by name where its table has them: it is built with the positions of those.
    cross_sectional, sectors, both_timeframes : bool
        Reads the other rows of a row's session: give whole sessions, with groups, to `predict_proba`; reads the sector of a row's
        symbol; learns from the outcome of the other timeframe too. Groups tell it the sector, and the outcome of training rows.
    limits : str
        What this kind of model cannot learn, where there is something that others do.
    """

    id: str
    family: str
    core: bool = False
    source: str
    summary: str
    cost: Cost
    gpu: bool = False
    handles_missing: bool = False
    search_space: Mapping[str, Range | Choices]
    builder: Callable[[Mapping[str, Any], int, int], ProbabilityEstimator]
    columns: tuple[str, ...] = ()
    optional_columns: tuple[str, ...] = ()
    look_back: int = 0
    cross_sectional: bool = False
    sectors: bool = False
    both_timeframes: bool = False
    limits: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "search_space", MappingProxyType(dict(self.search_space)))

    @property
    def needs_groups(self) -> bool:
        """Whether a row's prediction depends on more than the row, which groups tell it."""
        return self.look_back > 0 or self.cross_sectional or self.sectors

    def resolved(self, params: Mapping[str, object]) -> dict[str, ParamValue]:
        """All parameters, in order of their names: those given, and the defaults of the rest.

        Raises
        ------
        InvalidParamsError
            For a name or a value outside of the search space; names all of them.
        """
        problems = []
        values: dict[str, ParamValue] = {name: space.default for name, space in self.search_space.items()}
        for name, value_given in params.items():
            space = self.search_space.get(name)
            if space is None:
                problems.append(f"{self.id} has no parameter {name!r}; it has {', '.join(sorted(self.search_space))}")
                continue
            value = space.checked(value_given)
            if value is None:
                problems.append(f"{name}={value_given!r} is outside of the space of {self.id}: give {space.describe()}")
            else:
                values[name] = value
        if problems:
            raise InvalidParamsError("; ".join(problems))
        return {name: values[name] for name in sorted(values)}

    def build(
        self,
        params: Mapping[str, object] | None = None,
        seed: int = 0,
        threads: int = 1,
        feature_names: Sequence[str] | None = None,
    ) -> ProbabilityEstimator:
        """An unfitted estimator.

        Parameters
        ----------
        params : mapping, optional
            Values inside the search space; what is left out takes its default.
        seed : int
            Same seed, same rows: same predictions.
        threads : int
            Most threads that fitting and predicting may use.
        feature_names : sequence of str, optional
            The columns of the matrix that it will be given, in order; only models with `columns` look at them. Without, their
            matrix has just these columns, in their order.

        Raises
        ------
        InvalidParamsError
            For a parameter outside of the search space.
        MissingColumnsError
            If a column that it reads by name is not among the names.
        """
        estimator = self.builder(self.resolved(params or {}), seed, threads)
        if (self.columns or self.optional_columns) and feature_names is not None:
            self.check_columns(feature_names)
            there = list(feature_names)
            places = {name: there.index(name) for name in self.optional_columns if name in there}
            positions = tuple(there.index(name) for name in self.columns) if self.columns else places
            estimator.set_params(positions=positions)  # type: ignore[attr-defined]  # ours: only these declare columns
        return estimator

    def reads_from(self, feature_names: Collection[str]) -> bool:
        """Whether every column that the model reads by name is among the names."""
        return all(name in feature_names for name in self.columns)

    def check_columns(self, feature_names: Collection[str]) -> None:
        """Raise `MissingColumnsError` unless every column that the model reads by name is among the names."""
        missing = [name for name in self.columns if name not in feature_names]
        if missing:
            raise MissingColumnsError(
                f"{self.id} reads the features {', '.join(self.columns)}, and there is no {', '.join(missing)}; choose a feature "
                "set that holds them, or another model"
            )
