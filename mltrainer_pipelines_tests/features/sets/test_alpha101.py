"""The 101 Formulaic Alphas against an implementation in plain pandas, written from the paper without the language."""

import numpy as np
import pandas as pd
import pytest

from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.expressions.parser import parse
from mltrainer_pipelines.features.sets.alpha101 import ALPHA101, ALPHAS
from mltrainer_pipelines_tests.features import panels

Frame = pd.DataFrame
TIES = {13, 16, 31, 98}
"""Ranks of values that repeat (covariances and means of ranks): the last digit of a sum decides which of two equals is first."""


def rank(x: Frame) -> Frame:
    return x.rank(axis=1, pct=True)


def delay(x: Frame, d: int) -> Frame:
    return x.shift(d)


def delta(x: Frame, d: int) -> Frame:
    return x - x.shift(d)


def corr(x: Frame, y: Frame, d: int) -> Frame:
    constant = (x.rolling(d).max() - x.rolling(d).min() < 1e-12) | (y.rolling(d).max() - y.rolling(d).min() < 1e-12)
    return x.rolling(d).corr(y).where(~constant)


def ts_rank(x: Frame, d: int) -> Frame:
    return x.rolling(d).rank(pct=True)


def argmax(x: Frame, d: int) -> Frame:
    return x.rolling(d).apply(np.argmax, raw=True) + 1


def argmin(x: Frame, d: int) -> Frame:
    return x.rolling(d).apply(np.argmin, raw=True) + 1


def decay(x: Frame, d: int) -> Frame:
    weights = np.arange(1.0, d + 1)
    return x.rolling(d).apply(lambda y: (y * weights).sum() / weights.sum(), raw=True)


def scale(x: Frame) -> Frame:
    return x.div(x.abs().sum(axis=1), axis=0)


def by_sector(x: Frame) -> Frame:
    groups = [int(name[1:]) % 3 for name in x.columns]
    return x - x.T.groupby(groups).transform("mean").T


def where(condition: Frame, yes: Frame | float, no: Frame | float) -> Frame:
    return Frame(np.where(condition, yes, no), condition.index, condition.columns)


def alphas(o: Frame, h: Frame, l: Frame, c: Frame, v: Frame) -> dict[int, Frame]:  # noqa: E741
    w, r = (o + h + l + c) / 4, c / c.shift(1) - 1
    adv = {d: v.rolling(d).mean() for d in (10, 15, 20, 30, 40, 50, 60)}
    d1, d7 = delta(c, 1), delta(c, 7)
    low4, high4 = d1.rolling(4).min(), d1.rolling(4).max()
    low5, high5 = d1.rolling(5).min(), d1.rolling(5).max()
    inner = where(r < 0, r.rolling(20).std(), c).where(r.rolling(20).std().notna())
    shape = ((c - l) - (h - c)) / (h - l)
    return {
        1: rank(argmax(np.sign(inner) * inner.abs() ** 2, 5)) - 0.5,
        2: -corr(rank(delta(np.log(v), 2)), rank((c - o) / o), 6),
        3: -corr(rank(o), rank(v), 10),
        4: -ts_rank(rank(l), 9),
        5: rank(o - w.rolling(10).sum() / 10) * -rank(c - w).abs(),
        6: -corr(o, v, 10),
        7: where(adv[20] < v, -ts_rank(d7.abs(), 60) * np.sign(d7), -1.0),
        8: -rank(o.rolling(5).sum() * r.rolling(5).sum() - delay(o.rolling(5).sum() * r.rolling(5).sum(), 10)),
        9: where(low5 > 0, d1, where(high5 < 0, d1, -d1)),
        10: rank(where(low4 > 0, d1, where(high4 < 0, d1, -d1))),
        11: (rank((w - c).rolling(3).max()) + rank((w - c).rolling(3).min())) * rank(delta(v, 3)),
        12: np.sign(delta(v, 1)) * -d1,
        13: -rank(rank(c).rolling(5).cov(rank(v))),
        14: -rank(delta(r, 3)) * corr(o, v, 10),
        16: -rank(rank(h).rolling(5).cov(rank(v))),
        17: -rank(ts_rank(c, 10)) * rank(delta(d1, 1)) * rank(ts_rank(v / adv[20], 5)),
        18: -rank((c - o).abs().rolling(5).std() + (c - o) + corr(c, o, 10)),
        20: -rank(o - delay(h, 1)) * rank(o - delay(c, 1)) * rank(o - delay(l, 1)),
        22: -delta(corr(h, v, 5), 5) * rank(c.rolling(20).std()),
        23: where(h.rolling(20).mean() < h, -delta(h, 2), 0.0),
        25: rank(-r * adv[20] * w * (h - c)),
        26: -corr(ts_rank(v, 5), ts_rank(h, 5), 5).rolling(3).max(),
        28: scale(corr(adv[20], l, 5) + (h + l) / 2 - c),
        31: rank(rank(rank(decay(-rank(rank(delta(c, 10))), 10)))) + rank(-delta(c, 3)) + np.sign(scale(corr(adv[20], l, 12))),
        33: rank(o / c - 1),
        34: rank((1 - rank(r.rolling(2).std() / r.rolling(5).std())) + (1 - rank(d1))),
        35: ts_rank(v, 32) * (1 - ts_rank(c + h - l, 16)) * (1 - ts_rank(r, 32)),
        38: -rank(ts_rank(c, 10)) * rank(c / o),
        40: -rank(h.rolling(10).std()) * corr(h, v, 10),
        41: (h * l) ** 0.5 - w,
        42: rank(w - c) / rank(w + c),
        43: ts_rank(v / adv[20], 20) * ts_rank(-d7, 8),
        44: -corr(h, rank(v), 5),
        45: -(rank(delay(c, 5).rolling(20).mean()) * np.sign(d1) * np.sign(delta(v, 1)))
        * rank(np.sign(delta(c.rolling(5).sum(), 1)) * np.sign(delta(c.rolling(20).sum(), 1))),
        47: rank(1 / c) * v / adv[20] * (h * rank(h - c) / (h.rolling(5).sum() / 5)) - rank(w - delay(w, 5)),
        49: where((delay(c, 20) - delay(c, 10)) / 10 - (delay(c, 10) - c) / 10 < -0.1, 1.0, -d1),
        53: -delta(((c - l) - (h - c)) / (c - l), 9),
        54: -((l - c) * o**5) / ((l - h) * c**5),
        57: -(c - w) / decay(rank(argmax(c, 30)), 2),
        58: -ts_rank(decay(corr(by_sector(w), v, 3), 7), 5),
        60: -(2 * scale(rank(shape * v)) - scale(rank(argmax(c, 10)))),
        66: -(rank(decay(delta(w, 3), 7)) + ts_rank(decay((l - w) / (o - (h + l) / 2), 11), 6)),
        69: -(rank(delta(by_sector(w), 2).rolling(4).max()) ** ts_rank(corr(c * 0.490655 + w * (1 - 0.490655), adv[20], 4), 9)),
        73: -np.maximum(
            rank(decay(delta(w, 4), 2)),
            ts_rank(decay(-delta(o * 0.147155 + l * 0.852845, 2) / (o * 0.147155 + l * 0.852845), 3), 16),
        ),
        77: np.minimum(rank(decay((h + l) / 2 + h - (w + h), 20)), rank(decay(corr((h + l) / 2, adv[40], 3), 5))),
        84: np.sign(ts_rank(w - w.rolling(15).max(), 20)) * ts_rank(w - w.rolling(15).max(), 20).abs() ** delta(c, 4),
        88: np.minimum(
            rank(decay(rank(o) + rank(l) - (rank(h) + rank(c)), 8)),
            ts_rank(decay(corr(ts_rank(c, 8), ts_rank(adv[60], 20), 8), 6), 2),
        ),
        98: rank(decay(corr(w, v.rolling(5).mean().rolling(26).sum(), 4), 7))
        - rank(decay(ts_rank(argmin(corr(rank(o), rank(adv[15]), 20), 8), 6), 8)),
        101: (c - o) / ((h - l) + 0.001),
    }


@pytest.fixture(scope="module")
def frame():
    return panels.bars(15, 190, seed=12)


def test_values_are_what_plain_pandas_gives(frame):
    theirs = alphas(
        *(frame.to_pandas().pivot(index="date", columns="symbol", values=x) for x in ("open", "high", "low", "close", "volume"))
    )
    days = panels.days(frame)
    chosen = ALPHA101.only([f"alpha_{number:03d}" for number in theirs])
    ours = compute_features(frame, panels.universe(frame), None, days[110], days[-1], chosen, 1).to_pandas()
    assert len(theirs) >= 45
    for number, expected in theirs.items():
        actual = ours.pivot(index="date", columns="symbol", values=f"alpha_{number:03d}").to_numpy(float)
        wanted = expected.iloc[110:].to_numpy(float)
        both = np.isfinite(actual) & np.isfinite(wanted)
        assert both.mean() > 0.5, number
        assert both.sum() >= 0.97 * np.isfinite(wanted).sum(), number
        apart = np.abs(actual - wanted)[both] > 1e-4 * np.abs(wanted[both]) + 1e-5
        if number in TIES:
            assert np.abs(actual - wanted)[both].mean() < 0.04, number
        else:
            assert apart.mean() == 0.0, (number, apart.mean())


def test_there_are_101_each_with_its_number():
    assert list(ALPHAS) == list(range(1, 102))
    assert ALPHA101.names == [f"alpha_{number:03d}" for number in range(1, 102)]


def test_those_that_need_an_industry_are_null_without_one(frame):
    days = panels.days(frame)
    out = compute_features(frame, panels.universe(frame).drop("sector"), None, days[-2], days[-1], "alpha101", 1)
    for number, text in ALPHAS.items():
        if "sector" in parse(text).fields and number != 67:
            assert out[f"alpha_{number:03d}"].null_count() == out.height, number
    assert out["alpha_101"].null_count() == 0
