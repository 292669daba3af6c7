"""How long the last frame is shown: as long as in the target, whatever the order in which frames are decoded."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from tests.films import make_parts, send_through

from facefusion.media.animation import write_animation
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger

BASE = Fraction(1, 16000)
SLOW = ([0, 160000, 400000], 416000)  # 0, 10 and 25 s, ends at 26 s
HELD = ([0, 16000, 32000], 320000)  # the last of three is held: ends at 20 s
UNEVEN = ([0, 640, 2720, 6400, 8000, 9600, 16160, 16800, 20000, 20160, 24000, 32000], 33000)


def make(path, times, end, b_frames=2):
    """Frames that say how long they last, reordered."""
    with av.open(str(path), "w", options={"video_track_timescale": "16000"}) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = BASE
        stream.options = {"bf": str(b_frames), "preset": "veryfast", "b-adapt": "0"}
        lengths = dict(zip(times, [*np.diff([*times, end]).tolist()], strict=True))
        packets = []
        for number, at in enumerate(times):
            pixels = np.full((48, 64, 3), 20 * number, np.uint8)
            pixels[:, number * 4 : number * 4 + 8] = 255
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base, picture.duration = at, BASE, lengths[at]
            packets += stream.encode(picture)
        for packet in [*packets, *stream.encode(None)]:
            packet.duration = lengths[packet.pts]
            output.mux(packet)
    return path


def read(path):
    """Times and lengths of the frames of a clip, in seconds, and the length that a player states."""
    frames = [(f.pts * f.time_base, f.duration * f.time_base) for f in ClipReader(path)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stated = container.duration / 1e6 if stream.duration is None else stream.duration * stream.time_base
    return frames, float(stated)


@pytest.mark.parametrize(("times", "end"), [SLOW, HELD, UNEVEN], ids=["slow", "held", "uneven"])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("length_s", [8.0, 0.5], ids=["whole", "in spans"])
def test_the_last_frame_is_as_long_as_in_the_target(tmp_path, times, end, b_frames, length_s):
    clip = make(tmp_path / "a.mp4", times, end, b_frames)
    frames = list(ClipReader(clip))
    assert [f.pts for f in frames] == times
    assert frames[-1].duration == end - times[-1]
    for suffix in (".mp4", ".mov", ".mkv"):
        made = tmp_path / f"o{suffix}"
        with ClipMerger(made, ClipReader(clip), "libx264", make_parts(clip, tmp_path / suffix, length_s=length_s)) as m:
            m.merge()
        again, stated_s = read(made)
        assert [float(at) for at, _ in again] == pytest.approx([t / 16000 for t in times], abs=0.001)
        assert float(again[-1][1]) == pytest.approx((end - times[-1]) / 16000, abs=0.002)
        assert stated_s == pytest.approx(end / 16000, abs=0.002)
        if suffix != ".mkv":
            assert probe(made).end == end


def test_a_part_ends_where_it_was_said(tmp_path):
    clip = make(tmp_path / "a.mp4", *SLOW)
    send_through(clip, tmp_path / "o.mp4", end_s=12.0)
    assert read(tmp_path / "o.mp4")[1] == pytest.approx(12.0, abs=0.001)
    send_through(clip, tmp_path / "p.mp4", end_s=25.5)
    assert read(tmp_path / "p.mp4")[1] == pytest.approx(25.5, abs=0.001)
    send_through(clip, tmp_path / "q.mp4", start_s=10.0)
    assert read(tmp_path / "q.mp4")[1] == pytest.approx(16.0, abs=0.001)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_the_last_picture_of_an_animation_stays_as_long(tmp_path, suffix):
    clip = make(tmp_path / "a.mp4", *SLOW)
    made = tmp_path / f"o{suffix}"
    write_animation(made, ClipReader(clip), make_parts(clip, tmp_path / "s", "ffv1"))
    delays = []
    with Image.open(made) as image:
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            delays.append(image.info["duration"])
    assert delays == [10000, 15000, 1000]
