import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrainer_pipelines.signals.rules import CROWDED, Thresholds, strong_buys

GOOD = {
    "profit_probability": 0.6,
    "confidence": 0.7,
    "expected_net_return": 0.001,
    "regime_score": 25.0,
    "price_source": "close",
    "entry_price": 10.0,
    "target_price": 11.0,
    "stop_loss": 9.0,
}
SCHEMA = {name: pl.String if isinstance(value, str) else pl.Float64 for name, value in GOOD.items()}


def decided(thresholds: Thresholds = Thresholds(), **changes: object) -> dict:  # noqa: B008 - frozen
    return strong_buys(pl.DataFrame([GOOD | changes], schema=SCHEMA), thresholds).row(0, named=True)


def test_reaching_every_bar_exactly_is_enough() -> None:
    assert decided()["strong_buy"]
    assert decided()["reason"] == "passes"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"profit_probability": 0.599}, "probability 0.59 below 0.60"),
        ({"confidence": 0.1}, "confidence 0.1 below 0.70"),
        ({"expected_net_return": 0.0}, "expected net return 0.0 % not above 0 %"),
        ({"regime_score": 24.0}, "regime 24.0 below 25.0"),
        ({"price_source": "stale"}, "its last price is stale"),
        ({"price_source": "missing", "entry_price": None}, "it has no price"),
        ({"target_price": None}, "its volatility is not known, so it has no target and stop"),
    ],
)
def test_every_rule_keeps_out_alone_and_says_so(changes: dict, reason: str) -> None:
    signal = decided(**changes)
    assert not signal["strong_buy"]
    assert signal["reason"] == reason


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_what_is_unknown_never_passes(name: str, unknown: float | None) -> None:
    unknown = None if name == "price_source" else unknown
    signal = decided(**{name: unknown})
    assert not signal["strong_buy"]
    assert signal["reason"] != "passes"


def test_all_rules_that_fail_are_listed() -> None:
    reason = decided(profit_probability=0.5, confidence=0.5, regime_score=10.0)["reason"]
    assert reason == "probability 0.5 below 0.60; confidence 0.5 below 0.70; regime 10.0 below 25.0"


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 100))
def test_a_strong_buy_is_exactly_what_clears_every_bar(
    probability: float, confidence: float, expected: float, regime: float
) -> None:
    signal = decided(profit_probability=probability, confidence=confidence, expected_net_return=expected, regime_score=regime)
    assert signal["strong_buy"] == (probability >= 0.6 and confidence >= 0.7 and expected > 0 and regime >= 25)


def test_thresholds_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="min_probability must be from 0 to 1, not 60"):
        Thresholds(min_probability=60)
    with pytest.raises(ValueError, match="min_expected_net_return"):
        Thresholds(min_expected_net_return=float("nan"))


def test_the_level_of_the_market_is_no_strong_buy() -> None:
    flat = pl.DataFrame([GOOD, GOOD], schema=SCHEMA).with_columns(date=pl.lit("2024-01-02"), timeframe=pl.lit("short"))
    assert strong_buys(flat, Thresholds())["reason"].to_list() == ["no ranking skill, its probability is the market's level"] * 2
    assert strong_buys(flat.head(1), Thresholds())["strong_buy"].all()
    apart = flat.with_columns(profit_probability=pl.Series([0.7, 0.8]))
    assert strong_buys(apart, Thresholds())["strong_buy"].all()


def test_where_most_of_the_market_passes_nothing_is_recommended_and_it_is_said() -> None:
    rows = [GOOD | {"profit_probability": 0.61 + 0.001 * number, "date": "d", "timeframe": "short"} for number in range(40)]
    all_pass = strong_buys(pl.DataFrame(rows), Thresholds())
    assert not all_pass["strong_buy"].any()
    assert set(all_pass["reason"]) == {CROWDED}
    half = pl.DataFrame(rows).with_columns(confidence=pl.when(pl.int_range(pl.len()) < 20).then(0.1).otherwise(0.9))
    assert strong_buys(half, Thresholds())["strong_buy"].sum() == 20
    assert strong_buys(pl.DataFrame(rows[:10]), Thresholds())["strong_buy"].all()
    assert strong_buys(pl.DataFrame(rows), Thresholds(min_probability=0.5))["strong_buy"].all()
