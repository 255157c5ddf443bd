"""Rehearsed trials of an audit, kept as they end: an audit of hours that is stopped goes on where it was.

A result is used again only for the same trial, on the same market, by the same code.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from mltrainer_pipelines.settings import PROJECT_ROOT
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.validation.run_in_memory import History, Rehearsed, rehearse_one

_CODE = ("exchange", "features", "market", "models", "trials", "contracts", "audits")
_history: History | None = None


def rehearsals(
    configs: Sequence[TrialConfig],
    market: object,
    make_history: Callable[[], History],
    cost_bps: float,
    folder: Path | None,
    at_once: int,
) -> Iterator[Rehearsed]:
    """Trials as they end, those kept before first.

    Parameters
    ----------
    market : object
        What the history is made of; its `repr` says which one it is.
    make_history : callable
        Makes it, in each process that needs it.
    folder : Path or None
        Where results are kept; None keeps none.
    at_once : int
        Processes; 1 works in this one.
    """
    places = {config: _place(folder, config, market) for config in configs}
    missing = []
    for config, place in places.items():
        if place is not None and place.exists():
            yield pickle.loads(place.read_bytes())  # noqa: S301 - a file of ours, in our home
        else:
            missing.append(config)
    for trial in _rehearsed(missing, make_history, cost_bps, at_once):
        place = places[trial.config]
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = place.with_suffix(".part")
            draft.write_bytes(pickle.dumps(trial))
            draft.replace(place)
        yield trial


def _rehearsed(
    configs: Sequence[TrialConfig], make_history: Callable[[], History], cost_bps: float, at_once: int
) -> Iterator[Rehearsed]:
    if not configs:
        return
    if at_once < 2:
        history = make_history()
        yield from (rehearse_one(config, history, cost_bps) for config in configs)
        return
    # a fork of a process with threads may hang; a spawned one begins clean
    with ProcessPoolExecutor(at_once, get_context("spawn"), _begin, (make_history(),)) as pool:
        running = [pool.submit(_one, config, cost_bps) for config in configs]
        try:
            for ended in as_completed(running):
                yield ended.result()
        finally:
            for waiting in running:
                waiting.cancel()


def _begin(history: History) -> None:
    global _history
    _history = history


def _one(config: TrialConfig, cost_bps: float) -> Rehearsed:
    if _history is None:
        raise RuntimeError("a process of the audit was started without its history")
    return rehearse_one(config, _history, cost_bps)


def _place(folder: Path | None, config: TrialConfig, market: object) -> Path | None:
    if folder is None:
        return None
    digest = hashlib.sha256(repr(market).encode())
    for part in _CODE:
        for path in sorted((PROJECT_ROOT / "mltrainer_pipelines" / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return folder / digest.hexdigest()[:16] / f"{config.trial_id}.pickle"
