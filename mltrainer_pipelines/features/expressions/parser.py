"""Text to a checked tree: a tokenizer and a precedence parser. Nothing of the text is ever executed.

Qlib's spelling is read as it is (`Mean($close, 5)/$close`), and that of the 101 Formulaic Alphas (`ts_rank`, `a ? b : c`).
"""

import difflib
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from mltrainer_pipelines.contracts.lake_tables import REGIME
from mltrainer_pipelines.features.expressions.checks import Call, is_number, number
from mltrainer_pipelines.features.expressions.operators import ABBREVIATIONS, BY_NAME, unit_of
from mltrainer_pipelines.features.expressions.tree import MOST_LEVELS, ExpressionError, Node
from mltrainer_pipelines.features.spec import FIELDS
from mltrainer_pipelines.market.macro import FRED_SERIES

MOST_CHARACTERS = 4000

REGIME_PARTS = tuple(name for name in REGIME.schema if name != "date")

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<name>(?:macro|regime):\w+|IndClass\.\w+|\$?[A-Za-z_]\w*)"
    r"|(?P<sign>\*\*|\|\||&&|<=|>=|==|!=|[-+*/^<>&|!~?:(),]))",
    re.ASCII,
)
_BINARY = {
    "or": (10, "Or"), "||": (10, "Or"), "and": (20, "And"), "&&": (20, "And"),
    **{sign: (40, name) for sign, name in (("<", "Lt"), ("<=", "Le"), (">", "Gt"), (">=", "Ge"), ("==", "Eq"), ("!=", "Ne"))},
    "|": (50, "Or"), "&": (60, "And"), "+": (70, "Add"), "-": (70, "Sub"), "*": (80, "Mul"), "/": (80, "Div"),
    "^": (100, "Power"), "**": (100, "Power"),
}  # fmt: skip
"""How tightly a sign between two values binds, as in Python and so in Qlib; && and || bind like ``and`` and ``or``."""
_NOT, _MINUS = 30, 90


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The checked tree of an expression.

    >>> parse("Mean($close, 5)/$close").text
    '(Mean(close, 5) / close)'
    >>> parse("Mean($close, 5)/$close").look_back
    4

    Raises ExpressionError, which names the place, for what is no expression, reads an unknown field, mixes units, looks ahead,
    is too large, or reads no field at all.
    """
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(f"the text has {len(text):,} characters; at most {MOST_CHARACTERS:,}")
    parser = _Parser(text)
    node = parser.expression(0)
    parser.expect("end", "")
    if not node.fields or node.name == "sector":
        raise ExpressionError("this reads no field, so it is the same for every symbol and session; read one, as close", text, 0)
    return node


def _tokens(text: str) -> list[_Token]:
    tokens, place, end = [], 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            place += len(text[place:]) - len(text[place:].lstrip())
            sign = text[place]
            name = f" ({unicodedata.name(sign, 'unnamed')})" if not sign.isascii() else ""
            raise ExpressionError(f"the character {sign!r}{name} is not part of the language; write plain ASCII", text, place)
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        place = match.end()
    return [*tokens, _Token("end", "", end)]


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens = _tokens(text)
        self.next = 0
        self.level = 0

    def take(self) -> _Token:
        token = self.tokens[self.next]
        self.next += 1
        return token

    def expect(self, kind: str, sign: str) -> None:
        token = self.take()
        if token.kind != kind or token.text != sign:
            got = repr(token.text) if token.text else "the end of the text"
            wanted = repr(sign) if sign else "an operator or the end"
            raise ExpressionError(f"expected {wanted}, not {got}", self.text, token.place)

    def expression(self, binding: int) -> Node:
        self.level += 1
        if self.level > MOST_LEVELS:
            raise ExpressionError(
                f"the expression is nested too deeply; at most {MOST_LEVELS} levels", self.text, self.tokens[self.next].place
            )
        left = self.operand()
        while True:
            token = self.tokens[self.next]
            if token.text == "?" and binding <= 5:
                self.take()
                yes = self.expression(5)
                self.expect("sign", ":")
                left = Call(self.text, token.place).apply("If", [left, yes, self.expression(5)])
                continue
            strength, name = _BINARY.get(token.text, (-1, ""))
            if strength <= binding or token.kind == "number":
                break
            self.take()
            right = self.expression(strength - (1 if name == "Power" else 0))
            left = Call(self.text, token.place).apply(name, [left, right])
        self.level -= 1
        return left

    def operand(self) -> Node:
        token = self.take()
        call = Call(self.text, token.place)
        if token.kind == "number":
            return number(float(token.text))
        if token.text in ("-", "+"):
            value = self.expression(_MINUS)
            if token.text == "+":
                return value
            return number(-value.numbers[0]) if is_number(value) else call.apply("Mul", [number(-1.0), value])
        if token.text in ("!", "~", "not"):
            return call.apply("Not", [self.expression(_NOT if token.text == "not" else _MINUS)])
        if token.text == "(":
            inner = self.expression(0)
            self.expect("sign", ")")
            return inner
        if token.kind != "name":
            got = repr(token.text) if token.text else "the end of the text"
            raise ExpressionError(f"expected a field, a number or an operator, not {got}", self.text, token.place)
        if self.tokens[self.next].text == "(":
            return self.call(token, call)
        return self.field(token)

    def call(self, token: _Token, call: Call) -> Node:
        if token.text.lower() not in BY_NAME:
            raise ExpressionError(f"there is no operator {token.text!r}{_close(token.text, BY_NAME)}", self.text, token.place)
        self.take()
        arguments = [self.expression(0)]
        while self.tokens[self.next].text == ",":
            self.take()
            arguments.append(self.expression(0))
        self.expect("sign", ")")
        return call.apply(token.text, arguments)

    def field(self, token: _Token) -> Node:
        name = token.text.removeprefix("$")
        if name.startswith("IndClass."):
            name = "sector"
        if name in ABBREVIATIONS:
            return parse(ABBREVIATIONS[name])
        if re.fullmatch(r"adv[1-9]\d{0,3}", name):
            return Call(self.text, token.place).apply("Mean", [_field("volume"), number(float(name[3:]))])
        known = [*FIELDS, "sector", *(f"macro:{s}" for s in FRED_SERIES), *(f"regime:{part}" for part in REGIME_PARTS)]
        if name not in known:
            raise ExpressionError(f"there is no field {token.text!r}{_close(name, known)}", self.text, token.place)
        return _field(name)


def _field(name: str) -> Node:
    return Node("field", name=name, unit=unit_of(name))


def _close(name: str, known: object) -> str:
    near = difflib.get_close_matches(name.lower(), [str(one) for one in known], 3)  # type: ignore[attr-defined]
    return f"; did you mean {' or '.join(near)}?" if near else "; docs/factors.md lists what there is"
