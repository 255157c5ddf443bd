"""A loopback server that answers the GraphQL requests of `DagsterClient` as Dagster's webserver does.

It keeps the runs it was asked for; a test says how they go on. The real webserver is used where a test
needs real runs (`ops/stack.py`).
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUARTERS = ["2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01"]


@dataclass
class LaunchedRun:
    """A run somebody launched."""

    run_id: str
    job: str
    tags: dict[str, str]
    status: str = "QUEUED"
    created: float = field(default_factory=time.time)


@dataclass
class Dagster:
    """The running server: its address, the runs and the partitions it was given."""

    url: str
    runs: list[LaunchedRun] = field(default_factory=list)
    partitions: dict[str, list[str]] = field(default_factory=dict)

    on: dict[str, bool] = field(default_factory=lambda: {"schedule": True, "sensor": True, "net": True})
    daemon: bool = True

    def _state(self, kind: str) -> dict[str, Any]:
        failed = {"status": "FAILURE", "skipReason": None, "error": {"message": "the tick went wrong"}, "runIds": []}
        ticks = [{"timestamp": time.time() - 60, **failed}]
        return {"id": kind, "status": "RUNNING" if self.on[kind] else "STOPPED", "ticks": ticks if kind == "sensor" else []}

    def finish(self, status: str = "SUCCESS") -> None:
        """All runs end."""
        for run in self.runs:
            run.status = status

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "launchRun(" in query:
            params = variables["params"]
            tags = {tag["key"]: tag["value"] for tag in params["executionMetadata"]["tags"]}
            self.runs.append(LaunchedRun(f"run-{len(self.runs) + 1}", params["selector"]["jobName"], tags))
            return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": self.runs[-1].run_id}}}
        if "schedulesOrError" in query:
            schedule = {
                "name": "refresh_signals_schedule",
                "description": "Every 15 minutes.",
                "scheduleState": self._state("schedule"),
            }
            schedule["futureTicks"] = {"results": [{"timestamp": time.time() + 900}]}
            sensor = {"name": "follow_inputs", "description": "Assets follow.", "sensorState": self._state("sensor")}
            sensor["nextTick"] = {"timestamp": time.time() + 30}
            net = {"name": "launch_requested_runs", "description": "Requests become runs.", "sensorState": self._state("net")}
            net["nextTick"] = {"timestamp": time.time() + 5}
            return {
                "schedulesOrError": {"__typename": "Schedules", "results": [schedule]},
                "sensorsOrError": {"__typename": "Sensors", "results": [sensor, net]},
            }
        if query.startswith(("mutation On(", "mutation Off(")):
            names = {"refresh_signals_schedule": "schedule", "follow_inputs": "sensor", "launch_requested_runs": "net"}
            one = variables.get("one", {})
            kind = variables.get("id") or names[one.get("scheduleName") or one["sensorName"]]
            self.on[kind] = query.startswith("mutation On(")
            return {"done": {"__typename": "ScheduleStateResult"}}
        if "daemonHealth" in query:
            daemons = [{"daemonType": name, "required": True, "healthy": self.daemon} for name in ("SCHEDULER", "SENSOR")]
            return {"instance": {"daemonHealth": {"allDaemonStatuses": daemons}}}
        if "assetNodes" in query:
            return {"assetNodes": []}
        if "addDynamicPartition" in query:
            self.partitions.setdefault(variables["name"], []).append(variables["key"])
            return {"addDynamicPartition": {"__typename": "AddDynamicPartitionSuccess"}}
        if "assetPartitionStatuses" in query:
            statuses = {"__typename": "MultiPartitionStatuses", "primaryDimensionName": "quarter", "ranges": []}
            return {"assetNodeOrError": {"__typename": "AssetNode", "assetPartitionStatuses": statuses}}
        if "terminateRun" in query:
            for run in self.runs:
                run.status = "CANCELED" if run.run_id == variables["id"] else run.status
            return {"terminateRun": {"__typename": "TerminateRunSuccess"}}
        if "stepStats" in query:
            return {"runOrError": {"stepStats": []}}
        if "logsForRun" in query:
            failed = {"__typename": "RunFailureEvent", "message": "it went wrong"}
            return {"logsForRun": {"__typename": "EventConnection", "cursor": "1", "hasMore": False, "events": [failed]}}
        if "runsOrError" in query or "pipelineRunsOrError" in query:
            return {"runsOrError": {"__typename": "Runs", "results": self._listed(variables), "count": len(self.runs)}}
        raise ValueError(f"this server does not know the request: {query[:200]}")

    def _listed(self, variables: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = variables.get("filter") or {}
        chosen = [
            run
            for run in reversed(self.runs)
            if wanted.get("pipelineName") in (None, run.job)
            and ("statuses" not in wanted or run.status in wanted["statuses"])
            and ("runIds" not in wanted or run.run_id in wanted["runIds"])
            and all(run.tags.get(tag["key"]) == tag["value"] for tag in wanted.get("tags", []))
        ]
        over = {"SUCCESS", "FAILURE", "CANCELED"}
        return [
            {
                "runId": run.run_id,
                "jobName": run.job,
                "status": run.status,
                "creationTime": run.created,
                "startTime": run.created + 1,
                "endTime": run.created + 8.5 if run.status in over else None,
                "tags": [{"key": key, "value": value} for key, value in run.tags.items()],
            }
            for run in chosen[: variables.get("limit") or 100]
        ]


@contextmanager
def dagster_server() -> Iterator[Dagster]:
    """Serve on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                body = json.dumps({"data": served.answer(request["query"], request["variables"])}).encode()
            self._send(body)

        def do_GET(self) -> None:
            self._send(b"{}")

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Dagster(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
