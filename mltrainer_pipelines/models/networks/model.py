"""Networks as estimators: of single rows, of a symbol's last sessions, or of a session's rows together."""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mltrainer_pipelines.models.calibration import Sigmoid
from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import Declarations, ProbabilityClassifier
from mltrainer_pipelines.models.log_odds import expit, logit
from mltrainer_pipelines.models.panel import History, group_field, in_canonical_order, sessions_of
from mltrainer_pipelines.models.scaling import TailClipScaler
from mltrainer_pipelines.models.spec import Choices, ModelSpec, Range

SEQUENCE_SESSIONS = 20
"""Sessions that a sequence model reads, the row's own among them."""


@dataclass(frozen=True)
class Architecture:
    """A network, a class of `row_layers`, `sequence_layers` or `convolution_layers` with these options, and how it is trained.

    `training` are the fields of `training.Training` that differ from the usual. The probabilities of so many members, trained
    from different seeds, are averaged, and of so many draws with dropout left on; without draws it is off, as usual.
    """

    layer: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sequence: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    members: int = 1
    draws: int = 0

    def network(self, features: int, units: int, layers: int, dropout: float) -> Any:
        """The untrained network for so many features; one of sequences has no choice of `layers`."""
        from mltrainer_pipelines.models.networks import convolution_layers, row_layers, sequence_layers

        if self.sequence:  # one feature more says which sessions are there
            kind = ChainMap(vars(sequence_layers), vars(convolution_layers))[self.layer]
            return kind(features + 1, length=SEQUENCE_SESSIONS, units=units, dropout=dropout, **self.options)
        return getattr(row_layers, self.layer)(features, units=units, layers=layers, dropout=dropout, **self.options)

    @property
    def look_back(self) -> int:
        return SEQUENCE_SESSIONS - 1 if self.sequence else 0

    @property
    def cross_sectional(self) -> bool:
        return self.layer == "SessionAttention"


ARCHITECTURES: Declarations[Architecture] = Declarations()


class NetworkModel(ProbabilityClassifier):
    """A network of the registry. Reads clipped, standardized features, unknown ones at their median.

    A sequence model reads the last `SEQUENCE_SESSIONS` sessions of a row's symbol, as far as the rows given hold them; what
    they do not is padding, marked as such. Without groups that name symbols each row is a sequence of one session. After
    `budget_s` seconds of training no further pass begins.
    """

    def __init__(
        self,
        model: str,
        units: int = 64,
        layers: int = 2,
        dropout: float = 0.1,
        learning_rate: float = 0.003,
        weight_decay: float = 0.01,
        epochs: int = 8,
        batch: int = 1024,
        patience: int = 2,
        budget_s: float = 900.0,
        seed: int = 0,
        threads: int = 1,
    ):
        self.model, self.units, self.layers, self.dropout = model, units, layers, dropout
        self.learning_rate, self.weight_decay, self.epochs, self.batch = learning_rate, weight_decay, epochs, batch
        self.patience, self.budget_s, self.seed, self.threads = patience, budget_s, seed, threads

    @property
    def architecture(self) -> Architecture:
        """How it is built: as it was when it was fitted, before that as it is declared."""
        return self.architecture_ if hasattr(self, "architecture_") else ARCHITECTURES[self.model]

    @property
    def look_back(self) -> int:
        return self.architecture.look_back

    @property
    def cross_sectional(self) -> bool:
        return self.architecture.cross_sectional

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        from mltrainer_pipelines.models.networks import training

        architecture = self.architecture_ = ARCHITECTURES[self.model]
        X, y, groups = in_canonical_order(X, y, groups)
        self.scaler_ = TailClipScaler()
        values = self.scaler_.fit_transform(X)
        self.weights_, self.stopped_ = [], []
        plan = training.Training(
            epochs=int(self.epochs), learning_rate=self.learning_rate, weight_decay=self.weight_decay, batch=int(self.batch),
            patience=int(self.patience), budget_s=self.budget_s / architecture.members, **architecture.training,
        )  # fmt: skip
        for member in range(architecture.members):
            with training.bounded(self.threads, self.seed * 1000 + member) as device:
                network = self._network()
                self.stopped_.append(training.train(network, self._rows(values, groups, device), y, plan, device))
                self.weights_.append({name: value.cpu().numpy() for name, value in network.state_dict().items()})
        self.calibration_ = None
        if architecture.training.get("loss") == "list":  # its log-odds have no level: only their order was learnt
            self.calibration_ = Sigmoid().fit(self._log_odds(values, groups, 0), y)

    def _positive_in_context(self, X: np.ndarray, groups: np.ndarray | None, n_context: int) -> np.ndarray:
        log_odds = self._log_odds(self.scaler_.transform(X), groups, n_context)
        return self.calibration_.probability(log_odds) if self.calibration_ is not None else expit(log_odds)

    def attributions(
        self, X: np.ndarray, baseline: np.ndarray, groups: np.ndarray | None = None, n_context: int = 0, steps: int = 16
    ) -> np.ndarray:
        """What each feature adds to the log-odds of each row from `n_context` on, by integrated gradients; of sequence models.

        They add up to the log-odds of the row's window less those of a window whose known sessions are all the baseline,
        (features,) in the scale of X, NaN where unknown: `gradients`, with so many steps of the path. X, groups and n_context as
        for `predict_proba`; gives (rows, features) float64. Raises `ValueError` if the model reads no sequences, or its log-odds
        are not the answer of one network.
        """
        import torch

        from mltrainer_pipelines.models.networks import training
        from mltrainer_pipelines.models.networks.gradients import integrated_gradients

        architecture = self.architecture
        if not architecture.sequence or len(self.weights_) > 1 or architecture.draws or self.calibration_ is not None:
            raise ValueError(f"{self.model} is not one network of sequences; ask it for its probabilities along the path instead")
        with training.bounded(self.threads, self.seed) as device:
            rows = self._rows(self.scaler_.transform(X), groups, device, n_context)
            start = torch.as_tensor(self.scaler_.transform(baseline[None])[0], device=device)
            return integrated_gradients(self._trained_network(0), rows, start, device, len(X) - n_context, steps)

    def _network(self) -> Any:
        return self.architecture.network(self.n_features_in_, int(self.units), int(self.layers), self.dropout)

    def _rows(self, values: np.ndarray, groups: np.ndarray | None, device: object, n_context: int = 0) -> Any:
        """The table from row `n_context` on; the rows before are only in the windows of those after."""
        import torch

        from mltrainer_pipelines.models.networks.training import Rows

        windows, other, count = None, None, len(values)
        if self.architecture.sequence:
            history = History.of(groups, count)
            windows = torch.as_tensor(history.windows(np.arange(n_context, count), SEQUENCE_SESSIONS), device=device)
            # one column more says that a session is there; position -1 is one that the table does not hold
            values = np.pad(values, ((0, 1), (0, 1)))
            values[:count, -1] = 1.0
        else:
            values = values[n_context:]
        sessions = sessions_of(groups, count)[n_context:]
        if self.architecture.layer == "TwoTimeframes":
            other = torch.as_tensor(group_field(groups, "other", count)[n_context:].copy(), device=device)
        return Rows(torch.as_tensor(values, device=device), windows, sessions, other)

    def _trained_network(self, member: int) -> Any:
        import torch

        network = self._network()
        network.load_state_dict({name: torch.as_tensor(value) for name, value in self.weights_[member].items()})
        return network

    def _log_odds(self, values: np.ndarray, groups: np.ndarray | None, n_context: int) -> np.ndarray:
        from mltrainer_pipelines.models.networks import training

        architecture = self.architecture
        total = np.zeros(len(values) - n_context)
        with training.bounded(self.threads, self.seed) as device:
            rows = self._rows(values, groups, device, n_context)
            for member in range(len(self.weights_)):
                network = self._trained_network(member)
                for draw in range(max(1, architecture.draws)):
                    if architecture.draws:
                        training.keep_dropout(network, seed=draw)
                    total += expit(training.log_odds(network, rows, device, len(total)))
        return logit(total / (len(self.weights_) * max(1, architecture.draws)), least=1e-12)


_SPACE: dict[str, Range | Choices] = {
    "units": Range(8, 256, default=64, log=True, integer=True),
    "dropout": Range(0.0, 0.6, default=0.1),
    "learning_rate": Range(1e-4, 0.03, default=0.003, log=True),
    "weight_decay": Range(1e-5, 1.0, default=0.01, log=True),
    "epochs": Range(1, 50, default=8, log=True, integer=True),
    "batch": Range(64, 8192, default=1024, log=True, integer=True),
}


def declare(
    model: str, architecture: Architecture, summary: str, source: str, *, family: str, core: bool = False, units: int = 64
) -> ModelSpec:
    """Declare a network: its architecture for fitting, its spec for the registry."""
    ARCHITECTURES[model] = architecture
    space = _SPACE | {"units": Range(8, 256, default=units, log=True, integer=True)}
    if not architecture.sequence:
        space["layers"] = Range(1, 4, default=2, integer=True)
    return ModelSpec(
        id=model, family=family, core=core, source=source, summary=summary, cost=cost_of(model), gpu=True, search_space=space,
        look_back=architecture.look_back, cross_sectional=architecture.cross_sectional,
        both_timeframes=architecture.layer == "TwoTimeframes",
        builder=lambda params, seed, threads: NetworkModel(model, **params, seed=seed, threads=threads),
    )  # fmt: skip
