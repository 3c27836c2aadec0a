"""A report of any probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pipeline.inference.record import EpochMetrics, Epochs
from pipeline.util.metrics import estimates, metrics


def with_probabilities(report, probabilities, labels):
    """The report of a head that says this of images that are those."""
    probabilities, labels = np.asarray(probabilities, dtype=np.float32), np.asarray(labels)
    figures = metrics(torch.from_numpy(probabilities).log(), torch.from_numpy(labels))
    scores = estimates(probabilities, labels, report.run.classes)
    both = EpochMetrics(epoch=1, **vars(figures), scores=scores)
    n = len(labels)
    return replace(
        report,
        record=replace(report.record, epochs=Epochs(last=both, best=both)),
        labels=labels,
        probabilities=probabilities,
        features=report.features[np.arange(n) % len(report.features)],
        paths=tuple(f"{row}.png" for row in range(n)),
    )
