"""One grammar for all commands: what each prints for a mistake, its exit code, and that nothing heavy is waited for."""

from __future__ import annotations

import re
import subprocess
import sys
from pkgutil import resolve_name
from typing import get_type_hints

import pytest
from conftest import ROOT, names_in

from features.util.commands import Command, Late
from features.util.flags import Flags
from pipeline import cli

ALL = {**cli.COMMANDS, **{f"features {name}": each for name, each in cli.COMMANDS["features"].commands.items()}}


def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["quantum-transfer", *line.split()])
    try:
        code = cli.main()
    except SystemExit as end:  # after --help
        code = int(end.code or 0)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("command", ALL.values(), ids=ALL)
def test_a_command_runs_with_its_own_configuration(command: Command) -> None:
    assert issubclass(command.config, Flags)
    run = resolve_name(command.run.name) if isinstance(command.run, Late) else command.run
    assert get_type_hints(run)["config"] is command.config


@pytest.mark.parametrize("name", ALL)
def test_every_command_guesses_a_mistyped_flag(name: str, monkeypatch, capsys) -> None:
    known = list(ALL[name].config.__dataclass_fields__)[-1].replace("_", "-")
    code, out, err = called(monkeypatch, capsys, f"{name} --{known}x")
    assert (code, out) == (2, "")
    assert re.search(rf"^(error: |  )there is no flag --{known}x \(did you mean --.+\?\)$", err, re.MULTILINE)


@pytest.mark.parametrize("name", ALL)
def test_every_command_explains_every_flag(name: str, monkeypatch, capsys) -> None:
    code, out, err = called(monkeypatch, capsys, f"{name} --help")
    assert (code, err) == (0, "")
    assert f"usage: quantum-transfer {name} " in out
    for field in ALL[name].config.__dataclass_fields__:
        assert field.upper() in out or f"--{field.replace('_', '-')}" in out


def test_mistakes_are_sentences(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for line, said in (
        ("trian", "error: there is no command trian (did you mean train?)\n"),
        ("--verion", "error: there is no flag --verion (did you mean --version?)\n"),
        ("features verfy x", "error: there is no command verfy (did you mean verify?)\n"),
        ("train --qubits two", "error: --qubits is 'two'; it must be a whole number, 1 or more\n"),
        ("sweep --trials 0", "error: --trials is 0; it must be 1 or more\n"),
        ("demo --port 70000", "error: --port is 70000; it must be from 1 to 65535\n"),
        ("export --epoch first", "error: --epoch is 'first'; choose one of last, best\n"),
        ("features --device gpu", "error: --device is 'gpu'; choose one of auto, cpu, cuda (did you mean cpu?)\n"),
        ("train --entangler chian --epochs 0", "error: 2 mistakes:\n"
         "  --entangler is 'chian'; choose one of chain, ring, none (did you mean chain?)\n"
         "  --epochs is 0; it must be 1 or more\n"),
    ):  # fmt: skip
        assert called(monkeypatch, capsys, line) == (2, "", said)
    assert names_in(tmp_path) == []


def test_the_help_page_teaches(monkeypatch, capsys) -> None:
    for line in ("", "--help", "-h"):
        code, out, err = called(monkeypatch, capsys, line)
        assert (code, err) == (0, "")
        for name in cli.COMMANDS:
            assert re.search(rf"^  {name} +\S", out, re.MULTILINE)
        assert "quantum-transfer features --offline\n" in out


def test_the_version(monkeypatch, capsys) -> None:
    for line in ("--version", "train --version"):
        code, out, err = called(monkeypatch, capsys, line)
        assert (code, err) == (0, "")
        assert re.fullmatch(r"quantum-transfer \d+\.\d+\.\d+ \(python .+, torch .+, pennylane .+\)\n", out)


def test_no_mistake_waits_for_torch() -> None:
    code = (
        "import sys; from pipeline.cli import main, COMMANDS\n"
        "for name in COMMANDS:\n"
        "    sys.argv = ['quantum-transfer', name, '--no-such-flag']; assert main() == 2\n"
        "sys.argv = ['quantum-transfer', '--version']; assert main() == 0\n"
        "heavy = {'torch', 'pennylane', 'numpy', 'h5py', 'PIL'} & set(sys.modules); assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_circuit_that_memory_can_not_hold_is_a_mistake(monkeypatch, capsys) -> None:
    code, _, err = called(monkeypatch, capsys, "heads --qubits 30")
    assert code == 2
    assert re.fullmatch(r"error: --qubits is 30: --simulator dense would take about [\d,]+ GiB, and this .+\n", err)
