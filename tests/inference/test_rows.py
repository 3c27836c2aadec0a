"""pipeline.inference.prediction.rows: rows of a table find the columns that the head was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from features.config import ImportConfig
from features.exchange.importer import import_features
from features.util.errors import InputError
from pipeline.inference.prediction.rows import RowClassifier
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_found_by_name(ending, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(40, 3))
    frame = pandas.DataFrame(x, columns=["age", "height", "weight"]).assign(churned=np.arange(40) // 20)

    def written(table: pandas.DataFrame, name: str) -> Path:
        file = tmp_path / f"{name}.{ending}"
        table.to_csv(file, index=False) if ending == "csv" else table.to_parquet(file)
        return file

    rows = written(frame, "rows")
    import_features(ImportConfig(file=rows, label="churned", split=0.25, out=tmp_path / "features.h5"))
    run = train(TrainConfig(features=tmp_path / "features.h5", out=tmp_path / "run", epochs=2, head="linear")).path

    def said(file: Path) -> list[dict[str, float]]:
        classifier = RowClassifier(run, "last", file)
        assert classifier.total == 40
        return [each.probabilities for each in classifier.stream()]

    there = said(rows)  # the column of the label, numbers too, is no feature
    assert RowClassifier(run, "last", rows).own_labels() == ["0"] * 20 + ["1"] * 20
    turned = frame[["weight", "age", "height"]].assign(more=np.arange(40) ** 2)
    assert said(written(turned, "turned")) == there
    with pytest.raises(
        InputError, match="has no numbers in height, which the head was trained on; it holds weight, age"
    ):
        said(written(turned.drop(columns="height"), "short"))
