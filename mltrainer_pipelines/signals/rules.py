"""What makes a signal a strong buy, and what kept the others out."""

import math
from dataclasses import dataclass, replace

import polars as pl

PASSES = "passes"
CROWDED = "most of the market passes, which is its level and no choice"
DELAYED, CLOSED, STALE, MISSING, UNTRUSTED = "delayed", "close", "stale", "missing", "untrusted"
"""Where a signal's price comes from: the last delayed price, the decision's close, or nowhere one could trade on."""
NO_PRICE = (STALE, MISSING, UNTRUSTED)
SAMPLE_SIZE = 5
"""Signals just below the thresholds that are bought on paper, a session and timeframe."""
NO_DIFFERENCE = 1e-6
"""Spread of the probabilities of a timeframe up to which they are one number: the market's level, not the symbol's."""
MOST_PASSING, FEW_SIGNALS = 0.5, 20
"""Share of a refresh's signals of a timeframe from which what passes is the market's level, and from how many signals on."""
PROBABILITY_MARGIN, CONFIDENCE_MARGIN = 0.05, 0.10
"""How far below its threshold a sampled signal may be."""


@dataclass(frozen=True)
class Thresholds:
    """The bars a strong buy has to clear.

    Parameters
    ----------
    min_probability : float
        Of `profit_probability`, 0 to 1; reaching it is enough.
    min_confidence : float
        Of `confidence`, 0 to 1; reaching it is enough.
    min_expected_net_return : float
        Of `expected_net_return`, a fraction after costs; it has to be above.
    min_regime : float
        Of the market's `regime_score`, 0 to 100; reaching it is enough. 0 switches the gate off.
    version : int, optional
        Version of the run-time settings they come from; kept with every recommendation.
    """

    min_probability: float = 0.60
    min_confidence: float = 0.70
    min_expected_net_return: float = 0.0
    min_regime: float = 25.0
    version: int | None = None

    def __post_init__(self) -> None:
        for name, highest in (("min_probability", 1.0), ("min_confidence", 1.0), ("min_regime", 100.0)):
            value = getattr(self, name)
            if not 0.0 <= value <= highest:
                raise ValueError(f"thresholds: {name} must be from 0 to {highest:g}, not {value}")
        if not math.isfinite(self.min_expected_net_return):
            raise ValueError(f"thresholds: min_expected_net_return must be a number, not {self.min_expected_net_return}")


def strong_buys(signals: pl.DataFrame, thresholds: Thresholds) -> pl.DataFrame:
    """The signals with strong_buy (Boolean) and reason (String): `passes`, or every rule that kept it out.

    Where most of a refresh's signals of a timeframe pass, none does: the level of the probabilities is off, or tells no symbol
    from another.

    `failure`, where there is such a column, says why a price is not trusted. What is unknown (null) does not pass.
    """
    decided = _by_rules(signals, thresholds)
    passes = pl.col("reason") == ""
    if thresholds.min_probability > 0.5 and {"date", "timeframe"} <= set(signals.columns):
        of_refresh = ("date", "timeframe")
        crowded = (passes.mean().over(of_refresh) > MOST_PASSING) & (pl.len().over(of_refresh) >= FEW_SIGNALS)
        decided = decided.with_columns(reason=pl.when(passes & crowded).then(pl.lit(CROWDED)).otherwise("reason"))
    return decided.with_columns(strong_buy=passes, reason=pl.when(passes).then(pl.lit(PASSES)).otherwise("reason"))


def near_misses(signals: pl.DataFrame, thresholds: Thresholds, most: int = SAMPLE_SIZE) -> pl.DataFrame:
    """A sample of the signals just below the thresholds: those that slightly lower bars would let pass.

    Which ones are taken depends on symbol and session alone (a hash), not on how good they look: the sample says what
    lower thresholds would have brought.

    Parameters
    ----------
    signals : DataFrame
        As `strong_buys` gives them, with date, symbol and timeframe, of one refresh.
    most : int
        Signals a timeframe.
    """
    lower = replace(
        thresholds,
        min_probability=max(0.0, thresholds.min_probability - PROBABILITY_MARGIN),
        min_confidence=max(0.0, thresholds.min_confidence - CONFIDENCE_MARGIN),
    )
    passing = _by_rules(signals, lower)["reason"] == ""
    close = signals.filter(passing & ~signals["strong_buy"])
    shuffled = close.with_columns(_lot=pl.struct("symbol", "date", "timeframe").hash(seed=7))
    return shuffled.sort("_lot").group_by("timeframe", maintain_order=True).head(most).drop("_lot").select(signals.columns)


def _by_rules(signals: pl.DataFrame, thresholds: Thresholds) -> pl.DataFrame:
    """The signals with reason: every rule that each one fails, empty where there is none."""
    bars = thresholds
    probability, confidence, expected = pl.col("profit_probability"), pl.col("confidence"), pl.col("expected_net_return")
    regime, source = pl.col("regime_score"), pl.col("price_source")
    failure = pl.col("failure") if "failure" in signals.columns else pl.lit(None, pl.String)
    levels = pl.all_horizontal(pl.col("entry_price", "target_price", "stop_loss").fill_nan(None).is_not_null())
    rules = [
        _fails(source == STALE, pl.lit("its last price is stale")),
        _fails(source == MISSING, pl.lit("it has no price")),
        _fails(source == UNTRUSTED, pl.lit("its price failed the checks")),
        failure,
        _fails(~source.is_in(NO_PRICE) & ~levels, pl.lit("its volatility is not known, so it has no target and stop")),
        _below(probability, bars.min_probability, "probability", 2),
        _below(confidence, bars.min_confidence, "confidence", 2),
        _fails(
            ~(expected.fill_nan(None) > bars.min_expected_net_return).fill_null(False),
            pl.format(f"expected net return {{}} % not above {bars.min_expected_net_return * 100:g} %", _text(expected * 100, 2)),
        ),
    ]
    if bars.min_probability > 0 and {"date", "timeframe"} <= set(signals.columns):
        ranked, refresh = probability.fill_nan(None), ("date", "timeframe")
        flat = (ranked.max() - ranked.min()).over(refresh) <= NO_DIFFERENCE
        several = ranked.count().over(refresh) > 1
        rules.append(pl.when(flat & several).then(pl.lit("no ranking skill, its probability is the market's level")))
    if bars.min_regime > 0:
        rules.append(_below(regime, bars.min_regime, "regime", 1))
    return signals.with_columns(reason=pl.concat_str(rules, separator="; ", ignore_nulls=True))


def _fails(condition: pl.Expr, reason: pl.Expr) -> pl.Expr:
    return pl.when(condition.fill_null(True)).then(reason)


def _below(value: pl.Expr, bar: float, name: str, digits: int) -> pl.Expr:
    number = value.fill_nan(None)
    return _fails(~(number >= bar).fill_null(False), pl.format(f"{name} {{}} below {bar:.{digits}f}", _text(number, digits)))


def _text(value: pl.Expr, digits: int) -> pl.Expr:
    """A number rounded down, so that one just below a bar is not shown as the bar."""
    step = pl.lit(10**digits)
    return ((value * step).floor() / step).round(digits).cast(pl.String).fill_null("unknown")
