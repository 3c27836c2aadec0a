"""The self-check of a circuit at its first use, on random samples: one head against its QNode, many against one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from pipeline.quantum.dense.dense import backward_through
from pipeline.quantum.program.program import Program

N_SAMPLES = 3
"""No power of two, so that a QNode's unbatched probabilities are not mistaken for one value a sample."""
MANY_QUBITS = 12
"""Wires beyond which one sample of one head is all that is compared with torch's graph, which keeps every state."""
TOLERANCES = {"complex128": 1e-7, "complex64": 1e-4}


def difference(
    engine: Any,
    program: Program,
    by_qnode: Callable[[torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor],
    weight_shapes: Mapping[str, tuple[int, ...]],
) -> str | None:
    """Compare an engine, or its dense form, with the QNode on random samples; return the first difference in words."""
    for draw in (torch.randn, torch.rand):
        generator = torch.Generator().manual_seed(20)
        inputs = draw(N_SAMPLES, program.n_inputs, generator=generator, dtype=torch.float64)
        if program.amplitudes is not None and not program.amplitudes.normalise:
            inputs /= inputs.norm(dim=1, keepdim=True)
        weights = {name: draw(shape, generator=generator, dtype=torch.float64) for name, shape in weight_shapes.items()}
        leaves = [tensor.requires_grad_() for tensor in (inputs, *weights.values())]
        upstream = torch.randn(N_SAMPLES, program.n_outputs, generator=generator, dtype=torch.float64).numpy()
        with torch.enable_grad():
            expected = by_qnode(inputs, weights)
        if expected.shape != upstream.shape:
            return f"its values have shape {program.n_outputs} a sample and its QNode's {tuple(expected.shape)}"
        reference, slopes = expected.detach().numpy(), []
        if expected.requires_grad:
            of_inputs, *of_weights = backward_through(expected, leaves, upstream, [True] * len(leaves))
            slopes = [of_inputs, np.concatenate([np.zeros(0), *(gradient.reshape(-1) for gradient in of_weights)])]
        if all(np.isfinite(array).all() for array in (reference, *slopes)):
            break
        # Arcsines and square roots take numbers from 0 to 1, which the second draw has.
    flat = np.concatenate([np.zeros(0), *(weight.detach().reshape(-1).numpy() for weight in weights.values())])
    values, memory = engine.forward(inputs.detach().numpy(), flat)
    tolerance = TOLERANCES[engine.c_dtype]
    # Of each output by itself: probabilities may stand beside an observable of large coefficients.
    scales = np.maximum(1.0, np.abs(reference).max(axis=0, initial=0))
    gap = float((np.abs(values - reference) / scales).max(initial=0))
    if not gap < tolerance:
        return (
            f"its values differ by {gap:.2g} from its QNode's, as with random numbers, noise, or samples that depend "
            "on each other"
        )
    if not slopes:
        return None
    for name, seen, slope in zip(("inputs", "weights"), engine.backward(memory, upstream), slopes, strict=True):
        gap = float(np.abs(seen - slope).max(initial=0)) / max(1.0, float(np.abs(slope).max(initial=0)))
        if not gap < tolerance:
            return f"its gradients of the {name} differ by {gap:.2g} from its QNode's"
    return None


def same(together: Any, one_by_one: Any, program: Program, c_dtype: str) -> bool:
    """Whether many heads at once have the values and gradients of heads one by one, on a few random samples of two."""
    rng = np.random.default_rng(20)
    n_heads, n_samples = (2, N_SAMPLES) if program.n_wires <= MANY_QUBITS else (1, 1)
    inputs, weights = (
        rng.normal(size=(n_heads, n_samples, program.n_inputs)),
        rng.normal(size=(n_heads, program.n_weights)),
    )
    if program.amplitudes is not None and not program.amplitudes.normalise:
        inputs /= np.linalg.norm(inputs, axis=-1, keepdims=True)
    upstream = rng.normal(size=(n_heads, n_samples, program.n_outputs))
    results = []
    for engine in (together, one_by_one):
        values, memory = engine.forward(inputs, weights)
        results.append((values, *engine.backward(memory, upstream)))
    return all(
        np.abs(seen - reference).max(initial=0) < TOLERANCES[c_dtype] * max(1.0, np.abs(reference).max(initial=0))
        for seen, reference in zip(*results, strict=True)
    )
