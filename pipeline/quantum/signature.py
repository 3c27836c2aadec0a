"""What a quantum function takes, its inputs and weights of given shapes, and what else it reads."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterable
from functools import partial
from numbers import Integral, Number
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn

MOST_COMPARED = 4096
"""Numbers in a container up to which it is compared itself; a larger one by its identity."""
_PLAIN = (Number, str, type(None), np.ndarray, torch.Tensor, list, tuple, dict)
_LIBRARIES = {"pennylane", "torch", "numpy", "scipy", "autoray", *sys.stdlib_module_names}


def weight_shape(size: int | Iterable[int]) -> tuple[int, ...]:
    """A weight's shape as PennyLane's ``TorchLayer`` reads it: n is (n,), but 1 is a scalar.

    Raises:
        ValueError: If it is no shape.
    """
    sizes = tuple(size) if isinstance(size, Iterable) else () if size == 1 else (size,)
    if not all(isinstance(length, Integral) for length in sizes):
        raise ValueError(f"weight_shapes has {size!r}; a shape is a number or a tuple of numbers, like 6 or (3, 4)")
    return sizes


def check_signature(name: str, function: Callable[..., Any], given: Collection[str]) -> None:
    """Refuse a function that does not take ``inputs`` and what is given, or needs more.

    Raises:
        ValueError: If it is so.
    """
    parameters = inspect.signature(function).parameters
    # A parameter with a default (also by functools.partial) needs no weight.
    required = {key for key, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = {"inputs", *given}
    if "inputs" not in parameters or not (open_ended or known <= set(parameters)) or required - known:
        raise ValueError(
            f"the circuit {name} takes ({', '.join(parameters)}); it must take inputs and the weights that "
            f"weight_shapes names, which are {', '.join(given) or 'none'}"
        )


class Reads:
    """Values that a function reads beside its arguments, as they are now: globals, closures, attributes of objects.

    A compiled circuit goes on with them, so it must notice when they change. ``torch.compile`` guards them likewise.
    What lies deeper, in objects inside of objects, is not seen.

    Args:
        function: A function, method, ``functools.partial`` of one, or object with ``__call__``.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._values: list[tuple[str, Callable[[], Any], Any, Any]] = []
        self._known: set[int] = set()
        while isinstance(function, partial):
            function = function.func
        owner = getattr(function, "__self__", None if isinstance(function, FunctionType) else function)
        function = getattr(function, "__func__", function)
        self._add_function(function if isinstance(function, FunctionType) else type(function).__call__, owner)

    def change(self) -> str | None:
        """The first of them that has changed, in words; None where none has."""
        for name, read, before, state in self._values:
            now = read()
            # Almost always it is the very same number.
            if now is before if state is None else _state(now) == state:
                continue
            if state is not None or _state(now) != _state(before):
                values = f", from {before} to {now}" if isinstance(now, Number) and isinstance(before, Number) else ""
                return f"{name}, which it reads, has changed since its first call{values}; make it an input or a weight"
        return None

    def _add_function(self, function: Any, owner: Any = None) -> None:
        if not isinstance(function, FunctionType) or id(function) in self._known:
            return
        self._known.add(id(function))
        names = _names(function.__code__)
        if owner is not None:
            self._add_attributes(function.__code__.co_varnames[0], owner, names)
        for name in names & function.__globals__.keys():
            self._add(name, partial(function.__globals__.get, name), names)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._add(name, partial(getattr, cell, "cell_contents", None), names)

    def _add(self, name: str, read: Callable[[], Any], names: set[str]) -> None:
        value = read()
        if isinstance(value, _PLAIN):
            self._remember(name, read)
        elif not isinstance(value, FunctionType):
            self._add_attributes(name, value, names)
        elif (value.__module__ or "").partition(".")[0] not in _LIBRARIES:
            self._add_function(value)

    def _add_attributes(self, name: str, holder: Any, names: set[str]) -> None:
        tables = [getattr(holder, "__dict__", {}), holder._buffers if isinstance(holder, nn.Module) else {}]
        for table in tables:
            for attribute in names & table.keys():
                read = partial(table.get, attribute)
                if isinstance(read(), FunctionType):
                    self._add(attribute, read, names)
                elif isinstance(read(), _PLAIN):
                    self._remember(f"{name}.{attribute}", read)

    def _remember(self, name: str, read: Callable[[], Any]) -> None:
        value = read()
        is_constant = isinstance(value, (Number, str, type(None)))
        self._values.append((name, read, value, None if is_constant else _state(value)))


def _names(code: CodeType) -> set[str]:
    """Names that code and the functions inside of it look up: globals and attributes."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def _state(value: Any) -> Any:
    """What differs when the value does."""
    if isinstance(value, torch.Tensor):
        return id(value), 0 if value.is_inference() else value._version
    if isinstance(value, np.ndarray) and value.size <= MOST_COMPARED:
        return value.shape, value.tobytes()
    if isinstance(value, (list, tuple)) and len(value) <= MOST_COMPARED:
        return [_state(one) for one in value]
    if isinstance(value, dict) and len(value) <= MOST_COMPARED:
        return [(key, _state(one)) for key, one in value.items()]
    # NaN is unequal to itself.
    return value if isinstance(value, (Number, str)) and value == value else id(value)
