"""`mltrainer audit`: its subcommands, each a call of one function of `audits`."""

from pathlib import Path
from typing import Annotated

import typer

from mltrainer_pipelines.commands.terminal import AsJson, print_result, print_verdict, progress_bar

audit_app = typer.Typer(help="Prove what is promised.", no_args_is_help=True)


@audit_app.command("causality", epilog="Example: mltrainer audit causality --set momentum --json | jq .passed")
def audit_causality(
    feature_set: Annotated[str | None, typer.Option("--set", help="One feature set; all of them by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute everything again on data that end early, and on data whose future is noise: the past must not change."""
    from mltrainer_pipelines.audits.causality import audit_simulated_market

    print_verdict(audit_simulated_market(feature_set), as_json)


@audit_app.command("learning", epilog="Example: mltrainer audit learning --json | jq .passed")
def audit_learning(
    symbols: Annotated[int, typer.Option(min=20, help="Companies of the simulated markets.")] = 60, as_json: AsJson = False
) -> None:
    """Prove on simulated markets that the weights follow a premium that flips, and that nothing is claimed where nothing is."""
    from mltrainer_pipelines.audits import learning

    audit = learning.audit(symbols)
    print_result(audit if as_json else learning.text(audit))
    raise typer.Exit(0 if audit["passed"] else 1)


@audit_app.command("null", epilog="Example: mltrainer audit null --trials 50 --json | jq .false_promotions")
def audit_null(
    trials: Annotated[int, typer.Option(min=2, help="Trials drawn at random from the model registry.")] = 50,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, each in a process of its own.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Run many trials on a simulated market in which nothing can be predicted: none may come out proven.

    Trials that have ended are kept in mlTrainer's home: stopped, it goes on where it was.
    """
    from mltrainer_pipelines.audits import null
    from mltrainer_pipelines.settings import get_settings

    cache = get_settings().mltrainer_home.expanduser() / "audits"
    with progress_bar(f"{trials} trials without a premium") as progress:
        audit = null.audit_null(trials, progress=progress, cache=cache, at_once=workers)
    print_verdict(audit, as_json)


@audit_app.command("planted", epilog="Example: mltrainer audit planted --seed 3 --json | jq .trials")
def audit_planted(
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated market.")] = 7, as_json: AsJson = False
) -> None:
    """Run the core models on a simulated market with a premium: they have to find it and to know what it is worth."""
    from mltrainer_pipelines.audits import planted
    from mltrainer_pipelines.audits.simulated_market import AuditMarket

    with progress_bar("Trials on a planted premium") as progress:
        audit = planted.audit_planted(AuditMarket(seed=seed), progress=progress)
    print_verdict(audit, as_json)


@audit_app.command("calibration", epilog="Example: mltrainer audit calibration --json | jq '.trials[].calibration_error'")
def audit_calibration(
    markets: Annotated[int, typer.Option(min=1, help="Simulated markets, of consecutive seeds.")] = 4, as_json: AsJson = False
) -> None:
    """Compare the probabilities of the core models with what came, out of sample, over several simulated markets."""
    from mltrainer_pipelines.audits import calibration

    with progress_bar(f"Probabilities over {markets} markets") as progress:
        audit = calibration.audit_calibration(markets, progress=progress)
    print_verdict(audit, as_json)


@audit_app.command("power", epilog="Example: mltrainer audit power --symbols 120 --years 3 --json | jq .found_short")
def audit_power(
    seeds: Annotated[int, typer.Option(min=1, help="Markets drawn for each case.")] = 20,
    symbols: Annotated[list[int] | None, typer.Option(help="Companies of a market; 120, 200 and 500 by default.")] = None,
    years: Annotated[list[int] | None, typer.Option(help="Years out of sample; 3 and 5 by default.")] = None,
    rank_ic: Annotated[list[float] | None, typer.Option(help="True rank ICs; 0, 0.02, 0.03, 0.05 and 0.10 by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count how often a ranking of known skill is graded proven: in rising, flat and falling markets, at both timeframes."""
    from mltrainer_pipelines.audits import power

    with progress_bar("Scorecards of known skill") as progress:
        audit = power.audit_power(
            seeds, rank_ic or power.RANK_ICS, years or power.YEARS, symbols or power.SYMBOLS, progress=progress
        )
    print_verdict(audit, as_json)


@audit_app.command(
    "skill", epilog="Example: mltrainer audit skill --bars us.parquet --out predictions.parquet --json | jq .verdict"
)
def audit_skill(
    bars: Annotated[Path | None, typer.Option("--bars", help="A recording; this installation's market by default.")] = None,
    size: Annotated[int, typer.Option(min=20, help="The most liquid symbols of each month that are judged.")] = 200,
    out: Annotated[Path | None, typer.Option("--out", help="File for the default models' predictions.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file for the sum of rank ICs over time.")] = None,
    shuffle: Annotated[
        int | None, typer.Option("--shuffle", help="Seed: put each symbol's moves in another order; no skill may remain.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that models are fitted with.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Measure what the default models are worth on a market, beside single features, plain learners and a peer.

    Beside a recording, <stem>.members (symbol, start, end) says who belonged to the universe and <stem>.names (symbol, sector)
    in which sector.
    """
    from mltrainer_pipelines.audits import skill
    from mltrainer_pipelines.audits.skill_market import ingested_market, recorded_market
    from mltrainer_pipelines.settings import get_settings
    from mltrainer_pipelines.store.lake import Lake

    with progress_bar("Skill") as progress:
        progress("reading the market", 0.0)
        market = recorded_market(bars, size, shuffle) if bars else ingested_market(Lake(get_settings().lake_url), size)
        audit = skill.audit_skill(market, progress, threads)
    if out:
        audit.write_predictions(out)
    if plot:
        audit.figure().savefig(plot)
    print_verdict(audit, as_json)


@audit_app.command("discovery", epilog="Example: mltrainer audit discovery --seeds 3 --json | jq '.found, .accepted_on_nothing'")
def audit_discovery(
    seeds: Annotated[int, typer.Option(min=1, help="Markets with a planted rule.")] = 10,
    tries: Annotated[int, typer.Option(min=120, help="Factors that a search computes on each market.")] = 3000,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first market.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Search simulated markets for a rule that pays and is in no feature set, and markets in which nothing pays."""
    from mltrainer_pipelines.audits import discovery

    with progress_bar("Searches on simulated markets") as progress:
        audit = discovery.audit_discovery(seeds, tries, first_seed, progress=progress)
    print_verdict(audit, as_json)
