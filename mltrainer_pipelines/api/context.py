"""What every route works with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.engine import Engine

from mltrainer_pipelines.ops.dagster_client import DagsterClient
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake


@dataclass(frozen=True)
class Context:
    """The installation that an API serves, its tables migrated; `now` is New York time, pinned by `MLTRAINER_AS_OF`."""

    settings: Settings
    database: Database
    lake: Lake
    dagster: DagsterClient
    now: Callable[[], datetime]

    @property
    def engine(self) -> Engine:
        return self.database.engine

    @property
    def reader(self) -> Engine:
        return self.database.reader


async def _context(request: Request) -> Context:  # not a thread's work
    context: Context = request.app.state.context
    return context


Installation = Annotated[Context, Depends(_context)]
"""The context of the app that a request came to."""
