"""Alpha158 against pandas, formula by formula as Qlib writes them, and against Qlib itself where it is installed."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.sets.alpha158 import ALPHA158, WINDOWS
from mltrainer_pipelines_tests.features import panels

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared"
BARS, SCRIPT = SHARED / "data/us_equities_2009_2015.parquet", SHARED / "peers/qlib_alpha158.py"
QLIB = ROOT / ".peers/bin/python"


def computed(frame: pl.DataFrame) -> pl.DataFrame:
    days = panels.days(frame)
    return compute_features(frame, panels.universe(frame), None, days[0], days[-1], "alpha158", 1)


def share_apart(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[int, int]:
    """Values that both have, and those that differ by more than a thousandth."""
    both = apart = 0
    for name in ALPHA158.names:
        a, b = (frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for frame in (ours, theirs))
        known = np.isfinite(a) & np.isfinite(b)
        both += int(known.sum())
        apart += int((np.abs(a - b)[known] > 1e-3 * np.abs(b)[known] + 1e-9).sum())
    return both, apart


def line(y):
    """Slope and R² of the line through the values, and the last value less the line there."""
    x = np.arange(1.0, len(y) + 1)
    slope, start = np.polyfit(x, y, 1)
    return slope, np.corrcoef(x, y)[0, 1] ** 2, y[-1] - (slope * len(y) + start)


def up(change, d):
    return change.clip(lower=0).rolling(d).sum() / change.abs().rolling(d).sum()


def by_pandas(bars: pd.DataFrame) -> pd.DataFrame:
    """Alpha158 of one symbol: `qlib.contrib.data.loader.Alpha158DL` in pandas, whole windows only."""
    o, h, low, c, v = (bars[name] for name in ("open", "high", "low", "close", "volume"))
    w, day, top, bottom = (o + h + low + c) / 4, h - low, np.maximum(o, c), np.minimum(o, c)
    out = {
        "KMID": (c - o) / o, "KLEN": day / o, "KMID2": (c - o) / day, "KUP": (h - top) / o, "KUP2": (h - top) / day,
        "KLOW": (bottom - low) / o, "KLOW2": (bottom - low) / day, "KSFT": (2 * c - h - low) / o,
        "KSFT2": (2 * c - h - low) / day, "OPEN0": o / c, "HIGH0": h / c, "LOW0": low / c, "VWAP0": w / c,
    }  # fmt: skip
    dc, dv, ratio = c.diff(), v.diff(), c / c.shift(1)
    moved = (ratio - 1).abs() * v
    for d in WINDOWS:
        fits = np.full((len(c), 3), np.nan)
        for t in range(d - 1, len(c)):
            fits[t] = line(c.to_numpy()[t - d + 1 : t + 1])
        high, lowest = h.rolling(d).max(), low.rolling(d).min()
        at_high = h.rolling(d).apply(lambda y: y.argmax() + 1, raw=True)
        at_low = low.rolling(d).apply(lambda y: y.argmin() + 1, raw=True)
        rose, fell = ((dc > 0) * 1.0).where(dc.notna()), ((dc < 0) * 1.0).where(dc.notna())
        out |= {
            f"ROC{d}": c.shift(d) / c, f"MA{d}": c.rolling(d).mean() / c, f"STD{d}": c.rolling(d).std() / c,
            f"BETA{d}": fits[:, 0] / c, f"RSQR{d}": fits[:, 1], f"RESI{d}": fits[:, 2] / c, f"MAX{d}": high / c,
            f"MIN{d}": lowest / c, f"QTLU{d}": c.rolling(d).quantile(0.8) / c, f"QTLD{d}": c.rolling(d).quantile(0.2) / c,
            f"RANK{d}": c.rolling(d).rank(pct=True), f"RSV{d}": (c - lowest) / (high - lowest), f"IMAX{d}": at_high / d,
            f"IMIN{d}": at_low / d, f"IMXD{d}": (at_high - at_low) / d, f"CORR{d}": c.rolling(d).corr(np.log(v + 1)),
            f"CORD{d}": ratio.rolling(d).corr(np.log(v / v.shift(1) + 1)), f"CNTP{d}": rose.rolling(d).mean(),
            f"CNTN{d}": fell.rolling(d).mean(), f"CNTD{d}": (rose - fell).rolling(d).mean(), f"SUMP{d}": up(dc, d),
            f"SUMN{d}": up(-dc, d), f"SUMD{d}": up(dc, d) - up(-dc, d), f"VMA{d}": v.rolling(d).mean() / v,
            f"VSTD{d}": v.rolling(d).std() / v, f"WVMA{d}": moved.rolling(d).std() / moved.rolling(d).mean(),
            f"VSUMP{d}": up(dv, d), f"VSUMN{d}": up(-dv, d), f"VSUMD{d}": up(dv, d) - up(-dv, d),
        }  # fmt: skip
    return pd.DataFrame(out, index=bars.index)


def test_the_names_and_their_order_are_qlibs():
    assert len(ALPHA158.names) == 158
    assert ALPHA158.names[:10] == ["KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2", "OPEN0"]
    assert ALPHA158.names[12:19] == ["VWAP0", "ROC5", "ROC10", "ROC20", "ROC30", "ROC60", "MA5"]
    assert ALPHA158.names[-1] == "VSUMD60"


def test_every_feature_equals_its_formula_in_pandas():
    frame = panels.bars(6, 150)
    ours = computed(frame)
    theirs = [by_pandas(bars.sort("date").to_pandas()) for bars in frame.sort("symbol").partition_by("symbol")]
    for symbol, expected in zip(sorted(frame["symbol"].unique()), theirs, strict=True):
        found = ours.filter(symbol=symbol).drop("date", "symbol").to_pandas().astype(float)
        assert set(found.columns) == set(expected.columns)
        for name in found.columns:
            # A window that begins before the symbol did counts here once 80 % of it is there.
            got = found[name].where(expected[name].notna() | (np.arange(len(found)) >= 61))
            np.testing.assert_allclose(got, expected[name], rtol=2e-4, atol=1e-6, err_msg=name)


def test_vwap_is_the_bars_own_where_they_have_one():
    frame = panels.bars(6, 30)
    known = pl.int_range(pl.len()) % 2 == 0
    with_vwap = frame.with_columns(vwap=pl.when(known).then(pl.col("close") * 1.01), adj_close=pl.col("adj_close") * 3.0)
    ours = computed(with_vwap.with_columns(pl.col("adj_open", "adj_high", "adj_low") * 3.0)).join(
        with_vwap, on=["date", "symbol"]
    )
    typical = (ours["open"] + ours["high"] + ours["low"] + ours["close"]) / 4 / ours["close"]
    expected = ours.select(pl.when(pl.col("vwap").is_not_null()).then(1.01).otherwise(typical))["literal"]
    assert ours["VWAP0"].to_list() == pytest.approx(expected.to_list(), rel=1e-6)


def test_what_qlib_divides_by_a_trillionth_is_unknown():
    flat = panels.bars(6, 80).with_columns(pl.lit(20.0).alias(f"adj_{n}") for n in ("open", "high", "low", "close"))
    newest = computed(flat.with_columns(adj_volume=pl.lit(0.0))).filter(pl.col("date") == panels.days(flat)[-1])
    for name in ("KMID2", "RSV20", "SUMP20", "VMA20", "VSUMP20", "WVMA20", "RSQR20", "CORR20", "CORD20"):
        assert newest[name].null_count() == newest.height, name
    assert newest["STD20"].to_list() == [0.0] * newest.height
    assert newest["MA20"].to_list() == [1.0] * newest.height


def test_a_window_with_most_of_its_sessions_counts_and_one_with_fewer_does_not():
    frame = panels.bars(6, 120)
    days = panels.days(frame)
    few = frame.filter((pl.col("symbol") != "S01") | ~pl.col("date").is_in(days[100:104]))
    row = computed(few).filter(symbol="S01", date=days[110]).row(0, named=True)
    assert row["MA60"] is not None
    assert row["MA20"] is not None
    assert row["MA10"] is None


@pytest.mark.skipif(not BARS.is_file(), reason=f"{BARS} is not there")
@pytest.mark.skipif(not QLIB.is_file(), reason="Qlib is not installed in .peers (see docs/features.md)")
def test_values_are_qlibs_on_real_bars(tmp_path):
    symbols = ["AAPL", "GE", "F", "BAC", "NFLX", "XOM"]
    bars = pl.read_parquet(BARS).drop("adj_close").filter(pl.col("symbol").is_in(symbols))
    bars.write_parquet(tmp_path / "bars.parquet")
    command = [QLIB, SCRIPT, tmp_path / "bars.parquet", "--out", tmp_path / "qlib.parquet", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout.strip().splitlines()[-1])["features"] == 158
    theirs = pl.read_parquet(tmp_path / "qlib.parquet").with_columns(pl.col("date").cast(pl.Date))
    ours = computed(panels.with_adjustment(bars))
    aligned = ours.select("date", "symbol").join(theirs, on=["date", "symbol"], how="left", maintain_order="left")
    both, apart = share_apart(ours, aligned)
    assert both > 0.95 * ours.height * 158
    assert apart / both < 0.001
