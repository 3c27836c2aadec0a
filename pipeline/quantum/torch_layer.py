"""A drop-in for ``qml.qnn.TorchLayer`` that runs a whole batch at once.

In: a QNode with an argument ``inputs`` and weights by name. Out: a ``torch.nn.Module``, as PennyLane's in arguments,
parameters, ``state_dict`` and shapes of results.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import nn

from pipeline.quantum.autograd import NonFiniteError
from pipeline.quantum.compiled import CompiledCircuit
from pipeline.quantum.portable import portable, restored


class TorchLayer(qml.qnn.TorchLayer):
    """``qml.qnn.TorchLayer``, with all samples of a batch, and their gradients, in one pass.

    What the circuit takes from elsewhere is read at the first call. When it has changed, or needs a gradient, the layer
    runs as the ordinary QNode.

    Args:
        qnode: Takes ``inputs`` and weights by name, on any device of analytic expectation values. States have the
            precision of Lightning's ``c_dtype``, of other devices complex128.
        weight_shapes: Shape of each weight.
        init_method: A function of ``torch.nn.init``, or one such function or tensor a weight; uniform in [0, 2π] if
            None.

    Attributes:
        fallback_reason: Why the layer runs as an ordinary QNode; None where it doesn't, or before its first call.

    Raises:
        TypeError: If the QNode has no argument ``inputs``, or a variable number of arguments.
        ValueError: If a weight has no shape, or ``init_method`` a tensor of another shape.
    """

    def __init__(
        self,
        qnode: qml.QNode,
        weight_shapes: Mapping[str, Any],
        init_method: Callable[..., Any] | Mapping[str, Any] | None = None,
    ) -> None:
        self.__dict__ |= {"_compiled": {}, "_names": dict.fromkeys(weight_shapes)}
        super().__init__(qnode, dict(weight_shapes), init_method)

    @property
    def qnode_weights(self) -> dict[str, nn.Parameter]:
        """The weights by name: those registered, so that ``functional_call`` may put others in their place."""
        if self._parameters.keys() == self._names.keys():
            return self._parameters
        # torch.nn.utils keeps what it parametrises or prunes under other names.
        return {name: getattr(self, name) for name in self._names}

    @qnode_weights.setter
    def qnode_weights(self, weights: Mapping[str, Any]) -> None:
        # PennyLane's constructor starts with an empty dictionary of its own.
        self._parameters.update(weights)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "qnode":
            self.__dict__["_compiled"] = {}
        super().__setattr__(name, value)

    @property
    def fallback_reason(self) -> str | None:
        """See the class."""
        return next((c.fallback_reason for c in self._compiled.values() if c.fallback_reason), None)

    __repr__ = nn.Module.__repr__
    __str__ = nn.Module.__repr__

    def __getstate__(self) -> dict[str, Any]:
        # Compiled circuits trace themselves again anyway.
        return self.__dict__ | {"qnode": portable(self.qnode), "_compiled": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"qnode": restored(state["qnode"])})

    def __deepcopy__(self, memo: dict[int, Any]) -> TorchLayer:
        # The copy shares the QNode, so that this needs no name at a module's top level, as it does in a pickle.
        copied = memo[id(self)] = type(self).__new__(type(self))
        memo[id(self.qnode)] = self.qnode
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def extra_repr(self) -> str:
        """The circuit's name, its weights, and, after the first call, the simulator in use."""
        weights = ", ".join(f"{name}: {tuple(weight.shape)}" for name, weight in self.qnode_weights.items())
        simulators = {
            c.simulator if c.c_dtype == "complex128" else f"{c.simulator} in {c.c_dtype}"
            for c in self._compiled.values()
        }
        ran = f", simulator={'/'.join(sorted(simulators))}" if simulators else ""
        return f"{getattr(self.qnode.func, '__name__', type(self.qnode.func).__name__)}, {weights}{ran}"

    def _init_weights(self, weight_shapes: Mapping[str, tuple[int, ...]], init_method: Any) -> None:
        for name, shape in weight_shapes.items():
            init = init_method[name] if isinstance(init_method, Mapping) else init_method
            if init is None:
                init = partial(nn.init.uniform_, b=2 * math.pi)
            if isinstance(init, torch.Tensor):
                if tuple(init.shape) != shape:
                    raise ValueError(
                        f"init_method has a tensor of shape {tuple(init.shape)} for {name}; weight_shapes has {shape}"
                    )
                values = init
            else:
                values = init(torch.empty(shape)) if shape else init(torch.empty(1))[0]
            self.register_parameter(name, nn.Parameter(values))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Results of ``inputs`` of shape (n_inputs,), (B, n_inputs), or with more axes in front, as PennyLane's."""
        if inputs.ndim == 2:
            # PennyLane's own only reshapes, twice, to the shapes that these tensors have: a tenth of a small circuit.
            results = self._evaluate_qnode(inputs)
            return torch.stack(results) if isinstance(results, tuple) else results
        return super().forward(inputs)

    def _evaluate_qnode(self, x: torch.Tensor) -> Any:
        # torch.jit.trace, as for TensorBoard's graphs, records torch's operations alone.
        if not x.is_floating_point() or x.ndim not in (1, 2) or torch.jit.is_tracing():
            return self._by_qnode(x)
        key = (x.ndim, x.shape[-1])
        compiled, weights = self._compiled.get(key), self.qnode_weights
        if compiled is None:
            shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
            device = self.qnode.device
            c_dtype = np.dtype(device.c_dtype if device.name.startswith("lightning.") else complex).name
            qnode = self.qnode if self.input_arg == "inputs" else _with_inputs(self.qnode, self.input_arg)
            compiled = CompiledCircuit(qnode, shapes, x.shape[-1], c_dtype=c_dtype, rank=x.ndim)
            self._compiled[key] = compiled
        if compiled.fallback_reason is not None:
            return self._by_qnode(x)
        try:
            values = compiled(x if x.ndim == 2 else x[None], weights)
        except NonFiniteError:
            return self._by_qnode(x)  # PennyLane's layer lets NaN through, and loops of training look for it.
        program = compiled.program
        if x.ndim == 1:
            values = values[0]
        if program.container == "single":
            return values if program.measurements[0].kind == "probs" else values[..., 0]
        if program.container == "list" or len(program.measurements) == 1:
            return values
        return values.split([m.size for m in program.measurements], dim=-1)

    def _by_qnode(self, x: torch.Tensor) -> Any:
        # On the CPU, where default.qubit's states begin (pennylane#1290); PennyLane takes the weights to the inputs.
        found = super()._evaluate_qnode(x.cpu())
        return tuple(r.to(x.device) for r in found) if isinstance(found, tuple) else found.to(x.device)


def _with_inputs(qnode: qml.QNode, name: str) -> qml.QNode:
    """The QNode with its argument ``name`` called ``inputs``; ``TorchLayer.set_input_argument`` allows any name."""
    function = qnode.func

    def renamed(inputs: Any, **weights: Any) -> Any:
        return function(**{name: inputs}, **weights)

    renamed.__name__ = getattr(function, "__name__", type(function).__name__)
    qnode = copy.copy(qnode)
    qnode.func = renamed
    return qnode
