"""Whatever a target's samples are and whoever encodes: what is new is there, and the rest is the target's."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from facefusion.imaging.mark import Shaper
from facefusion.media.reader import ClipReader, is_patchable, plane_of
from facefusion.media.writer import ClipWriter
from facefusion.policy.mark import MarkId
from facefusion.types.frame import Frame, RenderedFrame

KINDS = (
    "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuvj420p", "yuvj422p", "yuvj444p",
    "yuv420p9le", "yuv422p9le", "yuv444p9be", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv440p10le",
    "yuv422p10be", "yuv420p12le", "yuv422p12le", "yuv444p12be", "yuv422p14le", "yuv420p16le", "yuv422p16le",
    "yuv422p16be", "yuv444p16le", "nv12", "nv21", "yuyv422", "uyvy422", "gray", "gray10le", "gray16be",
    "gbrp", "gbrp10le", "gbrp12be", "rgb24", "bgr24", "bgr0", "rgb48le", "rgb48be", "yuva420p", "yuva422p10le",
    "yuva444p", "yuv420p full", "yuv422p full", "yuv444p full", "yuv422p10le full", "yuv420p10le full",
    "yuv422p10le BT.709", "yuv420p BT.709",
)  # fmt: skip
"""Formats of samples, in which range and in whose colours; those of old systems, where nothing is said."""
FEW = ("yuv420p", "yuv422p10le", "yuv420p10le full", "nv12", "rgb48le")
ENCODERS = {"libx264": KINDS, "prores_ks": KINDS, "ffv1": KINDS, "libvpx-vp9": FEW, "libsvtav1": FEW}
"""What every encoder is tried with: the first three stand for the ways in which pictures are handed to them."""
MARK = Shaper(MarkId(0xABCDEF, 0x123456789A).signs)
BOX = (49, 31, 191, 147)
NEW = np.array((200, 80, 60))


def picture_of(width: int, height: int) -> np.ndarray:
    """A smooth picture, (H, W, 3) uint8 RGB: what colours lose by their samples is nothing in it."""
    y, x = np.mgrid[:height, :width]
    return np.stack((40 + x * 120 / width, 60 + y * 100 / height, 170 - x * 100 / width), axis=2).astype(np.uint8)


def make_target(path: Path, kind: str, size: tuple[int, int]) -> Path:
    """Two frames whose samples are of a kind."""
    name, _, colours = kind.partition(" ")
    is_full, is_new = colours == "full" or name.startswith("yuvj"), bool(colours)
    way = {"dst_colorspace": 1 if is_new else 5, "dst_color_range": 2 if is_full else 1}
    codec = "mjpeg" if name.startswith("yuvj") else "ffv1" if is_new or name == "yuv440p10le" else "rawvideo"
    path = path.with_suffix(".nut" if codec == "rawvideo" else ".mkv")  # only NUT says of raw samples what they are
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=Fraction(25))
        (stream.width, stream.height), stream.pix_fmt = size, name
        if codec == "mjpeg":
            stream.options = {"qmin": "1", "qmax": "1"}
        if is_new:
            context = stream.codec_context
            context.color_primaries, context.color_trc, context.colorspace = (
                (9, 16, 1) if colours == "PQ" else (1, 1, 1)
            )
            context.color_range = 2 if is_full else 1
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(picture_of(*size), format="rgb24").reformat(format=name, **way)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def changed(frame: Frame, is_marked: bool) -> RenderedFrame:
    """The frame with another colour in a box of odd sides, but for a strip in its middle."""
    x0, y0, x1, y1 = BOX
    patch = frame.pixels[y0:y1, x0:x1].copy()
    patch[:, :51] = patch[:, 91:] = NEW
    return RenderedFrame(frame, patch, BOX, overlay=MARK if is_marked else None)


def check_pixels(given: np.ndarray, size: tuple[int, int], is_grey: bool) -> None:
    """What is new lies where it was put, and all else is the picture."""
    width, height = size
    wanted = picture_of(width, height).astype(float)
    if is_grey:
        wanted[:] = (wanted @ np.array((0.299, 0.587, 0.114)))[..., None]
    x0, y0, x1, y1 = BOX
    wanted[y0:y1, x0 : x0 + 51] = wanted[y0:y1, x0 + 91 : x1] = NEW
    edges = np.zeros((height, width), bool)
    for x in (x0, x0 + 51, x0 + 91, x1):
        edges[y0 - 8 : y1 + 8, x - 8 : x + 8] = True
    for y in (y0, y1):
        edges[y - 8 : y + 8, x0 - 8 : x1 + 8] = True
    off = np.abs(given[:height, :width].astype(float) - wanted).max(axis=2)[~edges]
    assert np.mean(off) < 5 and np.percentile(off, 99.5) < 16, (np.mean(off), np.percentile(off, 99.5), off.max())


def seen_in(path: Path) -> list[np.ndarray]:
    """Frames of an output as a player shows them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(("encoder", "kind"), [(one, kind) for one, kinds in ENCODERS.items() for kind in kinds])
def test_what_is_new_is_there_and_the_rest_is_the_targets(tmp_path, kind, encoder):
    for size in ((320, 256), (319, 257)):
        source = make_target(tmp_path / "in", kind, size)
        assert ClipReader(source, allow_8bit=True).info.pixel_format == kind.split()[0]
        for is_marked in (False, True):
            reader = ClipReader(source, allow_8bit=True)
            output = tmp_path / ("out.mov" if encoder == "prores_ks" else "out.mkv")
            with ClipWriter(output, reader, encoder=encoder, preset="superfast") as writer:
                for frame in reader:
                    writer.write(changed(frame, is_marked))
            for given in seen_in(output):
                check_pixels(given, size, kind.startswith("gray"))


@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize(
    ("encoder", "kind"),
    [("prores_ks", "yuv422p10le"), ("libx264", "yuv422p"), ("ffv1", "yuv420p")],
)
def test_untouched_samples_reach_the_encoder_bit_for_bit(tmp_path, kind, encoder, is_marked):
    source = make_target(tmp_path / "in", kind, (320, 256))
    before = next(iter(ClipReader(source, allow_8bit=True))).native
    reader = ClipReader(source, allow_8bit=True)
    with (
        ClipWriter(tmp_path / "out.mov", reader, encoder=encoder)
        if encoder != "ffv1"
        else ClipWriter(tmp_path / "out.mkv", reader, encoder=encoder) as writer
    ):
        frames = list(reader)
        after = writer.prepare(changed(frames[0], is_marked))
        for frame in frames:
            writer.write(RenderedFrame(frame))
    assert writer.keeps_native
    x0, y0, x1, y1 = BOX
    for number in range(3):
        old, new = plane_of(before, number), plane_of(after, number)
        x_step, y_step = 320 // old.shape[1], 256 // old.shape[0]
        is_kept = np.ones(old.shape, bool)
        is_kept[y0 // y_step : -(-y1 // y_step), x0 // x_step : -(-(x0 + 51) // x_step)] = False
        is_kept[y0 // y_step : -(-y1 // y_step), (x0 + 91) // x_step : -(-x1 // x_step)] = False
        if is_marked and number == 0:  # a few levels of 255, everywhere
            finer = 2 ** (before.format.components[0].bits - 8)
            off = np.abs(old.astype(int) - new)[is_kept] / finer
            assert 0.2 < off.mean() < 2 and off.max() < 8
        else:
            np.testing.assert_array_equal(old[is_kept], new[is_kept])
        assert (old[~is_kept] != new[~is_kept]).mean() > 0.9


@pytest.mark.parametrize("encoder", ["prores_ks", "ffv1"])
def test_hdr_is_brought_to_standard_range_whole_also_where_the_encoder_has_the_targets_samples(tmp_path, encoder):
    """Samples of PQ that passed as they are would be told to be BT.709."""
    source = make_target(tmp_path / "in", "yuv422p10le PQ", (320, 256))
    reader = ClipReader(source, allow_8bit=True)
    wanted = [frame.pixels.astype(float) for frame in reader]
    with ClipWriter(tmp_path / ("out.mov" if encoder == "prores_ks" else "out.mkv"), reader, encoder=encoder) as writer:
        assert not writer.keeps_native
        for frame in reader:
            writer.write(RenderedFrame(frame))
    for given, one in zip(seen_in(writer._path), wanted, strict=True):
        assert np.abs(given - one).mean() < 3


@pytest.mark.parametrize(
    "name",
    ["nv12", "nv16", "p010le", "p210le", "yuyv422", "gray", "gbrp10le", "bgr0", "yuva420p", "yuv422p10be", "yuv411p"],
)
def test_samples_that_lie_otherwise_are_not_exchanged_in_place(name):
    assert not is_patchable(name)
