"""The border of libav: what it raises while a file is written becomes one of our errors, wherever it is raised."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av.error

from facefusion.documents import reason_of
from facefusion.errors import MEMORY_HINT, FaceFusionError, MediaError, OutOfMemory, OutputRefused, check_memory
from facefusion.media.files import translate_os_error

FOREIGN = (
    av.error.FFmpegError, OSError, ValueError, TypeError, ArithmeticError, RuntimeError, AssertionError, LookupError,
    AttributeError, MemoryError,
)  # fmt: skip
"""What PyAV raises: libav's codes, and what its own checks of arguments, times and states say."""
_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG, errno.ENOENT,
    errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EBADF,
    errno.EPIPE, errno.ELOOP, errno.EBUSY, errno.ETXTBSY, errno.ENODEV, errno.ENXIO,
}  # fmt: skip


_ROOM_BYTES = 256 << 20
"""Where not as much can be had, encoders fail for want of memory: they take it for pictures and threads."""
_OWN = ".nut"
"""Ending of parts of an output, whose names mean nothing to whoever asked for it."""


def is_of_disk(error: BaseException) -> bool:
    """Whether an error comes from the file system, not from what is written."""
    return getattr(error, "errno", None) in _DISK


def translate_write_error(error: BaseException, path: Path) -> MediaError:
    """Our error for what was raised while a clip was written."""
    check_memory(error, f"{_name_of(path)} could not be written")
    if is_of_disk(error) or (isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError)):
        return translate_os_error(error, path)  # type: ignore[arg-type]
    if _is_memory_short():
        raise OutOfMemory(f"There is not enough memory: {_name_of(path)} could not be written.", MEMORY_HINT) from error
    hint = "Nothing was changed. End the output in .mkv, or leave tracks out with --drop-tracks."
    if path.suffix == _OWN:
        hint = "Nothing was changed. Use --output-video-encoder libx264, or try it on a part (--start, --end)."
    return OutputRefused(f"{_name_of(path)} cannot be written: libav says '{reason_of(error)}'.", hint)


def _is_memory_short() -> bool:
    """Whether a limit leaves no room: encoders say of that only that something went wrong."""
    try:
        mmap.mmap(-1, _ROOM_BYTES).close()
    except (OSError, ValueError, MemoryError):
        return True
    return False


def _name_of(path: Path) -> str:
    return "a part of the output" if path.suffix == _OWN else str(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever libav raises while a file is written into our errors.

    Raises
    ------
    OutputRefused
    """
    try:
        yield
    except FaceFusionError:
        raise
    except FOREIGN as error:
        raise translate_write_error(error, path) from error
