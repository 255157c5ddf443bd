"""Symbols: cleaned, told apart from crypto, forex, indices and foreign listings, and read from the names of files."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

_CURRENCIES = "USD|EUR|GBP|JPY|CHF|AUD|CAD|NZD|CNY|CNH|HKD|SGD|SEK|NOK|DKK|MXN|ZAR|TRY|INR|KRW|BRL|PLN|XAU|XAG"
_COINS = "BTC|ETH|XRP|LTC|BCH|ADA|SOL|DOGE|DOT|BNB|AVAX|LINK|MATIC|XLM|XMR|ETC|TRX|SHIB|UNI|ATOM|USDT|USDC|XBT"
_FOREIGN = (
    "L|IL|TO|CN|NE|DE|F|BE|DU|HM|MU|SG|HA|PA|AS|BR|LS|MI|MC|SW|VI|ST|HE|CO|OL|IC|IR|AT|WA|PR|BD|IS|TA|T|JP|HK|SS|SZ|SH|"
    "KS|KQ|KO|TW|TWO|SI|JK|BK|KL|NS|BO|NSE|BSE|AX|AU|NZ|SA|MX|BA|SN|JO|LSE|XETRA|FRA|PL|UK"
)
_OTHER = (
    (re.compile(r"[\^.].+|I:.+|\$?(SPX|VIX|DJI|IXIC|NDX|RUT)|.+\.INDX"), "an index"),
    (re.compile(rf"C:.+|.*=X|({_CURRENCIES})[/\-_.]?({_CURRENCIES})(\.FOREX)?|.+\.FOREX"), "a currency pair"),
    (
        re.compile(
            rf"X:.+|.+-(USD|USDT|USDC|EUR|GBP|BTC|ETH)(\.CC)?|({_COINS})[/_.]?({_CURRENCIES}|{_COINS})|[A-Z0-9]{{2,10}}USDT|.+\.CC"
        ),
        "a cryptocurrency",
    ),
    (re.compile(r".+=F|/[A-Z]{1,3}|.+\.COMM"), "a future"),
    (re.compile(r"O:.+|[A-Z]{1,6}\s*\d{6}[CP]\d{8}"), "an option"),
    (re.compile(rf"[A-Z0-9\-]+\.({_FOREIGN})"), "listed outside of the US"),
)
_WORDS = re.compile(
    r"(?i)(historical|historicaldata|history|stock|stocks|share|price|prices|quotes?|data|daily|day|ohlcv?|bars?|table|download|export|"
    r"adjusted|unadjusted|adj|raw|eod|1d|1day|d1|full|max|5y|5yr|10y|yahoo|stooq|nasdaq|nyse|us|usa|equity|candles?|"
    r"\d{4}(-\d{2}(-\d{2})?)?|\d{8}|to|from)"
)


def clean(symbol: str) -> str:
    """The symbol as it is used here: without blanks and country, ``BRK.A`` for ``BRK/A``, capitals for small letters.

    >>> [clean(symbol) for symbol in (" aapl.us", "BRK/A", "BACpA", "005930", "TRUE")]
    ['AAPL', 'BRK.A', 'BACpA', '005930', 'TRUE']
    """
    symbol = symbol.strip().strip("\"'")
    if symbol == symbol.lower():
        symbol = symbol.upper()
    symbol = re.sub(r"^(NASDAQ|NYSE|AMEX|ARCA|NYSEARCA|BATS):", "", symbol)
    symbol = re.sub(r"(\.US| US( EQUITY)?| UN EQUITY| UW EQUITY)$", "", symbol, flags=re.IGNORECASE)
    return re.sub(r"^([A-Z]{1,5})[/ ]([A-Z]{1,3})$", r"\1.\2", symbol)


def not_a_us_equity(symbol: str) -> str | None:
    """What a symbol names instead of a US equity; None where nothing says so.

    >>> not_a_us_equity("BTC-USD"), not_a_us_equity("^GSPC"), not_a_us_equity("AUDUSD=X"), not_a_us_equity("BRK.A")
    ('a cryptocurrency', 'an index', 'a currency pair', None)
    """
    for pattern, what in _OTHER:
        if pattern.fullmatch(symbol):
            return what
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.\-+*_]{0,14}", symbol):
        return "no spelling of a US ticker"
    return None


def symbols_of_files(names: Sequence[str]) -> dict[str, str | None]:
    """The symbol that the name of each file says, None where it says none: what all names share is no part of it.

    >>> symbols_of_files(["ETFs/spy.us.txt", "Stocks/aapl.us.txt"])
    {'ETFs/spy.us.txt': 'SPY', 'Stocks/aapl.us.txt': 'AAPL'}
    >>> symbols_of_files(["AAPL Historical Data.csv"]), symbols_of_files(["HistoricalData_1700000000.csv"])
    ({'AAPL Historical Data.csv': 'AAPL'}, {'HistoricalData_1700000000.csv': None})
    """
    stems = {name: _stem(name) for name in names}
    parts = {name: re.split(r"[_ ]+|(?<=[a-z])-|-(?=[a-z0-9])", stem) for name, stem in stems.items()}
    if len(names) > 1:
        shared = set.intersection(*(set(pieces) for pieces in parts.values()))
        parts = {name: [piece for piece in pieces if piece not in shared] or pieces for name, pieces in parts.items()}
    symbols: dict[str, str | None] = {}
    for name, pieces in parts.items():
        if len(pieces) == 1:
            candidate = pieces[0]
        else:
            kept = [piece for piece in pieces if piece and not _WORDS.fullmatch(piece)]
            candidate = kept[0] if len(kept) == 1 else ("-".join(kept) if not kept or len("".join(kept)) <= 6 else "")
        cleaned = clean(candidate)
        plausible = re.fullmatch(r"[A-Z0-9^][A-Za-z0-9.\-^=]{0,11}", cleaned) and not re.fullmatch(
            r"[a-z]+.*[a-z]{6,}.*", candidate
        )
        symbols[name] = cleaned if plausible and not re.fullmatch(r"[A-Z][a-z]{4,}.*|\d{7,}", candidate) else None
    return symbols


def _stem(name: str) -> str:
    stem = PurePosixPath(name).name
    while (suffix := PurePosixPath(stem).suffix) and re.fullmatch(
        r"\.(csv|txt|tsv|dat|data|asc|parquet|pq|feather|arrow|ipc|json|jsonl|ndjson|gz|us)", suffix, re.IGNORECASE
    ):
        stem = stem[: -len(suffix)]
    return stem
