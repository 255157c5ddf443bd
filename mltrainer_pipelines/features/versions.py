"""The version of a feature set: a digest of everything in our code that its values depend on.

What counts: the columns' names and order, look-backs, what is read, and each formula's source with the values it closes
over; in turn, every function, field and kernel that this source names. What does not: comments, docstrings, annotations,
layout, summaries and sources, and code that no formula names.

Source is read, not bytecode, so that a version outlives an upgrade of Python; and nothing is imported, since kernels bring numba.
"""

import ast
import hashlib
import linecache
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib.resources import files
from types import FunctionType, ModuleType

import mltrainer_pipelines
from mltrainer_pipelines.features.registry import declared_sets, feature_sets, resolved
from mltrainer_pipelines.features.spec import Feature, FeatureSet

RECORDED = {
    "momentum": ("1", "bb66e00dcfba"),
    "technical": ("1", "2d38806987cd"),
    "alpha158": ("1", "7544c4b58443"),
    "cross_section": ("1", "aec81e37eb6e"),
    "macro": ("1", "57b71b165e29"),
}
"""Versions with a name, and the digest of their content. Trials, champions and partitions that name no version are of "1".

After a change that leaves every value as it was, to the last bit, record the new digest under the old name. After any other
change do nothing: the digest itself is then the version.
"""

_LANGUAGE = (
    "contracts.ranks", "features.block", "features.window", "features.kernels.cross_section", "features.kernels.nested",
    "features.kernels.windows", "features.kernels.rolling", "features.expressions.functions",
)  # fmt: skip
"""Modules whose definitions formulas name."""


UNVERSIONED = "1"
"""The version of what names none: it is from before December 2026, when feature sets had no versions."""


class FeatureVersionError(ValueError):
    """Features of another version of their set were met where today's are needed: names both, and the remedy."""


def version_of(feature_set: str | FeatureSet) -> str:
    """The version of a feature set's content: its recorded name, or 12 hex digits.

    Raises UnknownFeatureSetError if there is no such set, TypeError if the source of a formula cannot be read or it closes over
    a value without content of its own.

    >>> version_of("momentum") == version_of("default")
    True
    """
    chosen = resolved(feature_set)
    digest = _digest(chosen)
    name, recorded = RECORDED.get(chosen.name, ("", ""))
    return name if digest == recorded else digest


def is_current(feature_set: str, version: str) -> bool:
    """Whether a feature set is there, and its content is still of this version."""
    return feature_set in feature_sets() and version_of(feature_set) == version


def all_versions() -> str:
    """One version for the whole of the declared feature sets: it changes with any of them."""
    return _sha256(*(version_of(name) for name in (*declared_sets(), "default")))


@lru_cache(maxsize=64)
def _digest(feature_set: FeatureSet) -> str:
    source = _Source()
    parts = [[f.name, f.look_back, f.reads, source.content(f.formula)] for f in feature_set.all_features]
    source.names |= feature_set.reads
    return _sha256(feature_set.names, feature_set.depth, parts, _definitions(source.names))


def _sha256(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


class _Source:
    """Collects the content of formulas, and every name in it that the language may define."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._numbers: dict[FunctionType, int] = {}

    def content(self, value: object) -> object:
        """What a value is, the same in every process."""
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, str):
            self.names.add(value)
            return value
        if value is None or isinstance(value, int | float):
            return repr(value)
        if isinstance(value, Mapping):
            return [(key, self.content(item)) for key, item in value.items()]
        if isinstance(value, frozenset | set):
            return sorted(repr(self.content(item)) for item in value)
        if isinstance(value, Sequence):
            return [self.content(item) for item in value]
        if isinstance(value, Feature):
            return [value.name, value.look_back, value.reads, self.content(value.formula)]
        if is_dataclass(value) and not isinstance(value, type):
            return [type(value).__name__, *(self.content(getattr(value, field.name)) for field in fields(value))]
        if isinstance(value, ModuleType) or (callable(value) and hasattr(value, "__name__")):
            return value.__name__
        raise TypeError(
            f"a formula closes over {value!r}, which has no content to tell versions by; give numbers, text or functions"
        )

    def _function(self, function: FunctionType) -> object:
        if function in self._numbers:
            return self._numbers[function]
        self._numbers[function] = len(self._numbers)
        nodes = _nodes_of(function)
        names = set[str]().union(*map(_names_in, nodes))
        self.names |= names
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        closure = [(name, self.content(cell.cell_contents)) for name, cell in cells]
        used = sorted(name for name in names if name in function.__globals__ and not _is_language(function.__globals__[name]))
        return [
            [ast.unparse(node) for node in nodes],
            closure,
            [(name, self.content(function.__globals__[name])) for name in used],
        ]


def _nodes_of(function: FunctionType) -> list[ast.AST]:
    """The syntax of a function; of lambdas, all those of its line."""
    code = function.__code__
    nodes = _tree(code.co_filename).get((code.co_name, code.co_firstlineno))
    if not nodes:
        raise TypeError(
            f"the source of {code.co_name} ({code.co_filename}, line {code.co_firstlineno}) cannot be read; keep it in a file"
        )
    return nodes


@lru_cache(maxsize=64)
def _tree(filename: str) -> dict[tuple[str, int], list[ast.AST]]:
    """The functions of a file by name and first line."""
    functions: dict[tuple[str, int], list[ast.AST]] = {}
    for node in ast.walk(_Bare().visit(ast.parse("".join(linecache.getlines(filename))))):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            functions.setdefault((node.name, first), []).append(node)
        elif isinstance(node, ast.Lambda):
            functions.setdefault(("<lambda>", node.lineno), []).append(node)
    return functions


class _Bare(ast.NodeTransformer):
    """Drops what no value depends on: docstrings, annotations, the words of errors, and where names are imported from."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Pass()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.Pass()


def _names_in(node: ast.AST) -> set[str]:
    """Everything in a piece of syntax that may name a definition: variables, attributes, and text such as a kernel's name."""
    parts = list(ast.walk(node))
    local = {part.arg for part in parts if isinstance(part, ast.arg)}
    local |= {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    variables = {part.id for part in parts if isinstance(part, ast.Name)} - local
    attributes = {part.attr for part in parts if isinstance(part, ast.Attribute)}
    return (
        variables | attributes | {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    )


def _is_language(value: object) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.removeprefix(f"{mltrainer_pipelines.__name__}.") in _LANGUAGE


def _definitions(names: set[str]) -> list[tuple[str, list[str]]]:
    """Source of what the names reach in the language, directly or by way of one another."""
    language = _language()
    reached, waiting = set[str](), names & language.keys()
    while waiting:
        reached |= waiting
        waiting = set[str]().union(*(_names_in(node) for name in waiting for node in language[name])) & language.keys() - reached
    return [(name, [ast.unparse(node) for node in language[name]]) for name in sorted(reached)]


@lru_cache(maxsize=1)
def _language() -> dict[str, list[ast.AST]]:
    """What the language defines, by name: functions, methods, constants, and the entries of tables with names for keys."""
    definitions: dict[str, list[ast.AST]] = {}

    def define(name: str, node: ast.AST) -> None:
        definitions.setdefault(name, []).append(node)

    for module in _LANGUAGE:
        text = files(mltrainer_pipelines).joinpath(f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        for node in _Bare().visit(ast.parse(text)).body:
            if isinstance(node, ast.FunctionDef):
                define(node.name, node)
            elif isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef):
                        define(method.name, method)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    define(ast.literal_eval(key), value)  # type: ignore[arg-type]
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                define(node.targets[0].id, node.value)
    return definitions
