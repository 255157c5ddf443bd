"""The companies of a simulated market: tickers, names and industries, drawn from the seed.

The names are invented; none is meant to be a real company.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.randomness import stream


@dataclass(frozen=True)
class Industry:
    """An industry as Polygon describes it (SIC code and description), and what its companies call themselves."""

    sector: str
    sic_code: str
    sic_description: str
    words: tuple[str, str]


INDUSTRIES = (
    Industry("technology", "7372", "SERVICES-PREPACKAGED SOFTWARE", ("Software", "Systems")),
    Industry("health care", "2834", "PHARMACEUTICAL PREPARATIONS", ("Therapeutics", "Pharma")),
    Industry("financials", "6021", "NATIONAL COMMERCIAL BANKS", ("Bancorp", "Financial")),
    Industry("consumer discretionary", "5651", "RETAIL-FAMILY CLOTHING STORES", ("Stores", "Brands")),
    Industry("industrials", "3560", "GENERAL INDUSTRIAL MACHINERY & EQUIPMENT", ("Industries", "Machinery")),
    Industry("communication services", "4841", "CABLE & OTHER PAY TELEVISION SERVICES", ("Media", "Communications")),
    Industry("consumer staples", "2000", "FOOD AND KINDRED PRODUCTS", ("Foods", "Provisions")),
    Industry("energy", "1311", "CRUDE PETROLEUM & NATURAL GAS", ("Energy", "Petroleum")),
    Industry("utilities", "4911", "ELECTRIC SERVICES", ("Power", "Utilities")),
    Industry("materials", "2810", "INDUSTRIAL INORGANIC CHEMICALS", ("Chemicals", "Materials")),
    Industry("real estate", "6798", "REAL ESTATE INVESTMENT TRUSTS", ("Properties", "Realty Trust")),
)
_ONSETS = "b br c cal d dr el f gr h k l m n or p qu r s st t v w z".split()  # noqa: SIM905
_VOWELS = ("a", "e", "i", "o", "u", "ar", "en", "il", "on", "ul")
_ENDS = ("dane", "lex", "mar", "nor", "ris", "sen", "ta", "thos", "via", "wick", "xis", "yon")


@dataclass(frozen=True)
class Company:
    """A company and its number (its column in the arrays of the market)."""

    number: int
    symbol: str
    name: str
    type: str
    primary_exchange: str
    sector: int
    """Position in `INDUSTRIES`."""


def companies(seed: int, count: int) -> list[Company]:
    """`count` companies in the alphabetical order of their symbols, which are unique."""
    rng = stream(seed, "companies")
    symbols: set[str] = set()
    while len(symbols) < count:
        length = 3 if rng.random() < 0.4 and count < 2000 else 4
        symbols.add("".join(chr(65 + letter) for letter in rng.integers(0, 26, length)))
    members = []
    for number, symbol in enumerate(sorted(symbols)):
        sector = number % len(INDUSTRIES) if count < 2 * len(INDUSTRIES) else int(rng.integers(len(INDUSTRIES)))
        stem = _ONSETS[rng.integers(len(_ONSETS))] + _VOWELS[rng.integers(len(_VOWELS))] + _ENDS[rng.integers(len(_ENDS))]
        foreign = bool(rng.random() < 0.05)
        form = "plc American Depositary Shares" if foreign else ("Inc.", "Corp.", "Co.")[rng.integers(3)]
        name = f"{stem.capitalize()} {INDUSTRIES[sector].words[rng.integers(2)]} {form}"
        venue = "XNYS" if rng.random() < 0.5 else "XNAS"
        members.append(Company(number, symbol, name, "ADRC" if foreign else "CS", venue, sector))
    return members


def sector_of(members: list[Company]) -> NDArray[np.int64]:
    """Sector of each company, shape (companies,)."""
    return np.array([company.sector for company in members])
