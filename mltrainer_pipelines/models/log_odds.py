"""Between probabilities and log-odds. SciPy is imported when a model is fitted or asked, never with the registry."""

import numpy as np

from mltrainer_pipelines.models.libraries import scipy


def expit(log_odds: np.ndarray) -> np.ndarray:
    """The probability of class 1, 1 / (1 + e^-z)."""
    return np.asarray(scipy.special.expit(log_odds))


def logit(probability: np.ndarray, least: float = 1e-4) -> np.ndarray:
    """The log-odds of probabilities clipped at `least` and 1 - `least`."""
    p = np.clip(probability, least, 1 - least)
    return np.asarray(np.log(p / (1 - p)))


def both_classes(positive: np.ndarray) -> np.ndarray:
    """What scikit-learn's `predict_proba` gives: the probabilities of class 0 and of class 1, (rows, 2)."""
    return np.column_stack([1 - positive, positive])
