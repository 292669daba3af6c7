"""Small and large files are written under a temporary name beside their own, which then takes its place.

The temporary name is random and legal, is made exclusively (nothing that somebody planted is followed), and is locked
as long as its writer lives: what a killed process left can be told from what is being written. Only the standard
library; whoever writes translates `OSError`.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_NAME_BYTES = 255
_TOKEN_BYTES = 8
_TOKEN = re.compile(rf"[0-9a-f]{{{2 * _TOKEN_BYTES}}}")
_FOLDER = ".segments"

_claims: dict[Path, int] = {}
_claims_lock = threading.Lock()


def new_token() -> str:
    """Sixteen random hexadecimal digits."""
    return secrets.token_hex(_TOKEN_BYTES)


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


def partial_path(path: Path, token: str = "", suffix: str | None = None) -> Path:
    """Temporary name beside a file: hidden, with a token, and the same ending.

    Parameters
    ----------
    path
        The file.
    token
        Sixteen hexadecimal digits; random where none is given.
    suffix
        Another ending.

    Returns
    -------
    A name that is legal where the file's own is: a stem that is too long is cut at the end of a character.
    """
    stem, ending = _parts(path, suffix)
    return path.with_name(f".{stem}.{token or new_token()}.part{ending}")


def _parts(path: Path, suffix: str | None) -> tuple[str, str]:
    """Stem and ending as they stand in temporary names."""
    ending = path.suffix if suffix is None else suffix
    if len(os.fsencode(ending)) > 32:
        ending = ""  # that is no ending of a kind of file
    room = _name_limit(path.parent) - len(os.fsencode(ending)) - 2 * _TOKEN_BYTES - len("...part")
    stem = path.stem
    while stem and len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem, ending


def _name_limit(folder: Path) -> int:
    try:
        return min(os.pathconf(folder, "PC_NAME_MAX"), MAX_NAME_BYTES)
    except (AttributeError, OSError, ValueError):
        return MAX_NAME_BYTES


def claim_partial(path: Path, token: str = "", suffix: str | None = None) -> Path:
    """Make an empty file of a temporary name, which nobody else has, and lock it; `put_in_place` or `drop_partial` it.

    Parameters
    ----------
    path
        The file that is to be written. A link is written through: the temporary file lies beside its goal.
    token, suffix
        As in `partial_path`. The ending ``.segments`` makes a folder that only its owner may enter.

    Returns
    -------
    The temporary file.

    Raises
    ------
    OSError
    """
    goal = final_path(path)
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(goal, token, suffix)
    if suffix == _FOLDER:
        partial.mkdir(mode=0o700)
        descriptor = -1 if os.name == "nt" else os.open(partial, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    else:
        mode = _mode_of(goal)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(partial, flags, 0o666 if mode is None else mode)
    if os.name == "nt":
        if descriptor >= 0:
            os.close(descriptor)  # an open file cannot be renamed there
        return partial
    _try_lock(descriptor)
    with _claims_lock:
        _claims[partial] = descriptor
    return partial


def put_in_place(partial: Path, path: Path) -> None:
    """Give a finished temporary file its name, whole and lasting; the rights of the file that was there are kept.

    Raises
    ------
    OSError
    """
    goal = final_path(path)
    with partial.open("rb+") as file:
        _sync(file.fileno())
    mode = _mode_of(goal)
    if mode is not None:
        with suppress(PermissionError):
            os.chmod(partial, mode)
    os.replace(partial, goal)
    _release(partial)
    if os.name != "nt":
        with suppress(OSError):  # the file is there; a folder that may not be opened is synchronised later
            descriptor = os.open(goal.parent, os.O_RDONLY)
            try:
                _sync(descriptor)
            finally:
                os.close(descriptor)


def drop_partial(partial: Path) -> None:
    """Take a temporary file or folder of one's own away, if it is still there."""
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    _release(partial)


@contextmanager
def replacing(path: Path, token: str = "") -> Iterator[Path]:
    """A temporary file that takes the place of another when the block ends well, and is gone when it does not.

    Parameters
    ----------
    path, token
        As in `claim_partial`.

    Raises
    ------
    OSError
    """
    partial = claim_partial(path, token)
    try:
        yield partial
        put_in_place(partial, path)
    finally:
        drop_partial(partial)


def save_bytes(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all.

    Raises
    ------
    OSError
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def is_partial(path: Path) -> bool:
    """Whether a file has a name such as `partial_path` makes."""
    return re.fullmatch(rf"\..*\.{_TOKEN.pattern}\.part(\..*)?", path.name, re.DOTALL) is not None


def remove_partials(path: Path) -> list[Path]:
    """Take away what processes that were killed left of one file: exactly its temporary names, and unlocked ones only.

    Returns
    -------
    What was taken away.
    """
    if os.name == "nt":
        return []  # no lock tells there whether the writer lives
    removed = []
    with suppress(OSError):
        goal = final_path(path)
        ours = set()
        for suffix in (None, _FOLDER):
            stem, ending = _parts(goal, suffix)
            ours.add(re.compile(rf"\.{re.escape(stem)}\.{_TOKEN.pattern}\.part{re.escape(ending)}"))
        for name in os.listdir(goal.parent):
            left = goal.with_name(name)
            if any(pattern.fullmatch(name) for pattern in ours) and remove_partial(left):
                removed.append(left)
    return removed


def remove_partial(partial: Path) -> bool:
    """Take away one temporary file or folder whose writer is gone.

    Returns
    -------
    Whether it was taken away; what is locked, no plain file or folder, or not to be removed stays.
    """
    try:
        state = os.lstat(partial)
        if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
            return False
        descriptor = os.open(partial, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        if not _try_lock(descriptor):
            return False
        if stat.S_ISDIR(state.st_mode):
            shutil.rmtree(partial, ignore_errors=True)
        else:
            with suppress(OSError):
                partial.unlink()
        return not partial.exists()
    finally:
        os.close(descriptor)


def _mode_of(path: Path) -> int | None:
    """Rights of a file that is there."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None


def _release(partial: Path) -> None:
    with _claims_lock:
        descriptor = _claims.pop(partial, None)
    if descriptor is not None:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Lock without waiting; False where somebody else has the lock, or where there are none."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, ModuleNotFoundError):
        return False
    return True


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
