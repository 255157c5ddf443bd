"""The `mltrainer` command: its tree of subcommands, each a call of one function.

Each subcommand imports what it needs when it runs, so that `--help` is quick.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mltrainer_pipelines.commands.agent_group import agent_app
from mltrainer_pipelines.commands.audit import audit_app
from mltrainer_pipelines.commands.corrections_group import corrections_app
from mltrainer_pipelines.commands.terminal import AsJson, ReadableErrors, print_result, progress_bar

if TYPE_CHECKING:
    from mltrainer_pipelines.settings import Settings

app = typer.Typer(
    name="mltrainer",
    help="A learning recommendation engine for US-equity momentum, built on Dagster. It never places an order.",
    cls=ReadableErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
trial_app = typer.Typer(help="Submit and look at walk-forward trials.", no_args_is_help=True)
portfolio_app = typer.Typer(help="Paper trades: replay a period.", no_args_is_help=True)
app.add_typer(corrections_app, name="corrections")
for name, group in (("trial", trial_app), ("audit", audit_app), ("portfolio", portfolio_app), ("agent", agent_app)):
    app.add_typer(group, name=name)

BarsFile = Annotated[Path, typer.Option("--bars", help="Parquet or CSV: date, symbol, open, high, low, close, volume.")]
OutFile = Annotated[Path, typer.Option("--out", help="Parquet or CSV file to write.")]


def _settings() -> "Settings":
    from mltrainer_pipelines.settings import get_settings

    return get_settings()


def _use_market(name: str | None) -> None:
    """The imported market that this command and the processes it starts look at."""
    if name:
        os.environ["MLTRAINER_MARKET"] = name


Market = Annotated[str | None, typer.Option("--market", help="A market that `mltrainer import` made.", callback=_use_market)]


@app.command(
    "import",
    epilog="Examples: mltrainer import archive.zip · mltrainer import prices/ --name us --dates day-first · "
    "mltrainer import AAPL.csv --columns close=Schluss,volume=Stueck --json",
)
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files of daily bars, folders or archives of them, in any usual layout.")],
    name: Annotated[str | None, typer.Option(help="Name of the market; by default that of the file.")] = None,
    dates: Annotated[str | None, typer.Option(help="day-first or month-first, where 03/09/2015 could be two days.")] = None,
    decimal: Annotated[str | None, typer.Option(help="point or comma, where 1,234 could be two numbers.")] = None,
    columns: Annotated[str, typer.Option(help="Columns that are not recognized: close=Schluss,volume=Stueck.")] = "",
    header: Annotated[
        str, typer.Option(help="Names of the columns, where a file has none: date,open,high,low,close,volume.")
    ] = "",
    symbol: Annotated[str | None, typer.Option(help="Symbol of a file that does not say it.")] = None,
    infer_splits: Annotated[bool, typer.Option("--infer-splits", help="Take suspected splits over, marked as inferred.")] = False,
    real_moves: Annotated[
        bool, typer.Option("--real-moves", help="Suspected splits are no splits: the prices moved so.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a market of the files you have: says what was understood, left out and set aside, and how to go on."""
    from mltrainer_pipelines.commands.import_bars import import_bars, options_of, text

    options = options_of(dates, decimal, columns, header, symbol)
    with progress_bar("Import") as progress:
        result = import_bars(
            _settings(), paths, name, options, infer_splits=infer_splits, real_moves=real_moves, progress=progress
        )
    print_result(vars(result) if as_json else text(result))


@app.command(epilog="Example: mltrainer demo · mltrainer demo --market mine · mltrainer demo --json | jq .seconds")
def demo(market: Market = None, as_json: AsJson = False) -> None:
    """Run the whole loop once through Dagster, from bars to paper trades, and show the recommendations."""
    from mltrainer_pipelines.commands.summary import demo_with_summary

    result = demo_with_summary(_settings(), as_json)
    if as_json:
        print_result(vars(result))


@app.command(epilog="Example: MLTRAINER_DAGSTER_PORT=3100 mltrainer up")
def up(market: Market = None) -> None:
    """Serve Dagster, MLflow and, without keys, the local exchange on 127.0.0.1 until Ctrl-C; stops them together."""
    from mltrainer_pipelines.commands.up import serve_all

    raise typer.Exit(serve_all(_settings()))


@app.command(
    epilog="Example: mltrainer live --from 2018-06-01 --sessions 10 · mltrainer live --from 2018-06-01 --speed 900 --json"
)
def live(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session to live through.")],
    sessions: Annotated[int, typer.Option(min=1, help="How many sessions.")] = 10,
    speed: Annotated[
        float | None,
        typer.Option(min=1, help="At most so many times faster than real time; by default as fast as the work is done."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Live through past sessions of a recording or the simulated market; the pages fill while you watch.

    The clock moves through the days, and at each moment everything that is due happens: refreshes, the evening's bars, learning.
    """
    from rich.console import Console

    from mltrainer_pipelines.commands.live import live as live_through

    result = live_through(
        _settings(), first.date(), sessions, speed, Console(stderr=True), lambda line: typer.echo(line, err=True)
    )
    print_result(result.as_dict() if as_json else result.text())


@app.command(epilog="Example: mltrainer status · mltrainer status --json | jq '.automation[] | select(.on | not)'")
def status(as_json: AsJson = False) -> None:
    """Show what runs by itself, how fresh everything is, open alerts, and what is being caught up on."""
    from mltrainer_pipelines.commands.status import status as status_of

    state = status_of(_settings())
    print_result(state.as_dict() if as_json else state.text())


@app.command(epilog="Example: mltrainer exchange --port 8900 --calls-per-minute 5")
def exchange(
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1.")] = None,
    calls_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Answer 429 beyond this many calls a minute, as Polygon's plans do.")
    ] = None,
) -> None:
    """Serve the local exchange: Polygon's and FRED's wire formats over a simulated or a recorded market."""
    from mltrainer_pipelines.exchange.server import serve

    settings = _settings()
    serve(settings, port=settings.exchange_port if port is None else port, calls_per_minute=calls_per_minute)


@app.command(epilog="Example: mltrainer models --json | jq '.[].id'")
def models(as_json: AsJson = False) -> None:
    """List the models of the registry."""
    from mltrainer_pipelines.commands.models import as_rows, as_table

    print_result(as_rows() if as_json else as_table())


@app.command(epilog="Examples: mltrainer doctor --json · mltrainer doctor --lake")
def doctor(
    market: Market = None,
    lake: Annotated[bool, typer.Option("--lake", help="Read every file of the lake and compare it with its checksum.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at what this installation needs and say what is missing; exit code 1 where something stops it from working."""
    from dataclasses import asdict

    from mltrainer_pipelines.commands.doctor import examine, examine_lake, text

    if lake:
        with progress_bar("Files") as progress:
            findings = examine_lake(_settings(), progress)
    else:
        findings = examine(_settings())
    print_result([asdict(finding) for finding in findings] if as_json else text(findings))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command(epilog="Example: mltrainer bench · mltrainer bench alpha158 barriers --json")
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run; by default all that end within minutes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print our timings beside those of peers, measured in this one run; exit code 1 where a bar is not met.

    It says first what it will measure and how long that takes. Ctrl-C prints what there is.
    """
    from mltrainer_pipelines.commands.bench import as_table, exit_code, run_benchmarks

    rows = run_benchmarks(names or [], report=lambda line: typer.echo(line, err=True))
    print_result([row.as_dict() for row in rows] if as_json else as_table(rows))
    raise typer.Exit(exit_code(rows))


@trial_app.command("submit", epilog="Example: mltrainer trial submit trial.json --wait --json")
def trial_submit(
    file: Annotated[Path, typer.Argument(help="JSON file with a trial's configuration.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the trial is scored.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a trial over all its quarters and score it; a configuration that ran before returns its trial.

    The file holds at least {"model": "lightgbm", "timeframe": "short"}.
    """
    from rich.console import Console

    from mltrainer_pipelines.commands.trial import submit_trial

    if not file.is_file():
        raise typer.BadParameter(f"{file} does not exist")
    submitted = submit_trial(_settings(), file.read_text(), Console(stderr=True), wait=wait)
    print_result(submitted if as_json else f"{submitted['trial_id']}: {submitted['status']}")


@trial_app.command("rollback", epilog="Example: mltrainer trial rollback short --reason 'recommends one sector only' --json")
def trial_rollback(
    timeframe: Annotated[str, typer.Argument(help="short or long.")],
    to: Annotated[str | None, typer.Option(help="A registered version; by default that of the champion before.")] = None,
    reason: Annotated[str, typer.Option(help="Kept with the rollback.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let an earlier champion score the market again; done twice it changes nothing."""
    from rich.console import Console

    from mltrainer_pipelines.commands.trial import roll_back_champion

    champion = roll_back_champion(_settings(), timeframe, to, reason, Console(stderr=True))
    state = "scores the market now" if champion["changed"] else "scores the market already"
    line = f"{timeframe}: version {champion['version']} ({champion['trial_id']}, {champion['grade']}) {state}"
    print_result(champion if as_json else line)


@app.command(
    epilog="Examples: mltrainer features --bars bars.parquet --set alpha158 --out features.parquet --workers 2 --json; "
    "mltrainer features --bars bars.parquet --macro macro.csv --set macro --out features.parquet; "
    "mltrainer features --bars bars.parquet --expression 'Corr($close, Log($volume+1), 20)' --out factor.parquet"
)
def features(
    bars: BarsFile,
    out: OutFile,
    feature_set: Annotated[
        str | None,
        typer.Option("--set", help="momentum, stock_selection, technical, alpha158, alpha101, cross_section, macro or default."),
    ] = None,
    expression: Annotated[
        str | None, typer.Option(help="A feature of your own in the expression language, instead of a set: see docs/factors.md.")
    ] = None,
    macro: Annotated[
        Path | None,
        typer.Option(
            help="Parquet or CSV of macro observations: series_id (as at FRED), date, value, published (the day it became "
            "known). Without it what reads macro series is null."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; by default one a processor, at most 4.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute a feature set, or an expression of your own, on a file of daily bars: no Dagster, no services."""
    from mltrainer_pipelines.features.files import expression_of_file, features_of_file

    if expression is not None and feature_set is not None:
        raise typer.BadParameter("give either --set or --expression")
    if expression is None:
        done = features_of_file(bars, feature_set or "default", out, workers, macro)
    else:
        done = expression_of_file(bars, expression, out, workers, macro)
    line = f"{out}: {done.rows:,} rows, {done.columns} features, computed in {done.seconds:.2f} s"
    result = {"rows": done.rows, "features": done.columns, "seconds": round(done.seconds, 4)}
    if expression is not None:
        line += f", {done.labelled:,} values known"
        result["known"] = done.labelled
    print_result(result if as_json else line)


@app.command(epilog="Example: mltrainer labels --bars bars.parquet --timeframe short --target 1.5 --stop 1 --out labels.parquet")
def labels(
    bars: BarsFile,
    out: OutFile,
    timeframe: Annotated[str, typer.Option(help="short (7-12 sessions) or long (50-70).")],
    target: Annotated[float, typer.Option(help="Target in multiples of the volatility over the horizon.")] = 1.0,
    stop: Annotated[float, typer.Option(help="Stop in multiples of the volatility over the horizon.")] = 1.0,
    cost_bps: Annotated[float, typer.Option(help="Fee and slippage a side, basis points.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Compute what each decision earned at the first barrier it met, on a file of daily bars."""
    from mltrainer_pipelines.contracts.timeframes import get_timeframe
    from mltrainer_pipelines.features.files import labels_of_file
    from mltrainer_pipelines.features.labels.barriers import Barriers

    done = labels_of_file(bars, get_timeframe(timeframe), out, Barriers(target, stop), cost_bps)
    line = f"{out}: {done.rows:,} rows, {done.labelled:,} of them resolved, computed in {done.seconds:.2f} s"
    print_result({"rows": done.rows, "known": done.labelled, "seconds": round(done.seconds, 4)} if as_json else line)


@portfolio_app.command("replay", epilog="Example: mltrainer portfolio replay --from 2026-01-02 --to 2026-06-30 --json")
def portfolio_replay(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last session.")],
    as_json: AsJson = False,
) -> None:
    """Live through a period session by session, with what was known then; nothing is written."""
    from mltrainer_pipelines.commands.replay import replay_period, text

    replay = replay_period(_settings(), first.date(), last.date())
    print_result(replay if as_json else text(replay))


def main() -> None:
    """Entry point of the `mltrainer` command."""
    app()


if __name__ == "__main__":
    main()
