"""The command line of stage 1: ``python -m features --data NAME_OR_DIR --weights NAME_OR_FILE --out FILE.h5``, and
``python -m features verify FILE``, ``python -m features info FILE``."""

from __future__ import annotations

import sys

import tyro

from features.cache.info import InfoConfig, VerifyConfig, info, verify
from features.config import ExtractConfig
from features.util.errors import run_command


def main() -> None:
    """Parse the flags, then make the features, or look into a cache."""
    command, arguments = sys.argv[1:2], sys.argv[2:]
    if command == ["verify"]:
        verify(tyro.cli(VerifyConfig, prog="python -m features verify", args=arguments, config=_FLAGS))
    elif command == ["info"]:
        info(tyro.cli(InfoConfig, prog="python -m features info", args=arguments, config=_FLAGS))
    else:
        _make(tyro.cli(ExtractConfig, prog="python -m features", config=_FLAGS))


def _make(config: ExtractConfig) -> None:
    if config.list_backbones:
        from features.backbone.network import list_backbones

        print(list_backbones())
        return
    from features.extract import make_features

    make_features(config)


_FLAGS = (tyro.conf.FlagCreatePairsOff,)

if __name__ == "__main__":
    sys.exit(run_command(main))
