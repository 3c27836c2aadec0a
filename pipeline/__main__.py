"""The command line of stages 2 and 3: ``python -m pipeline train | sweep | eval | predict | compare | heads``."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from features.errors import InputError, listing, run_command
from pipeline.config import HEADS, CompareConfig, EvalConfig, HeadsConfig, PredictConfig, SweepConfig, TrainConfig

if TYPE_CHECKING:
    from pipeline.hybrid import Prediction

Command = (
    Annotated[TrainConfig, tyro.conf.subcommand("train")]
    | Annotated[SweepConfig, tyro.conf.subcommand("sweep")]
    | Annotated[EvalConfig, tyro.conf.subcommand("eval")]
    | Annotated[PredictConfig, tyro.conf.subcommand("predict")]
    | Annotated[CompareConfig, tyro.conf.subcommand("compare")]
    | Annotated[HeadsConfig, tyro.conf.subcommand("heads")]
)


def main() -> None:
    """Parse the flags, then run the named stage."""
    config = tyro.cli(
        Command,
        prog="python -m pipeline",
        description="Train a quantum head on cached features, evaluate it on the images, classify pictures.",
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
    )
    # torch and PennyLane take seconds to import: only once the flags are right.
    if isinstance(config, TrainConfig):
        if config.heads > 1:
            from pipeline.ensemble import train_many

            train_many(config)
        else:
            from pipeline.training import train

            train(config)
    elif isinstance(config, SweepConfig):
        from pipeline.sweep import sweep

        sweep(config)
    elif isinstance(config, EvalConfig):
        evaluate(config)
    elif isinstance(config, PredictConfig):
        predict(config)
    elif isinstance(config, CompareConfig):
        from pipeline.compare.comparison import compare

        compare(config)
    else:
        heads(config)


def evaluate(config: EvalConfig) -> None:
    """Write and print the report of a run."""
    from pipeline.evaluation import evaluate as evaluate_run
    from pipeline.report import summary, write_report

    report = evaluate_run(config)
    page = write_report(report)
    print(summary(report.record))
    print(f"{page}: the report, with its pictures; figures in {page.with_suffix('.json')}")
    parity = report.record["parity"]
    if parity is not None and not parity["holds"]:
        raise InputError(
            "the network on the images and the head on the cached features disagree; were the features made on another "
            "machine or with other library versions? Make them again: python -m features --force"
        )


def predict(config: PredictConfig) -> None:
    """Classify pictures and print a table, JSON or CSV; unreadable ones are listed at the end."""
    paths = _image_files(config.images)
    from features.backbone import load_backbone
    from pipeline.hybrid import find_weights, reattach
    from pipeline.hybrid import predict as classify
    from pipeline.run import load_run

    run = load_run(config.run)
    backbone = load_backbone(run.features["backbone"], find_weights(run, config.weights))
    model = reattach(run, backbone, config.epoch, other_weights=config.other_weights)
    predictions = classify(model, backbone, run.classes, paths, config.batch)
    _print_predictions([p for p in predictions if p.problem is None], run.classes, config)
    problems = [f"{p.path}: {p.problem}" for p in predictions if p.problem is not None]
    if problems:
        raise InputError(f"{len(problems)} of {len(paths)} files could not be read:\n{listing(problems)}")


def heads(config: HeadsConfig) -> None:
    """Print what every head is made of and how many parameters it trains."""
    from pipeline.run import new_head

    print(f"{'head':9}  {'trained':>7}  {'in the middle':>13}  made of")
    ends = (config.width + 1) * config.qubits + (config.qubits + 1) * config.classes
    for name in HEADS:
        settings = TrainConfig(head=name, qubits=config.qubits, depth=config.depth, simulator="dense")
        head = new_head(settings, config.width, config.classes)
        middle = "" if name in ("linear", "logistic") else head.n_trainable - ends
        print(f"{name:9}  {head.n_trainable:7}  {middle:13}  {head.description}")


def _image_files(given: tuple[Path, ...]) -> list[Path]:
    from features.folder import EXTENSIONS

    problems, found = [], []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.name.lower().endswith(EXTENSIONS))
            found += inside
            if not inside:
                problems.append(f"{path}: no image in this folder ({', '.join(EXTENSIONS)})")
        elif path.is_file():
            found.append(path)
        else:
            problems.append(f"{path}: no such file or folder")
    if problems:
        raise InputError(f"these can't be classified:\n{listing(problems)}\nName image files, or folders of them.")
    return found


def _print_predictions(predictions: list[Prediction], classes: list[str], config: PredictConfig) -> None:
    if config.json:
        rows = [
            {"image": str(p.path), "class": p.label, "probabilities": dict(zip(classes, p.probabilities, strict=True))}
            for p in predictions
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif config.csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(["image", "class", *classes])
        table.writerows([p.path, p.label, *(f"{value:.6f}" for value in p.probabilities)] for p in predictions)
    else:
        width = max([len("class"), *(len(name) for name in classes)])
        print(f"{'class':{width}}  probability  image")
        for p in predictions:
            print(f"{p.label:{width}}  {max(p.probabilities):11.4f}  {p.path}")


if __name__ == "__main__":
    sys.exit(run_command(main))
