"""The reader of bars: the layouts people have, dates and numbers of every form, rows that cannot be right."""

import gzip
import io
import os
import pickle
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mltrainer_pipelines.market.files.errors import BadFileError
from mltrainer_pipelines.market.files.reader import ReadOptions, read_bar_files
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between

DAYS = sessions_between(date(2015, 1, 2), date(2015, 2, 27))
BARS = ["open", "high", "low", "close", "volume"]


def bars(*symbols: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "date": day,
            "symbol": symbol,
            "open": 100.25 + n,
            "high": 101.5 + n,
            "low": 99.75 + n,
            "close": 100.5 + n,
            "volume": 1200.0 + n,
        }
        for symbol in symbols
        for n, day in enumerate(DAYS)
    )


def lines(header: str, row: str, *symbols: str, dates: str = "%Y-%m-%d") -> str:
    """A text file with a line for each bar of `bars`, by format."""
    rows = [
        row.format(**bar | {"date": bar["date"].strftime(dates)}) for bar in bars(*(symbols or ("AAPL",))).iter_rows(named=True)
    ]
    return "\n".join([*([header] if header else []), *rows]) + "\n"


P = "{open},{high},{low},{close}"
TEXTS = {
    "yfinance": ("AAPL.csv", lines("Date,Open,High,Low,Close,Adj Close,Volume", "{date}," + P + ",{close},{volume:.0f}")),
    "yfinance with zones": (
        "AAPL.csv",
        lines("Date,Open,High,Low,Close,Volume,Dividends,Stock Splits", "{date} 00:00:00-05:00," + P + ",{volume:.0f},0.0,0.0"),
    ),
    "Kaggle": ("all_stocks_5yr.csv", lines("date,open,high,low,close,volume,Name", "{date}," + P + ",{volume:.0f},{symbol}")),
    "Stooq": (
        "aapl.us.txt",
        lines(
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
            "AAPL.US,D,{date},000000," + P + ",{volume},0",
            dates="%Y%m%d",
        ),
    ),
    "Kaggle of Stooq": ("aapl.us.txt", lines("Date,Open,High,Low,Close,Volume,OpenInt", "{date}," + P + ",{volume:.0f},0")),
    "Quandl": (
        "WIKI_PRICES.csv",
        lines(
            "ticker,date,open,high,low,close,volume,ex-dividend,split_ratio,adj_open,adj_high,adj_low,adj_close,adj_volume",
            "{symbol},{date}," + P + ",{volume},0.0,1.0," + P + ",{volume}",
        ),
    ),
    "Sharadar": (
        "SHARADAR_SEP.csv",
        lines(
            "ticker,date,open,high,low,close,volume,closeadj,closeunadj,lastupdated",
            "{symbol},{date}," + P + ",{volume},{close},{close},2020-01-02",
        ),
    ),
    "Tiingo": (
        "AAPL.csv",
        lines(
            "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor",
            "{date}T00:00:00.000Z,{close},{high},{low},{open},{volume:.0f},1,1,1,1,1,0.0,1.0",
        ),
    ),
    "Alpha Vantage": (
        "daily_adjusted_AAPL.csv",
        lines(
            "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient",
            "{date}," + P + ",1,{volume:.0f},0.0000,1.0",
        ),
    ),
    "Alpaca": (
        "alpaca.csv",
        lines(
            "symbol,timestamp,open,high,low,close,volume,trade_count,vwap",
            "{symbol},{date} 05:00:00+00:00," + P + ",{volume},17,100.1",
        ),
    ),
    "EODHD": ("AAPL.US.csv", lines("Date,Open,High,Low,Close,Adjusted_close,Volume", "{date}," + P + ",{close},{volume:.0f}")),
    "IEX": (
        "chart.csv",
        lines(
            "date,open,high,low,close,volume,unadjustedVolume,change,changePercent,vwap,label,changeOverTime,symbol",
            "{date}," + P + ",{volume:.0f},1,0.1,0.2,100.1,Jan 2,0,{symbol}",
        ),
    ),
    "Nasdaq": (
        "HistoricalData_AAPL.csv",
        lines("Date,Close/Last,Volume,Open,High,Low", "{date},${close},{volume:.0f},${open},${high},${low}", dates="%m/%d/%Y"),
    ),
    "investing.com": (
        "AAPL Historical Data.csv",
        lines(
            '"Date","Price","Open","High","Low","Vol.","Change %"',
            '"{date}","{close}","{open}","{high}","{low}","{volume:.0f}","0.10%"',
            dates="%b %d, %Y",
        ),
    ),
    "German": (
        "AAPL.csv",
        lines("Datum;Open;High;Low;Close;Volume", "{date};{open};{high};{low};{close};{volume:.0f}", dates="%d.%m.%Y")
        .replace(".25", ",25")
        .replace(".5", ",5")
        .replace(".75", ",75"),
    ),
    "two digits of the year": (
        "AAPL.csv",
        lines("Date,Open,High,Low,Close,Volume", "{date}," + P + ",{volume}", dates="%d-%b-%y"),
    ),
    "pandas with an index": ("AAPL.csv", lines(",Date,Open,High,Low,Close,Volume", "7,{date} 00:00:00," + P + ",{volume}")),
    "FinRL": ("data.csv", lines(",date,open,high,low,close,volume,tic,day", "3,{date}," + P + ",{volume},{symbol},4")),
    "CRSP": (
        "crsp.csv",
        lines("PERMNO,date,TICKER,OPENPRC,ASKHI,BIDLO,PRC,VOL", "1,{date},{symbol}," + P + ",{volume}", dates="%Y%m%d"),
    ),
    "DoltHub": ("ohlcv.csv", lines("date,act_symbol,open,high,low,close,volume", "{date},{symbol}," + P + ",{volume:.0f}")),
    "quantmod": (
        "aapl.csv",
        lines(
            '"","AAPL.Open","AAPL.High","AAPL.Low","AAPL.Close","AAPL.Volume","AAPL.Adjusted"',
            '"{date}",' + P + ",{volume},{close}",
        ),
    ),
    "yfinance, two lines": (
        "download.csv",
        "Price,Open,High,Low,Close,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n" + lines("", "{date}," + P + ",{volume}"),
    ),
    "a preamble": ("AAPL.csv", "Data for Apple\n\n" + lines("date,open,high,low,close,volume", "{date}," + P + ",{volume}")),
    "JSON lines": (
        "bars.jsonl",
        bars("AAPL").with_columns(pl.col("date").cast(pl.String)).write_ndjson() or "",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_layouts_that_people_have_are_read_exactly(tmp_path, name):
    file, text = TEXTS[name]
    (tmp_path / file).write_text(text)
    read = read_bar_files(tmp_path / file)
    assert read.rejected.is_empty(), read.rejected
    assert read.bars.select("date", "symbol", *BARS).rows() == bars("AAPL").rows()
    assert (read.splits.height, read.dividends.height, read.left_out) == (0, 0, {})


def test_a_csvdir_of_zipline_is_read_with_its_splits_and_dividends(tmp_path):
    (tmp_path / "daily").mkdir()
    for symbol in ("AAPL", "TRUE"):
        text = lines("date,open,high,low,close,volume,dividend,split", "{date}," + P + ",{volume},0.0,1.0", symbol)
        rows = [line.replace(",0.0,1.0", ",0.4,2.0") if str(DAYS[3]) in line else line for line in text.splitlines()]
        (tmp_path / "daily" / f"{symbol}.csv").write_text("\n".join(rows))
    read = read_bar_files(tmp_path)
    assert read.bars.select("date", "symbol", *BARS).rows() == bars("AAPL", "TRUE").rows()
    assert read.splits.select("symbol", "ex_date", "ratio").rows() == [("AAPL", DAYS[3], 2.0), ("TRUE", DAYS[3], 2.0)]
    assert read.dividends["cash"].to_list() == [0.4, 0.4]


def test_volumes_in_thousands_and_millions_are_read(tmp_path):
    rows = ['"Date","Price","Open","High","Low","Vol.","Change %"']
    for day, volume in zip(DAYS[:3], ("2.11M", "930.5K", "1.2B"), strict=True):
        rows.append(f'"{day:%b %d, %Y}","1,100.50","1,100.25","1,101.50","1,099.75","{volume}","0.10%"')
    (tmp_path / "AAPL Historical Data.csv").write_text("\n".join(rows))
    found = read_bar_files(tmp_path / "AAPL Historical Data.csv").bars
    assert found["volume"].to_list() == [2_110_000.0, 930_500.0, 1_200_000_000.0]
    assert found["close"].to_list() == [1100.5] * 3


def test_polygon_flat_files_of_a_day_each_are_one_market(tmp_path):
    for day in DAYS:
        start = int(datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).timestamp() * 1e9)
        rows = bars("AAPL", "TRUE").filter(pl.col("date") == day)
        text = "ticker,volume,open,close,high,low,window_start,transactions\n" + "".join(
            f"{r['symbol']},{r['volume']:.0f},{r['open']},{r['close']},{r['high']},{r['low']},{start},9\n"
            for r in rows.iter_rows(named=True)
        )
        (tmp_path / f"{day}.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_bar_files(tmp_path).bars.select("date", "symbol", *BARS).rows() == bars("AAPL", "TRUE").rows()


@pytest.mark.parametrize("by_ticker", [True, False])
@pytest.mark.parametrize("kind", ["csv", "parquet", "pkl"])
def test_a_frame_of_pandas_with_a_column_a_field_and_symbol_is_read(tmp_path, by_ticker, kind):
    long = bars("AAPL", "NA").to_pandas()
    wide = long.pivot_table(index="date", columns="symbol", values=BARS)
    wide.columns = wide.columns.set_levels([name.title() for name in wide.columns.levels[0]], level=0)
    wide = wide.swaplevel(axis=1).sort_index(axis=1) if by_ticker else wide
    wide.index = pd.DatetimeIndex(wide.index, name="Date")
    path = tmp_path / f"all.{kind}"
    {"csv": wide.to_csv, "parquet": wide.to_parquet, "pkl": wide.to_pickle}[kind](path)
    assert read_bar_files(path).bars.select("date", "symbol", *BARS).rows() == bars("AAPL", "NA").rows()


@pytest.mark.parametrize("write", ["pandas", "polars", "feather"])
def test_saved_frames_are_read(tmp_path, write):
    frame = bars("AAPL", "005930")
    if write == "pandas":
        frame.to_pandas().assign(date=lambda f: pd.to_datetime(f["date"])).set_index(["date", "symbol"]).to_parquet(
            tmp_path / "b.parquet"
        )
    elif write == "polars":
        frame.with_columns(pl.col("symbol").cast(pl.Categorical)).write_parquet(tmp_path / "b.parquet")
    else:
        frame.write_ipc(tmp_path / "b.feather")
    read = read_bar_files(next(tmp_path.iterdir()))
    assert read.bars.select("date", "symbol", *BARS).sort("symbol", "date").rows() == bars("005930", "AAPL").rows()


def test_a_pickle_gives_frames_and_runs_nothing(tmp_path):
    frames = {symbol: bars(symbol).to_pandas().drop(columns="symbol").set_index("date") for symbol in ("AAPL", "TRUE")}
    (tmp_path / "frames.pkl").write_bytes(pickle.dumps(frames))
    read = read_bar_files(tmp_path / "frames.pkl")
    assert read.bars.select("date", "symbol", *BARS).rows() == bars("AAPL", "TRUE").rows()
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(RunsSomething(str(tmp_path / "ran"))))
    with pytest.raises(BadFileError, match=r"asks for .*, which is not run: write it with to_parquet"):
        read_bar_files(tmp_path / "evil.pkl")
    assert not (tmp_path / "ran").exists()


class RunsSomething:
    """What a pickle may ask for when it is read."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_a_line_of_text_among_the_rows_is_set_aside_and_named(tmp_path):
    text = lines("Date,Open,High,Low,Close,Volume", "{date}," + P + ",{volume}", "AAPL")
    (tmp_path / "AAPL.csv").write_text(text + "Downloaded from a site\n")
    read = read_bar_files(tmp_path)
    assert read.rejected.select("file", "reason").rows() == [
        ("AAPL.csv", "has the date 'Downloaded from a site', which is not one; write YYYY-MM-DD")
    ]


def test_a_folder_of_nine_hundred_files_with_one_bad_row_works_and_names_it(tmp_path):
    for place in range(900):
        text = lines("Date,Open,High,Low,Close,Volume", "{date}," + P + ",{volume}", f"S{place}")
        (tmp_path / f"S{place}.csv").write_text(text.replace("2015-01-06,102.25", "2015-01-06,oops") if place == 7 else text)
    (tmp_path / "README.md").write_text("prices")
    (tmp_path / "companies.csv").write_text("symbol,company,sector\nS1,One,Energy\n")
    read = read_bar_files(tmp_path)
    assert read.bars.height == 900 * len(DAYS) - 1
    row = read.rejected.row(0, named=True)
    assert (read.rejected.height, row["file"], row["symbol"], row["date"]) == (1, "S7.csv", "S7", "2015-01-06")
    assert row["reason"] == "has open 'oops', which is not a number"
    assert row["row"].startswith("2015-01-06,oops,")
    assert set(read.left_out) == {"README.md", "companies.csv"}


def test_archives_of_folders_are_opened_and_equal_rows_count_once(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for symbol in ("AAPL", "MSFT"):
            text = lines("date,open,high,low,close,volume,Name", "{date}," + P + ",{volume:.0f},{symbol}", symbol)
            archive.writestr(f"individual_stocks_5yr/{symbol}_data.csv", text)
            archive.writestr(f"__MACOSX/{symbol}_data.csv", "x")
        archive.writestr(
            "all_stocks_5yr.csv",
            lines("date,open,high,low,close,volume,Name", "{date}," + P + ",{volume:.0f},{symbol}", "AAPL", "MSFT"),
        )
    (tmp_path / "archive.zip").write_bytes(buffer.getvalue())
    read = read_bar_files(tmp_path / "archive.zip")
    assert read.bars.select("date", "symbol", *BARS).rows() == bars("AAPL", "MSFT").rows()
    assert read.rejected.is_empty()


def test_a_qlib_folder_is_read(tmp_path):
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars/day.txt").write_text("\n".join(map(str, DAYS)))
    folder = tmp_path / "features/aapl"
    folder.mkdir(parents=True)
    for name in BARS:
        np.array([1.0, *bars("AAPL")[name].to_list()[1:]], dtype="<f4").tofile(folder / f"{name}.day.bin")
    assert read_bar_files(tmp_path).bars.select("date", "symbol", *BARS).rows() == bars("AAPL").rows()[1:]


def test_dates_that_could_be_two_days_are_asked_for_and_never_guessed_by_row(tmp_path):
    path = tmp_path / "AAPL.csv"
    path.write_text("Date,Open,High,Low,Close,Volume\n03/09/2015,1,1,1,1,5\n04/09/2015,1,1,1,1,5\n")
    with pytest.raises(BadFileError, match=r"could be two days.*--dates"):
        read_bar_files(path)
    found = {
        order: read_bar_files(path, ReadOptions(dates=order)).bars["date"].to_list() for order in ("day-first", "month-first")
    }
    assert found == {"day-first": [date(2015, 9, 3), date(2015, 9, 4)], "month-first": [date(2015, 3, 9), date(2015, 4, 9)]}
    path.write_text(path.read_text() + "14/09/2015,1,1,1,1,5\n")
    assert read_bar_files(path).bars["date"].to_list() == [date(2015, 9, 3), date(2015, 9, 4), date(2015, 9, 14)]


def test_what_becomes_a_number_after_ten_thousand_rows_is_read_by_its_declared_type(tmp_path):
    days = sessions_between(date(2000, 1, 3), date(2018, 12, 31))
    rows = [(str(day), symbol, 10, 11, 9, 10, 5, None, None) for symbol in ("A", "B", "TRUE") for day in days]
    rows[-1] = (*rows[-1][:2], 10.5, 11, 9, 10, 5.5, 10.25, 0.5)
    frame = pl.DataFrame(
        rows, ["date", "symbol", *BARS, "vwap", "dividend"], orient="row", infer_schema_length=None, strict=False
    )
    frame.write_csv(tmp_path / "bars.csv")
    read = read_bar_files(tmp_path / "bars.csv")
    assert read.bars.height == len(rows) > 10_000
    assert read.bars.tail(1).select("open", "volume", "vwap", "dividend").row(0) == (10.5, 5.5, 10.25, 0.5)
    assert read.dividends.select("symbol", "cash").rows() == [("TRUE", 0.5)]


def test_times_in_a_zone_count_as_the_day_in_new_york_and_it_is_said(tmp_path):
    frame = bars("AAPL").with_columns(date=pl.col("date").cast(pl.Datetime).dt.offset_by("21h").dt.replace_time_zone("UTC"))
    frame.write_parquet(tmp_path / "bars.parquet")
    read = read_bar_files(tmp_path / "bars.parquet")
    assert read.bars["date"].to_list() == DAYS
    assert "UTC were converted to the New York day" in read.notes[0]


def test_what_is_no_us_equity_is_left_out_and_named(tmp_path):
    bars("AAPL", "BTC-USD", "^GSPC", "AUDUSD=X", "BRK/A", " MSFT", "VOD.L").write_csv(tmp_path / "bars.csv")
    crypto = pl.DataFrame({"date": [date(2015, 1, 2) + timedelta(days=n) for n in range(60)], "symbol": "WEEKS"})
    crypto.with_columns(open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0).write_csv(tmp_path / "more.csv")
    read = read_bar_files(tmp_path)
    assert read.bars["symbol"].unique().sort().to_list() == ["AAPL", "BRK.A", "MSFT"]
    assert set(read.left_out) == {"BTC-USD", "^GSPC", "AUDUSD=X", "VOD.L", "WEEKS"}
    assert read.left_out["BTC-USD"] == "a cryptocurrency"


@pytest.mark.parametrize("name", ["bars.splits.csv", "bars_split.parquet", "bars-Splits.CSV"])
def test_splits_beside_are_found_in_any_spelling(tmp_path, name):
    bars("AAPL").write_parquet(tmp_path / "bars.parquet")
    splits = pl.DataFrame({"ticker": ["aapl"], "Date": ["2015-01-20"], "Stock Splits": ["7:1"]})
    splits.write_parquet(tmp_path / name) if name.endswith("parquet") else splits.write_csv(tmp_path / name)
    assert read_bar_files(tmp_path / "bars.parquet").splits.select("symbol", "ex_date", "ratio").rows() == [
        ("AAPL", date(2015, 1, 20), 7.0)
    ]


@pytest.mark.parametrize(
    ("column", "symbol"), [("Stock Splits", "AAPL"), ("split_coefficient", "AAPL"), ("splitFactor", "AAPL"), ("split", "AAPL")]
)
def test_splits_of_vendors_columns_are_taken_over(tmp_path, column, symbol):
    frame = bars(symbol).with_columns(
        pl.when(pl.col("date") == DAYS[9]).then(2.0).otherwise(0.0 if column == "Stock Splits" else 1.0).alias(column)
    )
    frame.write_csv(tmp_path / "bars.csv")
    assert read_bar_files(tmp_path / "bars.csv").splits.select("symbol", "ex_date", "ratio").rows() == [(symbol, DAYS[9], 2.0)]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "date,symbol,open\n2015-01-02,A,1\n", "lacks the column"),
        ("AAPL.csv", "20150102,1,1,1,1,5\n20150105,1,1,1,1,5\n", "--header"),
        ("HistoricalData_1700000000.csv", "Date,Open,High,Low,Close,Volume\n2015-01-02,1,1,1,1,5\n", "--symbol"),
        ("a.xlsx", "x", "ends in .xlsx"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(BadFileError, match=message) as error:
        read_bar_files(tmp_path / file)
    assert file in str(error.value)


def test_options_say_what_a_file_does_not(tmp_path):
    path = Path(tmp_path / "HistoricalData_1700000000.csv")
    path.write_text("20150102;1;2;0,5;1,5;5\n")
    header = ("when", "open", "high", "low", "end", "volume")
    options = ReadOptions(header=header, columns={"date": "when", "close": "end"}, symbol="AAPL")
    assert read_bar_files(path, options).bars.row(0) == (date(2015, 1, 2), "AAPL", 1.0, 2.0, 0.5, 1.5, 5.0)


def test_bars_of_minutes_are_refused(tmp_path):
    rows = [
        {
            "timestamp": datetime(2015, 1, day, 15, minute, tzinfo=UTC),
            "open": 1.0,
            "high": 1.0,
            "low": 1.0,
            "close": 1.0,
            "volume": 1.0,
        }
        for day in (5, 6, 7)
        for minute in range(60)
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "AAPL.parquet")
    with pytest.raises(BadFileError, match="minutes"):
        read_bar_files(tmp_path / "AAPL.parquet")
