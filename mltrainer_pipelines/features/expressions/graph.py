"""Many expressions as one graph: parts they share are computed once, windows of one operator over one input in one pass.

Every part is computed only for the sessions that something above it needs, from the block of bars that the engine gives, so a
value is the same to the last bit whatever range was asked for. A value whose look-back the block does not hold is null.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mltrainer_pipelines.features.expressions.functions import ELEMENTS, across_members
from mltrainer_pipelines.features.expressions.operators import CROSS_SECTIONAL, DECAY, KERNELS, ROLLING, Operator
from mltrainer_pipelines.features.expressions.parser import parse
from mltrainer_pipelines.features.expressions.tree import Node
from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines.features.window import MOST, Window

_PIECE = 256
"""Columns of which a kernel's passes stay in the processor's cache."""


@dataclass(frozen=True)
class _Part:
    """A node as a number: its inputs' numbers, how many parts and features use it, and rows wanted before the first session."""

    node: Node
    operator: Operator | None
    inputs: tuple[int, ...]
    group: tuple[object, ...] | None


@dataclass(frozen=True)
class _Plan:
    """Which pass a part is taken from (all `windows` of a kernel with its `variant` of parameters), and where it is there."""

    key: tuple[object, ...]
    kernel: str
    windows: tuple[int, ...]
    variant: tuple[float, ...]
    output: int
    place: int
    before: int


class Graph:
    """The parts of some expressions, each once."""

    def __init__(self, roots: Sequence[Node]):
        self.parts: list[_Part] = []
        self._numbers: dict[Node, int] = {}
        self.roots = [self._add(root) for root in roots]
        self.before = [0] * len(self.parts)
        self._plans: dict[int, _Plan] = {}
        self._uses = [0] * len(self.parts)
        self._passes_before: dict[tuple[object, ...], int] = {}
        for root in self.roots:
            self._uses[root] += 1
        self.groups: dict[tuple[object, ...], list[int]] = {}
        for number, part in enumerate(self.parts):
            if part.group is not None:
                self.groups.setdefault(part.group, []).append(number)
        for number in reversed(range(len(self.parts))):
            part, before, reach = self.parts[number], self.before[number], self.parts[number].node.reach
            if part.group is not None:
                # all that uses any member has been seen when the first one is met: the pass is as long as the longest needs
                members = self.groups[part.group]
                if number == members[0]:
                    before = max(self.before[member] for member in members)
                    reach = max(self.parts[member].node.reach for member in members)
                    self._passes_before[part.group] = before
            for used in part.inputs:
                self._uses[used] += 1
                self.before[used] = max(self.before[used], before + reach)

    def _add(self, node: Node) -> int:
        if node in self._numbers:
            return self._numbers[node]
        inputs = tuple(self._add(one) for one in node.inputs)
        operator = _operator(node) if inputs else None
        group = None if operator is None or operator.kernel not in ROLLING else (operator.kernel, *inputs)
        self.parts.append(_Part(node, operator, inputs, group))
        self._numbers[node] = len(self.parts) - 1
        return self._numbers[node]

    def values(self, number: int, window: Window) -> np.ndarray:
        """Values of a part from its first row on: (rows, members), or (rows, 1) where it is the same for all."""
        key = ("expression", id(self), number)
        results = window.month_block.results
        if key in results:
            return results[key]
        part = self.parts[number]
        start = self._start(number, window)
        out = self._computed(number, part, window, start)
        if part.node.operator not in ("field", "number"):
            short = part.node.settled - start
            if short > 0:
                out = out.copy()
                out[:short] = np.nan
            if self._uses[number] > 1:
                results[key] = out
        return out

    def _start(self, number: int, window: Window) -> int:
        return max(0, window.first - self.before[number])

    def _from(self, number: int, window: Window, start: int) -> np.ndarray:
        """A part's values from row `start` of the block on."""
        if self.parts[number].node.operator == "number":
            return np.array([[self.parts[number].node.numbers[0]]])
        return self.values(number, window)[start - self._start(number, window) :]

    def _computed(self, number: int, part: _Part, window: Window, start: int) -> np.ndarray:
        if part.operator is None:
            return window.field(part.node.name)[start:]
        if part.group is not None:
            return self._rolled(number, part, window)
        if part.operator.kernel == "lag":
            lag = part.node.reach
            values = self._from(part.inputs[0], window, max(0, start - lag))
            kept = values[: max(0, len(values) - lag)]
            missing = len(window.field("close")) - start - len(kept)
            return np.vstack([np.full((missing, values.shape[1]), np.nan), kept])
        if part.operator.kernel in CROSS_SECTIONAL:
            traded = ~np.isnan(window.field("close")[start:])
            x = np.where(traded, self._from(part.inputs[0], window, start), np.nan)
            against = None
            if len(part.inputs) > 1 and self.parts[part.inputs[1]].node.name != "sector":
                against = np.where(traded, self._from(part.inputs[1], window, start), np.nan)
            return across_members(part.operator.kernel, x, window.month_block.sectors, against, part.node.numbers)
        return ELEMENTS[f"element_{part.operator.kernel}"](*(self._from(one, window, start) for one in part.inputs))

    def _rolled(self, number: int, part: _Part, window: Window) -> np.ndarray:
        """One operator over a window, out of the pass that computes all windows of its kernel over its inputs."""
        plan = self._plans.get(number)
        if plan is None:
            plan = self._plans[number] = self._plan(part)
        key, begin = ("expression", id(self), *plan.key), max(0, window.first - plan.before)
        results = window.month_block.results
        if key not in results:
            results[key] = self._pass(plan, part, window, begin)
        result = results[key][plan.output, plan.place, self._start(number, window) - begin :]
        return result * result if part.node.operator == "Var" else result

    def _plan(self, part: _Part) -> "_Plan":
        operator, group = _operator(part.node), part.group or ()
        kernel, output = operator.kernel, operator.output
        nodes = [self.parts[member].node for member in self.groups[group]]
        variant: tuple[float, ...] = ()
        if kernel == "extremes":
            sign = math.copysign(1.0, output)
            nodes = [node for node in nodes if _operator(node).output * sign > 0]
            variant, output = (sign,), abs(output) - 1
        elif kernel == "order_statistics":
            shares = sorted({share for node in nodes if (share := _share(node)) is not None}) or [0.5]
            share = _share(part.node)
            place = 0 if share is None else shares.index(share)
            pair = place - place % 2
            variant = (shares[pair], shares[min(pair + 1, len(shares) - 1)])
            output = 2 if share is None else place % 2
        windows = sorted({int(node.numbers[0]) for node in nodes})
        place = windows.index(int(part.node.numbers[0]))
        return _Plan((group, variant), kernel, tuple(windows), variant, output, place, self._passes_before[group])

    def _pass(self, plan: "_Plan", part: _Part, window: Window, start: int) -> np.ndarray:
        from mltrainer_pipelines.features.kernels import nested, rolling

        longest = plan.windows[-1] * (DECAY if plan.kernel == "rolling_decay" else 1)
        begin = max(0, start - longest + 1)
        inputs = np.broadcast_arrays(*(self._from(one, window, begin) for one in part.inputs))
        function = getattr(rolling if plan.kernel.startswith("rolling") else nested, plan.kernel)
        sizes = np.array(plan.windows, dtype=np.int64)
        leasts = np.array([math.ceil(MOST * n) for n in plan.windows], dtype=np.float64)
        columns = inputs[0].shape[1]
        step = _PIECE if columns > 2 * _PIECE else max(1, columns)
        pieces = [
            function(
                *(np.array(values[:, i : i + step], order="C") for values in inputs), sizes, leasts, start - begin, *plan.variant
            )
            for i in range(0, columns, step)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)


def _operator(node: Node) -> Operator:
    return KERNELS[f"{node.operator}{len(node.inputs) + len(node.numbers)}"]


def _share(node: Node) -> float | None:
    """The quantile that a node asks for; None for a rank."""
    return 0.5 if node.operator == "Med" else node.numbers[1] if node.operator == "Quantile" else None


@dataclass(init=False, eq=False)
class ExpressionFormula:
    """A feature's formula that is an expression of a graph; `kernels` are what its version depends on besides its text."""

    expression: str
    kernels: tuple[str, ...]

    def __init__(self, graph: Graph, index: int):
        self._graph, self._number = graph, graph.roots[index]
        node = graph.parts[self._number].node
        self.expression = node.text
        used = {_operator(one).kernel for one in node.walk() if one.inputs}
        self.kernels = ("MOST", "across_members", *sorted(used), *sorted(f"element_{kernel}" for kernel in used))

    def __call__(self, window: Window) -> np.ndarray:
        values = self._graph.values(self._number, window)[-len(window.month_block.traded) :]
        shape = window.month_block.traded.shape
        return values if values.shape == shape else np.broadcast_to(values, shape)


def expression_set(
    name: str,
    expressions: Mapping[str, str],
    source: str = "an expression",
    description: str = "",
    summaries: Mapping[str, str] | None = None,
) -> FeatureSet:
    """A feature set whose columns are expressions, by name.

    >>> expression_set("mine", {"calm": "Mean($close, 5)/$close"}).features[0].look_back
    4

    Raises ExpressionError for a text that is no expression.
    """
    nodes = [parse(text) for text in expressions.values()]
    graph = Graph(nodes)
    return FeatureSet(
        name,
        tuple(
            Feature(
                column,
                tuple(dict.fromkeys([*(read for read in node.fields if read != "sector"), "close"])),
                node.look_back,
                ExpressionFormula(graph, index),
                source,
                (summaries or {}).get(column, f"`{text}`"),
            )
            for index, ((column, text), node) in enumerate(zip(expressions.items(), nodes, strict=True))
        ),
        description=description,
    )
