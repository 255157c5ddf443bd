"""What requests to Claude cost: list prices, and estimates before a request is made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

CHARACTERS_A_TOKEN = 2.5
"""Fewer than any text of ours has (JSON full of numbers has about 2.6), so that an estimate errs upwards."""


@dataclass(frozen=True)
class Price:
    """Dollars a million tokens: input, five-minute cache write, cache read, output."""

    input: float
    cache_write: float
    cache_read: float
    output: float


PRICES = {
    "claude-sonnet-5": Price(2.0, 2.5, 0.2, 10.0),
    "claude-sonnet-4": Price(3.0, 3.75, 0.3, 15.0),
    "claude-haiku-5": Price(0.1, 0.125, 0.01, 0.5),
    "claude-haiku-4": Price(1.0, 1.25, 0.1, 5.0),
    "claude-opus-5-5": Price(4.0, 5.0, 0.2, 20.0),
    "claude-opus": Price(5.0, 6.25, 0.5, 25.0),
}
"""List prices by the beginning of a model's name, in November 2026."""
DEAREST = Price(10.0, 12.5, 1.0, 50.0)
"""Charged for a model whose price is unknown, so that it cannot exceed a budget."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer; `input` are those that were neither written to nor read from the cache."""

    input: int = 0
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def all_input(self) -> int:
        return self.input + self.cache_write + self.cache_read


def price_of(model: str) -> Price:
    """The list price of a model, the dearest one where it is unknown."""
    matching = [name for name in PRICES if model.startswith(name)]
    return PRICES[max(matching, key=len)] if matching else DEAREST


def dollars(model: str, usage: Usage) -> Decimal:
    """What an answer costs at list price.

    >>> dollars("claude-sonnet-5-5", Usage(input=10_000, output=1_000))
    Decimal('0.03')
    """
    rates = vars(price_of(model))  # named as the kinds of tokens are
    return sum((tokens * Decimal(str(rates[kind])) for kind, tokens in vars(usage).items()), Decimal(0)) / 1_000_000


def estimated_tokens(request: object) -> int:
    """Tokens of a request's text, rather too many than too few.

    >>> estimated_tokens(["How many models are there?"])
    13
    """
    return int(len(json.dumps(request, ensure_ascii=False, default=str)) / CHARACTERS_A_TOKEN) + 1


def most_dollars(model: str, request: Mapping[str, Any]) -> Decimal:
    """The most that a request can cost: all of its input written to the cache, and the longest answer."""
    tokens = estimated_tokens({name: part for name, part in request.items() if name != "max_tokens"})
    return dollars(model, Usage(cache_write=tokens, output=int(request["max_tokens"])))
