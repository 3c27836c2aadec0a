"""The packaged features, which stand in where the demo's images or weights can't be downloaded."""

from __future__ import annotations

import sys
from pathlib import Path

from features.cache.featureset import FeatureFile
from features.cache.store import read_features
from features.cache.writer import write_features
from features.config import ExtractConfig
from features.util.errors import InputError

PACKAGED = Path(__file__).parents[1] / "data" / "hymenoptera.h5"


def packaged_serves(config: ExtractConfig) -> bool:
    """Whether the packaged features are the ones asked for."""
    plain = ExtractConfig()
    asked = ("data", "weights", "backbone", "split", "classes", "limit", "views", "shards", "layer", "layers")
    return all(getattr(config, name) == getattr(plain, name) for name in asked)


def use_packaged(config: ExtractConfig, existing: FeatureFile | None, reason: str) -> FeatureFile:
    """Put the packaged features at ``config.out`` and say so. A real extraction that is already there is kept, unless
    the packaged ones were asked for.

    Raises:
        InputError: if other features were asked for.
    """
    if not packaged_serves(config):
        raise InputError(
            f"--offline uses the packaged features of hymenoptera by resnet18, but --data is {config.data}, --backbone "
            f"is {config.backbone} and --weights is {config.weights}; leave --offline (make: OFFLINE=1) out, or leave "
            "these, and what selects images or a layer, or makes views or shards, out"
        )
    packaged = read_features(PACKAGED)
    if existing is not None:
        if existing.provenance == packaged.provenance:
            print(f"{existing}: up to date, the packaged features ({reason})")
            return existing
        same = (existing.provenance.data, existing.provenance.weights) == ("hymenoptera_data", config.weights)
        if same and not config.offline:
            print(f"{existing}: kept, made earlier on the real images ({reason})")
            return existing
    made = write_features(config.out, packaged.provenance, packaged.splits)
    sys.stdout.write(_NOTICE.format(reason=reason, weights=made.provenance.weights))
    print(f"{made}: packaged features")
    return made


def help_without_network() -> str:
    """Advice after a failed download, where the packaged features are not the ones asked for."""
    return (
        "Without a network, give files you have: --data FOLDER (make: DATA=) of images, --weights FILE "
        "(make: WEIGHTS=) holding a state_dict of the backbone. The packaged features need neither: leave both out."
    )


_NOTICE = """
Using the packaged features. {reason}.
They are ResNet18 features of the demo's 397 ants and bees (Hymenoptera), made by this very stage, but with the weights
{weights}: torchvision's ResNet18 as compressed by "And the bit goes down" (ICLR 2020, facebookresearch/kill-the-bits,
CC BY-NC 4.0), not torchvision's own file, so figures differ a little from a run with that. To run on the real images,
give the network access to download.pytorch.org and run `make eval OUT=out/real`, or use files you have:
make eval OUT=out/mine DATA=FOLDER WEIGHTS=FILE.

"""
