"""The 158 features of Qlib's Alpha158, by Qlib's names. On the shared bars 99.97 % of the 45.7 million values that both
have differ by less than a thousandth from Qlib 0.9.7's. The others, and the values that only one has:

- **Precision.** Qlib stores prices in single precision. Where a feature is a small difference of large numbers, its
  last digits are Qlib's rounding: KSFT and KSFT2 near 0, RESI, BETA, RSQR and CORR of 5 to 20 sessions, CORD.
- **Gaps.** In a window with a session on which the symbol did not trade, Qlib counts that session as neither risen
  nor fallen in CNTP, CNTN and CNTD, and takes it for the extreme in IMAX, IMIN and IMXD. Here it is left out.
- **Beginnings.** Qlib computes from as much of a window as there is, from 1 session on. Here 80 % of the window must
  be known, and a window that begins before the bars do is null.
- **Denominators of 0.** Qlib adds 1e-12 to them, which gives 0 (KMID2, RSV, SUMP of a constant price) or values of
  the order of 1e17 (VMA without volume). Here they are null.
"""

from collections.abc import Callable

import numpy as np

from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines.features.window import Window

SOURCE = "Yang, Liu, Zhou, Bian & Liu (2020), Qlib; Alpha158"
WINDOWS = (5, 10, 20, 30, 60)

Formula = Callable[[Window], np.ndarray]


def _feature(name: str, reads: tuple[str, ...], look_back: int, formula: Formula, summary: str) -> Feature:
    return Feature(name, reads, look_back, formula, SOURCE, summary)


def _session(name: str, numerator: Formula, over: str, summary: str) -> Feature:
    """A feature of one session's bar, as a share of the open or of the day's range."""

    def formula(w: Window) -> np.ndarray:
        return numerator(w) / (w.now("open") if over == "open" else w.now("high") - w.now("low"))

    return _feature(name, ("open", "high", "low", "close"), 0, formula, summary)


def _upper(w: Window) -> np.ndarray:
    return w.now("high") - np.maximum(w.now("open"), w.now("close"))


def _lower(w: Window) -> np.ndarray:
    return np.minimum(w.now("open"), w.now("close")) - w.now("low")


def _body(w: Window) -> np.ndarray:
    return w.now("close") - w.now("open")


def _shift(w: Window) -> np.ndarray:
    return 2.0 * w.now("close") - w.now("high") - w.now("low")


def _over_close(field: str) -> Feature:
    return _feature(f"{field.upper()}0", (field, "close"), 0, lambda w: w.now(field) / w.now("close"), f"{field} over close")


def _mean(w: Window, field: str, d: int) -> np.ndarray:
    return w.nested("means", (field,), WINDOWS, d)[0]


def _moments(w: Window, field: str, d: int) -> np.ndarray:
    return w.nested("moments", (field,), WINDOWS, d)


def _line(w: Window, d: int) -> np.ndarray:
    return w.nested("line", ("close",), WINDOWS, d)


def _order(w: Window, d: int) -> np.ndarray:
    return w.nested("order_statistics", ("close",), WINDOWS, d, 0.2, 0.8)


def _highest(w: Window, d: int) -> np.ndarray:
    return w.nested("extremes", ("high",), WINDOWS, d, 1.0)


def _lowest(w: Window, d: int) -> np.ndarray:
    return w.nested("extremes", ("low",), WINDOWS, d, -1.0)


def _gains(w: Window, up: str, move: str, d: int) -> np.ndarray:
    """Rises as a share of all moves of the window."""
    return _mean(w, up, d) / _mean(w, move, d)


def _variation(w: Window, d: int) -> np.ndarray:
    mean, deviation = _moments(w, "moved_volume", d)
    return deviation / mean


# One call a feature, its fields in the order of the declaration, reads as the table that it is.
# fmt: off
def _rolling(d: int) -> dict[str, Feature]:
    """The features over windows of `d` sessions, by Qlib's name without the number."""
    features = (
        _feature(f"ROC{d}", ("close",), d, lambda w: w.lagged("close", d) / w.now("close"),
                 f"close of {d} sessions ago over the close"),
        _feature(f"MA{d}", ("close",), d - 1, lambda w: _moments(w, "close", d)[0] / w.now("close"),
                 f"mean close of {d} sessions over the close"),
        _feature(f"STD{d}", ("close",), d - 1, lambda w: _moments(w, "close", d)[1] / w.now("close"),
                 f"standard deviation of {d} closes over the close"),
        _feature(f"BETA{d}", ("close",), d - 1, lambda w: _line(w, d)[0] / w.now("close"),
                 f"slope a session of the line through {d} closes, over the close"),
        _feature(f"RSQR{d}", ("close",), d - 1, lambda w: _line(w, d)[1], f"R² of the line through {d} closes"),
        _feature(f"RESI{d}", ("close",), d - 1, lambda w: _line(w, d)[2] / w.now("close"),
                 f"the close minus the line through {d} closes, over the close"),
        _feature(f"MAX{d}", ("high", "close"), d - 1, lambda w: _highest(w, d)[0] / w.now("close"),
                 f"highest high of {d} sessions over the close"),
        _feature(f"MIN{d}", ("low", "close"), d - 1, lambda w: _lowest(w, d)[0] / w.now("close"),
                 f"lowest low of {d} sessions over the close"),
        _feature(f"QTLU{d}", ("close",), d - 1, lambda w: _order(w, d)[1] / w.now("close"),
                 f"80 % quantile of {d} closes over the close"),
        _feature(f"QTLD{d}", ("close",), d - 1, lambda w: _order(w, d)[0] / w.now("close"),
                 f"20 % quantile of {d} closes over the close"),
        _feature(f"RANK{d}", ("close",), d - 1, lambda w: _order(w, d)[2], f"percentile of the close among {d} closes"),
        _feature(f"RSV{d}", ("high", "low", "close"), d - 1,
                 lambda w: (w.now("close") - _lowest(w, d)[0]) / (_highest(w, d)[0] - _lowest(w, d)[0]),
                 f"place of the close between the lowest low and the highest high of {d} sessions"),
        _feature(f"IMAX{d}", ("high",), d - 1, lambda w: _highest(w, d)[1] / d,
                 f"place of the highest high in the window of {d} sessions; 1 is now"),
        _feature(f"IMIN{d}", ("low",), d - 1, lambda w: _lowest(w, d)[1] / d,
                 f"place of the lowest low in the window of {d} sessions; 1 is now"),
        _feature(f"IMXD{d}", ("high", "low"), d - 1, lambda w: (_highest(w, d)[1] - _lowest(w, d)[1]) / d,
                 f"sessions from the lowest low to the highest high of {d} sessions, over {d}"),
        _feature(f"CORR{d}", ("close", "log_volume"), d - 1,
                 lambda w: w.nested("correlation", ("close", "log_volume"), WINDOWS, d)[0],
                 f"correlation of close and log volume over {d} sessions"),
        _feature(f"CORD{d}", ("close_ratio", "log_volume_ratio"), d,
                 lambda w: w.nested("correlation", ("close_ratio", "log_volume_ratio"), WINDOWS, d)[0],
                 f"correlation of the changes of close and log volume over {d} sessions"),
        _feature(f"CNTP{d}", ("rose",), d, lambda w: _mean(w, "rose", d), f"share of {d} sessions that closed higher"),
        _feature(f"CNTN{d}", ("fell",), d, lambda w: _mean(w, "fell", d), f"share of {d} sessions that closed lower"),
        _feature(f"CNTD{d}", ("rose", "fell"), d, lambda w: _mean(w, "rose", d) - _mean(w, "fell", d),
                 f"share of {d} sessions that closed higher minus share that closed lower"),
        _feature(f"SUMP{d}", ("rise", "move"), d, lambda w: _gains(w, "rise", "move", d),
                 f"rises of the close over all its moves of {d} sessions"),
        _feature(f"SUMN{d}", ("rise", "move"), d, lambda w: 1.0 - _gains(w, "rise", "move", d),
                 f"falls of the close over all its moves of {d} sessions"),
        _feature(f"SUMD{d}", ("rise", "move"), d, lambda w: 2.0 * _gains(w, "rise", "move", d) - 1.0,
                 f"rises minus falls of the close over all its moves of {d} sessions"),
        _feature(f"VMA{d}", ("volume",), d - 1, lambda w: _moments(w, "volume", d)[0] / w.now("volume"),
                 f"mean volume of {d} sessions over the volume"),
        _feature(f"VSTD{d}", ("volume",), d - 1, lambda w: _moments(w, "volume", d)[1] / w.now("volume"),
                 f"standard deviation of {d} volumes over the volume"),
        _feature(f"WVMA{d}", ("moved_volume",), d, lambda w: _variation(w, d),
                 f"standard deviation over mean of |return| × volume of {d} sessions"),
        _feature(f"VSUMP{d}", ("volume_rise", "volume_move"), d, lambda w: _gains(w, "volume_rise", "volume_move", d),
                 f"rises of volume over all its moves of {d} sessions"),
        _feature(f"VSUMN{d}", ("volume_rise", "volume_move"), d,
                 lambda w: 1.0 - _gains(w, "volume_rise", "volume_move", d),
                 f"falls of volume over all its moves of {d} sessions"),
        _feature(f"VSUMD{d}", ("volume_rise", "volume_move"), d,
                 lambda w: 2.0 * _gains(w, "volume_rise", "volume_move", d) - 1.0,
                 f"rises minus falls of volume over all its moves of {d} sessions"),
    )
    return {feature.name.rstrip("0123456789"): feature for feature in features}


_BY_WINDOW = [_rolling(d) for d in WINDOWS]

ALPHA158 = FeatureSet("alpha158", (
    _session("KMID", _body, "open", "close minus open, over open"),
    _session("KLEN", lambda w: w.now("high") - w.now("low"), "open", "high minus low, over open"),
    _session("KMID2", _body, "range", "close minus open, over the day's range"),
    _session("KUP", _upper, "open", "upper shadow over open"),
    _session("KUP2", _upper, "range", "upper shadow over the day's range"),
    _session("KLOW", _lower, "open", "lower shadow over open"),
    _session("KLOW2", _lower, "range", "lower shadow over the day's range"),
    _session("KSFT", _shift, "open", "close minus the middle of the day's range, twice, over open"),
    _session("KSFT2", _shift, "range", "close minus the middle of the day's range, twice, over the range"),
    *(_over_close(field) for field in ("open", "high", "low", "vwap")),
    *(features[name] for name in _BY_WINDOW[0] for features in _BY_WINDOW),
), description=__doc__ or "")
# fmt: on
