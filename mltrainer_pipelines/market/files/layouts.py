"""Which column of a file is what: the names that vendors, archives and libraries give to daily bars."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NAMES: Mapping[str, tuple[str, ...]] = {
    "date": (
        *("date", "tradedate", "tradingdate", "tradingday", "pricedate", "session", "sessiondate", "quotedate", "asofdate"),
        *("marketdate", "caldt", "datadate", "dlycaldt", "businessdate", "exdate", "executiondate", "effectivedate"),
        *(
            "formatteddate",
            "datetime",
            "timestamp",
            "timestamputc",
            "dt",
            "windowstart",
            "begin",
            "time",
            "t",
            "ts",
            "day",
            "period",
        ),
        *("indexlevel0", "level0", "level1", "index", "unnamed0", "", "datum", "fecha", "data"),
    ),
    "symbol": (
        *("symbol", "ticker", "tickersymbol", "stocksymbol", "actsymbol", "rootsymbol", "tic", "sym", "instrument", "asset"),
        *("ric", "stockcode", "code", "stock", "security", "securityid", "underlying", "s", "indexlevel1", "level1", "name"),
    ),
    "open": (
        "open",
        "openprice",
        "priceopen",
        "pxopen",
        "openprc",
        "dlyopen",
        "o",
        "dayopen",
        "rawopen",
        "openingprice",
        "adjopen",
    ),
    "high": (
        "high",
        "highprice",
        "pricehigh",
        "pxhigh",
        "askhi",
        "dlyhigh",
        "h",
        "dayhigh",
        "rawhigh",
        "max",
        "highestprice",
        "adjhigh",
    ),
    "low": ("low", "lowprice", "pricelow", "pxlow", "bidlo", "dlylow", "l", "daylow", "rawlow", "min", "lowestprice", "adjlow"),
    "close": (
        *("close", "closelast", "closeprice", "priceclose", "pxlast", "pxclose", "prc", "dlyclose", "dlyprc", "c", "last"),
        *("lastprice", "rawclose", "price", "dayclose", "closingprice", "adjclose", "adjustedclose"),
    ),
    "volume": (
        *("volume", "vol", "v", "volumeshares", "sharestraded", "sharevolume", "pxvolume", "dlyvol", "dayvolume", "rawvolume"),
        *("totaltradequantity", "tradedvolume", "tradingvolume", "quantity", "adjvolume"),
    ),
    "vwap": ("vwap", "vw", "weightedaverageprice", "averageprice"),
    "trades": ("trades", "n", "transactions", "tradecount", "numberoftrades", "numtrades", "tradescount"),
    "split_ratio": ("splitratio", "stocksplits", "splitfactor", "splitcoefficient", "stocksplit", "splits", "split"),
    "dividend": ("dividend", "dividends", "divcash", "exdividend", "dividendamount", "cashdividend", "dividendcash", "div"),
    "adj_close": ("adjclose", "adjustedclose", "adjcloseprice", "closeadj", "adjclosed", "adjusted", "adjustedcloseprice"),
    "unadjusted_close": ("closeunadj", "unadjustedclose", "closeunadjusted"),
    "factor": ("factor",),
    "sector": ("sector",),
    "interval": ("per", "interval", "timeframe"),
    "ratio": ("ratio", "splitratio", "splitfactor", "stocksplits", "split", "splits", "coefficient", "factor", "value"),
    "ratio_new": ("splitto", "numerator", "toshares", "newshares", "tofactor"),
    "ratio_old": ("splitfrom", "denominator", "forshares", "oldshares", "forfactor", "fromshares"),
    "cash": (
        *("cash", "cashamount", "dividend", "dividends", "amount", "dividendamount", "adjdividend", "divcash", "cashdividend"),
        *("value", "rate"),
    ),
    "declared": ("declared", "declarationdate", "declareddate", "announcementdate"),
    "record_date": ("recorddate",),
    "pay_date": ("paydate", "paymentdate", "payabledate"),
    "frequency": ("frequency",),
}
"""Names of each role, letters and digits only, the best first."""

BARS = ("open", "high", "low", "close", "volume")
BAR_ROLES = (
    *("date", "symbol", *BARS, "vwap", "trades", "split_ratio", "dividend", "adj_close", "unadjusted_close", "factor"),
    *("sector", "interval"),
)
SPLIT_ROLES = ("symbol", "date", "ratio", "ratio_new", "ratio_old", "declared")
DIVIDEND_ROLES = ("symbol", "date", "cash", "declared", "record_date", "pay_date", "frequency")
OF_A_SYMBOL = "\x1f"
"""Between symbol and field in the name of a column that holds one field of one symbol."""

_FIELDS = {name: role for role in (*BARS, "vwap", "trades", "split_ratio", "dividend", "adj_close") for name in NAMES[role]}
_SPELLED_OUT = frozenset(name for name in _FIELDS if len(name) > 2)


def plain(name: str) -> str:
    """Letters and digits of a column's name: ``<CLOSE>``, ``Adj. Close`` and ``4. close`` as they are looked up.

    >>> plain("Adj. Close"), plain("<TICKER>"), plain("4. close"), plain("Close/Last")
    ('adjclose', 'ticker', 'close', 'closelast')
    """
    return re.sub(r"[^a-z0-9]+", "", re.sub(r"^\s*\d+[.:]\s*", "", name.strip().lower()))


@dataclass(frozen=True)
class Layout:
    """The columns of a file by role; `wide` where a column holds one field of one symbol."""

    columns: Mapping[str, str]
    wide: bool = False

    @property
    def is_bars(self) -> bool:
        """Whether there are a date and prices."""
        return self.wide or ("date" in self.columns and sum(name in self.columns for name in BARS) >= 2)

    @property
    def missing(self) -> list[str]:
        return [] if self.wide else [name for name in ("date", *BARS) if name not in self.columns]


def roles(names: Sequence[str], wanted: Sequence[str] = BAR_ROLES, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Role to column; `given` says it for roles where the names do not."""
    columns = dict(given or {})
    spelled: dict[str, str] = {}
    for name in names:
        spelled.setdefault("symbol" if name == "T" and "t" in names else plain(name), name)  # Polygon's T is no time
    for role in wanted:
        if role not in columns:
            taken = set(columns.values())
            column = next((spelled[key] for key in NAMES[role] if key in spelled and spelled[key] not in taken), None)
            if column is not None:
                columns[role] = column
    return columns


def layout(names: Sequence[str], given: Mapping[str, str] | None = None) -> Layout:
    """What the columns of a file are."""
    whole = Layout(roles(names, BAR_ROLES, given))
    if whole.missing and sum(of_a_symbol(name) is not None for name in names) >= len(BARS):
        return Layout(roles([name for name in names if of_a_symbol(name) is None], ("date",)), wide=True)
    return whole


def of_a_symbol(name: str) -> tuple[str, str] | None:
    """Symbol and field of a column that holds one field of one symbol; None for another column.

    >>> of_a_symbol("('Close', 'AAPL')"), of_a_symbol("AAPL.Adjusted"), of_a_symbol("close")
    (('AAPL', 'close'), ('AAPL', 'adj_close'), None)
    """
    if OF_A_SYMBOL in name:
        symbol, field = name.split(OF_A_SYMBOL, 1)
        role = _FIELDS.get(plain(field))
        return (symbol, role) if role and symbol else None
    parts: tuple[str, ...] = ()
    if name.startswith("("):
        try:
            parts = tuple(str(part).strip() for part in ast.literal_eval(name))
        except (SyntaxError, ValueError):
            return None
    elif match := re.fullmatch(r"(.+?)[._ ]((?:[Aa]dj\w*[._ ])?[A-Za-z]+)", name.strip()):
        parts = match.groups()
        if plain(parts[0]) in _SPELLED_OUT:  # Close_AAPL
            parts = (parts[1], parts[0])
    if len(parts) != 2 or plain(parts[0]) in ("adj", "adjusted", "raw", "unadj", "prev", "stock", "ex"):
        return None
    first, second = (_FIELDS.get(plain(part)) if plain(part) in _SPELLED_OUT else None for part in parts)
    if second and not first and parts[0]:
        return parts[0], second
    return (parts[1], first) if first and parts[1] else None
