"""Every table of the lake: its columns, what they mean, and which values they may hold. `docs/tables.md` is made of it."""

from typing import Final

import polars as pl

from mltrainer_pipelines.contracts.table import (
    NOT_EMPTY,
    NOT_NEGATIVE,
    POSITIVE,
    SCORE,
    SHARE,
    Column,
    Table,
    at_least,
    more_than,
    one_of,
)
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES

PRICES: Final = ("open", "high", "low", "close")
_DAY, _TEXT, _NUMBER = pl.Date(), pl.String(), pl.Float64()
_MOMENT = pl.Datetime("us", "America/New_York")

_SYMBOL = Column("symbol", _TEXT, "ticker, as the exchange spells it", NOT_EMPTY)
_SESSION = Column("date", _DAY, "trading session, New York")
_DECISION = Column("date", _DAY, "session of the decision, made at its close")
_TIMEFRAME = Column("timeframe", _TEXT, "holding period", one_of(*TIMEFRAMES))
_TRIAL = Column("trial_id", _TEXT, "trial of the model", NOT_EMPTY)

DAILY_BARS = Table(
    "daily_bars",
    "Unadjusted bars as they traded, of the whole market.",
    "session",
    (
        _SESSION,
        _SYMBOL,
        *(Column(name, _NUMBER, f"{name} price, unadjusted, dollars a share", POSITIVE) for name in PRICES),
        Column("volume", _NUMBER, "shares traded", NOT_NEGATIVE),
        Column("vwap", _NUMBER, "volume-weighted average price, dollars a share", POSITIVE, nullable=True),
        Column("trades", pl.Int64(), "number of trades", NOT_NEGATIVE, nullable=True),
    ),
    unique=("date", "symbol"),
)

REJECTED_BARS = Table(
    "rejected_bars",
    "Bars of the vendor that cannot be right, as they came; only of sessions that had any.",
    "session",
    (
        *(Column(column.name, column.dtype, column.description, nullable=True) for column in DAILY_BARS.columns),
        Column("reason", _TEXT, "the rule of bars that it breaks"),
    ),
)

SESSION_CLOSURES = Table(
    "session_closures",
    "Sessions of the calendar on which the exchange did not trade: the vendor has bars after them and none of them.",
    "all",
    (_SESSION, Column("noted_on", _DAY, "day on which it was noted")),
    unique=("date",),
)

CORPORATE_ACTIONS = Table(
    "corporate_actions",
    "Splits and cash dividends.",
    "all",
    (
        _SYMBOL,
        Column("ex_date", _DAY, "first session that trades without it"),
        Column("kind", _TEXT, "what it is", one_of("split", "dividend")),
        Column("ratio", _NUMBER, "new shares for one old share; null for dividends", POSITIVE, nullable=True),
        Column("cash", _NUMBER, "dollars a share; null for splits", NOT_NEGATIVE, nullable=True),
        Column("declared", _DAY, "when it was announced; null where the vendor does not say", nullable=True),
    ),
)

REJECTED_ACTIONS = Table(
    "rejected_actions",
    "Splits and dividends of the vendor that are not applied, as they came.",
    "all",
    (
        *(Column(column.name, column.dtype, column.description, nullable=True) for column in CORPORATE_ACTIONS.columns),
        Column("reason", _TEXT, "why it is not applied"),
    ),
)

LISTINGS = Table(
    "listings",
    "Which company had a symbol, and when; of a symbol that is not in it, the company is the symbol itself.",
    "all",
    (
        Column("company", _TEXT, "id of the company: its first symbol, with ~2 where another company had that before", NOT_EMPTY),
        _SYMBOL,
        Column("first", _DAY, "first session of the company under the symbol"),
        Column("last", _DAY, "last session of it; null while it goes on", nullable=True),
        Column("reason", _TEXT, "why it is this company"),
    ),
    unique=("symbol", "first"),
)

TICKER_EVENTS = Table(
    "ticker_events",
    "What the vendor says about the company behind a symbol that began, or came back, after the lake's first sessions.",
    "all",
    (
        Column("asked", _TEXT, "symbol that was asked about", NOT_EMPTY),
        Column("day", _DAY, "day as of which it was asked about"),
        Column("figi", _TEXT, "the company's composite FIGI; null where the vendor knows none", nullable=True),
        Column("symbol", _TEXT, "a symbol of that company; null where no event is known", nullable=True),
        Column("since", _DAY, "day from which it had that symbol", nullable=True),
    ),
)

MACRO_SERIES = Table(
    "macro_series",
    "Observations of FRED's series as first published.",
    "all",
    (
        Column("series_id", _TEXT, "FRED's id", NOT_EMPTY),
        Column("date", _DAY, "the day or period that the value is about"),
        Column("value", _NUMBER, "as first published, never revised"),
        Column("published", _DAY, "day of the first release; the value counts from the session after it"),
    ),
    unique=("series_id", "date"),
)

UNIVERSE = Table(
    "universe",
    "The most liquid common stocks and depositary receipts, as known when the month began.",
    "month",
    (
        Column("month", _DAY, "first day of the month in which the symbol is a member"),
        _SYMBOL,
        Column("rank", pl.Int32(), "1 is the most liquid", at_least(1)),
        Column("median_dollar_volume", _NUMBER, "median of close × volume over the 60 sessions before, dollars", POSITIVE),
        Column("close", _NUMBER, "last close before the month, unadjusted, dollars", more_than(5)),
        Column("name", _TEXT, "company", nullable=True),
        Column("sector", _TEXT, "industry, by its SIC description", nullable=True),
    ),
    unique=("month", "symbol"),
)

TICKER_PROFILES = Table(
    "ticker_profiles",
    "Sectors that were asked for, a call each.",
    "all",
    (
        _SYMBOL,
        Column("sector", _TEXT, "null where the vendor does not say", nullable=True),
        Column("asked", _DAY, "day as of which it was asked for"),
    ),
    unique=("symbol",),
)

BAR_CORRECTIONS = Table(
    "bar_corrections",
    "Fields of bars that the vendor changed after it had given them.",
    "month",
    (
        Column("date", _DAY, "session of the bar"),
        _SYMBOL,
        Column("field", _TEXT, "column of daily_bars that changed"),
        Column("before", _NUMBER, "what it was; null where the bar was not there", nullable=True),
        Column("after", _NUMBER, "what it is; null where the bar is gone", nullable=True),
        Column("found", _DAY, "day on which the change was seen"),
    ),
    unique=("date", "symbol", "field", "found"),
)

DELAYED_QUOTES = Table(
    "delayed_quotes",
    "Prices at least 15 minutes old, of every symbol at every refresh.",
    "session",
    (
        Column("as_of", _MOMENT, "when the snapshot was asked for"),
        Column("date", _DAY, "session that the prices are of"),
        _SYMBOL,
        *(
            Column(name, _NUMBER, f"{name} of the session so far; null where it has not traded", POSITIVE, nullable=True)
            for name in PRICES[:3]
        ),
        Column("close", _NUMBER, "last price that is at least 15 minutes old", POSITIVE),
        Column("volume", _NUMBER, "shares traded in the session so far", NOT_NEGATIVE, nullable=True),
        Column("vwap", _NUMBER, "volume-weighted average price so far", nullable=True),
        Column("previous_close", _NUMBER, "close of the session before", nullable=True),
        Column("updated_at", _MOMENT, "when the price was made"),
        Column("stale", pl.Boolean(), "no trade for so long before (MLTRAINER_STALE_MINUTES) that the price is not used"),
    ),
    unique=("as_of", "symbol"),
)

FEATURES = Table(
    "features",
    "What was known of each member at each close.",
    "month",
    (_DECISION, _SYMBOL),
    unique=("date", "symbol"),
    more="One Float32 column for each feature of the feature set, null where unknown: see [features.md](features.md).",
)

LABELS = Table(
    "labels",
    "What each decision earned at the first barrier its position met.",
    "month",
    (
        _DECISION,
        _SYMBOL,
        _TIMEFRAME,
        Column("entry_date", _DAY, "session at whose open it is entered; null until that is there", nullable=True),
        Column("exit_date", _DAY, "session of the exit; null until it is known, as is all that follows", nullable=True),
        Column("barrier", _TEXT, "which barrier was met first", nullable=True),
        Column("gross_return", _NUMBER, "exit price over entry price, less 1", nullable=True),
        Column("net_return", _NUMBER, "the same after the costs of both sides", nullable=True),
        Column("label", pl.Int8(), "1 where the net return is above zero, otherwise 0", nullable=True),
    ),
    unique=("date", "symbol", "timeframe"),
)

_PARTS: Final = {
    "trend": "how far the market is above its means of 20, 60 and 200 sessions",
    "breadth": "share of symbols above their own mean of 50 sessions, %",
    "volatility": "share of the last 504 sessions in which the market was more volatile, %",
    "credit": "share of the last 504 sessions in which the high-yield spread was wider, %",
    "curve": "share of the last 1,260 sessions in which the yield curve was flatter, %",
}
REGIME = Table(
    "regime",
    "What kind of market each session is, known at its close: see [regime.md](regime.md).",
    "all",
    (
        _SESSION,
        Column("score", _NUMBER, "0 a crash, 50 neutral, 100 a strong bull market", SCORE, nullable=True),
        *(Column(name, _NUMBER, description, SCORE, nullable=True) for name, description in _PARTS.items()),
        *(
            Column(state, _NUMBER, f"filtered probability of the state {state}", SHARE, nullable=True)
            for state in ("crash", "neutral", "bull")
        ),
    ),
    unique=("date",),
)

TRIAL_PREDICTIONS = Table(
    "trial_predictions",
    "Out-of-sample scores of a trial, from a model that knew only what had ended before the quarter.",
    "trial and quarter",
    (_DECISION, _SYMBOL, Column("score", _NUMBER, "the model's own, not calibrated")),
    unique=("date", "symbol"),
)

TRIAL_IMPORTANCES = Table(
    "trial_importances",
    "Permutation importance of a trial's features in the quarter.",
    "trial and quarter",
    (
        Column("feature", _TEXT, "column of the features", NOT_EMPTY),
        Column("importance", _NUMBER, "how much worse the scores get where the feature is permuted", nullable=True),
    ),
    unique=("feature",),
)

DRIVER: Final = pl.Struct(
    {"feature": pl.String(), "value": pl.Float64(), "percentile": pl.Float64(), "effect": pl.Float64(), "share": pl.Float64()}
)
"""One feature behind a signal: its value, its percentile in the universe now (0 to 100), its effect on the log-odds, and the
share of all features' effects that it is."""

SIGNALS = Table(
    "signals",
    "Every member scored for every timeframe, at every refresh.",
    "session",
    (
        Column("timestamp", _MOMENT, "when it was scored"),
        Column("date", _DAY, "session of the decision"),
        _SYMBOL,
        _TIMEFRAME,
        Column("price", _NUMBER, "price it was scored with, unadjusted, dollars", nullable=True),
        Column("price_source", _TEXT, "where the price is from, or why there is none"),
        Column("signal_strength", _NUMBER, "share of the other symbols that are expected to earn less", SHARE, nullable=True),
        Column("profit_probability", _NUMBER, "calibrated probability that the net return is above zero", SHARE, nullable=True),
        Column("uncorrected_probability", _NUMBER, "the same before what was learnt since", SHARE, nullable=True),
        Column("confidence", _NUMBER, "agreement of the models times the width left by the calibration", SHARE, nullable=True),
        Column("agreement", _NUMBER, "weighted share of the models above the threshold", SHARE, nullable=True),
        Column("expected_net_return", _NUMBER, "after costs, at the exit", nullable=True),
        Column("probability_low", _NUMBER, "lower end of the probability's interval", SHARE, nullable=True),
        Column("probability_high", _NUMBER, "upper end of the probability's interval", SHARE, nullable=True),
        Column("entry_price", _NUMBER, "dollars; null where the price is not used", nullable=True),
        Column("target_price", _NUMBER, "dollars", nullable=True),
        Column("stop_loss", _NUMBER, "dollars", nullable=True),
        Column("volatility", _NUMBER, "of daily log returns, known at the decision", nullable=True),
        Column("regime_score", _NUMBER, "the market's regime at the decision", SCORE, nullable=True),
        Column("model_used", _TEXT, "champion's model"),
        Column("model_version", _TEXT, "champion's version in the registry"),
        _TRIAL,
        Column("grade", _TEXT, "whether the champion is proven", one_of("proven", "candidate")),
        Column("sector", _TEXT, "industry, by its SIC description", nullable=True),
        Column("settings_version", pl.Int64(), "version of the thresholds", NOT_NEGATIVE),
        Column("strong_buy", pl.Boolean(), "whether it passes every rule"),
        Column("reason", _TEXT, "which rules keep it from being a strong buy", nullable=True),
        Column("why", _TEXT, "the features that moved the prediction most, in words", nullable=True),
        Column("drivers", pl.List(DRIVER), "the same as numbers", nullable=True),
    ),
    unique=("timestamp", "symbol", "timeframe"),
)

MEMBER_FORECASTS = Table(
    "member_forecasts",
    "What each trial of the ensembles forecasts alone, at the last refresh of the session.",
    "session",
    (
        Column("date", _DAY, "session of the decision"),
        _SYMBOL,
        _TIMEFRAME,
        _TRIAL,
        Column("probability", _NUMBER, "calibrated, not corrected by what was learnt since", SHARE, nullable=True),
    ),
    unique=("date", "symbol", "timeframe", "trial_id"),
)

DISCOVERED_FACTORS = Table(
    "discovered_factors",
    "Feature sets made of accepted factors. A set never changes; other factors are a set with the next number.",
    "all",
    (
        Column("feature_set", _TEXT, "its name, as trials give it", NOT_EMPTY),
        _TIMEFRAME,
        Column("factor_id", _TEXT, "factor of the library", NOT_EMPTY),
        Column("name", _TEXT, "the factor's column among the features", NOT_EMPTY),
        Column("expression", _TEXT, "what it is, in the language of docs/factors.md", NOT_EMPTY),
        Column("direction", _NUMBER, "1 where high values went with high returns when it was accepted, else -1"),
        Column("made_on", _DAY, "day on which the set was made"),
    ),
    unique=("feature_set", "factor_id"),
)

LAKE_TABLES: Final = {table.name: table for table in list(globals().values()) if isinstance(table, Table)}
"""By name, in the order in which they are declared here: that in which data flow."""
