"""What is due at a moment: the installation's schedules, sensors and conditions asked, and what they request started."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from mltrainer_pipelines import defs as stages
from mltrainer_pipelines.defs.conditions import follow_inputs
from mltrainer_pipelines.defs.resources import RESOURCES
from mltrainer_pipelines.ops.dagster_client import UNFINISHED, DagsterClient
from mltrainer_pipelines.ops.dagster_internals import moments_due, partitions_as_of, schedule_context
from mltrainer_pipelines.ops.run_launcher import RunLauncher

RUN_KEY, SCHEDULE, SENSOR = "dagster/run_key", "dagster/schedule_name", "dagster/sensor_name"
"""Tags of a run that Dagster's daemon gives too: what requested it, and for what."""
_UNFINISHED = dg.RunsFilter(statuses=[dg.DagsterRunStatus(status) for status in UNFINISHED])
_POLL_S = 0.1
_POLLS_A_LOOK = 20
_MOST_ROUNDS = 20
"""How often at one moment what has just been made may ask for more."""


class DueWork:
    """The automation of a home whose daemon leaves it alone (`MLTRAINER_AUTOMATION=false` in this process and in the daemon's).

    What somebody switched off stays off. Sensors that are on even in a quiet installation are the daemon's.
    """

    def __init__(self, instance: dg.DagsterInstance, dagster: DagsterClient, launcher: RunLauncher):
        self.instance, self.dagster, self.launcher = instance, dagster, launcher
        self._definitions = dg.load_definitions_from_package_module(stages, resources=RESOURCES)
        self._repository = repository = self._definitions.get_repository_def()
        states = {state.name: state for state in instance.all_instigator_state()}
        off = {name for name, state in states.items() if state.status.value == "STOPPED"}
        self.schedules = [schedule for schedule in repository.schedule_defs if schedule.name not in off]
        self._sensors = [
            sensor
            for sensor in repository.sensor_defs
            if sensor.name not in off | {follow_inputs.name} and sensor.default_status == dg.DefaultSensorStatus.STOPPED
        ]
        self._conditions_on = follow_inputs.name not in off
        graph = repository.asset_graph
        self._order = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)]
        self.failures: list[str] = []
        self._cursor: Any = None
        self._inputs = sorted(
            {key for one in self._order if graph.get(one).automation_condition for key in (one, *graph.get(one).parent_keys)}
        )
        self._looked_at: object = None
        self._cursors = {name: getattr(state.instigator_data, "cursor", None) for name, state in states.items()}

    def ticks(self, after: datetime, until: datetime) -> list[tuple[datetime, dg.ScheduleDefinition]]:
        """The ticks of all schedules, later than `after` and not later than `until`, in order."""
        due = [(moment, one) for one in self.schedules for moment in moments_due(one, after, until)]
        return sorted(due, key=lambda tick: (tick[0], tick[1].name))

    def ask_schedule(self, schedule: dg.ScheduleDefinition, tick: datetime) -> None:
        """Start what a schedule requests at a tick of its own, unless that was done before."""
        with partitions_as_of(tick):
            try:
                answer = schedule.evaluate_tick(schedule_context(self.instance, tick, self._repository))
            except Exception as error:  # as in the daemon: a tick that fails is on record, and the next one comes
                self.failures.append(f"{schedule.name} at {tick:%Y-%m-%d %H:%M}: {error}")
                return
        for request in answer.run_requests or []:
            self._launch(request, schedule.job_name, {SCHEDULE: schedule.name}, again_if_failed=True)

    def settle(self, moment: datetime) -> None:
        """Ask conditions and sensors and wait for what they start, until nothing more is due at `moment`."""
        for _ in range(_MOST_ROUNDS):
            self._wait()
            self.launcher.update()
            asked = self._ask_conditions(moment)
            asked |= sum(self._ask_sensor(sensor, moment) for sensor in self._sensors) > 0
            self.launcher.update()
            if not asked and not self._running():
                return

    def _ask_conditions(self, moment: datetime) -> bool:
        if not self._conditions_on or (seen := self._seen(moment)) == self._looked_at:
            return False
        result = dg.evaluate_automation_conditions(self._definitions, self.instance, None, moment, self._cursor)
        self._cursor = result.cursor
        batches: list[tuple[list[str], list[str]]] = []  # assets in order, those of the same partitions in one run
        for key in self._order:
            if parts := result.get_requested_partitions(key):
                keys, name = sorted(part for part in parts if part), key.to_user_string()
                if batches and batches[-1][1] == keys:
                    batches[-1][0].append(name)
                else:
                    batches.append(([name], keys))
        for assets, keys in batches:
            self.dagster.launch_assets(assets, keys[0] if keys else None, keys[-1] if keys else None)
            self._wait()
        self._looked_at = None if batches else seen
        return bool(batches)

    def _seen(self, moment: datetime) -> object:
        """What conditions depend on: the day, and the newest materializations. Where it is as before they request nothing."""
        records = self.instance.get_asset_records(self._inputs)
        return moment.date(), sorted(record.asset_entry.last_materialization_storage_id or 0 for record in records)

    def _ask_sensor(self, sensor: dg.SensorDefinition, moment: datetime) -> bool:
        resources = {name: RESOURCES[name] for name in sensor.required_resource_keys}
        cursor = self._cursors.get(sensor.name)
        with partitions_as_of(moment), dg.build_sensor_context(self.instance, cursor, resources=resources) as context:
            try:
                answer = sensor.evaluate_tick(context)
            except Exception as error:
                self.failures.append(f"{sensor.name} at {moment:%Y-%m-%d %H:%M}: {error}")
                return False
        self._cursors[sensor.name] = answer.cursor or cursor
        job = sensor.job_name if sensor.has_jobs else None
        return sum(self._launch(request, job, {SENSOR: sensor.name}) for request in answer.run_requests or []) > 0

    def _launch(
        self, request: dg.RunRequest, job: str | None, asked_by: dict[str, str], *, again_if_failed: bool = False
    ) -> bool:
        """Launch a request, once for a run key; whether it was."""
        if request.run_key:
            asked_by = asked_by | {RUN_KEY: request.run_key}
            before = self.instance.get_runs(dg.RunsFilter(tags=asked_by))
            if any(not (again_if_failed and run.status == dg.DagsterRunStatus.FAILURE) for run in before):
                return False
        self.dagster.launch(request.job_name or str(job), {**request.tags, **asked_by}, dict(request.run_config))
        return True

    def _wait(self) -> None:
        """Until no run waits or is under way, whoever started it."""
        polls = 0
        while self._running():
            polls += 1
            if polls % _POLLS_A_LOOK == 0:
                self.dagster.runs(limit=1)  # raises where the services are gone: nobody would end that run
            time.sleep(_POLL_S)

    def _running(self) -> bool:
        return bool(self.instance.get_runs(_UNFINISHED, limit=1))


def failed_runs(instance: dg.DagsterInstance, since: datetime) -> Sequence[dg.DagsterRun]:
    """Runs created since a time of the wall clock that ended badly, in order."""
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], created_after=since)
    return [record.dagster_run for record in reversed(instance.get_run_records(ended))]
