"""Splits and cash dividends in one table: what the vendor lists, and what of it is believed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import log

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS, REJECTED_ACTIONS
from mltrainer_pipelines.market.errors import BadActionsError
from mltrainer_pipelines.market.listings import listings_of
from mltrainer_pipelines.market.split_checks import SUSPECTED_SPLITS, judged_actions, suspected_splits, unexplained_steps
from mltrainer_pipelines.market.vendors.protocol import MarketData
from mltrainer_pipelines.store.corrections import Correction
from mltrainer_pipelines.store.lake import Lake

CHECKED_AGAIN = timedelta(days=30)
"""How far back actions that are known are fetched again: a vendor corrects the recent ones now and then."""
ANNOUNCED_AHEAD = timedelta(days=14)
"""How far ahead announced actions are fetched: a bar of tomorrow's ex-date can then be adjusted while it forms."""

MOST_REJECTED, FEW_REJECTED = 0.02, 20
"""Share of a list of actions that may be set aside, beyond a few: more than that, and the list as a whole is not believed."""

_STEP = (pl.col("open") / pl.col("close").shift(1).over("symbol")).log().abs()
_STEEP, _NOTICEABLE = log(1.8), log(1.18)
_WORTH_A_LOOK = 5.0
"""Dollars above which a symbol may be chosen for a universe: below, small steps are not looked at."""
_SAME_RATIO, _NEAR = 0.05, timedelta(days=7)
_AT_ONCE = 250
_OVERRULED, _CORRECTED = "overruled by a correction", "added by a correction"
_INFERRED = "not listed for that day, but the price steps by it and the day is like any other: applied"
_SUSPECTED = "a step that looks like a split nobody lists: the symbol is set aside until a correction says what it was"
_UNEXPLAINED = "nothing explains so large a step of the price on a quiet day: applied, as no loss or gain (a spin-off?)"


@dataclass(frozen=True)
class SiftedActions:
    """Actions that are applied, and where that is not what the vendor lists: set aside, or applied without being listed.

    Columns of `CORPORATE_ACTIONS`, and of `REJECTED_ACTIONS`.
    """

    believed: pl.DataFrame
    rejected: pl.DataFrame


def sifted_actions(
    listed: pl.DataFrame, bars: pl.DataFrame, corrections: Iterable[Correction] = (), *, suspect: bool = True
) -> SiftedActions:
    """What of a vendor's list is applied: what the price of its ex-date does not contradict, and what a person says.

    Steps that are too small to be taken for a split, and look like one, are `suspected` (see there) unless `suspect` is false.

    Parameters
    ----------
    listed : pl.DataFrame
        Columns of `CORPORATE_ACTIONS`, whatever came.
    bars : pl.DataFrame
        Columns of `DAILY_BARS` but for vwap and trades, unadjusted.
    corrections : iterable of Correction
        A split or dividend takes the place of what is listed of its kind on that day, `no_action` of all that is.

    Raises
    ------
    BadActionsError
        If so many rows are wrong that the list as a whole cannot be believed.
    """
    corrections = list(corrections)
    own = pl.DataFrame(
        [
            {"symbol": one.symbol, "ex_date": one.day, "kind": one.kind, "ratio": one.value, "cash": one.value}
            for one in corrections
            if one.kind in ("split", "dividend", "no_action")
        ],
        schema={"symbol": pl.String, "ex_date": pl.Date, "kind": pl.String, "ratio": pl.Float64, "cash": pl.Float64},
    ).unique(["symbol", "ex_date", "kind"], keep="last", maintain_order=True)
    kinds = pl.when(pl.col("kind") == "no_action").then(pl.lit(["split", "dividend"])).otherwise(pl.concat_list("kind"))
    corrected = own.select("symbol", "ex_date", kind=kinds).explode("kind").with_columns(_corrected=pl.lit(value=True))
    judged = judged_actions(listed, bars).join(
        corrected.unique(), on=["symbol", "ex_date", "kind"], how="left", maintain_order="left"
    )
    judged = judged.with_columns(reason=pl.when("_corrected").then(pl.lit(_OVERRULED)).otherwise("reason")).drop("_corrected")
    rejected = REJECTED_ACTIONS.cast(judged.filter(pl.col("reason").is_not_null()))
    wrong = doubted(rejected)
    if wrong.height > max(FEW_REJECTED, MOST_REJECTED * listed.height):
        first = wrong.row(0, named=True)
        raise BadActionsError(
            f"{wrong.height} of {listed.height} corporate actions cannot be right, the first: {first['symbol']} "
            f"{first['kind']} of {first['ex_date']}: {first['reason']}; so many are not believed: ask again later"
        )
    true = own.filter(pl.col("kind") != "no_action").with_columns(
        ratio=pl.when(pl.col("kind") == "split").then("ratio"),
        cash=pl.when(pl.col("kind") == "dividend").then("cash"),
        declared=None,
    )
    true = CORPORATE_ACTIONS.cast(true)
    believed = pl.concat([judged.filter(pl.col("reason").is_null()).drop("reason"), true])
    inferred = inferred_splits(bars, believed, wrong).join(corrected, on=["symbol", "ex_date", "kind"], how="anti")
    decided = pl.DataFrame(
        {"symbol": [one.symbol for one in corrections], "ex_date": [one.day for one in corrections]},
        {"symbol": pl.String, "ex_date": pl.Date},
    )
    known = pl.concat([believed, inferred])
    steps = _as_splits(unexplained_steps(_of_steep(bars), known)).join(decided, on=["symbol", "ex_date"], how="anti")
    known = pl.concat([known, steps])
    aside = _as_splits(_suspects(bars, known) if suspect else SUSPECTED_SPLITS.to_frame())
    aside = aside.join(decided, on=["symbol", "ex_date"], how="anti")
    reasons = ((true, _CORRECTED), (inferred, _INFERRED), (steps, _UNEXPLAINED), (aside, _SUSPECTED))
    added = [rows.with_columns(reason=pl.lit(reason, pl.String)) for rows, reason in reasons]
    return SiftedActions(_ordered(known), _ordered(pl.concat([rejected, *added])))


def sifted_by_company(
    lake: Lake, listed: pl.DataFrame, corrections: Iterable[Correction], *, suspect: bool = True
) -> SiftedActions:
    """`sifted_actions` beside the lake's bars, by symbol; a step between two companies under one ticker is none."""
    listings = listings_of(lake)
    own = [replace(one, symbol=one.symbol and listings.company(one.symbol, one.day)) for one in corrections]
    bars = listings.companies(bars_beside(lake, listed))
    sifted = sifted_actions(listings.companies(listed, "ex_date"), bars, own, suspect=suspect)
    believed, rejected = (listings.symbols(frame, "ex_date") for frame in (sifted.believed, sifted.rejected))
    return SiftedActions(_ordered(believed), _ordered(rejected))


def corporate_actions(client: MarketData, first: date, last: date) -> pl.DataFrame:
    """All splits and cash dividends with an ex-date from `first` to `last`, both included, as the vendor lists them.

    Columns of `CORPORATE_ACTIONS`; `declared` is null where the vendor does not say. An error of the client
    (`MarketDataError`) comes through: a partial answer is never returned.
    """
    actions = pl.concat([client.splits(first, last), client.dividends(first, last)])
    return _ordered(actions.select(pl.col(name).cast(kind) for name, kind in CORPORATE_ACTIONS.schema.items()))


def continued_actions(client: MarketData, stored: pl.DataFrame, stored_until: date, today: date) -> pl.DataFrame:
    """What is stored, with what has been announced since; the last 30 days and the coming 14 are fetched.

    An evening costs the same after five years as after five days: of the years before, nothing is asked for again.
    `stored` is what was listed before, believed or not, complete up to the day `stored_until` when it was fetched.
    """
    refetch_from = stored_until - CHECKED_AGAIN
    fresh = corporate_actions(client, refetch_from, today + ANNOUNCED_AHEAD)
    fresh = fresh.filter(pl.col("ex_date").is_null() | (pl.col("ex_date") >= refetch_from))
    return _ordered(pl.concat([stored.filter(pl.col("ex_date") < refetch_from), fresh]))


def inferred_splits(bars: pl.DataFrame, believed: pl.DataFrame, rejected: pl.DataFrame) -> pl.DataFrame:
    """Splits that nobody lists for their day and without which the price would have moved so far for nothing.

    Columns of `CORPORATE_ACTIONS`. What opens at half the last close or less, or at double or more, at a usual ratio, on
    a day that is otherwise like any other (`split_checks.suspected_splits`; on 2.5 million bars of 2000 to 2018 one, a
    dividend in shares that the list lacks), and smaller steps within a week of a split of that ratio that was set aside:
    that one was misdated.
    """
    misdated = rejected.filter(pl.col("kind") == "split").select("symbol", listed="ratio", near="ex_date")
    steep = pl.concat([bars.sort("symbol", "date").filter(_STEP > _STEEP)["symbol"], misdated["symbol"]]).unique()
    few = bars.filter(pl.col("symbol").is_in(steep.implode())).sort("symbol", "date")
    suspected = suspected_splits(few, believed)
    moved = suspected.join(misdated, on="symbol").filter(
        (pl.col("ratio") / pl.col("listed") - 1).abs() < _SAME_RATIO, (pl.col("date") - pl.col("near")).abs() <= _NEAR
    )
    inferred = pl.concat(
        [
            suspected.filter(pl.col("ratio").log().abs() > log(1.9)).join(moved, on=["symbol", "date"], how="anti"),
            moved.with_columns(ratio="listed").select(suspected.columns),
        ]
    ).unique(["symbol", "date"], maintain_order=True)
    return _as_splits(inferred)


def suspected(lake: Lake) -> pl.DataFrame:
    """Steps that look like splits which nobody lists and nobody has decided on: `symbol` (the company's id), `ex_date`, `ratio`.

    From that day on the symbol is set aside: it is chosen for no universe, recommended by no signal, and no outcome that
    lies across the step is known. Known at the close of `ex_date`.
    """
    if not lake.exists("rejected_actions"):
        return REJECTED_ACTIONS.empty().select("symbol", "ex_date", "ratio")
    aside = lake.read("rejected_actions").filter(pl.col("reason") == _SUSPECTED).select("symbol", "ex_date", "ratio")
    return listings_of(lake).companies(aside, "ex_date")


def _suspects(bars: pl.DataFrame, believed: pl.DataFrame) -> pl.DataFrame:
    few = bars.sort("symbol", "date").filter(_STEP > _NOTICEABLE)["symbol"].unique()
    return suspected_splits(bars.filter(pl.col("symbol").is_in(few.implode())).sort("symbol", "date"), believed)


def _as_splits(suspects: pl.DataFrame) -> pl.DataFrame:
    """Suspected splits as rows of `CORPORATE_ACTIONS`."""
    terms = {"kind": pl.lit("split"), "cash": pl.lit(None), "declared": pl.lit(None)}
    return CORPORATE_ACTIONS.cast(suspects.select("symbol", "ratio", ex_date="date", **terms))


def _of_steep(bars: pl.DataFrame) -> pl.DataFrame:
    """The bars of symbols that ever opened at half or double the close before."""
    bars = bars.sort("symbol", "date")
    return bars.filter(pl.col("symbol").is_in(bars.filter(_STEP > _STEEP)["symbol"].unique().implode()))


def doubted(rejected: pl.DataFrame) -> pl.DataFrame:
    """Rejected and inferred actions, without what a person has decided."""
    return rejected.filter(~pl.col("reason").is_in([_OVERRULED, _CORRECTED]))


def listed_before(lake: Lake) -> pl.DataFrame:
    """What the vendor listed the last time, believed or not: it is judged anew, by bars that may have come since."""
    if not lake.exists("rejected_actions"):
        return lake.read("corporate_actions")
    aside = lake.read("rejected_actions").filter(pl.col("reason") != _SUSPECTED)
    added = pl.col("reason").is_in([_CORRECTED, _INFERRED, _UNEXPLAINED])
    ours = aside.filter(added).drop("reason")
    believed = lake.read("corporate_actions").join(ours, on=ours.columns, how="anti", nulls_equal=True)
    return pl.concat([believed, aside.filter(~added).drop("reason")])


def bars_beside(lake: Lake, listed: pl.DataFrame) -> pl.DataFrame:
    """The bars of the symbols that have actions, or a step that may be an unlisted one, as far as the lake has any."""
    keys = lake.partitions("daily_bars")
    symbols = {*listed["symbol"].drop_nulls()}
    for start in range(0, len(keys), _AT_ONCE):
        part = lake.scan("daily_bars", keys[max(0, start - 1) : start + _AT_ONCE]).select("symbol", "date", "open", "close")
        least = pl.when(pl.col("open") > _WORTH_A_LOOK).then(_NOTICEABLE).otherwise(_STEEP)
        symbols |= set(part.collect().sort("symbol", "date").with_columns(step=_STEP).filter(pl.col("step") > least)["symbol"])
    if not keys:
        return DAILY_BARS.empty()
    names = [name for name in DAILY_BARS.schema if name not in ("vwap", "trades")]
    return lake.scan("daily_bars", keys).select(names).filter(pl.col("symbol").is_in(sorted(symbols))).collect()


def _ordered(actions: pl.DataFrame) -> pl.DataFrame:
    return actions.sort("symbol", "ex_date", "kind", "cash", "ratio")
