"""Clips as strangers have them: every frame that a player shows is read, at the time it shows it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from facefusion.errors import MediaError, MediaUnreadable, MediaUnsupported
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.once import run
from facefusion.media.probe import DECODER_OPTIONS, check_pixels, film_of, open_clip, orientation_of, probe
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger, Part, SegmentWriter, plan_spans
from facefusion.media.writer import ClipWriter
from facefusion.recipe import build_recipe
from facefusion.testing.clips import make_clip, moving_square
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of
from facefusion.types.frame import RenderedFrame

TICKS = 90_000
STEP = 3600
WRAP = 1 << 33


def numbered(width, height, number):
    """A moving square, with its number in eight bits of black and white at the lower edge."""
    pixels = moving_square(width, height, number)
    for bit in range(8):
        left, right = bit * width // 8, (bit + 1) * width // 8
        pixels[-24:, left:right] = 255 if number >> bit & 1 else 0
    return pixels


def numbers(frames):
    """Which frame each is."""
    found = []
    for frame in frames:
        height, width = frame.pixels.shape[:2]
        middles = [frame.pixels[height - 12, (2 * bit + 1) * width // 16, 1] > 127 for bit in range(8)]
        found.append(sum(int(is_set) << bit for bit, is_set in enumerate(middles)))
    return found


def encode(path, start=0, count=50, size=(160, 120), sound=True, sound_start=None, rate=25, codec="libx264", **more):
    """A clip of moving squares in 1/90000 s that begins anywhere, with sound."""
    output = av.open(str(path), "w", format=more.pop("container", None), options=more.pop("container_options", {}))
    film = output.add_stream(codec, rate=rate)
    film.width, film.height = size
    film.pix_fmt = more.pop("pixel_format", "yuv420p")
    film.codec_context.sample_aspect_ratio = more.pop("aspect", Fraction(1))
    is_x264 = codec == "libx264"
    base = Fraction(1, TICKS) if is_x264 else Fraction(1, rate)
    film.codec_context.time_base = film.time_base = base
    film.codec_context.thread_count = 1
    usual = {"bf": "2", "g": "12"} if codec != "mjpeg" else {}
    film.options = {**usual, **({"preset": "ultrafast"} if is_x264 else {}), **more.pop("options", {})}
    tone = output.add_stream("aac", rate=48000, layout="mono") if sound else None
    step = TICKS // rate
    packets = []
    for number in range(count):
        picture = av.VideoFrame.from_ndarray(numbered(*size, number), format="rgb24").reformat(format=film.pix_fmt)
        picture.pts = start + number * step if is_x264 else number
        picture.time_base = base
        packets += film.encode(picture)
    packets += film.encode(None)
    if tone is not None:
        begin = start if sound_start is None else sound_start
        for k in range(count * step * 48 // 90 // 1024):
            wave = (np.sin(np.arange(1024) / 7 + k) * 8000).astype(np.int16)[None]
            part = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            part.sample_rate, part.pts = 48000, begin * 48 // 90 + k * 1024
            part.time_base = Fraction(1, 48000)
            packets += tone.encode(part)
        packets += tone.encode(None)
    for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
        output.mux(packet)
    output.close()
    return path


def remux(source, output, shift=0, container=None, options=None):
    """Copy the film of a clip packet by packet, with all times moved."""
    with av.open(str(source)) as given, av.open(str(output), "w", format=container, options=options or {}) as copy:
        film = given.streams.video[0]
        stream = copy.add_stream_from_template(film)
        for packet in given.demux(film):
            if packet.size:
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                copy.mux(packet)
    return output


def copy_clip(source, output, **part):
    reader = ClipReader(source, **part)
    with ClipWriter(output, reader, preset="ultrafast") as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    return output


def copy_in_parts(clip, folder, length_s, each=True, **part):
    """Copy a clip segment by segment, or with one reader for all; what is found wrong comes along."""
    folder.mkdir()
    reader = ClipReader(clip, **part)
    spans = plan_spans(reader, length_s)
    parts, found = [], []
    whole = ClipReader(clip, **part)
    frames = list(whole) if not each else []
    for number, span in enumerate(spans):
        mine = ClipReader(clip, **part, span=span.as_pair(), halo=(1, 1)) if each else whole
        with SegmentWriter(folder / f"{number}.nut", reader, "libx264", "ultrafast", 80) as writer:
            for frame in mine if each else frames:
                if (span.start is None or frame.pts >= span.start) and (span.stop is None or frame.pts < span.stop):
                    writer.write(RenderedFrame(frame))
        found.append(mine.defects(span.as_pair()))
        parts.append(Part(folder / f"{number}.nut", writer.pts, writer.durations))
    output = folder / "out.mp4"
    with ClipMerger(output, reader, "libx264", [one for one in parts if one.pts]) as merger:
        merger.merge()
    return output, spans, found


def starts_s(path):
    """When film and sound begin."""
    found = {}
    for kind in ("video", "audio"):
        with av.open(str(path)) as container:
            times = [p.pts * p.time_base for p in container.demux(**{kind: 0}) if p.size and not p.is_discard]
        found[kind] = float(min(times))
    return found


def times(path, **part):
    return [frame.pts for frame in ClipReader(path, **part)]


# The right stream


def test_a_still_before_the_film_is_not_the_film(shared):
    path = shared / "cases" / "mjpeg_still_track_before_the_film.mkv"
    with open_clip(path) as container:
        assert film_of(container).codec_context.name == "h264"
    assert len(times(path)) == 38


def tracks_of(path, stills, container=None, default=None):
    """A file with several films: (size, count) of each."""
    with av.open(str(path), "w", format=container) as output:
        streams = []
        for codec, size, _ in stills:
            stream = output.add_stream(codec, rate=25)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            streams.append(stream)
        for number, stream in enumerate(streams):
            stream.disposition = 1 if default is None or number == default else 0
        packets = []
        for stream, (_, size, count) in zip(streams, stills, strict=True):
            for number in range(count):
                pixels = moving_square(*size, number)
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
                picture.pts = number
                packets += stream.encode(picture)
            packets += stream.encode(None)
        for packet in packets:
            output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_of_several_films_the_longest_is_taken(tmp_path, suffix):
    films = [("mjpeg", (320, 240), 1), ("libx264", (64, 48), 5), ("libx264", (160, 120), 20)]
    path = tracks_of(tmp_path / f"a{suffix}", films)
    with open_clip(path) as container:
        assert film_of(container).index == 2
    assert len(times(path)) == 20


def test_the_film_that_is_marked_as_default_is_taken(tmp_path):
    films = [("libx264", (160, 120), 20), ("libx264", (64, 48), 5)]
    assert probe(tracks_of(tmp_path / "a.mkv", films, default=1)).width == 64
    assert probe(tracks_of(tmp_path / "b.mkv", films, default=0)).width == 160


def test_a_film_of_stills_is_a_film(tmp_path):
    assert len(times(tracks_of(tmp_path / "a.avi", [("mjpeg", (64, 48), 7)]))) == 7


def test_sound_with_a_cover_is_no_clip(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        tone = output.add_stream("aac", rate=48000, layout="mono")
        cover = output.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(moving_square(64, 48, 1), format="rgb24").reformat(format="yuvj420p")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        sound.sample_rate = 48000
        for packet in [*cover.encode(picture), *cover.encode(None), *tone.encode(sound), *tone.encode(None)]:
            output.mux(packet)
    with pytest.raises(MediaUnreadable, match="no picture that moves"):
        ClipReader(path)


# Time


@pytest.mark.parametrize("start", [TICKS // 2, 11 * 3600 * TICKS, WRAP - TICKS, WRAP - 90 * TICKS])
@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_a_stream_that_begins_at_any_time_begins_at_0(tmp_path, start, suffix):
    source = encode(tmp_path / "a.ts", start, sound_start=start + 9000)
    assert times(source) == [number * STEP for number in range(50)]
    output = copy_clip(source, tmp_path / f"out{suffix if suffix != '.ts' else '.mov'}")
    began = starts_s(output)
    assert began["video"] == pytest.approx(0, abs=0.002)
    assert began["audio"] == pytest.approx(starts_s(source)["audio"] - starts_s(source)["video"], abs=0.002)
    assert len(times(output)) == 50


def test_sound_that_begins_before_the_picture_still_does(tmp_path):
    source = encode(tmp_path / "a.ts", 11 * 3600 * TICKS, sound_start=11 * 3600 * TICKS - TICKS // 2)
    output = copy_clip(source, tmp_path / "out.mp4")
    before, after = starts_s(source), starts_s(output)
    assert after["audio"] == pytest.approx(0, abs=0.002)
    assert after["video"] - after["audio"] == pytest.approx(before["video"] - before["audio"], abs=0.002)


def test_spans_of_a_stream_whose_times_wrap_are_those_of_the_whole(tmp_path):
    source = encode(tmp_path / "a.ts", WRAP - 2 * TICKS, count=150)
    one, spans, _ = copy_in_parts(source, tmp_path / "one", 1.0)
    other, _, _ = copy_in_parts(source, tmp_path / "other", 1.0, each=False)
    assert len(spans) > 3
    assert content_of(one) == content_of(other)
    assert len(times(one)) == 150


@pytest.mark.parametrize("start", [0, 11 * 3600 * TICKS])
def test_start_and_end_count_from_the_beginning(tmp_path, start):
    source = encode(tmp_path / "a.ts", start, sound=False)
    assert times(source, start_s=0.4, end_s=0.8) == [number * STEP for number in range(10, 20)]
    output = copy_clip(source, tmp_path / "out.mp4", start_s=0.4, end_s=0.8)
    assert numbers(ClipReader(output)) == list(range(10, 20))
    with pytest.raises(MediaUnsupported, match=r"beyond the end.*\(2\.0"):
        ClipReader(source, start_s=3.0)


@pytest.mark.parametrize("leap", [-100 * TICKS, -4 * STEP, 5000 * TICKS], ids=["back", "overlap", "forward"])
def test_a_stream_whose_times_leap_goes_on(tmp_path, leap):
    first = encode(tmp_path / "a.ts", 200 * TICKS, count=30)
    second = encode(tmp_path / "b.ts", 200 * TICKS + 30 * STEP + leap, count=30)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    found = times(joined)
    assert len(found) == 60
    assert max(b - a for a, b in pairwise(found)) < TICKS // 2
    output = copy_clip(joined, tmp_path / "out.mp4")
    with av.open(str(output)) as container:
        sound = [p.pts * p.time_base for p in container.demux(audio=0) if p.size]
    assert float(max(b - a for a, b in pairwise(sound))) < 0.5
    assert float(sound[-1]) < 3
    # The sound of the second part stays with its picture.
    second_sound = len(sound) - sum(1 for _ in av.open(str(second)).demux(audio=0)) + 1
    original = starts_s(second)
    apart = float(sound[second_sound]) - found[30] / TICKS
    assert apart == pytest.approx(original["audio"] - original["video"], abs=0.03)


@pytest.mark.parametrize("suffix", [".avi", ".asf"])
def test_b_frames_in_containers_without_times_are_all_there_in_order(tmp_path, suffix):
    source = encode(tmp_path / f"a{suffix}", count=40, sound=False, options={"bf": "3", "preset": "fast"})
    frames = list(ClipReader(source))
    assert numbers(frames) == list(range(40))
    gaps = {b.pts - a.pts for a, b in pairwise(frames)}
    assert [gap * frames[0].time_base for gap in gaps] == [Fraction(1, 25)]
    assert len(plan_spans(ClipReader(source), 0.5)) == 1
    part = list(ClipReader(source, start_s=0.4, end_s=0.8))
    assert numbers(part) == list(range(10, 20))


def test_b_frames_in_avi_of_a_stranger_are_all_there(shared, tmp_path):
    source = shared / "cases" / "h264_with_b_frames_in_avi.avi"
    assert times(source) == [2 * number for number in range(27)]
    output = copy_clip(source, tmp_path / "o.mkv")
    assert len(times(output)) == 27
    with av.open(str(output)) as container:
        assert container.streams.video[0].average_rate == 25  # the source states its fields, 50


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".h264", "libx264"), (".hevc", "libx265"), (".m2v", "mpeg2video"), (".m4v", "mpeg4")]
)
def test_bare_streams_count_their_frames(tmp_path, suffix, codec):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    kind = {"container": "m4v"} if suffix == ".m4v" else {}
    source = tmp_path / f"a{suffix}"
    with av.open(str(source), "w", format=kind.get("container")) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 160, 120, "yuv420p", {"bf": "2", **options}
        for number in range(30):
            picture = av.VideoFrame.from_ndarray(numbered(160, 120, number), format="rgb24")
            picture = picture.reformat(format="yuv420p")
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    frames = list(ClipReader(source))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 25 for number in range(30)])
    assert numbers(frames) == list(range(30))
    assert len(times(copy_clip(source, tmp_path / "o.mp4"))) == 30


def test_frames_that_share_a_time_are_all_kept(tmp_path):
    plain = make_clip(tmp_path / "a.mkv", pts=[n * 40 for n in range(20)], time_base=Fraction(1, 1000), codec="mjpeg",
                      pixel_format="yuvj420p")  # fmt: skip
    same = tmp_path / "b.mkv"
    with av.open(str(plain)) as given, av.open(str(same), "w") as copy:
        stream = copy.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.pts = packet.dts = packet.pts // 80 * 80
                packet.stream = stream
                copy.mux(packet)
    found = times(same)
    assert len(found) == 20
    assert found == sorted(set(found))


# Edit lists


def boxes(content, start, stop):
    while start < stop - 8:
        size, name = struct.unpack(">I4s", content[start : start + 8])
        yield name, start, start + size
        start += size


def find_box(content, *names):
    start, stop, path = 0, len(content), []
    for name in names:
        start, stop = next((a, b) for found, a, b in boxes(content, start, stop) if found == name)
        path.append(start)
        start += 8
    return path, stop


def swap_box(path, names, new):
    """Put another box in the place of one; the index must stand behind the media."""
    content = bytearray(path.read_bytes())
    parents, stop = find_box(content, *names)
    grown = len(new) - (stop - parents[-1])
    content[parents[-1] : stop] = new
    for parent in parents[:-1]:
        size = struct.unpack(">I", content[parent : parent + 4])[0]
        content[parent : parent + 4] = struct.pack(">I", size + grown)
    path.write_bytes(content)


def set_edits(path, edits):
    """Give the first track an edit list: (duration, media time) in 1/90000 s."""
    content = path.read_bytes()
    scale_at = find_box(content, b"moov", b"mvhd")[0][-1]
    scale = struct.unpack(">I", content[scale_at + 20 : scale_at + 24])[0]
    table = struct.pack(">II", 0, len(edits))
    for duration, media in edits:
        table += struct.pack(">Iii", round(duration * scale / TICKS), media, 0x10000)
    swap_box(path, [b"moov", b"trak", b"edts", b"elst"], struct.pack(">I4s", 8 + len(table), b"elst") + table)
    return path


def make_plain(path):
    """50 frames whose first is due at media time 2 frames, in 1/90000 s."""
    return encode(path, sound=False, container_options={"video_track_timescale": str(TICKS)})


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_what_an_edit_list_cuts_away_does_not_come_back(shared, tmp_path, suffix):
    source = shared / "cases" / "trimmed_without_reencoding_edit_list.mp4"
    output = copy_clip(source, tmp_path / f"o{suffix}")
    with av.open(str(output)) as container:
        assert container.duration / 1e6 == pytest.approx(1.42, abs=0.06)
        sound = [p.pts * p.time_base for p in container.demux(audio=0) if p.size]
    assert float(sound[0]) > -0.03
    assert [round(f.time_s * 25) for f in ClipReader(output)] == [round(f.time_s * 25) for f in ClipReader(source)]


@pytest.mark.parametrize(
    ("edits", "shown"),
    [
        ([(20 * STEP, 19 * STEP)], range(17, 37)),  # begins amid a group of pictures
        ([(10 * STEP, -1), (10 * STEP, 2 * STEP)], range(10)),  # a delay
        ([(5 * STEP, 2 * STEP), (5 * STEP, 32 * STEP)], [*range(5), *range(30, 35)]),  # something is cut out
        ([(5 * STEP, 32 * STEP), (5 * STEP, 2 * STEP)], [*range(30, 35), *range(5)]),  # and turned around
    ],
    ids=["trim", "delay", "cut out", "turned around"],
)
def test_edit_lists_are_followed(tmp_path, edits, shown):
    source = make_plain(tmp_path / "a.mp4")
    with av.open(str(source)) as container:
        first = next(p for p in container.demux(video=0))
        reordering = first.pts - first.dts
    edits = [(duration, media if media < 0 else media - 2 * STEP + reordering) for duration, media in edits]
    set_edits(source, edits)
    frames = list(ClipReader(source))
    assert numbers(frames) == list(shown)
    delay = sum(duration for duration, media in edits if media < 0)
    assert frames[0].pts == pytest.approx(delay, abs=90)
    output = copy_clip(source, tmp_path / "o.mkv")
    assert numbers(ClipReader(output)) == list(shown)
    one, _, _ = copy_in_parts(source, tmp_path / "one", 0.2)
    other, _, _ = copy_in_parts(source, tmp_path / "other", 0.2, each=False)
    assert content_of(one) == content_of(other)


# Damage


def packets_of(path):
    with av.open(str(path)) as container:
        return [(p.pos, p.size, p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]


def spoil(path, chosen, how="zero"):
    """Overwrite packets of a clip."""
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(5)
    for position, size, _, _ in chosen:
        middle = bytes(size) if how == "zero" else rng.integers(0, 256, size - size // 3, dtype=np.uint8).tobytes()
        at = position + (0 if how == "zero" else size // 3)
        content[at : position + size] = middle
    path.write_bytes(content)
    return path


def test_a_damaged_packet_costs_what_it_costs_a_player(shared):
    reader = ClipReader(shared / "cases" / "one_damaged_packet_in_the_middle.mp4")
    found = [frame.pts for frame in reader]
    assert len(found) == 37
    notes = reader.describe(reader.defects(), found)
    assert notes[0] == "2 of 38 frames are damaged (first at 0.20 s): 1 is left out and 1 is kept, as players do."
    assert not any("damaged" in note for note in notes[1:])


def test_a_damaged_packet_is_refused_where_one_is_strict(shared):
    source = shared / "cases" / "one_damaged_packet_in_the_middle.mp4"
    with pytest.raises(MediaUnreadable, match=r"damaged at 0\.20 s.*--strict.*--end (\S+) ") as refusal:
        list(ClipReader(source, strict=True))
    end_s = float(str(refusal.value).split("--end ")[1].split()[0])
    assert len(list(ClipReader(source, end_s=end_s, strict=True))) == 5


@pytest.mark.parametrize("how", ["zero", "noise"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("which", ["key", "any"])
def test_damage_is_the_same_whoever_reads(tmp_path, how, codec, which):
    source = encode(tmp_path / "a.mp4", count=120, codec=codec, sound=False)
    listed = packets_of(source)
    chosen = [p for p in listed if p[3]][2:4] if which == "key" else [listed[k] for k in (31, 32, 55, 77, 119)]
    spoil(source, chosen, how)
    one, spans, parts = copy_in_parts(source, tmp_path / "one", 1.0)
    other, _, wholes = copy_in_parts(source, tmp_path / "other", 1.0, each=False)
    again, _, _ = copy_in_parts(source, tmp_path / "again", 1.0)
    assert len(spans) > 2
    assert content_of(one) == content_of(other) == content_of(again)
    assert parts == wholes
    shown = len(times(one))
    assert shown > 0
    lost = sum(part.lost for part in parts)
    assert shown + lost == 120 or codec == "mpeg4"
    assert lost + sum(part.spoilt for part in parts) > 0 or codec == "mpeg4"


def test_damage_is_what_one_thread_makes_of_it(tmp_path):
    """Several threads tell some of it after the pictures that it spoils, and some of it not at all."""
    source = encode(tmp_path / "a.mp4", count=60, sound=False)
    listed = packets_of(source)
    spoil(source, listed[28:30], "noise")
    alone = []
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.options = "NONE", DECODER_OPTIONS
        for packet in container.demux(stream):
            try:
                alone += [picture.to_ndarray(format="rgb24") for picture in packet.decode()]
            except av.error.FFmpegError:
                continue
    read = [frame.pixels for frame in ClipReader(source)]
    assert len(read) == len(alone) > 40
    apart = [np.abs(a.astype(int) - b).mean() for a, b in zip(read, alone, strict=True)]
    assert max(apart) < 1, apart


def test_a_cut_off_clip_gives_what_is_there_and_says_what_is_missing(shared, tmp_path):
    source = shared / "cases" / "truncated_faststart_mp4_38_frames_promised.mp4"
    reader = ClipReader(source)
    found = [frame.pts for frame in reader]
    assert len(found) == 13
    assert reader.describe(reader.defects(), found) == ("25 of 38 promised frames are missing: the file is cut off.",)
    assert len(times(copy_clip(source, tmp_path / "o.mp4"))) == 13
    with pytest.raises(MediaUnreadable, match=r"25 of 38 promised frames.*--end") as refusal:
        ClipReader(source, strict=True)
    end_s = float(str(refusal.value).split("--end ")[1].split()[0])
    assert len(list(ClipReader(source, end_s=end_s, strict=True))) == 13
    part = ClipReader(source, end_s=0.2)
    assert part.missing_count == 0


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".avi", "mpeg4")])
def test_a_cut_off_clip_without_an_index_is_refused_when_strict(tmp_path, suffix, codec):
    source = encode(tmp_path / f"a{suffix}", sound=False, codec=codec, count=100, options={"bf": "0"})
    assert len(list(ClipReader(source, strict=True))) == 100
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 2 // 3])
    there = list(ClipReader(source))
    assert 10 < len(there) < 90
    with pytest.raises(
        MediaUnreadable, match=r"is cut off: it ends at .* s, though it states 4.00 s.*--end"
    ) as refusal:
        ClipReader(source, strict=True)
    end_s = float(str(refusal.value).split("--end ")[1].split()[0])
    assert len(there) - 1 <= len(list(ClipReader(source, end_s=end_s, strict=True))) <= len(there)


@pytest.mark.parametrize("rate", [10, 25, 60])
@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "2"}], ids=["no-b", "b"])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".avi", "libx264"), (".avi", "mpeg4"), (".mkv", "libx264"), (".mkv", "mpeg4"), (".webm", "libvpx")],
)
def test_a_whole_clip_is_whole_when_strict(tmp_path, suffix, codec, options, rate):
    more = {} if codec == "libvpx" else {"options": options}
    source = encode(tmp_path / f"a{suffix}", sound=False, codec=codec, count=20, rate=rate, **more)
    assert len(list(ClipReader(source, strict=True))) == 20


@pytest.mark.parametrize("start_s", [0, 36_000])
def test_a_matroska_clip_whose_clock_begins_late_is_as_long_as_it_is_and_whole(tmp_path, start_s):
    source = encode(tmp_path / "a.mkv", start=start_s * TICKS, count=50)
    info = probe(source)
    assert info.duration_s == pytest.approx(2, abs=0.1)
    assert info.promised_s == pytest.approx(2, abs=0.1)
    assert info.frame_count in range(48, 54)
    reader = ClipReader(source, strict=True)
    found = [frame.pts for frame in reader]
    assert len(found) == 50
    assert reader.describe(reader.defects(), found) == ()
    with pytest.raises(MediaError, match="beyond the end"):
        ClipReader(source, start_s=5.0)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_every_share_of_a_cut_off_clip_adds_up(tmp_path, share):
    source = encode(tmp_path / "a.mp4", container_options={"movflags": "+faststart"}, sound=False)
    content = source.read_bytes()
    source.write_bytes(content[: int(len(content) * share)])
    reader = ClipReader(source)
    count = len(list(reader))
    assert 0 < count < 50
    assert count + reader.missing_count + reader.defects().lost == 50


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_cut_off_clip_that_states_its_length_says_so(tmp_path, suffix):
    source = encode(tmp_path / f"a{suffix}", count=200, sound=False)
    whole = ClipReader(source)
    assert whole.describe(whole.defects(), times(source)) == ()
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 3])
    reader = ClipReader(source)
    notes = reader.describe(reader.defects(), [frame.pts for frame in reader])
    assert any("states 8.00 s" in note for note in notes)


def test_rubbish_behind_the_end_costs_nothing(tmp_path):
    for suffix in (".mp4", ".ts", ".mkv"):
        source = encode(tmp_path / f"a{suffix}")
        source.write_bytes(source.read_bytes() + np.random.default_rng(1).bytes(5000))
        assert len(times(source)) == 50


def test_a_clip_of_which_nothing_can_be_decoded_is_refused(tmp_path):
    source = encode(tmp_path / "a.mp4", sound=False)
    spoil(source, packets_of(source))
    with pytest.raises(MediaUnreadable, match="no decodable frame"):
        ClipReader(source)


def test_a_capture_that_begins_amid_a_group_of_pictures_begins_with_its_first_whole_one(tmp_path):
    source = encode(tmp_path / "a.ts", 3 * TICKS, count=60, sound=False)
    content = source.read_bytes()
    keys = [p[0] for p in packets_of(source) if p[3]]
    source.write_bytes(content[keys[0] + 20 * 188 :])
    reader = ClipReader(source)
    frames = list(reader)
    assert 36 <= len(frames) < 60
    assert [b - a for a, b in pairwise(numbers(frames))] == [1] * (len(frames) - 1)
    assert reader.describe(reader.defects(), [f.pts for f in frames]) == ()
    assert len(list(ClipReader(source, strict=True))) == len(frames)


# Changes on the way


def join_streams(path, *parts):
    """Transport streams one after the other, each with its own size or format."""
    content, start = b"", 0
    for number, options in enumerate(parts):
        count = options.setdefault("count", 25)
        content += encode(path.with_name(f"{path.stem}{number}.ts"), start, sound=False, **options).read_bytes()
        start += count * STEP
    path.write_bytes(content)
    return path


def test_a_change_of_size_is_fitted_and_told(tmp_path):
    source = join_streams(tmp_path / "a.ts", {"size": (160, 120)}, {"size": (320, 120)})
    reader = ClipReader(source)
    frames = list(reader)
    assert len(frames) == 50
    assert {frame.pixels.shape for frame in frames} == {(120, 160, 3)}
    late = frames[-1].pixels
    assert late[:28].max() < 20  # black above and below, since the shape is kept
    assert late[-28:].max() < 20
    small = numbered(320, 120, 24)[1::2, 1::2]
    assert np.abs(late[30:90].astype(int) - small).mean() < 8
    notes = reader.describe(reader.defects(), [frame.pts for frame in frames])
    assert len(notes) == 1
    assert notes[0].startswith("From 1.00 s on the pictures are 320 x 120 px")
    output = copy_clip(source, tmp_path / "o.mp4")
    assert len(times(output)) == 50


def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    flat = {"size": (320, 120), "aspect": Fraction(1, 2)}  # as high as it is wide to the eye of the first part
    source = join_streams(tmp_path / "a.ts", {}, flat)
    late = list(ClipReader(source))[-1].pixels
    assert np.abs(late.astype(int) - numbered(320, 120, 24)[:, ::2]).mean() < 8


def test_both_parts_of_a_clip_that_changes_its_size_can_be_had(shared):
    source = shared / "cases" / "size_changes_mid_stream_ts_start_1.48s.ts"
    assert len(times(source)) == 38
    with pytest.raises(MediaUnsupported, match="640 x 360") as refusal:
        list(ClipReader(source, strict=True))
    hint = refusal.value.hint
    end_s, start_s = (float(hint.split(name)[1].split()[0]) for name in ("--end ", "--start "))
    before, behind = ClipReader(source, end_s=end_s, strict=True), ClipReader(source, start_s=start_s, strict=True)
    assert (before.info.width, behind.info.width) == (512, 640)
    assert (len(list(before)), len(list(behind))) == (20, 18)
    assert next(iter(behind)).pixels.shape == (360, 640, 3)


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuvj420p", "yuv420p10le"])
def test_a_change_of_format_is_converted(tmp_path, pixel_format):
    source = join_streams(tmp_path / "a.ts", {}, {"pixel_format": pixel_format})
    frames = list(ClipReader(source))
    assert len(frames) == 50
    assert {frame.native.format.name for frame in frames} == {"yuv420p"}
    assert np.abs(frames[-1].pixels.astype(int) - numbered(160, 120, 24)).mean() < 6
    assert len(times(copy_clip(source, tmp_path / "o.mp4"))) == 50


# Mirrors


def test_a_mirrored_clip_is_shown_mirrored(shared, tmp_path):
    source = shared / "cases" / "mirrored_display_matrix_hflip.mp4"
    info = ClipReader(source).info
    assert (info.is_mirrored, info.rotation_deg, info.is_upright) == (True, 0, False)
    with av.open(str(source)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(next(iter(ClipReader(source))).pixels.astype(int) - stored[:, ::-1]).mean() < 1
    output = copy_clip(source, tmp_path / "o.mp4")
    assert ClipReader(output).info.is_upright
    assert np.abs(next(iter(ClipReader(output))).pixels.astype(int) - stored[:, ::-1]).mean() < 4


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_all_eight_ways_to_hold_a_camera(tmp_path, degrees, is_mirrored):
    one = 1 << 16
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    # Stored x and y go to a x + c y and b x + d y; first mirrored, then turned counter-clockwise, y points down.
    matrix = np.array([[cosine, sine], [-sine, cosine]]) @ np.diag([-1 if is_mirrored else 1, 1])
    (a, c), (b, d) = matrix
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.set_display_matrix([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30])
        for number in range(3):
            picture = av.VideoFrame.from_ndarray(moving_square(160, 120, number), format="rgb24")
            output.mux(stream.encode(picture.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert orientation_of(next(container.decode(video=0))) == (degrees, is_mirrored)
    shown = next(iter(ClipReader(path))).pixels
    stored = moving_square(160, 120, 0)
    height, width = shown.shape[:2]
    for x, y in ((5, 7), (150, 8), (6, 110), (150, 112), (80, 30)):
        there = matrix @ (np.array([x, y]) - [79.5, 59.5]) + [(width - 1) / 2, (height - 1) / 2]
        column, row = (int(round(float(value))) for value in there)
        assert np.abs(shown[row, column].astype(int) - stored[y, x]).max() < 16


# What is not read


def test_a_header_that_states_too_large_a_picture_is_refused():
    with pytest.raises(MediaUnsupported, match="16000 x 16000 px"):
        check_pixels(Path("a.mp4"), 16000, 16000)
    for width, height in ((7680, 4320), (8192, 8192), (12288, 6480), (6480, 12288)):
        check_pixels(Path("a.mp4"), width, height)


@pytest.mark.parametrize("has_honest_header", [True, False])
def test_far_too_large_a_picture_is_refused_before_it_takes_memory(tmp_path, has_honest_header):
    source = encode(tmp_path / "a.avi", count=3, codec="mjpeg", pixel_format="yuvj420p", sound=False)
    content = bytearray(source.read_bytes())
    at = -1
    while (at := content.find(b"\xff\xc0\x00\x11", at + 1)) >= 0:  # the size in every picture
        content[at + 5 : at + 9] = struct.pack(">HH", 16000, 16000)
    if has_honest_header:
        at = content.index(b"strf") + 8
        content[at + 4 : at + 12] = struct.pack("<II", 16000, 16000)
    source.write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from facefusion.errors import MediaError\n"
        "from facefusion.media.reader import ClipReader\n"
        "try: ClipReader(Path(sys.argv[1]))\n"
        "except MediaError as error: print(type(error).__name__, error)\n"
        # Not what getrusage says: that begins with the size of whoever started the process.
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) // 1024)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(source)], capture_output=True, text=True, check=True)
    refusal, memory_mb = told.stdout.splitlines()
    assert "Media" in refusal
    assert "12288 x 6480" in refusal or not has_honest_header
    assert int(memory_mb) < 500


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("ffconcat version 1.0\nfile {target}\n", "ffconcat"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n", "hls"),
        ('<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>', "dash"),
        ("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "sdp"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".sdp", ".mpd"])
def test_lists_of_other_files_are_named_and_not_followed(tmp_path, content, name, suffix):
    target = encode(tmp_path / "secret.ts")
    path = tmp_path / f"list{suffix}"
    path.write_text(content.format(target=target))
    with pytest.raises(MediaUnsupported, match=name):
        ClipReader(path)


def test_a_mov_that_points_to_another_file_does_not_read_it(tmp_path):
    secret = encode(tmp_path / "secret.mov", sound=False)
    source = tmp_path / "a.mov"
    source.write_bytes(secret.read_bytes())
    name = str(secret).encode()
    name += b"\0" * (len(name) % 2)
    alias = bytes(10) + b"\x03vol" + bytes(24) + bytes(12) + b"\x0asecret.mov" + bytes(53) + bytes(16)
    alias += struct.pack(">hh", 1, 1) + bytes(16) + struct.pack(">HH", 2, len(name)) + name + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    table = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    swap_box(source, [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"], table)
    content = bytearray(source.read_bytes())
    at = content.index(b"mdat")
    content[at + 4 : at + 4 + 20_000] = bytes(20_000)  # what is shown now can only come from the other file
    source.write_bytes(content)
    with pytest.raises(MediaUnreadable):
        ClipReader(source)


@pytest.mark.parametrize("seed", range(4))
def test_spans_of_random_clips_hold_every_frame_once(tmp_path, seed):
    rng = np.random.default_rng(seed)
    suffix = [".mp4", ".mkv", ".ts", ".avi"][seed]
    options = {"g": str(rng.integers(5, 40)), "bf": str(rng.integers(0, 4))}
    source = encode(tmp_path / f"a{suffix}", int(rng.integers(0, 10**6)), 130, sound=False, options=options)
    reader = ClipReader(source)
    whole = [frame.pts for frame in reader]
    spans = plan_spans(reader, 1.0)
    parts = [[frame.pts for frame in ClipReader(source, span=span.as_pair())] for span in spans]
    assert [pts for part in parts for pts in part] == whole
    assert [len(part) for part in parts] == [span.frame_count for span in spans]
    assert len(whole) == 130


# As jobs


def face_recipe(target, output, **options):
    return build_recipe(
        {
            "source_paths": [sample_path("source.jpg")], "target_path": target, "output_path": output,
            "segment_s": 1.0, "output_video_preset": "ultrafast", **options,
        }
    )  # fmt: skip


def test_a_damaged_clip_comes_out_the_same_from_one_process_and_from_a_job_and_says_what_is_lost(tmp_path):
    source = tmp_path / "a.mp4"
    source.write_bytes(sample_path("target.mp4").read_bytes())
    spoil(source, [packets_of(source)[number] for number in (30, 31, 70)])
    told = run(face_recipe(source, tmp_path / "one.mp4"))
    assert told.notes
    jobs = LocalJobs.open(tmp_path / "jobs")
    try:
        job = jobs.create(face_recipe(source, tmp_path / "other.mp4"))
        outcome = jobs.run(job.id, workers=2)
    finally:
        jobs.store.close()
    assert content_of(tmp_path / "one.mp4") == content_of(tmp_path / "other.mp4")
    assert outcome.notes == told.notes
    assert any("damaged" in note for note in told.notes)
    with pytest.raises(MediaUnreadable, match="--strict"):
        run(face_recipe(source, tmp_path / "strict.mp4", strict=True))
    assert not (tmp_path / "strict.mp4").exists()


@pytest.mark.parametrize("before", [b"%PDF-1.4\n" + b"\0" * 300, b"\xd0\xcf\x11\xe0" + b"\0" * 508, b"words " * 40])
def test_a_document_with_a_picture_in_it_is_neither_a_photo_nor_a_clip(tmp_path, before):
    """libav finds the JPEG and takes the document for a film of one frame."""
    picture = io.BytesIO()
    Image.new("RGB", (320, 240), (90, 120, 150)).save(picture, "JPEG")
    path = tmp_path / "letter.pdf"
    path.write_bytes(before + picture.getvalue() + b"\nendstream")
    with pytest.raises(MediaUnsupported, match="a document or data with a picture in it"):
        run(face_recipe(path, tmp_path / "out.mp4"))
    with pytest.raises(MediaUnsupported, match="a document or data"):
        run(face_recipe(sample_path("target.mp4"), tmp_path / "out.mp4", source_paths=[path]))
    film = tmp_path / "film.mjpeg"
    film.write_bytes(picture.getvalue() * 5)
    assert sum(1 for _ in ClipReader(film)) == 5
