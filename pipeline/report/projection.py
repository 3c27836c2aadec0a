"""Where the classes lie inside the head: between its two linear layers, seen in two dimensions.

In: a trained head and its input features. Out: the principal components of its hidden values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pipeline.heads.base import Head


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The first principal components of N points of n numbers, a dot an image.

    Attributes:
        mean: The points' mean, shape (n,).
        components: Orthonormal directions, first the one of the largest variance, shape (2, n); (1, n) where n or N is
            1. Of a direction and its opposite, the one whose largest entry is positive.
        share: Each component's share of the variance, shape (2,) or (1,).
        separation: The share of the variance, in all n dimensions, that lies between the means of the classes.
        points: The points along the components, from their mean, shape (N, 2) or (N, 1).
    """

    mean: np.ndarray
    components: np.ndarray
    share: np.ndarray
    separation: float
    points: np.ndarray = field(repr=False)

    def record(self) -> dict[str, Any]:
        """As ``report.json`` holds it: everything except the points."""
        arrays = {"mean": self.mean, "components": self.components, "share": self.share}
        return {name: array.tolist() for name, array in arrays.items()} | {"separation": self.separation}


def inner_values(head: Head, features: np.ndarray) -> dict[str, np.ndarray]:
    """``Head.hidden_values`` of features of shape (N, width), as arrays."""
    with torch.inference_mode():
        return {name: values.numpy() for name, values in head.hidden_values(torch.from_numpy(features)).items()}


def project(values: np.ndarray, labels: np.ndarray) -> Projection:
    """The first two principal components of points of shape (N, n), whose classes are labels of shape (N,)."""
    from sklearn.decomposition import PCA

    mean, values = values.mean(axis=0, dtype=float), values.astype(float)
    pca = PCA(min(2, *values.shape), svd_solver="full")
    # A single point, or points all alike, have no variance to share out.
    with np.errstate(divide="ignore", invalid="ignore"):
        points = pca.fit_transform(values)
    return Projection(
        mean=mean,
        components=pca.components_,
        share=np.nan_to_num(pca.explained_variance_ratio_),
        separation=separation(values, labels),
        points=points,
    )


def separation(values: np.ndarray, labels: np.ndarray) -> float:
    """The share of the variance of points (N, n) that lies between the means of their classes (the correlation ratio
    η²): 0 where these means are the same, 1 where every class is one point."""
    centred = values - values.mean(axis=0, dtype=float)
    total = (centred**2).sum()
    classes = [centred[labels == label] for label in np.unique(labels)]
    between = sum(len(points) * (points.mean(axis=0) ** 2).sum() for points in classes)
    return float(between / total) if total > 0 else 0.0
