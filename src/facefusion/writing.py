"""Files get their name when they are whole: they are made in a folder beside their place, which goes with its owner.

Whatever is written for a user, small or large, is written by one of these functions. What a killed process leaves is
taken away by the next one (`facefusion.workplace`).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from facefusion.errors import FaceFusionError, OutputRefused
from facefusion.workplace import Workplace, final_path, is_owned, refusal, user_workplace

LONG_BYTES = 180
"""Writers add to a name while they write; file systems take 255 bytes."""


def stand_in(folder: Path, output: Path) -> Path:
    """Where an output is made in a folder beside it: under its own name, where that leaves room for a longer one."""
    if len(os.fsencode(output.name)) <= LONG_BYTES:
        return folder / output.name
    ending = output.suffix if len(os.fsencode(output.suffix)) <= 32 else ""  # else it is no ending of a kind of file
    return folder / f"output{ending}"


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
    """Give a finished file its name, lastingly. Links are written through; the rights of the file before it are kept.

    Raises
    ------
    OutputRefused
    """
    try:
        goal = final_path(output)
        sync(made)
        with suppress(FileNotFoundError, PermissionError):
            os.chmod(made, stat.S_IMODE(os.stat(goal).st_mode))
        os.replace(made, goal)
    except OSError as error:
        raise refusal(error, output) from error
    with suppress(OSError):  # the file is there; a folder that may not be opened is synchronised later
        sync(goal.parent)


class Replacement:
    """A file that takes the place of another; `put_in_place` or `drop` it. A block does the one or the other.

    Parameters
    ----------
    goal
        The file that is to be there. What lies in a working folder of this process is written as it is.

    Attributes
    ----------
    path
        What to write.

    Raises
    ------
    OutputRefused
    """

    def __init__(self, goal: Path) -> None:
        self._goal, self._stack = goal, ExitStack()
        if is_owned(goal):
            self.path = goal
            self._stack.push(self._take_away)
        else:
            self.path = self._stack.enter_context(_delivered(goal))

    def put_in_place(self) -> None:
        """Give it its name.

        Raises
        ------
        OutputRefused
        """
        self._stack.close()

    def drop(self) -> None:
        """Take it away; nothing where it has its name already."""
        with suppress(_Dropped), self._stack:
            raise _Dropped

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.put_in_place()
        else:
            self.drop()

    def _take_away(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


class _Dropped(Exception):
    """Ends a delivery that is not wanted."""


@contextmanager
def _delivered(goal: Path) -> Iterator[Path]:
    with user_workplace() as place, delivery(place, goal) as made:
        yield made


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of another when the block ends well, and is gone when it does not.

    Raises
    ------
    OutputRefused
    """
    with Replacement(path) as replacement, told_as(replacement.path, path):
        yield replacement.path


def save_bytes(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all.

    Raises
    ------
    OSError
    """
    with replacing(path) as made:
        made.write_bytes(content)


def save_private(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all, for its owner alone; nobody else can read it at any moment.

    One that others could read before is its owner's alone from then on.

    Raises
    ------
    OutputRefused
    """
    try:
        with suppress(FileNotFoundError):  # the rights of the file before it are kept
            os.chmod(final_path(path), 0o600)
        with replacing(path) as made:
            made.touch(mode=0o600)
            os.chmod(made, 0o600)
            made.write_bytes(content)
    except OutputRefused:  # which is an OSError, too
        raise
    except OSError as error:
        raise refusal(error, path) from error


def copy_private(path: Path, made: Path) -> None:
    """Copy a file to a new one that nobody else may read, and make it last.

    Raises
    ------
    OSError
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with path.open("rb") as source, os.fdopen(os.open(made, flags, 0o600), "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
    sync(made)


def link_or_copy(path: Path, made: Path) -> None:
    """A second name for a file that is never written again; a copy where the file system has no links.

    Raises
    ------
    OSError
    """
    try:
        os.link(path, made, follow_symlinks=False)
    except (FileNotFoundError, FileExistsError):
        raise
    except (OSError, NotImplementedError):
        copy_private(path, made)


def sync(path: Path) -> None:
    """Make what was written last, as far as the file system can."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)
