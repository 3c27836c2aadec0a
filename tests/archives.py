"""Small archives in the formats of torchvision's data sets, where torchvision looks for them."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
from typing import Any

import numpy as np
import pytest
from torchvision import datasets as torchvision_datasets

# Not sorted: labels are renumbered.
NAMES = ["dog", "cat", "airplane"]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def tar_gz(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def idx(values: np.ndarray) -> bytes:
    """Yann LeCun's format: type and rank, sizes, values."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


class Cifar:
    """A CIFAR-10 of three classes and few images, offered by a web server where torchvision looks for it."""

    def __init__(self, web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(0)
        self.pixels, self.labels = {}, {}
        files = {"batches.meta": pickle.dumps({"label_names": NAMES})}
        for batch, count in (("data_batch_1", 7), ("data_batch_2", 6), ("test_batch", 6)):
            self.pixels[batch] = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
            self.labels[batch] = [index % len(NAMES) for index in range(count)]
            content = {"data": self.pixels[batch].reshape(count, -1), "labels": self.labels[batch]}
            files[batch] = pickle.dumps(content)
        self.archive = tar_gz({f"cifar-10-batches-py/{name}": content for name, content in files.items()})
        self.name = "cifar-10-python.tar.gz"
        web.files[self.name] = self.archive
        kind = torchvision_datasets.CIFAR10
        monkeypatch.setattr(kind, "url", f"{web.url}/{self.name}")
        monkeypatch.setattr(kind, "tgz_md5", md5(self.archive))
        monkeypatch.setattr(kind, "train_list", [[name, md5(files[name])] for name in ("data_batch_1", "data_batch_2")])
        monkeypatch.setattr(kind, "test_list", [["test_batch", md5(files["test_batch"])]])
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(files["batches.meta"])})
