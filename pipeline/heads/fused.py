"""A whole dressed head as one autograd node, with a backward pass by hand.

In and out: torch tensors on the CPU. A head of five small tensors spends most of its time in bookkeeping; as one node
it pays for that once. It works for one head, and for many with a leading heads axis. It computes no gradient that is
not asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipeline.heads.base import QUARTER_TURN
from pipeline.quantum.autograd import non_finite
from pipeline.quantum.compiled import CompiledCircuit


def dressed_logits(
    circuit: CompiledCircuit, features: torch.Tensor, parameters: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Linear → tanh → · π/2 → circuit → Linear in one node.

    Args:
        circuit: Evaluates and differentiates the circuit.
        features: Shape (B, n_features), or (heads, B, n_features); on the CPU, float32 or float64.
        parameters: Weight and bias of the first layer, quantum weights, weight and bias of the second layer, of the
            same dtype; with a leading heads axis if the features have it.

    Returns:
        Logits of shape (B, n_classes), or (heads, B, n_classes).

    Raises:
        ValueError: If features or parameters are not finite.
    """
    if torch.is_grad_enabled() and (features.requires_grad or any(p.requires_grad for p in parameters)):
        return _Dressed.apply(circuit, features, *parameters)
    with torch.no_grad():
        return torch.from_numpy(_dressed(circuit, features, parameters, keep=False)[0])


def cross_entropy_gradients(
    circuit: CompiledCircuit,
    features: torch.Tensor,
    labels: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    shares: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Set the gradients that ``cross_entropy(dressed_logits(...), labels).backward()`` sets, without autograd.

    ``grad`` is replaced, not added to; of parameters that require none it becomes None.

    Args:
        circuit: As for ``dressed_logits``.
        features: As for ``dressed_logits``; no gradient is made for them.
        labels: Class indices, int64, of shape (B,) or (heads, B).
        parameters: As for ``dressed_logits``.
        shares: What each row's loss counts, of the labels' shape; 1 / B by default.

    Returns:
        The loss Σ share · loss of the batch, of shape () or (heads,), and the logits, both without a graph.

    Raises:
        ValueError: If features or parameters are not finite, or a label is missing or no class.
    """
    with torch.no_grad():
        logits, kept = _dressed(circuit, features, parameters, keep=True)
        losses, upstream = _cross_entropy(logits.copy(), labels.numpy(), None if shares is None else shares.numpy())
        needed = [False, *(parameter.requires_grad for parameter in parameters)]
        gradients = _dressed_gradients(circuit, kept, upstream, needed)
        for parameter, gradient in zip(parameters, gradients[1:], strict=True):
            parameter.grad = None if gradient is None else torch.from_numpy(gradient)
        return torch.from_numpy(np.asarray(losses)), torch.from_numpy(logits)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The matrix product, of each head where there are many; ``dot`` takes half the time for small matrices."""
    return left.dot(right) if left.ndim == 2 else left @ right


def _dressed(
    circuit: CompiledCircuit, features: torch.Tensor, parameters: Sequence[torch.Tensor], keep: bool
) -> tuple[np.ndarray, Any]:
    """Logits, and what ``_dressed_gradients`` needs if ``keep``; to be called where torch records no gradient."""
    inputs = features.numpy()
    pre_weight, pre_bias, weights, post_weight, post_bias = [parameter.numpy() for parameter in parameters]
    activations = _product(inputs, pre_weight.mT)
    activations += pre_bias if pre_bias.ndim == 1 else pre_bias[:, None]
    # One sum tells whether all is finite: infinity or NaN anywhere in the features or in the layer ends up in it.
    if not math.isfinite(np.add.reduce(activations, axis=None)) and not np.isfinite(activations).all():
        raise non_finite(features)
    np.tanh(activations, out=activations)
    values, memory = circuit.forward(activations * QUARTER_TURN, weights, keep)
    values = values.astype(inputs.dtype, copy=False)
    logits = _product(values, post_weight.mT)
    logits += post_bias if post_bias.ndim == 1 else post_bias[:, None]
    if not math.isfinite(np.add.reduce(logits, axis=None)) and not np.isfinite(logits).all():
        raise non_finite(features)
    return logits, (inputs, pre_weight, post_weight, activations, values, memory) if keep else None


def _dressed_gradients(
    circuit: CompiledCircuit, kept: Any, upstream: np.ndarray, needed: Sequence[bool]
) -> list[np.ndarray | None]:
    """Gradients of features and parameters, in their order, where ``needed``; None elsewhere."""
    inputs, pre_weight, post_weight, tanh, values, memory = kept
    features_needed, pre_weight_needed, pre_bias_needed, weights_needed, post_weight_needed, post_bias_needed = needed
    gradients: list[np.ndarray | None] = [None] * 6
    if post_weight_needed:
        gradients[4] = _product(upstream.mT, values)
    if post_bias_needed:
        gradients[5] = np.add.reduce(upstream, axis=-2)
    angles_needed = features_needed or pre_weight_needed or pre_bias_needed
    if angles_needed or weights_needed:
        angles, weights = circuit.backward(memory, _product(upstream, post_weight), angles_needed, weights_needed)
        if weights is not None:
            gradients[3] = weights.astype(inputs.dtype, copy=False)
        if angles is not None:
            slope = tanh * tanh
            np.subtract(1, slope, out=slope)
            slope *= QUARTER_TURN
            slope *= angles
            if features_needed:
                gradients[0] = _product(slope, pre_weight)
            if pre_weight_needed:
                gradients[1] = _product(slope.mT, inputs)
            if pre_bias_needed:
                gradients[2] = np.add.reduce(slope, axis=-2)
    return gradients


class _Dressed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, circuit: CompiledCircuit, features: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        logits, ctx.kept = _dressed(circuit, features, parameters, keep=True)
        ctx.circuit = circuit
        # Saved so that torch refuses a backward pass after one of them has changed in place.
        ctx.save_for_backward(features, *parameters)
        return torch.from_numpy(logits)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        features, *parameters = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            # Under create_graph, differentiate through torch's own operations.
            logits = _by_torch(ctx.circuit, features, parameters)
            wanted = [t for t, is_needed in zip((features, *parameters), needed, strict=True) if is_needed]
            found = iter(torch.autograd.grad(logits, wanted, upstream, create_graph=True, materialize_grads=True))
            return None, *(next(found) if is_needed else None for is_needed in needed)
        gradients = _dressed_gradients(ctx.circuit, ctx.kept, upstream.numpy(), needed)
        return None, *(None if gradient is None else torch.from_numpy(gradient) for gradient in gradients)


def _by_torch(circuit: CompiledCircuit, features: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """The logits in torch's own operations, with all derivatives."""
    pre_weight, pre_bias, weights, post_weight, post_bias = parameters
    inputs = torch.tanh(features @ pre_weight.mT + pre_bias[..., None, :]) * QUARTER_TURN
    values = circuit.heads(inputs, weights) if inputs.ndim == 3 else circuit.heads(inputs[None], weights[None])[0]
    return values @ post_weight.mT + post_bias[..., None, :]


def _cross_entropy(logits: np.ndarray, labels: np.ndarray, shares: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-entropy over the samples, or by their shares, and its gradient with respect to the logits, made in
    their place."""
    n_samples, n_classes = logits.shape[-2:]
    # As unsigned numbers negative labels are the largest: one reduction finds both kinds of wrong ones.
    if labels.shape != logits.shape[:-1] or np.maximum.reduce(labels.view(np.uint64), axis=None) >= n_classes:
        raise ValueError(
            f"labels of shape {labels.shape} from {labels.min()} to {labels.max()}; {logits.shape[:-1]} of them are "
            f"wanted, one a sample, from 0 to {n_classes - 1}"
        )
    logits -= np.maximum.reduce(logits, axis=-1, keepdims=True)
    rows, picked = logits.reshape(-1, n_classes), (np.arange(labels.size), labels.reshape(-1))
    losses = rows[picked]
    np.exp(rows, out=rows)
    sums = np.add.reduce(rows, axis=-1)
    losses = np.log(sums) - losses
    if shares is not None:
        counted = shares.reshape(-1).astype(rows.dtype, copy=False)
        rows *= (counted / sums)[:, None]
        rows[picked] -= counted
        return np.add.reduce((losses * counted).reshape(labels.shape), axis=-1), logits
    sums *= n_samples
    rows /= sums[:, None]
    rows[picked] -= 1 / n_samples
    return np.add.reduce(losses.reshape(labels.shape), axis=-1) / n_samples, logits
