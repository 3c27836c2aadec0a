"""How to reproduce a run: the commands that made it, rebuilt from what was recorded.

In: a :class:`pipeline.inference.evaluation.Report`. Out: three command lines, quoted for a shell.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

from features.backbone.network import is_named
from features.cache.store import read_features
from features.config import ExtractConfig
from features.sources.images import is_name
from features.sources.packaged import PACKAGED
from pipeline.inference.evaluation import Report
from pipeline.inference.sources import located
from pipeline.training.run import Run

AGAIN = Path("again")


def commands(report: Report) -> list[str]:
    """The three stages into a folder of their own, ``again``, with the flags that differ from the defaults.

    Images and weights are named by where they were found, as absolute paths unless they are names.
    """
    run, evaluation = report.run, report.config
    features = AGAIN / "features.h5"
    trained = replace(run.config, features=features, out=AGAIN / "run", resume=False)
    evaluated = replace(
        evaluation,
        run=AGAIN / "run",
        features=None,
        data=evaluation.data and _place(evaluation.data, is_name(evaluation.data)),
        weights=evaluation.weights
        and _place(evaluation.weights, is_named(run.features["backbone"], evaluation.weights)),
    )
    return [
        command("features", replace(extraction(run), out=features)),
        command("pipeline train", trained),
        command("pipeline eval", evaluated),
    ]


def extraction(run: Run) -> ExtractConfig:
    """What stage 1 was told, as far as it shapes the features."""
    recorded = run.features
    packaged = read_features(PACKAGED).provenance
    if (recorded["created"], recorded["images_sha256"]) == (packaged.created, packaged.images_sha256):
        return ExtractConfig(offline=True)
    data, weights = recorded["data_location"], recorded["weights_location"]
    # Caches made by earlier versions do not record all of these.
    selection, views, runtime = (recorded.get(name, {}) for name in ("selection", "views", "runtime"))
    plain = ExtractConfig()
    return ExtractConfig(
        data=data if is_name(data) else str(_normal(located(run, data))),
        split=selection.get("split"),
        limit=selection.get("limit"),
        classes=",".join(selection.get("classes", ())),
        seed=selection.get("seed", views.get("seed", plain.seed)),
        skip_bad=bool(recorded.get("skipped")),
        backbone=recorded["backbone"],
        weights=weights if is_named(recorded["backbone"], weights) else str(_normal(located(run, weights))),
        views=views.get("count", 0),
        dtype=recorded.get("dtype", plain.dtype),
        runtime=runtime.get("name", plain.runtime),
        device=runtime.get("device", plain.device),
        precision=runtime.get("precision", plain.precision),
        note=recorded.get("note", ""),
    )


def command(module: str, config: Any) -> str:
    """One command line: ``python -m MODULE`` and a flag for each field of ``config`` that is not at its default."""
    words = ["python", "-m", *module.split()]
    for item in fields(config):
        value = getattr(config, item.name)
        if value == _default(item):
            continue
        flag = f"--{item.name.replace('_', '-')}"
        values = [] if value is True else list(value) if isinstance(value, tuple) else [value]
        if len(values) == 1 and str(values[0]).startswith("-"):
            words.append(f"{flag}={values[0]}")
        else:
            words += [flag, *map(str, values)]
    return shlex.join(words)


def _default(item: Field) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _place(given: str, named: bool) -> str:
    return given if named else str(_normal(Path(given).expanduser()))


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))
