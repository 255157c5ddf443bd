"""Champions of a demo of November 2026 and features they scored: a later version reads them and says the same of each."""

import lzma
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.trials.ensemble_file import read_ensemble

_SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("timeframe", ["short", "long"])
def test_a_champion_saved_by_an_earlier_version_scores_as_it_did(timeframe):
    file = lzma.decompress((_SAVED / f"champion_{timeframe}_november_2026.pickle.xz").read_bytes())
    scored = read_ensemble(file).predict(pl.read_parquet(_SAVED / "features.parquet"))
    assert_frame_equal(scored, pl.read_parquet(_SAVED / f"predictions_{timeframe}.parquet"), abs_tol=1e-12)
