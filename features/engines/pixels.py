"""Pictures → pixels: read, checked against their fingerprints and decoded beside the network.

Beside a network on the CPU this is done in threads: Pillow and hashlib leave Python's lock while they work, so threads
do what processes would, without their start and without copies. A GPU takes thousands of pictures a second, for which
the few tenths of a millisecond of Python a picture, one thread at a time, are too slow: beside it torch's DataLoader
decodes in processes.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from features.sources.decode import UNREADABLE, decode
from features.sources.images import ImageSet
from features.util.errors import InputError

# Batches that are read and decoded ahead of the network.
AHEAD = 3
# Pictures that a process decodes at a time: of a few batches too, each of hundreds, every process gets some.
PART = 32


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
    processes: bool = False,
) -> Iterator[np.ndarray]:
    """The pixels of each batch of paths, in order.

    Args:
        image_set: Where the pictures are.
        batches: Paths; of threads, at most ``AHEAD`` batches are taken ahead of what has been yielded.
        digests: SHA-256 of each file, in hex: features are only ever computed from the bytes that were fingerprinted.
        pixels: From an upright RGB picture and its path to an array.
        workers: Threads or processes.
        processes: Decode in processes.
        watch: Gets the seconds of ``read`` and ``decode``.

    Yields:
        Arrays of shape (n, …), as ``pixels`` makes them.

    Raises:
        InputError: if a picture is no longer what it was when it was fingerprinted.
    """

    load = _loader(image_set, digests, pixels)
    if processes:
        yield from _from_processes(load, list(batches), workers, watch)
        return
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="decode")
    waiting: deque[list[Future[Loaded]]] = deque()
    try:
        for batch in batches:
            waiting.append([pool.submit(load, path) for path in batch])
            if len(waiting) > AHEAD:
                yield np.stack(_counted([future.result() for future in waiting.popleft()], watch))
        while waiting:
            yield np.stack(_counted([future.result() for future in waiting.popleft()], watch))
    finally:
        pool.shutdown(cancel_futures=True)


_NOTHING = np.empty(0)


@dataclass(frozen=True)
class Loaded:
    """A picture's pixels, or the problem with it, and the seconds that reading and decoding it took."""

    pixels: np.ndarray
    problem: str
    read: float
    decode: float


def _loader(
    image_set: ImageSet, digests: Mapping[str, str], pixels: Callable[[Image.Image, str], np.ndarray]
) -> Callable[[str], Loaded]:
    def load(path: str) -> Loaded:
        started = opened = time.perf_counter()
        array, problem = _NOTHING, ""
        try:
            content = image_set.read(path)
            if hashlib.sha256(content).hexdigest() != digests[path]:
                raise ValueError("its contents are others than before")
            opened = time.perf_counter()
            array = pixels(decode(content), path)
        except UNREADABLE as error:
            problem = f"{path}: {str(error) or type(error).__name__}"
        return Loaded(array, problem, opened - started, time.perf_counter() - opened)

    return load


def _counted(loaded: Sequence[Loaded], watch: Stopwatch) -> list[np.ndarray]:
    """The pixels of a batch; its seconds go to the watch."""
    for each in loaded:
        watch.add("read", each.read)
        watch.add("decode", each.decode)
        if each.problem:
            raise InputError(
                f"an image changed while it was being used:\n  {each.problem}\nRun the same command again."
            )
    return [each.pixels for each in loaded]


def _from_processes(
    load: Callable[[str], Loaded], batches: Sequence[Sequence[str]], workers: int, watch: Stopwatch
) -> Iterator[np.ndarray]:
    """Parts of a batch from each process, in order, joined to batches. Pixels come through shared memory."""
    if not batches:
        return
    import torch
    from torch.utils.data import DataLoader, Dataset

    parts = [batch[start : start + PART] for batch in batches for start in range(0, len(batch), PART)]

    class Parts(Dataset):
        def __len__(self) -> int:
            return len(parts)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, list[Loaded]]:
            loaded = [load(path) for path in parts[index]]
            stack = np.stack([each.pixels for each in loaded if not each.problem] or [_NOTHING])
            return torch.from_numpy(stack), [replace(each, pixels=_NOTHING) for each in loaded]

    # Forked, so that data sets need not be pickled; a child that only decodes may be forked beside CUDA.
    loader = iter(
        DataLoader(Parts(), batch_size=None, num_workers=min(workers, len(parts)), multiprocessing_context="fork")
    )
    for batch in batches:
        found = []
        for _ in range(0, len(batch), PART):
            pixels, loaded = next(loader)
            _counted(loaded, watch)
            found.append(pixels.numpy())
        yield np.concatenate(found)
