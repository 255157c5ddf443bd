"""The versions of the feature sets, kept beside Python's compiled modules for whoever only loads the definitions.

`features.versions` reads the syntax of every formula and imports numpy for it, half as long as Dagster itself takes to import.
What it gave stays right until a source file changes that formulas may name.
"""

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mltrainer_pipelines import contracts

_FOLDERS = (Path(__file__).parent, Path(str(contracts.__file__)).parent)
_KEPT = _FOLDERS[0] / "__pycache__/code_versions.json"


@dataclass(frozen=True)
class CodeVersions:
    """Of the set that the lake stores, and of all sets together."""

    stored: str
    all_sets: str


def code_versions(kept: Path = _KEPT) -> CodeVersions:
    """As `versions.version_of` and `versions.all_versions` say; kept in a file where one may be written."""
    digest = _digest_of_sources()
    with suppress(OSError, ValueError, TypeError, KeyError):
        read = json.loads(kept.read_text())
        if read.pop("digest") == digest:
            return CodeVersions(**read)
    from mltrainer_pipelines.features.registry import DEFAULT
    from mltrainer_pipelines.features.versions import all_versions, version_of

    versions = CodeVersions(version_of(DEFAULT), all_versions())
    with suppress(OSError):
        kept.parent.mkdir(exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}.part")
        draft.write_text(json.dumps({"digest": digest, **asdict(versions)}))
        draft.replace(kept)
    return versions


def _digest_of_sources() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(path for folder in _FOLDERS for path in folder.rglob("*.py")):
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()
