"""Looking into a cache: ``python -m features verify FILE`` and ``python -m features info FILE``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from features.cache.featureset import FeatureFile
from features.cache.rows import row_blocks
from features.cache.store import open_cache, shard_files, verify_features
from features.cache.writer import split_groups
from features.config import InfoConfig, VerifyConfig
from features.sources.catalogue import SPLITS

FOLDS, ROWS, ROWS_A_CLASS = 5, 4000, 20


def verify(config: VerifyConfig) -> None:
    """Print that a cache is whole.

    Raises:
        InputError: if it is not, or is none.
    """
    found = verify_features(config.file)
    if config.json:
        print(json.dumps({"file": str(config.file), "whole": True, "content_sha256": found.content_sha256}))
    else:
        print(f"{found}: whole, every byte is as it was written")


def info(config: InfoConfig) -> None:
    """Print what a cache holds.

    Raises:
        InputError: if it is damaged, or none.
    """
    records = [describe(verify_features(file)) for file in config.files]
    if config.json:
        print(json.dumps(records if len(records) > 1 else records[0], indent=2, ensure_ascii=False))
        return
    print("\n\n".join("\n".join(_lines(record)) for record in records))
    if len(records) > 1:
        print(f"\n{_ranking(records)}")


def describe(found: FeatureFile) -> dict[str, Any]:
    """Everything that a verified cache records, in plain numbers, lists and texts."""
    files = shard_files(found.path)
    counts = {split: np.zeros(len(found.provenance.classes), int) for split in SPLITS if split in found.shapes}
    for file in files:
        with open_cache(file) as cache:
            for split in set(counts) & set(cache):
                for _, labels in row_blocks(cache[split]["labels"]):
                    counts[split] += np.bincount(labels, minlength=len(counts[split]))
    return {
        "file": str(found.path),
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "splits": {
            split: {
                "rows": found.shapes[split][0],
                "width": found.shapes[split][1],
                "images_by_class": dict(zip(found.provenance.classes, map(int, of_split), strict=True)),
            }
            for split, of_split in counts.items()
        },
        "content_sha256": found.content_sha256,
        "separation": separation(found),
        **found.provenance.record(),
    }


def separation(found: FeatureFile) -> dict[str, Any] | None:
    """How well a linear classifier tells the classes of training rows apart that it has not seen; None for too few.

    Layers are chosen by this, so rows of the validation split must take no part.

    Returns:
        ``accuracy`` in cross-validation, its ``standard_error``, the ``folds``, and the ``rows``: at most ``ROWS``, or
        ``ROWS_A_CLASS`` times the classes where that is more, drawn with seed 0.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _some_rows(found, max(ROWS, ROWS_A_CLASS * len(found.provenance.classes)))
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        return None
    folds = int(min(FOLDS, counts.min()))
    # A penalty of one unit a feature keeps the classifier well-posed with fewer rows than features.
    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=float(features.shape[1])))
    kept = StratifiedKFold(folds, shuffle=True, random_state=0)
    accuracy = float(cross_val_score(classifier, features, labels, cv=kept).mean())
    error = (accuracy * (1 - accuracy) / len(labels)) ** 0.5
    return {"accuracy": accuracy, "standard_error": error, "folds": folds, "rows": len(labels)}


def _some_rows(found: FeatureFile, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most so many training rows, (n, D) float32, and their labels; drawn with seed 0, in order."""
    total = found.shapes.get("train", (0, 0))[0]
    drawn = np.sort(np.random.default_rng(0).permutation(total)[:most])
    features, labels, start = [], [], 0
    for split, group in split_groups(shard_files(found.path)):
        if split == "train":
            here = drawn[(drawn >= start) & (drawn < start + len(group["labels"]))] - start
            features.append(group["features"][here].astype(np.float32))
            labels.append(group["labels"][()][here])
            start += len(group["labels"])
    return np.concatenate(features or [np.empty((0, 1))]), np.concatenate(labels or [np.empty(0, int)])


def _ranking(records: list[dict[str, Any]]) -> str:
    """A table of caches, the one that separates the classes best first."""
    figures = [(record["separation"]["accuracy"] if record["separation"] else -1.0, record) for record in records]
    lines = [f"{'separation':<16} {'features':>8}  {'layer':<20} file, the best first"]
    for _, record in sorted(figures, key=lambda pair: -pair[0]):
        width = next(iter(record["splits"].values()))["width"]
        layer = record["layer"].get("name", "the last") if record["backbone"] else "imported"
        lines.append(f"{_accuracy(record['separation']):<16} {width:>8}  {layer:<20} {record['file']}")
    return "\n".join(lines)


def _accuracy(found: dict[str, Any] | None) -> str:
    return f"{found['accuracy']:.4f} ± {found['standard_error']:.4f}" if found else "too few rows"


def _lines(record: dict[str, Any]) -> list[str]:
    files = f" in {record['files']} shards" if record["files"] > 1 else ""
    lines = [f"{record['file']}: {record['bytes']:,} bytes{files}, whole"]
    views = f", and of {record['views']['count']} views (seed {record['views']['seed']})" if record["views"] else ""
    for split, of_split in record["splits"].items():
        by_class = list(of_split["images_by_class"].items())
        shown = ", ".join(f"{name} {count}" for name, count in by_class[:10]) + (", …" if len(by_class) > 10 else "")
        of_views = views if split == "train" else ""
        lines.append(f"{split:<10} {of_split['rows']} × {of_split['width']} {record['dtype']}{of_views}: {shown}")
    chosen = f", {json.dumps(record['selection'])}" if record["selection"] else ""
    run_by = ", ".join(f"{name} {value}" for name, value in record["runtime"].items()) or "not recorded"
    layer = record["layer"].get("name", "")
    layer = f"{layer}, pooling: {record['layer']['pooling']}" if layer else "the network's own features"
    of_network = [
        f"{'backbone':<10} {record['backbone']}, weights {record['weights']} ({record['weights_location']}), "
        f"sha256 {record['weights_sha256']}",
        f"{'layer':<10} {layer}",
        f"{'transform':<10} {record['transform']}",
        f"{'run by':<10} {run_by}",
    ]
    imported = not record["backbone"]
    if imported:
        of_network = [f"{'backbone':<10} none: the rows were imported"]
    lines += [
        f"{'rows' if imported else 'images':<10} {record['data']} ({record['data_location']}{chosen}), "
        f"sha256 {record['images_sha256']}",
        *of_network,
        f"{'made':<10} {record['created']}, {', '.join(f'{name} {v}' for name, v in record['versions'].items())}",
        f"{'content':<10} sha256 {record['content_sha256']}",
    ]
    if record["separation"]:
        by = record["separation"]
        lines.append(
            f"{'separation':<10} {_accuracy(by)}: accuracy of a linear classifier on training rows that it has not "
            f"seen ({by['folds']}-fold, {by['rows']} rows)"
        )
    if record["taken_over"]:
        there = record["taken_over"]
        lines.append(f"{'taken over':<10} {there['rows']} rows, from a cache made {there['created']}")
    if record["note"]:
        lines.append(f"{'note':<10} {record['note']}")
    lines += [f"{'left out':<10} {path}: {reason}" for path, reason in record["skipped"]]
    return lines
