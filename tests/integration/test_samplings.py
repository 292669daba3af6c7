"""Which samples of colour every encoder is given, and what is said where they are fewer than the target's."""

from fractions import Fraction

import av
import numpy as np
import pytest

from facefusion.media.generate import write_test_clip
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger, Part, SegmentWriter
from facefusion.media.writer import sampling_of
from facefusion.types.frame import RenderedFrame

ALL = ("yuv420p", "yuv422p", "yuv444p")
CASES = [
    *((encoder, name, name, False) for encoder in ("libx264", "libx265", "libvpx-vp9", "ffv1") for name in ALL),
    ("libvpx-vp9", "yuv440p", "yuv440p", False),
    ("libvpx-vp9", "yuvj444p", "yuv444p", False),
    ("libx264", "yuvj444p", "yuvj444p", False),
    ("libx264", "yuv440p", "yuv420p", True),
    ("libsvtav1", "yuv420p", "yuv420p", False),
    ("libsvtav1", "yuv422p", "yuv420p", True),
    ("libsvtav1", "yuv444p", "yuv420p", True),
    ("prores_ks", "yuv422p", "yuv422p10le", False),
    ("prores_ks", "yuv444p", "yuv422p10le", True),
    ("libx264", "yuv422p10le", "yuv420p", True),
    ("libx264", "yuv420p10le", "yuv420p", False),
    ("libx264", "bgr0", "yuv420p", True),
    ("libx264", "gray", "yuv420p", False),
    ("ffv1", "bgr0", "bgr0", False),
]


@pytest.mark.parametrize(("encoder", "name", "wanted", "is_told"), CASES)
def test_colours_are_kept_or_it_is_said(tmp_path, encoder, name, wanted, is_told):
    target, made = tmp_path / "target.mkv", tmp_path / ("made.mov" if encoder == "prores_ks" else "made.mkv")
    codec = "libx264" if "j" in name else "ffv1"
    frames = [np.full((96, 128, 3), (200, 60, 40), dtype=np.uint8)] * 2
    write_test_clip(target, frames, (0, 40), Fraction(1, 1000), codec=codec, pixel_format=name)
    reader = ClipReader(target, allow_8bit=True)
    with SegmentWriter(tmp_path / "part.nut", reader, encoder, "veryfast", 80) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    with ClipMerger(made, reader, encoder, [Part(tmp_path / "part.nut", writer.pts, writer.durations)]) as merger:
        merger.merge()
    with av.open(str(made)) as clip:
        picture = next(clip.decode(video=0))
    # Decoders have two names for full range with the same samples.
    assert picture.format.name.replace("yuvj", "yuv") == wanted.replace("yuvj", "yuv")
    assert any("colours are" in note for note in merger.notes) == is_told


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("yuv420p", (1, 1)), ("yuv422p10le", (1, 0)), ("yuv411p", (2, 0)), ("yuv410p", (2, 2)), ("rgb24", (0, 0)),
        ("nv12", (1, 1)), ("gray", None), ("ya8", None), ("pal8", None),
    ],
)  # fmt: skip
def test_samplings_of_formats(name, wanted):
    assert sampling_of(name) == wanted
