"""`mltrainer doctor`: what an installation needs, checked one by one."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mltrainer_pipelines.commands.preflight import look
from mltrainer_pipelines.ops import state_dir
from mltrainer_pipelines.ops.databases import embedded
from mltrainer_pipelines.ops.supervisor import require_startable, services
from mltrainer_pipelines.ops.wait_for import answers
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.postgres_programs import EmbeddedPostgresError

NEEDED_GB = 5.0
"""Disk that five years of a whole market, its features and trials take, with room to write them anew."""


@dataclass(frozen=True)
class Finding:
    """Outcome of one check: not `ok` where it stops mlTrainer from working, and then `detail` has the remedy."""

    name: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Check everything; a check that raises one of our own errors is a finding, not a crash."""
    return list(_findings(settings))


_FETCHED = frozenset({"daily_bars", "corporate_actions", "macro_series", "ticker_events", "ticker_profiles", "delayed_quotes"})
"""Assets that come from a vendor; all others are computed from them."""


def examine_lake(settings: Settings, looked_at: Callable[[str, float], None] = lambda *_: None) -> list[Finding]:
    """Look at every file of the lake: which are damaged, and what to fetch or compute again."""
    from mltrainer_pipelines.store.lake import Lake

    if settings.lake_url.startswith("s3://"):
        return [Finding("lake", True, f"{settings.lake_url}: the object store keeps checksums of its own")]
    damaged, files, bare = Lake(settings.lake_url).damaged_files(looked_at)
    findings = [
        Finding(asset, False, f"{key} is damaged: {'fetch' if asset in _FETCHED else 'compute'} it again, materialize {asset}")
        for asset, key in damaged
    ]
    old = f"; {bare} were written by an earlier version and have no checksum" if bare else ""
    return [*findings, Finding("lake", not damaged, f"{files} files in {settings.lake_url}, {len(damaged)} damaged{old}")]


def text(findings: Sequence[Finding]) -> str:
    """The findings for a reader, a line each."""
    return "\n".join(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<18} {finding.detail}" for finding in findings)


def _findings(settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info[:2] == (3, 11), f"{version}; mlTrainer is made for 3.11")
    seen = look(settings)
    detail = seen.refusal or "; ".join([f"{settings.market_kind}: {settings.market_source}", *seen.lines])
    yield Finding("market", seen.refusal is None, detail)
    for name in ("polygon_api_key", "fred_api_key", "anthropic_api_key", "mltrainer_notify"):
        yield Finding(name.upper(), True, "set" if getattr(settings, name) else "not set")
    yield _tried("home", lambda: f"{settings.state} can be written ({state_dir.log_file(settings).parent})")
    free = shutil.disk_usage(settings.state if settings.state.exists() else settings.mltrainer_home.parent).free / 1e9
    yield Finding("disk", free > NEEDED_GB, f"{free:.0f} GB free; {NEEDED_GB:.0f} GB are enough for a whole market")
    yield look_at_database(settings)
    if state_dir.lock_holder(settings) is None:
        yield _tried("ports", lambda: _startable(settings))
        return
    for service in services(settings):
        if service.url:
            up = answers(service.url)
            detail = "answers" if up else "does not answer; stop `mltrainer up` and start it again"
            yield Finding(service.name, up, f"{service.url} {detail}")


def look_at_database(settings: Settings) -> Finding:
    """Whether PostgreSQL answers, or is there to be started."""
    return _tried("database", lambda: _database(settings))


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except (RuntimeError, ConnectionError) as error:
        return Finding(name, False, str(error))


def _database(settings: Settings) -> str:
    from mltrainer_pipelines.store.database import Database

    if settings.mltrainer_database_url is None:
        server = embedded(settings)
        if not server.running and state_dir.lock_holder(settings) is not None:
            raise EmbeddedPostgresError(
                f"mlTrainer runs, and its PostgreSQL in {server.folder} does not; it is started again soon, and if not: "
                f"see {server.log}, stop `mltrainer up` and start it again"
            )
        return f"embedded PostgreSQL in {server.folder}, {'running' if server.running else 'not running'}"
    database = Database(settings.mltrainer_database_url.get_secret_value())
    database.check()
    return f"{database.place} answers"


def _startable(settings: Settings) -> str:
    require_startable(settings, sweep=False)
    return "free: " + ", ".join(str(service.port) for service in services(settings) if service.port)
