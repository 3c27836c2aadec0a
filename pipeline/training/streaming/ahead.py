"""Reading ahead: a thread works one item ahead of the loop that uses them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from typing import TypeVar

Item = TypeVar("Item")

DEPTH = 1
"""Items that are ready beside the one in use and the one being made: an item lives until the third after it is asked
for, so makers that reuse their arrays need ``DEPTH + 2`` of them."""
SWITCH_SECONDS = 5e-4


def ahead(items: Generator[Item, None, None]) -> Iterator[Item]:
    """Yield what a generator yields, which runs in a thread of its own; its exception is raised here.

    When the caller ends early, by an exception or Ctrl-C, the generator is closed and the thread ends.
    """
    ready: Queue[tuple[Item | None, BaseException | None]] = Queue(DEPTH)
    ended = threading.Event()

    def put(item: Item | None, error: BaseException | None = None) -> None:
        while not ended.is_set():
            try:
                ready.put((item, error), timeout=0.05)
                return
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if ended.is_set():
                    break
            items.close()
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=work, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # None stands beside an error only
            del item
    finally:
        ended.set()
        thread.join()


@contextmanager
def short_waits() -> Iterator[None]:
    """Let a thread wait for Python's lock half a millisecond at most: the usual 5 ms are longer than reading a block
    takes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
