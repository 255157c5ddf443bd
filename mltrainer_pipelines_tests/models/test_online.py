"""Learners that are shown the sessions in turn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mltrainer_pipelines.models.online_river import SessionGradient, Stream
from mltrainer_pipelines.models.panel import panel_groups
from mltrainer_pipelines.models.registry import get_model


class Diary:
    """A classifier as river's are, that writes down what it is shown and asked, by the number in the row's first place."""

    def __init__(self):
        self.lines: list[tuple[str, float]] = []

    def learn_one(self, x: dict, y: bool) -> None:
        self.lines.append(("learnt", x[0]))

    def predict_proba_one(self, x: dict) -> dict:
        self.lines.append(("judged", x[0]))
        return {True: 0.5, False: 0.5}


def test_sessions_of_the_last_quarter_are_judged_whole_before_any_of_their_rows_is_learnt():
    diary = Diary()
    Stream(diary).fit(np.arange(8.0)[:, None], np.arange(8) % 2, np.repeat([3, 5, 7, 9], 2))
    learnt = [("learnt", row) for row in range(8)]
    assert diary.lines == [*learnt[:6], ("judged", 6), ("judged", 7), *learnt[6:]]


def test_an_optimizer_of_river_takes_one_step_a_session():
    from river.optim import SGD

    X, y, sessions = np.array([[1.0], [3.0], [-1.0]]), np.array([1, 0, 1]), np.array([0, 0, 1])
    weights = np.zeros(2)
    for rows in ([0, 1], [2]):
        design = np.column_stack([X[rows], np.ones(len(rows))])
        weights -= 0.5 * design.T @ (1 / (1 + np.exp(-design @ weights)) - y[rows]) / len(rows)
    np.testing.assert_allclose(SessionGradient(SGD(0.5)).fit(X, y, sessions).weights_, weights)


@pytest.mark.parametrize("model", ["hoeffding_adaptive_tree", "adaptive_random_forest", "streaming_random_patches"])
def test_a_learner_that_watches_for_drift_forgets_what_has_turned_round(model):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9000, 4)).astype(np.float32)
    sessions, symbols = np.divmod(np.arange(len(X)), 30)
    turned = np.where(sessions < 150, 1.0, -1.0)
    y = (turned * X[:, 0] + 0.5 * rng.standard_normal(len(X)) > 0).astype(np.int8)
    groups = panel_groups(sessions, symbols)
    said = get_model(model).build().fit(X[:7500], y[:7500], groups[:7500]).predict_proba(X[7500:])[:, 1]
    assert roc_auc_score(y[7500:], said) > 0.85
    never = get_model("naive_bayes").build().fit(X[:7500], y[:7500], groups[:7500]).predict_proba(X[7500:])[:, 1]
    assert roc_auc_score(y[7500:], never) < 0.5
