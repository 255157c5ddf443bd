"""`evolve`: a proposer of factors that needs no key, by genetic programming over the trees of the expression language.

Koza (1992), Genetic Programming, chapter 6: subtrees are crossed over and mutated. Here windows are moved as well, and operators
put on and taken off. Fitness is the smaller t of rank IC and residual IC on the shown quarters, less a price for size and for
likeness to what the archive holds; a factor that is poor on the first of these quarters is not computed on the others.
"""

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date

from mltrainer_pipelines.features.expressions.checks import Call, number
from mltrainer_pipelines.features.expressions.parser import parse
from mltrainer_pipelines.features.expressions.tree import ExpressionError, Node
from mltrainer_pipelines.trials.factors.library import Idea
from mltrainer_pipelines.trials.factors.screening import Screen, ScreeningMarket

WINDOWS = (2, 3, 5, 7, 10, 15, 20, 30, 40, 60)
LEAVES = (
    "overnight_return", "intraday_return", "log_return", "market_return", "sector_return", "high/low-1", "close/vwap-1",
    "Log(dollar_volume)", "Std(log_return,{n})", "close/Ref(close,{n})-1", "Corr(log_return,Log(volume),{n})",
    "(close-Min(low,{n}))/(Max(high,{n})-Min(low,{n}))",
    *(f"{x}/Mean({x},{{n}})-1" for x in ("close", "volume", "(high-low)", "Std(log_return,5)")),
)  # fmt: skip
"""What trees grow from: pure numbers of one symbol and session; prices, volume, range and volatility against their own past."""
OVER_TIME = ("Mean", "Std", "Rank", "Max", "Min", "Ref", "Delta", "WMA", "Skew")
BETWEEN = ("Mul", "Mul", "Mul", "Sub", "Add", "Div")
ALONE = ("Rank", "ZScore", "Neutralize", "Abs", "Sign", "Log")
MOST_SIZE = 40
POPULATION = 60
PARENTS = 24
OF_ONE_STRUCTURE = 2
SIZE_PRICE = 0.04
"""Standard errors that a node of a tree has to be worth."""
LIKE_PRICE = 0.5
"""Share of its fitness that a tree loses where a fitter one of its structure is in the archive."""
STAGNANT = 8
"""Generations without a fitter tree after which a population is left for a new one."""
FRESH = 0.15
"""Share of a generation that has no parents."""


@dataclass(frozen=True)
class Candidate:
    """A factor that was tried: its figures on the shown quarters, None where they say nothing, its fitness and its parents."""

    node: Node
    screen: Screen | None
    fitness: float
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """What an evolution tried, the fittest first."""

    tried: list[Candidate]

    def ideas(self, market: ScreeningMarket, count: int, taken: Sequence[str]) -> list[Idea]:
        """The fittest that say something new: unlike each other, what exists, and `taken`; at most `count`."""
        chosen: list[Idea] = []
        for candidate in self.tried[: 20 * count]:
            if len(chosen) == count or candidate.screen is None:
                break
            text, screen = candidate.node.text, candidate.screen
            if market.most_like(text, [*taken, *(idea.expression for idea in chosen)]) is None:
                sign = "high" if screen.residual_ic > 0 else "low"
                hypothesis = (
                    f"{sign.capitalize()} values went with higher returns on the shown quarters, beside what the stored features "
                    f"say: residual rank IC {screen.residual_ic:.3f}, t {screen.t:.1f}. Refuted if the hidden quarters do not "
                    "show it after counting every factor ever screened."
                )
                chosen.append(Idea(text, hypothesis, candidate.parents))
        return chosen


class Breeder:
    """Makes trees: new ones, mutated ones, crossed ones; the same seed makes the same trees."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def grown(self, depth: int = 3) -> Node:
        """A random tree that is a factor: it reads a field, is a pure number, and is no larger than allowed."""
        while True:
            try:
                node = self._grow(self.random.randint(1, depth))
            except ExpressionError:
                continue
            if _is_factor(node):
                return node

    def child(self, mother: Node, father: Node) -> Node:
        """A tree of two parents: a subtree crossed over or mutated, a window moved, an operator put on or taken off."""
        for _ in range(20):
            try:
                child = self._bred(mother, father)
            except ExpressionError:
                continue
            if child != mother and _is_factor(child):
                return child
        return self.grown()

    def _grow(self, depth: int) -> Node:
        pick = self.random.random()
        if depth == 0 or pick < 0.15:
            return parse(self.random.choice(LEAVES).format(n=self._window()))
        if pick < 0.6:
            return _make(self.random.choice(BETWEEN), [self._grow(depth - 1), self._grow(depth - 1)])
        if pick < 0.8:
            return self._alone(self._grow(depth - 1))
        return self._over_time(self._grow(depth - 1))

    def _alone(self, node: Node) -> Node:
        name = self.random.choice(ALONE)
        return _make(name, [node, Node("field", name="sector")] if name == "Neutralize" else [node])

    def _over_time(self, node: Node) -> Node:
        return _make(self.random.choice(OVER_TIME), [node, number(float(self._window()))])

    def _window(self) -> int:
        return self.random.choice(WINDOWS)

    def _bred(self, mother: Node, father: Node) -> Node:
        pick, places = (
            self.random.random(),
            [node for node in mother.walk() if node.operator != "number" and node.name != "sector"],
        )
        if pick < 0.3:
            return _replaced(
                mother, self.random.choice(places), self.random.choice([n for n in father.walk() if n.name != "sector"])
            )
        if pick < 0.5:
            return _replaced(mother, self.random.choice(places), self._grow(self.random.randint(0, 2)))
        if pick < 0.7:
            timed = [node for node in places if node.numbers and node.reach]
            if timed:
                old = self.random.choice(timed)
                return _replaced(mother, old, _make(old.operator, [*old.inputs, number(float(self._window())), *_rest(old)]))
        if pick < 0.82:
            other = self._grow(1) if self.random.random() < 0.6 else father
            return _make(self.random.choice(BETWEEN), [mother, other])
        if pick < 0.95:
            place = self.random.choice(places)
            return _replaced(mother, place, self._alone(place) if self.random.random() < 0.6 else self._over_time(place))
        return self.random.choice([node for node in places if node.inputs] or places)  # simpler


def evolve(
    market: ScreeningMarket,
    seed: int,
    tries: int,
    known: Collection[str] = (),
    progress: Callable[[str, float], None] = lambda *_: None,
    enough: Callable[[Candidate], bool] = lambda _: False,
) -> Search:
    """Search factors on the shown quarters until `tries` were computed, or `enough` says so of the fittest.

    Nothing is tried twice, nor what is `known` (expressions in their one spelling). The same arguments find the same factors.
    """
    breeder, archive, unknown = Breeder(seed), dict[Node, Candidate](), set(known)
    island, island_best, since_better = list[Candidate](), -math.inf, 0
    while len(archive) < tries:
        parents, fresh = _parents(island), dict[Node, tuple[str, ...]]()
        for _ in range(20 * POPULATION):
            if len(fresh) == min(POPULATION, tries - len(archive)):
                break
            mother = father = None
            if parents and breeder.random.random() >= FRESH:
                mother, father = _tournament(breeder, parents), _tournament(breeder, parents)
            node = breeder.child(mother, father) if mother and father else breeder.grown()
            if node not in archive and node.text not in unknown:
                fresh[node] = (mother.text, father.text) if mother and father else ()
        if not fresh:
            break
        for candidate in tried(market, fresh):
            archive[candidate.node] = candidate
            island.append(candidate)
        now_best = max(one.fitness for one in island)
        island_best, since_better = (now_best, 0) if now_best > island_best else (island_best, since_better + 1)
        if since_better == STAGNANT:
            island, island_best, since_better = [], -math.inf, 0
        best = max(archive.values(), key=lambda one: one.fitness)
        progress(
            f"{len(archive):,} factors tried, the best t {abs(best.screen.t) if best.screen else 0.0:.1f}", len(archive) / tries
        )
        if best.screen is not None and enough(best):
            break
    return Search(sorted(archive.values(), key=lambda one: -one.fitness))


def random_search(
    market: ScreeningMarket,
    seed: int,
    tries: int,
    progress: Callable[[str, float], None] = lambda *_: None,
    enough: Callable[[Candidate], bool] = lambda _: False,
) -> Search:
    """The same number of random trees, for comparison."""
    breeder, archive = Breeder(seed), dict[Node, Candidate]()
    while len(archive) < tries:
        fresh = dict.fromkeys([breeder.grown() for _ in range(POPULATION)], ())
        for candidate in tried(market, {node: parents for node, parents in fresh.items() if node not in archive}):
            archive[candidate.node] = candidate
        best = max(archive.values(), key=lambda one: one.fitness)
        progress(f"{len(archive):,} random factors tried", len(archive) / tries)
        if best.screen is not None and enough(best):
            break
    return Search(sorted(archive.values(), key=lambda one: -one.fitness))


def tried(market: ScreeningMarket, nodes: dict[Node, tuple[str, ...]]) -> list[Candidate]:
    """Trees tried on the shown quarters: all on the first third of them, the better half on all."""
    wanted = list(nodes)
    first, last = market.shown
    early = (first, date.fromordinal(first.toordinal() + (last - first).days // 3))
    screens = market.screen([node.text for node in wanted], early)
    promising = [(abs(screen.t), place) for place, screen in enumerate(screens) if screen is not None]
    kept = [place for _, place in sorted(promising, reverse=True)[: max(1, len(wanted) // 2)]]
    whole = dict(zip(kept, market.screen([wanted[place].text for place in kept], market.shown), strict=True))
    return [_candidate(node, whole.get(place), nodes[node]) for place, node in enumerate(wanted)]


def _candidate(node: Node, screen: Screen | None, parents: tuple[str, ...]) -> Candidate:
    if screen is None:
        return Candidate(node, None, -10.0, parents)
    agrees = screen.rank_ic * screen.residual_ic > 0
    return Candidate(node, screen, (min(abs(screen.t), abs(screen.rank_t)) if agrees else 0.0) - SIZE_PRICE * node.size, parents)


def _is_factor(node: Node) -> bool:
    return node.size <= MOST_SIZE and bool(set(node.fields) - {"sector"}) and node.unit == () and node.name != "sector"


def _make(operator: str, arguments: Sequence[Node]) -> Node:
    return Call("", 0).apply(operator, arguments)


def _rest(node: Node) -> list[Node]:
    return [number(value) for value in node.numbers[1:]]


def _replaced(tree: Node, old: Node, new: Node) -> Node:
    """A tree with one part of it exchanged, checked anew from there up."""
    if tree == old:
        return new
    inputs = [_replaced(node, old, new) for node in tree.inputs]
    if not inputs or tuple(inputs) == tree.inputs:
        return tree
    return _make(tree.operator, [*inputs, *(number(value) for value in tree.numbers)])


def _tournament(breeder: Breeder, parents: Sequence[Candidate]) -> Node:
    return max(breeder.random.sample(parents, min(3, len(parents))), key=lambda one: one.fitness).node


def _parents(archive: Collection[Candidate]) -> list[Candidate]:
    """The fittest, few of each structure and each dearer than the one before: one tree with many windows takes no population."""
    count, kept = dict[str, int](), []
    for candidate in sorted(archive, key=lambda one: -one.fitness):
        alike = count.get(candidate.node.structure, 0)
        if candidate.screen is not None and alike < OF_ONE_STRUCTURE:
            kept.append(Candidate(candidate.node, candidate.screen, candidate.fitness * (1 - LIKE_PRICE) ** alike))
            count[candidate.node.structure] = alike + 1
        if len(kept) == PARENTS:
            break
    return kept
