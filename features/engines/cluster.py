"""The pass over the images on a cluster: Ray Data hands pieces to machines, which leave them in the shared folder.

Ray Data gives what a long pass over many machines needs: the pieces of a machine that died are made on another one, and
no more of them are under way than there are machines. What is in a piece, and how it is verified, is the same as in one
process (:mod:`features.engines.local`), and so is the result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from features.backbone.network import Backbone
from features.backbone.record import RuntimeRecord, RuntimeSettings
from features.cache.pieces import PieceFolder
from features.engines.local import Job, LocalEngine
from features.engines.pixels import Stopwatch
from features.engines.ray_cluster import connect
from features.sources.check import Checked, check_paths
from features.sources.images import ImageSet
from features.util.errors import InputError

# Images that one task of the check reads.
CHECKED_AT_ONCE = 512


def check_on_cluster(image_set: ImageSet, known: set[str], address: str | None) -> Checked:
    """Do what :func:`features.sources.check.check_images` does, on the machines of a cluster."""
    from tqdm import tqdm

    ray = connect(address)
    paths = image_set.all_paths
    blocks = [paths[start : start + CHECKED_AT_ONCE] for start in range(0, len(paths), CHECKED_AT_ONCE)]
    images, known_there = ray.put(_reader(image_set)), ray.put(known)

    def check(row: dict[str, Any]) -> dict[str, Any]:
        found = check_paths(ray.get(images), row["paths"], ray.get(known_there))
        return {"digests": found.digests, "problems": found.problems}

    digests: dict[str, str] = {}
    problems: dict[str, str] = {}
    with tqdm(total=len(paths), unit="image", desc="check", disable=None) as bar:
        for row in _rows([{"paths": block} for block in blocks], check):
            digests |= row["digests"]
            problems |= row["problems"]
            bar.update(len(row["digests"]) + len(row["problems"]))
    # In the data set's order, whatever the order in which the blocks came back.
    return Checked(
        digests={path: digests[path] for path in paths if path in digests},
        problems={path: problems[path] for path in paths if path in problems},
    )


class RayEngine:
    """Does what :class:`features.engines.local.LocalEngine` does, on the machines of a cluster.

    Each process there holds the network, and makes one piece at a time with as many cores as it has threads.

    Args:
        image_set: Where the images are; all machines read them from there.
        backbone: The network, which is sent to the machines.
        settings: What is to run the network.
        batch: Images in one pass through the network.
        workers: Threads that decode in each process, and cores that it is given.
        address: Of the cluster; None starts one on this machine.

    Raises:
        InputError: as :func:`connect` does, and if no machine has what a process needs.
    """

    def __init__(
        self,
        image_set: ImageSet,
        backbone: Backbone,
        settings: RuntimeSettings,
        batch: int,
        workers: int,
        address: str | None,
    ) -> None:
        self._ray = connect(address)
        there = self._ray.cluster_resources()
        self._needs = {"num_cpus": workers, "num_gpus": 1 if settings.device == "cuda" else 0}
        self._processes = int(there.get("CPU", 0) // workers)
        if settings.device == "cuda":
            self._processes = min(self._processes, int(there.get("GPU", 0)))
        if not self._processes:
            raise InputError(
                f"--workers is {workers} and --device is {settings.device}, but the whole cluster has "
                f"{there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs; ask for less, or add machines"
            )
        self._arguments = self._ray.put((_reader(image_set), backbone, settings, batch, workers))
        opened = self._ray.remote(_records).options(**self._needs).remote(self._arguments)
        self.records: tuple[RuntimeRecord, ...] = self._ray.get(opened)

    def extract(
        self, folders: Sequence[PieceFolder], jobs: Sequence[Job], watch: Stopwatch, advance: Callable[[int], object]
    ) -> None:
        """Make the pieces, as :meth:`features.engines.local.LocalEngine.extract` does.

        Raises:
            InputError: if an image has changed, a feature is not a finite number, or the machines can't write into the
                folder.
        """
        if not jobs:
            return
        # Machines may see another working folder.
        shared = [replace(folder, out=folder.out.absolute()) for folder in folders]
        rows = _rows(
            [{"job": job} for job in jobs],
            _PieceMaker,
            fn_constructor_args=(self._arguments, shared),
            concurrency=(1, min(self._processes, len(jobs))),
            **self._needs,
        )
        for row in rows:
            if row["problem"]:
                raise InputError(row["problem"])
            for file in map(Path, row["files"]):
                if not file.exists():
                    raise InputError(
                        f"{file.parent} is not one folder for all machines of the cluster: {file.name} was written by "
                        "one, and is not seen here; name an --out on a file system that they share"
                    )
            for work, seconds in row["seconds"].items():
                watch.add(work, seconds)
            advance(row["images"])


class _PieceMaker:
    """One process of the cluster: the network is loaded once, pieces come one at a time."""

    def __init__(self, arguments: Any, folders: Sequence[PieceFolder]) -> None:
        import ray

        self._engine = LocalEngine(*ray.get(arguments))
        self._folders = folders

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        job: Job = row["job"]
        watch = Stopwatch()
        problem = ""
        try:
            self._engine.extract(self._folders, [job], watch, lambda _: None)
        except InputError as error:  # a user's mistake is reported by the command, not retried
            problem = str(error)
        pieces = zip(self._folders, job.pieces, strict=True)
        files = [str(folder.file(piece)) for folder, piece in pieces if piece is not None]
        return {"files": files, "images": len(job.to_compute), "seconds": watch.seconds, "problem": problem}


def _records(arguments: tuple[Any, ...]) -> tuple[RuntimeRecord, ...]:
    return LocalEngine(*arguments).records


def _reader(image_set: ImageSet) -> ImageSet:
    """What reads the pictures, without the list of them."""
    return replace(image_set, paths={}, labels={})


def _rows(items: list[dict[str, Any]], work: Any, **how: Any) -> Iterable[dict[str, Any]]:
    """Results of ``work`` on each item, as they come; each item is a task of its own, which is retried where its
    machine is lost."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray.data.from_items(items, override_num_blocks=len(items)).map(work, **how).iter_rows()
