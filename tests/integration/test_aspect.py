"""Clips whose pixels are not square, and colours that encoders do not say: every output shows them as they were."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from tests.films import Sound, Words, make_film, make_parts, send_through

from facefusion.media.animation import notes_on_shape, write_animation
from facefusion.media.layers import write_layers
from facefusion.media.matroska import write_aspect
from facefusion.media.passengers import FILM_CODECS, holds_film
from facefusion.media.reader import ClipReader
from facefusion.media.writer import CONTAINERS

PAL = Fraction(64, 45)
BT601 = (5, 6, 5, 1)
SOFTWARE = [encoder for encoder in FILM_CODECS if "_" not in encoder or encoder == "prores_ks"]
OFFERED = [(encoder, suffix) for encoder in SOFTWARE for suffix in CONTAINERS if holds_film(suffix, encoder)]


def film_of(path):
    """Shape of pixels and colours, as libav reads them from a file, and the first picture."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        aspect = stream.sample_aspect_ratio
        picture = next(container.decode(stream))
        context = stream.codec_context
        colours = context.color_primaries, context.color_trc, context.colorspace, context.color_range
        return aspect, tuple(map(int, colours)), picture


@pytest.fixture(scope="module")
def pal(tmp_path_factory):
    return make_film(tmp_path_factory.mktemp("pal") / "a.mkv", count=3, aspect=PAL, colour=BT601)


@pytest.mark.parametrize(("encoder", "suffix"), OFFERED)
def test_every_encoder_in_every_container_keeps_the_shape_of_pixels_and_the_colours(tmp_path, pal, encoder, suffix):
    send_through(pal, tmp_path / f"o{suffix}", encoder=encoder)
    aspect, colours, _ = film_of(tmp_path / f"o{suffix}")
    assert float(aspect) == pytest.approx(float(PAL), rel=0.005 if suffix == ".webm" else 0)
    assert colours == BT601


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_pixels_of_a_turned_clip_are_turned_too(tmp_path, suffix):
    source = make_film(tmp_path / "a.mp4", count=2, aspect=PAL, rotation_deg=90)
    send_through(source, tmp_path / f"o{suffix}", encoder="prores_ks")
    aspect, _, picture = film_of(tmp_path / f"o{suffix}")
    assert aspect == 1 / PAL
    assert (picture.width, picture.height) == (120, 160)


def test_a_clip_that_uses_all_levels_is_as_bright_in_prores_which_does_not(tmp_path):
    grey = [np.full((120, 160, 3), level, np.uint8) for level in (16, 240)]
    source = make_film(tmp_path / "a.mkv", count=2, pictures=grey, pixel_format="yuvj420p", colour=(5, 6, 5, 2))
    send_through(source, tmp_path / "o.mov", encoder="prores_ks")
    for level, frame in zip((16, 240), ClipReader(tmp_path / "o.mov", allow_8bit=True), strict=True):
        assert abs(float(frame.pixels.mean()) - level) < 4


def test_a_lossless_clip_without_a_matrix_of_colours_keeps_its_primaries(tmp_path):
    source = make_film(tmp_path / "a.mkv", count=2, pixel_format="yuvj420p", colour=(5, 6, 5, 2), aspect=PAL)
    send_through(source, tmp_path / "o.mkv", encoder="ffv1")
    aspect, colours, _ = film_of(tmp_path / "o.mkv")
    assert (aspect, colours) == (PAL, (5, 6, 0, 2))


@pytest.mark.parametrize(("matte", "layer"), [("m.mkv", "l.mov"), ("m.mp4", "l.mkv"), ("m.mov", "l.mov")])
def test_layers_and_mattes_have_the_pixels_of_the_target(tmp_path, matte, layer):
    layers = iter([np.full((120, 160, 4), 128, np.uint8)] * 2)
    write_layers(layers, [0, 40], [40, 40], Fraction(1, 1000), tmp_path / matte, tmp_path / layer, "synthetic", PAL)
    for name in (matte, layer):
        aspect, colours, _ = film_of(tmp_path / name)
        assert aspect == PAL
        assert name.endswith(".mkv") or colours[:3] == (1, 1, 1)


def test_what_else_is_in_a_matroska_file_stays_where_it_is(tmp_path):
    source = make_film(
        tmp_path / "a.mkv", count=60, aspect=PAL, sounds=[Sound()], words=[Words()], has_cover=True,
        fonts=[("a.ttf", b"font" * 500)], tags={"title": "A title"}, film_tags={"title": "A film"},
        chapters=[{"id": 1, "start": 0, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}],
    )  # fmt: skip
    send_through(source, tmp_path / "o.mkv", encoder="ffv1")
    squared = tmp_path / "squared.mkv"
    squared.write_bytes((tmp_path / "o.mkv").read_bytes())
    write_aspect(squared, Fraction(3, 2))  # once more, over what is there
    assert film_of(squared)[0] == Fraction(3, 2)
    for path in (tmp_path / "o.mkv", squared):
        with av.open(str(path), options={"err_detect": "crccheck+explode"}) as container:
            assert container.metadata["title"] == "A title"
            assert container.chapters()[0]["metadata"] == {"title": "One"}
            assert [stream.type for stream in container.streams][:3] == ["video", "audio", "subtitle"]
            container.seek(2_000_000)
            assert next(container.decode(video=0)).time > 0.5
            container.seek(0)
            assert sum(1 for _ in container.decode(video=0)) == 60
    sizes = {path.stat().st_size for path in (tmp_path / "o.mkv", squared)}
    assert len(sizes) == 1


def test_files_that_are_laid_out_otherwise_are_refused_and_not_damaged(tmp_path):
    path = make_film(tmp_path / "a.mkv", count=2)
    before = path.read_bytes().replace(b"\x11\x4d\x9b\x74", b"\x11\x4d\x9b\x75", 1)
    path.write_bytes(before)
    with pytest.raises(ValueError, match="contents"):
        write_aspect(path, PAL)
    write_aspect(path, None)
    write_aspect(path, Fraction(1))
    assert path.read_bytes() == before


@pytest.mark.parametrize(("aspect", "size"), [(PAL, (228, 120)), (1 / PAL, (160, 171)), (None, (160, 120))])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_have_square_pixels_and_say_so(tmp_path, suffix, aspect, size):
    source = make_film(tmp_path / "a.mkv", count=2, aspect=aspect)
    parts, reader = make_parts(source, tmp_path / "parts"), ClipReader(source)
    write_animation(tmp_path / f"o{suffix}", reader, parts)
    with Image.open(tmp_path / f"o{suffix}") as image:
        assert image.size == size
    notes = notes_on_shape(tmp_path / f"o{suffix}", reader)
    assert [f"those of a {suffix} are made so" in note for note in notes] == [True] * (aspect is not None)


def test_numbered_pictures_keep_their_pixels_and_the_run_says_how_to_show_them(tmp_path, pal):
    (note,) = notes_on_shape(tmp_path / "%04d.png.frames", ClipReader(pal))
    assert "160 x 120 px are to be shown as 228 x 120" in note


@pytest.mark.parametrize("is_interlaced", [True, False])
def test_the_run_says_that_fields_become_frames(tmp_path, is_interlaced):
    with av.open(str(tmp_path / "a.mpg"), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        stream.options = {"flags": "+ildct+ilme"} if is_interlaced else {}
        for number in range(3):
            picture = av.VideoFrame(160, 128, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    reader = ClipReader(tmp_path / "a.mpg")
    notes = reader.describe(reader.defects(), [frame.pts for frame in reader])
    assert any("interlaced" in note for note in notes) == is_interlaced
