"""Back to an earlier champion: the registry's alias moves, and a row says from where, to where and why."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Engine

from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.model_registry import (
    ChampionVersion,
    NoChampionError,
    champion_version,
    registered_versions,
    set_champion,
)
from mltrainer_pipelines.trials.registry.tracking import Tracking


@dataclass(frozen=True)
class Rollback:
    """The version before a rollback and the one that scores the market now; not `changed` where all was as asked for."""

    changed: bool
    before: ChampionVersion
    now: ChampionVersion


def roll_back(
    engine: Engine, tracking: Tracking, timeframe: str, decided_at: datetime, to: str | None = None, reason: str = ""
) -> Rollback:
    """Let an earlier version score the market; NoChampionError if there is no such version, or none before the present one.

    By default the newest one of another trial that was champion before; of the same trial where there never was another. Done
    twice it changes nothing the second time. The trial that is left does not challenge again (`records.withdrawn`), unless
    somebody rolls back to it. The reason is kept with the row.
    """
    before = champion_version(tracking, timeframe)
    newest = records.newest_change(engine, timeframe)
    if to is None and newest is not None and newest.decision == "rolled_back" and newest.model_version == before.version:
        return Rollback(changed=False, before=before, now=before)
    now = before if to == before.version else set_champion(tracking, timeframe, to or previous_version(tracking, before).version)
    if now == before and newest is not None and newest.trial_id == before.trial_id:
        return Rollback(changed=False, before=before, now=before)
    # a command that was killed between the alias and the row is completed by the next one
    reasons = [f"rolled back from version {before.version} ({before.trial_id}) to version {now.version} ({now.trial_id})"]
    if now == before:
        reasons = [f"the alias was moved to version {now.version} ({now.trial_id}) before"]
    records.record_rollback(engine, timeframe, now, [*reasons, *([reason] if reason else [])], decided_at)
    return Rollback(changed=True, before=before, now=now)


def previous_version(tracking: Tracking, present: ChampionVersion) -> ChampionVersion:
    """The version that a rollback from `present` goes to: the newest before it of another trial, else of the same."""
    timeframe = present.name.rpartition("-")[2]
    older = [entry for entry in registered_versions(tracking, timeframe) if int(entry.version) < int(present.version)]
    others = [entry for entry in older if entry.trial_id != present.trial_id]
    if not older:
        raise NoChampionError(
            f"version {present.version} ({present.trial_id}) is the first {timeframe} champion: there is nothing to roll back to"
        )
    return (others or older)[0]
