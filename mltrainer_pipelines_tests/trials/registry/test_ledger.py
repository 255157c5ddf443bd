from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import ledger, records
from mltrainer_pipelines.trials.scoring.deflation import Look, luck_of, trial_variance

QUARTERS = [f"{year}-{month:02}-01" for year in range(2020, 2024) for month in (1, 4, 7, 10)]


def look(subject: str, seed: int, daily_sharpe: float | None = None, **changes: object) -> Look:
    means = np.random.default_rng(seed).normal(0.0, 0.001, len(QUARTERS))
    sharpe = float(means.mean() / 0.01) if daily_sharpe is None else daily_sharpe
    quarters = dict(zip(QUARTERS, means.tolist(), strict=True))
    return replace(Look(subject, "short", date(2020, 1, 2), 10.0, 1000, sharpe, quarters), **changes)  # type: ignore[arg-type]


def test_the_same_trial_over_another_span_or_at_another_cost_is_another_look() -> None:
    whole = look("a", 1)
    later = replace(whole, first_session=date(2023, 1, 3), daily_sharpe=0.09)
    cheap = replace(later, cost_bps=2.0, daily_sharpe=0.11)
    assert luck_of([whole, later, cheap]).trials == 3
    assert luck_of([whole, later, cheap], never_scored=4).trials == 7


def test_scored_again_as_data_came_in_a_trial_counts_once() -> None:
    whole = look("a", 1)
    looks = [
        replace(whole, quarters=dict(list(whole.quarters.items())[:many]), daily_sharpe=0.01 * many) for many in range(8, 17)
    ]
    assert luck_of(looks).trials == 1
    recomputed = look("a", 2)
    assert luck_of([*looks, recomputed]).trials == 2


def test_nearly_identical_trials_count_once_and_never_leave_a_variance_of_zero() -> None:
    same = [look(f"t{number}", 1) for number in range(20)]
    assert luck_of(same).trials == 1
    assert luck_of(same).variance == pytest.approx(1 / 999)
    assert trial_variance([0.05] * 20, 1000) == pytest.approx(1 / 999)
    different = [look(f"u{number}", number) for number in range(2, 12)]
    assert luck_of([*same, *different]).trials == 11
    assert luck_of([]).trials == 1


def test_the_ledger_keeps_every_row_of_scored_failed_and_deleted_trials(database: Database) -> None:
    engine = database.engine
    configs = [TrialConfig(model="lightgbm", timeframe="short", seed=seed) for seed in range(3)]
    for config in configs:
        records.register(engine, config)
    assert ledger.luck(engine).trials == 3
    source = ledger.Source("v1", "data", "agent", "run")
    first = look(configs[0].trial_id, 1)
    ledger.record(engine, first, None, source)
    assert ledger.luck(engine).trials == 3
    assert ledger.luck(engine, replace(first, cost_bps=2.0)).trials == 4
    ledger.record(engine, look("deleted-trial", 2), None, source)
    ledger.record(engine, look("a factor", 3), None, source)
    assert ledger.luck(engine).trials == 5
    for change in ("DELETE FROM trial_looks", "UPDATE trial_looks SET daily_sharpe = 0"):
        with pytest.raises(sa.exc.DBAPIError, match="rows are added, never changed or removed"), engine.begin() as connection:
            connection.execute(sa.text(change))
    assert ledger.luck(engine).trials == 5


def test_what_was_submitted_counts_once_whether_it_fails_is_deleted_or_is_scored(database: Database) -> None:
    engine = database.engine
    failed, deleted, kept = (TrialConfig(model="lightgbm", timeframe="short", seed=seed) for seed in range(3))
    for config in (failed, deleted, kept):
        assert records.register(engine, config)
        assert not records.register(engine, config)
    assert ledger.luck(engine).trials == 3
    records.set_status(engine, failed.trial_id, "failed")
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM trials WHERE trial_id = :id"), {"id": deleted.trial_id})
    assert ledger.luck(engine).trials == 3
    ledger.record(engine, look(kept.trial_id, 1), None, ledger.Source("v1", "data", "agent", "run"))
    assert ledger.luck(engine).trials == 3
    assert ledger.luck(engine, look(failed.trial_id, 2)).trials == 3


def test_a_factor_counts_once_however_often_it_is_tried(database: Database) -> None:
    for expression in ("Mean(close, 5)", "Mean(close, 5)", "Mean(close, 6)"):
        ledger.record_factor(database.engine, expression, date(2024, 1, 2), "api")
    assert ledger.luck(database.engine).trials == 2
