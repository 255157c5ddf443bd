"""`docs/models.md`, written from the specs of the models."""

from collections.abc import Sequence

from mltrainer_pipelines.models.costs import SECONDS
from mltrainer_pipelines.models.registry import families, list_models
from mltrainer_pipelines.models.spec import Choices, ModelSpec, Range

_INTRODUCTION = """# The models

This page is made from the model registry by `make docs`; a test fails where it is out of date. `mltrainer models` lists the same.

{count} models in {families} families, {core} of them core. All keep one contract: `fit(X, y, groups)`,
`predict_proba(X, groups)`, `get_params`, `set_params`, `clone`; the same seed gives the same predictions, whatever the order of
rows within a session; unknown values are survived. A model is one declaration in a family's file; a file below `models/` that
assigns `MODELS` is a family.

- **cost**: processor seconds of one fit with default parameters on 90,000 × 30 rows with one thread, measured; *fast* is up to
  2 s, *medium* up to 20 s, *slow* more. Measurements end at 60 s.
- **reads**: the features that the model reads by name; a trial of it needs a feature set that holds them. All others read
  whatever they are given.
- **sessions back**: models of sequences find the past of a row's symbol among the rows that they are given. The walk-forward
  shows them the sessions before a quarter, a refresh those before its own; the window never holds a later session.
- **sector**, **both timeframes**: groups tell a row's sector, and of training rows the other timeframe's outcome as far as it
  was known when the window began. Where they do not, the model does without.
- **limits**: what this kind of model cannot learn.

`mltrainer bench models` fits each core model on 100,000 × 60 rows with 3 % unknown values beside the least that a user of its
library would write for the same table: the estimator itself, behind `SimpleImputer(strategy="mean")` and `StandardScaler` where
it cannot do without, in `CalibratedClassifierCV(cv=2, ensemble=False)` where it has no probabilities, a plain loop in torch for
a network, the members' own calls for an ensemble. Ours may take 5 % longer.
"""


def models_page() -> str:
    """The page, Markdown."""
    specs = list_models()
    introduction = _INTRODUCTION.format(count=len(specs), families=len(families()), core=sum(spec.core for spec in specs))
    return "\n".join([introduction, *(_section(family.__name__, family.__doc__ or "", family.MODELS) for family in families())])


def _section(module: str, about: str, specs: Sequence[ModelSpec]) -> str:
    name = module.rpartition(".")[2]
    lines = [f"## {name}", "", about.strip(), "", "| id | good at | cost | source |", "|---|---|---|---|"]
    for spec in specs:
        cost = f"{spec.cost}, {SECONDS[spec.id]:.1f} s" if spec.id in SECONDS else f"{spec.cost}, unmeasured"
        core = " **core**" if spec.core else ""
        notes = [
            f"reads {', '.join(f'`{column}`' for column in spec.columns)}" if spec.columns else "",
            f"{spec.look_back} sessions back" if spec.look_back else "",
            "reads the sector" if spec.sectors else "",
            "reads a session's rows together" if spec.cross_sectional else "",
            "learns from both timeframes" if spec.both_timeframes else "",
            spec.limits if not spec.columns else "",
            "GPU where there is one" if spec.gpu else "",
        ]
        description = "; ".join(note for note in [_escaped(spec.summary), *notes] if note)
        lines.append(f"| `{spec.id}`{core} | {description} | {cost} | {_escaped(spec.source)} |")
    spaces = [
        f"- `{spec.id}`: " + ", ".join(f"{name} {_values(space)}" for name, space in spec.search_space.items())
        for spec in specs
        if spec.search_space
    ]
    return "\n".join([*lines, "", "Search spaces:" if spaces else "", "", *spaces, ""])


def _values(space: Range | Choices) -> str:
    if isinstance(space, Choices):
        return "/".join(map(str, space.values))
    return f"{space.low:g}–{space.high:g} ({space.default:g}{', log' if space.log else ''})"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
