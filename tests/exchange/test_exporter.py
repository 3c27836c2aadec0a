"""features.exchange.exporter: rows go out and come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from features.cache.packaged import PACKAGED
from features.cache.store import read_features
from features.config import ExportRowsConfig, ImportConfig
from features.exchange.exporter import export_features
from features.exchange.importer import import_features
from features.util.errors import InputError


@pytest.mark.parametrize("ending", ["npz", "parquet", "csv"])
def test_a_cache_comes_back_with_the_same_identity(ending: str, tmp_path: Path, capsys) -> None:
    file = tmp_path / f"rows.{ending}"
    export_features(ExportRowsConfig(file=PACKAGED, to=file))
    assert capsys.readouterr().out.startswith(f"{file}: 397 rows of ")
    made = import_features(ImportConfig(file=file, out=tmp_path / "features.h5"))
    assert made.content_sha256 == read_features(PACKAGED).content_sha256


@pytest.mark.parametrize("ending", ["npz", "parquet", "csv"])
def test_half_precision_stays(ending: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float16)
    np.savez(tmp_path / "given.npz", features=rows, labels=np.arange(12) % 2)
    first = import_features(
        ImportConfig(file=tmp_path / "given.npz", split=0.5, dtype="float16", out=tmp_path / "first.h5")
    )
    export_features(ExportRowsConfig(file=first.path, to=tmp_path / f"rows.{ending}"))
    again = import_features(ImportConfig(file=tmp_path / f"rows.{ending}", dtype="float16", out=tmp_path / "again.h5"))
    assert again.content_sha256 == first.content_sha256


def test_others_read_it(tmp_path: Path) -> None:
    ours = read_features(PACKAGED)
    export_features(ExportRowsConfig(file=PACKAGED, to=tmp_path / "rows.npz"))
    with np.load(tmp_path / "rows.npz") as arrays:
        assert arrays["features"].dtype == np.float32
        assert np.array_equal(arrays["features"][arrays["splits"] == "val"], ours.val.features)
        assert arrays["classes"][arrays["labels"]][-1] == "bees"
    export_features(ExportRowsConfig(file=PACKAGED, to=tmp_path / "rows.parquet"))
    frame = parquet.read_table(tmp_path / "rows.parquet").to_pandas()
    assert list(frame.columns) == ["id", "split", "label", "features"]
    assert np.array_equal(np.stack(frame.features[frame.split == "train"]), ours.train.features)


def test_an_unknown_ending_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--to is .*; its name must end with one of .npz, .parquet, .csv"):
        export_features(ExportRowsConfig(file=PACKAGED, to=tmp_path / "rows.mat"))
    with pytest.raises(InputError, match="there is no folder"):
        export_features(ExportRowsConfig(file=PACKAGED, to=tmp_path / "none/rows.npz"))
    assert list(tmp_path.iterdir()) == []
