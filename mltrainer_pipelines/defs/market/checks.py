"""Asset checks of the market data. Blocking where nothing may be built on it; a warning where a person should look."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.defs.partitions import PARTITION, RANGE_END, RANGE_START
from mltrainer_pipelines.defs.resources import LakeResource
from mltrainer_pipelines.market.bar_check_names import BAR_CHECKS
from mltrainer_pipelines.market.sessions import last_closed_session, previous_session, sessions_between
from mltrainer_pipelines.settings import get_settings, now

if TYPE_CHECKING:
    import polars as pl

    from mltrainer_pipelines.contracts.table import Table
    from mltrainer_pipelines.market.bar_checks import Finding

_LOOK_BACK = 60
"""Sessions that are checked where a check runs by itself, without a run's partitions."""

_PUBLISHED_WITHIN = timedelta(hours=4)
"""How long after the close a session's bars may take to be there."""

_MACRO_FRESH = timedelta(days=10)

_BLOCKING = ("no_duplicate_bars", "prices_are_possible")


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset="daily_bars", description=description, blocking=name in _BLOCKING)
        for name, description in BAR_CHECKS.items()
    ],
    name="daily_bars_content",
)
def daily_bars_content(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
    """The run's sessions read back once, for all checks of their content; without a run, the last 60 sessions."""
    from mltrainer_pipelines.market.bar_checks import bar_findings

    findings = bar_findings(lake, [date.fromisoformat(key) for key in _checked_sessions(context.run.tags)])
    for name, finding in findings.wrong.items():
        yield dg.AssetCheckResult(
            asset_key="daily_bars",
            check_name=name,
            passed=finding.count == 0,
            severity=dg.AssetCheckSeverity.ERROR if name in _BLOCKING else dg.AssetCheckSeverity.WARN,
            metadata={"found": finding.count, "sessions": findings.sessions, "rows": findings.rows, **_examples(finding)},
        )


@dg.asset_check(asset="daily_bars", blocking=True)
def bars_match_their_schema(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """The newest of the sessions has the columns, types and values that its table declares."""
    from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS

    keys = [key for key in _checked_sessions(context.run.tags) if lake.exists("daily_bars", key)]
    return _schema_result(DAILY_BARS, lake.read("daily_bars", keys[-1])) if keys else _nothing_there()


@dg.asset_check(asset="daily_bars")
def every_session_is_there(lake: LakeResource) -> dg.AssetCheckResult:
    """From the start of the history to the newest session in the lake, no trading session is missing."""
    from mltrainer_pipelines.market.backlog import missing_sessions

    present = lake.partitions("daily_bars")
    if not present:
        return _nothing_there()
    missing = missing_sessions(lake, get_settings().mltrainer_history_start, date.fromisoformat(present[-1]))
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "sessions": len(present),
            "missing_sessions": len(missing),
            "missing": ", ".join(str(day) for day in missing[:20]) or "none",
        },
    )


@dg.asset_check(asset="daily_bars")
def newest_session_is_there(lake: LakeResource) -> dg.AssetCheckResult:
    """Freshness: the newest session that closed at least four hours ago has its bars."""
    from mltrainer_pipelines.market.backlog import closures

    due = last_closed_session(now() - _PUBLISHED_WITHIN)
    return dg.AssetCheckResult(
        passed=lake.exists("daily_bars", str(due)) or due in closures(lake),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"due": str(due)},
    )


@dg.asset_check(asset="corporate_actions", blocking=True)
def actions_are_possible(lake: LakeResource) -> dg.AssetCheckResult:
    """Every split has a positive ratio, every dividend a cash amount that is not negative, as its table declares."""
    from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS

    return _schema_result(CORPORATE_ACTIONS, lake.read("corporate_actions"))


@dg.asset_check(asset="corporate_actions")
def no_action_comes_twice(lake: LakeResource) -> dg.AssetCheckResult:
    """No split and no dividend is listed twice for one symbol and ex-date with the same terms."""
    import polars as pl

    actions = lake.read("corporate_actions")
    twice = actions.filter(pl.struct("symbol", "ex_date", "kind", "ratio", "cash").is_duplicated())
    return _counted(twice, actions.height)


@dg.asset_check(asset="corporate_actions")
def no_split_is_suspected(lake: LakeResource) -> dg.AssetCheckResult:
    """No price steps as by a split that nobody lists; the symbols of those that do are set aside until a correction decides."""
    from mltrainer_pipelines.market.corporate_actions import suspected

    suspects = suspected(lake)
    return _counted(suspects, suspects.height)


@dg.asset_check(asset="macro_series", blocking=True)
def values_come_before_their_publication(lake: LakeResource) -> dg.AssetCheckResult:
    """No value is published before the first day of the period it is about, and each is there once."""
    import polars as pl

    macro = lake.read("macro_series")
    return _counted(
        macro.filter((pl.col("published") < pl.col("date")) | pl.struct("series_id", "date").is_duplicated()),
        macro.height,
        dg.AssetCheckSeverity.ERROR,
    )


@dg.asset_check(asset="macro_series")
def macro_is_fresh(lake: LakeResource) -> dg.AssetCheckResult:
    """Every series of the settings is there, and something was published in the last ten days."""
    macro = lake.read("macro_series")
    missing = sorted(set(get_settings().macro_series) - set(macro["series_id"]))
    newest = macro["published"].max()
    fresh = newest is not None and newest >= now().date() - _MACRO_FRESH  # type: ignore[operator]
    return dg.AssetCheckResult(
        passed=bool(fresh) and not missing,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"missing_series": ", ".join(missing) or "none", "last_published": str(newest)},
    )


@dg.asset_check(asset="universe", blocking=True)
def members_are_eligible(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Every member is there once, closed above 5 dollars and traded, as its table declares."""
    from mltrainer_pipelines.contracts.lake_tables import UNIVERSE

    span = _span(context.run.tags)
    present = lake.partitions("universe")
    keys = [key for key in present if span and str(span[0]) <= key <= str(span[1])] or present[-1:]
    return _schema_result(UNIVERSE, lake.scan("universe", keys).collect()) if keys else _nothing_there()


def _checked_sessions(tags: Mapping[str, str]) -> list[str]:
    """The sessions of a run, from its tags and the calendar: listing all partitions would cost more with each year."""
    span = _span(tags)
    if span:
        return [str(day) for day in sessions_between(*span)]
    newest = last_closed_session(now())
    return [str(day) for day in sessions_between(previous_session(newest, _LOOK_BACK - 1), newest)]


def _span(tags: Mapping[str, str]) -> tuple[date, date] | None:
    """First and last partition of a run, from its tags; None where it has none."""
    first = tags.get(RANGE_START) or tags.get(PARTITION)
    last = tags.get(RANGE_END) or tags.get(PARTITION)
    return (date.fromisoformat(first), date.fromisoformat(last)) if first and last else None


def _schema_result(table: "Table", frame: "pl.DataFrame") -> dg.AssetCheckResult:
    problems = table.problems(frame)
    return dg.AssetCheckResult(
        passed=not problems, metadata={"rows": frame.height, "problems": "; ".join(problems[:10]) or "none"}
    )


def _counted(
    wrong: "pl.DataFrame", rows: int, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
) -> dg.AssetCheckResult:
    from mltrainer_pipelines.market.bar_checks import Finding

    finding = Finding()
    finding.add(wrong)
    return dg.AssetCheckResult(
        passed=finding.count == 0, severity=severity, metadata={"found": finding.count, "rows": rows, **_examples(finding)}
    )


def _examples(finding: "Finding") -> dict[str, dg.MarkdownMetadataValue]:
    import polars as pl

    from mltrainer_pipelines.defs.reporting import table

    return {"examples": table(pl.DataFrame(finding.examples))} if finding.examples else {}


def _nothing_there() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"sessions": 0})
