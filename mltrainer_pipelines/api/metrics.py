"""Metrics for Prometheus: the use of the API, and the state of the system."""

import time
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mltrainer_pipelines.agent.ledger import spent
from mltrainer_pipelines.api.context import Context
from mltrainer_pipelines.api.market_data import newest_signals
from mltrainer_pipelines.store.tables import AgentAction, Alert, Recommendation, Trial, TrialProposal, VirtualPosition

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The metrics of one API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mltrainer_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "mltrainer_http_request_seconds", "Until the first byte.", ["route"], buckets=_BUCKETS, registry=self.registry
        )
        self._gauges = {
            name: Gauge(f"mltrainer_{name}", text, registry=self.registry)
            for name, text in {
                "recommendations": "Recommendations ever made.",
                "recommendations_latest_session": "Of the newest session.",
                "virtual_positions_open": "Paper trades that are open.",
                "virtual_positions_pending": "Paper trades before their entry.",
                "virtual_positions_closed": "Paper trades that are closed.",
                "profit_loss_realized_dollars": "Of the closed paper trades, after fees.",
                "profit_loss_unrealized_dollars": "Of the open ones.",
                "trials": "Trials ever submitted.",
                "proposals_waiting": "Proposals that need approval.",
                "actions_pending": "Actions that need approval.",
                "alerts_open": "Alerts that are not acknowledged.",
                "agent_dollars_today": "What Claude has cost today, New York time.",
                "last_refresh_timestamp_seconds": "When the market was scored last.",
                "signals_latest": "Signals of the last refresh.",
            }.items()
        }
        self._info = Gauge("mltrainer_info", "1, with the kind of market.", ["market"], registry=self.registry)

    def text(self, context: Context) -> bytes:
        """Everything, in Prometheus's text format, with the system's state as of now."""
        self._info.labels(context.settings.market_kind).set(1)
        for name, value in _state(context).items():
            self._gauges[name].set(value)
        return generate_latest(self.registry)


class MeasureRequests:
    """Counts and times every request, by the route that answered it."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status, waited = time.perf_counter(), 500, 0.0

        async def observed(message: Message) -> None:
            nonlocal status, waited
            if message["type"] == "http.response.start":
                status, waited = message["status"], time.perf_counter() - begin
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self.metrics.requests.labels(scope["method"] if path != "other" else "any", path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(waited or time.perf_counter() - begin)


def _state(context: Context) -> dict[str, float]:
    r, p = Recommendation, VirtualPosition
    newest = sa.select(sa.func.max(r.session)).scalar_subquery()
    paid = sa.func.coalesce(sa.func.sum(p.profit_loss), 0)
    measures: dict[str, sa.Select[Any]] = {
        "recommendations": _count(r),
        "recommendations_latest_session": _count(r, r.session == newest),
        "virtual_positions_open": _count(p, p.status == "open"),
        "virtual_positions_pending": _count(p, p.status == "pending"),
        "virtual_positions_closed": _count(p, p.status == "closed"),
        "profit_loss_realized_dollars": sa.select(paid).where(p.status == "closed"),
        "profit_loss_unrealized_dollars": sa.select(paid).where(p.status == "open"),
        "trials": _count(Trial),
        "proposals_waiting": _count(TrialProposal, TrialProposal.status == "proposed"),
        "actions_pending": _count(AgentAction, AgentAction.status == "pending"),
        "alerts_open": _count(Alert, Alert.acknowledged_at.is_(None)),
    }
    statement = sa.select(*(measure.scalar_subquery() for measure in measures.values()))
    with context.reader.connect() as connection:
        state = dict(zip(measures, map(float, connection.execute(statement).one()), strict=True))
    signals = newest_signals(context.lake)
    state["agent_dollars_today"] = float(spent(context.reader, datetime.now(UTC)).dollars)
    if signals is not None:
        state |= {"last_refresh_timestamp_seconds": signals["timestamp"][0].timestamp(), "signals_latest": float(signals.height)}
    return state


def _count(table: Any, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*conditions)
