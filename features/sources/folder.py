"""A folder of images: ``train/CLASS/`` and ``val/CLASS/``; or, to be split, ``CLASS/`` or ``train/CLASS/`` alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from features.sources.catalogue import SPLITS, UNSPLIT, Catalogue, Files, Kind, Rows, refuse_own_split
from features.util.errors import InputError, listing

# torchvision's ImageFolder reads these endings and no others, so the demo does too.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def read_folder(root: Path, split: float | None) -> Catalogue:
    """List the images of each class, at any depth below its folder, links followed.

    Args:
        root: A folder.
        split: The fraction to hold out, where the folder has no ``val/``.

    Raises:
        InputError: naming every problem at once: a missing split, or one too many, splits with different classes, fewer
            than two classes, a class without an image, a name that is not UTF-8.
        OSError: if a folder can't be read.
    """
    tops = _layout(root, split)
    names = {part: _subfolders(root / top) for part, top in tops.items()}
    problems = _class_problems(root, tops, names)
    rows: Rows = {part: [] for part in tops}
    ignored = []
    for part, top in tops.items():
        for name in names[part]:
            inside = f"{top}/{name}" if top else name
            files = [f"{inside}/{file}" for file in sorted(files_below(root / inside))]
            images = [file for file in files if is_image(file)]
            ignored += [file for file in files if not is_image(file)]
            rows[part] += [(file, name) for file in images]
            if not images:
                problems.append(f"{inside} holds no image")
            problems += [f"{file!a} is not a UTF-8 name" for file in images if not _is_utf8(file)]
    if problems:
        wanted = " and ".join(f"{root / top}/CLASS/" for top in tops.values())
        same = "the same two" if len(tops) > 1 else "two"
        raise InputError(
            f"the folder {root} can't be used as a data set:\n{listing(problems)}\n"
            f"Wanted: {wanted} for {same} or more classes, each with at least one image ({', '.join(EXTENSIONS)})."
        )
    return Catalogue(
        name=root.resolve().name, place=str(root), source=Files(root.absolute()), rows=rows, ignored=tuple(ignored)
    )


def _layout(root: Path, split: float | None) -> dict[str, str]:
    """For each split, or for the whole, the folder below ``root`` that holds its classes."""
    inside = _subfolders(root)
    missing = [part for part in SPLITS if part not in inside]
    if not missing:
        refuse_own_split(f"the folder {root}, in train/ and val/,", split)
        return {part: part for part in SPLITS}
    deeper = [name for name in inside if all((root / name / part).is_dir() for part in SPLITS)]
    unsplit = "train" if inside == ["train"] else "" if inside and len(missing) == 2 and not deeper else None
    if split is not None and unsplit is not None:
        return {UNSPLIT: unsplit}
    found = ", ".join(inside[:10]) + (", …" if len(inside) > 10 else "") if inside else "nothing"
    advice = f"Put the images in {root}/train/CLASS/ and {root}/val/CLASS/"
    if unsplit is not None:
        advice += ', or give --split 0.2 (make: FEATURES_ARGS="--split 0.2") to hold out a fifth of each class'
    elif "train" in inside:
        advice += f", or name {root}/train with --split 0.2 to use that alone and hold out a fifth of each class"
    hint = f" Did you mean {root / deeper[0]}?" if deeper else ""
    raise InputError(
        f"the folder {root} has no {' and no '.join(f'{part}/' for part in missing)}; subfolders found: {found}. "
        f"{advice}.{hint}"
    )


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _class_problems(root: Path, tops: dict[str, str], names: dict[str, list[str]]) -> list[str]:
    parts = list(tops)
    problems = [
        f"class {name} is in {here}/ but not in {there}/"
        for here, there in ((here, there) for here in parts for there in parts if here != there)
        for name in names[here]
        if name not in names[there]
    ]
    every = {name for of_part in names.values() for name in of_part}
    if len(every) < 2:
        problems.append(f"{root / tops[parts[0]]} has {len(every)} class subfolders; at least 2 are needed")
    return problems


def files_below(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Paths relative to ``folder``, sorted within each folder; the names of one folder are in memory at a time. A link
    to a folder above it is not followed, because it would list the same files for ever.

    Raises:
        OSError: if a folder can't be read.
    """
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        # A link to nothing is listed too: it is then reported as unreadable, not left out in silence.
        inside = sorted((e.name, e.is_dir(), e.is_file() or not Path(e.path).exists()) for e in entries)
    for name, is_folder, is_file in inside:
        if is_folder:
            for file in files_below(folder / name, (*above, here)):
                yield f"{name}/{file}"
        elif is_file:
            yield name


def is_image(file: str) -> bool:
    """Whether a path's name is that of an image, and nothing in it is hidden: ``._a.jpg`` holds what macOS notes of
    ``a.jpg``."""
    return file.lower().endswith(EXTENSIONS) and not any(part.startswith(".") for part in file.split("/"))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


FOLDER = Kind(
    takes="a folder",
    claims=lambda data: Path(data).expanduser().is_dir(),
    read=lambda data, split, _: read_folder(Path(data).expanduser(), split),
)
