"""The arguments of a quantum function: its inputs, and weights of given shapes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from numbers import Integral
from typing import Any


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
