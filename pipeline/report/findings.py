"""All figures derived from an evaluation, computed once for the pictures, the page and ``report.json``.

In: a :class:`pipeline.inference.evaluation.Report`. Out: :class:`Findings`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from features.util.provenance import tensors_sha256
from pipeline.inference.evaluation import Report
from pipeline.report.calibration import Calibration, calibration
from pipeline.report.commands import commands
from pipeline.report.projection import Projection, projections
from pipeline.util.records import to_record


@dataclass(frozen=True, kw_only=True)
class Findings(Report):
    """An evaluation with what the report derives from it.

    Attributes:
        calibration: Whether as many images are right as the probabilities say.
        projections: Where the classes lie inside the head, by the name of its hidden values.
        head_sha256: Fingerprint of the last and of the best epoch's head.
        commands: The command lines that repeat the run.
    """

    calibration: Calibration
    projections: dict[str, Projection]
    head_sha256: dict[str, str]
    commands: list[str]

    def to_json(self) -> dict[str, Any]:
        """As ``report.json`` holds it, without the pictures' words."""
        return to_record(self.record) | {
            "calibration": to_record(self.calibration),
            "projections": {name: each.record() for name, each in self.projections.items()},
            "head_sha256": self.head_sha256,
            "commands": self.commands,
        }


def find(report: Report) -> Findings:
    """Derive all of it."""
    return Findings(
        **{item.name: getattr(report, item.name) for item in fields(Report)},
        calibration=calibration(report.probabilities, report.labels),
        projections=projections(report.run.head(), report.features, report.labels[report.sampled]),
        head_sha256={which: tensors_sha256(state) for which, state in report.run.weights.items()},
        commands=commands(report),
    )
