"""Forms of output of ``predict``, and the file that goes on where a stopped command left it.

In: predictions, one by one. Out: the text of a table, CSV or JSON; and a :class:`ResultFile`, whose finished rows
outlive a kill at any moment. Until all are there they stand in ``.NAME.part`` beside the file, and what they are rows
of in ``.NAME.begun``; then the file takes its name.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from features.cache.partfile import unfinished
from features.util.errors import MAX_LISTED, InputError, listing
from features.util.files import sync_folder, write_text
from pipeline.inference.config import PredictConfig

if TYPE_CHECKING:
    from pipeline.inference.hybrid import Prediction


class Form:
    """A form of output: the text before the rows, of each row, and behind them.

    Attributes:
        begin: The text before the rows.
    """

    begin: str

    def row(self, prediction: Prediction) -> str:
        """The text to write when this prediction comes."""
        raise NotImplementedError

    def end(self) -> str:
        """The text to write when no more come."""
        return ""

    def read(self, lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
        """The picture of each row, and why it could not be read, from whole lines behind ``begin``; ends at the first
        that is no row."""
        raise NotImplementedError


class Json(Form):
    """One array, an object a line."""

    begin = "[\n"

    def __init__(self, top: int | None) -> None:
        self._top = top
        # The row that waits for the next one, before which a comma stands.
        self._held = ""

    def row(self, prediction: Prediction) -> str:
        """The row before, with its comma."""
        values: dict[str, object] = {"image": str(prediction.path)}
        if prediction.problem is not None:
            values["problem"] = prediction.problem
        else:
            pairs = prediction.top(self._top) if self._top else prediction.probabilities.items()
            values |= {"class": prediction.label, "probabilities": dict(pairs)}
        before, self._held = self._held, f"  {json.dumps(values, ensure_ascii=False)}"
        return f"{before},\n" if before else ""

    def end(self) -> str:
        """The last row and the end of the array."""
        return f"{self._held}\n]\n" if self._held else "]\n"

    def read(self, lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
        """As in :class:`Form`; the last row of a finished array, which has no comma, is none."""
        for line in lines:
            if not line.endswith(",\n"):
                return
            values = json.loads(line[:-2])
            yield values["image"], values.get("problem")


class Csv(Form):
    """A column a class, or two for each of the ``top`` most probable."""

    def __init__(self, top: int | None, classes: list[str]) -> None:
        self._top = top
        ranks = [f"{name} {rank}" for rank in range(1, (top or 0) + 1) for name in ("class", "probability")]
        self._columns = ranks or ["class", *classes]
        self.begin = _csv_line(["image", *self._columns, "problem"])

    def row(self, prediction: Prediction) -> str:
        """Its line."""
        if prediction.problem is not None:
            cells = [""] * len(self._columns)
        elif self._top:
            cells = [cell for label, value in prediction.top(self._top) for cell in (label, f"{value:.6f}")]
        else:
            cells = [str(prediction.label), *(f"{value:.6f}" for value in prediction.probabilities.values())]
        return _csv_line([str(prediction.path), *cells, prediction.problem or ""])

    def read(self, lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
        """As in :class:`Form`; a name may hold line breaks, so that a row has several lines."""
        for cells in csv.reader(lines, strict=True):
            if len(cells) != len(self._columns) + 2:
                return
            yield cells[0], cells[-1] or None


class Table(Form):
    """Columns of equal width, for people; pictures that could not be read are left out."""

    def __init__(self, top: int, classes: list[str]) -> None:
        self._top = top
        self._width = max([len("class"), *(len(name) for name in classes)])
        title = f"{'class':{self._width}}  probability  "
        self.begin = f"{title * top}image\n"

    def row(self, prediction: Prediction) -> str:
        """Its line."""
        if prediction.problem is not None:
            return ""
        pairs = prediction.top(self._top)
        cells = "".join(f"{label:{self._width}}  {value:11.4f}  " for label, value in pairs)
        return f"{cells}{prediction.path}\n"


def form_of(config: PredictConfig, classes: list[str]) -> Form:
    """The form that was asked for."""
    if config.json:
        return Json(config.top)
    return Csv(config.top, classes) if config.csv else Table(config.top or 1, classes)


class Unread:
    """The files that could not be read: how many, and the first of them with the reasons."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, path: object, reason: str) -> None:
        """One more."""
        self.count += 1
        if len(self._first) < MAX_LISTED:
            self._first.append(f"{path}: {reason}")

    def clear(self) -> None:
        """None after all."""
        self.count = 0
        self._first.clear()

    def report(self, total: int) -> None:
        """Raise an InputError that lists them, if there are any."""
        if self.count:
            more = f"\n  … and {self.count - len(self._first)} more" if self.count > len(self._first) else ""
            raise InputError(
                f"{self.count} of {total} files could not be read; the others are classified:\n"
                f"{listing(self._first)}{more}"
            )


class ResultFile:
    """A file of predictions that is made over several commands, if need be. To be used under :func:`locked`.

    Args:
        path: The file.
        form: Its form.
        record: All that its rows depend on but the pictures, as JSON: another record is another file.
        force: Begin again where unfinished rows are of another file.

    Attributes:
        kept: Rows that an earlier command finished.

    Raises:
        InputError: if unfinished rows of another file would be lost.
    """

    def __init__(self, path: Path, form: Form, record: Mapping[str, Any], *, force: bool) -> None:
        self.path, self.kept = path, 0
        self._part, self._begun = unfinished(path), path.with_name(f".{path.name}.begun")
        self._form, self._force = form, force
        self._record = json.loads(json.dumps({**record, "force": force}))
        self._size = 0
        self._goes_on = self._same_as_begun()

    def take_up(self, images: Iterable[tuple[Path, bool | None]], unread: Unread) -> None:
        """Read the rows that an earlier command finished.

        Args:
            images: All pictures in order, and whether each is as it was; None where that is not known: from there on
                all are classified again.
            unread: Takes those of these rows that could not be read.

        Raises:
            InputError: if the rows are not those of the first of these pictures.
        """
        if not (self._goes_on and self._part.exists()):
            return
        position = 0
        with self._part.open("rb") as file:

            def whole_lines() -> Iterator[str]:
                nonlocal position
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    position += len(line)
                    yield line.decode("utf-8", "surrogateescape")

            lines = whole_lines()
            if "".join(islice(lines, self._form.begin.count("\n"))) != self._form.begin:
                return
            self._size = position
            rows, pictures = self._form.read(lines), iter(images)
            while (row := _next_row(rows)) is not None:
                image, problem = row
                now, same = next(pictures, (None, True))
                if same is None:
                    return
                changed = "which has changed" if str(now) == image else f"where {now or 'no picture'} is now"
                same = same and str(now) == image
                if not same and self._force:
                    self.kept = self._size = 0
                    unread.clear()
                    return
                if not same:
                    raise InputError(
                        f"the pictures have changed since {self.path} was begun: row {self.kept + 1} is of {image}, "
                        f"{changed}. Nothing was changed; --force begins again"
                    )
                self.kept, self._size = self.kept + 1, position
                if problem is not None:
                    unread.add(image, problem)

    @contextmanager
    def writer(self) -> Iterator[Callable[[Prediction], None]]:
        """A function that writes a prediction; the file takes its name when the block ends without an error."""
        if not self._size:
            self._part.unlink(missing_ok=True)
            write_text(self._begun, json.dumps(self._record, ensure_ascii=False, indent=2) + "\n")
        # Without a buffer, so that a finished row is in the file.
        with self._part.open("ab", buffering=0) as file:
            file.truncate(self._size)
            if not self._size:
                _write(file, self._form.begin)
            yield lambda prediction: _write(file, self._form.row(prediction))
            _write(file, self._form.end())
            os.fsync(file.fileno())
        self._part.replace(self.path)
        self._begun.unlink()
        sync_folder(self.path.parent)

    def _same_as_begun(self) -> bool:
        """Whether the unfinished rows, if there are any, are of this file."""
        try:
            there = json.loads(self._begun.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        differing = [
            f"{name}: {_short(there.get(name))} there, {_short(self._record[name])} now"
            for name in self._record
            if name != "force" and there.get(name) != self._record[name]
        ]
        if differing and not self._force:
            raise InputError(
                f"{self.path} was begun by another command, whose rows are in {self._part}:\n{listing(differing)}\n"
                "Nothing was changed. Give the command as it was, another --out, or --force to begin again"
            )
        # The same command goes on where it was, also one with --force.
        return not differing and (there["force"] or not self._force)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise an InputError if a finished file would be replaced, or no file can be there."""
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"would lie in {path.parent}, which is no folder"
        raise InputError(f"--out {path} {what}; name a file in a folder that is there")
    if path.exists() and not force:
        raise InputError(f"{path} is there already; name another --out, or replace it with --force")


def _next_row(rows: Iterator[tuple[str, str | None]]) -> tuple[str, str | None] | None:
    """The next whole row; None where there is none, or it was half written."""
    try:
        return next(rows, None)
    except (ValueError, KeyError, TypeError, csv.Error):
        return None


def _csv_line(cells: list[str]) -> str:
    line = StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _encoded(text: str) -> bytes:
    """A text as bytes; file names that are not UTF-8 as their own."""
    return text.encode("utf-8", "surrogateescape")


def _write(file: BinaryIO, text: str) -> None:
    content = _encoded(text)
    while content:
        content = content[file.write(content) :]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:150]}…{text[-150:]}"
