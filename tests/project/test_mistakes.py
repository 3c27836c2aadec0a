"""Every way to get a flag wrong, for every flag of every command: one sentence that names it, and exit code 2."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro
from conftest import names_in

from features.util.flags import Bounds, Flags, _kinds, flag
from pipeline import cli

ALL = {**cli.COMMANDS, **{f"features {name}": each for name, each in cli.COMMANDS["features"].commands.items()}}
NUMBERS = {int: (-(10**9), -1, 0, 10**9), float: (-math.inf, -1e9, -1.0, 0.0, 1e9, math.inf, math.nan)}


def mistakes(config: type[Flags]) -> Iterator[tuple[list[str], str]]:
    """Words that a command must refuse, and how its sentence about them begins."""
    yield ["--no-such-flag", "3"], "there is no flag --no-such-flag"
    yield ["-Z"], "there is no flag -Z"
    for name, kind in _kinds(config).items():
        typed = flag(name)
        if tyro.conf.Positional in kind.metadata:
            continue
        if kind.type is bool:
            yield [f"{typed}=maybe"], f"{typed} takes no value; leave out maybe"
            continue
        yield [typed], f"{typed} has no value; give {kind.words}"
        if not kind.many:
            value = str(kind.choices[0] if kind.choices else 7)
            yield [typed, value, "further"], f"{typed} takes one value; leave out further"
        if kind.choices:
            yield [typed, "nonesuch"], f"{typed} {'has' if kind.many else 'is'} 'nonesuch'; choose one of "
        if kind.type in NUMBERS:
            must = f"'; {'each' if kind.many else 'it'} must be {kind.words}"
            yield [typed, "two"], f"{typed} {'has' if kind.many else 'is'} 'two{must}"
            if kind.type is int:
                yield [typed, "1.5"], f"{typed} {'has' if kind.many else 'is'} '1.5{must}"
            for number in outside(kind.bounds, kind.type):
                yield [f"{typed}={number}"], f"{typed} {'has' if kind.many else 'is'} {number}; "


def outside(bounds: Bounds | None, kind: Any) -> list[Any]:
    return [number for number in NUMBERS[kind] if bounds and not bounds.hold(number)]


@pytest.mark.parametrize("name", ALL)
def test_every_mistake_is_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ALL[name]
    known = [field for field, kind in _kinds(command.config).items() if tyro.conf.Positional in kind.metadata]
    places = ["a.file"] if known else []
    for words, sentence in mistakes(command.config):
        if places and words[-1] == "further":
            continue  # there it belongs to the place
        monkeypatch.setattr(sys, "argv", ["quantum-transfer", *name.split(), *places, *words])
        assert cli.main() == 2, words
        out, err = capsys.readouterr()
        assert out == ""
        said = [line.removeprefix("error: ").strip() for line in err.splitlines()]
        assert any(line.startswith(sentence) for line in said), (words, err)
        assert len(said) == 1 or said[0].endswith("mistakes:"), (words, err)
    assert names_in(tmp_path) == []


def test_every_number_has_bounds() -> None:
    unbounded = [
        f"{name} {flag(field)}"
        for name, command in ALL.items()
        for field, kind in _kinds(command.config).items()
        if kind.type in NUMBERS and kind.bounds is None
    ]
    assert unbounded == []
