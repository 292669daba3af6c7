"""What installed packages bring: their entry points, read from disk once."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def list_entries(group: str) -> tuple[EntryPoint, ...]:
    """Entry points of a group, from all installed packages.

    Reading them opens a file of every package there is, and one job asks about a hundred times. So they are read again
    only where a package has come or gone since.
    """
    return _read().get(group, ())


def list_groups() -> tuple[str, ...]:
    """Groups of ours for which some package has an entry point."""
    return tuple(sorted(_read()))


def _read() -> dict[str, tuple[EntryPoint, ...]]:
    return _read_all(tuple((place, _changed_ns(place)) for place in sys.path))


def _changed_ns(place: str) -> int:
    try:
        return os.stat(place or os.curdir).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def _read_all(_state: tuple[tuple[str, int], ...]) -> dict[str, tuple[EntryPoint, ...]]:
    found = entry_points()
    return {group: tuple(found.select(group=group)) for group in found.groups if group.startswith("facefusion.")}
