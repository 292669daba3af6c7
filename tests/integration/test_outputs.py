"""Outputs that people expect: parts by frames, another size, a lower rate, animations, other encoders."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

from facefusion.errors import MediaUnsupported, OutputRefused, RecipeError
from facefusion.jobs.once import run
from facefusion.media.animation import notes_on_animation, write_animation
from facefusion.media.image import read_photo
from facefusion.media.numbering import count_frames, time_of_frame
from facefusion.media.passengers import FILM_CODECS, TrackOptions, list_passengers
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger, Part, SegmentWriter, plan_spans
from facefusion.media.sound import SoundFormat, set_up
from facefusion.media.writer import ClipWriter, check_clip_output, codec_tag
from facefusion.pipeline.plan import check_film_output, with_times
from facefusion.recipe import build_recipe
from facefusion.testing.clips import make_clip, moving_square
from facefusion.types.frame import RenderedFrame

UNEVEN = [0, 400, 1100, 1500, 2700, 2750, 4000, 5000, 5001, 9000]


def written(clip, folder, encoder="libx264", length_s=600.0, resize=Fraction(1), quality=80, **part):
    """A clip in parts, each read for itself."""
    reader = ClipReader(clip, **part)
    spans = plan_spans(reader, length_s)
    parts = []
    for number, span in enumerate(spans):
        path = folder / f"{number}.nut"
        with SegmentWriter(path, reader, encoder, "ultrafast", quality, resize=resize) as writer:
            for frame in ClipReader(clip, **part, span=span.as_pair()):
                writer.write(RenderedFrame(frame))
        assert len(writer.pts) == span.frame_count
        parts.append(Part(path, writer.pts, writer.durations))
    return reader, parts


def merged(clip, folder, suffix, encoder="libx264", **options):
    reader, parts = written(clip, folder, encoder, **options)
    output = folder / f"out{suffix}"
    with ClipMerger(output, reader, encoder, parts, quality=options.get("quality", 80)) as merger:
        merger.merge()
    return output


def shown(path):
    """Times and RGB pixels of all frames."""
    with av.open(str(path)) as container:
        film = container.streams.video[0]
        frames = list(container.decode(film))
        return [frame.pts * film.time_base for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


# Parts by frames


@pytest.mark.parametrize("time_base", [Fraction(1, 12800), Fraction(1, 90000), Fraction(1001, 30000)])
def test_a_part_begins_with_the_frame_of_its_number(time_base, tmp_path):
    pts = UNEVEN if time_base.numerator == 1 else list(range(10))
    clip = make_clip(tmp_path / ("clip.mkv" if time_base.numerator == 1 else "clip.mp4"), pts=pts, time_base=time_base)
    whole = [frame.pts for frame in ClipReader(clip)]
    assert count_frames(clip) == len(whole) == len(UNEVEN)
    for first, stop in ((0, 3), (2, 7), (8, 9), (9, 10)):
        recipe = with_times(build_recipe({"target_path": clip, "trim_frame_start": first, "trim_frame_end": stop}))
        assert (recipe.trim_frame_start, recipe.trim_frame_end) == (None, None)
        assert [frame.pts for frame in ClipReader(clip, recipe.start_s, recipe.end_s)] == whole[first:stop]
    assert time_of_frame(clip, len(UNEVEN)) is None
    with pytest.raises(RecipeError, match="has 10 frames; there is no frame 10"):
        with_times(build_recipe({"target_path": clip, "trim_frame_start": 10}))
    assert with_times(build_recipe({"target_path": clip, "trim_frame_end": 99})).end_s is None


def test_a_part_by_frames_of_a_photo_is_the_photo(target_photo):
    for part in ({"trim_frame_start": 3, "trim_frame_end": 5}, {"trim_frame_start": 0}, {"trim_frame_end": 5}):
        with pytest.raises(RecipeError, match="is a photo, so --trim-frame-start"):
            with_times(build_recipe({"target_path": target_photo, **part}))


def test_frames_and_seconds_do_not_say_the_same_end():
    with pytest.raises(RecipeError, match="--trim-frame-start"):
        build_recipe({"start_s": 1, "trim_frame_start": 3})
    with pytest.raises(RecipeError, match="above"):
        build_recipe({"trim_frame_start": 3, "trim_frame_end": 3})


# Rate


def test_a_lower_rate_leaves_frames_out_and_moves_none(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", pts=[number * 512 for number in range(24)])  # 25 a second
    every = [frame.pts for frame in ClipReader(clip)]
    thin = list(ClipReader(clip, rate=10))
    assert [frame.pts for frame in thin] == every[0::5][:1] + [every[k] for k in (3, 5, 8, 10, 13, 15, 18, 20, 23)]
    assert [frame.duration for frame in thin[:-1]] == [b.pts - a.pts for a, b in pairwise(thin)]
    assert [frame.pts for frame in ClipReader(clip, rate=25)] == every
    assert [frame.pts for frame in ClipReader(clip, rate=12.5)] == every[::2]
    # And the same in parts, and with neighbours.
    output = merged(clip, tmp_path, ".mp4", length_s=0.2, rate=10)
    assert shown(output)[0] == [frame.pts * frame.time_base for frame in thin]
    window = ClipReader(clip, rate=10, span=(thin[3].pts, thin[5].pts), halo=(2, 1))
    assert [frame.pts for frame in window] == [frame.pts for frame in thin[1:6]]


def test_a_higher_rate_makes_no_frame_up_and_says_so(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4")
    reader = ClipReader(clip, rate=60)
    times = [frame.pts for frame in reader]
    assert len(times) == 20
    (note,) = reader.describe(reader.defects(), times)
    assert note == "The target's rate is 25 a second; no frame is made up to have 60."


# Size


def test_a_photo_and_a_clip_may_be_written_at_another_size(tmp_path, source_photo, target_photo, few_frames):
    asked = {"source_paths": [source_photo], "output_image_scale": 0.5, "output_video_scale": 0.25}
    photo, clip = tmp_path / "o.png", tmp_path / "o.mp4"
    run(build_recipe({**asked, "target_path": target_photo, "output_path": photo}))
    before, after = read_photo(target_photo).pixels, read_photo(photo).pixels
    assert after.shape == (before.shape[0] // 2, before.shape[1] // 2, 3)
    outcome = run(build_recipe({**asked, "target_path": few_frames, "output_path": clip, "trim_frame_end": 2}))
    assert outcome.frame_count == 2
    times, pictures = shown(clip)
    assert pictures[0].shape == (128, 128, 3)
    _, target = shown(few_frames)
    small = np.asarray(Image.fromarray(target[0]).resize((128, 128), Image.Resampling.LANCZOS), dtype=int)
    assert np.abs(pictures[0].astype(int) - small)[:, :16].mean() < 3  # beside the head it is the target, smaller
    assert times == [Fraction(0), Fraction(1, 25)]


# Animations


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_show_every_frame_at_its_time_in_its_colours(suffix, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", pts=[number * 1024 for number in range(12)])  # 12.5 a second
    reader, parts = written(clip, tmp_path, length_s=0.4)
    assert write_animation(tmp_path / f"o{suffix}", reader, parts, 90) == ()
    with Image.open(tmp_path / f"o{suffix}") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (12, (160, 120), 0)
        for number in range(12):
            image.seek(number)
            pixels = np.asarray(image.convert("RGB"), dtype=int)
            assert image.info["duration"] == (80 if number < 11 else 40)  # the target says so of its last frame
            assert np.abs(pixels - moving_square(160, 120, number)).mean() < 9, number


def test_a_gif_shows_fifty_frames_a_second_at_most_and_says_so(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", pts=[number * 10 for number in range(20)], time_base=Fraction(1, 1000))
    reader, parts = written(clip, tmp_path)
    (note,) = write_animation(tmp_path / "o.gif", reader, parts)
    assert note == "10 frames left out: a .gif shows 50 a second."
    with Image.open(tmp_path / "o.gif") as image:
        assert image.n_frames == 10


def test_what_is_not_finished_leaves_the_old_animation(tmp_path):
    (tmp_path / "o.gif").write_bytes(b"old")
    reader, parts = written(make_clip(tmp_path / "clip.mp4"), tmp_path)

    def refuse():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_animation(tmp_path / "o.gif", reader, parts, before_naming=refuse)
    assert (tmp_path / "o.gif").read_bytes() == b"old"


def test_sound_that_an_animation_cannot_hold_is_told_or_refused(few_frames, target_clip):
    reader = ClipReader(target_clip)
    assert notes_on_animation(few_frames.with_suffix(".gif"), reader, False) == (
        "Audio track 1 (aac) is left out: a .gif holds none.",
    )
    with pytest.raises(MediaUnsupported, match="pictures alone"):
        notes_on_animation(few_frames.with_suffix(".gif"), reader, True)


def test_a_job_makes_an_animation(tmp_path, source_photo, few_frames):
    asked = {"source_paths": [source_photo], "target_path": few_frames, "output_path": tmp_path / "o.gif"}
    outcome = run(build_recipe({**asked, "output_video_scale": 0.25, "trim_frame_end": 3}))
    assert (outcome.frame_count, outcome.changed_frame_count) == (3, 3)
    with Image.open(tmp_path / "o.gif") as image:
        assert (image.n_frames, image.size) == (3, (128, 128))


# Encoders


@pytest.mark.parametrize(
    ("encoder", "suffix", "codec", "tag"),
    [
        ("libvpx-vp9", ".webm", "vp9", None),
        ("libvpx-vp9", ".mp4", "vp9", "vp09"),
        ("prores_ks", ".mov", "prores", "apcn"),
        ("prores_ks", ".mkv", "prores", None),
    ],
)
def test_other_encoders_make_the_same_film_in_parts(encoder, suffix, codec, tag, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", pts=UNEVEN)
    output = merged(clip, tmp_path, suffix, encoder, length_s=0.2)
    with av.open(str(output)) as container:
        film = container.streams.video[0]
        assert film.codec_context.codec.canonical_name == codec
        assert tag is None or film.codec_context.codec_tag == tag
    times, pictures = shown(output)
    base = Fraction(1, 1000) if suffix in (".webm", ".mkv") else Fraction(1, 12800)
    assert all(abs(time - Fraction(pts, 12800)) <= base for time, pts in zip(times, UNEVEN, strict=True))
    for number, picture in enumerate(pictures):
        assert np.abs(picture.astype(int) - moving_square(160, 120, number)).mean() < 6


def test_prores_has_the_profile_that_the_quality_asks_for():
    assert [codec_tag("prores_ks", quality) for quality in (0, 40, 80, 100)] == ["apco", "apcs", "apcn", "apch"]


def test_encoders_of_hardware_that_is_not_here_are_refused_before_the_first_frame(tmp_path):
    for encoder in FILM_CODECS:
        try:
            check_clip_output(tmp_path / "o.mkv", encoder)
        except OutputRefused as error:
            assert encoder in error.message and "libx264" in error.hint
    with pytest.raises(OutputRefused, match=r"\.gif"):
        check_film_output(build_recipe({"output_path": tmp_path / "o.xyz"}))
    with pytest.raises(OutputRefused, match="cannot hold"):
        check_clip_output(tmp_path / "o.mp4", "prores_ks")


def test_no_encoder_talks_of_itself(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", pts=[0, 512, 1024])
    code = (
        "import sys\nfrom pathlib import Path\nfrom facefusion.media.reader import ClipReader\n"
        "from facefusion.media.writer import ClipWriter\nfrom facefusion.types.frame import RenderedFrame\n"
        f"reader = ClipReader(Path({str(clip)!r}))\n"
        "for encoder in ('libsvtav1', 'libx265', 'libx264', 'libvpx-vp9', 'prores_ks'):\n"
        f"    with ClipWriter(Path({str(tmp_path)!r}) / f'{{encoder}}.mkv', reader, encoder, 'ultrafast') as writer:\n"
        "        [writer.write(RenderedFrame(frame)) for frame in reader]\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("", "")


# High dynamic range


def write_hdr(path, transfer, values):
    """A clip of BT.2020 in 10 bits: grey patches of coded values of 0 to 1, then pure red and green of BT.709."""
    light = {18: hlg_light, 16: pq_light}[transfer]
    pixels = np.zeros((64, 32 * (len(values) + 2), 3))
    for number, value in enumerate(values):
        pixels[:, 32 * number : 32 * number + 32] = value
    for number, colour in enumerate(np.eye(3)[:2]):
        wide = np.clip(np.linalg.inv(FROM_2020) @ (colour * 0.5), 0, None)
        codes = np.linspace(0, 1, 4097)
        pixels[:, 32 * (len(values) + number) :][:, :32] = np.interp(wide, light(codes), codes)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=none", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = pixels.shape[1], pixels.shape[0], "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, transfer, 9, 1
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(np.round(pixels * 65535).astype(np.uint16), format="rgb48le")
            frame = frame.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=1)
            frame.colorspace, frame.color_range, frame.pts = 9, 1, number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


FROM_2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def hlg_light(code):
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 * scene**1.2 / 203


def pq_light(code):
    power = code ** (1 / 78.84375)
    return 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125) / 203


@pytest.mark.parametrize(("transfer", "name", "white"), [(18, "HLG", 0.75), (16, "PQ", 0.58)])
def test_phone_video_in_hdr_comes_out_in_standard_range_with_its_tags(transfer, name, white, tmp_path):
    clip = write_hdr(tmp_path / "hdr.mp4", transfer, [0.0, white / 2, white, 1.0])
    with pytest.raises(MediaUnsupported, match="10 bits"):
        ClipReader(clip)
    reader = ClipReader(clip, allow_8bit=True)
    frames = list(reader)
    assert reader.describe(reader.defects(), [frame.pts for frame in frames])[-1] == (
        f"The target is HDR ({name}); it is brought to standard range."
    )
    patches = [frames[0].pixels[16:48, k + 8 : k + 24].reshape(-1, 3).mean(axis=0) for k in range(0, 192, 32)]
    black, grey, paper, peak, red, green = patches
    assert black.max() <= 2 and peak.min() >= 253
    light = {18: hlg_light, 16: pq_light}[transfer](np.array([white / 2]))[0]
    assert np.abs(grey - 255 * light ** (1 / 2.4)).max() < 3  # below the knee it is as bright as it was
    assert paper.min() > 200 and paper.max() < 250 and np.ptp(paper) < 3
    for patch, own in ((red, 0), (green, 1)):
        assert abs(patch[own] - 255 * 0.5 ** (1 / 2.4)) < 6
        assert np.delete(patch, own).max() < 60
    output = merged(clip, tmp_path, ".mp4", allow_8bit=True)
    with av.open(str(output)) as container:
        context = container.streams.video[0].codec_context
        tags = context.color_primaries, context.color_trc, context.colorspace, context.color_range
        assert (context.pix_fmt, tags) == ("yuv420p", (1, 1, 1, 1))
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(picture.astype(int) - frames[0].pixels)[:, 8:120].mean() < 3


# Sound


def sound_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rows = [frame.to_ndarray().astype(float).mean(axis=0) for frame in container.decode(stream)]
        return stream.codec_context.codec.canonical_name, np.concatenate(rows), stream.codec_context.bit_rate


@pytest.mark.parametrize(
    ("asked", "suffix", "codec"),
    [("libopus", ".mkv", "opus"), ("flac", ".mkv", "flac"), ("pcm_s16le", ".mov", "pcm_s16le"), (None, ".mp4", "aac")],
)
def test_all_sound_is_converted_where_an_encoder_or_a_volume_is_asked_for(asked, suffix, codec, tmp_path, target_clip):
    reader = ClipReader(target_clip, end_s=0.4)
    options = TrackOptions(codec=asked or "", volume=50)
    with ClipWriter(tmp_path / f"half{suffix}", reader, preset="ultrafast", tracks=options) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    assert any("is converted to" in note for note in writer.notes)
    with ClipWriter(tmp_path / "as_it_is.mp4", reader, preset="ultrafast") as plain:
        for frame in reader:
            plain.write(RenderedFrame(frame))
    name, samples, _ = sound_of(tmp_path / f"half{suffix}")
    _, before, _ = sound_of(tmp_path / "as_it_is.mp4")
    assert name == codec
    scale = 32768 if codec in ("pcm_s16le",) else 2**31 if np.abs(samples).max() > 40000 else 1
    scale = 32768 if codec == "flac" and scale == 1 and np.abs(samples).max() > 2 else scale
    loudness = [np.sqrt((one**2).mean()) for one in (samples / scale, before)]
    assert loudness[1] > 0
    assert loudness[0] / loudness[1] == pytest.approx(0.5, rel=0.1)


def test_quality_of_sound_is_its_bit_rate():
    rates = []
    for quality in (0, 60, 80, 100):
        context = av.CodecContext.create("aac", "w")
        set_up(context, SoundFormat("aac", "fltp", "stereo", 48000, quality))
        rates.append(context.bit_rate)
    assert rates == [48_000, 96_000, 192_000, 384_000]


def test_an_encoder_of_sound_that_is_not_here_or_does_not_fit_is_refused(tmp_path, target_clip, monkeypatch):
    recipe = build_recipe({"output_path": tmp_path / "o.mp4", "output_audio_encoder": "libvorbis"})
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libvorbis"})
    with pytest.raises(OutputRefused, match="libvorbis"):
        check_film_output(recipe)
    with pytest.raises(MediaUnsupported, match=r"\.webm"):
        list_passengers(ClipReader(target_clip), ".webm", "libvpx-vp9", TrackOptions(codec="aac"))
