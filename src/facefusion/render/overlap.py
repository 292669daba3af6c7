"""Bounded overlap of reading, working and writing. Order is kept, memory is bounded, errors come through."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_END = object()
WAITING = 3
"""Results that may wait for a consumer that takes them unevenly, as an encoder does."""


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """Read ahead in a thread.

    Parameters
    ----------
    items
        Read in one other thread; its errors are raised here.
    depth
        How many may wait.
    """
    waiting: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, name="reader", daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


def map_in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Apply a function in several threads; results come in the order of the items.

    Parameters
    ----------
    function
        Called from ``workers`` threads at once.
    items
        Drawn only as fast as results are taken, plus one in hand for each worker and `WAITING` that are done.
    workers
        Number of threads.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="render") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers + WAITING:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items; the last one may be shorter."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
