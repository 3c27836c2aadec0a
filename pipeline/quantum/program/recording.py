"""A function of inputs and weights as the list of torch's calls in it, to be made again without the Python around them.

In: a function that spends its time elsewhere, as the tracing of a circuit does in PennyLane. Out: the same values and
gradients, for each shape, dtype and device of the inputs recorded once and compared with the function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pipeline.quantum.autograd import apart

Function = Callable[..., list[torch.Tensor]]
MAX_KEPT = 32
"""Recordings of one function; beyond that they start again."""


class _Slot(int):
    """The place of a tensor among the values of a recording."""

    def __repr__(self) -> str:
        return f"slot {int(self)}"


class Recorded:
    """A function that runs once, is recorded, and is then replaced by its recording where both agree.

    Args:
        function: Takes inputs (B, n_inputs) and weights (n_weights,), and returns a list of tensors.
        of_sample: The same of one sample, if ``function`` stacks the results of all samples.
    """

    def __init__(self, function: Function, of_sample: Function | None = None) -> None:
        self._function, self._of_sample = function, of_sample
        self._kept: dict[tuple[Any, ...], Function] = {}

    def __call__(self, inputs: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
        """The function's results, with torch's graph: to be called where gradients are enabled."""
        shape = inputs.shape[1:] if self._of_sample else inputs.shape
        key = (shape, inputs.dtype, weights.dtype, inputs.device)
        replacement = self._kept.get(key)
        if replacement is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            replacement = self._kept[key] = self._replacement(inputs, weights)
        return replacement(inputs, weights)

    def _replacement(self, inputs: torch.Tensor, weights: torch.Tensor) -> Function:
        """A recording at a random point that has the function's results at two others; else the function."""
        generator = torch.Generator().manual_seed(20)
        rows = (3, *inputs.shape[1:]) if self._of_sample else inputs.shape
        like = [(rows, inputs), (weights.shape, weights)]
        with apart():
            first, *others = (
                [
                    draw(shape, generator=generator).to(tensor.device, tensor.dtype).requires_grad_()
                    for shape, tensor in like
                ]
                for draw in (torch.randn, torch.randn, torch.rand)
            )
            try:
                if self._of_sample:
                    recording: Function = torch.vmap(Recording(self._of_sample, first[0][0], first[1]), (0, None))
                else:
                    recording = Recording(self._function, *first)
                for points in others:
                    for seen, expected in zip(recording(*points), self._function(*points), strict=True):
                        # Outside of the domain of a function both have the same NaN.
                        torch.testing.assert_close(seen, expected, rtol=1e-6, atol=1e-6, equal_nan=True)
            except Exception:  # Code of the circuit may do with tensors what no recording holds, and goes on as it is.
                return self._function
        return recording


class Recording:
    """What a function did with torch between its arguments and its results, when called with these arguments.

    Raises:
        NotImplementedError: If it changes tensors in place, or computes without gradients.
    """

    def __init__(self, function: Function, *arguments: torch.Tensor) -> None:
        with _Calls() as calls:
            results = function(*arguments)
        # All tensors are alive until here, so no two have the same id.
        slots = {id(argument): _Slot(k) for k, argument in enumerate(arguments)}
        self._n_values = len(arguments)
        steps: list[tuple[Any, Any, Any, dict[int | None, _Slot]]] = []
        made: dict[tuple[Any, str], dict[int | None, _Slot]] = {}
        for call, args, kwargs, found in calls.made:
            args, kwargs = _with_slots(args, slots), _with_slots(kwargs, slots)
            if not _slots_in((args, kwargs)) or (isinstance(found, torch.Tensor) and id(found) in slots):
                continue  # Its result is a constant, or an argument as it is.
            outputs = {None: found} if isinstance(found, torch.Tensor) else dict(enumerate(found))
            # The same call with the same arguments has the same results.
            key = call, repr((args, kwargs))
            if key not in made or "tensor(" in key[1] or "array(" in key[1]:
                made[key] = {k: _Slot(self._n_values + n) for n, k in enumerate(outputs)}
                self._n_values += len(outputs)
                steps.append((call, args, kwargs, made[key]))
            slots |= {id(tensor): made[key][k] for k, tensor in outputs.items()}
        self._returned = _with_slots(results, slots)
        needed, self._steps = _slots_in(self._returned), []
        for step in reversed(steps):
            if not needed.isdisjoint(step[-1].values()):
                needed |= _slots_in(step[1:3])
                self._steps.append(step)
        self._steps.reverse()

    def __call__(self, *arguments: torch.Tensor) -> list[torch.Tensor]:
        """The function's results for these arguments."""
        values: list[Any] = [*arguments, *[None] * (self._n_values - len(arguments))]
        for call, args, kwargs, places in self._steps:
            found = call(*_filled(args, values), **_filled(kwargs, values))
            for k, place in places.items():
                values[place] = found if k is None else found[k]
        return _filled(self._returned, values)


class _Calls(TorchFunctionMode):
    """Keeps all calls that give tensors, as (call, arguments, keyword arguments, tensor or sequence of tensors)."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name == "__iter__":
            return iter(self.__torch_function__(torch.unbind, types, args))
        in_place = name in ("__setitem__", "__set__", "__delete__") or (name.startswith("__i") and name != "__invert__")
        if in_place or kwargs.get("out") is not None or (name.endswith("_") and not name.endswith("__")):
            raise NotImplementedError(f"{name} changes a tensor")
        found = func(*args, **kwargs)
        parts = [found] if isinstance(found, torch.Tensor) else found if isinstance(found, (list, tuple)) else ()
        if parts and all(isinstance(part, torch.Tensor) for part in parts):
            if not torch.is_grad_enabled():
                raise NotImplementedError(f"{name} is called without gradients")
            self.made.append((func, args, kwargs, found))
        return found


def _with_slots(value: Any, slots: dict[int, _Slot]) -> Any:
    """A value with slots in place of the tensors that have one."""
    if isinstance(value, torch.Tensor):
        return slots.get(id(value), value)
    if type(value) in (list, tuple):
        return type(value)(_with_slots(part, slots) for part in value)
    if type(value) is dict:
        return {key: _with_slots(part, slots) for key, part in value.items()}
    return value


def _slots_in(value: Any) -> set[_Slot]:
    if type(value) in (list, tuple):
        return set().union(*(_slots_in(part) for part in value))
    if type(value) is dict:
        return _slots_in(list(value.values()))
    return {value} if type(value) is _Slot else set()


def _filled(value: Any, values: list[Any]) -> Any:
    """A value with tensors in place of their slots."""
    kind = type(value)
    if kind is _Slot:
        return values[value]
    if kind is tuple or kind is list:
        return kind([_filled(part, values) for part in value])
    if kind is dict:
        return {key: _filled(part, values) for key, part in value.items()} if value else value
    return value
