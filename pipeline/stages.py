"""Make's stages in one process: ``python -m pipeline.stages GOAL…`` makes what is missing or outdated, then the goal.

In: goals, and make's variables in the environment. Out: what the stages write in OUT, and an exit code. The flags of
all stages are read before the first one starts. Where OUT holds features or a run, flags that are not given keep their
recorded values. Flags that ask for other features or another run are refused.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from features.cache.records import Provenance
from features.config import ExtractConfig, ImportConfig
from features.util.errors import InputError, run_command
from features.util.flags import FlagError, Flags, parse
from pipeline.cli import COMMANDS
from pipeline.demo.config import DemoConfig
from pipeline.inference.config import EvalConfig, ExportConfig, PredictConfig
from pipeline.recorded import Recorded, report_stands, run_stands
from pipeline.training.config import TrainConfig
from pipeline.training.names import CHECKPOINT, RECORD
from pipeline.variables import Inputs, paths_of

# The stages before each goal. USERS skip them where OUT holds a run.
NEEDS = {
    "features": (),
    "train": ("features",),
    "eval": ("features", "train"),
    "predict": ("features", "train"),
    "export": ("features", "train"),
    "demo": ("features", "train"),
    **dict.fromkeys(("compare", "claims", "paper", "sweep"), ("features",)),
    "diagnose": (),
}
USERS = ("predict", "export", "demo")
STUDIES = ("compare", "claims", "paper")
FLAGS = {"features": "FEATURES_ARGS", "train": "TRAIN_ARGS", "eval": "EVAL_ARGS"}


def main() -> int:
    """Make the goals that this process was called with, or after ``--check`` look at their flags; the exit code."""
    if sys.argv[1:2] == ["--check"]:
        return run_command(lambda: Stages(sys.argv[2:], os.environ).refuse_mistakes())
    return run_command(lambda: Stages(sys.argv[1:], os.environ).make())


class Stages:
    """The stages of one call of make.

    Args:
        goals: Stages and commands to run, in this order.
        variables: Make's variables by name.

    Raises:
        InputError: for an unknown goal, or an OUT that is empty.
    """

    def __init__(self, goals: list[str], variables: Mapping[str, str]) -> None:
        unknown = [goal for goal in goals if goal not in NEEDS]
        if unknown or not goals:
            raise InputError(f"{' '.join(unknown) or 'nothing'} can't be made; name one of {', '.join(NEEDS)}")
        if not variables.get("OUT", "out"):
            raise InputError("OUT is empty; name a folder, or leave it out")
        self.goals = goals
        self.variables = variables
        self.out = Path(variables.get("OUT", "out")).expanduser()
        self.run = self.out / "run"
        self.features = self.out / "features.h5"
        self.inputs = Inputs.given(variables)
        self.stages = list(dict.fromkeys(stage for goal in goals for stage in (*NEEDS[goal], goal)))
        self.words = {stage: self._words(stage) for stage in self.stages}

    def make(self) -> None:
        """Check all flags, refuse those that contradict the run in OUT, then make what is missing.

        Raises:
            InputError: for a mistake in any flag of any stage, and whatever the stages raise.
        """
        self.refuse_mistakes()
        first = self._parse("features", self._default("features")) if "features" in self.stages else None
        if isinstance(first, ExtractConfig) and (first.list_backbones or first.list_layers):
            COMMANDS["features"].run(first)
            return
        train = self._train_config()
        if self._only_uses_a_run(train):
            self._refuse_other_run()
        elif "features" in self.stages:
            self._make_features_and_run(train)
        for goal in self.goals:
            if goal not in ("features", "train", "eval"):
                COMMANDS[goal].run(self._parse(goal, self._default(goal)))

    def _words(self, stage: str) -> list[str]:
        names = [FLAGS[stage]] if stage in FLAGS else []
        if stage == self.goals[-1]:
            names.append("ARGS")
        words = []
        for name in names:
            text = self.variables.get(name, "")
            try:
                words += shlex.split(text)
            except ValueError as error:
                raise InputError(f"{name} is {text}: {error}; close the quotation") from error
        if stage == "predict" and not self.variables.get("IMAGES"):
            words = [f"--run={self.run}", *words]
        for name, goals in (("SEEDS", STUDIES), ("FOLDS", STUDIES[:2]), ("TRIALS", ("sweep",))):
            if stage in goals and self.variables.get(name):
                words = [f"--{name.lower()}={self.variables[name]}", *words]
        return words

    def _parse(self, stage: str, default: Flags | None = None) -> Any:
        kind = ImportConfig if stage == "features" and self.inputs.rows else COMMANDS[stage].config
        return parse(kind, self.words[stage], f"make {stage}", default)

    def refuse_mistakes(self) -> None:
        """Raise one error with every mistake in the flags of all stages, before anything is read or made."""
        problems = []
        for stage in self.stages:
            try:
                config = self._parse(stage, self._default(stage))
                several = isinstance(config, ExtractConfig) and len(config.caches) > 1
                if several and self.stages != ["features"]:
                    problems.append("features: --layers makes several caches, and what follows takes one; give --layer")
            except FlagError as error:
                problems += [f"{stage}: {self._guided(str(problem), stage)}" for problem in error.args]
        if problems:
            raise FlagError(*problems)

    def _guided(self, problem: str, stage: str) -> str:
        """Point a flag that belongs to another stage to that stage's variable; return other problems unchanged."""
        name = problem.removeprefix("there is no flag ").split()[0].rstrip(";")
        field = name.removeprefix("--").replace("-", "_")
        owners = [each for each in FLAGS if each in self.stages and each != stage and _has(each, field)]
        if not problem.startswith("there is no flag ") or not owners:
            return problem
        return f"{stage} has no flag {name}; {owners[0]} has: {FLAGS[owners[0]]}='{name} …'"

    def _default(self, stage: str) -> Flags | None:
        """Defaults of a stage's flags, from make's variables."""
        weights = self.inputs.weights or None
        match stage:
            case "features" if self.inputs.rows:
                return ImportConfig(file=self.inputs.rows_file, out=self.features)
            case "features":
                return self.inputs.of(ExtractConfig(out=self.features))
            case "train":
                return TrainConfig(features=self.features, out=self.run)
            case "eval":
                return EvalConfig(run=self.run, features=self.features)
            case "predict":
                images = paths_of(self.variables.get("IMAGES", ""))
                return PredictConfig(images=images, run=self.run, weights=weights) if images else None
            case "export":
                return ExportConfig(run=self.run, weights=weights)
            case "demo":
                return DemoConfig(run=self.run, weights=weights)
        given = {"out": self.out / stage} | ({"features": self.features} if NEEDS[stage] else {})
        if stage == "paper" and weights:
            given["weights"] = cast("Any", weights)
        return COMMANDS[stage].config(**given)

    def _train_config(self) -> TrainConfig | None:
        """The configuration of the head to train, or None where the goals need none.

        Raises:
            InputError: if OUT holds another head, or this one does not fit into memory.
        """
        if "train" not in self.stages:
            return None
        from pipeline.training.folder import RunFolder

        folder = RunFolder(self.run)
        folder.recover()
        standing = folder.standing()
        default = self._default("train")
        stopped = folder.unfinished / CHECKPOINT
        if standing is not None:
            default = replace(standing.config, features=self.features, out=self.run)
        elif stopped.is_file() and "--force" not in self.words["train"]:
            from pipeline.training.checkpoint import Checkpoint

            default = replace(Checkpoint.load(stopped).config, features=self.features, out=self.run)
        config: TrainConfig = self._parse("train", default)
        if (standing is None or self.words["train"]) and folder.action(config) != "none":
            from pipeline.training.loop import untrained

            untrained(config, 1, 2)  # what does not fit into memory is refused before stage 1
        return config

    def _only_uses_a_run(self, train: TrainConfig | None) -> bool:
        made_again = train is None or train.force or train.resume or "--force" in self.words["features"]
        return not made_again and set(self.goals) <= set(USERS) and (self.run / RECORD).exists()

    def _refuse_other_run(self) -> None:
        """Refuse inputs that differ from those of the run in OUT. Weights are compared later, when they are read."""
        from pipeline.training.run import load_run

        run = load_run(self.run)
        if run.features.provenance.imported:
            self._refuse_other_rows(run.features.provenance, Path(run.features.path))
            return
        self._refuse_other(Recorded.of(run.features.provenance, Path(run.features.path)), weights=False)

    def _refuse_other(self, recorded: Recorded, *, weights: bool = True) -> ExtractConfig:
        """The flags of stage 1: those given, else the recorded ones.

        Raises:
            InputError: if they ask for other features than those in OUT.
        """
        default = replace(recorded.config, out=self.features)
        wanted: ExtractConfig = self._parse("features", self.inputs.of(default))
        differing = [] if wanted.force else recorded.differences(wanted)
        if weights and not wanted.force:
            differing += recorded.weights_difference(self.inputs.weights or wanted.weights)
        if differing:
            raise InputError(
                f"{self.out} holds features, or a run, of other pictures or another network: {'; '.join(differing)}. "
                f"Nothing was changed. Leave that out to use what is there, give another OUT=, or "
                f"FEATURES_ARGS='… --force' to make other features in its place"
            )
        return wanted

    def _refuse_other_rows(self, recorded: Provenance, cache: Path) -> None:
        """Refuse other inputs than the file that the recorded rows were imported from."""
        from pipeline.inference.sources import importation

        there = importation(recorded, cache).file
        asked = [f"FEATURES {self.inputs.rows}"] if self.inputs.rows else self.inputs.of_pictures
        if "--force" in self.words["features"] or (
            self.inputs.rows and self.inputs.rows_file.resolve() == there.resolve()
        ):
            return
        if asked:
            raise InputError(
                f"{self.out} holds rows, or a run on rows, that were imported from {there}; {' and '.join(asked)} is "
                "asked for. Nothing was changed. Leave that out to use what is there, give another OUT=, or "
                "FEATURES_ARGS='… --force' to make other features in its place"
            )

    def _make_features_and_run(self, train: TrainConfig | None) -> None:
        aside = self.goals[-1] == "predict"
        with redirect_stdout(sys.stderr) if aside else nullcontext():
            self.features, recorded = self._make_features()
            if train is not None:
                from pipeline.training.folder import RunFolder
                from pipeline.training.loop import up_to_date

                RunFolder(self.run).recover()
                train = replace(train, features=self.features)
                if not self.words["train"] and run_stands(self.run, self.features):
                    up_to_date(train)  # as it was recorded, though the file of its circuit may have changed since
                else:
                    COMMANDS["train"].run(train)
            if "eval" in self.stages:
                self._evaluate(recorded)

    def _make_features(self) -> tuple[Path, Recorded | None]:
        from features.extract import make_layers

        there = self._recorded()
        if there and there[0].imported:
            self._refuse_other_rows(*there)
        if self.inputs.rows:
            from features.exchange.importer import import_features

            self._refuse_rows_in_place_of_pictures(there)
            default = self._default("features")
            if there and there[0].imported:
                from pipeline.inference.sources import importation

                default = replace(importation(*there), file=self.inputs.rows_file, out=self.features)
            return import_features(self._parse("features", default)).path, None
        if there and there[0].imported and not self.inputs.of_pictures:
            print(f"{there[1]}: used as it is, imported rows")
            return there[1], None
        recorded = Recorded.of(*there) if there and not there[0].imported else None
        if recorded is None:
            config: ExtractConfig = self._parse("features", self._default("features"))
            made = make_layers(config)[0]
            return made.path, Recorded.of(made.provenance, made.path)
        config = self._refuse_other(recorded)
        if self.inputs.offline and not recorded.config.offline and recorded.cache.exists() and not config.force:
            print(f"{recorded.cache}: used as it is, not compared with its pictures (OFFLINE=1)")
            return recorded.cache, recorded
        try:
            return make_layers(replace(config, out=self.features))[0].path, recorded
        except InputError as error:
            named = self.inputs.data or self.inputs.weights or self.words["features"]
            if named or "features" in self.goals or not recorded.cache.exists():
                raise
            print(f"{recorded.cache}: used as it is, because it can't be compared with its pictures: {error}")
            return recorded.cache, recorded

    def _refuse_rows_in_place_of_pictures(self, there: tuple[Provenance, Path] | None) -> None:
        if there and not there[0].imported and "--force" not in self.words["features"]:
            raise InputError(
                f"{self.out} holds features, or a run, of pictures; FEATURES {self.inputs.rows} is asked for. "
                "Nothing was changed. Give another OUT=, or FEATURES_ARGS='… --force' to import the rows in its place"
            )

    def _recorded(self) -> tuple[Provenance, Path] | None:
        """Origin and place of the features in OUT, else of the run's features; None where there is neither."""
        from features.cache.pieces import shard_pattern, shards_beside
        from features.cache.store import verify_features
        from pipeline.training.folder import RunFolder

        shards = shard_pattern(self.features)
        place = self.features if self.features.exists() or not shards_beside(self.features) else shards
        damaged = None
        if place.exists() or place == shards:
            try:
                return verify_features(place).provenance, place
            except InputError as error:
                damaged = error
                if not self.inputs.data and "--force" not in self.words["features"]:
                    raise
        standing = RunFolder(self.run).standing()
        if standing is not None:
            return standing.features.provenance, Path(standing.features.path)
        if damaged and not (self.inputs.data or self.inputs.rows or self.inputs.offline):
            raise damaged  # nothing here tells of which pictures it was
        return None

    def _evaluate(self, recorded: Recorded | None) -> None:
        given = {"data": self.inputs.data, "weights": self.inputs.weights}
        moved = {
            name: value for name, value in given.items() if value and not (recorded and recorded.is_at(name, value))
        }
        default = replace(cast("EvalConfig", self._default("eval")), **cast("Any", moved))
        config: EvalConfig = self._parse("eval", default)
        if report_stands(config, asked=bool(self.words["eval"]), from_images=bool(moved)):
            print(f"{self.run / 'report.html'} is up to date")
        else:
            COMMANDS["eval"].run(config)


def _has(stage: str, field: str) -> bool:
    return field in {item.name for item in fields(COMMANDS[stage].config)}


if __name__ == "__main__":
    sys.exit(main())
