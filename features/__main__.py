"""The command line of stage 1: ``python -m features --data NAME_OR_DIR --weights NAME_OR_FILE --out FILE.h5``, and
``python -m features verify FILE``, ``python -m features info FILE``."""

from __future__ import annotations

import sys

from features.config import ExportRowsConfig, ExtractConfig, ImportConfig, InfoConfig, VerifyConfig
from features.util.commands import Command, Late, main


def make(config: ExtractConfig) -> None:
    """Make the features, or list the backbones, or the layers of one."""
    if config.list_backbones:
        from features.backbone.network import list_backbones

        print(list_backbones())
        return
    if config.list_layers:
        from features.backbone.network import list_layers

        print(list_layers(config.backbone, config.weights))
        return
    from features.extract import make_layers

    make_layers(config)


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
        "import": Command(
            "rows of features from a file -> out/features.h5",
            ImportConfig,
            Late("features.exchange.importer:import_features"),
        ),
        "export": Command(
            "the rows of a cache as .npz, .parquet or .csv",
            ExportRowsConfig,
            Late("features.exchange.exporter:export_features"),
        ),
        "info": Command("what is in a cache, and where it comes from", InfoConfig, Late("features.cache.info:info")),
    },
)

if __name__ == "__main__":
    sys.exit(main(FEATURES, "python -m features"))
