"""The command line of stage 1: ``python -m features --data NAME_OR_DIR --weights NAME_OR_FILE --out FILE.h5``, and
``python -m features verify FILE``, ``python -m features info FILE``."""

from __future__ import annotations

import sys

from features.config import ExtractConfig, InfoConfig, VerifyConfig
from features.util.commands import Command, Late, main


def make(config: ExtractConfig) -> None:
    """Make the features, or list the backbones."""
    if config.list_backbones:
        from features.backbone.network import list_backbones

        print(list_backbones())
        return
    from features.extract import make_features

    make_features(config)


FEATURES = Command(
    "images -> out/features.h5: one pass of the frozen backbone",
    ExtractConfig,
    make,
    {
        "verify": Command(
            "is every byte of a cache as it was written?",
            VerifyConfig,
            Late("features.cache.info:verify"),
        ),
        "info": Command("what is in a cache, and where it comes from", InfoConfig, Late("features.cache.info:info")),
    },
)

if __name__ == "__main__":
    sys.exit(main(FEATURES, "python -m features"))
