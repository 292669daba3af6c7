"""What installed packages bring: their entry points, read from disk once."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def list_entries(group: str) -> tuple[EntryPoint, ...]:
    """Entry points of a group, from all installed packages.

    Reading them opens a file of every package there is, and one job asks hundreds of times. So they are read again only
    where a package has come or gone since. A folder of scripts in which an output was written has none, as before.
    """
    return _read().get(group, ())


def list_groups() -> tuple[str, ...]:
    """Groups of ours for which some package has an entry point."""
    return tuple(sorted(_read()))


def _read() -> dict[str, tuple[EntryPoint, ...]]:
    return _read_all(tuple((place, _packages(place, _changed_ns(place))) for place in sys.path))


def _changed_ns(place: str) -> int:
    try:
        return os.stat(place or os.curdir).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=256)
def _packages(place: str, changed_ns: int) -> tuple[tuple[str, int], ...]:
    """What is installed in a folder in one state, each with its last change; an archive stands for itself."""
    try:
        with os.scandir(place or os.curdir) as entries:
            return tuple(sorted((one.name, _changed_ns(one.path)) for one in entries if one.name.endswith(_ENDINGS)))
    except OSError:
        return ((place, changed_ns),)


_ENDINGS = (".dist-info", ".egg-info", ".egg")


@lru_cache(maxsize=4)
def _read_all(_state: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]) -> dict[str, tuple[EntryPoint, ...]]:
    found = entry_points()
    return {group: tuple(found.select(group=group)) for group in found.groups if group.startswith("facefusion.")}
