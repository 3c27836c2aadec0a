"""Convert dataclasses to JSON and back, so that records stay typed across modules."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

AnyRecord = TypeVar("AnyRecord")


def to_record(value: Any) -> Any:
    """Convert a value to what JSON can hold: dataclasses to objects, paths to text, tuples to lists, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_record(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {key: to_record(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_record(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_record(kind: type[AnyRecord], values: Any) -> AnyRecord:
    """Rebuild a dataclass from the output of :func:`to_record`. Unknown keys are ignored.

    Raises:
        KeyError: If a field without default is missing.
        TypeError: If a value is not of its field's type.
    """
    return _read(kind, values, kind.__name__)


def _read(hint: Any, value: Any, place: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        given = _as(dict, value, place)
        kind, hints = cast("type", hint), _hints(cast("type", hint))
        return kind(**{name: _read(hints[name], given[name], f"{place}.{name}") for name in _present(kind, given)})
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (wanted,) = (each for each in arguments if each is not NoneType)
        return _read(wanted, value, place)
    if origin is dict:
        return {key: _read(arguments[1], item, f"{place}.{key}") for key, item in _as(dict, value, place).items()}
    if origin in (list, tuple):
        return origin(_read(arguments[0], item, place) for item in _as(list, value, place))
    if origin is Literal:
        if value not in arguments:
            raise TypeError(f"{place} is {value!r}, none of {', '.join(map(str, arguments))}")
        return value
    if hint is Path:
        return Path(_as(str, value, place))
    return float(_as((int, float), value, place)) if hint is float else _as(hint, value, place)


def _present(kind: Any, given: dict[str, Any]) -> list[str]:
    """The names of the fields in ``given``. A field may be missing only if it has a default."""
    missing = [
        item.name
        for item in fields(kind)
        if item.name not in given and item.default is MISSING and item.default_factory is MISSING
    ]
    if missing:
        raise KeyError(f"{kind.__name__} has no {', '.join(missing)}")
    return [item.name for item in fields(kind) if item.name in given]


def _as(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{place} is {value!r}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
