"""Sound as samples for processors, and sound of another file in the place of the target's."""

from __future__ import annotations

import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from facefusion.errors import MediaError
from facefusion.media.passengers import TrackOptions
from facefusion.media.reader import ClipReader
from facefusion.media.sound import has_sound, read_sound
from facefusion.media.writer import ClipWriter
from facefusion.testing.clips import make_clip
from facefusion.types.frame import RenderedFrame
from facefusion.types.sound import Sound


def write_wave(path, rate=44_100, length_s=2.0, click_s=0.75, channels=1):
    """Silence with one click."""
    samples = np.zeros((round(rate * length_s), channels), dtype=np.int16)
    at = round(click_s * rate)
    samples[at : at + rate // 100] = 20_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def click_s(sound: Sound) -> float:
    """When the click begins."""
    return int(np.argmax(np.abs(sound.samples[:, 0]) > 0.2)) / sound.rate


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (8_000, 1), (16_000, 2)])
def test_sound_is_resampled_once_and_stays_at_its_time(tmp_path, rate, channels):
    sound = read_sound(write_wave(tmp_path / "a.wav", rate, channels=channels))
    assert sound.rate == 16_000
    assert sound.samples.dtype == np.float32
    assert sound.samples.shape[1] == 1
    assert abs(sound.duration_s - 2.0) < 0.002
    assert abs(click_s(sound) - 0.75) < 0.002
    again = read_sound(tmp_path / "a.wav")
    assert np.array_equal(sound.samples, again.samples)


def test_what_is_around_a_moment_depends_on_the_moment_alone():
    ramp = Sound(np.arange(1000, dtype=np.float32)[:, None], 100)
    part = ramp.around(Fraction(3), 0.2)
    assert part[:, 0].tolist() == list(range(290, 310))
    assert ramp.around(Fraction(0), 0.2)[:, 0].tolist() == [0] * 10 + list(range(10))
    assert ramp.around(Fraction(10), 0.2)[:, 0].tolist() == [*range(990, 1000), *[0] * 10]
    assert not ramp.around(Fraction(99), 0.2).any()


def test_a_clip_without_sound_and_a_text_have_none(tmp_path):
    clip = make_clip(tmp_path / "a.mp4")
    assert not has_sound(clip)
    with pytest.raises(MediaError, match="has no sound"):
        read_sound(clip)
    text = tmp_path / "a.txt"
    text.write_text("hello")
    with pytest.raises(MediaError):
        has_sound(text)


@pytest.mark.parametrize(("suffix", "encoder", "codec"), [
    (".mp4", "libx264", "aac"), (".mov", "libx264", "aac"), (".mkv", "libx264", "flac"), (".webm", "libsvtav1", "opus"),
])  # fmt: skip
def test_new_sound_takes_the_place_of_the_targets_and_ends_with_the_film(tmp_path, suffix, encoder, codec):
    target = make_clip(tmp_path / "a.mp4", pts=[k * 512 for k in range(30)])  # 1.2 s
    sound = write_wave(tmp_path / "a.wav", length_s=5.0)
    output = tmp_path / f"out{suffix}"

    class Writer(ClipWriter):
        def _length_s(self):
            return Fraction(6, 5)

    reader = ClipReader(target)
    with Writer(output, reader, encoder, tracks=TrackOptions(audio="none", sound=sound)) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    with av.open(str(output)) as container:
        assert [stream.codec_context.name.removeprefix("lib") for stream in container.streams.audio] == [codec]
        assert sum(1 for packet in container.demux(container.streams.video[0]) if packet.size) == 30
    heard = read_sound(output)
    assert abs(click_s(heard) - 0.75) < 0.005
    assert abs(heard.duration_s - 1.2) < 0.08
