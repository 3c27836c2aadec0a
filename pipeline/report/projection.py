"""Where the classes lie inside the head: between its two linear layers, seen in two dimensions.

In: a trained head and the features that arrived at it. Out: the principal components of what it makes of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pipeline.heads.baselines import ClassicalNet
from pipeline.heads.dressed import DressedQuantumNet, Head

TANH, EXPECTATION = "tanh", "⟨Z⟩"


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The first principal components of N points.

    Attributes:
        mean: The points' mean, shape (n,).
        components: Orthonormal directions, first the one of the largest variance, shape (2, n); (1, n) where n or N is
            1. Of a direction and its opposite, the one whose largest entry is positive.
        share: Each component's share of the variance, shape (2,) or (1,).
        points: The points along the components, from their mean, shape (N, 2) or (N, 1).
    """

    mean: np.ndarray
    components: np.ndarray
    share: np.ndarray
    points: np.ndarray = field(repr=False)


def inner_values(head: Head, features: np.ndarray) -> dict[str, np.ndarray]:
    """What the head holds between its linear layers, each of shape (N, n_qubits), between -1 and 1.

    Args:
        head: A trained head.
        features: Shape (N, width), float32.

    Returns:
        ``tanh``, the outputs of the first layer, and ``⟨Z⟩``, those of the circuit; of a classical head with a layer in
        front only the former, of one without such a layer nothing.
    """
    arriving = torch.from_numpy(features)
    with torch.inference_mode():
        if isinstance(head, DressedQuantumNet):
            angles = head.angles(arriving)
            return {
                TANH: (angles / (math.pi / 2)).numpy(),
                EXPECTATION: head.expectation_values(angles).numpy(),
            }
        if isinstance(head, ClassicalNet):
            return {TANH: torch.tanh(head.pre_net(arriving)).numpy()}
    return {}


def project(values: np.ndarray) -> Projection:
    """The first two principal components of points of shape (N, n)."""
    mean = values.mean(axis=0, dtype=float)
    _, spread, directions = np.linalg.svd(values - mean, full_matrices=False)
    components = directions[:2]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(np.take_along_axis(components, largest[:, None], axis=1))
    variance = spread**2
    return Projection(
        mean=mean,
        components=components,
        share=variance[:2] / max(variance.sum(), np.finfo(float).tiny),
        points=(values - mean) @ components.T,
    )


def separation(values: np.ndarray, labels: np.ndarray) -> float:
    """The share of the variance of points of shape (N, n) that lies between the means of their classes: 0 where those
    are the same, 1 where every class is one point (the correlation ratio η²)."""
    centred = values - values.mean(axis=0, dtype=float)
    total = (centred**2).sum()
    classes = [centred[labels == label] for label in np.unique(labels)]
    between = sum(len(points) * (points.mean(axis=0) ** 2).sum() for points in classes)
    return float(between / total) if total > 0 else 0.0


def projections(head: Head, features: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """What :func:`inner_values` gives, as figures: for each space the mean, the first components, their share of the
    variance, and the separation of the classes, in plain lists and numbers."""
    found = {}
    for name, values in inner_values(head, features).items():
        space = project(values)
        found[name] = {
            "mean": space.mean.tolist(),
            "components": space.components.tolist(),
            "share": space.share.tolist(),
            "separation": separation(values, labels),
        }
    return found
