"""Looking into a cache: ``python -m features verify FILE`` and ``python -m features info FILE``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from features.cache.featureset import FeatureFile
from features.cache.store import open_cache, shard_files, verify_features
from features.config import InfoConfig, VerifyConfig
from features.sources.catalogue import SPLITS


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
    record = describe(verify_features(config.file))
    if config.json:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(record)))


def describe(found: FeatureFile) -> dict[str, Any]:
    """Everything that a verified cache records, in plain numbers, lists and texts."""
    files = shard_files(found.path)
    counts = {split: np.zeros(len(found.provenance.classes), int) for split in SPLITS if split in found.shapes}
    for file in files:
        with open_cache(file) as cache:
            for split in set(counts) & set(cache):
                counts[split] += np.bincount(cache[split]["labels"][()], minlength=len(counts[split]))
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
        **found.provenance.record(),
    }


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
    of_network = [
        f"{'backbone':<10} {record['backbone']}, weights {record['weights']} ({record['weights_location']}), "
        f"sha256 {record['weights_sha256']}",
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
    if record["taken_over"]:
        there = record["taken_over"]
        lines.append(f"{'taken over':<10} {there['rows']} rows, from a cache made {there['created']}")
    if record["note"]:
        lines.append(f"{'note':<10} {record['note']}")
    lines += [f"{'left out':<10} {path}: {reason}" for path, reason in record["skipped"]]
    return lines
