"""The command line of stages 2 and 3: ``python -m pipeline train``, ``eval``, ``predict``, ``demo`` and so on."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from features.util.errors import InputError, run_command
from pipeline.demo.config import DemoConfig
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.sweep.config import SweepConfig
from pipeline.heads.choices import HEADS
from pipeline.heads.config import HeadsConfig
from pipeline.inference.config import EvalConfig, ExportConfig, PredictConfig
from pipeline.training.config import TrainConfig

Command = (
    Annotated[TrainConfig, tyro.conf.subcommand("train")]
    | Annotated[SweepConfig, tyro.conf.subcommand("sweep")]
    | Annotated[EvalConfig, tyro.conf.subcommand("eval")]
    | Annotated[PredictConfig, tyro.conf.subcommand("predict")]
    | Annotated[DemoConfig, tyro.conf.subcommand("demo")]
    | Annotated[ExportConfig, tyro.conf.subcommand("export")]
    | Annotated[CompareConfig, tyro.conf.subcommand("compare")]
    | Annotated[HeadsConfig, tyro.conf.subcommand("heads")]
)


def main() -> None:
    """Parse the flags, then run the named stage."""
    config = tyro.cli(
        Command,
        prog="python -m pipeline",
        description="Train a quantum head on cached features, evaluate it on the images, classify pictures, export it.",
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
    )
    # torch and PennyLane take seconds to import: only once the flags are right.
    if isinstance(config, TrainConfig):
        if config.seeds > 1:
            from pipeline.training.multi_seed import train_many

            train_many(config)
        else:
            from pipeline.training.loop import train

            train(config)
    elif isinstance(config, SweepConfig):
        from pipeline.experiments.sweep.sweep import sweep

        sweep(config)
    elif isinstance(config, EvalConfig):
        evaluate(config)
    elif isinstance(config, PredictConfig):
        from pipeline.inference.predict import predict

        predict(config)
    elif isinstance(config, DemoConfig):
        from pipeline.demo.server import serve

        serve(config)
    elif isinstance(config, ExportConfig):
        from pipeline.inference.export import export

        export(config)
    elif isinstance(config, CompareConfig):
        from pipeline.experiments.compare.comparison import compare

        compare(config)
    else:
        heads(config)


def evaluate(config: EvalConfig) -> None:
    """Write and print the report of a run."""
    from pipeline.inference.evaluation import evaluate as evaluate_run
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


def heads(config: HeadsConfig) -> None:
    """Print what every head is made of and how many parameters it trains."""
    from pipeline.training.run import new_head

    print(f"{'head':9}  {'trained':>7}  {'in the middle':>13}  made of")
    ends = (config.n_features + 1) * config.qubits + (config.qubits + 1) * config.n_classes
    for name in HEADS:
        settings = TrainConfig(head=name, qubits=config.qubits, depth=config.depth, simulator="dense")
        head = new_head(settings, config.n_features, config.n_classes)
        middle = "" if name in ("linear", "logistic") else head.n_trainable - ends
        print(f"{name:9}  {head.n_trainable:7}  {middle:13}  {head.description}")


if __name__ == "__main__":
    sys.exit(run_command(main))
