"""The command line of stage 1: ``python -m features --data NAME_OR_DIR --weights NAME_OR_FILE --out FILE.h5``."""

from __future__ import annotations

import sys

import tyro

from features.config import ExtractConfig
from features.errors import run_command


def main() -> None:
    """Parse the flags, then make the features."""
    config = tyro.cli(ExtractConfig, prog="python -m features", config=(tyro.conf.FlagCreatePairsOff,))
    from features.extract import make_features

    make_features(config)


if __name__ == "__main__":
    sys.exit(run_command(main))
