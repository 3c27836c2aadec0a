"""What the benchmarks of stages work on where no real images or weights are given, and how they measure memory.

In: a place to write. Out: generated pictures, random weights.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def photographs(folder: Path, each: int) -> Path:
    """JPEG pictures of the size and about the bytes of the demo's: smooth colours under noise."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("one", "other"):
            (folder / split / name).mkdir(parents=True)
            for index in range(each):
                coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375))
                noisy = np.asarray(coarse) + rng.normal(0, 12, (375, 500, 3))
                picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
                picture.save(folder / split / name / f"{index}.jpg", quality=85)
    return folder


def copies(folder: Path, count: int) -> Path:
    """So many names for four small pictures."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("one", "other"):
            (folder / split / name).mkdir(parents=True)
            first = folder / split / name / "0.png"
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(first)
            for index in range(1, count // 4):
                (folder / split / name / f"{index}.png").hardlink_to(first)
    return folder


def random_weights(file: Path) -> Path:
    """A ``state_dict`` of ResNet18, initialised at random."""
    torch.save(untrained("resnet18").state_dict(), file)
    return file


def untrained(name: str) -> torch.nn.Module:
    """A model of torchvision, initialised at random, the same each time."""
    from features.backbone.vision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.get_model(name, weights=None)


def peak_of_this_process() -> int:
    """Peak resident bytes. Linux starts ``ru_maxrss`` at what the parent had; ``VmHWM`` is the process's own."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
