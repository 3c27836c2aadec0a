"""Which flag belongs to which stage, so that `make eval ARGS="--epochs 3"` trains for 3 epochs and then evaluates.

``python -m pipeline.flags STAGE GOAL FLAGS…`` prints those FLAGS that STAGE takes when GOAL was asked for.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import fields

from features.config import ExtractConfig
from pipeline.demo.config import DemoConfig
from pipeline.experiments.compare.config import CompareConfig
from pipeline.inference.config import EvalConfig, ExportConfig, PredictConfig
from pipeline.training.config import TrainConfig

# Whose a flag is, the last first: what a run is trained with is training's, the batch of an evaluation included.
CHAINS = {
    "features": ["features"],
    "compare": ["features", "compare"],
    "train": ["features", "train"],
    "eval": ["features", "eval", "train"],
    "predict": ["features", "train", "predict"],
    "demo": ["features", "train", "demo"],
    "export": ["features", "train", "export"],
}
# Views are made by stage 1 and drawn from in training: a flag for both.
AGREED = ("views",)
# Several stages run on a device; what `make eval` names is the one to evaluate the head on.
OF_THE_GOAL = {"eval": ("q_device",)}

STAGES = {
    "features": ExtractConfig,
    "compare": CompareConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "predict": PredictConfig,
    "demo": DemoConfig,
    "export": ExportConfig,
}


def flags_for(stage: str, goal: str, given: list[str]) -> list[str]:
    """The part of ``given`` that goes to ``stage``: of the stages that ``goal`` runs and that know a flag, the last in
    ``CHAINS`` gets it; one in ``OF_THE_GOAL`` goes to the goal, as does one that none knows: the goal will refuse it
    with its own suggestions."""
    chain = CHAINS[goal]
    taken = []
    agreed = [goal]
    for word in given:
        if word.startswith("--"):
            name = word.split("=")[0].removeprefix("--").replace("-", "_")
            knowing = [stage for stage in chain if name in {item.name for item in fields(STAGES[stage])}]
            owner = knowing[-1] if knowing and name not in OF_THE_GOAL.get(goal, ()) else goal
            agreed = knowing if name in AGREED else [owner]
        if stage in agreed:
            taken.append(word)
    return taken


if __name__ == "__main__":
    print(shlex.join(flags_for(sys.argv[1], sys.argv[2], sys.argv[3:])))
