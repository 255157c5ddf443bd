"""Every Dagster object, one file a stage: read, call the domain, write, report."""
