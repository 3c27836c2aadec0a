"""``python -m pipeline predict``: classify pictures, or rows of features, and print a line for each.

In: files, and folders of any size. Out: a table, CSV or JSON on standard output, or in a file, with which a stopped
command goes on where it was; files that could not be read on standard error. Pictures and lines are streamed, so memory
does not grow with their number.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from features.cache.partfile import locked, unfinished
from features.sources.folder import EXTENSIONS, files_below, is_image
from features.util.errors import InputError, listing
from features.util.provenance import versions
from pipeline.inference.config import FEATURES, FOLDER, PredictConfig
from pipeline.inference.prediction.output import Form, ResultFile, Unread, form_of, refuse_existing
from pipeline.inference.prediction.stamps import Stamps

if TYPE_CHECKING:
    from features.backbone.runtime import Runtime
    from pipeline.inference.hybrid import HybridClassifier, Prediction
    from pipeline.inference.prediction.judged import Judge

# Preparing ONNX Runtime takes the time in which torch classifies some hundred pictures.
WORTH_PREPARING = 256


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be classified.

    Attributes:
        classes: Class names, in the order of the logits.
        total: The number of ``things``.
        things: What they are called.
        record: Gives all that their predictions depend on but their contents, as JSON.
        names: Yields their names.
        stream: Yields their predictions from one of them on.
        stamps: Those of the pictures, where a file of predictions is made.
        own_labels: Gives the class of each, where they bring their own.
    """

    classes: list[str]
    total: int
    things: str
    record: Callable[[], dict[str, Any]]
    names: Callable[[], Iterable[Path]]
    stream: Callable[[int], Iterator[Prediction]]
    stamps: Stamps | None = None
    own_labels: Callable[[], Sequence[str]] | None = None


def predict(config: PredictConfig) -> None:
    """Classify pictures, or rows, and print the result of each, or write it to a file. Unreadable files are skipped and
    listed at the end.

    Raises:
        InputError: if a file or folder is not there, before anything starts; at the end, if files could not be read.
    """
    unread = Unread()
    if config.out is None:
        work, form = _begin(config)
        judge = _judge(config, work)
        if isinstance(sys.stdout, TextIOWrapper):
            # Print file names that are not UTF-8 as their own bytes.
            sys.stdout.reconfigure(errors="surrogateescape")
        with judge.taking(0) if judge else nullcontext() as take:
            with _bar(work, 0) as bar, _printer(form, bar) as show:
                _classify(work, 0, show, unread, bar, take)
            judged = judge.judged() if judge else None
            if judged:
                # What programs read stays as it is.
                print(judged.text(work.things), file=sys.stderr if config.json or config.csv else sys.stdout)
    else:
        refuse_existing(config.out, force=config.force)
        with locked(unfinished(config.out), config.out):
            work, form = _begin(config)
            _into_file(config, work, form, unread)
        print(f"{config.out}: {work.total} {work.things} classified")
    unread.report(work.total)


def _into_file(config: PredictConfig, work: Work, form: Form, unread: Unread) -> None:
    judge = _judge(config, work)
    asked: dict[str, Any] = {"form": "json" if config.json else "csv", "top": config.top}
    # Without labels as a command of an earlier version began it.
    asked["labels"] = hashlib.sha256(judge.truth.tobytes()).hexdigest() if judge else None
    result = ResultFile(cast("Path", config.out), form, work.record() | asked, force=config.force)
    stamps = work.stamps
    result.take_up(stamps.unchanged(work.names()) if stamps else ((name, True) for name in work.names()), unread)
    if result.kept:
        print(f"going on behind {result.kept} of {work.total} {work.things}", file=sys.stderr)
    with judge.taking(result.kept) if judge else nullcontext() as take, _bar(work, result.kept) as bar:
        try:
            with result.writer() as show:
                _classify(work, result.kept, show, unread, bar, take)
                judged = judge.judged() if judge else None
                if judge and judged:
                    judge.write(judged)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "stopped by Ctrl-C; what is classified is kept: run the same command again to go on from there"
            ) from None
    for beside in (stamps, judge):
        if beside:
            beside.finish()
    if judge and judged:
        print(f"{judged.text(work.things)}\n{judge.file}: all of it")


def _judge(config: PredictConfig, work: Work) -> Judge | None:
    """What judges the predictions, if true classes are given.

    Raises:
        InputError: if they can't be used.
    """
    if config.labels is None:
        return None
    from pipeline.inference.prediction import labels
    from pipeline.inference.prediction.judged import Judge

    if config.labels == FOLDER:
        truth = labels.of_folders(work.names(), work.classes)
    elif config.labels == FEATURES:
        assert work.own_labels is not None, "rows bring labels"
        truth = labels.of_names(work.own_labels(), work.classes, str(config.features))
    else:
        truth = labels.of_file(Path(config.labels).expanduser(), work.names(), work.classes, config.images)
    return Judge(config.labels, truth, work.classes, config.out)


def _classify(
    work: Work,
    kept: int,
    show: Callable[[Prediction], None],
    unread: Unread,
    bar: Any,
    take: Callable[[Prediction], None] | None,
) -> None:
    for prediction in work.stream(kept):
        if take is not None:
            take(prediction)
        show(prediction)
        if prediction.problem is not None:
            unread.add(prediction.path, prediction.problem)
        bar.update()


def _begin(config: PredictConfig) -> tuple[Work, Form]:
    work = _rows(config) if config.features else _pictures(config)
    if config.top is not None and config.top > len(work.classes):
        known = ", ".join(work.classes)
        raise InputError(f"--top is {config.top}, but the head knows {len(work.classes)} classes: {known}")
    return work, form_of(config, work.classes)


def _rows(config: PredictConfig) -> Work:
    from pipeline.inference.prediction.rows import RowClassifier

    rows = RowClassifier(config.run, config.epoch, cast("Path", config.features))
    # The head is fast: rows that are there already are classified again, and left out.
    return Work(
        classes=rows.classes,
        total=rows.total,
        things="rows",
        record=lambda: rows.record | {"versions": versions()},
        names=rows.names,
        stream=lambda kept: islice(rows.stream(), kept, None),
        own_labels=rows.own_labels,
    )


def _pictures(config: PredictConfig) -> Work:
    from features.util.provenance import tensors_sha256
    from pipeline.inference.hybrid import HybridClassifier

    total = _count(config.images)
    classifier = HybridClassifier.load(
        config.run, epoch=config.epoch, weights=config.weights, accept_other_weights=config.accept_other_weights
    )
    runtime = _runtime(classifier, config.runtime, total)
    batch, stamps = config.batch, Stamps(config.out) if config.out else None

    def stream(kept: int) -> Iterator[Prediction]:
        # From the start of a batch on, because the last bits of a logit depend on the pictures beside it.
        start = kept // batch * batch
        images: Iterator[Path] = islice(image_files(config.images), start, None)
        if stamps:
            # Finished rows keep theirs, though the last of their pictures are read again.
            images = chain(islice(images, kept - start), stamps.taking(images, kept))
        return islice(classifier.stream(images, batch, config.workers, runtime), kept - start, None)

    def record() -> dict[str, Any]:
        run, computed = classifier.provenance["run"], runtime.record
        return {
            "images": [str(path) for path in config.images],
            "folder": str(Path.cwd()),
            "classes": classifier.classes,
            "network": tensors_sha256(classifier.state_dict()),
            "transform": classifier.transforms.description,
            "head": {name: run["config"][name] for name in ("head", "circuit", "qubits", "depth", "simulator")},
            "circuit": (run["circuit"] or {}).get("sha256"),
            "runtime": [computed.name, computed.version, computed.device],
            "batch": batch,
            "versions": versions(),
        }

    return Work(
        classes=classifier.classes,
        total=total,
        things="pictures",
        record=record,
        names=lambda: image_files(config.images),
        stream=stream,
        stamps=stamps,
    )


def _runtime(classifier: HybridClassifier, wanted: str, total: int) -> Runtime:
    from features.backbone.runtime import open_runtime

    if wanted == "auto" and total < WORTH_PREPARING:
        wanted = "torch"
    with redirect_stdout(sys.stderr):  # where it says why ONNX Runtime can't be used
        runtime = open_runtime(classifier.network, runtime=wanted)
    ran = runtime.record
    if ran.max_difference is not None:
        print(
            f"the network runs in {ran.name} {ran.version}; its features of trial pictures differ from torch's by "
            f"at most {ran.max_difference:.1e}, of {ran.feature_scale:.1e}",
            file=sys.stderr,
        )
    return runtime


def _bar(work: Work, kept: int) -> Any:
    from tqdm import tqdm

    unit = work.things.removesuffix("s")
    return tqdm(total=work.total, initial=kept, unit=unit, desc="predict", disable=None)


@contextmanager
def _printer(form: Form, bar: Any) -> Iterator[Callable[[Prediction], None]]:
    """A function that prints a prediction; what is open is closed, even when Ctrl-C ends it early."""

    def write(text: str) -> None:
        if text:
            bar.write(text, file=sys.stdout, end="")

    write(form.begin)
    try:
        yield lambda prediction: write(form.row(prediction))
    finally:
        write(form.end())


def image_files(given: tuple[Path, ...]) -> Iterator[Path]:
    """The given files, whatever their names, and the images in the given folders at any depth."""
    for path in given:
        if path.is_dir():
            yield from (path / name for name in files_below(path) if is_image(name))
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
