"""Write `models/rank_prior.json`: what each feature's rank said about later ranks, learnt from a long recording until each year.

Usage: python -m benchmarks.rank_prior BARS.parquet [--size 500] [--threads 2]

BARS is a recording as for `mltrainer audit skill`. For every year from the fourth on, `rank_ridge` is fitted for both timeframes
on the members' outcomes that were known before the year began; once more on the whole recording, for all years after it.
"""

import argparse
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from mltrainer_pipelines.audits.skill_market import recorded_market
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.models import rank_prior
from mltrainer_pipelines.trials.defaults import default_trial
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward

WARM_UP_YEARS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bars", type=Path)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    market = recorded_market(arguments.bars, arguments.size)
    features = market.features("stock_selection")
    sessions = features["date"].unique().sort().to_list()
    prior: dict[str, Any] = {"source": arguments.bars.name}
    for timeframe in TIMEFRAMES:
        config = default_trial(timeframe, "rank_ridge", universe_size=arguments.size)
        table = WalkForward(config, features, market.labels, sessions, market.universe, threads=arguments.threads)
        prior["features"], prior[timeframe] = table.feature_names, {}
        for year in range(sessions[0].year + WARM_UP_YEARS, sessions[-1].year + 1):
            first = date(year, 1, 1)
            prior[timeframe][str(first)] = _weights(table.fit(table.window(first, first + timedelta(days=31))))
        after = sessions[-1] + timedelta(days=1)
        prior[timeframe][str(after)] = _weights(table.fit_as_of(sessions[-1]))
    rank_prior.FILE.write_text(json.dumps(prior, separators=(",", ":")).replace('},"', '},\n"').replace('],"2', '],\n"2') + "\n")


def _weights(fitted: Any) -> list[float]:
    return [round(float(weight), 5) for weight in fitted.estimator.parts_[0].weights]


if __name__ == "__main__":
    main()
