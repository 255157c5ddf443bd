"""Outcomes of a session's symbols beside each other, free of what moves many of them at once.

Most of what a stock earns in weeks comes with the market and its sector, and the most volatile ones earn the most and the
least. Here each net return is taken in the symbol's own daily volatilities, and what is left of it beside a line through beta and
the rank of volatility and a mean of each sector is ranked within the session.

Source: Blitz, Huij & Martens (2011), Residual Momentum; Gu, Kelly & Xiu (2020), section 2.1, for ranks.
"""

from itertools import pairwise

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.ranks import session_groups, session_percentiles
from mltrainer_pipelines.models.rankers import NEUTRAL_TO

MIN_ROWS = 10
"""Rows of a session with a known outcome below which it says nothing."""
TAIL = 0.01
"""Share of a session's outcomes at either end that is clipped."""


class NeutralOutcomes:
    """The ranks of the outcomes of a table, session by session, from the rows whose outcome a window knows.

    `rows` have date, symbol and net_return, sorted by date; `features` are theirs as they were computed; `members` may tell their
    sector.
    """

    def __init__(self, rows: pl.DataFrame, features: pl.DataFrame, members: pl.DataFrame):
        self._sessions = rows["date"].to_physical().to_numpy()
        beta, volatility = (features[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in NEUTRAL_TO)
        net_return = rows["net_return"].fill_null(float("nan")).to_numpy()
        known = volatility > 0.0
        self._outcome = np.where(known, net_return / np.where(known, volatility, 1.0), np.nan)
        self._risk = np.column_stack(
            [np.where(np.isnan(beta), 1.0, beta), session_percentiles(volatility, self._sessions), np.ones(len(beta))]
        )
        sectors = members["sector"] if "sector" in members.columns else pl.Series([None] * rows.height, dtype=pl.String)
        self._sector = sectors.rank("dense").fill_null(0).to_numpy().astype(np.int64)
        self._by_session: dict[int, tuple[int, np.ndarray]] = {}

    def ranks(self, kept: np.ndarray) -> np.ndarray:
        """The session rank of each kept row, -0.5 to 0.5; NaN where its session has too few rows or it no volatility."""
        at = np.flatnonzero(kept)
        sessions = self._sessions[at]
        _, starts = session_groups(sessions)
        out = np.full(len(at), np.nan)
        for start, stop in pairwise(starts.tolist()):
            day, before = int(sessions[start]), self._by_session.get(int(sessions[start]))
            if before is None or before[0] != stop - start:  # more of its outcomes are known than to the window before
                self._by_session[day] = before = (stop - start, self._ranked(at[start:stop]))
            out[start:stop] = before[1]
        return out

    def _ranked(self, rows: np.ndarray) -> np.ndarray:
        out = np.full(len(rows), np.nan)
        known = ~np.isnan(self._outcome[rows])
        rows = rows[known]
        if len(rows) < MIN_ROWS:
            return out
        outcome = self._outcome[rows]
        outcome = np.clip(outcome, *np.quantile(outcome, (TAIL, 1.0 - TAIL)))
        numbers, sector = np.unique(self._sector[rows], return_inverse=True)
        design = self._risk[rows]
        if len(rows) > 4 * (len(numbers) + 3):
            design = np.column_stack([design, np.eye(len(numbers))[sector]])
        left = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
        out[known] = session_percentiles(left, np.zeros(len(rows), np.int64)) - 0.5
        return out
