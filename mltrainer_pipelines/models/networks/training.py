"""How networks are trained: batches, early stopping on the last sessions, one seed, a bounded time. Imports torch."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch program gives it
from torch import Tensor, nn

VALIDATION = 0.15
"""Last part of the training sessions, on which it is seen when to stop."""
CHUNK = 8192
"""Rows predicted at a time."""


@dataclass(frozen=True)
class Training:
    """How one network is trained: by AdamW in batches of so many rows, or of whole sessions, by the loss 'log' or 'list'.

    Training stops after `patience` passes without a better validation loss, and begins no pass after `budget_s` seconds: a fit
    that this cuts short depends on the machine's speed. `mixup`, `adversarial` and `average` train on mixed rows, on rows moved
    against the network, with the mean of the last weights.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int
    patience: int
    budget_s: float
    loss: str = "log"
    whole_sessions: bool = False
    mixup: bool = False
    adversarial: bool = False
    average: bool = False


@dataclass(frozen=True)
class Rows:
    """A table as the networks read it: values with a last row of zeros, and each row's window of positions in it.

    `windows` is (rows, sessions) for sequences, None for single rows; position -1 is the row of zeros. `other` is the outcome of
    the other timeframe, -1 where it is unknown, for networks that learn from it too.
    """

    values: Tensor
    windows: Tensor | None
    sessions: np.ndarray
    other: Tensor | None = None

    def batch(self, at: Tensor) -> Tensor:
        # positions of the table, gathered as they are needed: no copy of the table for its windows
        return self.values[at] if self.windows is None else self.values[self.windows[at]]


@contextmanager
def bounded(threads: int, seed: int) -> Iterator[torch.device]:
    """So many threads and this seed for what is inside; the process's own are put back. Gives the device to run on."""
    previous = torch.get_num_threads()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(max(1, threads))
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield device
    finally:
        torch.set_num_threads(previous)


def train(network: nn.Module, rows: Rows, y: np.ndarray, training: Training, device: torch.device) -> str:
    """Train in place and leave the best weights in the network; says why it stopped: 'epochs', 'patience' or 'time'."""
    deadline = time.monotonic() + training.budget_s
    fitted_on, held_out = _split(rows.sessions, y)
    label = torch.as_tensor(y, dtype=torch.float32, device=device)
    network.to(device)
    weights = [p for p in network.parameters() if p.requires_grad]
    steps = sum(1 for _ in _batches(fitted_on, rows.sessions, training, device))
    optimizer = torch.optim.AdamW(weights, training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.epochs * steps + 1, pct_start=0.2
    )
    best, stale, stopped = (np.inf, _copy(network)), 0, "epochs"
    averaged: dict[str, Tensor] | None = None
    for epoch in range(training.epochs):
        network.train()
        for at in _batches(fitted_on, rows.sessions, training, device):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                loss = _loss(network, rows.batch(at), label[at], rows.sessions[at.cpu().numpy()], training)
                if rows.other is not None:
                    loss = loss + _other_timeframe_loss(network.other, rows.other[at])
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
        if training.average and epoch >= training.epochs // 2:
            count, current = epoch - training.epochs // 2 + 1, _copy(network)
            averaged = current if averaged is None else {
                k: v + (current[k] - v) / count if v.is_floating_point() else current[k] for k, v in averaged.items()
            }  # fmt: skip
        validation_loss = _validation_loss(network, rows, label, held_out, training)
        if validation_loss < best[0] - 1e-5:
            best, stale = (validation_loss, _copy(network)), 0
        else:
            stale += 1
        if stale >= training.patience and not training.average:
            stopped = "patience"
            break
        if time.monotonic() > deadline:
            stopped = "time"
            break
    network.load_state_dict(averaged if averaged is not None else best[1])
    return stopped


def log_odds(network: nn.Module, rows: Rows, device: torch.device, count: int) -> np.ndarray:
    """The network's answer for each row, (rows,) float64."""
    network.to(device).eval()
    if getattr(network, "keeps_dropout", False):
        for part in network.modules():
            part.training = isinstance(part, nn.Dropout)
    with torch.no_grad():
        parts = [
            _forward(network, rows.batch(torch.arange(start, end, device=device)), rows.sessions[start:end])
            for start, end in _chunks(network, rows.sessions, count)
        ]
    return torch.cat(parts).double().cpu().numpy() if parts else np.empty(0)


def _chunks(network: nn.Module, sessions: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Stretches of rows to predict together; where rows of a session are read together no session is cut."""
    if not getattr(network, "by_session", False):
        return [(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    if (np.diff(sessions) < 0).any():
        return [(0, count)]
    edges = [0]
    while edges[-1] < count:
        edges.append(int(np.searchsorted(sessions, sessions[min(edges[-1] + CHUNK, count) - 1], "right")))
    return list(itertools.pairwise(edges))


def _forward(network: nn.Module, x: Tensor, sessions: np.ndarray) -> Tensor:
    if not getattr(network, "by_session", False):
        return network(x)
    _, session = np.unique(sessions, return_inverse=True)
    order = np.argsort(session, kind="stable")
    starts = np.searchsorted(session[order], np.arange(session.max() + 1))
    position = np.empty(len(session), dtype=np.int64)
    position[order] = np.arange(len(session)) - starts[session[order]]
    first, second = torch.as_tensor(session, device=x.device), torch.as_tensor(position, device=x.device)
    padded = x.new_zeros((int(session.max()) + 1, int(position.max()) + 1, x.shape[1]))
    padded[first, second] = x
    real = torch.zeros(padded.shape[:2], dtype=torch.bool, device=x.device)
    real[first, second] = True
    return network(padded, real)[first, second]


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _split(sessions: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and the rows of the last sessions; all of them twice where the last ones are too few."""
    days = np.unique(sessions)
    late = sessions >= days[min(len(days) - 1, int(len(days) * (1 - VALIDATION)))]
    early = np.flatnonzero(~late)
    if late.sum() < 20 or len(np.unique(y[early])) < 2:
        return np.arange(len(y)), np.arange(len(y))
    return early, np.flatnonzero(late)


def _batches(at: np.ndarray, sessions: np.ndarray, training: Training, device: torch.device) -> Iterator[Tensor]:
    size = max(8, min(training.batch, len(at) // 10))
    if training.whole_sessions:  # their rows are compared
        days = np.unique(sessions[at])
        shuffled = days[torch.randperm(len(days)).numpy()]
        per = max(1, round(size * len(days) / len(at)))
        order = np.argsort(sessions[at], kind="stable")
        starts = np.searchsorted(sessions[at][order], days)
        ends = np.append(starts[1:], len(at))
        position = {day: (s, e) for day, s, e in zip(days.tolist(), starts, ends, strict=True)}
        for i in range(0, len(days), per):
            chosen = [order[slice(*position[day])] for day in shuffled[i : i + per].tolist()]
            yield torch.as_tensor(at[np.concatenate(chosen)], device=device)
        return
    for part in torch.randperm(len(at)).split(size):
        yield torch.as_tensor(at[part.numpy()], device=device)


def _loss(network: nn.Module, x: Tensor, y: Tensor, sessions: np.ndarray, training: Training) -> Tensor:
    if training.adversarial:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(network(x), y), x)
        moved = (x + 0.1 * slope.sign()).detach()
        x, y = torch.cat([x.detach(), moved]), torch.cat([y, y])
    if training.mixup:
        share = torch.distributions.Beta(0.4, 0.4).sample((len(x),)).to(x.device)
        other = torch.randperm(len(x), device=x.device)
        shape = (-1,) + (1,) * (x.dim() - 1)
        x = share.view(shape) * x + (1 - share.view(shape)) * x[other]
        y = share * y + (1 - share) * y[other]
    loss = _criterion(_forward(network, x, sessions).float(), y, sessions, training)
    penalty = getattr(network, "penalty", None)
    return loss if penalty is None else loss + penalty


def _other_timeframe_loss(output: Tensor, other: Tensor) -> Tensor:
    """The other timeframe's log loss where its outcome is known, half as heavy as the own one's."""
    has_label = other >= 0
    loss = F.binary_cross_entropy_with_logits(output.float(), other.clamp(min=0).float(), reduction="none")
    return 0.5 * (loss * has_label).sum() / max(len(other), 1)


def _criterion(output: Tensor, y: Tensor, sessions: np.ndarray, training: Training) -> Tensor:
    if training.loss == "list":
        _, inverse = np.unique(sessions, return_inverse=True)
        of = torch.as_tensor(inverse, device=output.device)
        count = int(of.max()) + 1
        winners = torch.zeros(count, device=output.device).index_add(0, of, y)
        total = torch.zeros(count, device=output.device).index_add(0, of, output.clamp(-15, 15).exp())
        log_share = output.clamp(-15, 15) - total.log()[of]
        ranked = -(log_share * y / winners.clamp(min=1)[of]).sum() / max(1, int((winners > 0).sum()))
        return ranked + 0.1 * (output.mean() ** 2)  # shares do not fix the level
    return F.binary_cross_entropy_with_logits(output, y)


def _validation_loss(network: nn.Module, rows: Rows, label: Tensor, at: np.ndarray, training: Training) -> float:
    network.eval()
    total, seen = 0.0, 0
    with torch.no_grad():
        if training.whole_sessions:
            positions = torch.as_tensor(at, device=label.device)
            output = _forward(network, rows.batch(positions), rows.sessions[at])
            return float(_criterion(output, label[positions], rows.sessions[at], training))
        for start in range(0, len(at), CHUNK):
            positions = torch.as_tensor(at[start : start + CHUNK], device=label.device)
            loss = _criterion(network(rows.batch(positions)), label[positions], rows.sessions[start : start + 1], training)
            total, seen = total + float(loss) * len(positions), seen + len(positions)
    return total / max(seen, 1)


def keep_dropout(network: nn.Module, seed: int) -> None:
    """Leave dropout on when predicting, with draws of this seed: the spread of its answers is the network's doubt."""
    network.keeps_dropout = True
    torch.manual_seed(seed)
