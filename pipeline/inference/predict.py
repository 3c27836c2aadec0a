"""``python -m pipeline predict``: classify pictures, or rows of features, and print a line for each.

In: files, and folders of any size. Out: a table, CSV or JSON on standard output; files that could not be read on
standard error. Pictures and lines are streamed, so memory does not grow with their number.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from features.sources.folder import EXTENSIONS, files_below
from features.util.errors import MAX_LISTED, InputError, listing
from pipeline.inference.config import PredictConfig

if TYPE_CHECKING:
    from pipeline.inference.hybrid import Prediction

Show = Callable[["Prediction"], None]


def predict(config: PredictConfig) -> None:
    """Classify pictures, or rows, and print the result of each. Unreadable files are skipped and listed at the end.

    Raises:
        InputError: if a file or folder is not there, before anything starts; at the end, if files could not be read.
    """
    total = 0 if config.features else _count(config.images)
    if isinstance(sys.stdout, TextIOWrapper):
        # Print file names that are not UTF-8 as their own bytes.
        sys.stdout.reconfigure(errors="surrogateescape")
    from tqdm import tqdm

    if config.features:
        from pipeline.inference.rows import RowClassifier

        rows = RowClassifier(config.run, config.epoch, config.features)
        total, classes, predictions = rows.total, rows.classes, rows.stream()
    else:
        from pipeline.inference.hybrid import HybridClassifier

        classifier = HybridClassifier.load(
            config.run, epoch=config.epoch, weights=config.weights, accept_other_weights=config.accept_other_weights
        )
        classes = classifier.classes
        predictions = classifier.stream(image_files(config.images), config.batch, config.workers)
    if config.top is not None and config.top > len(classes):
        raise InputError(f"--top is {config.top}, but the head knows {len(classes)} classes: {', '.join(classes)}")
    unread = 0
    problems: list[str] = []
    with (
        tqdm(total=total, unit="row" if config.features else "image", desc="predict", disable=None) as bar,
        _printer(config, classes, lambda line: bar.write(line, file=sys.stdout)) as show,
    ):
        for prediction in predictions:
            show(prediction)
            if prediction.problem is not None:
                unread += 1
                if len(problems) < MAX_LISTED:
                    problems.append(f"{prediction.path}: {prediction.problem}")
            bar.update()
    if unread:
        more = f"\n  … and {unread - len(problems)} more" if unread > len(problems) else ""
        raise InputError(
            f"{unread} of {total} files could not be read; the others are classified:\n{listing(problems)}{more}"
        )


def image_files(given: tuple[Path, ...]) -> Iterator[Path]:
    """The given files, whatever their names, and the images in the given folders at any depth."""
    for path in given:
        if path.is_dir():
            yield from (path / name for name in files_below(path) if name.lower().endswith(EXTENSIONS))
        else:
            yield path


def _count(given: tuple[Path, ...]) -> int:
    problems, total = [], 0
    for path in given:
        if not path.exists():
            problems.append(f"{path}: no such file or folder")
            continue
        inside = sum(1 for _ in image_files((path,)))
        total += inside
        if not inside:
            problems.append(f"{path}: no image in this folder ({', '.join(EXTENSIONS)})")
    if problems:
        raise InputError(f"these can't be classified:\n{listing(problems)}\nName image files, or folders of them.")
    return total


@contextmanager
def _printer(config: PredictConfig, classes: list[str], write: Callable[[str], None]) -> Iterator[Show]:
    """Select the function that prints one prediction as table, CSV or JSON."""
    if config.json:
        with _as_json(config.top, write) as show:
            yield show
    elif config.csv:
        yield _as_csv(config.top, classes, write)
    else:
        yield _as_table(config.top or 1, classes, write)


@contextmanager
def _as_json(top: int | None, write: Callable[[str], None]) -> Iterator[Show]:
    """Print one JSON array, closed even when Ctrl-C ends it early."""
    before: list[str] = []

    def show(prediction: Prediction) -> None:
        row: dict[str, object] = {"image": str(prediction.path)}
        if prediction.problem is not None:
            row["problem"] = prediction.problem
        else:
            pairs = prediction.top(top) if top else prediction.probabilities.items()
            row |= {"class": prediction.label, "probabilities": dict(pairs)}
        if before:
            write(f"{before.pop()},")
        before.append(f"  {json.dumps(row, ensure_ascii=False)}")

    write("[")
    try:
        yield show
    finally:
        if before:
            write(before.pop())
        write("]")


def _as_csv(top: int | None, classes: list[str], write: Callable[[str], None]) -> Show:
    class Lines:
        def write(self, line: str) -> None:
            write(line.removesuffix("\n"))

    table = csv.writer(Lines(), lineterminator="\n")
    ranks = [f"{name} {rank}" for rank in range(1, (top or 0) + 1) for name in ("class", "probability")]
    columns = ranks or ["class", *classes]
    table.writerow(["image", *columns, "problem"])

    def show(prediction: Prediction) -> None:
        if prediction.problem is not None:
            cells = [""] * len(columns)
        elif top:
            cells = [cell for label, value in prediction.top(top) for cell in (label, f"{value:.6f}")]
        else:
            cells = [str(prediction.label), *(f"{value:.6f}" for value in prediction.probabilities.values())]
        table.writerow([prediction.path, *cells, prediction.problem or ""])

    return show


def _as_table(top: int, classes: list[str], write: Callable[[str], None]) -> Show:
    width = max([len("class"), *(len(name) for name in classes)])
    title = f"{'class':{width}}  probability  "
    write(f"{title * top}image")

    def show(prediction: Prediction) -> None:
        if prediction.problem is None:
            cells = "".join(f"{label:{width}}  {value:11.4f}  " for label, value in prediction.top(top))
            write(f"{cells}{prediction.path}")

    return show
