"""features.sources.images: the registry of sources, and the set of images that one of them gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from features.sources import images
from features.sources.catalogue import Catalogue, Kind
from features.sources.folder import read_folder
from features.sources.images import is_name, open_images
from features.util.errors import InputError


def test_a_new_kind_of_source_is_one_entry(picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(data: str, split: float | None, download: bool) -> Catalogue:
        assert (data, split, download) == ("mine:pictures", None, True)
        return replace(read_folder(picture_folder, split), name="mine", place="the shelf")

    mine = Kind(takes="mine:NAME", claims=lambda data: data.startswith("mine:"), read=read, named=True)
    monkeypatch.setattr(images, "KINDS", (*images.KINDS, mine))
    found = open_images("mine:pictures")
    assert (found.name, found.location, found.paths) == (
        "mine",
        "mine:pictures",
        open_images(str(picture_folder)).paths,
    )
    assert is_name("mine:pictures")
    with pytest.raises(InputError, match=r"takes `hymenoptera`, a folder, .*, or mine:NAME\."):
        open_images("no such thing")


def test_the_real_folder(shared_data: Path) -> None:
    found = open_images(str(shared_data))
    assert found.classes == ("ants", "bees")
    assert {split: len(paths) for split, paths in found.paths.items()} == {"train": 244, "val": 153}
    assert len(found.ignored) == 1
    assert found.ignored[0].endswith(".gif")
