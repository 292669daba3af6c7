"""Who owns which file: locks that go with their process, and working folders that belong to whoever holds the lock.

The system lets a lock go when its process ends, however it ends. So it can be told for certain what has no living
owner, and only that is ever taken away: never by name, age or number of a process.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import platformdirs
from filelock import FileLock, Timeout

from facefusion.errors import FaceFusionError, OutputRefused
from facefusion.writing import final_path

RACE_S = 0.1
"""How long a lock is tried for: a file that is just being taken away is no holder."""
LOCK = ".lock"
LONG_BYTES = 180
"""Writers add to a name while they write; file systems take 255 bytes."""
_JOURNAL = "made"
_BESIDE = re.compile(r"\.facefusion-[0-9a-f]{16}")


def refusal(error: Exception, path: Path) -> FaceFusionError:
    """Our error for a file of ours that cannot be written."""
    if isinstance(error, FaceFusionError):
        return error
    number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or error
    if number in (errno.ENOSPC, errno.EDQUOT):
        return OutputRefused(
            f"There is no room left for {path}.", "Free some space (or files, where those are counted); then try again."
        )
    if number == errno.ELOOP:
        return OutputRefused(f"{path} is a link, which is not followed.", "Take it away; then try again.")
    return OutputRefused(f"{path} cannot be written: {reason}.", "Check the folder; then try again.")


def make_folder(path: Path) -> Path:
    """Make a folder that only its owner may read, where there is none; it must not be a link.

    Raises
    ------
    OutputRefused
    """
    try:
        if not path.parent.is_dir():
            make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise OSError(errno.ELOOP, "it is a link", str(path))
    except OSError as error:
        raise refusal(error, path) from error
    return path


class Lock:
    """A lock that is held; `take` makes it."""

    def __init__(self, path: Path, inner: Any) -> None:
        self.path, self._inner = path, inner

    def release(self, is_removing: bool = False) -> None:
        """Let go of it, and take its file away where nobody needs it any more."""
        if not self._inner.is_locked:
            return
        if is_removing:
            with suppress(OSError):  # Windows: only when it is let go
                self.path.unlink()
        self._inner.release()
        if is_removing and os.name == "nt":
            with suppress(OSError):
                self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()


def take(path: Path, patience_s: float = 0.0) -> Lock | None:
    """Take a lock.

    Parameters
    ----------
    path
        Its file; made where it is missing, never followed where it is a link.
    patience_s
        How long to wait for whoever has it.

    Returns
    -------
    The lock, or None where somebody else has it: another process, or another thread of this one.

    Raises
    ------
    OutputRefused
        When there can be no such file.
    """
    make_folder(path.parent)
    inner: Any = FileLock(path, mode=0o600, thread_local=False)
    try:
        inner.acquire(timeout=max(patience_s, RACE_S), poll_interval=0.02)
    except Timeout:
        return None
    except OSError as error:
        is_link = path.is_symlink()
        raise refusal(OSError(errno.ELOOP, "it is a link") if is_link else error, path) from error
    return Lock(path, inner)


def is_held(path: Path) -> bool:
    """Whether somebody has a lock now."""
    if not os.path.lexists(path):
        return False
    lock = take(path)
    if lock is None:
        return True
    lock.release()
    return False


class Workplace:
    """A folder for files while they are made. It and everything recorded in it go when it is closed.

    What a process leaves that is killed is taken away by `clear_dead`.

    Parameters
    ----------
    base
        Folder of such folders.
    name
        Name in it, which nobody else may use; a random one where it is empty.

    Attributes
    ----------
    folder
        The folder, readable by its owner alone.

    Raises
    ------
    OutputRefused
    """

    def __init__(self, base: Path, name: str = "") -> None:
        make_folder(base)
        while True:
            own = name or secrets.token_hex(8)
            lock = take(base / f"{own}{LOCK}")
            if lock is not None:
                break  # else somebody is just finding out that nobody has it
        self.folder, self._lock, self._pid = base / own, lock, os.getpid()
        self._made: list[Path] = []
        try:
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            lock.release(is_removing=True)
            raise refusal(error, self.folder) from error

    def beside(self, path: Path) -> Path:
        """A folder beside a file, for what is to get the file's name when it is whole. Links are written through.

        Raises
        ------
        OutputRefused
        """
        try:
            goal = final_path(path)
        except OSError as error:
            raise refusal(error, path) from error
        folder = goal.parent / f".facefusion-{secrets.token_hex(8)}"
        try:
            with (self.folder / _JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(str(folder)) + "\n")  # before it is made, so that it is always known
            self._made.append(folder)
            goal.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise refusal(error, path) from error
        return folder

    def drop(self, *folders: Path) -> None:
        """Take folders away that `beside` made."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            if folder in self._made:
                self._made.remove(folder)

    def close(self) -> None:
        """Take everything away."""
        if os.getpid() != self._pid:
            return  # a fork of its owner
        self.drop(*self._made)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release(is_removing=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def clear_dead(base: Path) -> int:
    """Take away what processes left that are gone.

    Parameters
    ----------
    base
        Folder of working folders.

    Returns
    -------
    How many there were.
    """
    if base.is_symlink() or not base.is_dir():
        return 0
    with suppress(FileNotFoundError):
        names = {entry.name.removesuffix(LOCK) for entry in os.scandir(base)}
        return sum(_clear(base, name) for name in sorted(names))
    return 0


def _clear(base: Path, name: str) -> bool:
    try:
        lock = take(base / f"{name}{LOCK}")
    except OutputRefused:
        return False  # of another user
    if lock is None:
        return False
    folder = base / name
    for made in _recorded(folder):
        shutil.rmtree(made, ignore_errors=True)
    try:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)  # a file, or a link: itself and not what it leads to
    except OSError:
        pass
    is_gone = not os.path.lexists(folder)
    lock.release(is_removing=is_gone)
    return is_gone


def _recorded(folder: Path) -> list[Path]:
    """Folders outside that a working folder knows of."""
    try:
        descriptor = os.open(folder / _JOURNAL, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with open(descriptor, encoding="utf-8") as journal:
            lines = journal.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        with suppress(ValueError):
            path = Path(str(json.loads(line)))
            if _BESIDE.fullmatch(path.name) and not path.is_symlink():
                found.append(path)
    return found


def user_base() -> Path:
    """Where working folders of this user are that belong to no job.

    Raises
    ------
    OutputRefused
    """
    try:
        return make_folder(platformdirs.user_state_path("facefusion") / "working")
    except OutputRefused:
        user = os.getuid() if hasattr(os, "getuid") else ""
        base = make_folder(Path(tempfile.gettempdir()) / f"facefusion-{user}" / "working")
        if hasattr(os, "getuid") and base.parent.lstat().st_uid != os.getuid():
            raise
        return base


@contextmanager
def user_workplace() -> Iterator[Workplace]:
    """A working folder of this user; what earlier ones left that were killed is taken away."""
    base = user_base()
    clear_dead(base)
    with Workplace(base) as place:
        yield place


def stand_in(folder: Path, output: Path) -> Path:
    """Where an output is made in a folder beside it: under its own name, where that leaves room for a longer one."""
    return folder / (output.name if len(os.fsencode(output.name)) <= LONG_BYTES else f"output{output.suffix}")


@contextmanager
def delivery(place: Workplace, output: Path) -> Iterator[Path]:
    """A file to write in place of an output: it gets the output's name at the end, when all went well.

    Raises
    ------
    OutputRefused
    """
    folder = place.beside(output)
    made = stand_in(folder, output)
    try:
        with told_as(made, output):
            yield made
        deliver(made, output)
    finally:
        place.drop(folder)


@contextmanager
def told_as(made: Path, output: Path) -> Iterator[None]:
    """Have errors name the output, where they name the file that is made in its place."""
    try:
        yield
    except FaceFusionError as error:
        error.message = error.message.replace(str(made), str(output))
        error.args = (error.message, *error.args[1:])
        raise


def deliver(made: Path, output: Path) -> None:
    """Give a finished file its name. Links are written through; the rights of a file that was there are kept.

    Raises
    ------
    OutputRefused
    """
    try:
        goal = final_path(output)
        with suppress(FileNotFoundError, PermissionError):
            os.chmod(made, stat.S_IMODE(os.stat(goal).st_mode))
        os.replace(made, goal)
    except OSError as error:
        raise refusal(error, output) from error
