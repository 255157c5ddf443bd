"""Types of fields that several routes share: bounded, so that nothing reaches the database that it cannot hold."""

from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

Grade = Literal["proven", "candidate"]
MarketKind = Literal["real", "simulated", "replay"]

Dollars = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""A NUMERIC of the database, a number in JSON."""

_LARGEST_ID = 2**63 - 1
Identifier = Annotated[int, Path(ge=1, le=_LARGEST_ID, description="Its number.", examples=[1])]
Number = Annotated[int, Field(ge=1, le=_LARGEST_ID)]
Limit = Annotated[int, Field(ge=1, le=500, description="Most items to return.")]
Offset = Annotated[int, Field(ge=0, le=10_000_000, description="Items to leave out at the beginning.")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def storable(text: str) -> str:
    """The text, if PostgreSQL can hold it."""
    if "\x00" in text:
        raise ValueError("holds a NUL character, which cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no text") from None
    return text


Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(storable)]
Symbol = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern=r"^[A-Za-z0-9.\-/]+$", to_upper=True)]
TrialId = Annotated[str, Path(pattern=r"^[a-z0-9\-]{1,100}$", examples=["lightgbm-short-3f9a1c2b"])]


class Parameters(BaseModel):
    """Query parameters; an unknown one is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")


class Paged(Parameters):
    limit: Limit = 50
    offset: Offset = 0


class Body(BaseModel):
    """A request's body; an unknown field is refused."""

    model_config = ConfigDict(extra="forbid")


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    total: int = Field(description="Items that match, on all pages.", examples=[93])
    limit: int
    offset: int
    items: list[Item]


class Started(BaseModel):
    """A Dagster run that was requested."""

    job: str = Field(examples=["refresh_signals"])
    run_id: str = Field(description="Of the run in Dagster.", examples=["0b0a8c5e-4f9f-4a53-9a0c-1f6a2f0c9a11"])
    url: str = Field(description="Where to watch it.", examples=["http://127.0.0.1:3000/runs/0b0a8c5e"])


def with_example(example: Any) -> ConfigDict:
    """Configuration of a model with an example in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [example]})
