"""How to reproduce a run: the commands that made it, rebuilt from what was recorded.

In: a :class:`pipeline.inference.evaluation.Report`. Out: three command lines, and one of make, quoted for a shell.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

from features.backbone.network import is_named
from features.config import ExtractConfig, ImportConfig
from features.sources.images import is_name
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import Report
from pipeline.inference.sources import extraction, importation
from pipeline.training.config import TrainConfig
from pipeline.training.run import Run

AGAIN = Path("again")


def commands(report: Report) -> list[str]:
    """The three commands that repeat a run into the folder ``again``, with the flags that differ from the defaults.

    Images and weights are given as absolute paths, or by name where they have one.
    """
    made, trained, evaluated = _configs(report)
    cache = AGAIN / "features.h5"
    stage = "features" if isinstance(made, ExtractConfig) else "features import"
    return [
        command(stage, replace(made, out=cache)),
        command("pipeline train", replace(trained, features=cache, out=AGAIN / "run")),
        command("pipeline eval", replace(evaluated, run=AGAIN / "run")),
    ]


def make_command(report: Report) -> str:
    """The same as one command of make."""
    made, trained, evaluated = _configs(report)
    variables: dict[str, Any] = {"OUT": AGAIN}
    if isinstance(made, ExtractConfig):
        plain = ExtractConfig()
        named = {"DATA": "data", "BACKBONE": "backbone", "WEIGHTS": "weights"}
        variables |= {
            name: getattr(made, field) for name, field in named.items() if getattr(made, field) != getattr(plain, field)
        }
        variables |= {"OFFLINE": 1} if made.offline else {}
        made = replace(made, offline=False, **{field: getattr(plain, field) for field in named.values()})
    else:
        variables["FEATURES"] = made.file
    for name, config in {"FEATURES_ARGS": made, "TRAIN_ARGS": trained, "EVAL_ARGS": evaluated}.items():
        flags = _flags(config)
        variables |= {name: shlex.join(flags)} if flags else {}
    # A dollar is make's own.
    return shlex.join(["make", "eval", *(f"{name}={value}".replace("$", "$$") for name, value in variables.items())])


def without_home(value: Any) -> Any:
    """A text, or all texts in lists and dictionaries, with ~ for the home folder, which names its user."""
    if isinstance(value, str):
        return re.sub(rf"(?<![\w.-]){re.escape(str(Path.home()))}(?=/|$|['\"\s])", "~", value)
    if isinstance(value, dict):
        return {key: without_home(each) for key, each in value.items()}
    return [without_home(each) for each in value] if isinstance(value, list | tuple) else value


def _configs(report: Report) -> tuple[ExtractConfig | ImportConfig, TrainConfig, EvalConfig]:
    """The flags of the three stages, all folders of results as they are by default."""
    run, evaluation = report.run, report.config
    provenance, cache = run.features.provenance, Path(run.features.path)
    trained, evaluated = TrainConfig(), EvalConfig()
    return (
        importation(provenance, cache) if provenance.imported else extraction(provenance, cache),
        replace(run.config, features=trained.features, out=trained.out, resume=False, force=False, **_streaming(run)),
        replace(
            evaluation,
            run=evaluated.run,
            features=None,
            data=evaluation.data and _place(evaluation.data, is_name(evaluation.data)),
            weights=evaluation.weights
            and _place(evaluation.weights, is_named(provenance.backbone, evaluation.weights)),
        ),
    )


def _streaming(run: Run) -> dict[str, Any]:
    """The flags by which rows are read from the disk again, in as many parts, however much memory there is."""
    if run.order is None:
        return {}
    shared = {"engine": "ray", "workers": run.order.parts} if run.order.parts > 1 else {}
    return {"memory_limit": 1e-9, **shared}


def command(module: str, config: Any) -> str:
    """One command line: ``python -m MODULE`` and a flag for each field of ``config`` that is not at its default."""
    required = [str(getattr(config, item.name)) for item in fields(config) if _is_required(item)]
    return shlex.join(["python", "-m", *module.split(), *required, *_flags(config)])


def _is_required(item: Field) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _flags(config: Any) -> list[str]:
    words = []
    for item in fields(config):
        value = getattr(config, item.name)
        if _is_required(item) or value == _default(item):
            continue
        flag = f"--{item.name.replace('_', '-')}"
        values = [] if value is True else list(value) if isinstance(value, tuple) else [value]
        if len(values) == 1 and str(values[0]).startswith("-"):
            words.append(f"{flag}={values[0]}")
        else:
            words += [flag, *map(str, values)]
    return words


def _default(item: Field) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _place(given: str, named: bool) -> str:
    return given if named else str(_normal(Path(given).expanduser()))


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))
