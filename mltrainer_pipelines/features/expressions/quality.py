"""Whether a factor's values say anything: history, coverage, and that they differ at all."""

import polars as pl

from mltrainer_pipelines.features.spec import FeatureSet

LEAST_COVERAGE = 0.5
"""Share of values that must be known after the look-back for a factor to be screened."""


class BadFactorError(ValueError):
    """A factor whose values say nothing: names why, and the remedy."""


def check_history(chosen: FeatureSet, sessions: int) -> None:
    """BadFactorError where every value would be null, since the bars are no longer than the look-back."""
    need = max(feature.look_back for feature in chosen.features)
    if need >= sessions:
        raise BadFactorError(
            f"the expression looks back {need} sessions and the bars have {sessions}: every value would be null; "
            "use shorter windows or longer bars"
        )


def check_values(values: pl.Series) -> None:
    """BadFactorError where no value is known, or all are the same."""
    known = values.drop_nulls()
    if known.is_empty():
        raise BadFactorError("every value is null: what the expression reads is unknown here, or it divides by zero everywhere")
    if known.min() == known.max():
        raise BadFactorError(f"the expression is {known[0]:g} for every symbol and session; write one that differs")
