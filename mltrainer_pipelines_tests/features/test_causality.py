"""The audit passes on what we compute, and catches every planted leak by name."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.features.causality import audit
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines_tests.features import panels

CUTS = [date(2019, 6, 12), date(2019, 9, 18), date(2019, 11, 29)]


def liquid(bars: pl.DataFrame, size: int = 8, seen_before: bool = True) -> pl.DataFrame:
    """The most traded symbols of the month before; or, leaking, of the month itself."""
    month = pl.col("date").dt.truncate("1mo")
    volume = bars.group_by(month.dt.offset_by("1mo" if seen_before else "0mo").alias("month"), "symbol").agg(
        median=(pl.col("close") * pl.col("volume")).median()
    )
    last = bars["date"].max().replace(day=1)
    ranked = volume.filter(pl.col("month") <= last).sort("month", "median", "symbol", descending=[False, True, False])
    return ranked.group_by("month", maintain_order=True).head(size).with_columns(sector=pl.col("symbol").str.slice(2))


@pytest.fixture(scope="module")
def bars():
    frame = panels.punctured(panels.bars(14, 260, seed=6), 0.03, seed=2)
    raw = frame.select("date", "symbol", "open", "high", "low", "close", "volume")
    return raw.filter((pl.col("symbol") != "S04") | (pl.col("date") <= date(2019, 9, 12)))


@pytest.fixture(scope="module")
def actions():
    return pl.DataFrame(
        {
            "symbol": ["S01", "S02", "S01", "S03"],
            "ex_date": [date(2019, 4, 10), date(2019, 6, 3), date(2019, 9, 5), date(2019, 12, 2)],
            "kind": ["split", "dividend", "dividend", "split"],
            "ratio": [2.0, None, None, 100.0],
            "cash": [None, 0.6, 0.3, None],
        }
    )


@pytest.fixture(scope="module")
def observations():
    days = panels.days(panels.bars(14, 260, seed=6))
    values = np.random.default_rng(0).normal(3.0, 1.0, len(days) - 2)
    frames = [
        pl.DataFrame({"series_id": name, "date": days[:-2], "value": values, "published": days[2:]})
        for name in ("VIXCLS", "BAMLH0A0HYM2", "T10Y2Y")
    ]
    return pl.concat(frames)


def planted(formula, reads=("close", "volume")):
    honest = Feature("honest_return", ("price",), 5, lambda w: w.change(5), "test", "test")
    leak = Feature("planted", reads, 30, formula, "test", "test")
    return FeatureSet("with a leak", (honest, leak))


def test_everything_we_compute_passes(bars, actions, observations):
    report = audit(bars, actions, liquid, CUTS, observations=observations)
    assert report.passed, report.violations
    assert report.leaking == []
    for name in ("momentum_12_1", "rank_return_21", "adjusted.adj_close", "universe.median",
                 "regime.score", "regime.credit", "labels.short.label", "labels.long.exit_date", "features.rows"):  # fmt: skip
        assert report.checked[name] > 100, name


def test_recent_sessions_alone_can_be_audited(bars, actions):
    report = audit(bars, actions, liquid, CUTS[-1:], sessions=10)
    assert report.passed
    assert report.checked["momentum_12_1"] < 300


def centred_window(w):
    volume = w.field("volume")
    later = np.vstack([volume[1:], volume[-1:]])
    return ((volume + later) / 2.0)[w.first :]


def full_sample_z_score(w):
    close = w.field("close")
    return ((close - np.nanmean(close, axis=0)) / np.nanstd(close, axis=0))[w.first :]


def backward_fill(w):
    filled = w.field("volume").copy()
    for row in range(len(filled) - 2, -1, -1):
        filled[row] = np.where(np.isnan(filled[row]), filled[row + 1], filled[row])
    return filled[w.first :]


@pytest.mark.parametrize("leak", [centred_window, full_sample_z_score, backward_fill])
def test_a_planted_leak_is_caught_by_name(bars, actions, leak):
    # Volumes that come in late: unknown on the sessions of the cuts for half of the symbols.
    late = pl.col("date").is_in(CUTS) & (pl.col("symbol").str.slice(1).cast(pl.Int32) % 2 == 0)
    spoilt = bars.with_columns(volume=pl.when(late).then(None).otherwise("volume"))
    report = audit(spoilt, actions, liquid, CUTS, planted(leak))
    assert not report.passed
    assert report.leaking == ["planted"]
    assert {violation.against for violation in report.violations} >= {"truncated", "noise"}
    first = report.violations[0]
    assert first.cut in CUTS
    assert first.count > 0
    assert first.symbol is not None


def test_tomorrows_universe_is_caught_by_name(bars, actions):
    report = audit(bars, actions, lambda known: liquid(known, seen_before=False), CUTS, planted(lambda w: w.now("close")))
    assert {"universe.median", "features.rows"} <= set(report.leaking)


def test_an_audit_with_nothing_to_compare_is_refused(bars, actions):
    with pytest.raises(BadPanelError, match="no cut date"):
        audit(bars, actions, liquid, [])
    with pytest.raises(BadPanelError, match="nothing to compare at 2019-01-10"):
        audit(bars, actions, liquid, [date(2019, 1, 10)])
