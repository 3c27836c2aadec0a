"""Gate angles as polynomials of inputs and weights, of degree 2 or less, found from torch's own derivatives.

In: angles as torch tensors with their graphs. Out: ``Polynomials``, which evaluates all angles of a batch by matrix
products, and carries gradients back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

MAX_SUPPORT = 24
"""Entries that an angle may depend on if it is not linear."""
TOLERANCE = 1e-9


class Angles(NamedTuple):
    """The angles of samples of heads: ``shared`` (n_shared, heads), ``batched`` (n_batched, B · heads)."""

    shared: np.ndarray
    batched: np.ndarray


class Polynomials:
    """θ = c + A z + Q (z_i z_j) for z = (inputs, weights). Get it from ``find_polynomials``.

    Args:
        constants: Shape (n_angles,).
        linear: Shape (n_angles, n_inputs + n_weights).
        quadratic: One dictionary an angle, from pairs (i, j) with i ≤ j to coefficients.
        n_inputs: How many entries of z are inputs.

    Attributes:
        places: For each angle ``shared`` or ``batched``, and its index; equal angles share one.
        n_shared: Number of different shared angles.
        n_batched: Number of different batched angles.
        plain_inputs: Whether the batched angles are the inputs themselves, in their order.
        plain_weights: Whether the shared angles are the weights themselves, in their order.
    """

    def __init__(
        self,
        constants: np.ndarray,
        linear: np.ndarray,
        quadratic: Sequence[dict[tuple[int, int], float]],
        n_inputs: int,
    ) -> None:
        pairs = sorted({pair for terms in quadratic for pair in terms})
        products = np.zeros((len(constants), len(pairs)))
        for k, terms in enumerate(quadratic):
            for pair, coefficient in terms.items():
                products[k, pairs.index(pair)] = coefficient
        rows = np.concatenate([constants[:, None], linear, products], axis=1).round(12)
        firsts = np.array([pair[0] for pair in pairs], dtype=int)
        of_inputs = (linear[:, :n_inputs] != 0).any(axis=1) | (products[:, firsts < n_inputs] != 0).any(axis=1)
        self.places: list[tuple[str, int]] = []
        seen: dict[tuple[str, bytes], int] = {}
        kept: dict[str, list[int]] = {"shared": [], "batched": []}
        for k, row in enumerate(rows):
            kind = "batched" if of_inputs[k] else "shared"
            key = (kind, row.tobytes())
            if key not in seen:
                seen[key] = len(kept[kind])
                kept[kind].append(k)
            self.places.append((kind, seen[key]))
        self.n_shared, self.n_batched = len(kept["shared"]), len(kept["batched"])
        self._n_inputs = n_inputs
        self._shared = _Map(constants[kept["shared"]], linear[kept["shared"]], products[kept["shared"]], pairs)
        self._batched = _Map(constants[kept["batched"]], linear[kept["batched"]], products[kept["batched"]], pairs)
        self._shared_linear = self._shared.linear[:, n_inputs:]
        self._by_inputs = self._batched.linear[:, :n_inputs]
        self._by_weights = self._batched.linear[:, n_inputs:]
        self.plain_weights = _is_identity(self._shared_linear) and self._shared.is_linear
        self.plain_inputs = _is_identity(self._by_inputs) and self._batched.is_linear and not self._by_weights.any()

    def __call__(self, inputs: np.ndarray, weights: np.ndarray) -> Angles:
        """The angles of inputs (n_inputs, B · heads) and weights (n_weights, heads): columns by sample, then head."""
        shared = weights
        if not self.plain_weights:
            shared = self._shared_linear @ weights
            shared += self._shared.constants[:, None]
            if len(self._shared.pairs):
                shared += self._shared.products @ self._shared.monomials(self._without_inputs(weights))
        if self.plain_inputs:
            return Angles(shared, np.ascontiguousarray(inputs))
        batched = self._by_inputs @ inputs
        by_head = self._by_weights @ weights + self._batched.constants[:, None]
        n_heads = weights.shape[1]
        batched.reshape(len(batched), inputs.shape[1] // n_heads, n_heads)[:] += by_head[:, None]
        if len(self._batched.pairs):
            batched += self._batched.products @ self._batched.monomials(_joined(inputs, weights))
        return Angles(shared, batched)

    def coefficients(self, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of angles of a kind, ``shared`` or ``batched``: θ = constants + linear @ z + products @ (z_i z_j).

        Returns:
            Constants of shape (k,), linear coefficients (k, n_inputs + n_weights), the pairs (i, j) with i ≤ j of
            places in z that occur, int of shape (p, 2), and their coefficients (k, p).
        """
        found = self._shared if kind == "shared" else self._batched
        return found.constants, found.linear, found.pairs, found.products

    def gradients(
        self, inputs: np.ndarray, weights: np.ndarray, gradient: Angles, need_inputs: bool, need_weights: bool
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The gradients of inputs and weights, as they lie there, from those of the angles."""
        input_gradient = weight_gradient = None
        n = self._n_inputs
        products = None
        if len(self._batched.pairs):
            products = self._batched.slopes(gradient.batched, _joined(inputs, weights))
        if need_inputs:
            input_gradient = gradient.batched if self.plain_inputs else self._by_inputs.T @ gradient.batched
            if products is not None:
                input_gradient = input_gradient + products[:n]
        if need_weights:
            weight_gradient = gradient.shared if self.plain_weights else self._shared_linear.T @ gradient.shared
            if not self.plain_inputs:
                weight_gradient = weight_gradient + self._by_weights.T @ _of_heads(gradient.batched, weights)
            if products is not None:
                weight_gradient = weight_gradient + _of_heads(products[n:], weights)
            if len(self._shared.pairs):
                slopes = self._shared.slopes(gradient.shared, self._without_inputs(weights))
                weight_gradient = weight_gradient + slopes[n:]
        return input_gradient, weight_gradient

    def _without_inputs(self, weights: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros((self._n_inputs, weights.shape[1]), dtype=weights.dtype), weights])


class _Map:
    """The coefficients of some angles, and of the monomials z_i z_j that occur in them."""

    def __init__(
        self, constants: np.ndarray, linear: np.ndarray, products: np.ndarray, pairs: Sequence[tuple[int, int]]
    ) -> None:
        used = np.flatnonzero(products.any(axis=0))
        self.constants, self.linear, self.products = constants, linear, np.ascontiguousarray(products[:, used])
        self.pairs = np.array([pairs[int(k)] for k in used], dtype=np.intp).reshape(-1, 2)
        self.is_linear = not len(used) and not constants.any()

    def monomials(self, z: np.ndarray) -> np.ndarray:
        return z[self.pairs[:, 0]] * z[self.pairs[:, 1]]

    def slopes(self, gradient: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Gradient with respect to z through the monomials alone, of z's shape."""
        by_monomial = self.products.T @ gradient
        result = np.zeros_like(z)
        np.add.at(result, self.pairs[:, 0], by_monomial * z[self.pairs[:, 1]])
        np.add.at(result, self.pairs[:, 1], by_monomial * z[self.pairs[:, 0]])
        return result


def find_polynomials(
    angles: Sequence[Sequence[torch.Tensor]], leaves: Sequence[tuple[torch.Tensor, list[torch.Tensor]]]
) -> Polynomials | None:
    """The angles as polynomials of degree 2 or less, or None where one is another function.

    Args:
        angles: At each of several random points, every angle, of shape () or (B,).
        leaves: At each point, inputs of shape (n_inputs,) or (B, n_inputs), and the weights.

    Returns:
        The polynomials found at the first point, if they hold at all the others.
    """
    n_inputs = leaves[0][0].shape[-1]
    n_all = n_inputs + sum(weight.numel() for weight in leaves[0][1])
    constants, linear = np.zeros(len(angles[0])), np.zeros((len(angles[0]), n_all))
    quadratic: list[dict[tuple[int, int], float]] = []
    for k, angle in enumerate(angles[0]):
        found = _expand(angle, *leaves[0])
        if found is None:
            return None
        constants[k], linear[k], terms = found
        quadratic.append(terms)
    polynomials = Polynomials(constants, linear, quadratic, n_inputs)
    for values, (inputs, weights) in zip(angles, leaves, strict=True):
        flat = np.concatenate([np.zeros(0), *(weight.detach().reshape(-1).numpy() for weight in weights)])
        expected = polynomials(np.atleast_2d(inputs.detach().numpy()).T, flat[:, None])
        for value, (kind, index) in zip(values, polynomials.places, strict=True):
            seen, row = value.detach().numpy(), getattr(expected, kind)[index]
            if not np.allclose(seen, row, rtol=TOLERANCE, atol=TOLERANCE):
                return None
    return polynomials


def _expand(
    angle: torch.Tensor, inputs: torch.Tensor, weights: list[torch.Tensor]
) -> tuple[float, np.ndarray, dict[tuple[int, int], float]] | None:
    """Constant, linear and quadratic coefficients of an angle of the first sample, by its derivatives at this point."""
    value = angle.reshape(-1)[0]
    z = _first_sample(inputs, weights)
    slope = _slope(value, inputs, weights)
    linear = slope.detach().numpy().copy()
    terms: dict[tuple[int, int], float] = {}
    if slope.requires_grad:
        support = np.flatnonzero(linear).tolist()
        if len(support) > MAX_SUPPORT:
            return None
        for i in support:
            curve = _slope(slope[i], inputs, weights).detach().numpy()
            for j in np.flatnonzero(curve).tolist():
                if i <= j:
                    terms[i, j] = float(curve[j]) / (2 if i == j else 1)
            linear[i] -= float(curve @ z)
    linear[np.abs(linear) < TOLERANCE] = 0
    constant = float(value.detach()) - float(linear @ z) - sum(c * z[i] * z[j] for (i, j), c in terms.items())
    return (0.0 if abs(constant) < TOLERANCE else constant), linear, terms


def _slope(value: torch.Tensor, inputs: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    if not value.requires_grad:
        return torch.zeros(inputs.shape[-1] + sum(weight.numel() for weight in weights), dtype=torch.float64)
    gradients = torch.autograd.grad(value, [inputs, *weights], create_graph=True, materialize_grads=True)
    return torch.cat([gradients[0].reshape(-1, inputs.shape[-1])[0], *(g.reshape(-1) for g in gradients[1:])])


def _first_sample(inputs: torch.Tensor, weights: list[torch.Tensor]) -> np.ndarray:
    rows = [inputs.detach().reshape(-1, inputs.shape[-1])[0], *(weight.detach().reshape(-1) for weight in weights)]
    return torch.cat(rows).numpy()


def _joined(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """z of every column, shape (n_inputs + n_weights, B · heads)."""
    return np.concatenate([inputs, np.tile(weights, inputs.shape[1] // weights.shape[1])])


def _of_heads(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum over the samples of each head."""
    n_heads = weights.shape[1]
    return columns.reshape(len(columns), columns.shape[1] // n_heads, n_heads).sum(axis=1)


def _is_identity(matrix: np.ndarray) -> bool:
    return matrix.shape[0] == matrix.shape[1] and bool((matrix == np.eye(len(matrix))).all())
