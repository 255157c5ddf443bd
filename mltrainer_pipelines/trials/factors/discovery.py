"""Factors of the lake's market: the market they are screened on, their verdicts, and the feature sets that accepted ones make."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl
from sqlalchemy.engine import Engine

from mltrainer_pipelines.contracts.content_hash import data_fingerprint
from mltrainer_pipelines.contracts.lake_tables import DISCOVERED_FACTORS
from mltrainer_pipelines.contracts.timeframes import get_timeframe
from mltrainer_pipelines.features.discovered import set_name
from mltrainer_pipelines.features.expressions.tree import MOST_LOOK_BACK
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.features.tables import STORED
from mltrainer_pipelines.market.history import adjusted_history, sessions_in_lake
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.store.lake import Lake, MissingPartitionError
from mltrainer_pipelines.trials.factors import library
from mltrainer_pipelines.trials.factors.library import StoredFactor
from mltrainer_pipelines.trials.factors.screening import MarketTables, ScreeningMarket, Verdict
from mltrainer_pipelines.trials.registry import ledger

RETIRED_AFTER = 126
"""Sessions since its acceptance before a factor can be retired: half a year."""
RETIRED_BELOW = 0.5
"""Share of the residual IC it was accepted with that the upper end of what it has had since must reach."""


def horizon_of(timeframe: str) -> int:
    """Sessions after which a factor's outcome is taken: the middle of the holding period.

    >>> horizon_of("short"), horizon_of("long")
    (9, 60)
    """
    period = get_timeframe(timeframe)
    return (period.min_sessions + period.max_sessions) // 2


def lake_market(lake: Lake, timeframe: str) -> ScreeningMarket:
    """The universe's members over all months, to screen factors of a timeframe beside the stored features.

    Raises MissingPartitionError where the lake has no bars or no universe yet, ValueError where they are too short.
    """
    days, months = sessions_in_lake(lake, date.min, date.max), lake.partitions("universe")
    covered = [day for day in days if months and str(day) >= months[0]]
    if not covered:
        raise MissingPartitionError("universe", ["any month"], lake.url)
    members = lake.scan("universe").collect()
    bars = adjusted_history(lake, covered[0], days[-1], MOST_LOOK_BACK, symbols=members["symbol"].unique())
    macro = known_macro(lake.read("macro_series"), days) if lake.exists("macro_series") else None
    regime = lake.read("regime") if lake.exists("regime") else None
    tables = MarketTables(bars, members, macro, regime)
    return ScreeningMarket(tables, covered[0], covered[-1], horizon_of(timeframe), get_feature_set(STORED))


def screen_factor(engine: Engine, market: ScreeningMarket, factor: StoredFactor, moment: datetime, run_id: str | None) -> Verdict:
    """Judge a proposed factor on the quarters that nobody was shown, counting all that were ever screened; on record at once."""
    accepted = [one.expression for one in library.factors(engine, factor.timeframe, ["accepted"])]
    screened = library.screened(engine) + (factor.screened_at is None)
    verdict = market.judge(factor.expression, accepted, screened, library.judged(engine))
    fingerprint = data_fingerprint(market.tables.bars.select("date", "symbol", "adj_close"))
    library.save_verdict(engine, factor.factor_id, verdict, moment, run_id, fingerprint)
    subject = f"{factor.expression} for {factor.timeframe}"
    ledger.record_factor(engine, subject, market.shown[0], factor.proposed_by, fingerprint, run_id)
    return verdict


def retired(engine: Engine, market: ScreeningMarket, timeframe: str, moment: datetime) -> list[StoredFactor]:
    """Retire accepted factors that stopped working, by one rule, and return them.

    At least `RETIRED_AFTER` sessions after its acceptance, the upper end of the 90 % interval of its residual IC since then lies
    below half of the residual IC that it was accepted with.
    """
    gone = []
    for factor in library.factors(engine, timeframe, ["accepted"]):
        hidden = (factor.figures or {}).get("hidden")
        if factor.screened_at is None or not isinstance(hidden, dict):
            continue
        since = market.since(factor.expression, factor.screened_at.date(), factor.direction, RETIRED_AFTER)
        before = abs(float(hidden["residual_ic"]))
        if since is not None and since[1] < RETIRED_BELOW * before:
            reason = (
                f"its residual IC since {factor.screened_at:%Y-%m-%d} is {since[0].residual_ic:.3f}, at most {since[1]:.3f}: "
                f"less than half of the {before:.3f} that it was accepted with"
            )
            library.retire(engine, factor.factor_id, reason, moment)
            gone.append(factor)
    return gone


def write_discovered(engine: Engine, lake: Lake, timeframe: str, today: date) -> str | None:
    """Make the accepted factors of a timeframe a feature set, if they are others than before; its name, None without any.

    Sets are never changed: other factors are a set with the next number, and trials and champions of an older one keep it.
    """
    accepted = sorted(library.factors(engine, timeframe, ["accepted"]), key=lambda factor: factor.factor_id)
    known = lake.read("discovered_factors") if lake.exists("discovered_factors") else DISCOVERED_FACTORS.empty()
    own = known.filter(pl.col("timeframe") == timeframe)
    if not accepted:
        return None
    names = own["feature_set"].unique(maintain_order=True).to_list()
    if names and _members(own, names[-1]) == [factor.factor_id for factor in accepted]:
        return str(names[-1])
    name = set_name(timeframe, len(names) + 1)
    rows = [
        {
            "feature_set": name, "timeframe": timeframe, "factor_id": factor.factor_id, "name": factor.column,
            "expression": factor.expression, "direction": factor.direction, "made_on": today,
        }
        for factor in accepted
    ]  # fmt: skip
    lake.write("discovered_factors", pl.concat([known, DISCOVERED_FACTORS.cast(pl.DataFrame(rows))]))
    return name


def _members(rows: pl.DataFrame, name: str) -> Sequence[str]:
    return rows.filter(pl.col("feature_set") == name)["factor_id"].to_list()
