"""How much memory there is for the processes of a job: what the machine has free, and what a container leaves of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

UNKNOWN_BYTES = 8_000_000_000
"""What is reckoned with where nobody tells."""


def free_bytes(root: Path = Path("/")) -> int:
    """Memory that may be taken now.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` of the control groups are.

    Returns
    -------
    The least of what the machine can give and what is left of the limit of every control group around this process.
    """
    return min([_of_machine(), *_of_groups(root)])


def _of_machine() -> int:
    try:
        return int(psutil.virtual_memory().available)
    except (psutil.Error, OSError, ValueError):
        return UNKNOWN_BYTES


def _of_groups(root: Path) -> Iterator[int]:
    """What is left of the limits of control groups (version 2, and 1), from the own one up."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.strip("/")
        for folder in (group, *group.parents):
            left = _left(folder, *names)
            if left is not None:
                yield left
            if folder == base:
                break


def _left(folder: Path, limit_name: str, used_name: str, idle_name: str) -> int | None:
    """Limit less use; what is only remembered of files can be given back. None where there is no limit."""
    try:
        limit = int((folder / limit_name).read_text(encoding="ascii"))  # "max" is none
        used = int((folder / used_name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    with suppress(OSError, ValueError):
        told = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        used -= int(told.get(idle_name, 0))
    return max(limit - used, 0)
