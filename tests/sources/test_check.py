"""features.sources.check: which pictures can't be read, and the fingerprints of the others."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pictures import spoil

from features.sources import check
from features.sources.check import (
    check_images,
    file_digests,
    images_sha256,
    images_sha256_before_format_3,
    refuse_unreadable,
    shared_images,
)
from features.sources.images import open_images
from features.util.errors import InputError

# Files that can't be read -------------------------------------------------------------------------------------------


# A command turns this warning off while it runs; pytest turns every warning into an error.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_all_unreadable_files_are_listed_at_once_with_reasons(picture_folder: Path) -> None:
    expected = spoil(picture_folder / "train/red")
    image_set = open_images(str(picture_folder))
    with pytest.raises(InputError) as caught:
        refuse_unreadable(image_set, check_images(image_set))
    first, *listed, last = str(caught.value).splitlines()
    assert first == f"13 of 26 images in {picture_folder} can't be read:"
    assert (
        last == "Mend or remove them, then run the same command again; `make features` leaves them out with --skip-bad."
    )
    found = dict(line.strip().removeprefix("train/red/").split(": ", 1) for line in listed)
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert re.fullmatch(reason, found[name]), (name, found[name])


def test_a_long_list_is_cut_with_the_count(picture_folder: Path) -> None:
    for index in range(25):
        (picture_folder / f"train/red/empty{index}.png").touch()
    image_set = open_images(str(picture_folder))
    with pytest.raises(InputError) as caught:
        refuse_unreadable(image_set, check_images(image_set))
    assert str(caught.value).splitlines()[-2] == "  … and 5 more"
    assert len(str(caught.value).splitlines()) == 23


def test_good_images_pass_with_their_digests_in_order(picture_folder: Path) -> None:
    image_set = open_images(str(picture_folder))
    checked = check_images(image_set)
    assert checked.problems == {}
    assert list(checked.digests) == image_set.all_paths
    assert checked.digests == file_digests(image_set)
    content = (picture_folder / "train/blue/0.png").read_bytes()
    assert checked.digests["train/blue/0.png"] == hashlib.sha256(content).hexdigest()


def test_only_a_few_images_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else memory would grow with the number of images, and a Ctrl-C would wait for all of them."""
    begun: list[str] = []
    results = check.in_threads(lambda path: begun.append(path) or path, [str(index) for index in range(1000)])
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    results.close()
    assert len(begun) <= 70


# Fingerprints -------------------------------------------------------------------------------------------------------


def fingerprint(folder: Path) -> str:
    found = open_images(str(folder))
    return images_sha256(found, file_digests(found))


def test_the_fingerprint_covers_names_and_contents(picture_folder: Path, tmp_path: Path) -> None:
    before = fingerprint(picture_folder)
    shutil.copytree(picture_folder, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == before

    image = picture_folder / "val/red/0.png"
    image.rename(image.with_name("renamed.png"))
    assert fingerprint(picture_folder) != before
    image.with_name("renamed.png").rename(image)
    assert fingerprint(picture_folder) == before

    with image.open("ab") as file:
        file.write(b"\0")
    assert fingerprint(picture_folder) != before


def test_the_fingerprint_covers_labels_classes_and_splits(picture_folder: Path) -> None:
    """With the same paths and contents in the same order; caches of formats 1 and 2 can't tell these apart."""
    found = open_images(str(picture_folder))
    digests = file_digests(found)
    labels = {**found.labels, "train": (1, *found.labels["train"][1:])}
    paths = {"train": found.all_paths[:9], "val": found.all_paths[9:]}
    others = [
        replace(found, labels=labels),
        replace(found, classes=("blue", "green")),
        replace(found, paths=paths, labels={"train": (0,) * 4 + (1,) * 4 + (0,), "val": (0, 1, 1, 1)}),
    ]
    every = [found, *others]
    assert len({images_sha256(one, digests) for one in every}) == 4
    assert len({images_sha256_before_format_3(one, digests) for one in every}) == 1


def test_files_that_can_not_be_hashed_are_listed(picture_folder: Path) -> None:
    for name in ("train/blue/link.png", "val/blue/link.png"):
        (picture_folder / name).symlink_to("gone.png")
    with pytest.raises(InputError, match=r"2 of 15 images .* can't be read") as caught:
        file_digests(open_images(str(picture_folder)))
    assert "train/blue/link.png: " in str(caught.value)
    assert "val/blue/link.png: " in str(caught.value)


def test_validation_images_that_are_training_images_are_found(picture_folder: Path) -> None:
    shutil.copy(picture_folder / "train/red/2.png", picture_folder / "val/red/other_name.png")
    image_set = open_images(str(picture_folder))
    assert shared_images(image_set, file_digests(image_set)) == ["val/red/other_name.png"]
