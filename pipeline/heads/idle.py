"""Weights of a circuit that never change its outputs: a rotation about Z in front of a measurement of Z, for example.

In: a circuit. Out: the places of these weights in the flat vector.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.quantum.compiled import CompiledCircuit

DRAWS, SAMPLES = 4, 3
"""Random weights, and random inputs for each of them, at which gradients are looked at."""
ZERO = 1e-12
MAX_WIRES = 14
"""Wires up to which they are looked for."""


@lru_cache(maxsize=64)
def idle_weights(compiled: CompiledCircuit) -> tuple[int, ...] | None:
    """Places of weights whose gradient is zero at all of several random points; None where it was not looked at.

    At each point the outputs of all samples are summed up with random factors. So the gradient of a weight that changes
    any output is zero by chance with probability 0. In double precision zero is below 1e-12.

    Args:
        compiled: The circuit on the ``dense`` simulator.
    """
    if compiled.simulator == "qnode" or compiled.n_wires > MAX_WIRES:
        return None
    random = np.random.default_rng(0)
    idle = np.ones(compiled.n_weights, bool)
    for _ in range(DRAWS):
        inputs = random.uniform(-np.pi / 2, np.pi / 2, (SAMPLES, compiled.n_inputs))
        weights = random.uniform(-np.pi, np.pi, compiled.n_weights)
        values, memory = compiled.forward(inputs, weights)
        gradient: Any = compiled.backward(memory, random.normal(size=values.shape), need_inputs=False)[1]
        idle &= np.abs(gradient) <= ZERO
    return tuple(np.flatnonzero(idle).tolist())
