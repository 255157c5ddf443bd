"""`mltrainer agent compare`: the comparison of proposers, with Claude where this installation has a key."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mltrainer_pipelines.agent.comparison import TrialRunner
from mltrainer_pipelines.audits import proposer_comparison
from mltrainer_pipelines.ops.agent import claude_of
from mltrainer_pipelines.ops.databases import provided_databases
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database


def compare_proposers(
    settings: Settings,
    trials: int,
    batch: int,
    seeds: int,
    plot_file: Path | None,
    on_trial: Callable[[str, float], None] = lambda _what, _share: None,
    runner: TrialRunner | None = None,
) -> dict[str, object]:
    """`audits.proposer_comparison.compare_proposers`; what Claude is asked is recorded in this home's database."""
    compare = partial(proposer_comparison.compare_proposers, trials, batch, seeds, plot_file, on_trial=on_trial, runner=runner)
    if settings.anthropic_api_key is None:
        return compare()
    with provided_databases(settings) as urls:
        database = Database(urls["mltrainer"])
        try:
            return compare(claude=claude_of(settings, database.engine))
        finally:
            database.dispose()
