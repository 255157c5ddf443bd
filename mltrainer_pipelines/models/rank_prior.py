"""What each feature's rank said about later ranks on a long real market, by the day from which that was known.

`rank_prior.json` is written by `python -m benchmarks.rank_prior` from 19 years of US companies (docs/skill.md). Other weights
are another prior: they get a name of their own, so that a trial keeps its result.
"""

import json
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("rank_prior.json")
NONE = "none"
_EPOCH = date(1970, 1, 1)


def names() -> tuple[str, ...]:
    """The features that it weighs."""
    return tuple(_table()["features"])


def weights(timeframe: str, session: int) -> dict[str, float]:
    """The weight of each feature's session rank, as known at a session, in days since 1970; none for a session before them.

    >>> weights("short", 0)
    {}
    >>> len(weights("short", 20_000)) == len(names())
    True
    """
    if timeframe == NONE:
        return {}
    day = str(_EPOCH + timedelta(days=int(session)))
    known = [begin for begin in _table()[timeframe] if begin <= day]
    return dict(zip(names(), _table()[timeframe][max(known)], strict=True)) if known else {}


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text()))
