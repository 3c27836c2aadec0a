"""torchvision's data sets as they lie on the disk once unpacked, in small: two classes, and of each two training images
and one held out (or three in all), 6 × 5 pixels unless the format says otherwise."""

from __future__ import annotations

import bz2
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archives import idx, md5
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

CLASSES = ("ant", "bee")
PARTS = {"train": [0, 0, 1, 1], "test": [0, 1]}


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5)).save(file)


def text(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def folders(base: Path, train: tuple[str, ...], held_out: str, names: tuple[str, ...], ending: str) -> None:
    """An image a class in each training part, two if there is one part."""
    for name in names:
        for part in train:
            for index in range(3 - len(train)):
                picture(base / part / name / f"{part}{index}.{ending}")
        picture(base / held_out / name / f"0.{ending}")


def cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = root / "cifar-100-python"
    base.mkdir(parents=True)
    files = {"meta": {"fine_label_names": list(CLASSES)}}
    for part, labels in PARTS.items():
        files[part] = {"data": np.zeros((len(labels), 3072), np.uint8), "fine_labels": labels}  # type: ignore[dict-item]
    sums = {name: md5(pickle.dumps(content)) for name, content in files.items()}
    for name, content in files.items():
        (base / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": sums["meta"]})


def country211(root: Path, _: pytest.MonkeyPatch) -> None:
    folders(root / "country211", ("train", "valid"), "test", CLASSES, "jpg")


def dtd(root: Path, _: pytest.MonkeyPatch) -> None:
    base = root / "dtd/dtd"
    for part in ("train", "val", "test"):
        text(base / f"labels/{part}1.txt", [f"{name}/{part}.jpg" for name in CLASSES])
        for name in CLASSES:
            picture(base / f"images/{name}/{part}.jpg")


def fgvc_aircraft(root: Path, _: pytest.MonkeyPatch) -> None:
    base = root / "fgvc-aircraft-2013b/data"
    text(base / "variants.txt", list(CLASSES))
    for part, held in (("trainval", PARTS["train"]), ("test", PARTS["test"])):
        names = [f"{part}{index}" for index in range(len(held))]
        lines = [f"{name} {CLASSES[label]}" for name, label in zip(names, held, strict=True)]
        text(base / f"images_variant_{part}.txt", lines)
        for name in names:
            picture(base / f"images/{name}.jpg")


def flowers102(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = root / "flowers-102"
    for index in range(1, 7):
        picture(base / f"jpg/image_{index:05}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([1, 2, 1, 2, 1, 2])})
    savemat(base / "setid.mat", {"trnid": [1, 2], "valid": [3, 4], "tstid": [5, 6]})
    sums = {"image": ("102flowers.tgz", ""), "label": ("imagelabels.mat", ""), "setid": ("setid.mat", "")}
    checked = {name: (file, md5((base / file).read_bytes())) for name, (file, _) in sums.items() if name != "image"}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", sums | checked)
    monkeypatch.setattr(datasets.Flowers102, "classes", list(CLASSES))


def food101(root: Path, _: pytest.MonkeyPatch) -> None:
    base = root / "food-101"
    for part, numbers in (("train", (0, 1)), ("test", (2,))):
        named = {name: [f"{name}/{number}" for number in numbers] for name in CLASSES}
        text(base / f"meta/{part}.json", [json.dumps(named)])
        for files in named.values():
            for file in files:
                picture(base / f"images/{file}.jpg")


def imagenette(root: Path, _: pytest.MonkeyPatch) -> None:
    folders(root / "imagenette2", ("train",), "val", ("n01440764", "n02102040"), "jpeg")


def mnist(root: Path, name: str) -> None:
    base = root / name / "raw"
    base.mkdir(parents=True)
    for part, labels in (("train", PARTS["train"]), ("t10k", PARTS["test"])):
        (base / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((len(labels), 28, 28), np.uint8)))
        (base / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.array(labels, np.uint8)))


def rendered_sst2(root: Path, _: pytest.MonkeyPatch) -> None:
    folders(root / "rendered-sst2", ("train", "valid"), "test", ("negative", "positive"), "png")


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = root / "stl10_binary"
    text(base / "class_names.txt", list(CLASSES))
    for part, labels in PARTS.items():
        (base / f"{part}_X.bin").write_bytes(bytes(len(labels) * 3 * 96 * 96))
        (base / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels))
    (base / "unlabeled_X.bin").touch()
    for name in ("train_list", "test_list"):
        listed = [[file, md5((base / file).read_bytes())] for file, _ in getattr(datasets.STL10, name)]
        monkeypatch.setattr(datasets.STL10, name, listed)


def sun397(root: Path, _: pytest.MonkeyPatch) -> None:
    text(root / "SUN397/ClassName.txt", [f"/{name[0]}/{name}/outdoor" for name in CLASSES])
    for name in CLASSES:
        for index in range(3):
            picture(root / f"SUN397/{name[0]}/{name}/outdoor/sun_{index}.jpg")


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True)
    listed = {}
    for part, labels in PARTS.items():
        file = root / f"{part}_32x32.mat"
        # The digit 0 is stored as 10.
        savemat(file, {"X": np.zeros((32, 32, 3, len(labels)), np.uint8), "y": [[label or 10] for label in labels]})
        listed[part] = ["", file.name, md5(file.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)


def usps(root: Path, _: pytest.MonkeyPatch) -> None:
    root.mkdir(parents=True)
    pixels = " ".join(f"{index}:-1" for index in range(1, 257))
    for file, labels in (("usps.bz2", PARTS["train"]), ("usps.t.bz2", PARTS["test"])):
        (root / file).write_bytes(bz2.compress("".join(f"{label + 1} {pixels}\n" for label in labels).encode()))


LAYOUTS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], tuple[str, str]]] = {
    "cifar100": (cifar100, CLASSES),
    "country211": (country211, CLASSES),
    "dtd": (dtd, CLASSES),
    "fgvc-aircraft": (fgvc_aircraft, CLASSES),
    "flowers102": (flowers102, CLASSES),
    "food101": (food101, CLASSES),
    "imagenette": (imagenette, ("English springer", "tench")),
    "kmnist": (lambda root, _: mnist(root, "KMNIST"), ("ki", "o")),
    "mnist": (lambda root, _: mnist(root, "MNIST"), ("0 - zero", "1 - one")),
    "rendered-sst2": (rendered_sst2, ("negative", "positive")),
    "stl10": (stl10, CLASSES),
    "sun397": (sun397, ("ant/outdoor", "bee/outdoor")),
    "svhn": (svhn, ("0", "1")),
    "usps": (usps, ("0", "1")),
}
