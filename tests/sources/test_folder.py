"""features.sources.folder: which images a folder holds, with a split of its own or one to be made."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from features.sources.images import open_images
from features.util.errors import InputError


def test_a_folder_is_listed_in_a_fixed_order(picture_folder: Path) -> None:
    found = open_images(str(picture_folder))
    assert found.classes == ("blue", "red")
    assert found.paths["train"] == tuple(f"train/{name}/{i}.png" for name in ("blue", "red") for i in range(4))
    assert found.labels == {"train": (0, 0, 0, 0, 1, 1, 1, 1), "val": (0, 0, 1, 1, 1)}
    assert found.all_paths == [*found.paths["train"], *found.paths["val"]]
    assert found.ignored == ()


def test_deeper_folders_and_capital_endings_count_and_other_files_are_named(picture_folder: Path) -> None:
    blue = picture_folder / "train/blue"
    (blue / "more").mkdir()
    (blue / "0.png").rename(blue / "more/HOLIDAY.PNG")
    (blue / "notes.txt").write_text("none")
    (blue / "film.gif").write_bytes(b"GIF89a")
    found = open_images(str(picture_folder))
    assert "train/blue/more/HOLIDAY.PNG" in found.paths["train"]
    assert found.ignored == ("train/blue/film.gif", "train/blue/notes.txt")


def test_hidden_files_and_folders_are_no_images_and_no_classes(picture_folder: Path) -> None:
    shutil.copytree(picture_folder / "train/blue", picture_folder / "train/.ipynb_checkpoints")
    shutil.copytree(picture_folder / "train/blue", picture_folder / "train/red/.thumbnails")
    (picture_folder / "train/red/._0.png").write_bytes(b"Mac OS X")
    found = open_images(str(picture_folder))
    assert found.classes == ("blue", "red")
    assert len(found.paths["train"]) == 8
    assert found.ignored == ("train/red/._0.png", *(f"train/red/.thumbnails/{i}.png" for i in range(4)))


def test_any_number_of_classes(picture_folder: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(picture_folder / split / "red", picture_folder / split / "Ärger mit 日本語")
    assert open_images(str(picture_folder)).classes == ("blue", "red", "Ärger mit 日本語")


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_images(str(tmp_path / "nowhere"))
    assert str(caught.value) == (
        f"there is no folder {tmp_path}/nowhere; --data (make: DATA=) takes `hymenoptera`, a folder, a .csv or "
        ".parquet list, a MedMNIST set (medmnist:pneumoniamnist, …), or "
        "the name of a torchvision data set (cifar10, oxford-iiit-pet, …)."
    )


@pytest.mark.parametrize(("typed", "meant"), [("hymenoptra", "hymenoptera"), ("picturs", "{}/pictures")])
def test_a_slip_of_the_pen_is_recognised(picture_folder: Path, typed: str, meant: str) -> None:
    beside = picture_folder.parent
    with pytest.raises(InputError, match=re.escape(f"Did you mean {meant.format(beside)}?")):
        open_images(str(beside / typed))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file is a file; --data \(make: DATA=\) takes `hymenoptera`, a folder"):
        open_images(str(tmp_path / "file"))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_images(str(tmp_path))
    assert str(caught.value) == (
        f"the folder {tmp_path} has no train/ and no val/; subfolders found: nothing. "
        f"Put the images in {tmp_path}/train/CLASS/ and {tmp_path}/val/CLASS/."
    )


def test_one_split_is_missing(picture_folder: Path) -> None:
    (picture_folder / "val").rename(picture_folder / "test")
    with pytest.raises(InputError, match=r"has no val/; subfolders found: test, train\. Put the images in "):
        open_images(str(picture_folder))


def test_the_folder_above_the_right_one(picture_folder: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"Did you mean {picture_folder}?")):
        open_images(str(picture_folder.parent))


def test_all_that_is_wrong_with_the_classes_is_said_at_once(picture_folder: Path) -> None:
    (picture_folder / "val/red").rename(picture_folder / "val/rot")
    for image in (picture_folder / "train/blue").iterdir():
        image.unlink()
    (picture_folder / "train/blue/readme.md").touch()
    with pytest.raises(InputError) as caught:
        open_images(str(picture_folder))
    assert str(caught.value) == (
        f"the folder {picture_folder} can't be used as a data set:\n"
        "  class red is in train/ but not in val/\n"
        "  class rot is in val/ but not in train/\n"
        "  train/blue holds no image\n"
        f"Wanted: {picture_folder}/train/CLASS/ and {picture_folder}/val/CLASS/ for the same two or more classes, each "
        "with at least one image (.jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp)."
    )


def test_one_class_is_too_few(picture_folder: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(picture_folder / split / "red")
    with pytest.raises(InputError, match=r"train has 1 class subfolders; at least 2 are needed"):
        open_images(str(picture_folder))


def test_a_name_that_is_not_utf_8(picture_folder: Path) -> None:
    try:
        (picture_folder / "val/red/\udcff.png").touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(InputError, match=re.escape(r"'val/red/\udcff.png' is not a UTF-8 name")):
        open_images(str(picture_folder))


# Without val/ --------------------------------------------------------------------------------------------------------


def test_classes_alone_are_split(picture_folder: Path) -> None:
    found = open_images(str(picture_folder / "train"), split=0.25)
    assert found.classes == ("blue", "red")
    assert found.labels == {"train": (0, 0, 0, 1, 1, 1), "val": (0, 1)}
    assert sorted(found.all_paths) == [f"{name}/{i}.png" for name in ("blue", "red") for i in range(4)]
    assert found.name == "train"


def test_a_train_folder_alone_is_split(picture_folder: Path) -> None:
    shutil.rmtree(picture_folder / "val")
    found = open_images(str(picture_folder), split=0.25)
    assert found.labels == {"train": (0, 0, 0, 1, 1, 1), "val": (0, 1)}
    assert sorted(found.all_paths) == [f"train/{name}/{i}.png" for name in ("blue", "red") for i in range(4)]


def test_without_val_a_split_has_to_be_given(picture_folder: Path) -> None:
    root = picture_folder / "train"
    with pytest.raises(InputError) as caught:
        open_images(str(root))
    assert str(caught.value) == (
        f"the folder {root} has no train/ and no val/; subfolders found: blue, red. Put the images in "
        f"{root}/train/CLASS/ and {root}/val/CLASS/, or give --split 0.2 "
        '(make: FEATURES_ARGS="--split 0.2") to hold out a fifth of each class.'
    )


def test_a_folder_with_val_takes_no_other_split(picture_folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_images(str(picture_folder), split=0.2)
    assert str(caught.value) == (
        f"--split is 0.2, but the folder {picture_folder}, in train/ and val/, has its own split; leave --split out"
    )


@pytest.mark.parametrize("split", [None, 0.2])
def test_train_beside_something_else_is_not_guessed_at(picture_folder: Path, split: float | None) -> None:
    (picture_folder / "val").rename(picture_folder / "test")
    with pytest.raises(
        InputError, match=r"has no val/; subfolders found: test, train\..*or name .*/train with --split"
    ):
        open_images(str(picture_folder), split=split)


@pytest.mark.parametrize("name", ["nothing", "above"])
def test_a_split_of_a_folder_without_classes(picture_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "nothing").mkdir()
    root = {"nothing": tmp_path / "nothing", "above": picture_folder.parent}[name]
    with pytest.raises(InputError, match=r"has no train/ and no val/; subfolders found: "):
        open_images(str(root), split=0.2)


def test_what_is_wrong_with_classes_to_be_split(picture_folder: Path) -> None:
    root = picture_folder / "train"
    for image in (root / "blue").iterdir():
        image.unlink()
    shutil.rmtree(root / "red")
    with pytest.raises(InputError) as caught:
        open_images(str(root), split=0.2)
    assert str(caught.value) == (
        f"the folder {root} can't be used as a data set:\n"
        f"  {root} has 1 class subfolders; at least 2 are needed\n"
        "  blue holds no image\n"
        f"Wanted: {root}/CLASS/ for two or more classes, each with at least one image (.jpg, .jpeg, .png, .ppm, .bmp, "
        ".pgm, .tif, .tiff, .webp)."
    )


# Links ---------------------------------------------------------------------------------------------------------------


def test_linked_folders_are_followed_but_not_round_in_circles(picture_folder: Path, tmp_path: Path) -> None:
    shutil.move(picture_folder / "train/red", tmp_path / "elsewhere")
    (picture_folder / "train/red").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "elsewhere/0.png", tmp_path / "more/9.png")
    (tmp_path / "elsewhere/more").symlink_to(tmp_path / "more")
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "more/up").symlink_to(tmp_path / "elsewhere")
    found = open_images(str(picture_folder))
    names = ["0.png", "1.png", "2.png", "3.png", "more/9.png"]
    assert found.paths["train"][4:] == tuple(f"train/red/{name}" for name in names)
    assert found.read("train/red/more/9.png") == found.read("train/red/0.png")


def test_a_folder_that_may_not_be_read_is_not_skipped(picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def guarded(folder: Path) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    (picture_folder / "train/red/locked").mkdir()
    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(PermissionError, match="locked"):
        open_images(str(picture_folder))
