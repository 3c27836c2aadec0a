"""The command line of the paper's table: ``python -m pipeline.experiments.paper``, or ``make paper``."""

from __future__ import annotations

import sys

from features.util.errors import run_command
from features.util.flags import parse
from pipeline.experiments.paper.config import PaperConfig


def main() -> None:
    """Parse the flags, then make the table."""
    config = parse(PaperConfig, sys.argv[1:], "python -m pipeline.experiments.paper")
    # torch and PennyLane take seconds to import: only once the flags are right.
    from pipeline.experiments.paper.paper import paper

    paper(config)


if __name__ == "__main__":
    sys.exit(run_command(main))
