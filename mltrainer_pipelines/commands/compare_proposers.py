"""`mltrainer agent compare`: the comparison of proposers, with Claude where this installation has a key."""

from collections.abc import Callable
from pathlib import Path

from mltrainer_pipelines.agent.comparison import TrialRunner
from mltrainer_pipelines.audits import proposer_comparison
from mltrainer_pipelines.ops.agent import claude_of
from mltrainer_pipelines.ops.databases import provided_databases
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import ledger
from mltrainer_pipelines.trials.registry.leaderboard import look_of
from mltrainer_pipelines.trials.scoring.scorecard import Scorecard


def compare_proposers(
    settings: Settings,
    trials: int,
    batch: int,
    seeds: int,
    plot_file: Path | None,
    on_trial: Callable[[str, float], None] = lambda _what, _share: None,
    runner: TrialRunner | None = None,
) -> dict[str, object]:
    """`audits.proposer_comparison.compare_proposers`; each scored trial is a look of the ledger in this home's database."""
    runner = runner or proposer_comparison.simulated_runner()
    with provided_databases(settings) as urls:
        database = Database(urls["mltrainer"])

        def record(config: TrialConfig, card: Scorecard) -> None:
            source = ledger.Source(config.feature_set_version, "simulated", "agent compare", None)
            ledger.record(database.engine, look_of(card, runner.cost_bps), card, source)

        runner.on_scored = record
        claude = claude_of(settings, database.engine) if settings.anthropic_api_key else None
        try:
            return proposer_comparison.compare_proposers(
                trials, batch, seeds, plot_file, claude, on_trial=on_trial, runner=runner
            )
        finally:
            database.dispose()
