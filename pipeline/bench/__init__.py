"""The benchmark: rivals on the same work, one running at a time, in one run. ``python -m pipeline.bench --help``."""
