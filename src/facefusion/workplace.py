"""Who owns which file: locks that go with their process, and working folders that belong to whoever holds the lock.

The system lets a lock go when its process ends, however it ends. So it can be told for certain what has no living
owner, and only that is ever taken away: never by name, age or number of a process.
"""

from __future__ import annotations

import errno
import json
import os
import platform
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

RACE_S = 0.1
"""How long a lock is tried for: a file that is just being taken away is no holder."""
LOCK = ".lock"
_JOURNAL = "made"
_BESIDE = re.compile(r"\.facefusion-[0-9a-f]{16}")
_owned: dict[str, int] = {}
"""Folders of this process's working folders, and the number of the process that made them."""


def is_beside(name: str) -> bool:
    """Whether a folder is called as working folders are that lie beside outputs."""
    return _BESIDE.fullmatch(name) is not None


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


def final_path(path: Path) -> Path:
    """The file that a name stands for: links are written through, also those whose goal is not there yet.

    Raises
    ------
    OSError
        For links that go in a circle, and where a device, a pipe or a folder is: a file never takes their place.
    """
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if found.exists() and not found.is_file():
        raise OSError(errno.EEXIST, "something is there that is not a file", str(path))
    return found


_FAR = re.compile(r"(nfs\d?|cifs|smb\w*|ceph|lustre|fuse\.(glusterfs|sshfs|ceph)) (//|[^/]+:)")
"""Kinds of file systems that several machines have in common, and how their addresses begin."""


def place_of(path: Path) -> str:
    """A name of the place where a file is or will be, which is the same for whoever reaches that place.

    Containers and name spaces of one machine that have a folder in common call it alike whatever its path in them is,
    and so do machines that mount the same address of a file server. A file system that no two machines share is named
    by the machine. Where the system does not tell what is mounted, machine and path count.
    """
    whole = Path(os.path.realpath(path))
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{platform.node()}:{whole}"
    found, above = "", Path("/")
    for line in table.splitlines():  # the last one of a place lies on top
        own, _, told = line.partition(" - ")
        _, _, device, root, point, *_ = own.split(" ")
        kind, source, *_ = told.split(" ")
        folder = Path(_unescaped(point))
        if whole.is_relative_to(folder) and len(folder.parts) >= len(above.parts):
            is_far = _FAR.match(f"{kind} {_unescaped(source)}")
            origin = _unescaped(source).rstrip("/") if is_far else f"{machine} {device}:"
            inner = Path("/", _unescaped(root)) / whole.relative_to(folder)
            found, above = f"{origin}{inner}", folder
    return found or f"{machine}:{whole}"


def _unescaped(text: str) -> str:
    """A path as the table of mounts writes it: blanks and the like in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


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


def take(path: Path, patience_s: float = RACE_S) -> Lock | None:
    """Take a lock.

    Parameters
    ----------
    path
        Its file; made where it is missing, never followed where it is a link.
    patience_s
        How long to wait for whoever has it. With 0 the file may be one that is just being taken away.

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
        inner.acquire(timeout=patience_s, poll_interval=0.02)
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
        _own(self.folder)

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
        _own(folder)
        return folder

    def drop(self, *folders: Path) -> None:
        """Take folders away that `beside` made."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            _disown(folder)
            if folder in self._made:
                self._made.remove(folder)

    def close(self) -> None:
        """Take everything away."""
        if os.getpid() != self._pid:
            return  # a fork of its owner
        self.drop(*self._made)
        shutil.rmtree(self.folder, ignore_errors=True)
        _disown(self.folder)
        self._lock.release(is_removing=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def _own(folder: Path) -> None:
    _owned[os.path.realpath(folder)] = os.getpid()


def _disown(folder: Path) -> None:
    _owned.pop(os.path.realpath(folder), None)


def is_owned(path: Path) -> bool:
    """Whether a file lies in a working folder of this process: it goes with it, however the process ends."""
    return any(_owned.get(str(folder)) == os.getpid() for folder in Path(os.path.realpath(path)).parents)


def clear_dead(base: Path) -> int:
    """Take away what processes left that are gone.

    Parameters
    ----------
    base
        Folder of working folders, and of nothing else.

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
        lock = take(base / f"{name}{LOCK}", patience_s=0)  # most that are held belong to who lives
    except OutputRefused:
        return False  # of another user
    if lock is None:
        return False
    folder = base / name
    owned = [folder, *_inner(folder)]
    is_over = not any(
        is_held(one.with_name(f"{one.name}{LOCK}")) for one in owned[1:]
    )  # by what the dead one had begun
    recorded = [made for one in owned for made in _recorded(one)]
    # What could not be removed is still known afterwards.
    is_gone = is_over and not [made for made in recorded if not _remove(made)] and _remove(folder)
    lock.release(is_removing=is_gone)
    return is_gone


def _inner(folder: Path) -> list[Path]:
    """Working folders inside of one, as a job in a folder of its own has them."""
    return [Path(place) for place, _, names in os.walk(folder) if _JOURNAL in names and Path(place) != folder]


def _remove(path: Path) -> bool:
    """Take a folder away, or a file, or a link and not what it leads to; whether it is gone."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return not os.path.lexists(path)


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
            if is_beside(path.name) and not path.is_symlink():
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


def cache_base() -> Path:
    """Where working folders of this user are that hold what was fetched from elsewhere.

    Raises
    ------
    OutputRefused
    """
    base = make_folder(_cache_path())
    if hasattr(os, "getuid") and base.lstat().st_uid != os.getuid():
        raise OutputRefused(f"{base} belongs to another user.", "Set TMPDIR to a folder of your own.")
    return base


def _cache_path() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"facefusion-cache-{user}"


def clear_user() -> int:
    """`clear_dead` wherever this user has working folders that belong to no job."""
    count = clear_dead(user_base())
    if os.path.lexists(_cache_path()):
        with suppress(OutputRefused):  # it is another user's
            count += clear_dead(cache_base())
    return count


@contextmanager
def user_workplace() -> Iterator[Workplace]:
    """A working folder of this user; what earlier ones left that were killed is taken away."""
    base = user_base()
    clear_dead(base)
    with Workplace(base) as place:
        yield place
