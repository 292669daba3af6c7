"""What does tasks in the processes of a pool under test: it imports nothing heavy."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


class Hand:
    """Notes what it does, and does what a word says."""

    def __init__(self, folder: Path, place: int) -> None:
        self.notes, self.place = folder, place
        self.owner = f"{place}:{os.getpid()}"
        self.signs = 0
        self._is_stopped = False

    def perform(self, word: str, name: str = "") -> None:
        (self.notes / f"begun {name}").touch()
        if word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "exit":
            os._exit(3)
        elif word == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif word == "hang":
            time.sleep(1e6)
        elif word == "work":
            while not self._is_stopped:
                self.signs += 1
                time.sleep(0.05)
        elif word == "raise":
            raise RuntimeError("boom " * 10_000)
        elif word == "leave":
            raise SystemExit(7)
        elif word == "memory":
            raise MemoryError
        (self.notes / f"done {name}").write_text(f"{self.place} {os.getpid()}")

    def stop(self) -> None:
        self._is_stopped = True

    def close(self) -> None:
        (self.notes / f"closed {os.getpid()}").touch()


def hire(folder: Path, place: int) -> Hand:
    return Hand(folder, place)


def refuse(folder: Path, place: int) -> Hand:
    raise OSError(f"place {place} is wet")


def is_alive(pid: int) -> bool:
    """Whether a process can still do anything: a dead one that nobody has asked for its end cannot."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children_of(pid: int) -> list[int]:
    """Processes that a process has started, as far as they live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state not in "ZX":
            found.append(int(path.parent.name))
    return found


PARENT = """
import sys
from pathlib import Path
from tests.hands import hire
from facefusion.jobs.pool import Pool

if __name__ == "__main__":
    with Pool(3, hire, Path(sys.argv[1])) as pool:
        for number, word in enumerate(("work", "hang", "pause")):
            pool.give(word, str(number))
        while True:
            pool.wait(1)
"""
"""A program that gives tasks without an end to three processes."""
