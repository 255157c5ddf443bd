"""Models and feature sets by the names that people use, typing errors included."""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import lru_cache

from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.features.registry import feature_sets
from mltrainer_pipelines.models.registry import list_models

_ALIASES = {
    "logisticregression": "logistic_l2",
    "logistic": "logistic_l2",
    "logreg": "logistic_l2",
    "lgbm": "lightgbm",
    "lgb": "lightgbm",
    "xgb": "xgboost",
    "rf": "random_forest",
    "randomforestclassifier": "random_forest",
    "gbm": "gradient_boosting",
    "knn": "k_nearest_neighbours",
    "knearestneighbors": "k_nearest_neighbours",
    "nearestneighbours": "k_nearest_neighbours",
    "elasticnet": "logistic_elastic_net",
    "lasso": "logistic_l1",
    "svm": "linear_svm",
    "bayes": "naive_bayes",
    "gaussiannb": "naive_bayes",
    "neuralnetwork": "mlp",
    "neuralnet": "mlp",
    "perceptron": "averaged_perceptron",
    "bilstm": "bidirectional_lstm",
    "tcn": "temporal_cnn",
    "hmm": "hidden_markov",
    "lineardiscriminant": "lda",
    "quadraticdiscriminant": "qda",
    "stacking": "stacked",
    "voting": "soft_voting",
}
_WORD = re.compile(r"[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)*")
_LONGEST_NAME = 6
"""Words."""


class UnknownModelNameError(ValueError):
    """A name that no model has: gives the closest ones."""


def model_named(name: str) -> str:
    """Id of the model that a person means by `RandomForest`, `LightGBM`, `logistic regression`.

    Raises `UnknownModelNameError` if the registry has none like it.
    """
    wanted, names = letters_of(name), _names()
    if wanted in names:
        return names[wanted]
    starts = {model for letters, model in names.items() if len(wanted) >= 5 and letters.startswith(wanted)}
    if len(starts) == 1:
        return starts.pop()
    close = get_close_matches(wanted, list(names), n=3, cutoff=0.6)
    remedy = f"the closest are {', '.join(dict.fromkeys(names[one] for one in close))}" if close else "`models` lists all of them"
    raise UnknownModelNameError(f"there is no model {plain(name, 40)!r}; {remedy}")


def models_in(text: str, words: Collection[str]) -> list[tuple[str, int, int]]:
    """Models that a text names, with where each begins and ends; the longest name counts, `words` are no misspelt names."""
    found, names, tokens = [], _names(), list(_WORD.finditer(text))
    position = 0
    while position < len(tokens):
        for count in range(min(_LONGEST_NAME, len(tokens) - position), 0, -1):
            part = tokens[position : position + count]
            between = text[part[0].start() : part[-1].end()]
            model = None if re.search(r"[,;:()]", between) else _model_of(part, names, words)
            if model is not None:
                found.append((model, part[0].start(), part[-1].end()))
                position += count
                break
        else:
            position += 1
    return found


def feature_set_in(text: str) -> tuple[str, int, int] | None:
    """The feature set that a text names, with where that begins and ends."""
    for name in feature_sets():
        spelled = r"[\s_-]?".join(re.findall(r"[a-z]+|\d+", name))
        after = rf"\b{spelled}\s+(?:features?(?:\s+sets?)?|factors?)\b"
        before = rf"\bfeatures?(?:\s*[_-]?\s*sets?)?\s*(?:named |called |of |is |=|:)?\s*['\"`]?{spelled}\b"
        alone = rf"|\b{spelled}\b" if name == "alpha158" else ""
        if match := re.search(f"{after}|{before}{alone}", text, re.I):
            return name, match.start(), match.end()
    return None


def letters_of(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _model_of(part: Sequence[re.Match[str]], names: dict[str, str], words: Collection[str]) -> str | None:
    letters = "".join(letters_of(word[0]) for word in part)
    for spelled in (letters, letters.removesuffix("s"), letters.removesuffix("classifier"), letters.removesuffix("model")):
        if spelled in names and spelled not in words:
            return names[spelled]
    meant = any(letters_of(word[0]) in words or letters_of(word[0]) in names for word in part)
    if len(part) > 1 and (model := _by_words().get(tuple(sorted(letters_of(word[0]) for word in part)))):
        return model
    if len(part) > 2 or len(letters) < 5 or meant:
        return None
    starts = {model for spelled, model in names.items() if len(part) == 1 and spelled.startswith(letters)}
    if len(starts) == 1:
        return starts.pop()
    close = get_close_matches(letters, list(names), n=1, cutoff=0.84)
    return names[close[0]] if close else None


@lru_cache(maxsize=1)
def _by_words() -> dict[tuple[str, ...], str]:
    """Model ids by their words in any order ("quantile lightgbm")."""
    return {tuple(sorted(spec.id.split("_"))): spec.id for spec in list_models() if "_" in spec.id}


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Model ids by the letters of every name they go by."""
    ids = {letters_of(spec.id): spec.id for spec in list_models()}
    return ids | {name: model for name, model in _ALIASES.items() if model in ids.values() and name not in ids}
