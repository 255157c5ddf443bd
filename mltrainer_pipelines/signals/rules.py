"""What makes a signal a strong buy, and what kept the others out."""

import math
from dataclasses import dataclass

import polars as pl

PASSES = "passes"
DELAYED, CLOSED, STALE, MISSING = "delayed", "close", "stale", "missing"
"""Where a signal's price comes from: the last delayed price, the decision's close, or nowhere one could trade on."""


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
    """

    min_probability: float = 0.60
    min_confidence: float = 0.70
    min_expected_net_return: float = 0.0
    min_regime: float = 25.0

    def __post_init__(self) -> None:
        for name, highest in (("min_probability", 1.0), ("min_confidence", 1.0), ("min_regime", 100.0)):
            value = getattr(self, name)
            if not 0.0 <= value <= highest:
                raise ValueError(f"thresholds: {name} must be from 0 to {highest:g}, not {value}")
        if not math.isfinite(self.min_expected_net_return):
            raise ValueError(f"thresholds: min_expected_net_return must be a number, not {self.min_expected_net_return}")


def strong_buys(signals: pl.DataFrame, thresholds: Thresholds) -> pl.DataFrame:
    """Decide every signal.

    Parameters
    ----------
    signals : DataFrame
        profit_probability, confidence, expected_net_return, regime_score, price_source, entry_price, target_price,
        stop_loss; more is left as it is. Null means unknown, and what is unknown does not pass.
    thresholds : Thresholds

    Returns
    -------
    DataFrame
        The same rows with strong_buy (Boolean) and reason (String): `passes`, or every rule that kept it out.
    """
    bars = thresholds
    probability, confidence, expected = pl.col("profit_probability"), pl.col("confidence"), pl.col("expected_net_return")
    regime, source = pl.col("regime_score"), pl.col("price_source")
    levels = pl.all_horizontal(pl.col("entry_price", "target_price", "stop_loss").fill_nan(None).is_not_null())
    rules = [
        _fails(source == STALE, pl.lit("its last price is stale")),
        _fails(source == MISSING, pl.lit("it has no price")),
        _fails(~source.is_in([STALE, MISSING]) & ~levels, pl.lit("its volatility is not known, so it has no target and stop")),
        _below(probability, bars.min_probability, "probability", 2),
        _below(confidence, bars.min_confidence, "confidence", 2),
        _fails(
            ~(expected.fill_nan(None) > bars.min_expected_net_return).fill_null(False),
            pl.format(f"expected net return {{}} % not above {bars.min_expected_net_return * 100:g} %", _text(expected * 100, 2)),
        ),
    ]
    if bars.min_regime > 0:
        rules.append(_below(regime, bars.min_regime, "regime", 1))
    decided = signals.with_columns(reason=pl.concat_str(rules, separator="; ", ignore_nulls=True))
    passes = pl.col("reason") == ""
    return decided.with_columns(strong_buy=passes, reason=pl.when(passes).then(pl.lit(PASSES)).otherwise("reason"))


def _fails(condition: pl.Expr, reason: pl.Expr) -> pl.Expr:
    return pl.when(condition.fill_null(True)).then(reason)


def _below(value: pl.Expr, bar: float, name: str, digits: int) -> pl.Expr:
    known = value.fill_nan(None)
    return _fails(~(known >= bar).fill_null(False), pl.format(f"{name} {{}} below {bar:.{digits}f}", _text(known, digits)))


def _text(value: pl.Expr, digits: int) -> pl.Expr:
    """A number rounded down, so that one just below a bar is not shown as the bar."""
    step = 10**digits
    return ((value * step).floor() / step).round(digits).cast(pl.String).fill_null("unknown")
