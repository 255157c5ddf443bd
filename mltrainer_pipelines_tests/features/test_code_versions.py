"""The versions of the feature sets that are kept for the definitions: those of `features.versions`, computed once."""

import json
from pathlib import Path

from mltrainer_pipelines.features.code_versions import CodeVersions, code_versions
from mltrainer_pipelines.features.registry import DEFAULT
from mltrainer_pipelines.features.versions import all_versions, version_of

_TODAY = CodeVersions(version_of(DEFAULT), all_versions())


def test_what_is_kept_is_what_the_sources_say(tmp_path: Path) -> None:
    kept = tmp_path / "made" / "versions.json"
    assert code_versions(kept) == _TODAY
    assert code_versions(kept) == _TODAY
    assert json.loads(kept.read_text())["all_sets"] == _TODAY.all_sets


def test_versions_of_other_sources_and_files_that_cannot_be_read_are_not_believed(tmp_path: Path) -> None:
    kept = tmp_path / "versions.json"
    for written in ('{"digest": "of yesterday", "stored": "0", "all_sets": "0"}', "[]", "not json"):
        kept.write_text(written)
        assert code_versions(kept) == _TODAY


def test_a_place_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert code_versions(tmp_path / "file" / "versions.json") == _TODAY
