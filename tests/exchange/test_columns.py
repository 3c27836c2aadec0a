"""features.exchange.columns: tables as spreadsheets, pandas and databases leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from features.cache.store import read_features
from features.config import ExportRowsConfig, ImportConfig
from features.exchange.exporter import export_features
from features.exchange.importer import import_features
from features.util.errors import InputError


@pytest.fixture
def frame() -> pandas.DataFrame:
    """40 rows, sorted by class, of three features."""
    random = np.random.default_rng(5)
    columns = {f"x{k}": random.normal(size=40).round(3) for k in range(3)}
    return pandas.DataFrame(columns | {"kind": np.repeat(["a, b", "c"], 20)})


def imported(file: Path, **changed):
    config = ImportConfig(
        **{"file": file, "label": "kind", "split": 0.25, "out": file.with_suffix(".cache.h5")} | changed
    )
    return read_features(import_features(config).path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_that_numbers_the_rows_is_no_feature(frame, ending, tmp_path: Path, capsys) -> None:
    """Rows sorted by class, with their number as a feature, would give the class away."""
    frame = frame.assign(patient=np.arange(700, 740), customerID=np.arange(40)[::-1], colour="red")
    file = tmp_path / f"rows.{ending}"
    frame.to_csv(file) if ending == "csv" else frame.to_parquet(file)
    found = imported(file)
    assert found.train.features.shape == (30, 3)
    out = capsys.readouterr().out
    index = "a column without a name (numbers the rows), " if ending == "csv" else ""
    assert f"left out, because not used as features: {index}" in out
    assert "patient (numbers the rows), customerID (numbers the rows), colour (no numbers)\n" in out
    assert imported(file, columns="p", force=True).train.features.shape == (30, 1)  # asked for by name


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_empty_lines(frame, separator, tmp_path: Path) -> None:
    file = tmp_path / ("rows.tsv" if separator == "\t" else "rows.csv")
    frame.to_csv(file, index=False, sep=separator, encoding="utf-8-sig")
    file.write_text(file.read_text("utf-8-sig") + "\n\n", encoding="utf-8-sig")
    found = imported(file)
    assert found.provenance.classes == ("a, b", "c")
    rows = np.sort(np.concatenate([found.train.features, found.val.features])[:, 0])
    np.testing.assert_array_equal(rows, np.sort(frame.x0.to_numpy(np.float32)))


def test_a_missing_cell_in_the_first_row_hides_no_column(frame, tmp_path: Path) -> None:
    frame.loc[0, "x1"] = np.nan
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match=r"row 0 of .* has '' in the column x1, where a number is wanted; fill it in"):
        imported(tmp_path / "rows.csv")


def test_what_is_no_table(frame, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    frame.to_csv(file, index=False, encoding="utf-16")
    with pytest.raises(InputError, match="is no CSV in UTF-8: line 1"):
        imported(file)
    file.write_text("x,x,kind\n" + "1,2,a\n3,4,b\n" * 5)
    with pytest.raises(InputError, match="has several columns with the name x; give each a name of its own"):
        imported(file)
    frame.to_csv(file, index=False)
    with pytest.raises(InputError, match=r"has no labels under a usual name .*; it holds x0, x1, x2, kind"):
        imported(file, label=None)


def test_names_with_parentheses_stand_whole_in_messages(frame, tmp_path: Path) -> None:
    table = frame.rename(columns={"x0": "length (cm)", "kind": "species (Latin)"})
    table.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match=r"has no labels .*; it holds length \(cm\), x1, x2, species \(Latin\); say"):
        imported(tmp_path / "rows.csv", label=None)


def test_whole_numbers_are_classes_in_their_order_in_every_format(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(48, 3)), np.arange(48) % 12
    np.savez(tmp_path / "rows.npz", features=x, labels=y)
    there = imported(tmp_path / "rows.npz", label=None)
    assert there.provenance.classes == tuple(map(str, range(12)))
    for ending in ("csv", "parquet"):
        export_features(ExportRowsConfig(file=tmp_path / "rows.cache.h5", to=tmp_path / f"again.{ending}"))
        again = imported(tmp_path / f"again.{ending}", label=None, split=None, force=True)
        assert again.provenance.classes == there.provenance.classes
        assert np.array_equal(again.train.labels, there.train.labels)
