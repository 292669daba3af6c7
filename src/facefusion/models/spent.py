"""What this process has spent since somebody asked last: seconds in each model, and what was there already."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

MODEL_S, MODEL_RUNS, CACHE = "model_s", "model_runs", "cache"
_lock = threading.Lock()
_spent: defaultdict[tuple[str, str], float] = defaultdict(float)


@contextmanager
def running(model_id: str) -> Iterator[None]:
    """Count the time that a model takes; threads that run it at once are added up."""
    began = perf_counter()
    try:
        yield
    finally:
        seconds = perf_counter() - began
        with _lock:
            _spent[MODEL_S, model_id] += seconds
            _spent[MODEL_RUNS, model_id] += 1


def looked_up(cache: str, is_hit: bool) -> None:
    """Count whether something was there already.

    Parameters
    ----------
    cache
        What was looked into: ``sessions``, ``photos`` or ``faces``.
    is_hit
        Whether it was there.
    """
    with _lock:
        _spent[CACHE, f"{cache}/{'hit' if is_hit else 'miss'}"] += 1


def take() -> dict[tuple[str, str], float]:
    """What was spent since the last call, by kind and name."""
    with _lock:
        found = dict(_spent)
        _spent.clear()
    return found
