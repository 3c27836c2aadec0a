"""The command line of the benchmark: ``python -m pipeline.bench``."""

from __future__ import annotations

import sys

from features.util.errors import run_command
from features.util.flags import parse
from pipeline.bench.config import BenchConfig


def main() -> None:
    """Parse the flags, then run the benchmark."""
    config = parse(BenchConfig, sys.argv[1:], "python -m pipeline.bench")
    # torch and PennyLane take seconds to import: only once the flags are right.
    from pipeline.bench.bench import bench

    bench(config)


if __name__ == "__main__":
    sys.exit(run_command(main))
