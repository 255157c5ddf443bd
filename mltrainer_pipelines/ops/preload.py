"""What a refresh imports, imported: the process that runs are forked from loads this module (`ops.code_server`).

Nothing here may start a pool of threads: threads do not survive a fork. What is missing, a run imports itself.
"""

import importlib

import numpy as np

from mltrainer_pipelines.ops.dagster_internals import RUN_MODULES

MODULES = (
    *RUN_MODULES,
    *("mltrainer_pipelines.ops.dagster_storage", "mltrainer_pipelines.definitions"),
    *("mltrainer_pipelines.market.vendors.registry", "mltrainer_pipelines.market.vendors.polygon.client"),
    *("mltrainer_pipelines.market.quotes", "mltrainer_pipelines.contracts.lake_tables"),
    *("mltrainer_pipelines.signals.champions", "mltrainer_pipelines.signals.refresh", "mltrainer_pipelines.signals.learned"),
    *("mltrainer_pipelines.signals.recommendations", "mltrainer_pipelines.signals.thresholds"),
    *("mltrainer_pipelines.portfolio.performance", "mltrainer_pipelines.portfolio.settlement"),
    *("mltrainer_pipelines.features.tables", "mltrainer_pipelines.features.kernels.barriers"),
    *("mltrainer_pipelines.market.ingestion", "mltrainer_pipelines.market.corrections", "mltrainer_pipelines.market.universe"),
    *("mltrainer_pipelines.ops.databases", "mltrainer_pipelines.ops.run_launcher"),
    "mltrainer_pipelines.trials.validation.stored_quarters",
    *("mltrainer_pipelines.learning.resolved", "mltrainer_pipelines.store.alerts"),
    *("mltrainer_pipelines.trials.ensemble_file", "lightgbm", "sklearn.linear_model", "talib"),
    *("polygon", "httpx", "httpcore", "tenacity"),
    *("mltrainer_pipelines.portfolio.marking", "mltrainer_pipelines.portfolio.holdings", "mltrainer_pipelines.store.locks"),
)

for _module in MODULES:
    importlib.import_module(_module)

importlib.import_module("mltrainer_pipelines.features.registry").feature_sets()

# Numba reads its registries, most of a second, when the first compiled function is called; it starts no threads.
importlib.import_module("mltrainer_pipelines.features.kernels.cross_section").cross_mean(np.zeros((1, 1)), 1)
