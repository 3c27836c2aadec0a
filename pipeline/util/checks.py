"""Checks of the values that flags were given, a sentence for each that is wrong."""

from __future__ import annotations

from difflib import get_close_matches


def below(config: object, **least: int) -> list[str]:
    """A sentence for each field that is less than its least value."""
    return [
        f"{flag(name)} is {getattr(config, name)}; it must be {bound} or more"
        for name, bound in least.items()
        if getattr(config, name) < bound
    ]


def not_among(config: object, **choices: tuple[str, ...]) -> list[str]:
    """A sentence for each field that is none of its choices, with the nearest of them."""
    problems = []
    for name, allowed in choices.items():
        given = getattr(config, name)
        if given not in allowed:
            near = get_close_matches(given, allowed, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            problems.append(f"{flag(name)} is {given!r}; choose one of {', '.join(allowed)}{hint}")
    return problems


def flag(name: str) -> str:
    """A field's name as it is typed."""
    return f"--{name.replace('_', '-')}"
