"""A picture that stands for seconds, in a film whose packets are not in the order in which they are shown."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from facefusion.media.generate import write_test_clip
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger, Part, SegmentWriter
from facefusion.types.frame import RenderedFrame

BASE = Fraction(1, 100)
PAUSES = {"near the end": 9, "in the middle": 5, "at the beginning": 0, "before the last": 12}


def make_target(path: Path, at: int) -> list[int]:
    """14 frames, every 4 hundredths of a second, and 5 s after one of them."""
    times = [number * 4 + (500 if number > at else 0) for number in range(14)]
    frames = [np.full((96, 128, 3), 60 + 5 * number, dtype=np.uint8) for number in range(14)]
    write_test_clip(path, frames, times, BASE, options={"bf": "2", "b-adapt": "0"})
    return times


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("at", PAUSES.values(), ids=PAUSES)
def test_a_pause_is_counted_once(tmp_path, at, ending):
    """Near the end it was counted twice: 10.28 s for 5.56 s."""
    target, made = tmp_path / "target.mp4", tmp_path / f"made{ending}"
    times = make_target(target, at)
    reader = ClipReader(target)
    with SegmentWriter(tmp_path / "part.nut", reader, "libx264", "veryfast", 80) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    assert writer.pts == times
    assert writer.durations[:-1] == [after - before for before, after in pairwise(times)]
    assert writer.durations[-1] in (0, 4)
    with ClipMerger(made, reader, "libx264", [Part(tmp_path / "part.nut", writer.pts, writer.durations)]) as merger:
        merger.merge()
    with av.open(str(made)) as clip:
        assert clip.duration / av.time_base == pytest.approx(5.56, abs=0.011)


def test_a_part_knows_how_long_its_last_picture_is_shown(tmp_path):
    """Also where it ends, or is read in spans."""
    target = tmp_path / "target.mp4"
    times = make_target(target, 9)
    reader = ClipReader(target, end_s=3.0)
    assert [(frame.pts, frame.duration) for frame in reader][-2:] == [(32, 4), (36, 264)]
    spans = [(None, times[5]), (times[5], times[10]), (times[10], None)]
    found = [(frame.pts, frame.duration) for span in spans for frame in ClipReader(target, span=span)]
    whole = [(frame.pts, frame.duration) for frame in ClipReader(target)]
    assert found[:-1] == whole[:-1] and [pts for pts, _ in found] == times
    assert found[9] == (36, 504)
