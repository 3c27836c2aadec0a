"""features.sources.table: a list of images, and every mistake in one, with its line."""

from __future__ import annotations

import builtins
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from features.sources.check import check_images
from features.sources.images import open_images
from features.util.errors import InputError


@pytest.fixture
def listed(picture_folder: Path) -> Path:
    """A list beside the pictures, with a split; a comment column, which is no business of ours."""
    lines = ["path,note,label,split"]
    for image in sorted(picture_folder.rglob("*.png"), reverse=True):
        split, name, file = image.relative_to(picture_folder).parts
        lines.append(f'{split}/{name}/{file},"a, b",{name}ish,{split}')
    file = picture_folder / "my list.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def message(file: Path, **given: object) -> str:
    with pytest.raises(InputError) as caught:
        open_images(str(file), **given)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_list_gives_what_its_folder_gives(listed: Path, picture_folder: Path) -> None:
    found, folder = open_images(str(listed)), open_images(str(picture_folder))
    assert (found.name, found.location, found.selection.record()) == ("my list", str(listed), {})
    assert found.classes == ("blueish", "redish")
    assert (found.paths, found.labels) == (folder.paths, folder.labels)
    assert check_images(found) == check_images(folder)


def test_a_list_without_a_split_takes_one(listed: Path) -> None:
    lines = [line.rsplit(",", 1)[0] for line in listed.read_text().splitlines()]
    listed.write_text("\n".join(lines))
    assert message(listed) == (
        f'the list {listed} has no column split; give --split 0.2 (make: FEATURES_ARGS="--split 0.2") to hold out '
        "a fifth of each class, or add the column, with train or val in each line"
    )
    found = open_images(str(listed), split=0.5, seed=1)
    assert found.labels == {"train": (0, 0, 0, 1, 1, 1), "val": (0, 0, 0, 1, 1, 1, 1)}
    assert found.selection.record() == {"split": 0.5, "seed": 1}


def test_a_list_with_a_split_takes_no_other(listed: Path) -> None:
    assert message(listed, split=0.2) == (
        f"--split is 0.2, but the list {listed}, in its column split, has its own split; leave --split out"
    )


def test_paths_may_be_absolute_or_urls(picture_folder: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    content = (picture_folder / "val/red/2.png").read_bytes()
    store.pipe("/bucket/3 %.png", content)
    lines = ["path,label,split"]
    lines += [f"{picture_folder}/train/{name}/0.png,{name},train" for name in ("red", "blue")]
    lines += ["memory://bucket/3 %.png,red,val", f"file://{picture_folder}/val/blue/0.png,blue,val"]
    (tmp_path / "far.csv").write_text("\n".join(lines))
    found = open_images(str(tmp_path / "far.csv"))
    assert found.paths["val"] == (f"file://{picture_folder}/val/blue/0.png", "memory://bucket/3 %.png")
    assert found.read("memory://bucket/3 %.png") == content
    assert check_images(found).problems == {}
    store.rm("/bucket/3 %.png")
    assert check_images(found).problems.keys() == {"memory://bucket/3 %.png"}


def test_a_store_that_can_not_be_read_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("path,label,split\nbogus://a,red,train\nnope://b,blue,val\n")
    first, *problems = message(tmp_path / "far.csv").splitlines()
    assert first == f"the list {tmp_path}/far.csv can't be used as a data set:"
    assert len(problems) == 2
    assert re.fullmatch(r"  bogus://… can't be read: Protocol not known: bogus.*", problems[0])


def hide(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    real = builtins.__import__

    def guarded(name: str, *rest: object, **named: object) -> object:
        if name.split(".")[0] == hidden:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", guarded)


def test_without_fsspec_a_url_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far.csv").write_text("path,label,split\ns3://a,red,train\ns3://b,blue,val\n")
    hide(monkeypatch, "fsspec")
    assert "reading s3://… needs fsspec, which is not installed; install it: pip install" in message(
        tmp_path / "far.csv"
    )


def test_without_pyarrow_parquet_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.parquet").touch()
    hide(monkeypatch, "pyarrow")
    assert message(tmp_path / "list.parquet") == (
        f"reading {tmp_path}/list.parquet needs pyarrow, which is not installed; install it: pip install pyarrow, "
        "or save the list as .csv"
    )


# Parquet -------------------------------------------------------------------------------------------------------------


def test_parquet_with_numbers_for_names(picture_folder: Path) -> None:
    images = sorted(picture_folder.rglob("*.png"))
    columns = {
        "label": [10 if "red" in str(image) else 9 for image in images],
        "weight": [0.5] * len(images),
        "path": [image.relative_to(picture_folder).as_posix() for image in images],
    }
    file = picture_folder / "list.parquet"
    parquet.write_table(pa.table(columns), file)
    found = open_images(str(file), split=0.3)
    assert found.classes == ("10", "9")
    assert sorted(found.all_paths) == sorted(columns["path"])
    assert check_images(found).problems == {}


def test_what_is_wrong_in_a_parquet_list_is_said_by_row(tmp_path: Path) -> None:
    file = tmp_path / "list.parquet"
    parquet.write_table(pa.table({"path": ["a.png", None, "a.png"], "label": ["x", "y", None]}), file)
    assert message(file, split=0.5) == (
        f"the list {file} can't be used as a data set:\n"
        "  row 2: its path is empty\n"
        "  row 3: its label is empty\n"
        "  row 3: its path a.png is in row 1 already"
    )


def test_what_is_no_parquet(tmp_path: Path) -> None:
    file = tmp_path / "list.parquet"
    for content in (b"", b"path,label\n" * 10):
        file.write_bytes(content)
        assert message(file, split=0.5).startswith(f"{file} is no Parquet file, or a damaged one (")


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_everything_wrong_in_a_list_is_said_at_once_by_line(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(
        "\ufeffpath,label,split\n"
        "a.png,cat,train\n"
        "b.png, ,train\n"
        ",dog,val\n"
        '"c\nd.png",dog,vall\n'
        "./a.png,cat,\n"
        "\n"
        "e.png,dog\n"
        "f.png, dog ,val\n",
        encoding="utf-8",
    )
    assert message(file) == (
        f"the list {file} can't be used as a data set:\n"
        "  line 3: its label is empty\n"
        "  line 4: its path is empty\n"
        "  line 6: its split is 'vall'; it must be train or val (did you mean val?)\n"
        "  line 7: its split is ''; it must be train or val\n"
        "  line 7: its path ./a.png is in line 2 already\n"
        "  line 9 has 2 cells, the header has 3"
    )


def test_columns_that_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("paths,class\na.png,cat\n")
    assert message(file) == (
        f"the list {file} can't be used as a data set:\n"
        "  it has no column path (did you mean paths?)\n"
        "  it has no column label\n"
        "Wanted: columns path, label and, if you like, split (train or val), separated by commas; found: paths, class."
    )
    file.write_text("path;label\na.png;cat\n")
    assert "separated by commas; found: path;label." in message(file)
    file.write_text("path,label,label\na.png,cat,dog\n")
    assert "  it has 2 columns label\n" in message(file)
    file.write_text("")
    assert "found: nothing." in message(file)


def test_a_list_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,split\n")
    assert message(tmp_path / "list.csv").endswith("\n  it holds no image")


def test_classes_without_training_or_validation_images(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("path,label,split\na,cat,train\nb,dog,val\nc,dog,train\n")
    assert message(file) == (
        f"the list {file} can't be used as a data set:\n  class cat has images for train, but none for val"
    )
    file.write_text("path,label,split\na,cat,train\nb,cat,val\n")
    assert message(file).endswith("it has 1 class(es) (cat); at least 2 are needed")


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("path,label\nä.png,cat\n".encode("latin1"))
    assert re.search(r"is not UTF-8 text \(.*\); save it as CSV in UTF-8", message(tmp_path / "list.csv"))


def test_a_quote_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('path,label\n"a.png,cat\n')
    assert re.search(r"is no CSV: line 2: unexpected end of data", message(tmp_path / "list.csv"))


def test_a_list_that_is_not_there(tmp_path: Path, listed: Path) -> None:
    assert message(tmp_path / "none.csv").startswith(f"there is no file {tmp_path}/none.csv; --data (make: DATA=)")
    assert f"Did you mean {listed}?" in message(listed.with_name("my lists.csv"))


def test_a_list_at_a_url_has_to_be_fetched() -> None:
    with pytest.raises(InputError, match=r"s3://bucket/list\.csv is a URL; --data .*\. A list may name images by"):
        open_images("s3://bucket/list.csv")


def test_images_that_a_list_names_and_that_are_not_there(listed: Path, picture_folder: Path) -> None:
    shutil.rmtree(picture_folder / "val/red")
    problems = check_images(open_images(str(listed))).problems
    assert list(problems) == [f"val/red/{index}.png" for index in range(3)]
    assert "No such file or directory" in problems["val/red/0.png"]
