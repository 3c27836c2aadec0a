"""QNodes in pickles: by the name they have in their module, or, on Lightning, with a device to be made again.

A pickled function is a name to import. Behind ``@qml.qnode`` that name is the QNode, so the function inside can't be
pickled; nor can the device of a QNode on Lightning.
"""

from __future__ import annotations

import importlib
import pickle
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pennylane as qml


@dataclass(frozen=True)
class ByName:
    """A QNode of a module."""

    module: str
    name: str

    def restored(self) -> Any:
        """The QNode."""
        return _found(self.module, self.name)


@dataclass(frozen=True)
class OnLightning:
    """A QNode of an importable function on one of Lightning's devices."""

    function: Any
    device: str
    wires: tuple[Any, ...] | None
    c_dtype: Any
    options: dict[str, Any]

    def restored(self) -> Any:
        """A QNode like it."""
        device = qml.device(self.device, wires=self.wires, c_dtype=self.c_dtype)
        return qml.QNode(self.function, device, **self.options)


def portable(circuit: Any) -> Any:
    """What to pickle in place of a quantum function or QNode.

    Raises:
        pickle.PicklingError: If it is a QNode that no other process could find.
    """
    if not isinstance(circuit, qml.QNode):
        return circuit
    function, device = circuit.func, circuit.device
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    found = _found(module, name)
    if found is circuit:
        return ByName(module, name)
    if found is not None and found is not function:
        found = None
    if hasattr(function, "__qualname__") and found is None:
        raise pickle.PicklingError(
            f"the QNode {name} can't be pickled, because {module or 'its module'} has nothing of this name at its top "
            "level: define it there, or save the state_dict of what holds it"
        )
    if not device.name.startswith("lightning."):
        return circuit
    if has_transforms(circuit) or circuit.shots:
        raise pickle.PicklingError(
            f"the QNode {name} on {device.name} can't be pickled, because it has transforms or shots: "
            "make it with @qml.qnode at the top level of a module, or save the state_dict of what holds it"
        )
    options = {"interface": circuit.interface, "diff_method": circuit.diff_method, **circuit.execute_kwargs}
    options |= {"gradient_kwargs": dict(circuit.gradient_kwargs), "static_argnums": circuit.static_argnums}
    wires = None if device.wires is None else tuple(device.wires)
    return OnLightning(function, device.name, wires, device.c_dtype, options)


def restored(circuit: Any) -> Any:
    """The quantum function or QNode of what ``portable`` gave."""
    return circuit.restored() if isinstance(circuit, (ByName, OnLightning)) else circuit


def has_transforms(qnode: qml.QNode) -> bool:
    """Whether transforms change the QNode's circuit."""
    # Its name before PennyLane 0.45.
    name = "compile_pipeline" if hasattr(qnode, "compile_pipeline") else "transform_program"
    return len(getattr(qnode, name)) > 0


def _found(module: str, name: str) -> Any:
    try:
        return reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError):
        return None
