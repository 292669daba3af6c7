"""How much memory work may take: what the machine has free, and what control groups (containers) leave of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

PROC, MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Files with limit and use, and the line of ``memory.stat`` with what the system would give back at once."""


def free_bytes(proc: Path = PROC, mount: Path = MOUNT) -> int:
    """Memory that may be taken now without anybody being ended for it.

    Parameters
    ----------
    proc, mount
        Where Linux says which groups this process is in, and where groups are.
    """
    return max(min([int(psutil.virtual_memory().available), *_left_in_groups(proc, mount)]), 0)


def _left_in_groups(proc: Path, mount: Path) -> Iterator[int]:
    """What every group that this process is in, and every group around those, leaves."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return  # no Linux
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds == "":
            bases, names = [mount, mount / "unified"], _VERSION_2
        elif "memory" in kinds.split(","):
            bases, names = [mount / "memory"], _VERSION_1
        else:
            continue
        for base in bases:
            # In a container the place is often told as the host sees it: what is not there is passed over.
            group = base / place.lstrip("/")
            for folder in (group, *group.parents):
                yield from _left(folder, *names)
                if folder == base:
                    break


def _left(folder: Path, limit_name: str, used_name: str, idle_name: str) -> Iterator[int]:
    with suppress(OSError, ValueError):  # no limit is "max", or no such file
        limit, used = (int((folder / name).read_text(encoding="utf-8")) for name in (limit_name, used_name))
        idle = 0
        with suppress(OSError, ValueError):
            stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
            idle = int(stat.get(idle_name, 0))
        yield limit - used + idle
