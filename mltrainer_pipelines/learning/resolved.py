"""Forecasts whose outcome is known: the forecast of every model for every symbol, and its label.

Two sources make one record. Of quarters that have ended, the walk-forward's out-of-sample predictions, calibrated on the
quarters before; after them, those of the ensemble's members at the last refresh of each session. The positions that were
recommended are a few of these rows: too few, and too well chosen, to learn a model's worth from.
"""

from collections.abc import Iterable, Mapping
from datetime import date

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import MEMBER_FORECASTS
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.validation.calibrated_quarters import calibrate_walk_forward

FORECAST_SCHEMA: dict[str, pl.DataType] = {
    "timeframe": pl.String(),
    "trial_id": pl.String(),
    "decided": pl.Date(),
    "symbol": pl.String(),
    "date": pl.Date(),
    "probability": pl.Float64(),
    "label": pl.Int8(),
}
_KEYS = ("timeframe", "trial_id", "decided", "symbol")


def resolved_forecasts(
    lake: Lake, experts: Mapping[str, Iterable[str]], labels: pl.DataFrame, as_of: date, since: date | None = None
) -> pl.DataFrame:
    """The trials' forecasts of decisions whose outcome was known at the close of a session.

    From the lake's trial_predictions and, if there are any, member_forecasts of the trials of each timeframe (`experts`);
    `labels` has date, symbol, timeframe, exit_date, barrier, net_return and label. With `since`, only decisions of that session
    or later, though calibration still learns from those before.

    The columns are `FORECAST_SCHEMA`'s: `decided` is the decision's session, `date` the one on which its outcome was known;
    probabilities are calibrated. Sorted by these keys; one row a timeframe, trial, decision and symbol.
    """
    resolved = labels.filter((pl.col("exit_date") <= as_of) & pl.col("label").is_not_null())
    parts = [
        calibrated_predictions(lake, timeframe, trial_id, labels, since)
        for timeframe, trial_ids in experts.items()
        for trial_id in trial_ids
    ]
    forecasts = pl.concat([*parts, _live(lake, experts, since)]).unique(_KEYS, keep="first", maintain_order=True)
    outcomes = resolved.select("timeframe", "symbol", "label", decided="date", date="exit_date")
    joined = forecasts.join(outcomes, on=["timeframe", "decided", "symbol"])
    return joined.select(pl.col(name).cast(kind) for name, kind in FORECAST_SCHEMA.items()).sort("date", *_KEYS)


def calibrated_predictions(
    lake: Lake, timeframe: str, trial_id: str, labels: pl.DataFrame, since: date | None = None
) -> pl.DataFrame:
    """A trial's calibrated walk-forward predictions: timeframe, trial_id, decided, symbol, probability; empty without any."""
    keys = [key for key in lake.partitions("trial_predictions") if key.startswith(f"{trial_id}/")]
    if not keys:
        return pl.DataFrame(schema={name: FORECAST_SCHEMA[name] for name in (*_KEYS, "probability")})
    own = labels.filter(pl.col("timeframe") == timeframe)
    calibrated = calibrate_walk_forward(lake.scan("trial_predictions", keys).collect(), own)
    if since is not None:
        calibrated = calibrated.filter(pl.col("date") >= since)
    return calibrated.drop_nulls("probability").select(
        timeframe=pl.lit(timeframe), trial_id=pl.lit(trial_id), decided="date", symbol="symbol", probability="probability"
    )


def _live(lake: Lake, experts: Mapping[str, Iterable[str]], since: date | None) -> pl.DataFrame:
    empty = pl.DataFrame(schema={name: FORECAST_SCHEMA[name] for name in (*_KEYS, "probability")})
    sessions = [key for key in lake.partitions(MEMBER_FORECASTS.name) if since is None or key >= str(since)]
    if not sessions:
        return empty
    wanted = [trial_id for trial_ids in experts.values() for trial_id in trial_ids]
    rows = lake.scan(MEMBER_FORECASTS.name, sessions).filter(pl.col("trial_id").is_in(wanted)).collect()
    return rows.rename({"date": "decided"}).drop_nulls("probability").select(empty.columns)
