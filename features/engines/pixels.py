"""Pictures → pixels: read, checked against their fingerprints and decoded in threads, beside the network.

Pillow and hashlib leave Python's lock while they work, so threads do what processes would, without their start and
without copies.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from PIL import Image

from features.sources.decode import UNREADABLE, decode
from features.sources.images import ImageSet
from features.util.errors import InputError

# Batches that are read and decoded ahead of the network.
AHEAD = 3


class Stopwatch:
    """Seconds spent on each kind of work, summed over threads: what runs side by side counts for each."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def timing(self, work: str) -> Iterator[None]:
        """Count the time of the ``with`` block as ``work``."""
        started = time.perf_counter()
        yield
        self.add(work, time.perf_counter() - started)

    def add(self, work: str, seconds: float) -> None:
        """Count so many seconds as ``work``."""
        with self._lock:
            self.seconds[work] = self.seconds.get(work, 0.0) + seconds


def pixel_batches(
    image_set: ImageSet,
    batches: Iterable[Sequence[str]],
    digests: Mapping[str, str],
    pixels: Callable[[Image.Image, str], np.ndarray],
    *,
    workers: int,
    watch: Stopwatch,
) -> Iterator[np.ndarray]:
    """The pixels of each batch of paths, in order.

    Args:
        image_set: Where the pictures are.
        batches: Paths; at most ``AHEAD`` batches are taken ahead of what has been yielded.
        digests: SHA-256 of each file, in hex: features are only ever computed from the bytes that were fingerprinted.
        pixels: From an upright RGB picture and its path to an array.
        workers: Threads.
        watch: Gets the seconds of ``read`` and ``decode``.

    Yields:
        Arrays of shape (n, …), as ``pixels`` makes them.

    Raises:
        InputError: if a picture is no longer what it was when it was fingerprinted.
    """

    def load(path: str) -> np.ndarray:
        try:
            with watch.timing("read"):
                content = image_set.read(path)
                if hashlib.sha256(content).hexdigest() != digests[path]:
                    raise ValueError("its contents are others than before")
            with watch.timing("decode"):
                return pixels(decode(content), path)
        except UNREADABLE as error:
            raise InputError(
                f"an image changed while it was being used:\n  {path}: {str(error) or type(error).__name__}\n"
                "Run the same command again."
            ) from error

    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="decode")
    waiting: deque[list[Future[np.ndarray]]] = deque()
    try:
        for batch in batches:
            waiting.append([pool.submit(load, path) for path in batch])
            if len(waiting) > AHEAD:
                yield np.stack([future.result() for future in waiting.popleft()])
        while waiting:
            yield np.stack([future.result() for future in waiting.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)
