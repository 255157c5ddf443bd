"""Where each symbol stands among the members of its session: the four columns below for every feature of `momentum`,
`technical` and `alpha158` that differs between symbols. A rank is (average rank − ½) / members, a z-score is in
sample standard deviations; the last two are within the symbol's sector, null where that is unknown or has fewer than
3 members.
"""

from mltrainer_pipelines.features.sets.alpha158 import ALPHA158
from mltrainer_pipelines.features.sets.momentum import MOMENTUM
from mltrainer_pipelines.features.sets.technical import TECHNICAL
from mltrainer_pipelines.features.spec import Feature, FeatureSet

SOURCE = "Asness, Moskowitz & Pedersen (2013), Value and Momentum Everywhere"

KINDS = {
    "rank": "percentile of {} within the universe, 0 to 1",
    "zscore": "{} minus the universe's mean, in its standard deviations",
    "sector_rank": "percentile of {} within the sector, 0 to 1",
    "sector_zscore": "{} minus the sector's mean, in its standard deviations",
}
"""What each column says of a feature, in the order of the kernel's outputs."""

_SHARED = frozenset({"market_return_21", "market_return_252", "market_volatility_21", "breadth_50"})
"""Features that are the same for every member."""


def _bases() -> tuple[Feature, ...]:
    """What is ranked, each name once: ``technical`` repeats two indicators of ``momentum``."""
    by_name: dict[str, Feature] = {}
    for feature in (*MOMENTUM.features, *TECHNICAL.features, *ALPHA158.features):
        if feature.name not in _SHARED and not feature.name.startswith("rank_"):
            by_name.setdefault(feature.name, feature)
    return tuple(by_name.values())


def _against_others(base: Feature, output: int, kind: str, summary: str) -> Feature:
    return Feature(
        f"{base.name}_{kind}",
        (base.name,),
        0,
        lambda w: w.ranks_and_zscores(base.name)[output],
        SOURCE,
        summary.format(base.name),
    )


CROSS_SECTION = FeatureSet(
    "cross_section",
    tuple(
        _against_others(base, output, kind, summary) for base in _bases() for output, (kind, summary) in enumerate(KINDS.items())
    ),
    bases=_bases(),
    description=__doc__ or "",
)
