"""Every Dagster object, one file a stage: read, call the domain, write, report."""

import warnings

from dagster import BetaWarning

# Backfill policies and partition mappings are "beta" in Dagster 1.13, whose version is pinned.
warnings.filterwarnings("ignore", category=BetaWarning)
