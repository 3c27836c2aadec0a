"""Flags: what a configuration's types check, and the sentences for every mistake in a command line."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from features.util.flags import FACTOR, POSITIVE, SHARE, FlagError, Flags, at_least, between, parse

Count = Annotated[int, at_least(1)]


@dataclass(frozen=True, kw_only=True)
class Train(Flags):
    """A command with a flag of each kind."""

    qubits: Count = 4
    """Wires."""
    lr: Annotated[float, POSITIVE] = 0.1
    """Learning rate. Its description is two
    lines of the source, and one of the help."""
    lr_gamma: Annotated[float, FACTOR] = 0.1
    """Its factor."""
    split: Annotated[float, SHARE] | None = None
    """Share."""
    port: Annotated[int, between(1, 65535)] = 7860
    """Port."""
    entangler: Literal["chain", "ring", "none"] = "chain"
    """Entangler."""
    heads: tuple[Literal["quantum", "linear"], ...] = ("quantum", "linear")
    """Heads."""
    shots: tuple[Annotated[int, at_least(0)], ...] = ()
    """Shots."""
    out: Path = Path("out")
    """Folder."""
    note: str | None = None
    """Text."""
    json: bool = False
    """JSON."""
    csv: bool = False
    """CSV."""

    def problems(self) -> list[str]:
        both = ["--json and --csv exclude each other; give one"] if self.json and self.csv else []
        return [*super().problems(), *both]


@dataclass(frozen=True, kw_only=True)
class Show(Flags):
    """A command that takes files."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Pictures."""
    json: bool = False
    """JSON."""


@dataclass(frozen=True, kw_only=True)
class Check(Flags):
    """A command that needs a file."""

    file: Annotated[Path, tyro.conf.Positional]
    """The file."""
    json: bool = False
    """JSON."""


def mistakes(config: type[Flags], line: str) -> list[str]:
    with pytest.raises(FlagError) as caught:
        parse(config, line.split(), "prog")
    return list(caught.value.args)


def test_good_words_give_the_configuration() -> None:
    line = "--qubits 6 --lr=1e-3 --heads linear quantum --shots 0 100 --out a/b --note None --json --lr_gamma 1"
    assert parse(Train, line.split(), "prog") == Train(
        qubits=6, lr=1e-3, heads=("linear", "quantum"), shots=(0, 100), out=Path("a/b"), json=True, lr_gamma=1.0
    )
    assert parse(Show, ["a.jpg", "b.jpg", "--json"], "prog") == Show(images=(Path("a.jpg"), Path("b.jpg")), json=True)
    assert parse(Show, ["--json", "--", "-x.jpg"], "prog") == Show(images=(Path("-x.jpg"),), json=True)


def test_what_is_not_given_comes_from_the_default() -> None:
    recorded = Train(qubits=6, json=True)
    assert parse(Train, ["--lr", "1"], "prog", recorded) == Train(qubits=6, json=True, lr=1.0)
    with pytest.raises(FlagError, match="--json and --csv exclude each other"):
        parse(Train, ["--csv"], "prog", recorded)
    with pytest.raises(FlagError) as caught:
        parse(Train, ["--csv", "--lr", "fast"], "prog", recorded)
    assert [sentence.split(" ")[0] for sentence in caught.value.args] == ["--lr", "--json"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--qubits two", "--qubits is 'two'; it must be a whole number, 1 or more"),
        ("--qubits=1.5", "--qubits is '1.5'; it must be a whole number, 1 or more"),
        ("--qubits 0", "--qubits is 0; it must be 1 or more"),
        ("--qubits -3", "--qubits is -3; it must be 1 or more"),
        ("--qubits", "--qubits has no value; give a whole number, 1 or more"),
        ("--qubits --json", "--qubits has no value; give a whole number, 1 or more"),
        ("--qubits 4 5", "--qubits takes one value; leave out 5"),
        ("--qbits 6", "there is no flag --qbits (did you mean --qubits?)"),
        ("--frobnicate 6", "there is no flag --frobnicate; prog --help lists them"),
        ("-q 6", "there is no flag -q; prog --help lists them"),
        ("--lr fast", "--lr is 'fast'; it must be a number, more than 0"),
        ("--lr nan", "--lr is nan; it must be more than 0"),
        ("--lr inf", "--lr is inf; it must be more than 0"),
        ("--lr-gamma 1.1", "--lr-gamma is 1.1; it must be more than 0 and at most 1"),
        ("--split 1", "--split is 1.0; it must be more than 0 and less than 1"),
        ("--port 70000", "--port is 70000; it must be from 1 to 65535"),
        ("--entangler chian", "--entangler is 'chian'; choose one of chain, ring, none (did you mean chain?)"),
        ("--entangler", "--entangler has no value; give one of chain, ring, none"),
        ("--heads quantom", "--heads has 'quantom'; choose one of quantum, linear (did you mean quantum?)"),
        ("--shots 5 few", "--shots has 'few'; each must be a whole number, 0 or more"),
        ("--out", "--out has no value; give a path"),
        ("--json yes", "--json takes no value; leave out yes"),
        ("--json=yes", "--json takes no value; leave out yes"),
        ("here --json", "here belongs to no flag; put its flag before it, or leave it out"),
        ("--json --csv", "--json and --csv exclude each other; give one"),
    ],
)
def test_every_mistake_is_one_sentence(line: str, sentence: str) -> None:
    assert mistakes(Train, line) == [sentence]


def test_all_mistakes_are_listed() -> None:
    line = "--qubits two --depht 3 --lr -1 --shots x -1 --json --csv --heads linear"
    found = mistakes(Train, line)
    assert found == [
        "--qubits is 'two'; it must be a whole number, 1 or more",
        "there is no flag --depht; prog --help lists them",
        "--lr is -1.0; it must be more than 0",
        "--shots has 'x'; each must be a whole number, 0 or more",
        "--shots has -1; each must be 0 or more",
        "--json and --csv exclude each other; give one",
    ]
    assert str(FlagError(*found)).startswith("6 mistakes:\n  --qubits is 'two'; it must")


@pytest.mark.parametrize(
    ("config", "line", "sentence"),
    [
        (Show, "a.jpg --json b.jpg c.jpg", "b.jpg c.jpg stands apart from a.jpg; give them in one row"),
        (Show, "a.jpg --jsn", "there is no flag --jsn (did you mean --json?)"),
        (Check, "", "no FILE is given; name one"),
        (Check, "--file a", "there is no flag --file; give FILE without it"),
        (Check, "a b", "there is room for one FILE; leave out b"),
    ],
)
def test_mistakes_among_files(config: type[Flags], line: str, sentence: str) -> None:
    assert mistakes(config, line) == [sentence]


def test_the_same_checks_hold_in_python() -> None:
    with pytest.raises(ValueError, match=r"^--qubits is 4\.0; it must be a whole number, 1 or more$"):
        Train(qubits=4.0)  # type: ignore[arg-type]
    with pytest.raises(FlagError) as caught:
        Train(qubits=0, entangler="chian", heads=("linear", "quantom"))  # type: ignore[arg-type]
    assert [sentence.split(";")[0] for sentence in caught.value.args] == [
        "--qubits is 0",
        "--entangler is 'chian'",
        "--heads has 'quantom'",
    ]
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_help_is_wrapped_by_the_terminal_and_not_by_the_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit):
        parse(Train, ["--help"], "prog train")
    assert "Learning rate. Its description is two lines of the source, and one of the help." in capsys.readouterr().out


def test_help_is_printed_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(Train, ["--help"], "prog train")
    assert caught.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "usage: prog train" in said.out
    assert "--entangler {chain,ring,none}" in said.out
