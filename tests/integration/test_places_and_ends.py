"""Places that only look as if they could be written, ends behind the end, and how finely MP4 tells its length."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from facefusion.errors import OutputRefused
from facefusion.media.files import check_output
from facefusion.media.generate import write_test_clip
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter, _movie_ticks
from facefusion.types.frame import RenderedFrame


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_place_is_tried_before_the_work():
    with pytest.raises(OutputRefused, match="/proc"):
        check_output(Path("/proc/x.mp4"), [])


def test_trying_a_place_leaves_nothing(tmp_path):
    check_output(tmp_path / "new" / "a.mp4", [])
    assert not list(tmp_path.iterdir())


def make_target(path: Path) -> Path:
    frames = [np.full((96, 128, 3), 90, dtype=np.uint8)] * 14
    write_test_clip(path, frames, list(range(14)), Fraction(1, 25), codec="mpeg4", audio_tracks=1)
    return path


@pytest.mark.parametrize(("end_s", "is_told"), [(None, False), (0.3, False), (0.56, False), (0.6, False), (9.0, True)])
def test_an_end_behind_the_end_is_told(tmp_path, end_s, is_told):
    reader = ClipReader(make_target(tmp_path / "target.avi"), end_s=end_s)
    notes = reader.describe(reader.defects(), [frame.pts for frame in reader])
    assert any("before --end" in note for note in notes) == is_told


def test_mp4_of_avi_tells_its_length_to_the_millisecond(tmp_path):
    """It was told in frames: 0.600 s for 0.576 s of sound."""
    reader = ClipReader(make_target(tmp_path / "target.avi"))
    with ClipWriter(tmp_path / "made.mp4", reader) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    with av.open(str(tmp_path / "made.mp4")) as clip:
        ends = [float(stream.duration * stream.time_base) for stream in clip.streams]
        assert clip.duration / av.time_base == pytest.approx(max(ends), abs=0.0011)


@pytest.mark.parametrize(
    ("film", "wanted"), [(25, 1000), (24, 1008), (30_000, 30_000), (90_000, 90_000), (10**6, 600_000), (1, 1000)]
)
def test_units_of_the_length_fit_the_film(film, wanted):
    assert _movie_ticks(film) == wanted
