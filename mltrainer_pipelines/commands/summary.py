"""`mltrainer demo` for a reader: its market, the recommendations, what took how long, and what to open next."""

from rich import box
from rich.console import Console
from rich.table import Table

from mltrainer_pipelines.commands.demo import DemoResult, run_demo
from mltrainer_pipelines.settings import Settings

_MAX_ROWS = 25
"""Rows of the table: what fits a screen; all of them are in the asset `recommendations` and in its table."""


def demo_with_summary(settings: Settings, as_json: bool) -> DemoResult:
    """Run the demo and print its progress and summary; with `as_json` the progress alone, on standard error."""
    console = Console(stderr=as_json)
    console.print(_market(settings))
    result = run_demo(settings, console)
    if not as_json:
        _print_summary(console, settings, result)
    return result


def _market(settings: Settings) -> str:
    if settings.market_kind == "simulated":
        return "mlTrainer demo on a [bold]simulated[/] market: none of its prices or results are real."
    if settings.market_kind == "replay":
        return f"mlTrainer demo on the recording {settings.mltrainer_exchange.removeprefix('replay:')}"
    return "mlTrainer demo on Polygon's data"


def _print_summary(console: Console, settings: Settings, result: DemoResult) -> None:
    label = {"simulated": " on a simulated market", "replay": " on a recorded market"}.get(settings.market_kind, "")
    if result.recommendations:
        console.print(_recommendations(result, f"Recommendations{label}"))
    else:
        console.print(
            f"[bold]No recommendations{label}:[/] nothing is good enough now. Each signal says why, in the asset `signals`."
        )
    for timeframe, champion in result.champions.items():
        console.print(f"{timeframe} champion: {champion['trial_id']}, {champion['grade']}, version {champion['model_version']}")
    if any(champion.get("grade") == "candidate" for champion in result.champions.values()):
        console.print("A candidate is the best trial so far, not one whose skill is beyond luck; only `proven` says that.")
    made = {
        "sessions": result.sessions,
        "symbols": result.symbols,
        "trials": len(result.trials),
        "quarters predicted": result.trial_partitions,
        "signals": result.signals,
        "recommendations": len(result.recommendations),
        "virtual positions": result.virtual_positions,
        "Dagster runs": result.dagster_runs,
    }
    console.print(", ".join(f"{count} {what}" for what, count in made.items()))
    console.print(_seconds(result))
    console.print("mlTrainer never places an order. Next: [bold]make up[/], then open")
    console.print(f"  the app  http://127.0.0.1:{settings.app_port}  recommendations, portfolio, chat, trials", highlight=False)
    console.print(f"  Dagster  http://127.0.0.1:{settings.dagster_port}  assets, runs, schedules", highlight=False)
    console.print(f"  MLflow   http://127.0.0.1:{settings.mlflow_port}  trials beside each other, the champions", highlight=False)


def _recommendations(result: DemoResult, title: str) -> Table:
    best = sorted(result.recommendations, key=lambda row: (-row["profit_probability"], row["symbol"]))[:_MAX_ROWS]
    left_out = len(result.recommendations) - len(best)
    table = Table(title=title, caption=f"and {left_out} more" if left_out else None, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("symbol", "for", "grade", "prob.", "conf.", "expected", "entry", "target", "stop"):
        table.add_column(name, justify="left" if name in {"symbol", "for", "grade"} else "right", no_wrap=True)
    for row in best:
        table.add_row(
            row["symbol"],
            row["timeframe"],
            row["grade"],
            f"{row['profit_probability']:.2f}",
            f"{row['confidence']:.2f}",
            f"{row['expected_net_return']:+.1%}",
            *(f"{row[name]:.2f}" for name in ("entry_price", "target_price", "stop_loss")),
        )
    return table


def _seconds(result: DemoResult) -> Table:
    caption = f"Overhead, when no step was computing: {result.overhead:.1f} s"
    table = Table(title="Seconds a stage", box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("of these computing", justify="right")
    for stage, seconds in result.seconds.items():
        table.add_row(stage, f"{seconds:.1f}", f"{result.computing[stage]:.1f}", style="bold" if stage == "total" else None)
    return table
