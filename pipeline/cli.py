"""All commands: ``quantum-transfer COMMAND``, ``python -m pipeline COMMAND``, and make's stages over the same table.

In: the words of a command line. Out: an exit code. Heavy libraries are imported by what runs, never here.
"""

from __future__ import annotations

from features.__main__ import FEATURES
from features.util.commands import Command, Late, main_of_many
from features.util.errors import InputError
from pipeline.bench.config import BenchConfig
from pipeline.demo.config import DemoConfig
from pipeline.diagnostics.config import DiagnoseConfig
from pipeline.experiments.claims.config import ClaimsConfig
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.paper.config import PaperConfig
from pipeline.experiments.sweep.config import SweepConfig
from pipeline.heads.config import HeadsConfig
from pipeline.inference.config import EvalConfig, ExportConfig, PredictConfig
from pipeline.training.config import TrainConfig


def train(config: TrainConfig) -> None:
    """Train a head, or many together."""
    if config.seeds > 1:
        from pipeline.training.multi_seed import train_many

        train_many(config)
    else:
        from pipeline.training.loop import train

        train(config)


def evaluate(config: EvalConfig) -> None:
    """Write and print the report of a run."""
    from pipeline.inference.evaluation import evaluate
    from pipeline.report import summary, write_report

    report = evaluate(config)
    page = write_report(report)
    print(summary(report.record))
    print(f"{page}: the report, with its pictures; figures in {page.with_suffix('.json')}")
    parity = report.record.parity
    if parity is not None and not parity.holds:
        raise InputError(
            "the network on the images and the head on the cached features disagree; were the features made on another "
            "machine or with other library versions? Make them again: python -m features --force"
        )


COMMANDS = {
    "features": FEATURES,
    "train": Command("out/features.h5 -> out/run/: a trained quantum head", TrainConfig, train),
    "eval": Command("out/run/ -> out/run/report.html: its accuracy, with pictures", EvalConfig, evaluate),
    "predict": Command(
        "classify pictures of yours", PredictConfig, Late("pipeline.inference.prediction.predict:predict")
    ),
    "export": Command(
        "the whole network for other programs: model.onnx, model.pth",
        ExportConfig,
        Late("pipeline.inference.export:export"),
    ),
    "demo": Command("a local web page to drop pictures on", DemoConfig, Late("pipeline.demo.server:serve")),
    "compare": Command(
        "does the quantum part help? all heads, paired seeds and folds",
        CompareConfig,
        Late("pipeline.experiments.compare.comparison:compare"),
    ),
    "claims": Command(
        "published statements put to the test, with verdicts",
        ClaimsConfig,
        Late("pipeline.experiments.claims.claims:claims"),
    ),
    "paper": Command(
        "the paper's systems, each with its published number beside ours",
        PaperConfig,
        Late("pipeline.experiments.paper.paper:paper"),
    ),
    "sweep": Command(
        "search for good hyperparameters of the quantum head",
        SweepConfig,
        Late("pipeline.experiments.sweep.sweep:sweep"),
    ),
    "diagnose": Command(
        "what a circuit can do: entanglement, expressibility, gradients, frequencies",
        DiagnoseConfig,
        Late("pipeline.diagnostics.diagnose:diagnose"),
    ),
    "heads": Command(
        "what every head is made of, and its number of parameters",
        HeadsConfig,
        Late("pipeline.heads.listing:list_heads"),
    ),
    "bench": Command("time the head against its rivals", BenchConfig, Late("pipeline.bench.bench:bench")),
}

_HELP = """\
{prog} COMMAND [--FLAG VALUE …]

The three stages; each reads the output of the one before:
{stages}

With a trained head:
{uses}

Experiments:
{experiments}

To begin, without a download or pictures of your own:
  {prog} features --offline
  {prog} train
  {prog} eval

  {prog} train --help     every flag of a command, with its default
  {prog} --version        versions of this project and its libraries, for bug reports"""


def help_page(prog: str) -> str:
    """The page that ``--help`` prints."""

    def rows(*names: str) -> str:
        return "\n".join(f"  {name:9} {COMMANDS[name].about}" for name in names)

    return _HELP.format(
        prog=prog,
        stages=rows("features", "train", "eval"),
        uses=rows("predict", "export", "demo"),
        experiments=rows("compare", "claims", "paper", "sweep", "diagnose", "heads", "bench"),
    )


def main(prog: str = "quantum-transfer") -> int:
    """Run the command that this process was called with; return its exit code."""
    return main_of_many(COMMANDS, prog, help_page(prog))
