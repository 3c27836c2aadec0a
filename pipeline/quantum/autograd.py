"""Autograd nodes with a backward pass by hand: the circuit alone, and a whole dressed head as one node.

In and out: torch tensors on the CPU. A head of five small tensors spends most of its time in bookkeeping; as one node
it pays for that once. Each works for one head, with a simulator like ``BatchedAdjoint``, and for many, with a leading
heads axis and one like ``DenseCircuit``. No node computes anything for a gradient that is not asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.autograd.function import FunctionCtx


class Simulator(Protocol):
    """What evaluates and differentiates the circuit on arrays."""

    def forward(self, angles: np.ndarray, weights: np.ndarray, keep: bool = True) -> tuple[np.ndarray, Any]:
        """⟨Z⟩ of the shape of ``angles``, and what ``backward`` needs, if that is to be kept."""

    def backward(
        self, forward: Any, upstream: np.ndarray, need_angles: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gradients with respect to angles and weights."""


def expectation_values(simulator: Simulator, angles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """⟨Z⟩ of every wire, of the shape, dtype and device of ``angles``, differentiable once.

    Raises:
        ValueError: If an angle or a weight is not finite.
    """
    if torch.is_grad_enabled() and (angles.requires_grad or weights.requires_grad):
        return _Expectation.apply(simulator, angles, weights)
    with torch.no_grad():
        return _expectation(simulator, angles, weights, keep=False)[0]


def dressed_logits(simulator: Simulator, features: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """Linear → tanh → · π/2 → circuit → Linear in one node, differentiable once.

    Args:
        simulator: Evaluates the circuit.
        features: Shape (B, n_features), or (heads, B, n_features); on the CPU, float32 or float64.
        parameters: Weight and bias of the first layer, quantum weights, weight and bias of the second layer, of the
            same dtype; with a leading heads axis if the features have it.

    Returns:
        Logits of shape (B, n_classes), or (heads, B, n_classes).

    Raises:
        ValueError: If features or parameters are not finite.
    """
    if torch.is_grad_enabled() and (features.requires_grad or any(p.requires_grad for p in parameters)):
        return _Dressed.apply(simulator, features, *parameters)
    with torch.no_grad():
        return torch.from_numpy(_dressed(simulator, features, parameters, keep=False)[0])


def cross_entropy_gradients(
    simulator: Simulator, features: torch.Tensor, labels: torch.Tensor, parameters: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``cross_entropy(dressed_logits(...), labels).backward()`` does to the parameters, without autograd.

    ``grad`` is replaced, not added to; of parameters that require none it becomes None.

    Args:
        simulator: As for ``dressed_logits``.
        features: As for ``dressed_logits``; no gradient is made for them.
        labels: Class indices, int64, of shape (B,) or (heads, B).
        parameters: As for ``dressed_logits``.

    Returns:
        The mean loss of the batch, of shape () or (heads,), and the logits, both without a graph.

    Raises:
        ValueError: If features or parameters are not finite, or a label is missing or no class.
    """
    with torch.no_grad():
        logits, kept = _dressed(simulator, features, parameters, keep=True)
        losses, upstream = _cross_entropy(logits.copy(), labels.numpy())
        needed = [False, *(parameter.requires_grad for parameter in parameters)]
        gradients = _dressed_gradients(simulator, kept, upstream, needed)
        for parameter, gradient in zip(parameters, gradients[1:], strict=True):
            parameter.grad = None if gradient is None else torch.from_numpy(gradient)
        return torch.from_numpy(np.asarray(losses)), torch.from_numpy(logits)


class NonFiniteError(ValueError):
    """Features or parameters are NaN or infinite."""


def non_finite(features: torch.Tensor) -> NonFiniteError:
    """The error that names what is not finite: the first such row of the features, else the parameters."""
    bad = (~features.detach().isfinite()).nonzero()
    if len(bad):
        *rows, column = bad[0].tolist()
        row = rows[0] if len(rows) == 1 else tuple(rows)
        return NonFiniteError(
            f"row {row} of the features holds {features[tuple(bad[0])].item()} in column {column}; features must be "
            "finite: extract them again, or leave this row out"
        )
    return NonFiniteError(
        "the head's parameters are not finite, or overflow with these features: training has diverged; "
        "lower the learning rate and start from an earlier checkpoint"
    )


def _expectation(
    simulator: Simulator, angles: torch.Tensor, weights: torch.Tensor, keep: bool
) -> tuple[torch.Tensor, Any]:
    values, memory = simulator.forward(angles.cpu().numpy(), weights.cpu().numpy(), keep)
    if not math.isfinite(np.add.reduce(values, axis=None)):
        raise non_finite(angles)
    return _tensor(values, angles), memory


def _tensor(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    if like.is_cpu and like.dtype == torch.float32:
        # A third of what the same conversion costs in torch.
        return torch.from_numpy(array.astype(np.float32, copy=False))
    return torch.from_numpy(array).to(like)


class _Expectation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, simulator: Simulator, angles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        values, ctx.memory = _expectation(simulator, angles, weights, keep=True)
        ctx.simulator = simulator
        ctx.save_for_backward(angles, weights)
        return values

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        angles, weights = ctx.saved_tensors
        _, *needed = ctx.needs_input_grad
        gradients = ctx.simulator.backward(ctx.memory, upstream.detach().cpu().numpy(), *needed)
        tensors = [
            None if gradient is None else _tensor(gradient, tensor)
            for gradient, tensor in zip(gradients, (angles, weights), strict=True)
        ]
        return None, *_once(tensors, (angles, weights))


def _dressed(
    simulator: Simulator, features: torch.Tensor, parameters: Sequence[torch.Tensor], keep: bool
) -> tuple[np.ndarray, Any]:
    """Logits, and what ``_dressed_gradients`` needs if ``keep``; to be called where torch records no gradient."""
    inputs = features.numpy()
    pre_weight, pre_bias, weights, post_weight, post_bias = [parameter.numpy() for parameter in parameters]
    activations = inputs @ pre_weight.mT
    activations += pre_bias[..., None, :]
    # One sum tells whether all is finite: infinity or NaN anywhere in the features or in the layer ends up in it.
    if not math.isfinite(np.add.reduce(activations, axis=None)) and not np.isfinite(activations).all():
        raise non_finite(features)
    np.tanh(activations, out=activations)
    values, memory = simulator.forward(activations * (math.pi / 2), weights, keep)
    values = values.astype(inputs.dtype, copy=False)
    logits = values @ post_weight.mT
    logits += post_bias[..., None, :]
    if not math.isfinite(np.add.reduce(logits, axis=None)) and not np.isfinite(logits).all():
        raise non_finite(features)
    return logits, (inputs, pre_weight, post_weight, activations, values, memory) if keep else None


def _dressed_gradients(
    simulator: Simulator, kept: Any, upstream: np.ndarray, needed: Sequence[bool]
) -> list[np.ndarray | None]:
    """Gradients of features and parameters, in their order, where ``needed``; None elsewhere."""
    inputs, pre_weight, post_weight, tanh, values, memory = kept
    features_needed, pre_weight_needed, pre_bias_needed, weights_needed, post_weight_needed, post_bias_needed = needed
    gradients: list[np.ndarray | None] = [None] * 6
    if post_weight_needed:
        gradients[4] = upstream.mT @ values
    if post_bias_needed:
        gradients[5] = np.add.reduce(upstream, axis=-2)
    angles_needed = features_needed or pre_weight_needed or pre_bias_needed
    if angles_needed or weights_needed:
        angles, weights = simulator.backward(memory, upstream @ post_weight, angles_needed, weights_needed)
        if weights is not None:
            gradients[3] = weights.astype(inputs.dtype, copy=False)
        if angles is not None:
            slope = tanh * tanh
            np.subtract(1, slope, out=slope)
            slope *= math.pi / 2
            slope *= angles
            if features_needed:
                gradients[0] = slope @ pre_weight
            if pre_weight_needed:
                gradients[1] = slope.mT @ inputs
            if pre_bias_needed:
                gradients[2] = np.add.reduce(slope, axis=-2)
    return gradients


class _Dressed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, simulator: Simulator, features: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        logits, ctx.kept = _dressed(simulator, features, parameters, keep=True)
        ctx.simulator = simulator
        # Saved so that torch refuses a backward pass after one of them has changed in place.
        ctx.save_for_backward(features, *parameters)
        return torch.from_numpy(logits)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tensors = ctx.saved_tensors
        gradients = _dressed_gradients(ctx.simulator, ctx.kept, upstream.detach().numpy(), ctx.needs_input_grad[1:])
        return None, *_once([None if g is None else torch.from_numpy(g) for g in gradients], tensors)


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-entropy over the samples, and its gradient with respect to the logits, made in their place."""
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
    sums *= n_samples
    rows /= sums[:, None]
    rows[picked] -= 1 / n_samples
    return np.add.reduce(losses.reshape(labels.shape), axis=-1) / n_samples, logits


def _once(
    gradients: list[torch.Tensor | None], inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor | None, ...] | list[torch.Tensor | None]:
    """The gradients as they are; where a graph of them is being built, such that differentiating them is refused."""
    if not torch.is_grad_enabled():
        return gradients
    return _Refused.apply(len(inputs), *inputs, *gradients)


class _Refused(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: FunctionCtx, n_inputs: int, *tensors: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        return tuple(None if tensor is None else tensor.clone() for tensor in tensors[n_inputs:])

    @staticmethod
    def backward(_ctx: Any, *_upstream: torch.Tensor) -> Any:
        raise NotImplementedError(
            "this head's backward pass gives first derivatives only, and a second one was asked for; "
            "use DressedQuantumNet(simulator='dense') for derivatives of any order"
        )


def evaluate(engine: Any, inputs: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Values of a compiled circuit, shape (B, n_outputs), in the dtype and on the device of ``inputs``.

    Args:
        engine: As ``pipeline.quantum.engine.engine.Engine``.
        inputs: Shape (B, n_inputs), floating.
        weights: In order, of any shapes.
    """
    if torch.is_grad_enabled() and (inputs.requires_grad or any(weight.requires_grad for weight in weights)):
        return _Evaluate.apply(engine, inputs, *weights)
    with torch.no_grad():
        return _evaluated(engine, inputs, weights, keep=False)[0]


def dense_values(dense: Any, inputs: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """The same in torch's own operations, differentiable any number of times.

    Args:
        dense: As ``pipeline.quantum.engine.dense.Dense``.
        inputs: Shape (B, n_inputs), floating.
        weights: In order, of any shapes.
    """
    flat = [weight.reshape(-1).to(inputs) for weight in weights]
    joined = torch.cat(flat) if flat else inputs.new_zeros(0)
    if not len(inputs):
        return inputs.sum() + joined.sum() + inputs.new_zeros(0, dense.n_outputs)
    return dense(inputs[None], joined[None])[0]


def _evaluated(
    engine: Any, inputs: torch.Tensor, weights: Sequence[torch.Tensor], keep: bool
) -> tuple[torch.Tensor, Any]:
    flat = [_array(weight).reshape(-1) for weight in weights]
    joined = flat[0] if len(flat) == 1 else np.concatenate([np.zeros(0), *flat])
    if not len(inputs):
        return inputs.new_zeros(0, engine.n_outputs), None
    values, memory = engine.forward(_array(inputs), joined, keep)
    if not math.isfinite(np.add.reduce(values, axis=None)):
        raise non_finite(inputs)
    return _tensor(values, inputs), memory


def _array(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.cpu().float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.cpu()).numpy()


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, engine: Any, inputs: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        values, ctx.memory = _evaluated(engine, inputs, weights, keep=True)
        ctx.engine = engine
        ctx.save_for_backward(inputs, *weights)
        return values

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, *weights = ctx.saved_tensors
        _, need_inputs, *need = ctx.needs_input_grad
        if torch.is_grad_enabled():
            # A graph of the gradients is wanted: theirs is that of the dense form.
            values = dense_values(ctx.engine.dense, inputs, weights)
            wanted = [t for t, needed in zip((inputs, *weights), (need_inputs, *need), strict=True) if needed]
            found = iter(torch.autograd.grad(values, wanted, upstream, create_graph=True, materialize_grads=True))
            return None, *(next(found) if needed else None for needed in (need_inputs, *need))
        if ctx.memory is None:
            return None, *(torch.zeros_like(t) for t in (inputs, *weights))
        by_inputs, by_weights = ctx.engine.backward(ctx.memory, _array(upstream), need_inputs, any(need))
        gradients = [None if by_inputs is None else _tensor(by_inputs, inputs)]
        start = 0
        for weight, needed in zip(weights, need, strict=True):
            piece = by_weights[start : start + weight.numel()] if needed else None
            gradients.append(None if piece is None else _tensor(piece.reshape(weight.shape), weight))
            start += weight.numel()
        return None, *gradients
