"""Encoders must not take the machine for themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def usual_priority() -> Iterator[None]:
    """Give all threads of this process back the priority that they had, or that their maker had.

    SVT-AV1, run by root, gives its threads and the one that opens it the highest real-time priority. Nothing else on
    the machine then runs until it is done, and every process that is begun from there inherits that.
    """
    if not hasattr(os, "sched_getscheduler"):  # only Linux has these
        yield
        return
    before = _policies()
    usual, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread, policy in _policies().items():
            if policy != usual and before.get(thread, usual) == usual:
                with suppress(OSError):  # it has ended
                    os.sched_setscheduler(thread, usual, parameter)


def _policies() -> dict[int, int]:
    found = {}
    with suppress(OSError):
        for name in os.listdir("/proc/self/task"):
            with suppress(OSError):
                found[int(name)] = os.sched_getscheduler(int(name))
    return found
