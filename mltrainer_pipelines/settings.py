"""Every environment variable of mlTrainer, typed, with its default, read once; and the one clock.

Only the edges import this module (`defs/`, `cli.py`, `exchange/`, the supervisor). Domain code is
handed the values it needs, so that it runs the same in a notebook, a test and a Dagster run.
"""

import hashlib
import json
import os
from datetime import date, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mltrainer_pipelines.data_plan import DataPlan, fingerprint, read_plan
from mltrainer_pipelines.live_clock import read_clock
from mltrainer_pipelines.redaction import protect

NEW_YORK = ZoneInfo("America/New_York")
PROJECT_ROOT = Path(__file__).resolve().parents[1]
POLYGON_URL = "https://api.polygon.io"
MASSIVE_URL = "https://api.massive.com"
FRED_URL = "https://api.stlouisfed.org/fred"
MARKETS = "markets"
"""Folder of imported markets in a home."""
SIMULATION = 2
"""Raised whenever the simulated market comes out differently for the same parameters: it is then another market."""
LOCAL_EXCHANGE_KEY = "local-exchange"
"""The key of the local exchange: it guards nothing, it keeps the wire format whole."""


class SettingsError(ValueError):
    """An environment variable that cannot be used: names it, its value and the remedy."""


def _variable(name: str, default: float, ge: float | None = None, le: float | None = None) -> Any:
    """A number under its own name, which the environment calls `MLTRAINER_<NAME>`."""
    return Field(default=default, validation_alias=AliasChoices(f"MLTRAINER_{name.upper()}", name), ge=ge, le=le)


class Settings(BaseSettings):
    """What the environment says. Fields are named as their variables, in lower case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    _history_asked_for: date = PrivateAttr()

    # where things are kept
    mltrainer_home: Path = PROJECT_ROOT / ".mltrainer"
    mltrainer_database_url: SecretStr | None = None
    mltrainer_lake_url: str | None = None

    # what steps run on: this process, or a Ray cluster through the address of its job server (docs/scale.md)
    mltrainer_executor: Literal["local", "ray"] = "local"
    mltrainer_ray_address: str | None = None

    # which market, over which time; an imported market (`mltrainer import`) says the three below where they are not set
    mltrainer_market: str | None = None
    mltrainer_exchange: str = "simulated"
    mltrainer_history_start: date = Field(default_factory=lambda: date(datetime.now(NEW_YORK).year - 5, 1, 1))
    mltrainer_as_of: datetime | None = None
    mltrainer_training_days: int = Field(default=548, ge=180, le=3650)  # of history before the first predicted quarter
    mltrainer_universe_size: int = Field(default=200, ge=5, le=5000)
    mltrainer_simulated_seed: int = Field(default=7, ge=0)
    mltrainer_simulated_symbols: int = Field(default=120, ge=5, le=20_000)
    mltrainer_simulated_premium: float = Field(default=0.85, ge=0.0, le=5.0)

    # outside services: the folders of market/vendors that bars and macro series come from, their keys and addresses
    mltrainer_market_vendor: str = Field(default="polygon", pattern="^[a-z][a-z0-9_]*$")
    mltrainer_macro_vendor: str = Field(default="fred", pattern="^[a-z][a-z0-9_]*$")
    # Polygon has been called Massive since 30 October 2025: both names are understood
    polygon_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("POLYGON_API_KEY", "MASSIVE_API_KEY", "polygon_api_key")
    )
    polygon_base_url: str | None = Field(
        default=None, validation_alias=AliasChoices("POLYGON_BASE_URL", "MASSIVE_BASE_URL", "polygon_base_url")
    )
    polygon_calls_per_minute: int | None = Field(  # 0: no limit; unset: see polygon_call_budget
        default=None,
        ge=0,
        validation_alias=AliasChoices("POLYGON_CALLS_PER_MINUTE", "MASSIVE_CALLS_PER_MINUTE", "polygon_calls_per_minute"),
    )
    fred_api_key: SecretStr | None = None
    fred_base_url: str | None = None
    mltrainer_stale_minutes: float = Field(default=30.0, gt=0, allow_inf_nan=False)  # without a trade: the price is stale
    mltrainer_closed_days: str = ""  # days that the calendar has and the market had not, separated by commas
    mltrainer_macro_series: str = "DGS2,DGS10,T10Y2Y,FEDFUNDS,BAMLH0A0HYM2,VIXCLS,UNRATE,CPIAUCSL,DTWEXBGS,M2SL"
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str | None = None
    mltrainer_agent_model: str = "claude-sonnet-5-5"
    mlflow_tracking_uri: str | None = None

    # costs a side, in basis points of the traded value
    fee_bps: float = _variable("fee_bps", 5.0, ge=0)
    slippage_bps: float = _variable("slippage_bps", 5.0, ge=0)

    # thresholds of a strong buy
    min_profit_probability: float = _variable("min_profit_probability", 0.60, ge=0, le=1)
    min_confidence: float = _variable("min_confidence", 0.70, ge=0, le=1)
    min_regime_score: float = _variable("min_regime_score", 25.0, ge=0, le=100)

    # ports of `mltrainer up`, all on 127.0.0.1
    dagster_port: int = _variable("dagster_port", 3000)
    mlflow_port: int = _variable("mlflow_port", 5000)
    exchange_port: int = _variable("exchange_port", 8900)
    api_port: int = _variable("api_port", 8000)
    app_port: int = _variable("app_port", 8501)

    # where people find Dagster and MLflow, if not at these ports: what links in tables, messages and MLflow begin with
    mltrainer_dagster_url: str | None = None
    mltrainer_mlflow_url: str | None = None

    mltrainer_automation: bool = True  # whether schedules and sensors run unless somebody switches them off
    mltrainer_notify: SecretStr | None = None  # addresses of Apprise that are told what happens, separated by blanks
    mltrainer_serve_app: bool = True  # whether `mltrainer up` serves the API and the app too

    # the API: names and pages beside the local ones that may talk to it, separated by commas; requests a minute and client
    mltrainer_api_hosts: str = ""
    mltrainer_api_cors_origins: str = ""
    mltrainer_api_reads_per_minute: int = Field(default=600_000, ge=1)
    mltrainer_api_writes_per_minute: int = Field(default=6_000, ge=1)
    mltrainer_api_jobs_per_minute: int = Field(default=60, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _of_an_imported_market(cls, values: dict[str, Any]) -> dict[str, Any]:
        name = values.get("mltrainer_market")
        if not name:
            return values
        home = Path(values.get("mltrainer_home") or PROJECT_ROOT / ".mltrainer").expanduser().resolve()
        file = home / MARKETS / f"{name}.json"
        if not file.is_file():
            known = ", ".join(sorted(path.stem for path in (home / MARKETS).glob("*.json"))) or "none"
            raise ValueError(f"MLTRAINER_MARKET={name}: no such market was imported (there: {known}); run mltrainer import FILE")
        market = json.loads(file.read_text())
        close = datetime.fromisoformat(market["as_of"]).replace(tzinfo=NEW_YORK)
        return {
            "mltrainer_exchange": f"replay:{file.with_name(market['file'])}",
            "mltrainer_history_start": market["history_start"],
            "mltrainer_as_of": close.isoformat(),
            "mltrainer_training_days": market.get("training_days", 548),
        } | {key: value for key, value in values.items() if value not in (None, "")}

    @field_validator("mltrainer_as_of", mode="before")
    @classmethod
    def _as_of_has_an_offset(cls, value: object) -> Any:
        if value in (None, ""):
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError as error:
            raise ValueError(f"not a date and time with a UTC offset ({error}); write 2015-10-30T18:00:00-04:00") from error
        if moment.tzinfo is None:
            raise ValueError("has no UTC offset, so its instant is unknown; write 2015-10-30T18:00:00-04:00 (New York)")
        return moment.astimezone(NEW_YORK)

    @field_validator("mltrainer_closed_days")
    @classmethod
    def _closed_days_are_days(cls, value: str) -> str:
        try:
            _ = [date.fromisoformat(day) for day in _listed(value)]
        except ValueError:
            raise ValueError("not days separated by commas; write 2012-10-29,2012-10-30") from None
        return value

    @field_validator("mltrainer_exchange")
    @classmethod
    def _exchange_is_known(cls, value: str) -> str:
        if value == "simulated":
            return value
        if not value.startswith("replay:"):
            raise ValueError("neither 'simulated' nor 'replay:FILE.parquet' (or .csv)")
        path = Path(value.removeprefix("replay:")).expanduser()
        if not path.is_file():
            raise ValueError(f"the recording {path} does not exist; give the path of a Parquet or CSV file of daily bars")
        return f"replay:{path.resolve()}"

    @field_validator(
        *("polygon_api_key", "fred_api_key", "anthropic_api_key", "mltrainer_database_url", "mltrainer_lake_url"),
        *("mltrainer_ray_address", "polygon_calls_per_minute", "mltrainer_notify"),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> Any:
        return None if value == "" else value

    @field_validator("mltrainer_database_url")
    @classmethod
    def _database_is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("not a PostgreSQL address; write postgresql://user:password@host:5432/database")
        return value

    @model_validator(mode="after")
    def _history_is_in_the_plan(self) -> "Settings":
        """History begins where the plan of the key does, if that is later than what is asked for."""
        self._history_asked_for = self.mltrainer_history_start
        if plan := self.data_plan:
            self.__dict__["mltrainer_history_start"] = max(self.mltrainer_history_start, plan.history_start)
            if "mltrainer_training_days" not in self.model_fields_set:
                self.__dict__["mltrainer_training_days"] = plan.training_days
        return self

    @model_validator(mode="after")
    def _history_precedes_now(self) -> "Settings":
        if self.mltrainer_as_of and self.mltrainer_history_start >= self.mltrainer_as_of.date():
            raise ValueError(
                f"MLTRAINER_HISTORY_START={self.mltrainer_history_start} is not before "
                f"MLTRAINER_AS_OF={self.mltrainer_as_of.isoformat()}; start the history years earlier"
            )
        return self

    @model_validator(mode="after")
    def _a_cluster_reaches_everything(self) -> "Settings":
        needed = ("mltrainer_ray_address", "mltrainer_database_url", "mltrainer_lake_url")
        missing = [name.upper() for name in needed if getattr(self, name) is None]
        if self.mltrainer_executor == "ray" and missing:
            raise ValueError(
                f"MLTRAINER_EXECUTOR=ray needs {', '.join(missing)}: the nodes of a cluster reach neither the embedded "
                "PostgreSQL nor the folder of this machine; see docs/scale.md"
            )
        return self

    @model_validator(mode="after")
    def _keys_are_hidden(self) -> "Settings":
        for name in ("polygon_api_key", "fred_api_key", "anthropic_api_key"):
            if key := getattr(self, name):
                protect(key.get_secret_value())
        if self.mltrainer_database_url:
            protect(urlsplit(self.mltrainer_database_url.get_secret_value()).password)
        return self

    @cached_property
    def market_id(self) -> str:
        """Name of the market these settings look at: the data of two markets are never mixed."""
        if self._is_real:
            return self.mltrainer_market_vendor
        if self.mltrainer_exchange == "simulated":
            size, premium = self.mltrainer_simulated_symbols, self.mltrainer_simulated_premium
            recipe = repr((SIMULATION, size, premium, str(self.mltrainer_history_start)))
            name = f"simulated-{self.mltrainer_simulated_seed}"
        else:
            recipe = self.mltrainer_exchange.removeprefix("replay:")
            name = f"replay-{Path(recipe).stem.lower()[:24]}"
        return f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"

    @property
    def is_imported(self) -> bool:
        """Whether the recording is one that `mltrainer import` checked."""
        return Path(self.mltrainer_exchange.removeprefix("replay:")).parent == self.markets_folder

    @property
    def markets_folder(self) -> Path:
        """Where `mltrainer import` keeps markets."""
        return self.mltrainer_home.expanduser().resolve() / MARKETS

    @property
    def threshold_defaults(self) -> dict[str, float]:
        """The thresholds of a strong buy that hold while nobody changed them at run time."""
        return {name: getattr(self, name) for name in ("min_profit_probability", "min_confidence", "min_regime_score")}

    @property
    def market_kind(self) -> str:
        """`real`, `simulated` or `replay`: the label that every page, table and MLflow run carries."""
        return "real" if self._is_real else self.mltrainer_exchange.split(":")[0]

    @property
    def _is_real(self) -> bool:
        return self.polygon_api_key is not None or self.mltrainer_market_vendor != "polygon"

    @property
    def state(self) -> Path:
        """Folder of everything kept for this market: PostgreSQL, lake, Dagster home, artifacts, logs."""
        return self.mltrainer_home.expanduser().resolve() / self.market_id

    @property
    def lake_url(self) -> str:
        return self.mltrainer_lake_url or str(self.state / "lake")

    @property
    def uses_local_exchange(self) -> bool:
        return not self._is_real and self.polygon_base_url is None

    @property
    def market_source(self) -> str:
        """Where bars come from: the local exchange's market, the address of Polygon, or the name of another vendor."""
        if self.uses_local_exchange:
            return self.mltrainer_exchange
        return self.polygon_url if self.mltrainer_market_vendor == "polygon" else self.mltrainer_market_vendor

    @property
    def exchange_url(self) -> str:
        return f"http://127.0.0.1:{self.exchange_port}"

    @property
    def polygon_url(self) -> str:
        return self.polygon_base_url or (POLYGON_URL if self.polygon_api_key else self.exchange_url)

    @property
    def polygon_key(self) -> SecretStr:
        return self.polygon_api_key or SecretStr(LOCAL_EXCHANGE_KEY)

    @property
    def polygon_call_budget(self) -> int | None:
        """Calls to Polygon in any 60 seconds; None for no limit.

        Unset: those of the plan; before it is recognized 5, the free plan's, at Polygon itself, else no limit.
        """
        if self.polygon_calls_per_minute is not None:
            return self.polygon_calls_per_minute or None
        if plan := self.data_plan:
            return plan.calls_per_minute
        return 5 if self.polygon_url.rstrip("/") in (POLYGON_URL, MASSIVE_URL) else None

    @property
    def history_asked_for(self) -> date:
        """First session as the environment wants it, also where the plan of the key begins later."""
        return self._history_asked_for

    @property
    def plan_key(self) -> str | None:
        """Tells the key and address of the market's vendor from others; None where no real market is asked."""
        if not self._is_real or self.mltrainer_market_vendor != "polygon" or self.polygon_api_key is None:
            return None
        return fingerprint(self.polygon_url, self.polygon_api_key.get_secret_value())

    @property
    def data_plan(self) -> DataPlan | None:
        """What the key was found to allow (`commands.preflight`), as the state folder has it now; None before."""
        return read_plan(self.state, self.plan_key) if self.plan_key else None

    def standing_at(self, moment: datetime) -> "Settings":
        """The same settings with the clock at a moment, for this process and those that it starts."""
        os.environ["MLTRAINER_AS_OF"] = moment.isoformat()
        get_settings.cache_clear()
        return self.model_copy(update={"mltrainer_as_of": moment})

    @property
    def has_no_snapshots(self) -> bool:
        """Whether the plan has no prices during a session, so that the market is decided on once, after its close."""
        return self.data_plan is not None and not self.data_plan.snapshots

    def in_its_plan(self) -> "Settings":
        """The same settings with the plan as it was recognized since; what reads the environment next reads it too."""
        if self.data_plan is None:
            return self
        get_settings.cache_clear()
        start = max(self.history_asked_for, self.data_plan.history_start)
        days = self.data_plan.training_days
        if "mltrainer_training_days" in self.model_fields_set:
            days = self.mltrainer_training_days
        if self.mltrainer_executor == "ray":  # the nodes of a cluster do not see this state folder
            os.environ |= {"MLTRAINER_HISTORY_START": str(start), "MLTRAINER_TRAINING_DAYS": str(days)}
        return self.model_copy(update={"mltrainer_history_start": start, "mltrainer_training_days": days})

    @property
    def closed_days(self) -> frozenset[date]:
        """Days on which the market was closed although the calendar has them."""
        return frozenset(date.fromisoformat(day) for day in _listed(self.mltrainer_closed_days))

    @property
    def macro_series(self) -> tuple[str, ...]:
        """FRED ids that `MLTRAINER_MACRO_SERIES` lists, separated by commas."""
        return tuple(series.upper() for series in _listed(self.mltrainer_macro_series))

    @property
    def fred_url(self) -> str:
        return self.fred_base_url or (FRED_URL if self._is_real else f"{self.exchange_url}/fred")

    @property
    def fred_key(self) -> SecretStr | None:
        """The key for FRED; None where bars are real and no FRED key is given: macro is then missing."""
        return self.fred_api_key or (None if self._is_real else SecretStr(LOCAL_EXCHANGE_KEY))

    def vendor_connection(self, vendor: str) -> tuple[str | None, SecretStr | None, int | None]:
        """Address, key and calls a minute of a vendor; None where they are not set.

        Vendors beside Polygon and FRED read `<NAME>_BASE_URL`, `<NAME>_API_KEY` and `<NAME>_CALLS_PER_MINUTE`.
        """
        if vendor == "polygon":
            return self.polygon_url, self.polygon_key, self.polygon_call_budget
        if vendor == "fred":
            return self.fred_url, self.fred_key, None
        name = vendor.upper()
        url, key, calls = (os.environ.get(f"{name}_{part}") for part in ("BASE_URL", "API_KEY", "CALLS_PER_MINUTE"))
        if calls and not calls.isdecimal():
            raise SettingsError(f"{name}_CALLS_PER_MINUTE={calls}: not a whole number of calls")
        protect(key)
        return url or None, SecretStr(key) if key else None, int(calls or 0) or None

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_tracking_uri or f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def dagster_link(self) -> str:
        """Where people find Dagster: the address of the installation, also while a command runs it on a passing port."""
        return (self.mltrainer_dagster_url or f"http://127.0.0.1:{self.dagster_port}").rstrip("/")

    @property
    def mlflow_link(self) -> str:
        """Where people find MLflow, as `dagster_link`."""
        return (self.mltrainer_mlflow_url or self.tracking_uri).rstrip("/")

    @property
    def api_hosts(self) -> frozenset[str]:
        """Names in a Host header that the API answers to, beside the local ones."""
        return frozenset(host.lower() for host in _listed(self.mltrainer_api_hosts))

    @property
    def api_cors_origins(self) -> tuple[str, ...]:
        """Origins whose pages may read the API from a browser; none unless set."""
        return _listed(self.mltrainer_api_cors_origins)

    @property
    def cost_bps(self) -> float:
        """Cost of one side of a trade: fee and slippage, basis points of its value."""
        return self.fee_bps + self.slippage_bps


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the environment once per process; a `SettingsError` names what cannot be used, and what to write instead."""
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            reason = problem["msg"].removeprefix("Value error, ")
            secret = any(part in name for part in ("KEY", "DATABASE_URL", "NOTIFY"))
            given = "" if secret or not name else f"={problem['input']}"
            lines.append(f"{name}{given}: {reason}" if name else reason)
        raise SettingsError("; ".join(lines)) from None


def now() -> datetime:
    """The current time in New York: the wall clock, unless `simulated_now` says otherwise."""
    return simulated_now() or datetime.now(NEW_YORK)


def simulated_now() -> datetime | None:
    """The moment to which `mltrainer live` has moved this home's clock, or that `MLTRAINER_AS_OF` pins; else None."""
    clock = read_clock(get_settings().state)
    return clock.moment.astimezone(NEW_YORK) if clock else get_settings().mltrainer_as_of


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
