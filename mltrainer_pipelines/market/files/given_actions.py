"""Splits and dividends that files give, held against their prices: import and the exchange apply the same ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.market.files.adjusted_prices import prices_are_adjusted, splits_of_adjusted_closes, without_a_step
from mltrainer_pipelines.market.files.reader import BarsOfFiles
from mltrainer_pipelines.market.split_checks import judged_actions

_SHOWN = 12
_SUSPECTS_AT_MOST = 1 / 50_000
"""Suspected splits a bar above which prices are taken to be unadjusted, without their splits."""


@dataclass(frozen=True)
class CheckedActions:
    """What the prices bear out, in the columns of `BarsOfFiles`.

    `refused` (symbol, ex_date, kind, ratio, cash, reason) is what they contradict, `notes` what else is not applied.
    """

    splits: pl.DataFrame
    dividends: pl.DataFrame
    refused: pl.DataFrame
    notes: list[str]

    @property
    def actions(self) -> pl.DataFrame:
        """Splits and dividends in one frame: `symbol`, `ex_date`, `kind`, `ratio`, `cash`."""
        splits = self.splits.select("symbol", "ex_date", "ratio", kind=pl.lit("split"))
        return pl.concat(
            [splits, self.dividends.select("symbol", "ex_date", "cash", kind=pl.lit("dividend"))], how="diagonal_relaxed"
        )


def checked_actions(read: BarsOfFiles) -> CheckedActions:
    """Splits and dividends of files that their prices bear out.

    Left out are those of symbols without bars, all splits where the prices are adjusted for them already, and what the
    price of its day contradicts: upside down, a day early or late, another ratio. Where no split is given, those are
    taken that a column of adjusted closes knows of and the prices show.
    """
    splits, dividends, bars, notes = read.splits, read.dividends, read.bars, []
    known = bars["symbol"].unique().implode()
    for what, actions in (("splits", splits), ("dividends", dividends)):
        strangers = actions.filter(~pl.col("symbol").is_in(known))["symbol"].unique().sort().to_list()
        if strangers:
            more = f" and {len(strangers) - _SHOWN:,} more" if len(strangers) > _SHOWN else ""
            notes.append(f"{what} of symbols without bars are left out: {', '.join(strangers[:_SHOWN])}{more}.")
    splits, dividends = (actions.filter(pl.col("symbol").is_in(known)) for actions in (splits, dividends))
    if splits.is_empty():
        splits = splits_of_adjusted_closes(bars)
        if splits.height:
            notes.append(f"{splits.height:,} splits were read from the adjusted closes beside the prices.")
    elif prices_are_adjusted(splits, bars):
        missing, seen = without_a_step(splits, bars)
        notes.append(
            f"Prices are adjusted for splits already ({missing} of {seen} splits show no step in the price): "
            "the splits are not applied again."
        )
        splits = splits.clear()
    actions = pl.concat(
        [
            splits.select("symbol", "ex_date", "declared", "ratio", kind=pl.lit("split"), cash=None),
            dividends.select("symbol", "ex_date", "declared", "cash", kind=pl.lit("dividend"), ratio=None),
        ],
        how="diagonal_relaxed",
    )
    judged = judged_actions(CORPORATE_ACTIONS.cast(actions), bars)
    refused = judged.filter(pl.col("reason").is_not_null()).select("symbol", "ex_date", "kind", "ratio", "cash", "reason")
    wrong = [refused.filter(pl.col("kind") == kind).select("symbol", "ex_date") for kind in ("split", "dividend")]
    on = ["symbol", "ex_date"]
    return CheckedActions(splits.join(wrong[0], on=on, how="anti"), dividends.join(wrong[1], on=on, how="anti"), refused, notes)


def not_applied(action: Mapping[str, Any]) -> str:
    """A refused action in a sentence."""
    return f"Not applied: the {action['kind']} of {action['symbol']} on {action['ex_date']}: {action['reason']}."


def lack_their_splits(suspects: pl.DataFrame, bars: pl.DataFrame) -> bool:
    """Whether so many steps look like splits that the prices are unadjusted, and the file lacks their splits."""
    return suspects.height > _SUSPECTS_AT_MOST * bars.height


def named_suspects(suspects: pl.DataFrame, shown: int = 5) -> str:
    """The first of suspected splits, by name."""
    named = ", ".join(f"{row['symbol']} on {row['date']} ({row['ratio']:.4g} for 1?)" for row in suspects.head(shown).to_dicts())
    return named + (f" and {suspects.height - shown:,} more" if suspects.height > shown else "")
