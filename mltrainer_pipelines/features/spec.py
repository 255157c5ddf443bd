"""What a feature declares, and what a set of them is; a set is a file of `features/sets`, found by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FIELDS = {
    "open": "adjusted open",
    "high": "adjusted high",
    "low": "adjusted low",
    "close": "adjusted close, null where the symbol did not trade",
    "volume": "split-adjusted volume, shares",
    "dollar_volume": "unadjusted close times volume, $",
    "price": "last known adjusted close, at most 5 sessions old",
    "log_price": "natural log of price",
    "vwap": "adjusted volume-weighted mean price; the mean of open, high, low and close where the bars have none",
    "log_return": "log of close over the price of the session before",
    "direction": "1 where log_return is above 0, -1 where it is below, else 0",
    "overnight_return": "log of open over the price of the session before",
    "intraday_return": "log of close over open",
    "illiquidity": "|log_return| a million dollars traded",
    "market_return": "equal-weight mean log_return of the month's universe; one value a session",
    "sector_return": "equal-weight mean log_return of the members of the symbol's sector",
    "close_ratio": "close over the close of the session before; null after a session without trade",
    "move": "absolute change of the close since the session before, $",
    "rise": "change of the close where it rose, else 0, $",
    "rose": "1 where the close rose, else 0",
    "fell": "1 where the close fell, else 0",
    "moved_volume": "|close_ratio − 1| times volume, shares",
    "volume_move": "absolute change of volume since the session before, shares",
    "volume_rise": "change of volume where it rose, else 0, shares",
    "log_volume": "log of volume + 1",
    "log_volume_ratio": "log of 1 + volume over the volume of the session before",
}
"""Fields a feature can read, besides ``macro:<series>``, ``regime:<part>`` and the features declared before it."""

SERIES = ("macro:", "regime:")
"""How the names of fields begin that have one value a session and come from outside the bars."""

GAP = 6
"""Sessions beyond a feature's look-back that a filled gap and the return across it can reach."""

Formula = Callable[..., np.ndarray]
"""Takes a `window.Window`, gives a float matrix (sessions wanted, members); NaN where unknown."""


@dataclass(frozen=True)
class Feature:
    """The declaration of a feature.

    It `reads` fields (`FIELDS`, ``macro:<series>`` or ``regime:<part>``) and features declared before it, and the value at t
    uses `look_back` sessions before t. `name` is its column: lower case, the window in sessions last. `source` says where the
    idea comes from, authors and year; `summary` is one line for the reader, with the unit.
    """

    name: str
    reads: tuple[str, ...]
    look_back: int
    formula: Formula
    source: str
    summary: str


@dataclass(frozen=True)
class FeatureSet:
    """Features that are computed together: the columns in order, and the `bases` that are computed before them for them to
    read.

    `description` says in Markdown what the set is for: its paragraph of `docs/features.md`. Raises ValueError if a name
    repeats, or a feature reads what is neither a field nor declared before it.
    """

    name: str
    features: tuple[Feature, ...]
    bases: tuple[Feature, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for feature in self.all_features:
            if feature.name in seen or feature.name in ("date", "symbol"):
                raise ValueError(f"feature set {self.name}: the name {feature.name} is taken; choose another one")
            unknown = [r for r in feature.reads if r not in FIELDS and not r.startswith(SERIES) and r not in seen]
            if unknown:
                raise ValueError(
                    f"feature set {self.name}: {feature.name} reads {', '.join(unknown)}, neither a field "
                    f"({', '.join(FIELDS)}, macro:<series>, regime:<part>) nor a feature declared before it"
                )
            seen.add(feature.name)

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [feature.name for feature in self.features]

    @property
    def all_features(self) -> tuple[Feature, ...]:
        """What is computed, in order: the bases, then the columns."""
        return (*self.bases, *self.features)

    @cached_property
    def reads(self) -> frozenset[str]:
        """Fields and features that any of them reads."""
        return frozenset(read for feature in self.all_features for read in feature.reads)

    @property
    def depth(self) -> int:
        """Rows of a block before its month's first session."""
        return max((feature.look_back for feature in self.all_features), default=0) + GAP

    def only(self, names: Sequence[str]) -> "FeatureSet":
        """The set of these columns alone, in this order, as if the others had never been declared; LookupError for columns it
        lacks.
        """
        columns = {feature.name: feature for feature in self.features}
        lacking = [name for name in names if name not in columns]
        if lacking:
            raise LookupError(f"the feature set {self.name!r} has no {', '.join(lacking)}")
        needed = set(names)
        for feature in reversed(self.all_features):  # what is read is declared before
            if feature.name in needed:
                needed.update(feature.reads)
        bases = tuple(feature for feature in self.all_features if feature.name in needed and feature.name not in names)
        return FeatureSet(self.name, tuple(columns[name] for name in names), bases, self.description)
