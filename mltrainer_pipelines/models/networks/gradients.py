"""How far each feature of a window moves a network's answer: integrated gradients. Imports torch.

Sundararajan, Taly & Yan (2017), Axiomatic attribution for deep networks, ICML, equation 1: the gradient along the straight
path from a baseline to the input, integrated, times the way. What all features are given adds up to the change of the answer
(their proposition 1), as closely as the steps give the integral: nodes and weights are Gauss and Legendre's.
"""

import numpy as np
import torch
from torch import Tensor, nn

from mltrainer_pipelines.models.networks.training import Rows

AT_ONCE = 2048
"""Windows whose gradients are taken together, about."""


def integrated_gradients(
    network: nn.Module, rows: Rows, baseline: Tensor, device: torch.device, count: int, steps: int
) -> np.ndarray:
    """What each feature adds to the log-odds that a network of sequences gives each of `count` windows, (rows, features) float64.

    Every session of the window goes from the baseline, (features,) in the scale of the rows, to what it was, in so many steps,
    and a feature is given what all of them add. Padding stays padding.
    """
    network.to(device).eval().requires_grad_(requires_grad=False)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    share = torch.as_tensor((nodes + 1) / 2, dtype=torch.float32, device=device).view(-1, 1, 1, 1)
    weight = torch.as_tensor(weights / 2, dtype=torch.float32, device=device).view(-1, 1, 1, 1)
    size = max(1, AT_ONCE // steps)
    parts = []
    # cuDNN's recurrent layers go backwards in training only
    with torch.backends.cudnn.flags(enabled=False):
        for start in range(0, count, size):
            x = rows.batch(torch.arange(start, min(start + size, count), device=device))
            present = x[:, :, -1:]
            path = torch.cat([(x[:, :, :-1] - baseline) * present, torch.zeros_like(present)], dim=2)
            point = (x - (1 - share) * path).flatten(0, 1).requires_grad_()
            (slope,) = torch.autograd.grad(network(point).sum(), point)
            mean = (weight * slope.view(steps, *x.shape)).sum(dim=0)
            parts.append((mean * path).sum(dim=1)[:, :-1])
    return torch.cat(parts).double().cpu().numpy()
