"""Every Dagster object, one folder a stage: read, call the domain, write, report."""

import warnings

from dagster import BetaWarning, PreviewWarning

# Backfill policies and partition mappings are "beta" in Dagster 1.13, loading a package "preview"; its version is pinned.
for category in (BetaWarning, PreviewWarning):
    warnings.filterwarnings("ignore", category=category)
