"""Packets that say they last for a day, and files that end before they say."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from facefusion.errors import MediaUnreadable
from facefusion.media.generate import write_test_clip
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger, Part, SegmentWriter
from facefusion.media.timing import length_of
from facefusion.types.frame import RenderedFrame


def merged(target: Path, made: Path) -> None:
    reader = ClipReader(target)
    with SegmentWriter(made.with_suffix(".nut"), reader, "libx264", "veryfast", 80) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    with ClipMerger(made, reader, "libx264", [Part(made.with_suffix(".nut"), writer.pts, writer.durations)]) as merger:
        merger.merge()


@pytest.mark.parametrize(
    ("kind", "length", "wanted"),
    [
        ("audio", 1024, 1024), ("audio", 2**32 - 64, 0), ("audio", -64, 0), ("audio", None, 0),
        ("video", 48_000 * 3600, 48_000 * 3600), ("video", 2**63 - 1, 0), ("subtitle", 2**32 - 1, 0),
    ],
)  # fmt: skip
def test_a_length_that_cannot_be_is_none(kind, length, wanted):
    packet = SimpleNamespace(duration=length, time_base=Fraction(1, 48_000), stream=SimpleNamespace(type=kind))
    assert length_of(packet) == wanted


class OggLike:
    """A container whose last packet of sound lasts 2**32 - 64 samples: libav reads cut Vorbis of Ogg so."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, *streams: Any) -> Iterator[Any]:
        found = list(self._container.demux(*streams))
        sounds = [packet for packet in found if packet.stream.type == "audio" and packet.size]
        if sounds:
            sounds[-1].duration = 2**32 - 64
        yield from found


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".mov"])
def test_sound_does_not_last_for_a_day(tmp_path, monkeypatch, ending):
    """24:51:19 in Matroska, and MP4 and MOV could not be written."""
    target, made = tmp_path / "target.mkv", tmp_path / f"made{ending}"
    frames = [np.full((96, 128, 3), 90, dtype=np.uint8)] * 14
    write_test_clip(target, frames, [40 * k for k in range(14)], Fraction(1, 1000), audio_tracks=1)
    usual = ClipReader.open
    monkeypatch.setattr(ClipReader, "open", lambda reader: OggLike(usual(reader)))
    monkeypatch.setattr(OggLike, "__enter__", lambda one: one, raising=False)
    monkeypatch.setattr(OggLike, "__exit__", lambda one, *_: one.close(), raising=False)
    merged(target, made)
    with av.open(str(made)) as clip:
        assert 0.5 < clip.duration / av.time_base < 0.7


def make_film(path: Path, count: int = 200) -> Path:
    """Noise, so that every frame has bytes."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(8)] * (count // 8)
    codec = "wmv2" if path.suffix == ".wmv" else "libx264"
    base = Fraction(1, 1000)
    write_test_clip(path, frames, [40 * number for number in range(len(frames))], base, codec=codec, options={"g": "5"})
    return path


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize("ending", [".flv", ".wmv", ".mkv"])
def test_a_film_that_is_cut_off_says_so(tmp_path, ending, share):
    target = make_film(tmp_path / f"target{ending}")
    whole = ClipReader(target)
    assert whole.describe(whole.defects(), [frame.pts for frame in whole]) == ()
    assert len(list(ClipReader(target, strict=True))) == 200
    content = target.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    reader = ClipReader(target)
    notes = reader.describe(reader.defects(), [frame.pts for frame in reader])
    assert any("cut off" in note for note in notes)
    with pytest.raises(MediaUnreadable, match="cut off"):
        ClipReader(target, strict=True)


def test_a_short_film_that_is_cut_off_says_so(tmp_path):
    """It was told from a second on."""
    target = make_film(tmp_path / "target.mkv", 16)
    content = target.read_bytes()
    target.write_bytes(content[: len(content) // 2])
    reader = ClipReader(target)
    assert probe(target).promised_s == pytest.approx(0.64, abs=0.05)
    assert any("cut off" in note for note in reader.describe(reader.defects(), [frame.pts for frame in reader]))


def test_a_film_whose_last_picture_stands_long_is_whole(tmp_path):
    target = tmp_path / "target.mkv"
    with av.open(str(target), "w") as output:
        film = output.add_stream("ffv1", rate=25)
        film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
        film.time_base = film.codec_context.time_base = Fraction(1, 1000)
        times = (0, 40, 80, 120, 5000)
        for at, after in pairwise(times):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, dtype=np.uint8), format="rgb24")
            picture = picture.reformat(format="yuv420p")
            picture.pts, picture.time_base, picture.duration = at, Fraction(1, 1000), after - at
            for packet in film.encode(picture):
                packet.duration = after - at
                output.mux(packet)
    reader = ClipReader(target)
    assert reader.describe(reader.defects(), [frame.pts for frame in reader]) == ()
