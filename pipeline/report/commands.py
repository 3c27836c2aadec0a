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
from features.sources.images import is_name
from pipeline.inference.evaluation import Report
from pipeline.inference.sources import extraction, importation
from pipeline.training.run import Run

AGAIN = Path("again")


def commands(report: Report) -> list[str]:
    """The three commands that repeat a run into the folder ``again``, with the flags that differ from the defaults.

    Images and weights are given as absolute paths, or by name where they have one.
    """
    run, evaluation = report.run, report.config
    features = AGAIN / "features.h5"
    trained = replace(run.config, features=features, out=AGAIN / "run", resume=False, force=False)
    evaluated = replace(
        evaluation,
        run=AGAIN / "run",
        features=None,
        data=evaluation.data and _place(evaluation.data, is_name(evaluation.data)),
        weights=evaluation.weights
        and _place(evaluation.weights, is_named(run.features.provenance.backbone, evaluation.weights)),
    )
    return [
        _features(run, features),
        command("pipeline train", trained),
        command("pipeline eval", evaluated),
    ]


def _features(run: Run, out: Path) -> str:
    provenance = run.features.provenance
    if not provenance.imported:
        return command("features", replace(extraction(provenance, Path(run.features.path)), out=out))
    return command("features import", replace(importation(provenance, Path(run.features.path)), out=out))


def command(module: str, config: Any) -> str:
    """One command line: ``python -m MODULE`` and a flag for each field of ``config`` that is not at its default."""
    words = ["python", "-m", *module.split()]
    for item in fields(config):
        value = getattr(config, item.name)
        if item.default is MISSING and item.default_factory is MISSING:
            words.append(str(value))
            continue
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
