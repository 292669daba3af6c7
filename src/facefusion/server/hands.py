"""Processes that look into files of others: a file that kills its reader, or never ends, takes nothing along."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection
from typing import ParamSpec, TypeVar

from facefusion import journal
from facefusion.errors import KindRefused, LimitReached
from facefusion.jobs.pool import unheard

P = ParamSpec("P")
R = TypeVar("R")
WAIT_S = 60.0
"""How long to wait for a process that has time."""
SOON_S = 2.0
"""The same where it can be done without."""


def follow_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


NICE, NICE_JOBS = 5, 10
"""By how much a look at a file, and the work of jobs, give way to whoever only asks how things are."""


def log_faults() -> None:
    """What nobody expected goes to standard error, with the id that clients are told; in every process there is."""
    log = logging.getLogger("facefusion.server")
    if journal.is_set_up() or any(isinstance(handler, logging.StreamHandler) for handler in log.handlers):
        return
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)


OF_THE_PARENT = (signal.SIGINT, signal.SIGTERM)
"""Signals that a terminal or a supervisor sends to a whole group of processes: the service ends its own itself."""


def begin_child(memory_bytes: int = 0, log: journal.Plan = journal.NO_PLAN, nice: int = NICE) -> None:
    """What every process does first: end with its parent, leave it `OF_THE_PARENT`, give way, keep to some memory."""
    journal.set_up(*log)
    log_faults()
    follow_parent()
    for number in OF_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_THE_PARENT)
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(nice)
    if memory_bytes:
        with suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


class Hands:
    """A few processes, each doing one call at a time; one that dies or takes too long is replaced.

    Parameters
    ----------
    count
        How many.
    memory_bytes
        What each may take; 0 for any.
    """

    def __init__(self, count: int, memory_bytes: int = 0) -> None:
        self._memory_bytes = memory_bytes
        self._free: queue.Queue[_Hand | None] = queue.Queue()
        self._all: list[_Hand] = []
        self._lock = threading.Lock()
        self._is_closed = False
        for _ in range(count):
            self._free.put(None)

    def call(self, function: Callable[P, R], timeout_s: float, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in one of them.

        Parameters
        ----------
        function
            Importable by name.
        timeout_s
            After so long the process is ended.

        Raises
        ------
        KindRefused
            When the process died of it, or took too long.
        LimitReached
            When none has time.
        """
        return self._call(function, timeout_s, WAIT_S, *args, **kwargs)

    def call_soon(self, function: Callable[P, R], timeout_s: float, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same for what can be left out: who has to wait for a process does not wait for long."""
        return self._call(function, timeout_s, SOON_S, *args, **kwargs)

    def _call(
        self, function: Callable[P, R], timeout_s: float, wait_s: float, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        try:
            hand = self._free.get(timeout=wait_s)
        except queue.Empty as error:
            raise LimitReached("The service is busy looking at other files.", "Try again.", 5.0, "busy", 503) from error
        try:
            if hand is None or hand.is_broken:
                hand = self._hire()
            return hand.call(function, timeout_s, *args, **kwargs)
        finally:
            self._free.put(hand)

    def _hire(self) -> _Hand:
        with self._lock:
            hand = _Hand(self._memory_bytes)
            self._all = [one for one in self._all if not one.is_broken] + [hand]
        return hand

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            for hand in self._all:
                hand.end()
            self._all.clear()


class _Hand:
    def __init__(self, memory_bytes: int) -> None:
        self._executor = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=begin_child, initargs=(memory_bytes, journal.plan())
        )
        self._pid = 0
        self.is_broken = False

    def call(self, function: Callable[P, R], timeout_s: float, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if not self._pid:
                with unheard(*OF_THE_PARENT):
                    first = self._executor.submit(os.getpid)
                self._pid = first.result(WAIT_S * 3)
            return self._executor.submit(function, *args, **kwargs).result(timeout_s)
        except BrokenProcessPool as error:
            self.is_broken = True
            raise KindRefused("This file brought down the process that looked at it.", "Get an intact copy.") from error
        except TookTooLong as error:
            self.end()
            raise KindRefused(
                f"This file took longer than {timeout_s:.0f} s to look at.", "Use a smaller one."
            ) from error

    def end(self) -> None:
        self.is_broken = True
        if self._pid:
            with suppress(OSError):
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._executor.shutdown(wait=False, cancel_futures=True)
