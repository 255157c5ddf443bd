"""Trees of the expression language: what is computed of what, in which unit, and how far back it reaches."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

MOST_NODES = 200
MOST_LEVELS = 60
MOST_LOOK_BACK = 504
"""Sessions before a decision that an expression may reach back: two years."""

SIGNS = {
    "Add": "+",
    "Sub": "-",
    "Mul": "*",
    "Div": "/",
    "Power": "**",
    "And": "&&",
    "Or": "||",
    "Gt": ">",
    "Ge": ">=",
    "Lt": "<",
    "Le": "<=",
    "Eq": "==",
    "Ne": "!=",
}
"""Operators that are written between their inputs."""

Unit = tuple[tuple[str, float], ...]
"""Powers of what a value is measured in, (("price", 1.0),) for a price; () is a pure number."""

PURE: Unit = ()


class ExpressionError(ValueError):
    """An expression that cannot be computed: names the place in the text, what is wrong there, and the remedy."""

    def __init__(self, message: str, text: str = "", place: int | None = None):
        self.place = place
        near = text[max(0, place - 10) : place + 15].replace("\n", " ") if place is not None else ""
        where = "expression: " if place is None else f"expression, character {place + 1}, near {near!r}: "
        super().__init__(where + message)


@dataclass(frozen=True)
class Node:
    """A field, a number, or an operator over `inputs` with its `numbers` (windows, shares).

    `unit` is None for a plain number, which takes the unit of whatever it is added to or compared with; `condition` says that
    the values are 1 and 0; `reach` is how many sessions before t the operator itself needs of its inputs.
    """

    operator: str
    inputs: tuple["Node", ...] = ()
    numbers: tuple[float, ...] = ()
    name: str = ""
    unit: Unit | None = field(default=PURE, compare=False)
    condition: bool = field(default=False, compare=False)
    reach: int = field(default=0, compare=False)

    @cached_property
    def look_back(self) -> int:
        """Sessions before t that the value at t depends on."""
        return self.reach + max((node.look_back for node in self.inputs), default=0)

    @cached_property
    def settled(self) -> int:
        """Sessions before t without which the value is null, though 80 % of its own window may be there: those of the windows
        below it; what a Ref lacks is unknown anyway.
        """
        own = 0 if self.operator == "Ref" else self.reach
        return own + max((node.settled for node in self.inputs), default=0)

    @cached_property
    def size(self) -> int:
        return 1 + sum(node.size for node in self.inputs)

    @cached_property
    def levels(self) -> int:
        return 1 + max((node.levels for node in self.inputs), default=0)

    @cached_property
    def text(self) -> str:
        """The expression as the language reads it, in one spelling: what was written differently and means the same is equal."""
        if self.operator == "number":
            return f"{self.numbers[0]:.12g}"
        if self.operator == "field":
            return self.name
        if self.operator in SIGNS:
            return f"({self.inputs[0].text} {SIGNS[self.operator]} {self.inputs[1].text})"
        arguments = [node.text for node in self.inputs] + [f"{number:.12g}" for number in self.numbers]
        return f"{self.operator}({', '.join(arguments)})"

    def walk(self) -> Iterator["Node"]:
        """Every node, inputs before what is made of them."""
        for node in self.inputs:
            yield from node.walk()
        yield self

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it reads, each once."""
        return tuple(dict.fromkeys(node.name for node in self.walk() if node.operator == "field"))

    @property
    def structure(self) -> str:
        """The text without its numbers: two expressions of one structure differ in windows and weights alone."""
        parts = ["#" if node.operator == "number" else node.name or f"{node.operator}/{len(node.inputs)}" for node in self.walk()]
        return " ".join(parts)


def unit_text(unit: Unit | None) -> str:
    """A unit in words: "a pure number", "price", "price × shares"."""
    if not unit:
        return "a pure number"
    return " × ".join(name if power == 1 else f"{name}^{power:g}" for name, power in unit)


def times(left: Unit | None, right: Unit | None, power: float = 1.0) -> Unit | None:
    """The unit of a product with the right side to a power; of two plain numbers it is a plain number."""
    if left is None and right is None:
        return None
    powers = dict(left or ())
    for name, count in right or ():
        powers[name] = powers.get(name, 0.0) + power * count
    return tuple(sorted((name, count) for name, count in powers.items() if abs(count) > 1e-9))
