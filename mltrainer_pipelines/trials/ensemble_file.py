"""The file of a champion: written into the model registry, and read back by our own code and by MLflow's.

MLflow finds `_load_pyfunc` by this module's name, which every registered version holds: do not rename the module.
"""

import io
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import polars as pl

from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble

if TYPE_CHECKING:
    import pandas as pd

FILE = "ensemble.pkl"

_MOVED = {
    "trials.calibration": "trials.scoring.calibration",
    "trials.ensemble": "trials.registry.ensemble",
    "features.barriers": "features.labels.barriers",
    "features.timeframes": "contracts.timeframes",
    "models.networks": "models.networks.single_rows",
    "models.network_model": "models.networks.model",
    "models.network_training": "models.networks.training",
    "models.sequences": "models.networks.sequences",
    "models.regressions": "models.weighted_sums",
    "models.series": "models.series.forecasts",
    "models.series_estimation": "models.series.estimation",
    "models.series_filters": "models.series.filters",
    "models.series_shapes": "models.series.shapes",
}
"""Where classes are now that champions registered before December 2026 name by their old modules."""
_MOVED_CLASSES = {
    ("models.boosters", "LightGBMForest"): ("models.boosters", "LightGBMClassifier"),
    ("models.linear", "TailClipScaler"): ("models.scaling", "TailClipScaler"),
    ("models.table_model", "MedianFill"): ("models.scaling", "MedianFill"),
    ("models.table_model", "Unchanged"): ("models.scaling", "RowsAsTheyAre"),
    ("models.table_model", "Sigmoid"): ("models.calibration", "Sigmoid"),
}
"""Those that left a module which stayed, or became another class."""

_LIBRARIES = frozenset({"numpy", "scipy", "sklearn", "lightgbm", "xgboost", "catboost", "river"})
_OUR_ROOMS = frozenset({"contracts", "features", "models", "trials"})
"""Whose classes a model may be made of."""
_ALLOWED = frozenset(
    {
        *("builtins.int", "builtins.float", "builtins.set", "builtins.frozenset", "builtins.slice", "builtins.bytearray"),
        *("collections.OrderedDict", "collections.defaultdict", "collections.deque", "datetime.date", "datetime.datetime"),
        *("functools.partial", "random.Random", "types.SimpleNamespace", "copyreg._reconstructor"),
        *("numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "numpy._core.numeric._frombuffer"),
        *(f"numpy.random._pickle.__{name}_ctor" for name in ("bit_generator", "generator", "randomstate")),
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        *("sklearn.metrics._dist_metrics.newObj", "sklearn.neighbors._kd_tree.newObj", "sklearn.neighbors._ball_tree.newObj"),
    }
)
"""Beside them: classes of Python's own, and the functions by which libraries rebuild their arrays."""


def write_ensemble(ensemble: ChampionEnsemble, folder: Path) -> Path:
    """Write it into a folder; returns the file."""
    path = folder / FILE
    path.write_bytes(pickle.dumps(ensemble, protocol=5))
    return path


def read_ensemble(content: bytes) -> ChampionEnsemble:
    """The champion in the content of a file that `write_ensemble` wrote; nothing in it is run (`unpickled`)."""
    ensemble = unpickled(content)
    if not isinstance(ensemble, ChampionEnsemble):
        raise TypeError(f"it holds a {type(ensemble).__name__}, not a champion; materialize champion_model again")
    return ensemble


def unpickled(content: bytes) -> object:
    """The object of a pickle of ours, also where an earlier version wrote it.

    A pickle can name any function to be called. This reader makes objects of the classes of known libraries and calls the few
    functions by which NumPy, SciPy and scikit-learn rebuild their arrays; `pickle.UnpicklingError` names anything else.
    """
    return _Unpickler(io.BytesIO(content)).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        package, _, rest = module.partition(".")
        if name == "NetworkModel":  # networks fitted before December 2026 do not hold their architecture: it is declared there
            from mltrainer_pipelines.models.networks import sequences, single_rows  # noqa: F401
        if (rest, name) == ("models.boosters", "_Once"):  # what a fitted ranker held, and does not read again
            return SimpleNamespace
        if package == "mltrainer_pipelines":
            rest, name = _MOVED_CLASSES.get((rest, name), (_MOVED.get(rest, rest), name))
            module = f"{package}.{rest}"
        ours = package == "mltrainer_pipelines" and rest.partition(".")[0] in _OUR_ROOMS
        allowed = f"{module}.{name}" in _ALLOWED
        value = super().find_class(module, name) if ours or allowed or package in _LIBRARIES else None
        # a dotted name, or one that a module has imported, would lead anywhere
        own = isinstance(value, type) and "." not in name and value.__module__.partition(".")[0] in {package, "builtins"}
        if not allowed and not own:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a model")
        return value


def example_rows(ensemble: ChampionEnsemble, features: pl.DataFrame) -> "pd.DataFrame":
    """A few rows as `ServedEnsemble` is asked: the last ones or, where the past is read, a few symbols' last sessions."""
    names = list(ensemble.feature_names)
    if not ensemble.look_back:
        return features.select(names).tail(5).to_pandas()
    last = features.select("date", "symbol", *names).filter(pl.col("symbol").is_in(features["symbol"].tail(3).implode()))
    days = last["date"].unique().sort().tail(ensemble.look_back + 1)
    return last.filter(pl.col("date") >= days[0]).sort("date", "symbol").to_pandas()


class ServedEnsemble:
    """The champion as MLflow serves it: pandas in, pandas out."""

    def __init__(self, ensemble: ChampionEnsemble):
        self.ensemble = ensemble

    def predict(self, features: "pd.DataFrame", params: dict[str, object] | None = None) -> "pd.DataFrame":
        """Score rows of feature columns; returns the columns of `ChampionEnsemble.predict` but date and symbol.

        Give all rows of one session: members compare them with each other. Where a member reads the sessions before, give theirs
        too, and the columns date and symbol that tell them apart.
        """
        rows = pl.from_pandas(features)
        if self.ensemble.look_back:
            rows = rows.with_columns(pl.col("date").cast(pl.Date))
        else:
            rows = rows.with_columns(date=pl.lit(self.ensemble.as_of), symbol=pl.lit(""))
        return self.ensemble.predict(rows).drop("date", "symbol").to_pandas()


def _load_pyfunc(path: str) -> ServedEnsemble:
    file = Path(path)
    return ServedEnsemble(read_ensemble((file / FILE if file.is_dir() else file).read_bytes()))
