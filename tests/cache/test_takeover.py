"""features.cache.takeover, through stage 1: what is unchanged is not computed again, and labels count."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import features
from features import ExtractConfig, load_features, make_features

Line = tuple[str, str, str]


@pytest.fixture
def lines(picture_folder: Path) -> list[Line]:
    """The pictures as lines of a list: path, label, split."""
    files = sorted(picture_folder.rglob("*.png"))
    return [(str(file), file.parent.name, file.parent.parent.name) for file in files]


@pytest.fixture
def config(random_weights: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(
        data=str(tmp_path / "list.csv"), weights=str(random_weights), out=tmp_path / "out/features.h5", runtime="torch"
    )


def write_list(config: ExtractConfig, lines: list[Line]) -> None:
    with Path(config.data).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split"), *lines])


def test_the_network_runs_on_added_pictures_alone(config: ExtractConfig, lines, computed: list[int], capsys) -> None:
    write_list(config, [line for line in lines if not line[0].endswith("1.png")])
    make_features(config)
    assert sum(computed) == 9
    computed.clear()
    write_list(config, lines)
    make_features(config)
    assert sum(computed) == 4
    assert (
        f"taking over 9 of 13 rows, whose images are unchanged, from {config.out}; the network runs on the other 4\n"
        in capsys.readouterr().out
    )
    grown = load_features(config.out)
    assert grown.provenance.taken_over is not None
    assert grown.provenance.taken_over.rows == 9
    make_features(replace(config, out=config.out.with_name("fresh.h5")))
    fresh = load_features(config.out.with_name("fresh.h5"))
    for split, rows in fresh.splits.items():
        assert grown.splits[split].paths == rows.paths
        np.testing.assert_array_equal(grown.splits[split].labels, rows.labels)
        np.testing.assert_allclose(grown.splits[split].features, rows.features, atol=1e-5)


def test_a_corrected_label_is_seen_and_costs_no_pass(config: ExtractConfig, lines, computed: list[int], capsys) -> None:
    write_list(config, lines)
    make_features(config)
    before = load_features(config.out)
    computed.clear()
    path = next(path for path, label, split in reversed(lines) if (label, split) == ("blue", "train"))
    write_list(config, [(each, "red" if each == path else label, split) for each, label, split in lines])
    capsys.readouterr()
    make_features(config)
    assert computed == []
    assert capsys.readouterr().out.startswith("making the features again: other images, labels or splits")
    after = load_features(config.out)
    assert (before.train.labels.tolist(), after.train.labels.tolist()) == (
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0] + [1] * 5,
    )
    assert after.content_sha256 != before.content_sha256
    rows = dict(zip(before.train.paths, before.train.features, strict=True))
    for name, row in zip(after.train.paths, after.train.features, strict=True):
        np.testing.assert_array_equal(row, rows[name])


def test_the_same_features_made_again_have_the_same_identity(config: ExtractConfig, lines) -> None:
    write_list(config, lines)
    first = make_features(config)
    make_features(replace(config, force=True, note="made again"))
    again = load_features(config.out)
    assert again.provenance.note == "made again"
    assert again.matches(first.content_sha256)


def test_public_names_are_there() -> None:
    assert all(getattr(features, name) for name in features.__all__)
    with pytest.raises(AttributeError, match="module 'features' has no attribute 'read'"):
        _ = features.read
