"""The pass over the images on this machine: decoding in threads, or in processes beside a GPU, and the network on what
they give."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from features.backbone.network import Backbone
from features.backbone.record import RuntimeRecord, RuntimeSettings
from features.backbone.runtime import columns, open_runtime
from features.cache.pieces import Piece, PieceFolder
from features.cache.records import Provenance, Views
from features.engines.pixels import Stopwatch, pixel_batches
from features.sources.images import ImageSet
from features.util.errors import InputError


@dataclass(frozen=True)
class Job:
    """The pieces of the same images, one for each cache.

    Attributes:
        pieces: In the order of the caches; None where a cache has that piece already.
    """

    pieces: tuple[Piece | None, ...]

    @property
    def some(self) -> Piece:
        """One of the pieces; their images are the same."""
        return next(piece for piece in self.pieces if piece is not None)

    @property
    def to_compute(self) -> list[int]:
        """Positions of the images whose row at least one cache needs."""
        return sorted({position for piece in self.pieces if piece is not None for position in piece.to_compute})


class LocalEngine:
    """Runs the network over the images of pieces and writes each piece as soon as its last row is there.

    Args:
        image_set: Where the images are.
        backbone: The network and its preprocessing; each of its layers is for a cache of its own.
        settings: What is to run the network.
        batch: Images in one pass through the network; each augmented view is a pass of its own.
        workers: Threads, or processes beside a GPU, that decode beside the network.
    """

    def __init__(
        self, image_set: ImageSet, backbone: Backbone, settings: RuntimeSettings, batch: int, workers: int
    ) -> None:
        self._image_set = image_set
        self._preprocess = backbone.preprocess
        self._runtime = open_runtime(
            backbone, runtime=settings.runtime, device=settings.device, precision=settings.precision
        )
        self._batch = batch
        self._workers = workers
        self._columns = columns(backbone.widths)

    @property
    def records(self) -> tuple[RuntimeRecord, ...]:
        """What computes the features of each layer, for its file."""
        return self._runtime.records

    def extract(
        self, folders: Sequence[PieceFolder], jobs: Sequence[Job], watch: Stopwatch, advance: Callable[[int], object]
    ) -> None:
        """Compute the rows of pieces that are not at hand, and write the pieces.

        Args:
            folders: For each layer, where its pieces go, and what they are made from.
            jobs: For each of them the pieces to make; each piece has at least one row to compute.
            watch: Gets the seconds of each kind of work.
            advance: Called with the number of images after each batch.

        Raises:
            InputError: if an image has changed, or a feature is not a finite number.
        """
        batches = [
            (job, wanted, wanted[start : start + self._batch])
            for job in jobs
            for wanted in [job.to_compute]
            for start in range(0, len(wanted), self._batch)
        ]
        rows: list[np.ndarray] = []
        parts = [(job.some, part) for job, _, part in batches]
        stacks = self._stacks(folders[0].provenance.views, parts, watch)
        for (job, wanted, part), stack in zip(batches, stacks, strict=True):
            with watch.timing("network"):
                passes = [self._runtime(np.ascontiguousarray(stack[:, view])) for view in range(stack.shape[1])]
            rows.append(np.stack(passes, axis=1))
            for folder, of_layer in zip(folders, self._columns, strict=True):
                _refuse_unstorable(rows[-1][..., of_layer], folder.provenance)
            advance(len(stack))
            if part[-1] == wanted[-1]:
                whole = np.concatenate(rows)
                rows.clear()
                with watch.timing("write"):
                    for folder, piece, of_layer in zip(folders, job.pieces, self._columns, strict=True):
                        if piece is not None:
                            found = whole[np.searchsorted(wanted, piece.to_compute), :, of_layer]
                            folder.write(piece, found[:, 0], found[:, 1:] if found.shape[1] > 1 else None)

    def _stacks(
        self, views: Views | None, batches: Sequence[tuple[Piece, list[int]]], watch: Stopwatch
    ) -> Iterator[np.ndarray]:
        """The pixels of each batch, shape (n, 1 + V, 3, H, W), uint8: each image plain, then its augmented views."""
        pieces = {piece.index: piece for piece, _ in batches}.values()
        with_views = {path for piece in pieces if views and piece.split == "train" for path in piece.paths}
        digests = {path: digest for piece in pieces for path, digest in zip(piece.paths, piece.digests, strict=True)}

        def pixels(image: Image.Image, path: str) -> np.ndarray:
            stack = [self._preprocess.pixels(image)]
            if views is not None and path in with_views:
                stack += [self._preprocess.view(image, _rng(views.seed, path, i)) for i in range(views.count)]
            return np.stack(stack)

        paths = ([piece.paths[position] for position in part] for piece, part in batches)
        on_gpu = self.records[0].device == "cuda"
        return pixel_batches(
            self._image_set, paths, digests, pixels, workers=self._workers, watch=watch, processes=on_gpu
        )


def _rng(seed: int, path: str, view: int) -> np.random.Generator:
    # From the path, not from the number of the row: a view stays the same when images are added or left out.
    return np.random.default_rng([seed, view, int.from_bytes(hashlib.sha256(path.encode()).digest())])


def _refuse_unstorable(rows: np.ndarray, provenance: Provenance) -> None:
    of_layer = f" of {provenance.layer.name}" if provenance.layer else ""
    if not np.isfinite(rows).all():
        raise InputError(f"the weights {provenance.weights} give features{of_layer} that are not finite numbers")
    largest = float(np.abs(rows).max())
    if largest > float(np.finfo(provenance.dtype).max):
        raise InputError(
            f"a feature{of_layer} is {largest:.6g}, more than --dtype float16 holds; store these as float32"
        )
