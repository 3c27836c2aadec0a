"""The images of a data set: which there are, whether each can be read, and their fingerprint.

In: a folder with ``train/`` and ``val/``, one subfolder a class. Out: an :class:`ImageSet` of relative paths and
labels, and RGB pictures.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from features.errors import InputError, listing
from features.provenance import file_sha256

SPLITS = ("train", "val")
# torchvision's ImageFolder reads these endings and no others, so the demo does too.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Result = TypeVar("Result")

# Pillow only warns of a picture between one and two times its limit; here that is refused, which says more.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of a folder, in a fixed order.

    Attributes:
        root: The folder.
        classes: Class names, sorted; a label is an index into them.
        paths: For each split, paths relative to ``root``, with forward slashes, sorted by class, then by name.
        labels: For each split, the label of each path.
        ignored: Relative paths of files whose names are not those of images.
    """

    root: Path
    classes: tuple[str, ...]
    paths: dict[str, tuple[str, ...]]
    labels: dict[str, tuple[int, ...]]
    ignored: tuple[str, ...] = ()

    @property
    def all_paths(self) -> list[str]:
        """The paths of both splits, ``train`` first."""
        return [path for split in SPLITS for path in self.paths[split]]


def read_folder(root: Path) -> ImageSet:
    """List the images of ``root/train/CLASS/`` and ``root/val/CLASS/``, at any depth below CLASS.

    Raises:
        InputError: naming every problem at once: no such folder, a missing split, splits with different classes, fewer
            than two classes, a class without an image, a name that is not UTF-8.
    """
    if not root.is_dir():
        raise InputError(_no_such_folder(root))
    missing = [split for split in SPLITS if not (root / split).is_dir()]
    if missing:
        raise InputError(_missing_splits(root, missing))

    names = {split: sorted(d.name for d in (root / split).iterdir() if d.is_dir()) for split in SPLITS}
    classes = sorted(set(names["train"]) | set(names["val"]))
    problems = _class_problems(root, names, classes)
    paths: dict[str, list[str]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    ignored = []
    for split in SPLITS:
        for name in names[split]:
            files = sorted(p.relative_to(root).as_posix() for p in (root / split / name).rglob("*") if p.is_file())
            images = [file for file in files if file.lower().endswith(EXTENSIONS)]
            ignored += [file for file in files if not file.lower().endswith(EXTENSIONS)]
            paths[split] += images
            labels[split] += [classes.index(name)] * len(images)
            if not images:
                problems.append(f"{split}/{name} holds no image")
            problems += [f"{file!a} is not a UTF-8 name" for file in images if not _is_utf8(file)]
    if problems:
        raise InputError(
            f"the folder {root} can't be used as a data set:\n{listing(problems)}\n"
            f"Wanted: {root}/train/CLASS/ and {root}/val/CLASS/ for the same two or more classes, each with at least "
            f"one image ({', '.join(EXTENSIONS)})."
        )
    return ImageSet(
        root=root,
        classes=tuple(classes),
        paths={split: tuple(paths[split]) for split in SPLITS},
        labels={split: tuple(labels[split]) for split in SPLITS},
        ignored=tuple(ignored),
    )


def open_image(path: Path) -> Image.Image:
    """The picture as upright 8-bit RGB, whatever its mode: EXIF rotation applied, transparency laid on white, 16-bit
    greyscale scaled down.

    Raises:
        UNREADABLE: one of these, as Pillow finds the file unreadable.
    """
    with Image.open(path) as image:
        _refuse_bomb(image)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(("I", "F")):
            return Image.fromarray(_as_8_bit(upright)).convert("RGB")
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        return upright.convert("RGB")


def check_images(root: Path, paths: Iterable[str]) -> None:
    """Decode every file once, at reduced scale where its format allows, before any hour is spent on the network.

    Raises:
        InputError: listing all files that can't be read, each with the reason.
    """
    paths = list(paths)
    reasons = _in_threads(lambda path: _why_unreadable(root / path), paths)
    bad = [f"{path}: {reason}" for path, reason in zip(paths, reasons, strict=True) if reason]
    if bad:
        raise InputError(
            f"{len(bad)} of {len(paths)} images in {root} can't be read:\n{listing(bad)}\n"
            "Mend or remove them, then run the same command again."
        )


def file_digests(images: ImageSet) -> dict[str, str]:
    """SHA-256 of every image's file, by relative path."""
    paths = images.all_paths
    return dict(zip(paths, _in_threads(lambda path: file_sha256(images.root / path), paths), strict=True))


def images_sha256(digests: dict[str, str]) -> str:
    """One fingerprint over the ordered relative paths and file contents of :func:`file_digests`."""
    digest = hashlib.sha256()
    for path, content in digests.items():
        digest.update(f"{path}\0{content}\n".encode())
    return digest.hexdigest()


def shared_images(images: ImageSet, digests: dict[str, str]) -> list[str]:
    """Validation images that are also training images, byte for byte: with them accuracy is flattered."""
    in_train = {digests[path] for path in images.paths["train"]}
    return [path for path in images.paths["val"] if digests[path] in in_train]


def _no_such_folder(root: Path) -> str:
    if root.is_file():
        return f"{root} is a file; --data (make: DATA=) takes `hymenoptera` or a folder with train/ and val/"
    near = get_close_matches(root.name, ["hymenoptera"], cutoff=0.7)
    near += [str(root.with_name(name)) for name in get_close_matches(root.name, _names_beside(root))]
    hint = f" Did you mean {near[0]}?" if near else ""
    return (
        f"there is no folder {root}; --data (make: DATA=) takes `hymenoptera` or a folder with train/ and val/.{hint}"
    )


def _names_beside(root: Path) -> list[str]:
    try:
        return [entry.name for entry in root.parent.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _missing_splits(root: Path, missing: list[str]) -> str:
    inside = sorted(d.name for d in root.iterdir() if d.is_dir())
    deeper = [name for name in inside if all((root / name / split).is_dir() for split in SPLITS)]
    found = ", ".join(inside[:10]) if inside else "nothing"
    hint = f" Did you mean {root / deeper[0]}?" if deeper else ""
    return (
        f"the folder {root} has no {' and no '.join(f'{split}/' for split in missing)}; subfolders found: {found}. "
        f"Put the images in {root}/train/CLASS/ and {root}/val/CLASS/.{hint}"
    )


def _class_problems(root: Path, names: dict[str, list[str]], classes: list[str]) -> list[str]:
    problems = [
        f"class {name} is in {here}/ but not in {there}/"
        for here, there in (SPLITS, SPLITS[::-1])
        for name in names[here]
        if name not in names[there]
    ]
    if len(classes) < 2:
        problems.append(f"{root / 'train'} has {len(classes)} class subfolders; at least 2 are needed")
    return problems


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_bomb(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(
            f"{image.width}×{image.height} pixels, more than {limit:,}: could be a decompression bomb"
        )


def _as_8_bit(image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.float64)
    top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=1.0)), 1.0)
    return np.clip(values / top * 255.0, 0.0, 255.0).round().astype(np.uint8)


def _why_unreadable(path: Path) -> str | None:
    try:
        if path.stat().st_size == 0:
            return "the file is empty (0 bytes)"
        with Image.open(path) as image:
            _refuse_bomb(image)
            # A JPEG decoded at an eighth of its size still reads every byte: a truncated one fails here too.
            image.draft(None, (1, 1))
            image.load()
    except Image.UnidentifiedImageError:
        return "not an image that Pillow can read"
    except UNREADABLE as error:
        return str(error) or type(error).__name__
    return None


def _in_threads(function: Callable[[str], Result], paths: list[str]) -> list[Result]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(function, paths))
