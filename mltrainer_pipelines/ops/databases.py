"""Where the three databases of a market live: in the embedded PostgreSQL of its folder, or in yours.

With `MLTRAINER_DATABASE_URL=postgresql://…/mltrainer` they are `mltrainer`, `mltrainer_dagster` and
`mltrainer_mlflow` there; every market but Polygon's gets databases of its own, named after it, so that
simulated recommendations never lie beside real ones, nor those of two vendors in one table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy.engine import make_url

from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database, create_missing_databases
from mltrainer_pipelines.store.embedded import EmbeddedPostgres

Purpose = Literal["mltrainer", "dagster", "mlflow"]
PURPOSES: tuple[Purpose, ...] = ("mltrainer", "dagster", "mlflow")


def database_url(settings: Settings, purpose: Purpose) -> str:
    """Address of one of the three databases; raises `EmbeddedPostgresError` if it is embedded and does not run."""
    if settings.mltrainer_database_url is None:
        return embedded(settings).url(purpose)
    given = make_url(settings.mltrainer_database_url.get_secret_value())
    parts = [given.database or "mltrainer"]
    if settings.market_id != "polygon":
        parts.append(settings.market_id.replace("-", "_"))
    if purpose != "mltrainer":
        parts.append(purpose)
    return given.set(database="_".join(parts)).render_as_string(hide_password=False)


def embedded(settings: Settings) -> EmbeddedPostgres:
    return EmbeddedPostgres(settings.state / "postgres")


@contextmanager
def provided_databases(settings: Settings) -> Iterator[dict[Purpose, str]]:
    """Addresses of the databases, running, made where missing and with our tables migrated.

    The embedded server runs at least until the context ends. Raises `DatabaseUnavailableError` if `MLTRAINER_DATABASE_URL`
    does not answer, `EmbeddedPostgresError` if the embedded server cannot start.
    """
    if settings.mltrainer_database_url is None:
        with embedded(settings) as server:
            urls = {purpose: server.url(purpose) for purpose in PURPOSES}
            Database(urls["mltrainer"]).migrate()
            yield urls
        return
    url = settings.mltrainer_database_url.get_secret_value()
    Database(url).check()
    urls = {purpose: database_url(settings, purpose) for purpose in PURPOSES}
    create_missing_databases(url, [str(make_url(own).database) for own in urls.values()])
    Database(urls["mltrainer"]).migrate()
    yield urls
