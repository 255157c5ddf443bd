"""The windows of a trial as tasks of a Ray cluster, where that is faster than one after the other.

A window depends on the table and on nothing that another window finds (`walk_forward`), so that windows may be computed
anywhere and in any order. Calibration, which does read earlier windows, comes when all of them are there.
"""

from collections.abc import Iterator, Sequence
from datetime import date

from mltrainer_pipelines.trials.validation import scheduling
from mltrainer_pipelines.trials.validation.quarters import FailedQuarter, QuarterPredictions
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

PAYS_FROM_SECONDS = 3.0
"""Seconds of a window from which tasks are worth it: about what a task's process spends on starting and importing."""

Quarter = tuple[date, date]
Ended = QuarterPredictions | FailedQuarter


def predict_quarters(walk: WalkForward, quarters: Sequence[Quarter], pays_from_s: float = PAYS_FROM_SECONDS) -> Iterator[Ended]:
    """Predict quarters in a job of a Ray cluster, each given out as it ends; one that fails leaves the others.

    The first window is computed here: the others become tasks where it took at least `pays_from_s`. The predictions are the
    same bits either way.
    """
    for number, quarter in enumerate(quarters, start=1):
        (ended,) = scheduling.predict_quarters(walk, [quarter])
        yield ended
        slow = isinstance(ended, QuarterPredictions) and ended.seconds >= pays_from_s
        if slow and len(quarters) - number > 1:
            yield from predict_as_tasks(walk, quarters[number:])
            return


def predict_as_tasks(walk: WalkForward, quarters: Sequence[Quarter]) -> Iterator[Ended]:
    """Predict quarters as tasks of the Ray cluster that this process is a job of. Parameters and results as above.

    Tasks begin with the first quarter, wherever a processor is free. One task at a time begins with the last one, on this
    node and on the processor that was reserved for this process, which has nothing else to do: so a trial goes on where the
    cluster is full, and no two trials wait for each other. Where both ends meet, the first result counts and the other
    task is cancelled. Ray starts the tasks of a lost node again elsewhere.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=False, configure_logging=False)
    task = ray.remote(num_cpus=1)(_predict)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    table, own = ray.put(walk), None
    left = list(quarters)
    running = {task.remote(table, quarter): quarter for quarter in quarters}
    try:
        while left:
            if own is None:
                own = task.options(num_cpus=0, scheduling_strategy=here).remote(table, left[-1])
                running[own] = left[-1]
            (first,), _ = ray.wait(list(running), num_returns=1)
            quarter = running[first]
            for ref in [ref for ref, same in running.items() if same == quarter]:
                del running[ref]
                own = None if ref == own else own
                if ref != first:
                    ray.cancel(ref, force=True)
            left.remove(quarter)
            yield ray.get(first)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


def _predict(walk: WalkForward, quarter: Quarter) -> Ended:
    if not walk.X.flags.writeable:
        walk.X = walk.X.copy()  # Ray's shared memory is read-only, and some libraries ask for memory they could write to
    (ended,) = scheduling.predict_quarters(walk, [quarter])
    return ended
