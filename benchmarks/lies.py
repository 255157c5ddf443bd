"""Lies: a vendor on loopback that doubles, contradicts, renames, reuses, misdates and mangles, and what is found of it.

The truth is known: the same market comes from a vendor that does not lie. Afterwards the tables have to be equal but for
the rows that were set aside, each with its reason.
"""

import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as hour
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import polars as pl
from pydantic import SecretStr

from mltrainer_pipelines.commands.benchmark import Row, benchmark
from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, TICKER_EVENTS
from mltrainer_pipelines.market.corporate_actions import corporate_actions, sifted_by_company
from mltrainer_pipelines.market.errors import EmptySessionError
from mltrainer_pipelines.market.identity import asked_events, resolved_listings, runs_of
from mltrainer_pipelines.market.ingestion import BackfillPlan, fetch_sessions, sifted_session, store_session
from mltrainer_pipelines.market.listings import Listings, company_actions, company_bars, listings_of
from mltrainer_pipelines.market.sessions import NEW_YORK
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.store.lake import Lake

LEAST_FOUND, MOST_DOUBTED = 0.95, 1e-5
"""Share of the lies that have to be found, and of the true rows that may be set aside."""
REAL = Path(__file__).parents[1].parent / "shared" / "data" / "us_market_2000_2018.parquet"
_PRICES = ("open", "high", "low", "close")
_WIRE = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
_MANGLED = ("false low", "false high", "slipped point", "zero", "negative volume", "words", "twice", "upside down", "misdated")
_LISTED = ("doubled", "contradicted", "early", "late", "upside down")
_PAID = ("doubled", "a hundredfold", "negative")


@dataclass
class Market:
    """What a vendor serves: bars and actions by the symbols of their day, and what it knows of companies by symbol and first day.

    `wrong` are rows (symbol, date) of bars that are served otherwise than they are, with how; `extra` a second row of one.
    """

    bars: pl.DataFrame
    actions: pl.DataFrame
    figis: dict[str, list[tuple[date, str]]] = field(default_factory=dict)
    wrong: dict[tuple[str, date], str] = field(default_factory=dict)
    lies: list[tuple[str, str, date]] = field(default_factory=list)
    companies: dict[tuple[str, date], str] = field(default_factory=dict)


def lying(truth: Market, seed: int, share: float = 2e-4, few: int = 12) -> Market:
    """The market with lies: a share of the bars, of splits one in three, of dividends one in 150, `few` renames and reuses."""
    rng = np.random.default_rng(seed)
    bars, sessions = truth.bars, truth.bars["date"].unique().sort().to_list()
    spans = bars.group_by("symbol").agg(count=pl.len()).filter(pl.col("count") > 0.9 * len(sessions)).sort("symbol")
    names = [str(name) for name in rng.permutation(spans["symbol"].to_numpy())]
    told = Market(bars, truth.actions)
    parts, moved = [bars.filter(~pl.col("symbol").is_in(names[: 2 * few]))], []
    for name in names[:few]:  # renamed; the vendor knows
        day, new = sessions[int(rng.integers(len(sessions) // 4, 3 * len(sessions) // 4))], f"{name}.N"
        moved.append((name, new, day))
        told.figis |= {new: [(day, f"BBG{name}"), *told.figis.get(new, [])], name: [(sessions[0], f"BBG{name}")]}
        told.companies[new, day] = name
        told.lies.append(("renamed", new, day))
    for old, new in zip(names[few : 3 * few // 2], names[3 * few // 2 : 2 * few], strict=True):  # given up, and taken
        end = int(rng.integers(len(sessions) // 4, len(sessions) // 2))
        begin = end + int(rng.integers(6, 40))
        moved.append((new, old, sessions[begin]))
        told.companies[old, sessions[begin]] = new
        told.lies.append(("reused", old, sessions[begin]))
        for day in ("date", "ex_date"):
            after_the_end = (pl.col("symbol") == old) & (pl.col(day) > sessions[end])
            before_it_began = (pl.col("symbol") == new) & (pl.col(day) < sessions[begin])
            if day == "date":
                truth.bars = truth.bars.filter(~after_the_end & ~before_it_began)
            else:
                truth.actions = truth.actions.filter(~after_the_end & ~before_it_began)
    told.actions = truth.actions
    parts = [truth.bars]
    for name, new, day in moved:
        after = pl.when((pl.col("symbol") == name) & (pl.col("date") >= day)).then(pl.lit(new)).otherwise("symbol")
        parts = [parts[0].with_columns(symbol=after)]
        ex = pl.when((pl.col("symbol") == name) & (pl.col("ex_date") >= day)).then(pl.lit(new)).otherwise("symbol")
        told.actions = told.actions.with_columns(symbol=ex)
    told.bars = parts[0]
    chosen = np.flatnonzero(rng.random(told.bars.height) < share)
    for place, (symbol, day) in enumerate(told.bars[chosen].select("symbol", "date").iter_rows()):
        told.wrong[symbol, day] = _MANGLED[place % len(_MANGLED)]
        told.lies.append((told.wrong[symbol, day], symbol, day))
    told.actions = _mistold(told, sessions, rng)
    return told


def _mistold(told: Market, sessions: Sequence[date], rng: np.random.Generator) -> pl.DataFrame:
    """The actions with lies about splits that are large enough to be seen, and about dividends."""
    at = {day: place for place, day in enumerate(sessions)}
    rows = []
    for row in told.actions.iter_rows(named=True):
        rows.append(row)
        symbol, day, large = row["symbol"], row["ex_date"], row["kind"] == "split" and abs(np.log(row["ratio"])) > 0.2
        if day not in at or not 10 < at[day] < len(sessions) - 10:
            continue
        if large and rng.random() < 1 / 3:
            how = _LISTED[int(rng.integers(len(_LISTED)))]
            if how == "doubled":
                rows.append(dict(row))
            elif how == "contradicted":
                rows.append(row | {"ratio": row["ratio"] * 1.3})
            elif how == "upside down":
                rows[-1] = row | {"ratio": 1 / row["ratio"]}
            else:
                rows[-1] = row | {"ex_date": sessions[at[day] + int(rng.integers(1, 4)) * (-1 if how == "early" else 1)]}
            told.lies.append((f"split {how}", symbol, rows[-1]["ex_date"]))
        elif row["kind"] == "dividend" and rng.random() < 1 / 150:
            how = _PAID[int(rng.integers(len(_PAID)))]
            rows[-1] = row | {"cash": row["cash"] * {"doubled": 1, "a hundredfold": 100, "negative": -1}[how]}
            rows += [dict(row)] if how == "doubled" else []
            told.lies.append((f"dividend {how}", symbol, day))
    return pl.DataFrame(rows, schema=CORPORATE_ACTIONS.schema)


def wire_rows(market: Market, day: date, bars: pl.DataFrame) -> list[dict[str, Any]]:
    """A session as the vendor sends it."""
    stamp = int(datetime.combine(day, hour(16), NEW_YORK).timestamp() * 1000)
    rows = []
    for bar in bars.iter_rows(named=True):
        row = {"T": bar["symbol"], "t": stamp, **{short: bar[name] for name, short in _WIRE.items()}}
        lie = market.wrong.get((bar["symbol"], day))
        rows += [row] if lie is None else _mangled(row, lie, hash_of(bar["symbol"], day))
    return rows


def hash_of(symbol: str, day: date) -> int:
    return sum(map(ord, symbol)) + day.toordinal()


def _mangled(row: dict[str, Any], lie: str, number: int) -> list[dict[str, Any]]:
    least, most = min(row["o"], row["c"]), max(row["o"], row["c"])
    times = 10.0 if number % 2 else 0.1
    changes: dict[str, dict[str, Any]] = {
        "false low": {"l": least / (2.5 + number % 40)},
        "false high": {"h": most * (2.5 + number % 40)},
        "slipped point": {name: row[name] * times for name in ("o", "h", "l", "c")},
        "zero": {"olc"[number % 3]: 0.0},
        "negative volume": {"v": -row["v"] - 1},
        "words": {"ohlcv"[number % 5]: "n/a"},
        "twice": {},
        "upside down": {"h": row["l"] * 0.99, "l": row["h"] * 1.01},
        "misdated": {"t": row["t"] + 86_400_000 * (1 + number % 5)},
    }
    return [row, {**row, "c": row["c"] * 1.01}] if lie == "twice" else [row | changes[lie]]


@contextmanager
def served(market: Market) -> Iterator[PolygonMarket]:
    """A client of the market, over HTTP on loopback."""
    days = {day[0]: part for day, part in market.bars.sort("symbol").partition_by("date", as_dict=True).items()}

    def answer(path: str, query: Mapping[str, str]) -> dict[str, Any]:
        parts = path.strip("/").split("/")
        if path.startswith("/v2/aggs/grouped"):
            day = date.fromisoformat(parts[-1])
            rows = wire_rows(market, day, days[day]) if day in days else []
            return {"status": "OK", "resultsCount": len(rows), "results": rows}
        if path.endswith(("/splits", "/dividends")):
            return {"status": "OK", "results": _listed(market, parts[-1])}
        if path.endswith("/events"):
            known = [(since, name) for name, spells in market.figis.items() for since, figi in spells if figi == parts[-2]]
            events = [{"date": str(since), "ticker_change": {"ticker": name}} for since, name in known]
            return {"status": "OK", "results": {"events": events}}
        spells = [figi for since, figi in market.figis.get(parts[-1], []) if str(since) <= query["date"]]
        return {"status": "OK", "results": {"ticker": parts[-1], "composite_figi": spells[-1] if spells else None}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            found = answer(address.path, {name: values[-1] for name, values in parse_qs(address.query).items()})
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield PolygonMarket(f"http://127.0.0.1:{server.server_port}", SecretStr("key"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listed(market: Market, what: str) -> list[dict[str, Any]]:
    own = market.actions.filter(pl.col("kind") == what.removesuffix("s"))
    if what == "splits":
        return [
            {"ticker": row["symbol"], "execution_date": str(row["ex_date"]), "split_from": 1, "split_to": row["ratio"]}
            for row in own.iter_rows(named=True)
        ]
    return [
        {"ticker": row["symbol"], "ex_dividend_date": str(row["ex_date"]), "cash_amount": row["cash"], "currency": "USD"}
        for row in own.iter_rows(named=True)
    ]


def ingested(market: Market, lake: Lake) -> Lake:
    """The lake with what the vendor said, as the assets of the market sift it."""
    sessions = tuple(market.bars["date"].unique().sort().to_list())
    with served(market) as client:
        for session, validated in fetch_sessions(client, BackfillPlan("sessions", sessions)):
            if not isinstance(validated, EmptySessionError):
                store_session(lake, session, sifted_session(lake, session, validated), compare=False)
        runs = runs_of(lake)
        lake.write("listings", resolved_listings(runs, asked_events(client, runs.to_ask(), TICKER_EVENTS.empty())))
        sifted = sifted_by_company(lake, corporate_actions(client, sessions[0], sessions[-1]), [])
    lake.write("corporate_actions", sifted.believed)
    lake.write("rejected_actions", sifted.rejected)
    return lake


@dataclass(frozen=True)
class Verdict:
    """What was found: lies by kind, those that were not, true rows that were set aside, and rows that differ for no reason.

    Of actions, those around a lie about the same company and kind may differ, and those that were set aside beside a bar that
    was.
    """

    lies: Counter[str]
    missed: Counter[str]
    rows: int
    doubted: list[tuple[str, date]]
    differing: pl.DataFrame
    differing_actions: list[tuple[object, ...]]

    @property
    def found(self) -> float:
        return 1 - self.missed.total() / max(self.lies.total(), 1)


def judged(told: Market, lied: Lake, clean: Lake) -> Verdict:
    """Hold the lake of the vendor that lied against that of the one that did not."""
    listings = listings_of(lied)
    names = {listings.company(symbol, day): name for (symbol, day), name in told.companies.items()}
    aside = _rejected(lied)
    missed: Counter[str] = Counter()
    rejected = lied.read("rejected_actions")
    doubts = Counter(rejected.select("symbol", "ex_date", "kind").iter_rows())
    for kind, symbol, day in told.lies:
        if kind in _MANGLED:
            found = (symbol, day) in aside
        elif kind in ("renamed", "reused"):
            company = listings.company(symbol, day)
            found = company == told.companies[symbol, day] if kind == "renamed" else company != symbol
        else:
            found = doubts[symbol, day, kind.split()[0]] > 0
        missed[kind] += not found
    own = _by_truth(lied, listings, names)
    true = _by_truth(clean, Listings(), {})
    lies = {(symbol, day) for kind, symbol, day in told.lies if kind in _MANGLED}
    keys = {"symbol": pl.String, "date": pl.Date}
    told_rows, true_rows = (pl.DataFrame(sorted(rows), schema=keys, orient="row") for rows in (aside | lies, _rejected(clean)))
    unused, doubted = (
        pl.concat(
            [listings.companies(rows).with_columns(pl.col("symbol").replace(names)), listings_of(clean).companies(true_rows)]
        )
        for rows in (told_rows, pl.DataFrame(sorted(aside - lies), schema=keys, orient="row"))
    )
    both = own.join(true, on=["date", "symbol"], how="full", coalesce=True, suffix="_true")
    both = both.join(unused, on=["date", "symbol"], how="anti")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_true")) for name in (*_PRICES, "volume"))
    lied_about = Counter(kind for kind, *_ in told.lies)
    around = [
        *((kind.split()[0], listings.company(symbol, day), day) for kind, symbol, day in told.lies if " " in kind),
        *((kind, company, day) for company, day in unused.iter_rows() for kind in ("split", "dividend")),
    ]
    reasons = {
        (kind, names.get(company, company), day + timedelta(days=d)) for kind, company, day in around for d in range(-9, 10)
    }
    terms = ("kind", "symbol", "ex_date", "ratio", "cash")
    believed = listings.companies(lied.read("corporate_actions"), "ex_date").with_columns(pl.col("symbol").replace(names))
    rows = [set(frame.select(terms).iter_rows()) for frame in (believed, company_actions(clean))]
    others = sorted((row for row in rows[0] ^ rows[1] if row[:3] not in reasons), key=str)
    return Verdict(lied_about, +missed, true.height, sorted(doubted.unique().iter_rows()), both.filter(~same), others)


def _by_truth(lake: Lake, listings: Listings, names: Mapping[str, str]) -> pl.DataFrame:
    days = [date.fromisoformat(key) for key in lake.partitions("daily_bars")]
    bars = company_bars(lake, days, columns=("date", "symbol", *_PRICES, "volume"))
    return bars.with_columns(pl.col("symbol").replace(names))


def _rejected(lake: Lake) -> set[tuple[str, date]]:
    return {
        (row["symbol"], date.fromisoformat(key))
        for key in lake.partitions("rejected_bars")
        for row in lake.read("rejected_bars", key).iter_rows(named=True)
    }


def recorded(path: Path) -> Market:
    """The market of a recording with its splits and dividends beside it."""
    bars = pl.read_parquet(path, columns=["date", "symbol", *_PRICES, "volume"])
    parts = [
        pl.read_parquet(path.with_name(f"{path.stem}.{what}.parquet")).with_columns(kind=pl.lit(what.removesuffix("s")))
        for what in ("splits", "dividends")
    ]
    listed = pl.concat(parts, how="diagonal").with_columns(declared=None)
    return Market(bars.sort("date", "symbol"), CORPORATE_ACTIONS.cast(listed))


def _missing() -> str | None:
    return None if REAL.exists() else f"{REAL} is not there: it needs a recording with splits and dividends beside it"


@benchmark("lies of a vendor found on a real market of 19 years", 240, _missing, by_name_only=True)
def lies() -> Iterator[Row]:
    """One seed; `python -m benchmarks.lies SEED` tells what was found of each kind."""
    yield from measured(recorded(REAL), seed=1)


def measured(truth: Market, seed: int) -> Iterator[Row]:
    """Rows: the share of the lies that is found, of the truth that is set aside, and the rows that differ."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        told = lying(truth, seed)
        verdict = judged(told, ingested(told, Lake(f"{folder}/lied")), ingested(truth, Lake(f"{folder}/clean")))
    seconds = time.perf_counter() - begin
    missed = ", ".join(f"{count} {kind}" for kind, count in verdict.missed.items()) or "none"
    name = f"{verdict.found:.1%} of {verdict.lies.total():,} lies found; missed: {missed}"
    yield Row(name, seconds, f"at least {LEAST_FOUND:.0%}", verdict.found >= LEAST_FOUND)
    doubted = len(verdict.doubted) / verdict.rows
    name = f"{len(verdict.doubted)} of {verdict.rows:,} true rows set aside"
    yield Row(name, seconds, "at most 1 in 100,000", doubted <= MOST_DOUBTED)
    name = f"{verdict.differing.height} bars and {len(verdict.differing_actions)} actions differ for no reason"
    yield Row(name, seconds, "none", verdict.differing.is_empty() and not verdict.differing_actions)


if __name__ == "__main__":
    import sys

    for row in measured(recorded(REAL), int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        print(row, flush=True)
