"""What can be wrong with stored bars, found by reading them back, a few sessions at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from statistics import median

import polars as pl

from mltrainer_pipelines.market.bar_check_names import BAR_CHECKS
from mltrainer_pipelines.market.bars import impossible_bars
from mltrainer_pipelines.market.ingestion import USUAL_SESSIONS
from mltrainer_pipelines.market.listings import company_actions, company_bars
from mltrainer_pipelines.market.sessions import previous_session, sessions_between
from mltrainer_pipelines.store.lake import Lake

COVERED_ABOVE = 0.8
"""Share of the usual number of symbols below which a session is thin enough to say so."""
LARGEST_MOVE = 0.4
"""Move from close to close that asks for a corporate action to explain it, as a share of the price."""
_AT_ONCE = 40
"""Sessions read at a time: ten thousand symbols of them are 30 MB."""
_SHOWN = 20
_HALF_A_CENT = 0.005


@dataclass
class Finding:
    """How many bars or sessions are wrong in one way, and the first of them."""

    count: int = 0
    examples: list[dict[str, object]] = field(default_factory=list)

    def add(self, rows: pl.DataFrame) -> None:
        self.count += rows.height
        self.examples += rows.head(_SHOWN - len(self.examples)).to_dicts()


@dataclass
class BarFindings:
    """How many sessions and rows were read, and what is wrong with them by the name of the check; see `BAR_CHECKS`."""

    sessions: int = 0
    rows: int = 0
    wrong: dict[str, Finding] = field(default_factory=lambda: {name: Finding() for name in BAR_CHECKS})


def bar_findings(lake: Lake, sessions: Sequence[date]) -> BarFindings:
    """Read the sessions' bars back and look for everything that can be wrong with them.

    Costs the same for one session whatever the lake holds besides: the 20 sessions before it are only counted.
    Sessions that are not in the lake are passed over; `backlog.missing_sessions` finds those.
    """
    findings = BarFindings()
    wrong = findings.wrong
    wanted = [day for day in sorted(sessions) if lake.exists("daily_bars", str(day))]
    if not wanted:
        return findings
    actions = company_actions(lake) if lake.exists("corporate_actions") else None
    before = sessions_between(previous_session(wanted[0], USUAL_SESSIONS), previous_session(wanted[0]))
    sizes = [lake.row_count("daily_bars", str(day)) for day in before if lake.exists("daily_bars", str(day))]
    for start in range(0, len(wanted), _AT_ONCE):
        days = wanted[start : start + _AT_ONCE]
        eve = previous_session(days[0])
        read = [eve, *days] if lake.exists("daily_bars", str(eve)) else days
        bars = company_bars(lake, read)
        fresh = bars.filter(pl.col("date") >= days[0])
        findings.sessions += len(days)
        findings.rows += fresh.height
        wrong["no_duplicate_bars"].add(fresh.filter(pl.struct("date", "symbol").is_duplicated()))
        wrong["prices_are_possible"].add(impossible_bars(fresh))
        wrong["vwap_within_the_range"].add(
            fresh.filter((pl.col("vwap") < pl.col("low") - _HALF_A_CENT) | (pl.col("vwap") > pl.col("high") + _HALF_A_CENT))
        )
        wrong["jumps_have_a_reason"].add(_unexplained_jumps(bars, days[0], actions))
        counts = dict(fresh.group_by("date").len().iter_rows())
        for day in days:
            usual = median(sizes[-USUAL_SESSIONS:]) if sizes else None
            symbols = counts.get(day, 0)
            if usual and symbols < COVERED_ABOVE * usual:
                wrong["coverage"].add(pl.DataFrame({"date": [day], "symbols": [symbols], "usual": [float(usual)]}))
            sizes.append(symbols)
            if lake.exists("rejected_bars", str(day)):
                wrong["nothing_was_rejected"].add(lake.read("rejected_bars", str(day)))
    return findings


def _unexplained_jumps(bars: pl.DataFrame, first: date, actions: pl.DataFrame | None) -> pl.DataFrame:
    moves = (
        bars.select("symbol", "date", "close")
        .sort("symbol", "date")
        .with_columns(
            move=pl.col("close") / pl.col("close").shift(1).over("symbol") - 1,
            date_before=pl.col("date").shift(1).over("symbol"),
        )
        .filter(pl.col("move").abs() > LARGEST_MOVE, pl.col("date") >= first)
    )
    if actions is None or actions.is_empty() or moves.is_empty():
        return moves
    explained = moves.join(actions.select("symbol", "ex_date"), on="symbol").filter(
        pl.col("ex_date") > pl.col("date_before"), pl.col("ex_date") <= pl.col("date")
    )
    return moves.join(explained, on=["symbol", "date"], how="anti")
