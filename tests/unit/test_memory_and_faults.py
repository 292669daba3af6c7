"""Errors of libraries become ours: too little memory is said as that, and never as a damaged clip or a bad disk."""

from __future__ import annotations

import errno
import sqlite3

import av
import cv2
import numpy as np
import onnxruntime
import psutil
import pytest

from facefusion import errors
from facefusion.apps.endings import exit_code
from facefusion.errors import (
    FaceFusionError,
    Fault,
    MediaUnreadable,
    OutOfMemory,
    OutputRefused,
    SegmentDamaged,
    check_memory,
    is_lack_of_memory,
    own_error,
)
from facefusion.jobs.memory import free_bytes
from facefusion.media import image, probe, reader
from facefusion.media.files import translate_os_error
from facefusion.models.session import Session
from facefusion.testing.fakes import sample_path


def library_errors():
    return [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype("u1")),
        OSError(errno.ENOMEM, "Cannot allocate memory", "clip.mp4"),
        av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory"),
        OSError("out of memory error when reading image file"),  # Pillow
        cv2.error("OpenCV(4) alloc.cpp: error: (-4:Insufficient memory) Failed to allocate 8000000000 bytes"),
        RuntimeError("std::bad_alloc"),
        onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(
            "Non-zero status code returned while running Conv node: Failed to allocate memory for requested buffer"
        ),
        onnxruntime.capi.onnxruntime_pybind11_state.Fail("CUDA failure 2: out of memory ; GPU=0"),
        RuntimeError("can't start new thread"),
        sqlite3.OperationalError("out of memory"),
    ]


@pytest.mark.parametrize("error", library_errors(), ids=lambda error: type(error).__name__)
def test_too_little_memory_is_known_whoever_says_it(error):
    assert is_lack_of_memory(error)
    own = own_error(error)
    assert isinstance(own, OutOfMemory)
    assert isinstance(own, MemoryError)
    assert "--workers" in own.hint
    assert exit_code(own) == 9


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error", "out of memory.mp4"),
        av.error.InvalidDataError(1, "Invalid data", "bad_alloc.mp4"),
        MediaUnreadable("out of memory.mp4 is damaged."),
        ValueError("out of memory.mp4"),
        RuntimeError("memory of an elephant"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_names_that_sound_like_it_are_no_lack_of_memory(error):
    assert not is_lack_of_memory(error)
    assert not isinstance(own_error(error), OutOfMemory)


@pytest.mark.parametrize("kind", [MediaUnreadable, OutputRefused, SegmentDamaged])
def test_an_error_of_ours_that_came_of_too_little_memory_says_so(kind):
    try:
        try:
            raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
        except av.error.FFmpegError as error:
            raise kind("clip.mp4 is damaged.", "Get an intact copy.") from error
    except FaceFusionError as error:
        own = own_error(error)
    assert isinstance(own, OutOfMemory)
    assert "damaged" not in str(own)


def test_other_errors_of_ours_stay_what_they_are():
    error = MediaUnreadable("a.mp4 is empty.")
    assert own_error(error) is error
    check_memory(error, "a.mp4 could not be read")
    lack = OutOfMemory("There is not enough memory: b.mp4 could not be read.", "Wait.")
    assert own_error(lack) is lack


def test_a_fault_says_what_it_was_and_where():
    try:
        raise KeyError("nobody")
    except KeyError as error:
        own = own_error(error)
    assert isinstance(own, Fault)
    assert "KeyError: 'nobody', at test_memory_and_faults.py:" in own.message
    assert "Traceback" in own.trace
    assert exit_code(own) == 1


def test_a_clip_that_there_is_no_memory_for_is_not_called_damaged(monkeypatch):
    def fail(*_, **__):
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

    clip = sample_path("target.mp4")
    whole = reader.ClipReader(clip)
    with monkeypatch.context() as patch:
        patch.setattr(probe.av, "open", fail)
        with pytest.raises(OutOfMemory, match=r"target\.mp4 could not be opened"):
            probe.open_clip(clip)

    class Packet:
        decode = fail

    with pytest.raises(OutOfMemory, match=r"target\.mp4 could not be decoded"):
        whole._decode(Packet())


def test_a_photo_that_there_is_no_memory_for_is_not_called_damaged(monkeypatch):
    def fail(*_, **__):
        raise OSError("out of memory error when reading image file")

    monkeypatch.setattr(image.Image, "open", fail)
    with pytest.raises(OutOfMemory, match=r"source\.jpg could not be read"):
        image.read_photo(sample_path("source.jpg"))


def test_an_output_that_there_is_no_memory_for_is_no_fault_of_the_disk(tmp_path):
    with pytest.raises(OutOfMemory, match=r"o\.mp4 could not be written"):
        translate_os_error(OSError(errno.ENOMEM, "Cannot allocate memory"), tmp_path / "o.mp4")
    assert isinstance(translate_os_error(OSError(errno.EIO, "broken"), tmp_path / "o.mp4"), OutputRefused)


def test_a_model_that_there_is_no_memory_for_says_so():
    class Graph:
        def run(self, names, feed):
            raise RuntimeError("std::bad_alloc")

    session = Session.__new__(Session)
    session._session, session._is_bound, session._types, session.inputs, session.outputs = Graph(), False, {}, {}, {}
    session.spec = type("Spec", (), {"id": "some_model"})
    with pytest.raises(OutOfMemory, match="model some_model could not be run"):
        session.run({})


def write_files(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


class Machine:
    """What psutil tells of one."""

    available = 8_000_000 * 1024


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 8_000_000 * 1024),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8_000_000 * 1024),
        (
            {
                "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "5\n", "sys/fs/cgroup/a/memory.max": "3000000000\n",
                "sys/fs/cgroup/a/memory.current": "2500000000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 500000000\nfile 7\n",
            },
            1_000_000_000,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,memory:/x\n0::/\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1000\n",
                "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "2000\n",
            },
            0,
        ),
        ({"proc/self/cgroup": "nonsense\n4:memory\n0::/../../..\n"}, 8_000_000 * 1024),
    ],
)  # fmt: skip
def test_memory_that_a_container_may_not_take_is_not_free(tmp_path, monkeypatch, files, wanted):
    monkeypatch.setattr(psutil, "virtual_memory", Machine)
    write_files(tmp_path, files)
    assert free_bytes(tmp_path) == wanted


def test_where_nobody_tells_how_much_is_free_something_is_reckoned_with(tmp_path, monkeypatch):
    def fail():
        raise OSError("no such thing here")

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    assert free_bytes(tmp_path) > 0


@pytest.mark.parametrize("is_limited", [False, True])
def test_a_library_that_can_no_longer_be_loaded_is_a_lack_of_memory_where_memory_is_limited(monkeypatch, is_limited):
    """A segment that cannot be mapped may also be one of a folder from which nothing may be run."""
    monkeypatch.setattr(errors, "_is_memory_limited", lambda: is_limited)
    error = ImportError("/x/onnxruntime.so: failed to map segment from shared object")
    assert is_lack_of_memory(error) is is_limited
    assert is_lack_of_memory(ImportError("/x/y.so: failed to map segment: Cannot allocate memory"))
    assert not is_lack_of_memory(ImportError("No module named 'onnx'"))
