"""What stage 1 can be told: one frozen dataclass, which is the command line and its help text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Run the frozen ResNet18 once over a data set and cache its 512-d features to HDF5.

    For example:
      python -m features                                   the demo's ants and bees, downloaded
      python -m features --data ~/pictures                 your own, in train/CLASS/ and val/CLASS/
      python -m features --data ~/pictures --weights resnet18.pth --out out/pictures.h5
    """

    data: str = "hymenoptera"
    """`hymenoptera` (the demo's archive, downloaded and verified) or a folder with train/ and val/, one subfolder a
    class."""
    weights: str = "IMAGENET1K_V1"
    """A name of torchvision's ResNet18 weights (downloaded and verified), or a file holding a ResNet18 `state_dict`
    (.pth, .pt or .safetensors)."""
    out: Path = Path("out/features.h5")
    """The cache to write. One that is up to date by its fingerprints is kept."""
    offline: bool = False
    """Download nothing: use the packaged Hymenoptera features."""
    force: bool = False
    """Compute the features even if the cache is up to date."""
    batch: int = 16
    """Images in one pass through the network."""
    workers: int = 2
    """Processes that decode and resize images beside the network; 0 decodes in the main process."""
    note: str = ""
    """Free text kept in the file: whose images and weights these are, their licences."""

    def __post_init__(self) -> None:
        problems = []
        if self.batch < 1:
            problems.append(f"--batch is {self.batch}; it must be 1 or more")
        if self.workers < 0:
            problems.append(f"--workers is {self.workers}; it must be 0 or more")
        if not self.data:
            problems.append("--data is empty; give `hymenoptera` or a folder")
        if not self.weights:
            problems.append("--weights is empty; give IMAGENET1K_V1 or a file")
        if problems:
            raise ValueError("; ".join(problems))
