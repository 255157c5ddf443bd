"""The library of factors: proposals, verdicts, and the request to screen."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import Body, Page, Paged, Parameters, Text, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.trials.factors import library
from mltrainer_pipelines.trials.run_requests import request_run

router = APIRouter(prefix="/api/factors", tags=["factors"], route_class=JsonRoute)

Status = Literal["proposed", "tried", "accepted", "rejected", "retired", "failed"]


class Factor(BaseModel):
    """An expression for a timeframe, from its proposal to its verdict."""

    factor_id: str
    timeframe: TimeframeName
    expression: str
    proposed_by: str
    hypothesis: str
    parents: list[str] = Field(description="Expressions that it was made of.")
    status: Status = Field(description="`tried` is what a search computed and did not put forward.")
    reason: str = Field(description="Why it was accepted, rejected or retired.")
    figures: dict[str, Any] | None = Field(
        description="Shown and hidden quarters, p and its corrections, years, regimes, capacity."
    )
    proposed_at: datetime
    screened_at: datetime | None
    retired_at: datetime | None
    run_id: str | None


class Factors(Page[Factor]):
    counts: dict[str, int] = Field(description="How many factors there are of each status.")
    screened: int = Field(description="Factors ever screened, tried ones among them: what each verdict counts.")


class FactorFilter(Paged):
    timeframe: TimeframeName | None = None
    status: Status | None = Field(default=None, description="Without it, all but what searches only tried.")


class FactorIn(Body):
    """A factor to screen, and why it should work."""

    model_config = with_example({"expression": "-1 * Delta(close, 5)/close", "timeframe": "short", "hypothesis": "overreaction"})

    expression: Annotated[Text, Field(min_length=1)]
    timeframe: TimeframeName = "short"
    hypothesis: Text = ""


class ScreeningRequest(BaseModel):
    request_id: int = Field(description="Of the run that was asked for; `/api/facilitator/runs` follows it.")


@router.get("")
def list_factors(installation: Installation, chosen: Annotated[FactorFilter, Query()]) -> Factors:
    """The library, the newest first."""
    statuses = [chosen.status] if chosen.status else ["proposed", "accepted", "rejected", "retired", "failed"]
    reader = installation.reader
    rows = library.factors(reader, chosen.timeframe, statuses, chosen.limit, chosen.offset)
    counts = library.counts(reader)
    return Factors(
        total=library.count_of(reader, chosen.timeframe, statuses),
        limit=chosen.limit,
        offset=chosen.offset,
        items=[_factor(one) for one in rows],
        counts=counts,
        screened=library.screened(reader),
    )


@router.post("", status_code=201)
def propose_factor(installation: Installation, proposed: FactorIn) -> Factor:
    """Take an expression into the library; it is screened when somebody asks for it, and only once."""
    idea = library.Idea(proposed.expression, proposed.hypothesis)
    stored, refused = library.propose(installation.engine, proposed.timeframe, [idea], "user", installation.now())
    if refused:
        raise Problem(422, refused[0].reason)
    return _factor(stored[0])


@router.post("/{factor_id}/screen", status_code=202)
def screen_factor(
    installation: Installation, request: Request, factor_id: Text, _: Annotated[Parameters, Query()]
) -> ScreeningRequest:
    """Have a proposed factor judged on the quarters that nobody was shown: the yes that starts it."""
    try:
        factor = library.get_factor(installation.reader, factor_id)
    except library.UnknownFactorError as error:
        raise Problem(404, str(error).strip("'\"")) from None
    if factor.status != "proposed":
        raise Problem(409, f"the factor is {factor.status}: nothing is screened twice")
    with installation.engine.begin() as connection:
        number = request_run(connection, "screen_factors", "api", params={"partition": factor_id})
    request.app.state.agent.system.start_requested()
    return ScreeningRequest(request_id=number)


def _factor(stored: library.StoredFactor) -> Factor:
    return Factor(
        **{name: getattr(stored, name) for name in Factor.model_fields if name != "parents"}, parents=list(stored.parents)
    )
