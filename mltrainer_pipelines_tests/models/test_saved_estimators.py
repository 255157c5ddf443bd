"""Estimators pickled by the version of November 2026 load and predict as they did: champions of homes made then go on."""

import lzma
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mltrainer_pipelines.models.panel import panel_groups
from mltrainer_pipelines.trials.ensemble_file import unpickled

_FILE = Path(__file__).parent / "saved/estimators_november_2026.pickle.xz"
_ROWS, _CONTEXT = 300, 240


@cache
def _saved() -> dict[str, tuple[bytes, np.ndarray]]:
    """By model: a fitted estimator's pickle, and the probabilities it gave to the rows of `_rows` when it was saved."""
    return pickle.loads(lzma.decompress(_FILE.read_bytes()))


def _rows(width: int) -> tuple[np.ndarray, np.ndarray]:
    session, symbol = np.divmod(np.arange(_ROWS), 3)
    X = np.random.default_rng(5).standard_normal((_ROWS, width)).astype(np.float32)
    return X, panel_groups(session, symbol, sectors=symbol % 3 - 1)


@pytest.mark.parametrize("model", sorted(_saved()))
def test_an_estimator_saved_by_an_earlier_version_predicts_what_it_did(model):
    saved, expected = _saved()[model]
    estimator = unpickled(saved)
    X, groups = _rows(estimator.n_features_in_)
    assert estimator.predict_proba(X, groups, _CONTEXT)[:, 1] == pytest.approx(expected, abs=1e-12)
