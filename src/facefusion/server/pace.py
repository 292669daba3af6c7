"""How many requests somebody may send in a minute, counted in this process or in a Redis that all services share."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any

import limits
from limits import storage as limits_storage
from limits import strategies

from facefusion.documents import reason_of
from facefusion.errors import LimitReached, RecipeError

WINDOW_S = 60.0
_NAMES = 10_000
"""Of more names those are forgotten of whom nothing came within the last minute; then at twice what is left."""


class Pace:
    """Counts requests by name within the last minute.

    Parameters
    ----------
    url
        A Redis; nothing for this process, which counts for itself: the library's own memory starts a thread for
        each request.

    Raises
    ------
    RecipeError
        When nothing can be counted there.
    """

    def __init__(self, url: str = "") -> None:
        self.is_near = not url
        self._most_names = _NAMES
        self._times: dict[tuple[str, ...], deque[float]] = {}
        self._lock = threading.Lock()
        try:
            self._far = strategies.MovingWindowRateLimiter(limits_storage.storage_from_string(url)) if url else None
        except Exception as error:  # of whatever client there is for it
            raise RecipeError(
                f"Requests cannot be counted at {url}: {reason_of(error)}.", "Use redis://HOST:PORT/NUMBER."
            ) from error

    def hit(self, most: int, *names: str) -> None:
        """Count a request.

        Parameters
        ----------
        most
            So many are allowed within a minute.
        *names
            Whose it is.

        Raises
        ------
        LimitReached
        """
        wait_s = self._hit_here(most, names) if self._far is None else self._hit_there(most, names)
        if wait_s > 0:
            wait_s = math.ceil(wait_s)
            raise LimitReached(f"More than {most} requests a minute.", f"Try again in {wait_s} s.", wait_s, "requests")

    def _hit_here(self, most: int, names: tuple[str, ...]) -> float:
        now = time.monotonic()
        with self._lock:
            if len(self._times) >= self._most_names and names not in self._times:
                self._times = {one: past for one, past in self._times.items() if past and past[-1] > now - WINDOW_S}
                self._most_names = max(_NAMES, 2 * len(self._times))
            times = self._times.setdefault(names, deque())
            while times and times[0] <= now - WINDOW_S:
                times.popleft()
            if len(times) < most:
                times.append(now)
                return 0.0
            return times[0] + WINDOW_S - now if times else WINDOW_S

    def _hit_there(self, most: int, names: tuple[str, ...]) -> float:
        counter: Any = self._far
        item = limits.RateLimitItemPerMinute(most)
        try:
            if counter.hit(item, *names):
                return 0.0
            return max(float(counter.get_window_stats(item, *names).reset_time) - time.time(), 1.0)
        except Exception:  # the Redis is away: counting is no reason to stop
            return 0.0
