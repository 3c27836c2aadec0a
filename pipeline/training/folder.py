"""The run folder on the disk: a new run is built in a hidden folder beside it and takes its place as a whole.

Beside ``run`` lie, while they are needed, ``.run.unfinished`` (the run that is being made), ``.run.replaced`` (the one
that it replaced, until its files are deleted) and ``.run.lock``. A kill at any moment leaves the old run or the new
one: what it interrupted is completed by the next command that reads the folder. Only files whose names this program
writes are deleted, and only in a folder that carries a run's record; all others move to the new run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from features.cache.featureset import FeatureFile
from features.util.errors import InputError, listing
from features.util.files import sync_folder
from pipeline.training.config import TrainConfig
from pipeline.training.names import HEAD, OURS, RECORD, SEED, SPREAD, UNFINISHED
from pipeline.training.record import RunRecord, changed_circuit, differences

Action = Literal["none", "make", "replace", "keep"]


class RunFolder:
    """A run folder and what lies beside it.

    Args:
        path: The run folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A link stays, and what it points to is replaced.
        self.target = path.resolve()
        self.unfinished = self._beside("unfinished")
        self.replaced = self._beside("replaced")

    def standing(self) -> RunRecord | None:
        """The record of the run in this folder; None if there is none.

        Raises:
            InputError: if there are files, but no run that can be read.
        """
        if not self.target.exists():
            return None
        if not self.target.is_dir():
            raise InputError(f"--out {self.path} is a file; name a folder")
        names = {entry.name for entry in self.target.iterdir()}
        if names <= UNFINISHED:
            return None
        if RECORD not in names and HEAD not in names:
            foreign = listing(sorted(names - OURS))
            raise InputError(
                f"--out {self.path} holds files and no run; name a new or an empty folder, these stay as they are:\n"
                f"{foreign}"
            )
        try:
            record = RunRecord.from_record(json.loads((self.target / RECORD).read_text(encoding="utf-8")))
            if record.config.seeds == 1 and SPREAD in names:  # earlier versions did not record how many
                seeds = len(json.loads((self.target / SPREAD).read_text(encoding="utf-8"))["seeds"])
                record = replace(record, config=replace(record.config, seeds=seeds))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"the record {self.path / RECORD} can't be read ({error}); name another --out (make: OUT=), or delete "
                "the folder yourself"
            ) from error
        return record

    def action(self, config: TrainConfig, features: FeatureFile | None = None) -> Action:
        """The action of ``train`` in this folder; without ``features`` it is decided by the flags alone.

        Returns:
            ``none`` if the requested head is there, ``make`` if there is no head, ``replace`` with --force, ``keep`` if
            the head there was trained on other features: it is set aside.

        Raises:
            InputError: if another head is there, without --force.
        """
        standing = self.standing()
        if standing is None:
            return "make"
        if config.force:
            return "replace"
        changed = changed_circuit(standing.circuit.sha256 if standing.circuit else None, config)
        differing = differences(standing.config, config) + changed
        longer = config.epochs > standing.config.epochs and not (
            differences(standing.config, config, but=config.extendable) + changed
        )
        if longer and config.resume:
            return "replace"
        if differing:
            further = ", --resume to train it for more epochs," if longer else ""
            raise InputError(
                f"{self.path} holds another head: {'; '.join(differing)}. Nothing was changed. Give another --out "
                f"(make: OUT=) to make the new head beside it{further} or --force to replace it (make: "
                "TRAIN_ARGS='… --force')"
            )
        if features is not None and not features.matches(standing.features.content_sha256):
            return "keep"
        return "none"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from changing the folder, and complete what an interrupted one left.

        Raises:
            InputError: if another process is at it, or the folder can't be made.
        """
        from filelock import FileLock, Timeout

        make_folder(self.target.parent, self.path)
        lock = FileLock(self._beside("lock"), timeout=0)
        try:
            self._beside("lock").touch()  # where no file can be made, FileLock would report a lock held by another
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"another process is writing {self.path} just now; wait for it, or name another --out (make: OUT=)"
            ) from error
        except OSError as error:
            raise _cannot_be_made(self.path, error) from error
        try:
            self._recover()
            yield
        finally:
            self._beside("lock").unlink(missing_ok=True)
            lock.release()

    def recover(self) -> None:
        """Complete what an interrupted command left, if anything.

        Raises:
            InputError: if another process is at it.
        """
        if self.replaced.exists() or (not self.target.exists() and self.unfinished.exists()):
            with self.lock():
                pass

    def begin(self) -> None:
        """Make the folder in which a new run is built, empty."""
        self.discard()
        self.unfinished.mkdir(exist_ok=True)

    def discard(self) -> None:
        """Delete the unfinished run."""
        if self.unfinished.exists():
            _delete_ours(self.unfinished)

    def swap(self, *, keep: bool = False) -> Path | None:
        """Put the new run into its place.

        Args:
            keep: Set the earlier run aside with all its files, instead of deleting it.

        Returns:
            Where that run is now; None if it was deleted, or there was none.
        """
        for folder in (self.unfinished, *filter(Path.is_dir, self.unfinished.iterdir())):
            sync_folder(folder)
        aside = self._aside() if keep else None
        if self.target.exists():
            self.target.rename(aside or self.replaced)
        self.unfinished.rename(self.target)
        sync_folder(self.target.parent)
        self._clear_replaced()
        return aside

    def _beside(self, what: str) -> Path:
        return self.target.parent / f".{self.target.name}.{what}"

    def _recover(self) -> None:
        if not self.target.exists():
            if (self.unfinished / RECORD).exists():
                self.unfinished.rename(self.target)
            elif self.replaced.exists():
                self.replaced.rename(self.target)
        self._clear_replaced()

    def _clear_replaced(self) -> None:
        if self.replaced.exists():
            _delete_ours(self.replaced, others_to=self.target)

    def _aside(self) -> Path:
        """A name for a run that is kept, by the time it was made."""
        standing = self.standing()
        made = standing.created[:19].replace(":", "-") if standing else "earlier"
        parent = self.target.parent if self.path.is_symlink() else self.path.parent
        return _free(parent / f"{self.target.name}-{made}")


def make_folder(folder: Path, named: Path | None = None) -> None:
    """Make a folder.

    Args:
        folder: The folder.
        named: What the user named, if that is another path.

    Raises:
        InputError: if it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_made(named or folder, error) from error


def _cannot_be_made(folder: Path, error: OSError) -> InputError:
    if isinstance(error, FileExistsError):
        return InputError(f"--out {folder} is a file, or lies below one; name a folder")
    return InputError(f"--out {folder} can't be made ({error.strerror}); name another folder")


def _delete_ours(folder: Path, others_to: Path | None = None) -> None:
    """Delete the files that this program wrote into a run folder, move the others, and remove the empty folder."""
    for entry in list(folder.iterdir()):
        below = None if others_to is None else others_to / entry.name
        if entry.name in OURS:
            entry.unlink()
        elif SEED.fullmatch(entry.name) and entry.is_dir():
            _delete_ours(entry, below)
        elif others_to is not None:
            others_to.mkdir(exist_ok=True)
            entry.rename(_free(others_to / entry.name))
    if not any(folder.iterdir()):
        folder.rmdir()


def _free(path: Path) -> Path:
    """The path, or the first of PATH-2, PATH-3, … that does not exist."""
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 10_000)))
    return next(name for name in names if not name.exists())
