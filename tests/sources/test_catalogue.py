"""features.sources.catalogue: what is drawn, by --split, --classes and --limit, and from which place a path is read."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.sources.catalogue import UNSPLIT, Catalogue, Files, Rows, Selection, choose
from features.sources.decode import decode
from features.sources.images import open_images, without
from features.util.errors import InputError

NOWHERE = Files(Path("/nowhere"))


def whole(**counts: int) -> Catalogue:
    """A catalogue without a split: so many images of each class."""
    rows = [(f"{name}/{index}.png", name) for name, count in counts.items() for index in range(count)]
    return Catalogue(name="whole", place="here", source=NOWHERE, rows={UNSPLIT: rows})


def chosen(catalogue: Catalogue, **given: object) -> Rows:
    settings = {"split": None, "seed": 0, "classes": (), "limit": None} | given
    return choose(catalogue, **settings)  # type: ignore[arg-type]


def count(rows: Rows, name: str) -> tuple[int, int]:
    train, val = ([row for row in rows[part] if row[1] == name] for part in ("train", "val"))
    return len(train), len(val)


@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=4),
    split=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_a_split_is_stratified_whole_and_independent_of_order(counts, split, seed, order) -> None:
    catalogue = whole(**{f"c{index}": n for index, n in enumerate(counts)})
    rows = chosen(catalogue, split=split, seed=seed)
    assert sorted(rows["train"] + rows["val"]) == sorted(catalogue.rows[UNSPLIT])
    for index, n in enumerate(counts):
        _, held_out = count(rows, f"c{index}")
        assert held_out == min(max(round(split * n), 1), n - 1)
    order.shuffle(catalogue.rows[UNSPLIT])
    assert chosen(catalogue, split=split, seed=seed) == rows


def test_what_is_drawn_stays_the_same_over_versions() -> None:
    rows = chosen(whole(a=5, b=5), split=0.4, seed=3)
    assert rows["val"] == [("a/0.png", "a"), ("a/4.png", "a"), ("b/3.png", "b"), ("b/4.png", "b")]


def test_another_seed_draws_others() -> None:
    drawn = {tuple(chosen(whole(a=50, b=50), split=0.2, seed=seed)["val"]) for seed in range(5)}
    assert len(drawn) == 5


def test_a_new_image_moves_few_others() -> None:
    before = set(chosen(whole(a=100, b=100), split=0.2)["val"])
    after = set(chosen(whole(a=101, b=100), split=0.2)["val"])
    assert len(before - after) <= 1


def test_a_limit_is_for_each_class_of_each_split_and_keeps_the_order() -> None:
    every = chosen(whole(a=40, b=3), split=0.25)
    rows = chosen(whole(a=40, b=3), split=0.25, limit=5)
    assert (count(rows, "a"), count(rows, "b")) == ((5, 5), (2, 1))
    for part in ("train", "val"):
        assert rows[part] == [row for row in every[part] if row in rows[part]]
    assert [row for row in every["train"] if row[1] == "a"][:5] != rows["train"][:5]


def test_classes_are_sorted_and_others_left_out() -> None:
    rows = chosen(whole(a=4, b=4, c=4), split=0.5, classes=("c", "a"))
    assert [name for _, name in rows["train"]] == ["a", "a", "c", "c"]


def test_unknown_classes_are_listed_with_what_there_is() -> None:
    with pytest.raises(InputError) as caught:
        chosen(whole(ants=4, bees=4), split=0.5, classes=("ant", "wasps"))
    assert str(caught.value) == (
        "--classes names 'ant', which here has not (did you mean ants?)\n"
        "--classes names 'wasps', which here has not\n"
        "Its 2 classes are:\n  ants\n  bees"
    )


def test_one_class_is_too_few() -> None:
    with pytest.raises(InputError, match="--classes names only ants; at least 2 classes are needed"):
        chosen(whole(ants=4, bees=4), split=0.5, classes=("ants",))


def test_classes_with_one_image_can_not_be_split() -> None:
    with pytest.raises(InputError) as caught:
        chosen(whole(a=4, b=1, c=1), split=0.5)
    assert str(caught.value).splitlines()[1:] == ["  b", "  c"]


def test_values_out_of_range_are_said_at_once(picture_folder: Path) -> None:
    for split in (0, 1, -0.5, float("nan")):
        with pytest.raises(InputError) as caught:
            open_images(str(picture_folder / "train"), split=split, limit=0)
        assert str(caught.value) == (
            f"--split is {split}; it must be more than 0 and less than 1, such as 0.2\n"
            "--limit is 0; it must be 1 or more images a class"
        )


def test_a_choice_is_recorded_and_gives_the_same_set_again(picture_folder: Path) -> None:
    found = open_images(str(picture_folder / "train"), split=0.3, seed=4, limit=2, classes=("red", "blue"))
    assert found.selection.record() == {"split": 0.3, "seed": 4, "limit": 2, "classes": ["blue", "red"]}
    assert open_images(found.location, **found.selection.record()) == found
    assert open_images(str(picture_folder), seed=4).selection == Selection()


# Where a path is read from -------------------------------------------------------------------------------------------


def test_a_file_is_read_by_its_path_or_url(tmp_path: Path) -> None:
    (tmp_path / "a b%.png").write_bytes(b"content")
    source = pickle.loads(pickle.dumps(Files(tmp_path)))
    assert source.read("a b%.png") == b"content"
    assert source.read(str(tmp_path / "a b%.png")) == b"content"
    assert source.read(f"file://{tmp_path}/a b%.png") == b"content"
    for missing in ("none.png", f"file://{tmp_path}/none.png", "memory://none.png"):
        with pytest.raises(FileNotFoundError):
            source.read(missing)


def test_what_a_store_raises_is_an_oserror_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def refuse(*_: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(fsspec, "open", refuse)
    with pytest.raises(OSError, match="RuntimeError: no credentials"):
        NOWHERE.read("s3://bucket/a.png")


# Leaving images out --------------------------------------------------------------------------------------------------


def test_a_set_without_some_of_its_images(picture_folder: Path) -> None:
    found = open_images(str(picture_folder))
    fewer = without(found, {"train/blue/1.png": "bad", "val/red/0.png": "bad"})
    assert fewer.paths["train"] == (*(f"train/blue/{i}.png" for i in (0, 2, 3)), *found.paths["train"][4:])
    assert fewer.labels == {"train": (0, 0, 0, 1, 1, 1, 1), "val": (0, 0, 1, 1)}
    assert decode(fewer.read("val/red/1.png")).size == (80, 60)
    assert without(found, ()) == found


def test_a_class_may_not_become_empty(picture_folder: Path) -> None:
    found = open_images(str(picture_folder))
    with pytest.raises(InputError) as caught:
        without(found, ["val/blue/0.png", "val/blue/1.png"])
    assert str(caught.value) == (
        f"without 2 images of {picture_folder} no image is left of these classes:\n  val: blue"
    )
