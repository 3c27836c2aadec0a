"""All figures derived from an evaluation, computed once for the pictures, the page and ``report.json``.

In: a :class:`pipeline.inference.evaluation.Report`. Out: :class:`Findings`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from features.util.provenance import tensors_sha256
from pipeline.heads.controls.ablations import Ablations, ablations
from pipeline.inference.evaluation import Report
from pipeline.report.calibration import Calibration, calibration
from pipeline.report.commands import commands, make_command
from pipeline.report.curves import Curves, curves
from pipeline.report.projection import Projection, inner_values, project
from pipeline.report.standing import Standing, standing
from pipeline.util.records import to_record


@dataclass(frozen=True, kw_only=True)
class Findings(Report):
    """An evaluation with what the report derives from it.

    Attributes:
        curves: How well each class is told from the others, or why that is not drawn.
        calibration: Whether as many images are right as the probabilities say.
        hidden: The head's hidden values of the rows ``sampled``, by name, each (n, n_hidden).
        projections: Where the classes lie inside the head, by the name of its hidden values.
        head_sha256: Fingerprint of the last and of the best epoch's head.
        commands: The command lines that repeat the run; ``make``, the same as one of make.
        standing: The run beside a linear layer and other seeds, or why it was not put there.
        parameters_without_gradient: How many of the trained parameters never have one; None where it is not known.
        ablations: What each part of the last epoch's circuit is worth on the rows ``sampled``, or why there is none.
    """

    curves: list[Curves] | str
    calibration: Calibration
    hidden: dict[str, np.ndarray]
    projections: dict[str, Projection]
    head_sha256: dict[str, str]
    commands: list[str]
    make: str
    standing: Standing | str
    parameters_without_gradient: int | None
    ablations: Ablations | str

    def to_json(self) -> dict[str, Any]:
        """As ``report.json`` holds it, without the pictures' words."""
        return to_record(self.record) | {
            "curves": {"not_run": self.curves} if isinstance(self.curves, str) else to_record(self.curves),
            "calibration": to_record(self.calibration),
            "projections": {name: each.record() for name, each in self.projections.items()},
            "head_sha256": self.head_sha256,
            "commands": self.commands,
            "make": self.make,
            "parameters_without_gradient": self.parameters_without_gradient,
            "standing": _or_reason(self.standing),
            "ablations": _or_reason(self.ablations),
        }


def find(report: Report) -> Findings:
    """Derive all of it."""
    head = report.run.head()
    hidden = inner_values(head, report.features)
    return Findings(
        **{item.name: getattr(report, item.name) for item in fields(Report)},
        curves=curves(report.probabilities, report.labels, report.run.classes),
        calibration=calibration(report.probabilities, report.labels),
        hidden=hidden,
        projections={name: project(values, report.labels[report.sampled]) for name, values in hidden.items()},
        head_sha256={which: tensors_sha256(state) for which, state in report.run.weights.items()},
        commands=commands(report),
        make=make_command(report),
        standing=standing(report),
        parameters_without_gradient=head.n_idle,
        ablations=ablations(head, torch.from_numpy(report.features), torch.from_numpy(report.labels[report.sampled])),
    )


def _or_reason(found: Any) -> dict[str, Any]:
    """As JSON what was found, or why it was not."""
    return {"not_run": found} if isinstance(found, str) else to_record(found)
