"""features.exchange.pitfalls: what the import of rows warns of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from features.config import ImportConfig
from features.exchange.importer import import_features
from features.exchange.pitfalls import Pitfalls


def warnings(x: np.ndarray, training: np.ndarray, *, scaled: bool = False) -> list[str]:
    pitfalls = Pitfalls()
    for start in range(0, len(x), 7):
        pitfalls.add(x[start : start + 7].astype(np.float32), training[start : start + 7])
    return pitfalls.warnings(scaled=scaled)


def test_rows_of_both_splits_are_counted() -> None:
    x = np.random.default_rng(0).normal(size=(40, 5))
    training = np.arange(40) < 30
    assert warnings(x, training) == []
    x[33], x[34], x[35], x[36] = x[2], x[2], x[29], x[37]
    (said,) = warnings(x, training)
    assert said.startswith("3 of 10 validation rows have the features of a training row; accuracy is flattered.")
    assert len(warnings(np.where(np.arange(40)[:, None] % 2, 0.0, -0.0) + np.zeros((40, 5)), training)) == 2


def test_sizes_that_a_head_cant_take() -> None:
    x, training = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) < 30
    x /= np.sqrt((x**2).mean())
    assert warnings(0.2 * x, training) == warnings(2.9 * x, training) == []
    assert "mean square of 1e+04, so that they saturate" in warnings(1e4 * x, training)[0]
    assert "mean square of 0.05, so that they move the head little; --standardize" in warnings(0.05 * x, training)[0]
    assert warnings(1e4 * x, training, scaled=True) == []


def test_the_import_says_so(tmp_path: Path, capsys) -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(20, 5)), 3, axis=0)
    np.savez(tmp_path / "rows.npz", X=x, y=np.arange(60) // 30, X_test=x)
    import_features(ImportConfig(file=tmp_path / "rows.npz", split=0.2, out=tmp_path / "features.h5"))
    out = capsys.readouterr().out
    assert "left out, because not used as features: X_test\n" in out
    assert "of 12 validation rows have the features of a training row" in out
