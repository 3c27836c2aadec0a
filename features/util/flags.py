"""Flags of a command line: a frozen dataclass is a command's configuration, its checks and its help page.

In: such a class, and the words of a command line. Out: the configuration, or one error that lists every mistake.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from features.util.errors import InputError, did_you_mean, listing


class FlagError(InputError, ValueError):
    """Mistakes in a configuration; ``args`` holds a sentence for each."""

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else f"{len(self.args)} mistakes:\n{listing(self.args)}"


@dataclass(frozen=True)
class Bounds:
    """The range of a flag's numbers, as metadata of its type: ``Annotated[int, at_least(1)]``.

    Attributes:
        words: The range in words, to end a sentence: `1 or more`.
        hold: Whether a number lies in the range.
    """

    words: str
    hold: Callable[[Any], bool]


def at_least(least: int) -> Bounds:
    """``least`` or more, but finite."""
    return Bounds(f"{least} or more", lambda number: least <= number < math.inf)


def between(least: int, most: int) -> Bounds:
    """From ``least`` to ``most``, both included."""
    return Bounds(f"from {least} to {most}", lambda number: least <= number <= most)


POSITIVE = Bounds("more than 0", lambda number: 0 < number < math.inf)
SHARE = Bounds("more than 0 and less than 1", lambda number: 0 < number < 1)
FACTOR = Bounds("more than 0 and at most 1", lambda number: 0 < number <= 1)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Base of all configurations. Checks each value against its type: choices are ``Literal``, ranges ``Bounds``.

    Raises:
        FlagError: listing every mistake.
    """

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            raise FlagError(*problems)

    def problems(self) -> list[str]:
        """One sentence for each wrong value. Subclasses add rules over several flags."""
        return [
            problem
            for name, kind in _kinds(type(self)).items()  # type: ignore[arg-type]  # takes the class for an instance
            for problem in kind.problems(flag(name), getattr(self, name))
        ]


AnyFlags = TypeVar("AnyFlags", bound=Flags)


def parse(config: type[AnyFlags], words: list[str], prog: str, default: AnyFlags | None = None) -> AnyFlags:
    """Parse the words of a command line; ``--help`` prints the help page and exits.

    Args:
        config: The command's class.
        words: Everything behind the command's name.
        prog: The command as it was typed, for the help page.
        default: Values of the flags that are not given, instead of the class's own.

    Raises:
        FlagError: with every mistake in the words.
        SystemExit: after ``--help``.
    """
    import tyro

    if "--help" in words or "-h" in words:
        _unwrap_help(config)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            start = tyro.MISSING_NONPROP if default is None else default
            given = tyro.cli(config, prog=prog, args=words, default=start, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as end:
        if not end.code:
            raise
        mistakes = _mistakes(config, words, prog, default, tyro.conf.Positional)
        # tyro's own message, without its frame, for mistakes that only tyro finds.
        raise FlagError(*(mistakes or [" ".join(said.getvalue().translate(_FRAME).split())])) from None
    # tyro accepts a flag of many values without a single one.
    if any(not values and _takes_many(config, typed) for typed, values, _ in _grouped(words)[1]):
        raise FlagError(*_mistakes(config, words, prog, default, tyro.conf.Positional))
    return given


def flag(name: str) -> str:
    """The flag of a field: ``--name``."""
    return f"--{name.replace('_', '-')}"


def _unwrap_help(config: type[Flags]) -> None:
    """Give tyro each field's docstring in one line; by itself it keeps the line breaks of the source."""
    from docstring_parser import parse_from_object  # tyro depends on it

    texts: dict[str, str] = {}
    for base in reversed(config.__mro__[: config.__mro__.index(Flags)]):
        texts |= {doc.arg_name: " ".join((doc.description or "").split()) for doc in parse_from_object(base).params}
    for each in fields(config):
        each.metadata = MappingProxyType({"help": texts.get(each.name)})


_FRAME = dict.fromkeys(map(ord, "│╭╮╰╯─"))


@dataclass(frozen=True)
class _Kind:
    """A field's type, taken apart."""

    type: Any
    choices: tuple[Any, ...]
    many: bool
    required: bool
    metadata: tuple[Any, ...]

    @property
    def bounds(self) -> Bounds | None:
        return next((each for each in self.metadata if isinstance(each, Bounds)), None)

    @property
    def words(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        noun = {int: "a whole number", float: "a number", Path: "a path"}.get(self.type, "a text")
        return f"{noun}, {self.bounds.words}" if self.bounds else noun

    def read(self, text: str) -> Any:
        """Convert a word to its value; return the word itself where it can't be converted."""
        with contextlib.suppress(ValueError):
            return self.type(text) if self.type in (int, float, Path) else text
        return text

    def problems(self, name: str, value: Any) -> list[str]:
        """One sentence for each mistake in a field's value."""
        if value is None and not self.required:
            return []
        values = value if self.many else (value,)
        return [problem for each in values if (problem := self._problem(name, each))]

    def _problem(self, name: str, value: Any) -> str | None:
        is_, it = ("has", "each") if self.many else ("is", "it")
        if self.choices:
            hint = did_you_mean(str(value), self.choices)
            return None if value in self.choices else f"{name} {is_} {value!r}; choose {self.words}{hint}"
        number = {int: Integral, float: Real}.get(self.type)
        if number is not None and not isinstance(value, number):
            return f"{name} {is_} {value!r}; {it} must be {self.words}"
        if self.bounds and not self.bounds.hold(value):
            return f"{name} {is_} {value}; {it} must be {self.bounds.words}"
        return None


@cache
def _kinds(config: type[Flags]) -> dict[str, _Kind]:
    hints = get_type_hints(config, include_extras=True)
    return {
        each.name: _kind(hints[each.name], each.default is each.default_factory is MISSING) for each in fields(config)
    }


def _kind(hint: Any, required: bool) -> _Kind:
    metadata: tuple[Any, ...] = ()
    many = False
    while get_origin(hint) is not Literal and get_args(hint):
        metadata += hint.__metadata__ if get_origin(hint) is Annotated else ()
        many = many or get_origin(hint) is tuple
        hint = next(each for each in get_args(hint) if each is not NoneType)
    return _Kind(hint, get_args(hint), many, required, metadata)


def _takes_many(config: type[Flags], typed: str) -> bool:
    kinds = _kinds(config)  # type: ignore[arg-type]  # takes the class for an instance
    return any(kind.many and flag(name) == typed for name, kind in kinds.items())


def _mistakes(config: type[Flags], words: list[str], prog: str, default: Flags | None, positional: Any) -> list[str]:
    """A sentence for each mistake in words that tyro refuses."""
    kinds = _kinds(config)  # type: ignore[arg-type]  # takes the class for an instance
    places = {name: kind for name, kind in kinds.items() if positional in kind.metadata}
    flags = {flag(name): name for name in kinds if name not in places}
    alone, groups = _grouped(words)
    problems: list[str] = []
    given: dict[str, Any] = {}
    wrong: set[str] = set()
    for typed, values, attached in groups:
        name = flags.get(typed.replace("_", "-"), "")
        if not name and typed.lstrip("-") in places:
            problems.append(f"there is no flag {typed}; give {typed.lstrip('-').upper()} without it")
            alone.append(values)
            continue
        if not name:
            near = did_you_mean(typed.lstrip("-"), [known.lstrip("-") for known in flags])
            hint = near.replace("mean ", "mean --") or f"; {prog} --help lists them"
            problems.append(f"there is no flag {typed}{hint}")
            continue
        kind = kinds[name]
        room = 0 if kind.type is bool else len(values) if kind.many else 1
        taken, left = values[:room], values[room:]
        read = tuple(map(kind.read, taken))
        found = kind.problems(typed, read if kind.many else read[0]) if read else []
        if kind.type is not bool and not values:
            found.append(f"{typed} has no value; give {kind.words}")
        if left and places and not attached:
            alone.append(left)
        elif left:
            found.append(f"{typed} takes {'one' if room else 'no'} value; leave out {' '.join(left)}")
        problems += found
        if found:
            wrong.add(flag(name))
        else:
            given[name] = True if kind.type is bool else read if kind.many else read[0]
    placed, found = _placed(places, alone)
    further = [] if found else _further(config, default, given | placed, wrong)
    return [*problems, *found, *further]


def _grouped(words: list[str]) -> tuple[list[list[str]], list[tuple[str, list[str], bool]]]:
    """Split words into positional words and flags.

    Returns:
        The positional words, a list for each uninterrupted row; and for each flag its name, its values, and whether the
        value was given with ``=``.
    """
    alone: list[list[str]] = []
    groups: list[tuple[str, list[str], bool]] = []
    place: list[str] | None = None
    for index, word in enumerate(words):
        if word == "--":
            alone.append(words[index + 1 :])
            break
        if word.startswith("-") and not _is_number(word):
            typed, equals, value = word.partition("=")
            groups.append((typed, [value] if equals else [], bool(equals)))
            place = None if equals else groups[-1][1]
        else:
            if place is None:
                alone.append(place := [])
            place.append(word)
    return alone, groups


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _placed(places: dict[str, _Kind], rows: list[list[str]]) -> tuple[dict[str, Any], list[str]]:
    """Values of the positional fields, and the mistakes in them."""
    first, others = (rows[0] if rows else []), [word for row in rows[1:] for word in row]
    if not places:
        astray = " ".join(word for row in rows for word in row)
        return {}, [f"{astray} belongs to no flag; put its flag before it, or leave it out"] if astray else []
    [(name, kind)] = places.items()
    if not first:
        return {}, [f"no {name.upper()} is given; name one"] if kind.required else []
    if kind.many and others:
        return {}, [f"{' '.join(others)} stands apart from {' '.join(first)}; give them in one row"]
    if not kind.many and [*first[1:], *others]:
        return {}, [f"there is room for one {name.upper()}; leave out {' '.join([*first[1:], *others])}"]
    return {name: tuple(map(kind.read, first)) if kind.many else kind.read(first[0])}, []


def _further(config: type[Flags], default: Flags | None, given: dict[str, Any], wrong: set[str]) -> list[str]:
    """Mistakes in the values that could be read, except those of flags already reported."""
    try:
        config(**given) if default is None else replace(default, **given)
    except FlagError as error:
        return [problem for problem in error.args if not wrong.intersection(problem.replace(";", " ").split())]
    return []
