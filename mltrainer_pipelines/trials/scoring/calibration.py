"""Calibrated curves: from the percentile of a score to the probability of a profit, how well that is known, and the return.

`calibration_fit` says what they are learnt from, and how.
"""

from dataclasses import dataclass

import numpy as np

REGIME_EDGES = (25.0, 50.0, 75.0)
"""Where one regime ends and the next begins, of the score from 0 to 100: a crash, a weak, a fair and a strong market."""


@dataclass(frozen=True)
class CalibratedScores:
    """What scores mean, row by row.

    The probability that the net return at exit is above zero, the Venn–Abers interval around it, and the net return to expect:
    a fraction of the entry's value, after costs.
    """

    probability: np.ndarray
    low: np.ndarray
    high: np.ndarray
    expected_net_return: np.ndarray


@dataclass(frozen=True)
class Level:
    """How a market pays at all, whichever symbol is picked.

    The share of net returns above zero, their mean, and how many independent outcomes that is known from.
    """

    rate: float
    net_return: float
    effective_rows: float


@dataclass(frozen=True, eq=False)
class RegimeInterval:
    """The Venn–Abers interval of one regime at the calibrator's `scores`; both sides are non-decreasing.

    It comes of `rows` of that regime, worth `effective_rows` independent ones: none where it was never seen, and other regimes
    tell all there is.
    """

    low: np.ndarray
    high: np.ndarray
    rows: int
    effective_rows: float


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Curves over the percentile of a score, precomputed at a few knots and interpolated; flat beyond the outermost.

    `scores` are the mean percentiles of bins, strictly increasing, `low` and `high` the Venn–Abers interval there;
    `return_scores` and `returns` the centred isotonic regression of the net return. `rows` outcomes were learnt from, worth
    `effective_rows` independent ones. `base_rate` is what a score in the middle means; `slope` and `return_slope` are the shares
    of the fitted rise that are kept, from 0 (every score means the level) to 1. `regimes` go from the worst to the best, with
    `REGIME_EDGES` between them; empty where no regime was known.
    """

    scores: np.ndarray
    low: np.ndarray
    high: np.ndarray
    return_scores: np.ndarray
    returns: np.ndarray
    rows: int
    effective_rows: float
    base_rate: float
    slope: float
    return_slope: float
    regimes: tuple[RegimeInterval, ...] = ()

    def apply(self, scores: np.ndarray, regime_scores: np.ndarray | None = None) -> CalibratedScores:
        """What each percentile means; NaN in, NaN out.

        With the regime of each (0 to 100, as known at the decision) the interval is that of this regime; without, or where it is
        NaN, that of all regimes together. The probability does not depend on it.
        """
        scores = np.asarray(scores, dtype=np.float64)
        low, high = np.interp(scores, self.scores, self.low), np.interp(scores, self.scores, self.high)
        probability = high / (1.0 - low + high)
        if regime_scores is not None and self.regimes:
            numbers = regime_numbers(regime_scores)
            for number, own in enumerate(self.regimes):
                there = numbers == number
                low[there] = np.minimum(np.interp(scores[there], self.scores, own.low), probability[there])
                high[there] = np.maximum(np.interp(scores[there], self.scores, own.high), probability[there])
        return CalibratedScores(
            probability=probability,
            low=low,
            high=high,
            expected_net_return=np.interp(scores, self.return_scores, self.returns),
        )


def regime_numbers(scores: np.ndarray) -> np.ndarray:
    """0 for the worst regime to `len(REGIME_EDGES)` for the best; -1 where the score is NaN."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.where(np.isnan(scores), -1, np.searchsorted(REGIME_EDGES, scores, side="right"))
