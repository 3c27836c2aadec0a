"""The command line of stage 1: ``python -m features --data NAME_OR_DIR --weights NAME_OR_FILE --out FILE.h5``, and
``python -m features verify FILE``, ``python -m features info FILE``."""

from __future__ import annotations

import sys

from features.config import ExtractConfig, InfoConfig, VerifyConfig
from features.util.commands import Command, main


def make(config: ExtractConfig) -> None:
    """Make the features, or list the backbones."""
    if config.list_backbones:
        from features.backbone.network import list_backbones

        print(list_backbones())
        return
    from features.extract import make_features

    make_features(config)


def verify(config: VerifyConfig) -> None:
    """Print that a cache is whole."""
    from features.cache.info import verify

    verify(config)


def info(config: InfoConfig) -> None:
    """Print what a cache holds."""
    from features.cache.info import info

    info(config)


FEATURES = Command(
    about="images -> out/features.h5: one pass of the frozen backbone",
    config=ExtractConfig,
    run=make,
    commands={
        "verify": Command(about="is every byte of a cache as it was written?", config=VerifyConfig, run=verify),
        "info": Command(about="what is in a cache, and where it comes from", config=InfoConfig, run=info),
    },
)

if __name__ == "__main__":
    sys.exit(main(FEATURES, "python -m features"))
