"""Checks and names of files, shared by photos and clips."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from facefusion.errors import MediaError, MediaMissing, MediaUnreadable, OutputRefused, check_memory
from facefusion.workplace import final_path
from facefusion.writing import replacing

MAX_NAME_BYTES = 255
Named = tuple[str, Path]
"""What a file is to the user, such as ``target``, and where it is."""


def check_file(path: Path) -> None:
    """Refuse what is no file with content.

    Raises
    ------
    MediaMissing
        When nothing is there.
    MediaUnreadable
        When it is a folder, a device, empty or not readable.
    """
    try:
        state = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaMissing(f"There is no file {path}.", "Check the path.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaUnreadable(f"{path} cannot be read: {reason}.", "Check the path.") from error
    if not stat.S_ISREG(state.st_mode):
        raise MediaUnreadable(f"{path} is not a file.", "Name a photo or a clip.")
    if not os.access(path, os.R_OK):
        raise MediaUnreadable(f"{path} cannot be read: permission denied.", "Change its permissions.")
    if state.st_size == 0:
        raise MediaUnreadable(f"{path} is empty.", "Get an intact copy.")


def check_outputs(written: Sequence[Named], read: Sequence[Named]) -> None:
    """Refuse files to be written that are read too, that are the same, or that cannot be written.

    Files are compared by what they are and not by how they are called: links, hard links, and names that differ only in
    case where the folder does not tell them apart.

    Parameters
    ----------
    written
        What will be written.
    read
        What is read.

    Raises
    ------
    OutputRefused
        Naming the two that clash.
    """
    for what, path in written:
        _check_one_output(what, path)
    inputs = _Inputs(read)
    for what, path in written:
        clash = inputs.find(path)
        if clash is not None:
            other, source = clash
            raise OutputRefused(
                f"The {what} {path} is also an input: it is the {other}{'' if source == path else f' {source}'}.",
                f"Choose another name for the {what}.",
            )
    seen: dict[tuple[object, ...], Named] = {}
    for what, path in written:
        other, twin = seen.setdefault(place_of(path), (what, path))
        if (other, twin) != (what, path):
            raise OutputRefused(
                f"The {what} {path} is also the {other}{'' if twin == path else f' {twin}'}.",
                f"Choose another name for the {what}.",
            )


def check_output(output: Path, inputs: Sequence[Path]) -> None:
    """`check_outputs` for one output."""
    check_outputs([("output", output)], [("input", path) for path in inputs])


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names stand for one file, or will once it is there."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them is not there yet
        return place_of(one) == place_of(other)


class _Inputs:
    """Files that are read, however many: each is looked at once."""

    def __init__(self, read: Sequence[Named]) -> None:
        self._there: dict[tuple[int, int], Named] = {}
        self._others: list[Named] = []
        for named in read:
            try:
                state = os.stat(named[1])
            except (OSError, ValueError):  # not there, or not to be looked at
                self._others.append(named)
            else:
                self._there.setdefault((state.st_dev, state.st_ino), named)

    def find(self, path: Path) -> Named | None:
        """The input that a name stands for, or will once it is there."""
        try:
            state = os.stat(path)
        except (OSError, ValueError):
            return next((named for named in self._others if place_of(named[1]) == place_of(path)), None)
        return self._there.get((state.st_dev, state.st_ino))


def place_of(path: Path) -> tuple[object, ...]:
    """Something that is equal for equal places of files, whether or not they are there."""
    try:
        goal = final_path(path)
    except (OSError, ValueError):
        goal = path
    missing = [goal.name]
    folder = goal.parent
    while not os.path.isdir(folder) and folder != folder.parent:
        missing.append(folder.name)
        folder = folder.parent
    names = tuple(missing)
    if _ignores_case(folder):
        names = tuple(unicodedata.normalize("NFC", name).casefold() for name in names)
    try:
        state = os.stat(folder)
    except OSError:
        return (str(folder), *names)
    return (state.st_dev, state.st_ino, *names) if state.st_ino else (str(folder), *names)


def _ignores_case(folder: Path) -> bool:
    """Whether names that differ only in case are one file in a folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(100), entries, strict=False)]
        probe = next((folder / name for name in names if name != name.swapcase()), folder)
        turned = probe.with_name(probe.name.swapcase())
        return probe != turned and os.path.samefile(probe, turned)
    except (OSError, ValueError):
        return False


_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _check_one_output(what: str, path: Path) -> None:
    length = max((len(os.fsencode(name)) for name in path.parts), default=0)
    if length > MAX_NAME_BYTES:
        raise OutputRefused(
            f"A name in the path of the {what} {path} has {length} bytes; file systems take {MAX_NAME_BYTES}.",
            "Shorten it.",
        )
    try:
        goal = final_path(path)
        state = os.stat(goal) if goal.exists() else None
        if state is None and path.exists():
            state = os.stat(path)  # /dev/stdout and the like lead to what has no name
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputRefused(f"The {what} {path} cannot be written: {reason}.", "Choose another name.") from error
    if state is not None and stat.S_ISDIR(state.st_mode):
        raise OutputRefused(f"The {what} {path} is a folder.", "Name a file in it.")
    if state is not None and not stat.S_ISREG(state.st_mode):
        raise OutputRefused(f"The {what} {path} is a pipe or a device and not a file.", "Name a file.")
    if state is not None and (not state.st_mode & 0o222 or not os.access(goal, os.W_OK)):
        raise OutputRefused(
            f"The {what} {path} is there already and read-only.", "Choose another name or change its permissions."
        )
    folder = goal.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.path.isdir(folder):
        raise OutputRefused(f"{folder} is a file, so {path} cannot be inside it.", "Choose another folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputRefused(
            f"The folder {folder} cannot be written.", "Choose another folder or change its permissions."
        )
    try:
        # Permissions do not tell everything (/proc, a file system that is read-only): it is tried, without a name.
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in _PASSING:
            return  # what is short now need not be when the output is written
        raise OutputRefused(
            f"Nothing can be written into {folder}: {error.strerror or error}.", "Choose another folder."
        ) from error


def translate_os_error(error: Exception, path: Path) -> MediaError:
    """Our error for a failed write."""
    if isinstance(error, MediaError):
        return error
    check_memory(error, f"{path} could not be written")
    number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or error
    if number in (errno.ENOSPC, errno.EDQUOT):
        return OutputRefused(f"There is no room left for {path}.", "Free some space; nothing was changed.")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
        return OutputRefused(f"{path} cannot be written: {reason}.", "Choose another folder or name.")
    return OutputRefused(f"{path} cannot be written: {reason}.", "Check the disk; nothing was changed.")


__all__ = [
    "Named",
    "check_file",
    "check_output",
    "check_outputs",
    "final_path",
    "is_same_file",
    "place_of",
    "replacing",
    "translate_os_error",
]
