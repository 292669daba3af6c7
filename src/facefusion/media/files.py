"""Checks and names of files, shared by photos and clips."""

from __future__ import annotations

import errno
import glob
import os
from pathlib import Path

from facefusion.errors import MediaError, MediaMissing, MediaUnreadable, OutputRefused, check_memory


def check_file(path: Path) -> None:
    """Refuse what is no file with content.

    Raises
    ------
    MediaMissing
        When nothing is there.
    MediaUnreadable
        When it is a folder, a device, empty or not readable.
    """
    if not path.exists():
        raise MediaMissing(f"There is no file {path}.", "Check the path.")
    if not path.is_file():
        raise MediaUnreadable(f"{path} is not a file.", "Name a photo or a clip.")
    if not os.access(path, os.R_OK):
        raise MediaUnreadable(f"{path} cannot be read: permission denied.", "Change its permissions.")
    if path.stat().st_size == 0:
        raise MediaUnreadable(f"{path} is empty.", "Get an intact copy.")


def check_output(output: Path, inputs: list[Path]) -> None:
    """Refuse an output that is one of the inputs, a folder, or in a folder that cannot be written.

    Raises
    ------
    OutputRefused
    """
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise OutputRefused(f"The output {output} is also an input.", "Choose another name for the output.")
    if output.is_dir():
        raise OutputRefused(f"The output {output} is a folder.", "Name a file in it.")
    folder = output.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputRefused(f"{folder} is a file, so {output} cannot be inside it.", "Choose another folder.")
    if not os.access(folder, os.W_OK):
        raise OutputRefused(
            f"The folder {folder} cannot be written.", "Choose another folder or change its permissions."
        )


def partial_path(path: Path) -> Path:
    """Temporary name beside a file, with the same ending."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def remove_partials(path: Path) -> None:
    """Take away what processes that were killed left of a file; nobody else may be writing it."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        left.unlink(missing_ok=True)


def translate_os_error(error: Exception, path: Path) -> MediaError:
    """Our error for a failed write."""
    check_memory(error, f"{path} could not be written")
    number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or error
    if number in (errno.ENOSPC, errno.EDQUOT):
        return OutputRefused(f"There is no room left for {path}.", "Free some space; nothing was changed.")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputRefused(f"{path} cannot be written: {reason}.", "Choose another folder.")
    return OutputRefused(f"{path} cannot be written: {reason}.", "Check the disk; nothing was changed.")
