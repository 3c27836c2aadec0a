"""The circuit as an autograd node with a backward pass by hand.

In and out: torch tensors. It computes no gradient that is not asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes


def transforms_active() -> bool:
    """Whether torch transforms or records its operations here: torch.func, torch.export, make_fx, any dispatch mode."""
    return torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0


@contextmanager
def apart() -> Iterator[None]:
    """For work at a first call that the caller's transform, mode without gradients or checkpoint doesn't concern."""
    # Transforms allow no hooks, so there are none to keep away.
    allowed = torch._C._autograd._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
    kept = [lambda tensor: tensor] * 2
    hooks = torch.autograd.graph.saved_tensors_hooks(*kept) if allowed else nullcontext()
    cleared = temporarily_clear_interpreter_stack()
    with cleared, _disable_current_modes(), hooks, torch.inference_mode(False), torch.enable_grad():
        yield


class NonFiniteError(ValueError):
    """Features or parameters are NaN or infinite."""


def non_finite(features: torch.Tensor) -> NonFiniteError:
    """An error that names the first non-finite row of the features, else the parameters."""
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


def _tensor(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    if like.is_cpu and like.dtype == torch.float32:
        # A third of what the same conversion costs in torch.
        return torch.from_numpy(array.astype(np.float32, copy=False))
    return torch.from_numpy(array).to(like)


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
        dense: As ``pipeline.quantum.dense.dense.Dense``.
        inputs: Shape (B, n_inputs), floating.
        weights: In order, of any shapes.
    """
    # Half precision holds inputs and outputs alone.
    dtype = torch.promote_types(inputs.dtype, torch.float32)
    flat = [weight.reshape(-1).to(inputs.device, dtype) for weight in weights]
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
    flat = values.ravel(order="K")
    # The cheapest look at all of them; it overflows before they do.
    if not math.isfinite(flat.dot(flat)) and not np.isfinite(flat).all():
        raise non_finite(inputs)
    return _tensor(values, inputs), memory


def _array(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy(force=True)


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
            # Under create_graph, differentiate through the dense form.
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
