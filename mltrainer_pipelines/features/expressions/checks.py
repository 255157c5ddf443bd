"""Nodes made of checked arguments: units and conditions, windows that are bounded and never reach ahead, limits of size."""

import math
from collections.abc import Callable, Mapping, Sequence
from operator import add, mul, sub, truediv

from mltrainer_pipelines.features.expressions.operators import BY_NAME, Operator
from mltrainer_pipelines.features.expressions.tree import (
    MOST_LEVELS,
    MOST_LOOK_BACK,
    MOST_NODES,
    PURE,
    ExpressionError,
    Node,
    Unit,
    times,
    unit_text,
)

_FOLDED: Mapping[str, Callable[[float, float], float]] = {
    "add": add,
    "subtract": sub,
    "multiply": mul,
    "divide": truediv,
    "power": pow,
    "greater": max,
    "less": min,
}
"""What is done at once where both sides are plain numbers."""


def number(value: float) -> Node:
    return Node("number", numbers=(value,), unit=None)


def is_number(node: Node) -> bool:
    return node.operator == "number"


class Call:
    """One operator applied at a place of a text; its errors name the place."""

    def __init__(self, text: str, place: int):
        self.text = text
        self.place = place

    def refuse(self, message: str) -> ExpressionError:
        return ExpressionError(message, self.text, self.place)

    def apply(self, name: str, arguments: Sequence[Node]) -> Node:
        """The operator of this name for so many arguments, over them."""
        operator = self._operator(name, arguments)
        if operator.name == "Delta":
            return self.apply("Sub", [arguments[0], self.apply("Ref", arguments)])
        inputs = [node for node, kind in zip(arguments, operator.arguments, strict=True) if kind in "xcg"]
        if all(map(is_number, inputs)) and operator.kernel in _FOLDED:
            return self._folded(operator, inputs)
        numbers = []
        for node, kind in zip(arguments, operator.arguments, strict=True):
            if kind in "nqa":
                numbers.append(self._number(operator, node, kind))
            elif kind == "c" and not node.condition:
                raise self.refuse(
                    f"{operator.name} needs a condition, and {node.text} is none; compare it with something, as x > 0"
                )
            elif node.name == "sector" and kind != "g":
                raise self.refuse("sector is a group, not a value; it stands only in Neutralize(x, sector)")
        if operator.unit not in ("agree", "compared", "choice", "times", "over", "power") and any(map(is_number, inputs)):
            raise self.refuse(f"{operator.name} of a plain number says nothing; give it a field")
        if operator.kernel == "divide" and is_number(inputs[1]) and inputs[1].numbers[0] == 0.0:
            raise self.refuse("this divides by zero; divide by something that is not always 0")
        window = int(numbers[0]) if "n" in operator.arguments else 0
        condition = operator.unit in ("condition", "compared")
        unit = self._unit(operator, inputs, window)
        reach = operator.reach(window) if window else 0
        return self._limited(Node(operator.name, tuple(inputs), tuple(numbers), "", unit, condition, reach))

    def _operator(self, name: str, arguments: Sequence[Node]) -> Operator:
        candidates = BY_NAME[name.lower()]
        if name.lower() in ("min", "max") and len(arguments) == 2 and not is_number(arguments[1]):
            candidates = BY_NAME["less" if name.lower() == "min" else "greater"]
        fitting = [operator for operator in candidates if len(operator.arguments) == len(arguments)]
        if not fitting:
            wanted = " or ".join(str(len(operator.arguments)) for operator in candidates)
            raise self.refuse(f"{candidates[0].name} takes {wanted} arguments, not {len(arguments)}")
        return fitting[0]

    def _number(self, operator: Operator, node: Node, kind: str) -> float:
        if not is_number(node):
            raise self.refuse(f"{operator.name} needs a plain number here, not {node.text}")
        value = node.numbers[0]
        if kind == "q" and not 0.0 < value < 1.0:
            raise self.refuse(f"{operator.name} needs a share above 0 and below 1, not {value:g}")
        if kind == "n":
            if value < 0:
                raise self.refuse(f"{operator.name} over {value:g} sessions would look ahead; a window reaches back, 1 or more")
            if value != int(value) or value < 1:
                raise self.refuse(f"{operator.name} needs a bounded window, a whole number of sessions from 1 on, not {value:g}")
            if value > MOST_LOOK_BACK:
                raise self.refuse(f"a window of {value:g} sessions is too long; the longest is {MOST_LOOK_BACK}")
            if value < operator.least:
                raise self.refuse(f"{operator.name} needs a window of {operator.least} sessions or more, not {value:g}")
        return value

    def _folded(self, operator: Operator, inputs: Sequence[Node]) -> Node:
        left, right = inputs[0].numbers[0], inputs[1].numbers[0]
        try:
            value = _FOLDED[operator.kernel](left, right)
        except ZeroDivisionError:
            raise self.refuse("this divides by zero; divide by something that is not always 0") from None
        except OverflowError:
            value = math.inf
        if isinstance(value, complex) or not math.isfinite(value):
            raise self.refuse("this is not a number that can be computed with; write a smaller one")
        return number(value)

    def _unit(self, operator: Operator, inputs: Sequence[Node], window: int) -> Unit | None:
        units = [node.unit for node in inputs]
        rule, first = operator.unit, units[0]
        if rule in ("pure", "condition"):
            return PURE
        if rule in ("agree", "compared", "choice"):
            sides = inputs[1:] if rule == "choice" else inputs
            known = [node for node in sides if node.unit is not None]
            if len(known) == 2 and known[0].unit != known[1].unit:
                left, right = known
                verb = {"add": "adds", "subtract": "subtracts"}.get(operator.kernel, "compares")
                verb = "chooses between" if rule == "choice" else verb
                raise self.refuse(
                    f"this {verb} {left.text} ({unit_text(left.unit)}) and {right.text} ({unit_text(right.unit)}), which have no "
                    "common unit; divide each by something of its own unit first, or take its Rank"
                )
            return PURE if rule == "compared" else known[0].unit if known else None
        if rule in ("times", "over"):
            return times(first, units[1], 1.0 if rule == "times" else -1.0)
        if rule == "power":
            return self._power(inputs)
        if rule == "product":
            return times(first, units[1])
        power = {"square": 2.0, "root": 0.5, "window": float(window)}.get(rule)
        return first if power is None else times(PURE, first, power)

    def _power(self, inputs: Sequence[Node]) -> Unit | None:
        base, exponent = inputs
        if is_number(exponent):
            return times(PURE, base.unit, exponent.numbers[0])
        if exponent.unit or base.unit:
            wrong = exponent if exponent.unit else base
            raise self.refuse(
                f"a power that varies needs pure numbers, and {wrong.text} is in {unit_text(wrong.unit)}; divide it by something "
                "of its own unit first"
            )
        return PURE

    def _limited(self, node: Node) -> Node:
        if node.size > MOST_NODES:
            raise self.refuse(f"the expression is too large; at most {MOST_NODES} operators, fields and numbers")
        if node.levels > MOST_LEVELS:
            raise self.refuse(f"the expression is nested too deeply; at most {MOST_LEVELS} levels")
        if node.look_back > MOST_LOOK_BACK:
            raise self.refuse(f"this looks back {node.look_back} sessions in all; at most {MOST_LOOK_BACK}, use shorter windows")
        return node
