"""`mltrainer audit power`: how often a ranking of known skill is graded `proven`, by the market, its size and the years.

Prices are random walks with fat tails, a common factor and a drift that the score knows; how strong the drift is decides how
well the score ranks the outcomes. Labels, calibration, scorecard and grade are those of every trial.

Source: Harvey & Liu (2014), Evaluating Trading Strategies, Journal of Portfolio Management 40(5): a bar against luck is worth
what it lets through, and what it stops.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.audits.result import AuditResult, Progress
from mltrainer_pipelines.audits.simulated_market import COST_BPS
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES, Timeframe
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.promotion import grade
from mltrainer_pipelines.trials.scoring.score import score
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard
from mltrainer_pipelines.trials.scoring.series import Floats
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward

RANK_ICS = (0.0, 0.02, 0.03, 0.05, 0.10)
YEARS = (3, 5)
SYMBOLS = (120, 200, 500)
MARKETS = {"rising": 0.12, "flat": 0.0, "falling": -0.20}
"""Mean return of the market a year."""
MOST_FALSE, LEAST_FOUND = 0.01, 0.80
FOUND_FROM = {"short": 0.05, "long": 0.10}
"""The rank IC from which a skill has to be proven within three years."""
TRIALS = 4
"""Trials that a scorecard is deflated by: as many as a demo runs."""
_FIRST, _WARM_UP = date(2012, 1, 3), 260
_MEMORY = 0.5 ** (1 / 40)
_STRENGTH = {"short": 1.37, "long": 1.29}
"""Daily drift in units of the symbol's volatility for a rank IC of 1, before what barriers and ranks take of it."""


@dataclass(frozen=True)
class Case:
    """One cell of the power curve."""

    timeframe: str
    rank_ic: float
    years: int
    symbols: int
    market: str


def audit_power(
    seeds: int = 20,
    rank_ics: Sequence[float] = RANK_ICS,
    years: Sequence[int] = YEARS,
    symbols: Sequence[int] = SYMBOLS,
    markets: Sequence[str] = tuple(MARKETS),
    timeframes: Sequence[str] = tuple(TIMEFRAMES),
    progress: Progress = lambda *_: None,
) -> AuditResult:
    """The share of seeds that come out `proven` in each case, and what the scorecards of these found.

    Passes where of all rankings without skill at most 1 % are proven, and of those with a rank IC of 0.05 (`short`) or 0.10
    (`long`) over three years at least 80 %.
    """
    begin = time.perf_counter()
    cases = [Case(*values) for values in product(timeframes, rank_ics, years, symbols, markets)]
    rows: list[dict[str, Any]] = []
    for case in cases:
        cards = [simulated_scorecard(case, seed) for seed in range(seeds)]
        rows.append(
            {
                **vars(case),
                "proven": float(np.mean([grade(card) == "proven" for card in cards])),
                "rank_ic_found": float(np.mean([card.rank_ic or 0.0 for card in cards])),
                "ranking_z": float(np.mean([card.ranking_z or 0.0 for card in cards])),
            }
        )
        progress(f"{case.timeframe}, rank IC {case.rank_ic:g}, {case.symbols} symbols, {case.market}", len(rows) / len(cases))
    table = pl.DataFrame(rows)
    false = [row["proven"] for row in rows if row["rank_ic"] == 0.0]
    shares = {"false_proofs": float(np.mean(false)) if false else None}
    for name, bar in FOUND_FROM.items():
        proofs = [row["proven"] for row in rows if (row["timeframe"], row["rank_ic"], row["years"]) == (name, bar, 3)]
        shares[f"found_{name}"] = float(np.mean(proofs)) if proofs else None
    missed = [share for name, share in shares.items() if name != "false_proofs" and share is not None and share < LEAST_FOUND]
    passed = (shares["false_proofs"] or 0.0) <= MOST_FALSE and not missed
    lines = tuple(_lines(table, seeds))
    return AuditResult("power", passed, {"seeds": seeds, "cases": rows, **shares}, lines, time.perf_counter() - begin)


def simulated_scorecard(case: Case, seed: int) -> Scorecard:
    """The scorecard of a score that knows a part of the drift of a market, over some years out of sample."""
    horizon = TIMEFRAMES[case.timeframe]
    sessions = sessions_between(_FIRST, date(_FIRST.year + 9, 12, 31))[: _WARM_UP + 252 * case.years]
    bars, known = _market(case, horizon, sessions, seed)
    decided = sessions[_WARM_UP:]
    months = sorted({session.replace(day=1) for session in decided})
    universe = pl.DataFrame({"month": months}).join(bars.select("symbol").unique(), how="cross")
    labels = compute_labels(bars, universe, horizon, Barriers(), COST_BPS, decided[0], decided[-1])
    config = TrialConfig(model="logistic_l2", timeframe=horizon.name, universe_size=case.symbols)
    predictions = known.filter(pl.col("date") >= decided[0])
    calibrated = calibrate_walk_forward(predictions, labels, sessions)
    return score(config, calibrated, labels, bars, (), TRIALS, COST_BPS, by_quarters=False).scorecard


def _market(case: Case, horizon: Timeframe, sessions: list[date], seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars, and the score of every session and symbol: the drift of the sessions after it, in units of its volatility."""
    rng = np.random.default_rng([seed, case.symbols, list(MARKETS).index(case.market)])
    shape = (len(sessions), case.symbols)
    volatility = np.clip(np.exp(rng.normal(np.log(0.018), 0.3, case.symbols)), 0.008, 0.045)
    beta = np.clip(rng.normal(1.0, 0.3, case.symbols), 0.3, 2.0)
    market = MARKETS[case.market] / 252 + 0.01 * _fat(rng, (shape[0], 1))
    signal = rng.standard_normal(shape)
    for row in range(1, shape[0]):
        signal[row] = _MEMORY * signal[row - 1] + np.sqrt(1 - _MEMORY**2) * signal[row]
    periods = horizon.max_sessions
    kept = (1 - _MEMORY**periods) / (1 - _MEMORY) / np.sqrt(periods)
    drift = np.zeros(shape)
    drift[1:] = _STRENGTH[horizon.name] * case.rank_ic / kept * volatility * signal[:-1]
    night, day = (
        np.clip(share * (drift + beta * market) + np.sqrt(share) * volatility * _fat(rng, shape), -0.5, 0.5)
        for share in (0.25, 0.75)
    )
    close = 50.0 * np.cumprod((1 + night) * (1 + day), axis=0)
    open_ = close / (1 + day)
    reach = 0.4 * volatility * np.abs(rng.standard_normal((2, *shape)))
    high, low = np.maximum(open_, close) * (1 + reach[0]), np.minimum(open_, close) * np.exp(-reach[1])
    names = [f"S{number:03}" for number in range(case.symbols)]
    index = {"date": np.repeat(np.array(sessions, dtype="datetime64[D]"), case.symbols), "symbol": names * shape[0]}
    prices = {"adj_open": open_, "adj_high": high, "adj_low": low, "adj_close": close}
    bars = pl.DataFrame(index | {name: values.ravel() for name, values in prices.items()})
    return bars, pl.DataFrame(index | {"score": signal.ravel()})


def _fat(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.asarray(np.clip(rng.standard_t(5, shape) * np.sqrt(0.6), -7, 7))


def _lines(table: pl.DataFrame, seeds: int) -> Iterator[str]:
    yield f"share of {seeds} seeds proven, mean over {', '.join(table['market'].unique(maintain_order=True))} markets"
    for (timeframe, years, symbols), rows in table.group_by("timeframe", "years", "symbols", maintain_order=True):
        curve = rows.group_by("rank_ic", maintain_order=True).agg(pl.col("proven").mean())
        cells = ", ".join(f"{proven:.0%} at {rank_ic:g}" for rank_ic, proven in curve.rows())
        yield f"{timeframe}, {years} years, {symbols} symbols: {cells}"
