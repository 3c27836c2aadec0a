"""Layers of rotations of words of Z: one diagonal of phases a sample.

In: angles. Out: the phases exp(-iφ) of shape (2ⁿ, B), φ = Σ θ_p z_p / 2, and the angles' gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.quantum.engine.layers import Layer
from pipeline.quantum.matrices import z_signs


class UnitPhases:
    """exp(-iθ/2) of all angles: ``batched`` of shape (n_batched, B), ``shared`` of shape (n_shared, 1)."""

    def __init__(self, batched: np.ndarray, shared: np.ndarray | None, c_dtype: np.dtype) -> None:
        self.batched = _units(batched, c_dtype)
        self.shared = _units(shared[:, None], c_dtype) if shared is not None else None


class Phases:
    """One layer of kind ``phases`` on n wires.

    Attributes:
        key: Equal for layers of equal phases.
        is_shared: Whether no angle is a sample's own.
    """

    def __init__(self, layer: Layer, n_wires: int) -> None:
        self.key = tuple(sorted((wires, p.kind, p.index) for wires, p in layer.words))
        self.is_shared = all(p.kind == "shared" for _, p in layer.words)
        self._n_wires = n_wires
        self._single: dict[int, list[Any]] = {}
        self._longer = []
        signs = z_signs(n_wires)
        for wires, parameter in layer.words:
            if len(wires) == 1:
                self._single.setdefault(wires[0], []).append(parameter)
            else:
                self._longer.append((np.prod(signs[list(wires)], axis=0) < 0, parameter))
        self._index = {
            kind: np.array([p.index for _, p in layer.words if p.kind == kind], dtype=np.intp)
            for kind in ("batched", "shared")
        }
        self._signs = {
            kind: np.array([np.prod(signs[list(wires)], axis=0) for wires, p in layer.words if p.kind == kind]).reshape(
                -1, 2**n_wires
            )
            for kind in ("batched", "shared")
        }

    def diagonal(self, units: UnitPhases) -> np.ndarray:
        """The phases, of shape (2ⁿ, B), or (2ⁿ, 1) if all angles are shared."""
        result = None
        for wire in range(self._n_wires):
            if wire not in self._single:
                result = result if result is None else np.repeat(result, 2, axis=0)
                continue
            unit, *others = (_unit(units, p) for p in self._single[wire])
            for other in others:
                unit = unit * other
            pair = np.stack([unit, unit.conj()])
            if result is None:
                result = np.tile(pair, (2**wire, 1)) if wire else pair
            else:
                product = result[:, None] * pair
                result = product.reshape(-1, product.shape[-1])
        for negative, parameter in self._longer:
            unit = _unit(units, parameter)
            factor = np.stack([unit, unit.conj()])[negative.astype(np.intp)]
            result = factor if result is None else result * factor
        assert result is not None
        return result

    def slope(self, adjoint: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Im(λ* Φ) of states behind the layer, (2ⁿ, B), or its sum over the samples, (2ⁿ, 1), if they share all angles.

        Slopes of equal layers add up, wherever these stand: before samples differ and behind.
        """
        slope = (adjoint.conj() * states).imag
        return slope.sum(axis=1, keepdims=True) if self.is_shared else slope

    def add_gradient(self, slopes: np.ndarray, batched: np.ndarray, shared: np.ndarray) -> None:
        """Add the angles' gradients from the sum of the slopes."""
        for kind, target in (("batched", batched), ("shared", shared)):
            index = self._index[kind]
            if len(index):
                by_angle = self._signs[kind] @ slopes
                by_angle = by_angle if kind == "batched" else by_angle.sum(axis=1)
                if len(set(index.tolist())) == len(index):
                    target[index] += by_angle
                else:
                    np.add.at(target, index, by_angle)


def diagonals(layers: Sequence[Phases], units: UnitPhases | None) -> dict[Any, np.ndarray]:
    """The phases of each layer, by its key: equal layers share them."""
    found: dict[Any, np.ndarray] = {}
    for layer in layers:
        if layer.key not in found:
            assert units is not None
            found[layer.key] = layer.diagonal(units)
    return found


def _unit(units: UnitPhases, parameter: Any) -> np.ndarray:
    if parameter.kind == "batched":
        return units.batched[parameter.index]
    assert units.shared is not None
    return units.shared[parameter.index]


def _units(angles: np.ndarray, c_dtype: np.dtype) -> np.ndarray:
    half = angles * 0.5
    result = np.empty(angles.shape, dtype=c_dtype)
    result.real = np.cos(half)
    result.imag = -np.sin(half)
    return result
