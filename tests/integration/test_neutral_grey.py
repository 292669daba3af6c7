"""Grey stays grey, and colours keep their balance, in pictures of real sizes."""

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from PIL import Image

from facefusion.media.animation import write_animation
from facefusion.media.camera import Recorder
from facefusion.media.generate import write_test_clip
from facefusion.media.reader import ClipReader, plane_of, to_rgb
from facefusion.media.segments import Part, SegmentWriter
from facefusion.media.writer import ClipWriter
from facefusion.media.yuv import convert_rgb
from facefusion.types.frame import Frame, RenderedFrame

SIZES = ((440, 322), (640, 480), (322, 440), (64, 64))
SHAPES = ("yuv420p", "yuv422p", "yuv444p")
FORMATS = (*SHAPES, *(f"{name}{bits}le" for bits in (10, 12) for name in SHAPES), "yuvj420p", "yuvj422p", "yuvj444p")
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Shares of red and blue in brightness, by number."""


def grey_picture(width: int, height: int) -> np.ndarray:
    values = np.random.default_rng(1).integers(0, 256, (height, width, 1), dtype=np.uint8)
    return np.repeat(values, 3, axis=2)


def colourful(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)), axis=2).astype(np.uint8)


def planes_of(picture: av.VideoFrame) -> list[np.ndarray]:
    """Brightness and two colours in levels of 8 bits, colours about 0."""
    bits = picture.format.components[0].bits
    unit = 1 << (bits - 8)
    return [(plane_of(picture, k) - (0.0 if k == 0 else 128.0 * unit)) / unit for k in range(3)]


def expected(rgb: np.ndarray, space: int, is_full: bool, bits: int) -> list[np.ndarray]:
    """ITU-T H.273, with all colour samples."""
    red, green, blue = np.moveaxis(rgb.astype(float) / 255, 2, 0)
    of_red, of_blue = MATRICES[space]
    y = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    colours = [(blue - y) / (2 - 2 * of_blue), (red - y) / (2 - 2 * of_red)]
    top = ((1 << bits) - 1) / (1 << (bits - 8))
    return [y * top, *(c * top for c in colours)] if is_full else [16 + 219 * y, *(224 * c for c in colours)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FORMATS)
def test_grey_has_no_colour_and_colours_no_bias(name, size):
    reformatter = VideoReformatter()
    for space, is_full in product(MATRICES, (True,) if "j" in name else (False, True)):
        grey, colours = grey_picture(*size), colourful(*size)
        made = convert_rgb(av.VideoFrame.from_ndarray(grey, format="rgb24"), reformatter, name, space, is_full)
        assert made.format.name == name
        bits = made.format.components[0].bits
        y, u, v = planes_of(made)
        assert not u.any() and not v.any()
        assert abs(y - expected(grey, space, is_full, bits)[0]).max() < 0.52
        made = convert_rgb(av.VideoFrame.from_ndarray(colours, format="rgb24"), reformatter, name, space, is_full)
        for got, wanted in zip(planes_of(made), expected(colours, space, is_full, bits), strict=True):
            assert abs(got.mean() - wanted.mean()) < 0.05  # the scaler alone is 0.1 to 1 off


@pytest.mark.parametrize("name", [*FORMATS, "nv12", "yuv411p", "yuva420p", "yuv420p16le", "yuv440p10le"])
@pytest.mark.parametrize("to", [(220, 160), (880, 644), (330, 242)])
def test_scaled_grey_has_no_colour(name, to):
    for is_full in (False, True):
        picture = av.VideoFrame.from_ndarray(grey_picture(440, 322), format="rgb24")
        made = convert_rgb(picture, VideoReformatter(), name, 1, is_full, to)
        assert (made.width, made.height, made.format.name) == (*to, name)
        colours = [np.frombuffer(made.planes[1], np.uint8).reshape(-1, made.planes[1].line_size)[:, : to[0]] - 128.0]
        if name != "nv12":
            colours = planes_of(made)[1:]
        assert not any(one[: -(-to[1] // 2)].any() for one in colours)


@pytest.mark.parametrize(
    "name", ["yuv444p", "nv12", "yuv411p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "yuv420p12le", "p010le"]
)
def test_what_is_read_is_no_darker(name):
    """It was by 1.6 levels where samples of 10 bits and colours are fewer than pixels."""
    grey = grey_picture(440, 322)
    made = convert_rgb(av.VideoFrame.from_ndarray(grey, format="rgb24"), VideoReformatter(), name, 1, False)
    given = to_rgb(made, VideoReformatter())
    assert abs(given.astype(float) - grey).max() <= 1 and abs(given.mean() - grey.mean()) < 0.1


def make_target(path: Path, name: str, rotation_deg: int = 0) -> Path:
    """Two grey frames of full range."""
    codec = "libx264" if "j" in name else "ffv1"
    frames = [grey_picture(440, 322)] * 2
    colour = {"color_range": 2, "colorspace": 1}
    options = {"crf": "0"} if codec == "libx264" else {}
    write_test_clip(
        path, frames, (0, 1), Fraction(1, 25), codec=codec, pixel_format=name, rotation_deg=rotation_deg,
        colour=colour, options=options,
    )  # fmt: skip
    return path


def is_neutral(path: Path) -> bool:
    with av.open(str(path)) as clip:
        pictures = list(clip.decode(video=0))
    assert pictures and all(int(picture.color_range) == 2 for picture in pictures)
    return all(not np.any(plane_of(picture, k) != 128) for picture in pictures for k in (1, 2))


@pytest.mark.parametrize(
    ("name", "rotation_deg", "resize"),
    [
        ("yuvj420p", 90, Fraction(1)), ("yuvj420p", 0, Fraction(1, 2)), ("yuvj420p", 0, Fraction(1)),
        ("yuvj422p", 180, Fraction(1)), ("yuvj444p", 90, Fraction(2)), ("gray", 0, Fraction(1)),
        ("gray10le", 0, Fraction(1)), ("gray12le", 0, Fraction(1)), ("yuv420p10le", 0, Fraction(1)),
    ],
)  # fmt: skip
def test_grey_films_of_full_range_stay_grey(tmp_path, name, rotation_deg, resize):
    suffix = ".mp4" if "j" in name else ".mkv"
    target = make_target(tmp_path / f"target{suffix}", name, rotation_deg)
    reader = ClipReader(target, allow_8bit=True)
    box = (101, 53, 201, 153)
    with ClipWriter(tmp_path / f"output{suffix}", reader, quality=95, resize=resize) as writer:
        for frame in reader:
            patch = np.repeat(np.arange(20, 220, 2, dtype=np.uint8)[:, None, None], 100, axis=1).repeat(3, axis=2)
            assert isinstance(frame, Frame)
            writer.write(RenderedFrame(frame, patch, box))
    assert is_neutral(tmp_path / f"output{suffix}")


def test_recordings_of_grey_stay_grey(tmp_path):
    with Recorder(tmp_path / "output.mp4", quality=95) as recorder:
        for number in range(2):
            recorder.write(grey_picture(440, 322), Fraction(number, 25))
    with av.open(str(tmp_path / "output.mp4")) as clip:
        assert all(not np.any(plane_of(one, k) != 128) for one in clip.decode(video=0) for k in (1, 2))


def test_a_film_whose_range_changes_amid_it_stays_grey(tmp_path):
    """Frames of the second kind are fitted to the first."""
    reader = ClipReader(make_target(tmp_path / "target.mp4", "yuvj420p"))
    limited = convert_rgb(
        av.VideoFrame.from_ndarray(grey_picture(440, 322), format="rgb24"), VideoReformatter(), "yuv422p", 5, False
    )
    limited.colorspace, limited.color_range, limited.pts, limited.time_base = 6, 1, 1, Fraction(1, 25)
    fitted = reader._fitted(limited, VideoReformatter())
    assert fitted.format.name == "yuvj420p"
    assert not any(np.any(plane_of(fitted, k) != 128) for k in (1, 2))
    assert abs(plane_of(fitted, 0).astype(float) - grey_picture(440, 322)[..., 0]).max() <= 1.5


@pytest.mark.parametrize("ending", [".webp", ".gif"])
@pytest.mark.parametrize("encoder", ["libx264", "ffv1"])
@pytest.mark.parametrize(("space", "range_"), [(5, 1), (1, 1), (1, 2), (5, 2)])
def test_animations_have_the_colours_of_their_target(tmp_path, space, range_, encoder, ending):
    """Those of BT.709 and of full range were taken for others."""
    plain = np.zeros((322, 440, 3), dtype=np.uint8)
    plain[:], plain[:, 220:], plain[:100] = (200, 60, 40), 128, (30, 180, 60)
    target, made = tmp_path / "target.mp4", tmp_path / f"made{ending}"
    write_test_clip(
        target, [plain] * 2, (0, 1), Fraction(1, 25), pixel_format="yuvj420p" if range_ == 2 else "yuv420p",
        colour={"colorspace": space, "color_range": range_}, options={"crf": "4"},
    )  # fmt: skip
    reader = ClipReader(target)
    with SegmentWriter(tmp_path / "part.nut", reader, encoder, "veryfast", 95) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    write_animation(made, reader, [Part(tmp_path / "part.nut", writer.pts, writer.durations)], quality=95)
    with Image.open(made) as opened:
        shown = np.asarray(opened.convert("RGB")).astype(int)
    for y, x in ((200, 50), (200, 400), (50, 50)):
        assert abs(shown[y, x] - plain[y, x]).max() <= 4
