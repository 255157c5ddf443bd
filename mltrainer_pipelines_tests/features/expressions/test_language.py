"""The expression language: what it computes, against pandas; what it refuses, and where; that it never looks ahead."""

import json
import time
from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from mltrainer_pipelines.cli import app
from mltrainer_pipelines.features.causality import audit
from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.expressions.graph import expression_set
from mltrainer_pipelines.features.expressions.operators import OPERATORS
from mltrainer_pipelines.features.expressions.parser import parse
from mltrainer_pipelines.features.expressions.tree import ExpressionError
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.features.versions import version_of
from mltrainer_pipelines_tests.features import panels
from mltrainer_pipelines_tests.features.expressions.qlib_spelling import ALPHA158

RAW = ["date", "symbol", "open", "high", "low", "close", "volume"]


def computed(frame: pl.DataFrame, expressions: dict[str, str], first: date | None = None, members=None) -> pl.DataFrame:
    days = panels.days(frame)
    members = panels.universe(frame) if members is None else members
    return compute_features(frame, members, None, first or days[0], days[-1], expression_set("test", expressions), 1)


def wide(frame: pl.DataFrame, name: str) -> pd.DataFrame:
    return frame.to_pandas().pivot(index="date", columns="symbol", values=name)


def line(y: np.ndarray) -> tuple[float, float, float]:
    x = np.arange(len(y))
    slope, start = np.polyfit(x, y, 1)
    return slope, np.corrcoef(x, y)[0, 1] ** 2, y[-1] - (slope * x[-1] + start)


def decayed(y: np.ndarray, span: int) -> float:
    weights = (1 - 2 / (span + 1)) ** np.arange(len(y))[::-1]
    return float((weights * y).sum() / weights.sum())


def residual(y: pd.DataFrame, x: pd.DataFrame) -> pd.DataFrame:
    apart_x, apart_y = x.sub(x.mean(axis=1), axis=0), y.sub(y.mean(axis=1), axis=0)
    return apart_y - apart_x.mul((apart_x * apart_y).sum(axis=1) / (apart_x**2).sum(axis=1), axis=0)


def sector(frame: pd.DataFrame) -> pd.DataFrame:
    groups = [int(name[1:]) % 3 for name in frame.columns]
    return frame - frame.T.groupby(groups).transform("mean").T


IN_PANDAS = {
    "Ref(close, 3) / close": lambda b: b.c.shift(3) / b.c,
    "Delta(close, 3) / close": lambda b: b.c.diff(3) / b.c,
    "Mean(close, 5) / close": lambda b: b.c.rolling(5).mean() / b.c,
    "Sum(volume, 7)": lambda b: b.v.rolling(7).sum(),
    "Std(close, 6)": lambda b: b.c.rolling(6).std(),
    "Var(close, 6)": lambda b: b.c.rolling(6).var(),
    "Min(low, 9)": lambda b: b.l.rolling(9).min(),
    "Max(high, 9)": lambda b: b.h.rolling(9).max(),
    "IdxMin(low, 9)": lambda b: b.l.rolling(9).apply(np.argmin, raw=True) + 1,
    "ts_argmax(high, 9)": lambda b: b.h.rolling(9).apply(np.argmax, raw=True) + 1,
    "Rank(volume, 8)": lambda b: b.v.rolling(8).rank(pct=True),
    "Quantile(close, 11, 0.3)": lambda b: b.c.rolling(11).quantile(0.3),
    "Quantile(close, 11, 0.7) + Quantile(close, 11, 0.9)": lambda b: (
        b.c.rolling(11).quantile(0.7) + b.c.rolling(11).quantile(0.9)
    ),
    "Med(close, 11)": lambda b: b.c.rolling(11).median(),
    "Skew(returns, 12)": lambda b: b.c.pct_change().rolling(12).skew(),
    "Kurt(returns, 12)": lambda b: b.c.pct_change().rolling(12).kurt(),
    "Slope(close, 10)": lambda b: b.c.rolling(10).apply(lambda y: line(y)[0], raw=True),
    "Rsquare(close, 10)": lambda b: b.c.rolling(10).apply(lambda y: line(y)[1], raw=True),
    "Resi(close, 10)": lambda b: b.c.rolling(10).apply(lambda y: line(y)[2], raw=True),
    "Corr(close, volume, 10)": lambda b: b.c.rolling(10).corr(b.v),
    "Cov(close, volume, 10)": lambda b: b.c.rolling(10).cov(b.v),
    "Product(close / Ref(close, 1), 6)": lambda b: (b.c / b.c.shift(1)).rolling(6).apply(np.prod, raw=True),
    "EMA(close, 5)": lambda b: b.c.rolling(20).apply(lambda y: decayed(y, 5), raw=True),
    "WMA(close, 5)": lambda b: b.c.rolling(5).apply(lambda y: np.average(y, weights=range(1, 6)), raw=True),
    "Count(close > open, 10)": lambda b: (b.c > b.o).astype(float).rolling(10).sum(),
    "Rank(close)": lambda b: b.c.rank(axis=1, pct=True),
    "ZScore(volume)": lambda b: b.v.sub(b.v.mean(axis=1), axis=0).div(b.v.std(axis=1), axis=0),
    "Demean(close)": lambda b: b.c.sub(b.c.mean(axis=1), axis=0),
    "Scale(close - open)": lambda b: (b.c - b.o).div((b.c - b.o).abs().sum(axis=1), axis=0),
    "Scale(close - open, 3)": lambda b: 3 * (b.c - b.o).div((b.c - b.o).abs().sum(axis=1), axis=0),
    "Winsorize(volume, 0.2)": lambda b: b.v.clip(b.v.quantile(0.2, axis=1), b.v.quantile(0.8, axis=1), axis=0),
    "Neutralize(close, sector)": lambda b: sector(b.c),
    "Neutralize(close, volume)": lambda b: residual(b.c, b.v),
    "Abs(close - open) * Sign(close - open)": lambda b: b.c - b.o,
    "Log($volume+1)": lambda b: np.log(b.v + 1),
    "Sqrt(high * low) - vwap": lambda b: np.sqrt(b.h * b.l) - (b.o + b.h + b.l + b.c) / 4,
    "Raw(close) + Raw(volume)": lambda b: b.c + b.v,
    "(close / open) ** 2.5": lambda b: (b.c / b.o) ** 2.5,
    "SignedPower(close - open, 2)": lambda b: np.sign(b.c - b.o) * (b.c - b.o) ** 2,
    "Greater(close, open) - Less(close, open)": lambda b: (b.c - b.o).abs(),
    "max(close, open) - min(close, open)": lambda b: (b.c - b.o).abs(),
    "close > open ? high : low": lambda b: b.h.where(b.c > b.o, b.l),
    "If((close > open) & (volume >= Mean(volume, 5)), 1, -1)": lambda b: pd.DataFrame(
        np.where((b.c > b.o) & (b.v >= b.v.rolling(5).mean()), 1.0, -1.0), b.c.index, b.c.columns
    ).where(b.v.rolling(5).mean().notna()),
    "not (close < open) or close == high && open != high": lambda b: (~(b.c < b.o) | (b.c == b.h) & (b.o != b.h)).astype(float),
    "-close ** 2 / (open * open) * 2 - 1": lambda b: -(b.c**2) / (b.o * b.o) * 2 - 1,
    "dollar_volume / adv20 / close": lambda b: b.v / b.v.rolling(20).mean(),
    "Sub(Add(close, close), Mul(2, open)) / Div(close, 2)": lambda b: 4 * (b.c - b.o) / b.c,
    "Gt(close, open) + Ge(close, open) + Lt(close, open) + Le(close, open) + Eq(close, open) + Ne(close, open)": lambda b: (
        b.c * 0 + 3
    ),
    "And(close > 0 * close, Not(close <= open))": lambda b: (b.c > b.o).astype(float),
    "Corr(Rank(close / open), Rank(volume), 10)": lambda b: (
        (b.c / b.o).rank(axis=1, pct=True).rolling(10).corr(b.v.rank(axis=1, pct=True))
    ),
}


class Bars:
    def __init__(self, frame: pl.DataFrame):
        self.o, self.h, self.l, self.c, self.v = (wide(frame, name) for name in RAW[2:])


def test_every_operator_is_what_pandas_gives():
    frame = panels.bars(12, 90)
    names = {f"f{i}": text for i, text in enumerate(IN_PANDAS)}
    ours, bars = computed(frame, names), Bars(frame)
    for name, text in names.items():
        expected = IN_PANDAS[text](bars)
        actual = wide(ours, name).reindex_like(expected)
        late = slice(parse(text).look_back, None)
        np.testing.assert_allclose(actual[late], expected[late], rtol=2e-5, atol=2e-6, err_msg=text)
        assert actual[late].notna().to_numpy().mean() > 0.95, text
    used = {node.operator for text in IN_PANDAS for node in parse(text).walk()}
    assert {operator.name for operator in OPERATORS} - used == {"Delta"}  # which is a difference from Ref


def test_alpha158_in_qlibs_spelling_is_the_hand_written_set():
    frame = panels.punctured(panels.bars(8, 200), 0.02, seed=5)
    days = panels.days(frame)
    by_hand = compute_features(frame, panels.universe(frame), None, days[0], days[-1], "alpha158", 1)
    written = computed(frame, ALPHA158)
    assert written.columns == by_hand.columns
    assert_frame_equal(written, by_hand, rel_tol=1e-6, abs_tol=1e-6)


def test_a_value_does_not_depend_on_what_else_is_computed_or_on_the_range():
    frame = panels.punctured(panels.bars(9, 160), 0.03, seed=6)
    texts = {"a": "Mean(Std(returns, 10), 20)", "b": "Rank(Mean(Std(returns, 10), 5))", "c": "Std(returns, 40)"}
    together = computed(frame, texts)
    last = panels.days(frame)[-3]
    for name, text in texts.items():
        alone = computed(frame, {name: text})
        assert_frame_equal(alone, together.select("date", "symbol", name), check_exact=True)
        assert_frame_equal(computed(frame, {name: text}, last), alone.filter(pl.col("date") >= last), check_exact=True)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("close + volume", 7, "adds close .price. and volume .shares., which have no common unit"),
        ("Ref(close, -5)", 1, "would look ahead"),
        ("Mean($close, 0)", 1, "bounded window"),
        ("Mean(close, 2.5)", 1, "whole number of sessions"),
        ("Mean(close, volume)", 1, "needs a plain number here"),
        ("Mean(close, 100000)", 1, "too long; the longest is 504"),
        ("Mean(Mean(Mean(close, 250), 250), 250)", 1, "looks back 747 sessions in all; at most 504"),
        ("close / 0", 7, "divides by zero"),
        ("1 / (1 - 1) * close", 3, "divides by zero"),
        ("9 ** 9 ** 9 * close", 3, "not a number that can be computed with"),
        ("2 * 3", 1, "reads no field"),
        ("sector", 1, "reads no field"),
        ("Rank(sector)", 1, "sector is a group"),
        ("clsoe / open", 1, "there is no field 'clsoe'; did you mean close"),
        ("Meen(close, 5)", 1, "there is no operator 'Meen'; did you mean mean"),
        ("cl\u043ese / open", 3, "CYRILLIC SMALL LETTER O"),
        ("\uff43lose", 1, "FULLWIDTH LATIN SMALL LETTER C"),
        ("Mean(close 5)", 12, "expected '\\)', not '5'"),
        ("Mean(close, 5", 14, "the end of the text"),
        ("close +", 8, "expected a field, a number or an operator, not the end"),
        ("close open", 7, "expected an operator or the end, not 'open'"),
        ("", 1, "expected a field"),
        ("close > open & volume", 14, "Or|And needs a condition|no common unit"),
        ("Not(close)", 1, "needs a condition"),
        ("If(close, 1, 2)", 1, "needs a condition"),
        ("Quantile(close, 5, 1.5)", 1, "a share above 0 and below 1"),
        ("Rank(close, 5, 6)", 1, "Rank takes 2 or 1 arguments, not 3"),
        ("Corr(close, open, 2)", 1, "needs a window of 3 sessions or more"),
        ("Mean(5, 5) * close", 1, "of a plain number says nothing"),
        ("(close / open) ** close", 16, "power that varies needs pure numbers"),
        ("macro:NOTHING", 1, "there is no field 'macro:NOTHING'"),
        ("__import__('os').system('true')", 12, "is not part of the language"),
        ("close.real", 6, "is not part of the language"),
    ],
)
def test_what_is_no_expression_is_refused_at_its_place(text, place, message):
    with pytest.raises(ExpressionError, match=message) as refused:
        parse(text)
    assert refused.value.place == place - 1
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["close"] * 1000),
        "(" * 1000 + "close" + ")" * 1000,
        "-" * 3000 + "close",
        "Rank(" * 500 + "close",
        "close" * 9999,
    ],
)
def test_what_is_too_large_is_refused_at_once(text):
    start = time.process_time()
    with pytest.raises(ExpressionError, match=r"at most|there is no field"):
        parse(text)
    assert time.process_time() - start < 1.0


def expressions() -> st.SearchStrategy[str]:
    windows = st.integers(1, 12)
    rolling = [o.name for o in OPERATORS if o.arguments == "xn"]
    fields = [
        "close/open",
        "high/low",
        "Raw(volume)",
        "log_return",
        "overnight_return",
        "returns",
        "market_return",
        "adv5/volume",
    ]

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.builds(lambda o, x, n: f"{o}(Raw({x}), {n + 4})", st.sampled_from(rolling), inner, windows),
            st.builds(
                lambda o, x, y, n: f"{o}(Raw({x}), Raw({y}), {n + 3})", st.sampled_from(["Corr", "Cov"]), inner, inner, windows
            ),
            st.builds(lambda o, x: f"{o}(Raw({x}))", st.sampled_from(["Rank", "ZScore", "Demean", "Scale", "Log", "Abs"]), inner),
            st.builds(lambda x, y: f"Neutralize(Raw({x}), {y})", inner, st.sampled_from(["sector", "volume", "beta"])),
            st.builds(lambda o, x, y: f"(Raw({x}) {o} Raw({y}))", st.sampled_from(["+", "-", "*", "/", ">"]), inner, inner),
        )

    return st.recursive(st.sampled_from(fields), grown, max_leaves=5)


@given(texts=st.lists(expressions(), min_size=3, max_size=3))
@settings(max_examples=12, deadline=None)
def test_nothing_that_can_be_written_looks_ahead(texts):
    frame = panels.punctured(panels.bars(8, 150, seed=3), 0.04, seed=8)
    chosen = expression_set("drawn", {f"f{i}": text for i, text in enumerate(texts)})
    raw = frame.select(RAW)
    cuts = [panels.days(frame)[i] for i in (120, 139)]
    report = audit(raw, None, lambda bars: panels.universe(panels.with_adjustment(bars)), cuts, chosen, sessions=5)
    assert not [v for v in report.violations if v.name.startswith("f")], texts


def test_the_version_of_a_set_changes_with_an_expression_and_not_with_its_spelling():
    one = version_of(expression_set("one", {"a": "Mean($close, 5)/$close"}))
    assert one == version_of(expression_set("one", {"a": "( mean(close,5) / close )"}))
    assert one != version_of(expression_set("one", {"a": "Mean($close, 6)/$close"}))


def test_the_command_writes_one_column_and_says_how_many_values_are_known(tmp_path):
    frame, bars, out = panels.bars(8, 60), tmp_path / "bars.parquet", tmp_path / "factor.csv"
    frame.select(RAW).write_parquet(bars)
    done = CliRunner().invoke(
        app, ["features", "--bars", str(bars), "--expression", "Corr($close, Log($volume+1), 20)", "--out", str(out), "--json"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    written = pl.read_csv(out)
    assert written.columns == ["date", "symbol", "factor"]
    assert told["rows"] == written.height == 480
    assert told["known"] == written["factor"].is_not_null().sum() == 8 * 41


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("Mean(close, 200)/close", "looks back 199 sessions and the bars have 60"),
        ("close / close", "is 1 for every symbol and session"),
        ("Neutralize(close, sector)", "every value is null"),
        ("close / (close - close)", "every value is null"),
        ("Ref(close, -1)", "look ahead"),
    ],
)
def test_a_factor_that_says_nothing_is_refused_in_one_line_and_no_file_is_written(tmp_path, expression, message):
    bars, out = tmp_path / "bars.parquet", tmp_path / "factor.parquet"
    panels.bars(8, 60).select(RAW).write_parquet(bars)
    done = CliRunner().invoke(app, ["features", "--bars", str(bars), "--expression", expression, "--out", str(out)])
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_a_set_of_expressions_is_used_as_any_other():
    chosen = expression_set("mine", {"a": "Mean(close, 5)/close", "b": "macro:VIXCLS", "c": "regime:score - 50"})
    assert chosen.only(["b"]).names == ["b"]
    assert {"close", "macro:VIXCLS", "regime:score"} == chosen.reads
    assert get_feature_set("alpha158").name == "alpha158"
