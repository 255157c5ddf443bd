"""The library of factors in PostgreSQL: nothing is screened twice, everything tried counts, sets never change."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mltrainer_pipelines.features import registry
from mltrainer_pipelines.features.discovered import follow
from mltrainer_pipelines.features.registry import UnknownFeatureSetError, feature_sets, get_feature_set
from mltrainer_pipelines.features.versions import all_versions, version_of
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.factors import library
from mltrainer_pipelines.trials.factors.discovery import write_discovered
from mltrainer_pipelines.trials.factors.library import Idea
from mltrainer_pipelines.trials.factors.screening import Screen, Verdict

NOW = datetime(2026, 5, 4, 20, tzinfo=UTC)
SCREEN = Screen(0.05, 4.0, 0.04, 3.9, 3.8, 1.0, 0.3)


def accept(database: Database, expression: str) -> str:
    (factor,), _ = library.propose(database.engine, "short", [Idea(expression, "because")], "user", NOW)
    library.save_verdict(
        database.engine, factor.factor_id, Verdict(True, "accepted", SCREEN, SCREEN, 1e-6, screened=3), NOW, "run", "data"
    )
    return factor.factor_id


def test_one_expression_is_one_factor_however_it_is_written(database: Database) -> None:
    stored, refused = library.propose(
        database.engine, "short", [Idea("Mean($close,5)/$close"), Idea("sma(close, 5)/close"), Idea("close +")], "user", NOW
    )
    assert [factor.expression for factor in stored] == ["(Mean(close, 5) / close)"]
    assert "in the library already, proposed" in refused[0].reason
    assert "character" in refused[1].reason
    other, _ = library.propose(database.engine, "long", [Idea("Mean(close,5)/close")], "user", NOW)
    assert other[0].factor_id != stored[0].factor_id


def test_what_a_search_tried_counts_as_screened_and_can_be_taken_up_once(database: Database) -> None:
    tries = {"(Mean(close, 5) / close)": SCREEN, "(Mean(close, 7) / close)": None}
    library.record_tries(database.engine, "short", tries, "evolve", NOW, "run")
    library.record_tries(database.engine, "short", tries, "evolve", NOW, "again")
    assert library.screened(database.engine) == 2
    assert library.expressions_known(database.engine, "short") == set(tries)
    (factor,), refused = library.propose(database.engine, "short", [Idea("Mean(close, 5)/close", "reversal")], "evolve", NOW)
    assert (factor.status, refused) == ("proposed", [])
    assert library.screened(database.engine) == 2


def test_a_verdict_stays_and_its_p_is_remembered(database: Database) -> None:
    factor_id = accept(database, "Mean(close, 5)/close")
    assert library.judged(database.engine) == [1e-6]
    _, refused = library.propose(database.engine, "short", [Idea("Mean(close, 5)/close")], "claude", NOW)
    assert "already, accepted" in refused[0].reason
    library.retire(database.engine, factor_id, "it stopped", NOW)
    library.retire(database.engine, factor_id, "again", NOW)
    assert (library.get_factor(database.engine, factor_id).status, library.counts(database.engine)) == ("retired", {"retired": 1})
    with pytest.raises(library.UnknownFactorError, match="there is no factor"):
        library.get_factor(database.engine, "nosuch")


def test_accepted_factors_are_a_feature_set_that_trials_name_and_that_never_changes(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_sources", [])
    lake, before = Lake(str(tmp_path)), all_versions()
    follow(lake)
    assert write_discovered(database.engine, lake, "short", date(2026, 5, 4)) is None
    first = accept(database, "Mean(close, 5)/close")
    assert write_discovered(database.engine, lake, "short", date(2026, 5, 4)) == "discovered_short_1"
    assert write_discovered(database.engine, lake, "short", date(2026, 5, 5)) == "discovered_short_1"
    version = version_of("discovered_short_1")
    trial = TrialConfig.parse({"model": "lightgbm", "timeframe": "short", "feature_set": "discovered_short_1"})
    accept(database, "Std(log_return, 7)")
    library.retire(database.engine, first, "it stopped", NOW)
    assert write_discovered(database.engine, lake, "short", date(2026, 5, 6)) == "discovered_short_2"
    assert version_of("discovered_short_1") == version == trial.feature_set_version
    assert len(get_feature_set("discovered_short_2").names) == len(get_feature_set("default").names) + 1
    assert feature_sets()[-3:] == ["discovered_short_1", "discovered_short_2", "default"]
    assert all_versions() == before
    with pytest.raises(UnknownFeatureSetError, match="discovered_short_2"):
        get_feature_set("discovered_short_3")
