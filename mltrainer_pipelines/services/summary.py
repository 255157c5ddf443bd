"""What a demo shows at its end: the recommendations, what took how long, and what to open next."""

from rich.console import Console
from rich.table import Table

from mltrainer_pipelines.services.demo import DemoResult
from mltrainer_pipelines.settings import Settings


def show(console: Console, settings: Settings, result: DemoResult) -> None:
    """Print a demo's result for a reader."""
    label = {"simulated": " (simulated market)", "replay": " (recorded market)"}.get(settings.market_kind, "")
    if result.recommendations:
        console.print(_recommendations(result, f"Recommendations{label}"))
    else:
        console.print(f"[bold]No recommendations{label}[/]: nothing is good enough now. The reasons are in the asset `signals`.")
    for timeframe, champion in result.champions.items():
        version = f"version {champion['model_version']}"
        console.print(f"Champion for {timeframe}: {champion['trial_id']} ({champion['grade']}, {version})")
    if any(champion.get("grade") == "candidate" for champion in result.champions.values()):
        console.print("A [bold]candidate[/] is the best trial so far, not one whose skill is beyond luck; only `proven` says that.")
    console.print(
        f"{result.sessions} sessions, {result.symbols} symbols, {len(result.trials)} trials over {result.trial_partitions} quarters, "
        f"{result.signals} signals, {len(result.recommendations)} recommendations, {result.virtual_positions} virtual positions, "
        f"{result.dagster_runs} Dagster runs"
    )
    console.print(_seconds(result))
    console.print(
        "mlTrainer never places an order. Next: [bold]make up[/], then open Dagster at "
        f"http://127.0.0.1:{settings.dagster_port} (assets, runs, schedules) and MLflow at http://127.0.0.1:{settings.mlflow_port}"
    )


def _recommendations(result: DemoResult, title: str) -> Table:
    table = Table(title=title)
    for name in ("symbol", "timeframe", "grade", "strength", "probability", "confidence", "expected", "entry", "target", "stop"):
        table.add_column(name, justify="left" if name in {"symbol", "timeframe", "grade"} else "right")
    for row in result.recommendations:
        table.add_row(
            row["symbol"],
            row["timeframe"],
            row["grade"],
            f"{row['signal_strength']:.2f}",
            f"{row['profit_probability']:.2f}",
            f"{row['confidence']:.2f}",
            f"{row['expected_net_return']:+.1%}",
            *(f"{row[name]:.2f}" for name in ("entry_price", "target_price", "stop_loss")),
        )
    return table


def _seconds(result: DemoResult) -> Table:
    table = Table(title="Seconds a stage")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage, seconds in result.seconds.items():
        table.add_row(stage, f"{seconds:.1f}", style="bold" if stage == "total" else None)
    return table
