"""features.exchange: rows of features from other people's files, as their own libraries write them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from features.cache.store import read_features, verify_features
from features.config import ImportConfig
from features.exchange import arrays, columns, importer, table
from features.exchange.importer import import_features
from features.exchange.scaling import Scaling
from features.util.errors import InputError

WIDTH = 5
NAMES = np.array(["cat", "dog", "emu"])


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, class names, ids and splits of 60 rows."""
    random = np.random.default_rng(3)
    names = NAMES[np.arange(60) % 3]
    splits = np.where(np.arange(60) < 42, "train", "test")
    return (
        random.normal(size=(60, WIDTH)).astype(np.float32),
        names,
        np.char.add("row ", np.arange(60).astype(str)),
        splits,
    )


def as_npz(folder: Path, x, y, ids, splits) -> Path:
    np.savez_compressed(folder / "rows.npz", X=x, y=y, ids=ids, split=splits)
    return folder / "rows.npz"


def as_npz_of_splits(folder: Path, x, y, ids, splits) -> Path:
    train = splits == "train"
    content = {"X_train": x[train], "y_train": y[train], "X_test": x[~train], "y_test": y[~train]}
    np.savez(folder / "rows.npz", **content, ids_train=ids[train], ids_test=ids[~train])
    return folder / "rows.npz"


def as_hdf5(folder: Path, x, y, ids, splits) -> Path:
    with h5py.File(folder / "rows.h5", "w") as file:
        for split in ("train", "test"):
            part = splits == split
            file[f"{split}/embeddings"] = x[part]
            file[f"{split}/label"] = y[part].astype("S")
            file[f"{split}/id"] = ids[part].tolist()
    return folder / "rows.h5"


def as_torch(folder: Path, x, y, ids, splits) -> Path:
    labels = torch.from_numpy(np.searchsorted(NAMES, y))
    content = {"features": torch.from_numpy(x), "labels": labels, "classes": NAMES.tolist(), "ids": ids.tolist()}
    torch.save(content | {"splits": splits.tolist()}, folder / "rows.pt")
    return folder / "rows.pt"


def as_parquet(folder: Path, x, y, ids, splits) -> Path:
    content = {"id": ids, "label": y, "split": splits, "embedding": list(x)}
    parquet.write_table(pyarrow.table(content), folder / "rows.parquet", row_group_size=7)
    return folder / "rows.parquet"


def as_parquet_of_columns(folder: Path, x, y, ids, splits) -> Path:
    content = {f"f{k}": x[:, k] for k in range(WIDTH)}
    parquet.write_table(pyarrow.table({"id": ids, "label": y, "split": splits} | content), folder / "rows.parquet")
    return folder / "rows.parquet"


def as_csv(folder: Path, x, y, ids, splits) -> Path:
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", *(f"f{k}" for k in range(WIDTH)), "split"])
        for row in zip(ids, y, x.tolist(), splits, strict=True):
            writer.writerow([row[0], row[1], *row[2], row[3]])
    return folder / "rows.csv"


def as_dataset(folder: Path, x, y, ids, splits) -> Path:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value  # takes seconds

    kinds = Features(
        {"id": Value("string"), "features": Sequence(Value("float32")), "label": ClassLabel(names=NAMES.tolist())}
    )
    parts = {}
    for split in ("train", "test"):
        part = splits == split
        content = {"id": ids[part].tolist(), "features": x[part].tolist(), "label": y[part].tolist()}
        parts[split] = Dataset.from_dict(content, features=kinds)
    DatasetDict(parts).save_to_disk(str(folder / "saved"))
    return folder / "saved"


FORMATS = [as_npz, as_npz_of_splits, as_hdf5, as_torch, as_parquet, as_parquet_of_columns, as_csv, as_dataset]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_gives_the_same_rows(write, rows, tmp_path: Path, monkeypatch, capsys) -> None:
    for module, name in ((table, "BLOCK_BYTES"), (arrays, "BLOCK_BYTES"), (columns, "ROWS")):
        monkeypatch.setattr(module, name, 140 if name == "BLOCK_BYTES" else 7)  # several blocks
    x, y, ids, splits = rows
    file = write(tmp_path, *rows)
    made = import_features(ImportConfig(file=file, out=tmp_path / "features.h5"))
    found = read_features(made.path)
    assert found.provenance.classes == tuple(NAMES)
    for split, part in (("train", splits == "train"), ("val", splits == "test")):
        assert np.array_equal(found.splits[split].features, x[part])
        assert found.splits[split].paths == tuple(ids[part])
        assert np.array_equal(NAMES[found.splits[split].labels], y[part])
    capsys.readouterr()
    import_features(ImportConfig(file=file, out=tmp_path / "features.h5"))
    assert capsys.readouterr().out.endswith("up to date, imported from the same rows\n")


def test_all_formats_are_the_same_cache(rows, tmp_path: Path) -> None:
    fingerprints = set()
    for write in FORMATS:
        folder = tmp_path / write.__name__
        folder.mkdir()
        made = import_features(ImportConfig(file=write(folder, *rows), out=folder / "features.h5"))
        fingerprints.add(made.content_sha256)
    assert len(fingerprints) == 1


def test_a_corrected_label_beside_the_same_features_is_imported_again(rows, tmp_path: Path, capsys) -> None:
    x, y, _, _ = rows
    labels = np.searchsorted(NAMES, y)
    np.save(tmp_path / "rows.npy", x)
    np.save(tmp_path / "rows.labels.npy", labels)
    config = ImportConfig(file=tmp_path / "rows.npy", split=0.25, out=tmp_path / "features.h5")
    first = import_features(config)
    labels[0] = 2
    np.save(tmp_path / "rows.labels.npy", labels)
    again = import_features(config)
    assert again.content_sha256 != first.content_sha256
    assert "imported from" in capsys.readouterr().out.splitlines()[-1]
    assert read_features(again.path).provenance.classes == ("0", "1", "2")


def test_a_split_is_drawn_by_class_and_seed(rows, tmp_path: Path) -> None:
    x, y, ids, _ = rows
    np.savez(tmp_path / "rows.npz", features=x, labels=y, ids=ids)
    held = {}
    for seed in (0, 0, 1):
        made = import_features(
            ImportConfig(file=tmp_path / "rows.npz", split=0.25, seed=seed, out=tmp_path / "f.h5", force=True)
        )
        found = read_features(made.path)
        assert np.bincount(found.val.labels).tolist() == [5, 5, 5]
        assert held.setdefault(seed, found.val.paths) == found.val.paths
    assert held[0] != held[1]


def test_float64_and_float16_and_given_columns(rows, tmp_path: Path) -> None:
    x, y, ids, splits = rows
    np.savez(tmp_path / "rows.npz", clip=x.astype(np.float64), species=y, key=ids, fold=splits, other=x[:, :2])
    made = import_features(
        ImportConfig(
            file=tmp_path / "rows.npz",
            out=tmp_path / "features.h5",
            columns="clip",
            label="species",
            id="key",
            split_column="fold",
            dtype="float16",
        )
    )
    found = read_features(made.path)
    assert found.provenance.dtype == "float16"
    assert np.array_equal(found.train.features, x[splits == "train"].astype(np.float16))
    assert found.provenance.transform == '{"columns":"clip","id":"key","label":"species","split_column":"fold"}'


def refused(tmp_path: Path, message: str, **changed) -> None:
    """The import is refused with these words, and an earlier cache is as it was."""
    out = tmp_path / "features.h5"
    before = out.read_bytes() if out.exists() else None
    with pytest.raises(InputError, match=message):
        import_features(ImportConfig(**{"file": tmp_path / "rows.npz", "out": out} | changed))
    assert (out.read_bytes() if out.exists() else None) == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"X": None, "z": 1},
            "has no features under a usual name .*it holds y, ids, split, z; say which with --columns",
        ),
        ({"y": None}, "has no labels under a usual name"),
        ({"split": None}, "says of no row whether it is for training or validation; give --split 0.2"),
        ({"split": "fold one"}, "has the split 'fold one'; a split is one of train"),
        ({"y": 0.5}, "row 0 of .* has the label 0.5; a label is a class"),
        ({"y": "cat"}, r"1 class\(es\) \(cat\); at least 2 are needed"),
        ({"ids": "same"}, "60 rows of .* have a name of another row|59 rows of .* have a name of another row"),
        ({"X": np.nan}, "row 0 of .* is not finite as float32"),
        ({"X": "text"}, "features of .* are <U4; numbers are wanted"),
        ({"short": True}, "has 60 rows of features, and labels of shape"),
        ({"y": "one each"}, "can't be split: .* 60 of its 60 classes have only one: 0, 1, .* and 40 more. Leave them"),
        ({"empty": True}, "rows.npz has no rows; at least one of each of two classes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_and_nothing_is_lost(rows, tmp_path: Path, changed, message) -> None:
    x, y, ids, splits = rows
    content = {"X": x, "y": y, "ids": ids, "split": splits}
    np.savez(tmp_path / "rows.npz", **content)
    import_features(ImportConfig(file=tmp_path / "rows.npz", out=tmp_path / "features.h5"))
    (tmp_path / "rows.npz").unlink()
    for name, value in changed.items():
        if name == "short":
            content["y"] = y[:50]
        elif name == "empty":
            content = {key: values[:0] for key, values in content.items()}
        elif value == "one each":
            content |= {"y": np.arange(60)}
            del content["split"]
        elif value is None:
            del content[name]
        else:
            like = content.get(name, y)
            content[name] = np.full(like.shape, value)
    np.savez(tmp_path / "rows.npz", **content)
    refused(tmp_path, message, **({"split": 0.2} if "one each" in changed.values() else {}))


def test_files_that_are_none_are_refused(rows, tmp_path: Path) -> None:
    refused(tmp_path, "there is no file .*; rows of features can be imported from .npz, .npy, .parquet")
    for ending in ("npz", "npy", "parquet", "h5", "pt"):
        (tmp_path / f"rows.{ending}").write_bytes(b"neither this nor that")
        refused(tmp_path, f"is no .{ending}|is no Parquet|is no HDF5", file=tmp_path / f"rows.{ending}")
    (tmp_path / "rows.txt").write_text("1")
    refused(tmp_path, "is none of the formats", file=tmp_path / "rows.txt")
    np.savez(tmp_path / "rows.npz", features=np.array([None, {}], dtype=object), labels=np.arange(2))
    refused(tmp_path, "holds pickled objects")
    torch.save({"features": torch.zeros(2, 2), "run": Path("x")}, tmp_path / "rows.pt")
    refused(tmp_path, "is no .pt of plain tensors", file=tmp_path / "rows.pt")


def test_a_cache_of_ours_is_no_file_to_import(rows, tmp_path: Path) -> None:
    import_features(ImportConfig(file=as_npz(tmp_path, *rows), out=tmp_path / "features.h5"))
    with pytest.raises(InputError, match="is a cache already; train on it: python -m pipeline train --features"):
        import_features(ImportConfig(file=tmp_path / "features.h5", out=tmp_path / "other.h5"))


def test_a_csv_says_which_line_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("label,a,b\ncat,1,2\ndog,3\n")
    refused(tmp_path, "line 3 of .* has 2 cells, the header has 3", file=tmp_path / "rows.csv", split=0.5)
    (tmp_path / "rows.csv").write_text("label,a,b\n" + "cat,1,2\ndog,3,x\n" * 2)
    refused(
        tmp_path,
        "row 1 of .* has 'x' in the column b, where a number is wanted; fill it in",
        file=tmp_path / "rows.csv",
        split=0.5,
    )


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = []
    write = importer.FeatureWriter.write
    monkeypatch.setattr(
        importer.FeatureWriter, "write", lambda *args: (largest.append(args[3].nbytes), write(*args))[1]
    )
    x = np.random.default_rng(0).normal(size=(20_000, 512)).astype(np.float32)  # 41 MB
    np.savez(tmp_path / "rows.npz", features=x, labels=np.arange(20_000) % 2)
    made = import_features(ImportConfig(file=tmp_path / "rows.npz", split=0.1, out=tmp_path / "features.h5"))
    assert max(largest) <= table.BLOCK_BYTES
    assert verify_features(made.path).shapes == {"train": (18_000, 512), "val": (2_000, 512)}


def test_sets_that_ship_with_scikit_learn(tmp_path: Path) -> None:
    config = ImportConfig(file=Path("sklearn:wine"), split=0.2, standardize=True, out=tmp_path / "features.h5")
    found = read_features(import_features(config).path)
    assert found.provenance.classes == ("class_0", "class_1", "class_2")
    assert found.provenance.data_location == "sklearn:wine"
    assert {split: len(part.labels) for split, part in found.splits.items()} == {"train": 142, "val": 36}
    with pytest.raises(InputError, match=r"ships no wines \(did you mean wine\?\); it is one of breast_cancer"):
        import_features(ImportConfig(file=Path("sklearn:wines"), split=0.2, out=tmp_path / "other.h5"))


def test_scaling_is_that_of_the_training_rows(rows, tmp_path: Path) -> None:
    x, y, ids, splits = rows
    x = 1e3 + x * np.array([1, 10, 100, 0.1, 0])
    np.savez(tmp_path / "rows.npz", features=x, labels=y, ids=ids, splits=splits)
    plain = ImportConfig(file=tmp_path / "rows.npz", out=tmp_path / "features.h5")
    import_features(plain)
    made = import_features(replace(plain, standardize=True))
    found = read_features(made.path)
    train = x[splits == "train"]
    std = np.where(train.std(axis=0) > 0, train.std(axis=0), 1)
    np.testing.assert_allclose(found.train.features, (train - train.mean(axis=0)) / std, atol=1e-5)
    np.testing.assert_allclose(found.val.features, (x[splits == "test"] - train.mean(axis=0)) / std, atol=1e-5)
    scaling = Scaling.recorded(found.provenance.transform)
    np.testing.assert_allclose(scaling(x)[splits == "train"], found.train.features, atol=1e-6)
