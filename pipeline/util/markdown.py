"""Text as people read it: Markdown tables whose columns line up also in a terminal, names and numbers in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table.

    Args:
        rows: Cells, the first row the heading.
        left: Columns that are aligned to the left, from the first; the others are aligned to the right.
    """
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.ljust(width) if column < left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rule = ["-" * width if column < left else f"{'-' * (width - 1)}:" for column, width in enumerate(widths)]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counted(number: int, noun: str) -> str:
    """A number of things: 1 wire, 4 wires."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
