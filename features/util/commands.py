"""Commands: the first words of a command line select a configuration class and a function to run.

In: a table of :class:`Command`. Out: an exit code. A mistake of the user ends in one message, without a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from features.util.errors import InputError, did_you_mean, run_command
from features.util.flags import Flags, parse
from features.util.provenance import versions


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        about: One line for the list of commands.
        config: The class of its configuration, whose docstrings are its help page.
        run: The function. It imports heavy libraries itself, so that a mistyped flag need not wait for them.
        commands: Further commands below this one, by name.
    """

    about: str
    config: type[Flags]
    run: Callable[[Any], None]
    commands: Mapping[str, Command] = field(default_factory=dict)


@dataclass(frozen=True)
class Late:
    """A function that is imported when it is called.

    Attributes:
        name: ``module:function``.
    """

    name: str

    def __call__(self, argument: Any) -> Any:
        """Import and call it."""
        return resolve_name(self.name)(argument)


def main(command: Command, prog: str) -> int:
    """Run a program of one command with this process's arguments; return its exit code."""
    return run_command(lambda: _run(command, sys.argv[1:], prog))


def main_of_many(commands: Mapping[str, Command], prog: str, help_page: str) -> int:
    """Run the command that the first argument names; return its exit code.

    Args:
        commands: By name.
        prog: The program as it was typed.
        help_page: Printed by ``--help``, and where no argument is given.
    """

    def body() -> None:
        word, *words = sys.argv[1:] or ["--help"]
        if word in ("-h", "--help"):
            print(help_page)
        elif word == "--version":
            print_version()
        elif word in commands:
            _run(commands[word], words, f"{prog} {word}")
        else:
            raise _unknown(word, commands, prog)

    return run_command(body)


def print_version() -> None:
    """Print the versions of this project and of the libraries that results depend on."""
    found = dict(versions())
    own = found.pop("quantum-transfer")
    print(f"quantum-transfer {own} ({', '.join(f'{name} {version}' for name, version in found.items())})")


def _run(command: Command, words: list[str], prog: str) -> None:
    if words[:1] == ["--version"]:
        print_version()
    elif words and words[0] in command.commands:
        _run(command.commands[words[0]], words[1:], f"{prog} {words[0]}")
    elif words and command.commands and not words[0].startswith("-"):
        raise _unknown(words[0], command.commands, prog)
    else:
        command.run(parse(command.config, words, prog))


def _unknown(word: str, commands: Mapping[str, Command], prog: str) -> InputError:
    kind, names = ("flag", ["--help", "--version"]) if word.startswith("-") else ("command", list(commands))
    hint = did_you_mean(word, names) or f"; {prog} --help lists them"
    return InputError(f"there is no {kind} {word}{hint}")
