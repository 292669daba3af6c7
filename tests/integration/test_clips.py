import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from facefusion.errors import MediaMissing, MediaUnreadable, MediaUnsupported, OutputRefused
from facefusion.imaging.resample import resize_pixels
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter, plane_of, quality_to_crf
from facefusion.testing.clips import make_clip, moving_square
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.workplace import Workplace
from facefusion.writing import delivery

VFR = [0, 512, 1500, 1600, 3100, 3612, 6000, 6010, 9000, 12800]


def painted(frame: Frame) -> RenderedFrame:
    """The frame with a red box."""
    patch = np.full((20, 30, 3), (250, 10, 10), dtype=np.uint8)
    return RenderedFrame(frame, patch, (30, 20, 60, 40))


def copy_clip(source: Path, output: Path, paint: bool = False, **options) -> Path:
    reader = ClipReader(
        source, options.pop("start_s", None), options.pop("end_s", None), options.pop("allow_8bit", False)
    )
    with ClipWriter(output, reader, **options) as writer:
        for frame in reader:
            writer.write(painted(frame) if paint else RenderedFrame(frame))
    return output


def packets(path: Path, kind: str) -> list[tuple[int, bytes]]:
    with av.open(str(path)) as container:
        wanted = {s.index for s in container.streams if s.type == kind}
        return [(p.stream_index, bytes(p)) for p in container.demux() if p.size and p.stream_index in wanted]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_variable_frame_rate_keeps_every_pts(tmp_path, suffix):
    source = make_clip(tmp_path / f"vfr{suffix}", pts=VFR)
    output = copy_clip(source, tmp_path / f"out{suffix}", paint=True)
    assert [f.pts for f in ClipReader(source)] == VFR
    assert [f.pts for f in ClipReader(output)] == VFR
    assert ClipReader(output).info.time_base == Fraction(1, 12800)


def test_matroska_keeps_every_time_to_the_millisecond(tmp_path):
    source = make_clip(tmp_path / "vfr.mkv", pts=VFR)
    output = copy_clip(source, tmp_path / "out.mkv")
    assert [f.pts for f in ClipReader(source)] == [f.pts for f in ClipReader(output)]


@pytest.mark.parametrize(("size", "written"), [((161, 121), (162, 122)), ((159, 120), (160, 120))])
def test_odd_sizes_are_padded_by_one_repeated_line(tmp_path, size, written):
    source = make_clip(tmp_path / "odd.mkv", *size, codec="ffv1", pixel_format="yuv444p")
    output = copy_clip(source, tmp_path / "out.mp4")
    info = ClipReader(output).info
    assert (info.width, info.height) == written


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_phone_video_comes_out_upright(tmp_path, rotation):
    source = make_clip(tmp_path / "phone.mp4", 160, 120, rotation_deg=rotation)
    reader = ClipReader(source)
    expected = (120, 160) if rotation in (90, 270) else (160, 120)
    assert (reader.info.width, reader.info.height) == expected
    upright = next(iter(reader)).pixels
    stored = moving_square(160, 120, 0)
    assert np.abs(upright.astype(int) - np.rot90(stored, reader.info.rotation_deg // 90)).mean() < 6
    output = copy_clip(source, tmp_path / "out.mp4", paint=True)
    after = ClipReader(output)
    assert (after.info.width, after.info.height, after.info.rotation_deg) == (*expected, 0)
    assert np.abs(next(iter(after)).pixels[60:].astype(int) - upright[60:]).mean() < 6


def test_all_audio_tracks_are_copied_untouched(tmp_path):
    source = make_clip(tmp_path / "two.mp4", audio_tracks=2)
    output = copy_clip(source, tmp_path / "out.mp4")
    before, after = packets(source, "audio"), packets(output, "audio")
    assert len({index for index, _ in before}) == 2
    assert sorted(content for _, content in before) == sorted(content for _, content in after)


def test_subtitles_are_copied_or_become_what_the_container_holds(tmp_path):
    words = tmp_path / "a.srt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n\n2\n00:00:00,400 --> 00:00:00,700\nWorld\n")
    plain, source = make_clip(tmp_path / "v.mkv"), tmp_path / "vs.mkv"
    with av.open(str(words)) as text, av.open(str(plain)) as video, av.open(str(source), "w") as joined:
        streams = [video.streams.video[0], text.streams.subtitles[0]]
        copies = [joined.add_stream_from_template(stream) for stream in streams]
        for container, copy in zip((video, text), copies, strict=True):
            for packet in container.demux():
                if packet.size:
                    packet.stream = copy
                    joined.mux(packet)
    output = copy_clip(source, tmp_path / "out.mkv")
    assert [content for _, content in packets(output, "subtitle")] == [b"Hello", b"World"]
    output = copy_clip(source, tmp_path / "out.mp4")
    assert [content[2:] for _, content in packets(output, "subtitle") if len(content) > 2] == [b"Hello", b"World"]


def test_clip_without_sound_stays_without(tmp_path):
    output = copy_clip(make_clip(tmp_path / "mute.mp4"), tmp_path / "out.mp4")
    assert packets(output, "audio") == []


def test_metadata_and_chapters_are_kept(tmp_path):
    chapter = {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    source = make_clip(tmp_path / "a.mkv", metadata={"title": "A day", "artist": "Nobody"}, chapters=[chapter])
    output = copy_clip(source, tmp_path / "out.mkv", comment="changed")
    with av.open(str(output)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        assert (tags["title"], tags["artist"], tags["comment"]) == ("A day", "Nobody", "changed")
        assert [c["metadata"]["title"] for c in container.chapters()] == ["One"]


@pytest.mark.parametrize(
    ("space", "is_full"), [(1, False), (5, False), (1, True), (5, True)], ids=["709", "601", "709 full", "601 full"]
)
@pytest.mark.parametrize("paint", [False, True])
def test_colour_matrix_and_range_are_kept_and_colours_do_not_shift(tmp_path, space, is_full, paint):
    colour = {"colorspace": space, "color_range": 2 if is_full else 1, "color_primaries": space, "color_trc": space}
    source = make_clip(tmp_path / "c.mp4", colour=colour, options={"crf": "4"})
    output = copy_clip(source, tmp_path / "out.mp4", paint=paint, quality=97)
    with av.open(str(output)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (space, 2 if is_full else 1)
    before, after = next(iter(ClipReader(source))).pixels, next(iter(ClipReader(output))).pixels
    assert np.abs(before[50:].astype(int) - after[50:]).mean() < 1.5
    if paint:
        np.testing.assert_allclose(after[30, 45], (250, 10, 10), atol=8)


@pytest.mark.parametrize(("codec", "pixel_format"), [("ffv1", "bgr0"), ("libx264rgb", "rgb24"), ("ffv1", "gray")])
def test_what_has_no_matrix_gets_one_and_says_which(tmp_path, codec, pixel_format):
    source = make_clip(tmp_path / "c.mkv", 1280, 720, range(3), Fraction(1, 25), codec=codec, pixel_format=pixel_format)
    output = copy_clip(source, tmp_path / "out.mp4", paint=True, quality=97)
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.colorspace == 1
        picture = next(container.decode(video=0))
        # Players take BT.709 for pictures of this size, whatever is not said.
        shown = picture.reformat(format="rgb24", src_colorspace=1).to_ndarray()
    np.testing.assert_allclose(shown[30, 45], (250, 10, 10), atol=8)
    before = next(iter(ClipReader(source))).pixels
    assert np.abs(before[50:].astype(int) - shown[50:]).mean() < 2


@pytest.mark.parametrize("space", [8, 10, 11, 14])
def test_colours_that_cannot_be_converted_are_refused_before_the_first_frame(tmp_path, space):
    source = make_clip(tmp_path / "c.mkv", pts=range(3), codec="ffv1", pixel_format="yuv444p")
    path = tmp_path / "tagged.mkv"
    with av.open(str(source)) as read, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(read.streams.video[0], opaque=True)
        stream.codec_context.colorspace = space
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    with pytest.raises(MediaUnsupported, match="keeps its colours as"):
        ClipReader(path)


def test_untouched_pixels_reach_the_encoder_exactly(tmp_path):
    source = make_clip(tmp_path / "a.mp4")
    reader = ClipReader(source)
    lossless = tmp_path / "out.mp4"
    with ClipWriter(lossless, reader, quality=100) as writer:
        for frame in reader:
            writer.write(painted(frame))
    with av.open(str(source)) as one, av.open(str(lossless)) as other:
        for a, b in zip(one.decode(video=0), other.decode(video=0), strict=True):
            y_before, y_after = (x.to_ndarray()[:120] for x in (a, b))
            mask = np.ones((120, 160), dtype=bool)
            mask[20:40, 30:60] = False
            np.testing.assert_array_equal(y_before[mask], y_after[mask])
            assert np.abs(y_before[20:40, 30:60].astype(int) - y_after[20:40, 30:60]).max() > 20


def test_more_than_8_bits_are_refused_unless_allowed(tmp_path):
    source = make_clip(
        tmp_path / "ten.mkv", pixel_format="yuv420p10le", codec="libx265", options={"x265-params": "log-level=none"}
    )
    with pytest.raises(MediaUnsupported, match="--allow-8bit"):
        ClipReader(source)
    output = copy_clip(source, tmp_path / "out.mp4", allow_8bit=True)
    assert ClipReader(output).info.bit_depth == 8


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_encoders_write_clips_that_read_back(tmp_path, encoder):
    source = make_clip(tmp_path / "a.mp4", pts=VFR)
    output = copy_clip(source, tmp_path / "out.mp4", encoder=encoder, preset="ultrafast", paint=True)
    assert [f.pts for f in ClipReader(output)] == VFR
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.name in {"libx264": ("h264",), "libx265": ("hevc",)}.get(
            encoder, ("libdav1d", "av1")
        )


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux has these")
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_no_encoder_takes_the_machine_for_itself(tmp_path, encoder):
    source = make_clip(tmp_path / "a.mp4")
    reader = ClipReader(source)
    usual = os.sched_getscheduler(0)
    with ClipWriter(tmp_path / "out.mkv", reader, encoder=encoder, preset="ultrafast") as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
            assert {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")} == {usual}
    assert os.sched_getscheduler(0) == usual


def test_quality_maps_to_the_rate_factor():
    assert [quality_to_crf(q, "libx264") for q in (0, 80, 100)] == [51, 18, 0]
    assert quality_to_crf(0, "libsvtav1") == 63


def test_trimming_keeps_the_part_and_its_sound(tmp_path):
    pts = [number * 512 for number in range(50)]
    source = make_clip(tmp_path / "a.mp4", pts=pts, audio_tracks=1)
    output = copy_clip(source, tmp_path / "out.mp4", start_s=0.4, end_s=1.2)
    frames = list(ClipReader(output))
    assert [f.pts for f in frames] == [n * 512 for n in range(20)]
    wanted = list(ClipReader(source))[10:30]
    for a, b in zip(wanted, frames, strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 6
    sounds = len(packets(output, "audio"))
    assert sounds == pytest.approx(0.8 * 16000 / 1024, abs=2)


def test_start_beyond_the_end_is_explained(tmp_path):
    with pytest.raises(MediaUnsupported, match="beyond the end"):
        ClipReader(make_clip(tmp_path / "a.mp4"), start_s=100)


def test_failed_write_leaves_no_half_file_and_keeps_the_old_one(tmp_path):
    source = make_clip(tmp_path / "a.mp4")
    output = tmp_path / "out.mp4"
    output.write_bytes(b"old")
    reader = ClipReader(source)
    with pytest.raises(RuntimeError, match="in the middle"), ClipWriter(output, reader) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
            if frame.index == 5:
                raise RuntimeError("in the middle")
    assert output.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


def test_full_disk_is_explained_and_leaves_nothing(tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    source = make_clip(tmp_path / "a.mp4", 320, 240)
    reader = ClipReader(source)
    writer = ClipWriter(tmp_path / "out.mkv", reader)

    def full(folder, output):
        (folder / output.name).symlink_to("/dev/full")
        return folder / output.name

    monkeypatch.setattr("facefusion.writing.stand_in", full)
    with pytest.raises(OutputRefused, match="no room"), writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("where", ["out.mkv", "link.mkv"])
def test_a_device_or_pipe_is_never_replaced_by_a_file(tmp_path, where):
    os.mkfifo(tmp_path / "out.mkv")
    (tmp_path / "link.mkv").symlink_to("out.mkv")
    reader = ClipReader(make_clip(tmp_path / "a.mp4"))
    with pytest.raises(OutputRefused, match="not a file"), ClipWriter(tmp_path / where, reader):
        pass
    refused = pytest.raises(OutputRefused, match="not a file")
    with Workplace(tmp_path / "work") as place, refused, delivery(place, tmp_path / where) as made:
        made.write_bytes(b"x")
    assert (tmp_path / "out.mkv").is_fifo()


def test_unknown_container_and_wrong_codec_are_refused(tmp_path):
    reader = ClipReader(make_clip(tmp_path / "a.mp4"))
    with pytest.raises(OutputRefused, match=r"\.mkv"):
        ClipWriter(tmp_path / "out.avi", reader)
    with pytest.raises(OutputRefused, match="libsvtav1"):
        ClipWriter(tmp_path / "out.webm", reader)


def test_track_that_the_container_cannot_hold_is_explained(tmp_path):
    source = make_clip(tmp_path / "a.mp4", audio_tracks=1)
    reader = ClipReader(source)
    with pytest.raises(MediaUnsupported, match=r"aac.*\.mkv"), ClipWriter(tmp_path / "o.webm", reader, "libsvtav1"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_truncated_clip_says_where_and_what_to_do(tmp_path):
    whole = make_clip(tmp_path / "a.mkv", 320, 240, pts=[n * 512 for n in range(100)], options={"crf": "10"})
    damaged = tmp_path / "b.mp4"
    moved = make_clip(tmp_path / "c.mp4", 320, 240)
    damaged.write_bytes(moved.read_bytes()[: moved.stat().st_size // 2])
    with pytest.raises(MediaUnreadable):
        list(ClipReader(damaged))
    assert len(list(ClipReader(whole))) == 100


@pytest.mark.parametrize("content", [b"", b"x", b"just some text\n" * 100, b"\x00" * 5000, b"RIFF\x00\x00\x00\x00AVI "])
def test_what_is_no_clip_is_refused(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadable):
        ClipReader(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(MediaMissing):
        ClipReader(tmp_path / "none.mp4")
    with pytest.raises(MediaUnreadable, match="not a file"):
        ClipReader(tmp_path)


def test_name_with_a_colon_is_a_file_and_no_protocol(tmp_path):
    source = make_clip(tmp_path / "a.mp4")
    odd = tmp_path / "http:b c.mp4"
    odd.write_bytes(source.read_bytes())
    assert ClipReader(odd).info.width == 160
    copy_clip(odd, tmp_path / "out:1.mp4")
    assert (tmp_path / "out:1.mp4").is_file()


def test_a_region_is_converted_exactly_as_the_whole_frame_is(target_clip):
    boxes = {0: (13, 21, 255, 301), 1: (-40, 100, 90, 2000)}
    whole = [frame for frame, _ in zip(ClipReader(target_clip), range(3), strict=False)]
    asked = iter((*boxes.values(), None, None, None))
    parts = [frame for frame, _ in zip(ClipReader(target_clip, region=lambda pts: next(asked)), range(3), strict=False)]
    for frame, part, box in zip(whole, parts, boxes.values(), strict=False):
        x0, y0 = (max(v, 0) for v in box[:2])
        np.testing.assert_array_equal(part.pixels[y0 : box[3], x0 : box[2]], frame.pixels[y0 : box[3], x0 : box[2]])
        assert part.pts == frame.pts


@pytest.mark.parametrize("side", [176, 320])
def test_an_encoder_writes_the_same_bytes_whatever_lay_in_memory_before(tmp_path, target_clip, rng, side):
    """With code for AVX-512, x264 did not (facefusion.media.writer.encoder_options)."""
    pictures = [resize_pixels(frame.pixels, side, side) for frame in ClipReader(target_clip)][::8][:5]
    source = make_clip(tmp_path / "source.mp4", side, side, [k * 2560 for k in range(5)])
    written = set()
    for _ in range(12):
        memory = [np.full(int(rng.integers(1_000, 400_000)), int(rng.integers(256)), np.uint8) for _ in range(20)]
        del memory
        reader = ClipReader(source)
        with ClipWriter(tmp_path / "out.mp4", reader) as writer:
            for frame, pixels in zip(reader, pictures, strict=True):
                writer.write(RenderedFrame(frame, pixels, (0, 0, side, side)))
        written.add(tuple(packets(tmp_path / "out.mp4", "video")))
    assert len(written) == 1


def test_what_lies_between_two_changed_faces_reaches_the_encoder_exactly(tmp_path):
    """One box is around both; between them nothing is converted there and back."""
    source = make_clip(tmp_path / "in.mp4", codec="libx264", pixel_format="yuv420p")
    reader = ClipReader(source)
    with ClipWriter(tmp_path / "out.mkv", reader, encoder="ffv1") as writer:
        for frame in reader:
            new = frame.pixels[20:90, 10:150].copy()
            new[:, :31], new[:, 110:] = 255 - new[:, :31], 255 - new[:, 110:]
            writer.write(RenderedFrame(frame, new, (10, 20, 150, 90)))
    with av.open(str(source)) as one, av.open(str(tmp_path / "out.mkv")) as other:
        for before, after in zip(one.decode(video=0), other.decode(video=0), strict=True):
            for number, step in enumerate((1, 2, 2)):
                old, new = plane_of(before, number), plane_of(after, number)
                kept = np.ones(old.shape, bool)
                kept[20 // step : 90 // step, 10 // step : -(-41 // step)] = False
                kept[20 // step : 90 // step, 120 // step : 150 // step] = False
                np.testing.assert_array_equal(old[kept], new[kept])
                assert (old[~kept] != new[~kept]).mean() > 0.3
