"""`docs/features.md`, written from the declarations of the feature sets."""

from collections.abc import Sequence

from mltrainer_pipelines.features.registry import DEFAULT, feature_sets, get_feature_set
from mltrainer_pipelines.features.sets.cross_section import KINDS, SOURCE
from mltrainer_pipelines.features.spec import FIELDS, Feature, FeatureSet

INTRODUCTION = """\
# Features

*Written from the declarations by `make docs`; a test fails where it is out of date. Change the
declarations, not this page.*

A feature is a declaration: a name, what it reads, its look-back in sessions, its formula and its source. The engine does
the rest: it aligns sessions and symbols, runs the formulas month by month over that month's universe, in parallel, and
keeps causality.

```
mltrainer features --bars bars.parquet --set momentum --out features.parquet --workers 2
mltrainer features --bars bars.parquet --macro macro.csv --set macro --out features.parquet
mltrainer features --bars bars.parquet --expression 'Corr($close, Log($volume+1), 20)' --out factor.parquet
mltrainer labels --bars bars.parquet --timeframe short --target 1.5 --stop 1 --out labels.parquet
mltrainer audit causality
```

[factors.md](factors.md) is about the language of expressions.

The bars are a Parquet or CSV file with the columns date, symbol, open, high, low, close and volume, and optionally vwap and
sector. Their prices are taken as they are, and every symbol is a member while it trades. Macro observations are a file with
the columns series_id (as at FRED), date, value and published (the day it became known), as the lake's `macro_series`
and a recording's macro file have them:

```
series_id,date,value,published
DGS10,2015-10-29,2.19,2015-10-30
UNRATE,2015-09-01,5.1,2015-10-02
```

From Python:
`features.engine.compute_features(adjusted_bars, universe, macro, first, last, feature_set, workers, regime)`.

## Rules

- A value at t is what was known at t's close. It is the same, to the last bit, whether the data end at t or years later,
  and whether it is computed for one session or for all (`mltrainer audit causality` proves it).
- A window of n sessions at t is t and the n − 1 sessions before it, of the market, not of the symbol. 80 % of its values
  must be known; otherwise the result is null. Null is the only unknown: never 0, never a value of a shorter window.
- A symbol that does not trade keeps its last price for 5 sessions in the fields `price` and `log_price`, and in those alone.
- Averages and ranks across symbols are over the members of the month's universe; at least 5 of them (3 of a sector).
- TA-Lib runs over the sessions on which the symbol has all the fields, from a start that the month and the look-back fix.
"""

FIELDS_HEADER = """\
## Fields

What a feature can read, besides `macro:<series>` (as published before the close), `regime:<part>` (see
[regime.md](regime.md)) and the features declared before it.

| field | meaning |
|---|---|
"""

LABELS = """\
## Labels and barriers

A decision at the close of t is entered at the open of t+1. The target and the stop lie `target` and `stop` volatilities of
the horizon away (σ · √max_sessions, σ of the 60 sessions up to t), and the time barrier is the close of session 12 (`short`)
or 70 (`long`), the entry session being 1. A session that opens at or beyond a barrier exits at the open; otherwise the first
barrier touched exits at its price; where one session touches both, the stop wins. A symbol without a bar for 5 sessions has
stopped trading: it exits at its last close, known on the fifth. Everything about an exit is null until it is known.

`features.fixed_barriers.fixed_barrier_trades` takes entries and fixed percentages instead, at the close of the entry session.
Its trades are vectorbt's (`Portfolio.from_signals` with `sl_stop` and `tp_stop`, without costs), entry by entry and exit by
exit, with two conventions of vectorbt's own, which the parity test maps:

- A session that opens above the target and later falls to the stop: vectorbt looks at the stop first and exits there; here
  the open comes first, and it exits at the open.
- A symbol that stops trading: vectorbt leaves the trade open; here it exits at the last close, `delisted`.

## Peers

`make bench` prints our times beside those of Qlib and vectorbt. They live in an environment of their own:
`python3 -m venv .peers && .peers/bin/pip install pyqlib==0.9.7 vectorbt==1.2.0 pyarrow`. Without it the parity tests against
them are skipped; the formulas are then still held against pandas, TA-Lib and hand-made trades.
"""


def features_page() -> str:
    """The page, as the declarations have it now."""
    fields = FIELDS_HEADER + "".join(f"| `{name}` | {_escaped(meaning)} |\n" for name, meaning in FIELDS.items())
    parts = [INTRODUCTION, _contents(), fields, *map(_section, _sets()), LABELS]
    return "\n".join(parts)


def _sets() -> list[FeatureSet]:
    return [get_feature_set(name) for name in feature_sets() if name != "default"]


def _contents() -> str:
    rows = [f"| `{chosen.name}` | {len(chosen.features)} | {chosen.depth} |\n" for chosen in _sets()]
    return (
        "## Sets\n\n| set | features | sessions of history before a month |\n|---|---|---|\n"
        + "".join(rows)
        + f"\n`default`, the set trials use unless they name another, is `{DEFAULT}`.\n"
    )


def _section(chosen: FeatureSet) -> str:
    table = _columns_by_feature(chosen.features) if chosen.bases else _table(chosen.features)
    return f"## {chosen.name}\n\n{chosen.description.strip()}\n\n{table}"


def _table(features: Sequence[Feature]) -> str:
    rows = []
    for feature in features:
        reads = ", ".join(f"`{read}`" for read in feature.reads)
        meaning, source = _escaped(feature.summary), _escaped(feature.source)
        rows.append(f"| `{feature.name}` | {meaning} | {reads} | {feature.look_back} | {source} |\n")
    return "| feature | meaning | reads | look-back | source |\n|---|---|---|---|---|\n" + "".join(rows)


def _columns_by_feature(features: Sequence[Feature]) -> str:
    """One row for each feature that is ranked: the columns it has."""
    kinds = "".join(f"| `<feature>_{kind}` | {summary.format('the feature')} |\n" for kind, summary in KINDS.items())
    by_base: dict[str, list[str]] = {}
    for feature in features:
        by_base.setdefault(feature.reads[0], []).append(feature.name)
    rows = [f"| `{base}` | {', '.join(f'`{name}`' for name in names)} |\n" for base, names in by_base.items()]
    return f"| column | meaning |\n|---|---|\n{kinds}\nSource: {SOURCE}.\n\n| feature | columns |\n|---|---|\n" + "".join(rows)


def _escaped(text: str) -> str:
    """Text for a cell of a table: a bar would end it."""
    return text.replace("|", "\\|")
