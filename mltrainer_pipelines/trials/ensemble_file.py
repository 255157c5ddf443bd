"""The file of a champion: written into the model registry, and read back by our own code and by MLflow's.

MLflow finds `_load_pyfunc` by this module's name, which every registered version holds: do not rename the module.
"""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mltrainer_pipelines.trials.ensemble import ChampionEnsemble

if TYPE_CHECKING:
    import pandas as pd

FILE = "ensemble.pkl"


def write_ensemble(ensemble: ChampionEnsemble, folder: Path) -> Path:
    """Write it into a folder; returns the file."""
    path = folder / FILE
    path.write_bytes(pickle.dumps(ensemble, protocol=5))
    return path


def read_ensemble(path: Path) -> ChampionEnsemble:
    """Read a file that `write_ensemble` wrote. A pickle runs code: give files of our own registry only."""
    ensemble = pickle.loads(path.read_bytes())  # noqa: S301 - written by write_ensemble into our own registry
    if not isinstance(ensemble, ChampionEnsemble):
        raise TypeError(f"{path} holds a {type(ensemble).__name__}, not a champion; materialize champion_model again")
    return ensemble


class ServedEnsemble:
    """The champion as MLflow serves it: pandas in, pandas out."""

    def __init__(self, ensemble: ChampionEnsemble):
        self.ensemble = ensemble

    def predict(self, features: "pd.DataFrame", params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Score rows of feature columns; returns the columns of `ChampionEnsemble.predict` but date and symbol.

        Give all rows of one session: members compare them with each other.
        """
        rows = pl.from_pandas(features).with_columns(date=pl.lit(self.ensemble.as_of), symbol=pl.lit(""))
        return self.ensemble.predict(rows).drop("date", "symbol").to_pandas()


def _load_pyfunc(path: str) -> ServedEnsemble:
    place = Path(path)
    return ServedEnsemble(read_ensemble(place / FILE if place.is_dir() else place))
