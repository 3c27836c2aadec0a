"""Which flag belongs to which stage, so that `make eval ARGS="--epochs 3"` trains for 3 epochs and then evaluates.

``python -m pipeline.flags STAGE GOAL FLAGS…`` prints those FLAGS that STAGE takes when GOAL was asked for.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import fields

from features.config import ExtractConfig
from pipeline.config import CompareConfig, EvalConfig, PredictConfig, TrainConfig

STAGES = {
    "features": ExtractConfig,
    "compare": CompareConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "predict": PredictConfig,
}


def flags_for(stage: str, goal: str, given: list[str]) -> list[str]:
    """The part of ``given`` that goes to ``stage``: of the stages up to ``goal`` that know a flag, the last one gets
    it. A flag that none knows goes to ``goal``, which will refuse it with its own suggestions. ``compare`` trains its
    own heads: it comes before ``train``."""
    chain = [name for name in ("features", "train", goal) if list(STAGES).index(name) <= list(STAGES).index(goal)]
    taken = []
    owner = goal
    for word in given:
        if word.startswith("--"):
            name = word.split("=")[0].removeprefix("--").replace("-", "_")
            knowing = [stage for stage in chain if name in {item.name for item in fields(STAGES[stage])}]
            owner = knowing[-1] if knowing else goal
        if owner == stage:
            taken.append(word)
    return taken


if __name__ == "__main__":
    print(shlex.join(flags_for(sys.argv[1], sys.argv[2], sys.argv[3:])))
