"""A vendor in one folder: what has to be written to add one. It serves a session's bars as CSV at `/bars/YYYY-MM-DD`."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS
from mltrainer_pipelines.http_client import NoAnswerError, send
from mltrainer_pipelines.market.bars import MOST_REJECTED, ValidatedBars, validate_bars
from mltrainer_pipelines.market.errors import EmptySessionError, UnknownSymbolError, UnreachableError
from mltrainer_pipelines.market.vendors.protocol import REFERENCE_SCHEMA, SNAPSHOT_SCHEMA, Connection, MarketData, Vendor


@dataclass(frozen=True)
class TinyMarket:
    """Bars from `url`; no corporate actions, no list of tickers, no prices of today."""

    url: str
    key: str
    budget: None = None

    def session_bars(self, session: date, most_rejected: float = MOST_REJECTED) -> ValidatedBars:
        try:
            answer = send(f"{self.url}/bars/{session}", headers={"Authorization": f"Bearer {self.key}"}, timeout_s=30)
        except NoAnswerError as error:
            raise UnreachableError(f"Tiny did not answer: {error}; check TINY_BASE_URL") from None
        if answer.status == 404:
            raise EmptySessionError(session)
        bars = pl.read_csv(answer.body, schema=DAILY_BARS.schema)
        return validate_bars(bars, session, most_rejected)

    def aggregates(
        self, symbol: str, first: date, last: date, multiplier: int = 1, timespan: str = "day", listed: bool = False
    ) -> pl.DataFrame:
        raise UnknownSymbolError(symbol)

    def splits(self, first: date, last: date) -> pl.DataFrame:
        return pl.DataFrame(schema=CORPORATE_ACTIONS.schema)

    def dividends(self, first: date, last: date) -> pl.DataFrame:
        return pl.DataFrame(schema=CORPORATE_ACTIONS.schema)

    def reference_tickers(self, as_of: date | None = None, active: bool = True) -> pl.DataFrame:
        return pl.DataFrame(schema=REFERENCE_SCHEMA)

    def few_tickers(self, fewer_than: int) -> list[str] | None:
        return None

    def ticker_details(self, symbol: str, as_of: date | None = None) -> pl.DataFrame:
        raise UnknownSymbolError(symbol)

    def snapshot(self) -> pl.DataFrame:
        return pl.DataFrame(schema=SNAPSHOT_SCHEMA)


def _open(connection: Connection) -> MarketData:
    if connection.base_url is None or connection.api_key is None:
        raise ValueError("set TINY_BASE_URL and TINY_API_KEY")
    return TinyMarket(connection.base_url, connection.api_key.get_secret_value())


VENDOR = Vendor(market=_open)
