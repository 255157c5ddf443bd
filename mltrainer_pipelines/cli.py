"""The `mltrainer` command. Each subcommand imports what it needs when it runs, so that `--help` is quick."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="mltrainer",
    help="A learning recommendation engine for US-equity momentum, built on Dagster. It never places an order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
trial_app = typer.Typer(help="Submit and look at walk-forward trials.", no_args_is_help=True)
app.add_typer(trial_app, name="trial")

audit_app = typer.Typer(help="Prove what is promised.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")

portfolio_app = typer.Typer(help="Paper trades: live a period through again.", no_args_is_help=True)
app.add_typer(portfolio_app, name="portfolio")

agent_app = typer.Typer(help="The agent that proposes trials: talk to it, see what it may do, stop it.", no_args_is_help=True)
app.add_typer(agent_app, name="agent")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output and nothing else.")]


@app.command(epilog="Example: mltrainer demo · mltrainer demo --json | jq .seconds")
def demo(as_json: AsJson = False) -> None:
    """Run the whole loop once through Dagster, from bars to paper trades, and show the recommendations."""
    from rich.console import Console

    from mltrainer_pipelines.commands.demo import run_demo
    from mltrainer_pipelines.commands.summary import show

    settings, console = _settings(), Console(stderr=as_json)
    with _readable_errors():
        console.print(_which_market(settings))
        result = run_demo(settings, console)
    if as_json:
        _print_json(result.as_dict())
    else:
        show(console, settings, result)


@app.command(epilog="Example: MLTRAINER_DAGSTER_PORT=3100 mltrainer up")
def up() -> None:
    """Serve Dagster, MLflow and, without keys, the local exchange on 127.0.0.1 until Ctrl-C; stops them together."""
    from mltrainer_pipelines.ops import state_dir
    from mltrainer_pipelines.ops.supervisor import require_startable, run_up

    settings = _settings()

    def ready(addresses: dict[str, str]) -> None:
        width = max(map(len, addresses))
        print("\nmlTrainer is up" + (" on a simulated market" if settings.market_kind == "simulated" else ""), flush=True)  # noqa: T201
        for name, address in addresses.items():
            print(f"  {name:<{width}}  {address}", flush=True)  # noqa: T201
        print(f"  logs: {state_dir.logs(settings) / 'up.log'}\nCtrl-C stops everything.", flush=True)  # noqa: T201

    with _readable_errors():
        require_startable(settings)
        typer.echo(f"Starting mlTrainer in {settings.state} …", err=True)
        log = state_dir.log_file(settings)
        with open(log, "a", buffering=1) as output:
            code = run_up(settings, output, ready)
    raise typer.Exit(code)


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
    with _readable_errors():
        serve(settings, port=settings.exchange_port if port is None else port, calls_per_minute=calls_per_minute)


@app.command(epilog="Example: mltrainer models --json | jq '.[].id'")
def models(as_json: AsJson = False) -> None:
    """List the model catalogue."""
    from rich.console import Console
    from rich.table import Table

    from mltrainer_pipelines.models.registry import list_models

    specs = list_models()
    if as_json:
        _print_json([{name: getattr(spec, name) for name in ("id", "family", "core", "source", "gpu", "cost")} for spec in specs])
        return
    table = Table("id", "family", "core", "cost", "good at")
    for spec in specs:
        table.add_row(spec.id, spec.family, "yes" if spec.core else "", spec.cost, spec.summary)
    Console().print(table)


@app.command(epilog="Example: mltrainer doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Look at what this installation needs and say what is missing; exit code 1 where something stops it from working."""
    from dataclasses import asdict

    from mltrainer_pipelines.commands.doctor import examine

    findings = examine(_settings())
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<18} {finding.detail}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command(epilog="Example: mltrainer bench · mltrainer bench alpha158 barriers --json")
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run; all of them by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print our timings beside those of peers, measured in this one run; exit code 1 where a bar is not met."""
    from rich.console import Console
    from rich.table import Table

    from mltrainer_pipelines.commands.bench import run_benchmarks

    with _readable_errors():
        rows = run_benchmarks(names or [], Console(stderr=True))
    if as_json:
        _print_json(rows)
    else:
        table = Table("benchmark", "seconds", "peer", "its seconds", "ratio", "bar", "met")
        for row in rows:
            peer_seconds = "" if row["peer_seconds"] is None else f"{row['peer_seconds']:.2f}"
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            met = "yes" if row["met"] else "NO"
            table.add_row(row["name"], f"{row['seconds']:.3f}", row["peer"] or "", peer_seconds, ratio, row["bar"], met)
        Console().print(table)
    raise typer.Exit(0 if all(row["met"] for row in rows) else 1)


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

    from mltrainer_pipelines.ops.trial_launch import submit_trial

    console = Console(stderr=True)
    with _readable_errors():
        submitted = submit_trial(_settings(), _read(file), console, wait=wait)
    if as_json:
        _print_json(submitted)
    else:
        print(f"{submitted['trial_id']}: {submitted['status']}")  # noqa: T201


@trial_app.command("rollback", epilog="Example: mltrainer trial rollback short --reason 'recommends one sector only' --json")
def trial_rollback(
    timeframe: Annotated[str, typer.Argument(help="short or long.")],
    to: Annotated[str | None, typer.Option(help="A registered version; by default that of the champion before.")] = None,
    reason: Annotated[str, typer.Option(help="Kept with the rollback.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let an earlier champion score the market again; done twice it changes nothing."""
    from rich.console import Console

    from mltrainer_pipelines.ops.trial_launch import rolled_back

    with _readable_errors():
        found = rolled_back(_settings(), timeframe, to, reason, Console(stderr=True))
    if as_json:
        _print_json(found)
    else:
        what = "scores the market now" if found["changed"] else "scores the market already"
        print(f"{timeframe}: version {found['version']} ({found['trial_id']}, {found['grade']}) {what}")  # noqa: T201


BarsFile = Annotated[Path, typer.Option("--bars", help="Parquet or CSV: date, symbol, open, high, low, close, volume.")]
OutFile = Annotated[Path, typer.Option("--out", help="Parquet or CSV file to write.")]


@app.command(
    epilog="Examples: mltrainer features --bars bars.parquet --set alpha158 --out features.parquet --workers 2 --json; "
    "mltrainer features --bars bars.parquet --macro macro.csv --set macro --out features.parquet"
)
def features(
    bars: BarsFile,
    out: OutFile,
    feature_set: Annotated[
        str, typer.Option("--set", help="momentum, technical, alpha158, cross_section, macro or default.")
    ] = "default",
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
    """Compute a feature set on a file of daily bars: no Dagster, no services."""
    with _readable_errors():
        from mltrainer_pipelines.features.files import features_of_file

        done = features_of_file(bars, feature_set, out, workers, macro)
    if as_json:
        _print_json({"rows": done.rows, "features": done.columns, "seconds": round(done.seconds, 4)})
    else:
        print(f"{out}: {done.rows:,} rows, {done.columns} features, computed in {done.seconds:.2f} s")  # noqa: T201


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
    with _readable_errors():
        from mltrainer_pipelines.contracts.timeframes import get_timeframe
        from mltrainer_pipelines.features.files import labels_of_file
        from mltrainer_pipelines.features.labels.barriers import Barriers

        done = labels_of_file(bars, get_timeframe(timeframe), out, Barriers(target, stop), cost_bps)
    if as_json:
        _print_json({"rows": done.rows, "known": done.known, "seconds": round(done.seconds, 4)})
    else:
        print(f"{out}: {done.rows:,} rows, {done.known:,} known, computed in {done.seconds:.2f} s")  # noqa: T201


@audit_app.command("causality", epilog="Example: mltrainer audit causality --set momentum --json | jq .passed")
def audit_causality(
    feature_set: Annotated[str | None, typer.Option("--set", help="One feature set; all of them by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute everything again on data that end early, and on data whose future is noise: the past must not change."""
    from mltrainer_pipelines.audits.causality import audit_simulated_market

    with _readable_errors():
        found = audit_simulated_market(feature_set)
    if as_json:
        _print_json(found.as_dict())
    else:
        print(found.text())  # noqa: T201
    raise typer.Exit(0 if found.passed else 1)


@audit_app.command("learning", epilog="Example: mltrainer audit learning --json | jq .passed")
def audit_learning(
    symbols: Annotated[int, typer.Option(min=20, help="Companies of the simulated markets.")] = 60, as_json: AsJson = False
) -> None:
    """Prove on simulated markets that the weights follow a premium that flips, and that nothing is claimed where nothing is."""
    from mltrainer_pipelines.audits.learning import audit, text

    with _readable_errors():
        found = audit(symbols)
    if as_json:
        _print_json(found)
    else:
        print(text(found))  # noqa: T201
    if not found["passed"]:
        raise typer.Exit(1)


@portfolio_app.command("replay", epilog="Example: mltrainer portfolio replay --from 2026-01-02 --to 2026-06-30 --json")
def portfolio_replay(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last session.")],
    as_json: AsJson = False,
) -> None:
    """Live through a period session by session, with what was known then; nothing is written."""
    from rich.console import Console

    from mltrainer_pipelines.commands.replay import replayed, shown

    with _readable_errors():
        found = replayed(_settings(), first.date(), last.date(), Console(stderr=True))
    if as_json:
        _print_json(found)
    else:
        print(shown(found))  # noqa: T201


@audit_app.command("null", epilog="Example: mltrainer audit null --trials 50 --json | jq .false_promotions")
def audit_null(
    trials: Annotated[int, typer.Option(min=2, help="Trials drawn at random from the model catalogue.")] = 50,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, each in a process of its own.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Run many trials on a simulated market in which nothing can be predicted: none may come out proven.

    Trials that have ended are kept in mlTrainer's home: stopped, it goes on where it was.
    """
    from mltrainer_pipelines.audits import null

    cache = _settings().mltrainer_home.expanduser() / "audits"
    with _readable_errors(), _progress(f"{trials} trials without a premium") as advance:
        found = null.audit_null(trials, progress=advance, cache=cache, at_once=workers)
    _show_audit(found, as_json)


@audit_app.command("planted", epilog="Example: mltrainer audit planted --seed 3 --json | jq .trials")
def audit_planted(
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated market.")] = 7, as_json: AsJson = False
) -> None:
    """Run the core models on a simulated market with a premium: they have to find it and to know what it is worth."""
    from mltrainer_pipelines.audits import planted
    from mltrainer_pipelines.audits.simulated_market import AuditMarket

    with _readable_errors(), _progress("Trials on a planted premium") as advance:
        found = planted.audit_planted(AuditMarket(seed=seed), progress=advance)
    _show_audit(found, as_json)


@audit_app.command("calibration", epilog="Example: mltrainer audit calibration --json | jq '.trials[].calibration_error'")
def audit_calibration(
    markets: Annotated[int, typer.Option(min=1, help="Simulated markets, of consecutive seeds.")] = 4, as_json: AsJson = False
) -> None:
    """Compare the probabilities of the core models with what came, out of sample, over several simulated markets."""
    from mltrainer_pipelines.audits import calibration

    with _readable_errors(), _progress(f"Probabilities over {markets} markets") as advance:
        found = calibration.audit_calibration(markets, progress=advance)
    _show_audit(found, as_json)


@agent_app.command("status", epilog="Example: mltrainer agent status --json | jq .budget")
def agent_status(as_json: AsJson = False) -> None:
    """Show what the agent may do and has cost today, and which of its actions wait or run."""
    from mltrainer_pipelines.agent import commands, ledger, queries
    from mltrainer_pipelines.agent.intents import Lookup
    from mltrainer_pipelines.agent.sanitize import plain
    from mltrainer_pipelines.ops.agent import provided_agent

    settings = _settings()
    with _readable_errors(), provided_agent(settings) as agent:
        if not as_json:
            print(commands.answer(agent.system, Lookup("status"))[0])  # noqa: T201
            return
        days = [vars(day) for day in ledger.spending_by_day(agent.system.engine)]
        model = settings.mltrainer_agent_model if agent.claude else None
        _print_json(plain({**queries.status(agent.system), "model": model, "spending": days}))


@agent_app.command("chat", epilog="Example: mltrainer agent chat 'start momentum analysis' yes")
def agent_chat(
    messages: Annotated[
        list[str] | None, typer.Argument(help="What to say, one message after the other; none: a conversation.")
    ] = None,
    session: Annotated[str, typer.Option(help="Name of the conversation; the same name goes on where it ended.")] = "terminal",
    as_json: AsJson = False,
) -> None:
    """Talk to the agent. Without ANTHROPIC_API_KEY it understands commands; `help` lists them."""
    from mltrainer_pipelines.ops.agent import provided_agent

    events: list[dict[str, Any]] = []
    by_claude = _settings().anthropic_api_key is not None

    def show(event: Any) -> None:
        if as_json:
            events.append({"kind": event.kind, **event.data} if "kind" not in event.data else {"event": event.kind, **event.data})
        elif event.kind in ("text", "notice"):
            typer.echo(event.data["text"], nl=event.kind == "notice")
        elif event.kind == "tool":
            typer.echo(f"  [{event.data['name']}]")
        elif event.kind == "action":
            typer.echo(
                f"  action {event.data['id']}, {event.data['status']}: {event.data.get('progress') or event.data['summary']}"
            )
        elif event.kind == "result" and by_claude:
            typer.echo(event.data["text"])
        elif event.kind == "done":
            typer.echo("")

    def typed() -> Iterator[str]:
        while True:
            try:
                yield input("you> ")
            except EOFError:
                return

    with _readable_errors(), provided_agent(_settings()) as agent:
        for text in messages or typed():
            for event in agent.chat(session, text):
                show(event)
            for event in agent.follow(session):
                show(event)
    if as_json:
        _print_json(events)


@agent_app.command("stop", epilog="Example: mltrainer agent stop --reason 'too many trials'")
def agent_stop(
    reason: Annotated[str, typer.Option(help="Kept with the change.")] = "stopped by hand", as_json: AsJson = False
) -> None:
    """Switch the agent off and stop everything it started; `agent resume` switches it on again."""
    from mltrainer_pipelines.agent.autonomy import halt
    from mltrainer_pipelines.ops.agent import provided_agent

    with _readable_errors(), provided_agent(_settings()) as agent:
        system = agent.system
        halted = halt(system.engine, system.launcher, "user", reason, system.clock())
    if as_json:
        _print_json(vars(halted))
    else:
        done = f"{len(halted.proposals)} proposals and {len(halted.actions)} actions rejected, {len(halted.jobs)} jobs cancelled"
        print(f"The agent is off: {done}.")  # noqa: T201


@agent_app.command("resume", epilog="Example: mltrainer agent resume")
def agent_resume() -> None:
    """Switch the agent on again."""
    from mltrainer_pipelines.ops.agent import provided_agent
    from mltrainer_pipelines.store import runtime_settings

    with _readable_errors(), provided_agent(_settings()) as agent:
        runtime_settings.put(agent.system.engine, "agent_enabled", True, "user", "resumed by hand")
    print("The agent is on.")  # noqa: T201


@agent_app.command("compare", epilog="Example: mltrainer agent compare --trials 24 --seeds 3 --plot proposers.png --json")
def agent_compare(
    trials: Annotated[int, typer.Option(min=1, help="For each proposer and seed.")] = 24,
    batch: Annotated[int, typer.Option(min=1, help="Trials proposed at once, before their results are known.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, each from nothing.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="Draw the courses into this file (.png, .svg, .pdf).")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the proposers on a small simulated market: the best score out of sample against the number of trials."""
    from mltrainer_pipelines.audits.proposer_comparison import text
    from mltrainer_pipelines.commands.compare_proposers import compare_proposers

    with _readable_errors(), _progress("Trials") as advance:
        found = compare_proposers(_settings(), trials, batch, seeds, plot, advance)
    if as_json:
        _print_json(found)
    else:
        print(text(found))  # noqa: T201


def main() -> None:
    """Entry point of the `mltrainer` command."""
    app()


def _settings() -> Any:
    from mltrainer_pipelines.settings import get_settings

    with _readable_errors():
        return get_settings()


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn an error that its author wrote for the user into one line and exit code 1; others keep their trace."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, OSError) as error:
        if not type(error).__module__.startswith("mltrainer_pipelines"):
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def _which_market(settings: Any) -> str:
    if settings.market_kind == "simulated":
        return "mlTrainer demo on a [bold]simulated[/] market: none of its prices or results are real."
    if settings.market_kind == "replay":
        return f"mlTrainer demo on the recording {settings.mltrainer_exchange.removeprefix('replay:')}"
    return "mlTrainer demo on Polygon's data"


def _show_audit(found: Any, as_json: bool) -> None:
    if as_json:
        _print_json(found.as_dict())
    else:
        print(found.text())  # noqa: T201
    raise typer.Exit(0 if found.passed else 1)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error; gives the function that is told what is being done and which share of it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    if not console.is_terminal:  # a bar is drawn once, at its end, where it cannot be drawn over: lines tell more
        yield lambda doing, share: typer.echo(f"{what}: {share:4.0%} {doing}", err=True)
        return
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda doing, share: bar.update(task, completed=share, description=f"{what}: {doing}")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")


def _read(path: Path) -> str:
    if not path.is_file():
        raise typer.BadParameter(f"{path} does not exist")
    return path.read_text()


if __name__ == "__main__":
    main()
