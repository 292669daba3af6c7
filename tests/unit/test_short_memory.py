"""Encoders that fail for want of memory say only that something went wrong."""

import errno
from pathlib import Path

import av.error
import pytest

from facefusion.errors import OutOfMemory, OutputRefused
from facefusion.media import border

EXTERNAL = -542398533
"""libav's number for an error of a library that it uses."""


def failed() -> av.error.FFmpegError:
    return av.error.ExternalError(EXTERNAL, "Generic error in an external library")


def test_an_encoder_that_fails_without_room_is_short_of_memory(monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(border.mmap, "mmap", refuse)
    with pytest.raises(OutOfMemory) as caught, border.writing(Path("/jobs/1/00000.nut")):
        raise failed()
    assert "00000" not in str(caught.value)
    with pytest.raises(OutputRefused, match="space"), border.writing(Path("/out/a.mp4")):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")


def test_an_encoder_that_fails_with_room_is_told_without_names_of_our_own(monkeypatch):
    monkeypatch.setattr(border, "_is_memory_short", lambda: False)
    with pytest.raises(OutputRefused) as caught, border.writing(Path("/jobs/1/00000.nut")):
        raise failed()
    assert "00000" not in str(caught.value) and ".mkv" not in str(caught.value)
    with pytest.raises(OutputRefused, match=r"a\.mp4 cannot be written: libav says"), border.writing(Path("a.mp4")):
        raise failed()


def test_room_is_found_where_there_is_some():
    assert not border._is_memory_short()
