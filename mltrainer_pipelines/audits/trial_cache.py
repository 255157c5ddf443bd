"""Trials of an audit, stored as they end: an audit of hours that is stopped goes on where it was.

A result is used again only for the same trial, on the same market, by the same code.
"""

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from mltrainer_pipelines.audits.simulated_market import COST_BPS, AuditMarket, simulated_history
from mltrainer_pipelines.settings import PROJECT_ROOT
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.validation.run_in_memory import History, TrialResult, run_one_in_memory

_CODE = ("exchange", "features", "market", "models", "trials", "contracts", "audits")
_history: History | None = None


def cached_trials(
    configs: Sequence[TrialConfig], market: AuditMarket, folder: Path | None, at_once: int
) -> Iterator[TrialResult]:
    """Trials on a simulated market as they end, those of the cache first.

    Without a folder no result is stored. `at_once` is the number of processes; 1 works in this one.
    """
    if folder is None:
        yield from _computed(configs, market, at_once)
        return
    cache = folder / _version(market)
    cache.mkdir(parents=True, exist_ok=True)
    files = {config: cache / f"{config.trial_id}.pickle" for config in configs}
    cached = [config for config, file in files.items() if file.exists()]
    for config in cached:
        yield pickle.loads(files[config].read_bytes())  # noqa: S301 - a file of ours, in our home
    for trial in _computed([config for config in configs if config not in cached], market, at_once):
        draft = files[trial.config].with_suffix(".part")
        draft.write_bytes(pickle.dumps(trial))
        draft.replace(files[trial.config])
        yield trial


def _computed(configs: Sequence[TrialConfig], market: AuditMarket, at_once: int) -> Iterator[TrialResult]:
    if not configs:
        return
    history = simulated_history(market, configs=configs)
    if at_once < 2:
        yield from (run_one_in_memory(config, history, COST_BPS) for config in configs)
        return
    # a fork of a process with threads may hang; a spawned one begins clean
    with ProcessPoolExecutor(at_once, get_context("spawn"), _begin, (history,)) as pool:
        running = [pool.submit(_one, config) for config in configs]
        try:
            for ended in as_completed(running):
                yield ended.result()
        finally:
            for waiting in running:
                waiting.cancel()


def _begin(history: History) -> None:
    global _history
    _history = history


def _one(config: TrialConfig) -> TrialResult:
    if _history is None:
        raise RuntimeError("a process of the audit was started without its history")
    return run_one_in_memory(config, _history, COST_BPS)


def _version(market: AuditMarket) -> str:
    """A name that changes with the market and with the code that a trial's result depends on."""
    digest = hashlib.sha256(repr(market).encode())
    for part in _CODE:
        for path in sorted((PROJECT_ROOT / "mltrainer_pipelines" / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
