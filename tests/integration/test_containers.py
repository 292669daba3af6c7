"""Clips into every container: frame rates, timecodes, sound, subtitles, flags, attachments; nothing fails late."""

import itertools
import re
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from tests.films import Sound, Words, click_time_s, make_film, make_parts, send_through, sound_length_s

from facefusion.errors import FaceFusionError, MediaUnsupported, OutputRefused, RecipeError
from facefusion.jobs.once import run
from facefusion.media import passengers as passengers_module
from facefusion.media import writer as writer_module
from facefusion.media.passengers import TrackOptions, list_passengers, read_tracks
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger
from facefusion.media.timecode import move_timecode
from facefusion.media.writer import check_clip_output
from facefusion.pipeline.plan import build_plan, track_options
from facefusion.recipe import Recipe
from facefusion.testing.clips import make_clip, moving_square
from facefusion.testing.provenance import content_of

NTSC = Fraction(30000, 1001)
CONVERT = TrackOptions(audio="convert")
EXOTIC = Sound("wavpack", 44100)  # no MP4, MOV or WebM file holds it


def streams_of(path: Path) -> list[tuple[str, str, int, dict[str, str]]]:
    """Kind, codec, flags and tags of every stream."""
    with av.open(str(path)) as container:
        return [
            (
                stream.type,
                stream.codec_context.codec.canonical_name if stream.codec_context else "",
                int(stream.disposition),
                {name.lower(): value for name, value in stream.metadata.items()},
            )
            for stream in container.streams
        ]


def codecs_of(path: Path, kind: str) -> list[str]:
    return [codec for one, codec, _, _ in streams_of(path) if one == kind]


def contents(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        wanted = {stream.index for stream in container.streams if stream.type == kind}
        return [bytes(one) for one in container.demux() if one.size and one.stream_index in wanted]


def frame_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * Fraction(frame.time_base) for frame in container.decode(container.streams.video[0])]


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.part*"))


# Frame rates


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(24000, 1001), Fraction(60)], ids=str)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_container_states_the_frame_rate_of_the_clip(tmp_path, rate, suffix):
    source = make_film(tmp_path / "a.mp4", rate=rate)
    encoder = "libsvtav1" if suffix == ".webm" else "libx264"
    output = tmp_path / f"out{suffix}"
    send_through(source, output, encoder=encoder)
    with av.open(str(output)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(float(rate), rel=1e-3)
    if suffix != ".webm":  # OpenCV reads no AV1 everywhere
        assert cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FPS) == pytest.approx(float(rate), rel=1e-3)


def test_variable_frame_rate_states_the_average(tmp_path):
    times = [0, 512, 1500, 1600, 3100, 3612, 6000, 6010, 9000, 12800]
    output = tmp_path / "out.mkv"
    send_through(make_clip(tmp_path / "a.mp4", pts=times), output)
    assert cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FPS) == pytest.approx(9, abs=1.1)


def test_remuxing_our_matroska_keeps_the_duration_of_the_last_frame(tmp_path):
    output, again = tmp_path / "out.mkv", tmp_path / "again.mp4"
    send_through(make_film(tmp_path / "a.mp4"), output)
    with av.open(str(output)) as source, av.open(str(again), "w") as container:
        copy = container.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copy
                container.mux(packet)
    with av.open(str(again)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0, abs=0.002)


def test_matroska_begins_at_zero_and_is_as_long_as_the_clip(tmp_path):
    output = tmp_path / "out.mkv"
    send_through(make_film(tmp_path / "a.mp4", sounds=[Sound()]), output)
    assert frame_times(output)[0] == 0
    with av.open(str(output)) as container:
        assert container.duration == pytest.approx(1_000_000, abs=25_000)
    assert click_time_s(output) == pytest.approx(0.5, abs=0.003)


# Timecodes


@pytest.mark.parametrize(
    ("timecode", "rate"), [("01:02:03:04", Fraction(25)), ("00:00:59;28", NTSC), ("10:00:00:00", Fraction(24000, 1001))]
)
def test_timecodes_are_kept_with_every_frame(tmp_path, timecode, rate):
    source = make_film(tmp_path / "a.mov", rate=rate, timecode=timecode, sounds=[Sound()])
    for first, suffix in itertools.product([source], [".mp4", ".mov", ".mkv"]):
        output = tmp_path / f"out{suffix}"
        assert send_through(first, output) == []
        kind, _, _, tags = streams_of(output)[0]
        assert (kind, tags["timecode"]) == ("video", timecode)
        assert len(frame_times(output)) == 25
        has_track = any(kind == "data" and "timecode" in tags for kind, _, _, tags in streams_of(output))
        assert has_track == (suffix != ".mkv")
    back = tmp_path / "back.mp4"
    send_through(tmp_path / "out.mkv", back)
    assert streams_of(back)[0][3]["timecode"] == timecode


def test_a_timecode_moves_with_the_start(tmp_path):
    source = make_film(tmp_path / "a.mov", timecode="01:02:03:04")
    send_through(source, tmp_path / "out.mov", start_s=0.4)
    assert streams_of(tmp_path / "out.mov")[0][3]["timecode"] == "01:02:03:14"


def test_what_is_no_timecode_is_left_out_and_said(tmp_path):
    source = make_film(tmp_path / "a.mkv", film_tags={"timecode": "noon"})
    assert any("timecode noon" in note for note in send_through(source, tmp_path / "out.mp4"))
    assert "timecode" not in streams_of(tmp_path / "out.mp4")[0][3]


def test_a_timecode_track_can_be_dropped(tmp_path):
    source = make_film(tmp_path / "a.mov", timecode="01:02:03:04")
    send_through(source, tmp_path / "out.mov", TrackOptions(drop=("data",)))
    assert [(kind, "timecode" in tags) for kind, _, _, tags in streams_of(tmp_path / "out.mov")] == [("video", False)]


def test_drop_frame_timecodes_count_as_smpte_says():
    assert move_timecode("00:00:59;29", 1, NTSC) == "00:01:00;02"
    assert move_timecode("00:09:59;29", 1, NTSC) == "00:10:00;00"
    assert move_timecode("00:00:59;59", 1, 2 * NTSC) == "00:01:00;04"
    assert move_timecode("00:00:00;00", 107892, NTSC) == "01:00:00;00"
    assert move_timecode("23:59:59:24", 1, Fraction(25)) == "00:00:00:00"
    assert [move_timecode(text, 0, Fraction(25)) for text in ("", "1:2:3", "00:00:00;00", "00:00:00:25")] == [None] * 4
    at = "00:00:00;00"
    for step in (1, 1799, 1800, 17982, 5):
        moved = move_timecode(at, step, NTSC)
        one = at
        for _ in range(step):
            one = move_timecode(one, 1, NTSC)
        assert moved == one
        at = moved


def test_the_timecode_case_is_written_to_mp4_and_mov(shared, tmp_path):
    for suffix in (".mp4", ".mov"):
        output = tmp_path / f"out{suffix}"
        send_through(shared / "cases" / "timecode_track_tmcd.mp4", output)
        assert len(frame_times(output)) == 17
        assert streams_of(output)[0][3]["timecode"] == "01:02:03:04"


# What containers hold

SOUNDS = [
    Sound("aac"), Sound("mp2"), Sound("ac3", layout="5.1(side)"), Sound("eac3"), Sound("flac"), Sound("alac"),
    Sound("libopus"), Sound("vorbis"), Sound("pcm_s16le"), Sound("pcm_s24le"), Sound("pcm_s16be"), Sound("dca"),
    Sound("truehd"), Sound("wavpack"), Sound("tta"), Sound("mp3"), Sound("pcm_f32le"),
]  # fmt: skip


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.codec)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_what_the_plan_lets_through_is_written_and_what_it_refuses_has_true_ways_out(tmp_path, sound, suffix):
    if sound.codec not in av.codecs_available or not _can_encode(sound.codec):
        pytest.skip(f"libav writes no {sound.codec}")
    source = make_film(tmp_path / "a.mkv", sounds=[sound], words=[Words()])
    check_answer(source, tmp_path / f"out{suffix}")


def _can_encode(codec: str) -> bool:
    try:
        return av.Codec(codec, "w").is_encoder
    except ValueError:
        return False


def check_answer(source: Path, output: Path, options: TrackOptions | None = None) -> None:
    """Either the output really holds every track, or each way out that is named really works."""
    options = options or TrackOptions()
    reader = ClipReader(source)
    encoder = "libsvtav1" if output.suffix == ".webm" else "libx264"
    try:
        listed = list_passengers(reader, output.suffix, encoder, options)
    except MediaUnsupported as error:
        for track in re.findall(r"(\w+) track (\d+) \((\w+)", error.message):
            assert track[0] in ("audio", "subtitle")
        ways = 0
        for ending in re.findall(r"\.(?:mkv|mov|mp4|webm)\b", error.hint):
            send_through(source, output.with_suffix(ending), options, encoder=encoder)
            ways += 1
        for words in re.findall(r"(?<!convert )--drop-tracks ([a-z0-9 ]+?)(?:[.;,]|$)", error.hint):
            send_through(source, output, TrackOptions(options.audio, tuple(words.split())), encoder=encoder)
            ways += 1
        for words, made in re.findall(
            r"--audio convert(?: --drop-tracks ([a-z0-9 ]+))?, which makes the sound (\w+)", error.hint
        ):
            send_through(source, output, TrackOptions("convert", tuple(words.split())), encoder=encoder)
            assert codecs_of(output, "audio") == [made]
            ways += 1
        assert ways >= 2, error.hint
        return
    send_through(source, output, options, encoder=encoder)
    assert len(codecs_of(output, "audio")) == len(codecs_of(source, "audio"))
    if not any(one.codec for one in listed.passengers if one.track.kind == "audio"):
        assert b"".join(contents(output, "audio")) == b"".join(contents(source, "audio"))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("codec", ["subrip", "ass", "webvtt"])
def test_subtitles_of_words_come_along_in_the_containers_own_codec(tmp_path, codec, suffix):
    source = make_film(tmp_path / "a.mkv", words=[Words(codec, tags={"language": "ger", "title": "Worte"})])
    output = tmp_path / f"out{suffix}"
    send_through(source, output, encoder="libsvtav1" if suffix == ".webm" else "libx264")
    texts = [text for text in contents(output, "subtitle") if len(text) > 2]
    assert [b"Hello" in text for text in texts] == [True, False]
    with av.open(str(output)) as container:
        stream = container.streams.subtitles[0]
        shown = [(one.pts, one.duration) for one in container.demux(stream) if one.size > 2]
        base = Fraction(stream.time_base)
        assert [(float(at * base), float(length * base)) for at, length in shown] == [(0.1, 0.2), (0.4, 0.3)]
        assert stream.metadata["language"] == "ger"


def test_subtitles_of_mp4_become_words_of_matroska(tmp_path):
    source = make_film(tmp_path / "a.mp4", words=[Words("mov_text")])
    notes = send_through(source, tmp_path / "out.mkv")
    assert contents(tmp_path / "out.mkv", "subtitle") == [b"Hello", b"World"]
    assert notes == ["Subtitle track 1 (mov_text) is converted to subrip."]


def test_subtitles_are_cut_where_the_part_ends(tmp_path):
    source = make_film(
        tmp_path / "a.mkv", words=[Words(cues=((100, 200, "out"), (400, 900, "in"), (950, 990, "late")))]
    )
    send_through(source, tmp_path / "out.mkv", start_s=0.2, end_s=0.8)
    with av.open(str(tmp_path / "out.mkv")) as container:
        cues = [
            (one.pts, one.duration, bytes(one)) for one in container.demux(container.streams.subtitles[0]) if one.size
        ]
    assert cues == [(200, 400, b"in")]


@pytest.mark.parametrize("made", [".mkv", ".mp4"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_subtitles_that_are_on_the_screen_at_the_start_are_kept(tmp_path, made, suffix):
    codec = "mov_text" if made == ".mp4" else "subrip"
    cues = (100, 200, "over"), (200, 13_000, "long"), (13_200, 13_700, "here"), (13_900, 14_500, "next")
    pictures = [moving_square(160, 120, k) for k in range(15)]
    source = make_film(
        tmp_path / f"a{made}",
        count=15,
        rate=Fraction(1),
        pictures=pictures,
        words=[Words(codec, cues)],
        sounds=[Sound()],
    )
    encoder = "libvpx-vp9" if suffix == ".webm" else "libx264"
    for start_s, wanted in (
        (2, [(0, 11, b"long"), (11.2, 0.5, b"here")]),
        (13.5, [(0.0, 0.2, b"here"), (0.4, 0.6, b"next")]),
    ):
        send_through(source, tmp_path / f"out{suffix}", CONVERT, encoder=encoder, start_s=start_s)
        with av.open(str(tmp_path / f"out{suffix}")) as container:
            found = [
                (float(one.pts * one.time_base), float(one.duration * one.time_base), bytes(one)[-4:])
                for one in container.demux(container.streams.subtitles[0])
                if one.size > 2
            ]
        for one, other in zip(found[:2], wanted, strict=True):
            assert one[:2] == pytest.approx(other[:2], abs=0.002)
            assert one[2] == other[2]


def test_words_that_stand_until_the_next_ones_stand_where_the_part_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(passengers_module, "_UNTIL_NEXT", ("subrip",))  # such are pictures, which nothing here encodes
    cues = (100, 100, "first"), (300, 300, "second"), (700, 700, "third")
    source = make_film(tmp_path / "a.mkv", words=[Words(cues=cues)])
    send_through(source, tmp_path / "out.mkv", start_s=0.52, end_s=0.6)
    assert contents(tmp_path / "out.mkv", "subtitle") == [b"second"]
    send_through(source, tmp_path / "out.mkv", start_s=0.52)
    assert contents(tmp_path / "out.mkv", "subtitle") == [b"second", b"third"]


def test_telemetry_that_a_container_cannot_hold_is_named(tmp_path):
    source = make_film(tmp_path / "a.ts", data=[b"\x06\x0e+4" + bytes(60)] * 3, sounds=[Sound("mp2")])
    with av.open(str(source)) as container:
        kinds = [track.kind for track in read_tracks(container)]
    assert "data" in kinds
    notes = send_through(source, tmp_path / "out.mkv")
    assert any(re.match(r"Data track \d+ \(klv\) is left out: \.mkv files cannot hold it", note) for note in notes)
    assert codecs_of(tmp_path / "out.mkv", "audio") == ["mp2"]
    with pytest.raises(MediaUnsupported, match="klv"):
        list_passengers(ClipReader(source), ".mkv", "libx264", TrackOptions(is_strict=True))
    assert send_through(source, tmp_path / "out.mkv", TrackOptions(drop=("data",))) == []


def test_fonts_and_covers_are_kept_where_the_container_can_and_named_where_not(tmp_path):
    source = make_film(
        tmp_path / "a.mkv", words=[Words("ass")], fonts=[("Face.ttf", b"a font" * 50)], has_cover=True, sounds=[Sound()]
    )
    cover = [bytes(one) for one in _pictures(source)]
    assert send_through(source, tmp_path / "out.mkv") == []
    with av.open(str(tmp_path / "out.mkv")) as container:
        (font,) = container.streams.attachments
        assert (font.name, font.data) == ("Face.ttf", b"a font" * 50)
    assert _pictures(tmp_path / "out.mkv") == cover
    notes = send_through(source, tmp_path / "out.mp4")
    assert any("Face.ttf" in note and "left out" in note for note in notes)
    assert _pictures(tmp_path / "out.mp4") == cover
    assert len(frame_times(tmp_path / "out.mp4")) == 25


def _pictures(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        wanted = [s for s in container.streams.video if int(s.disposition) & int(Disposition.attached_pic)]
        return [bytes(one) for one in container.demux(wanted) if one.size] if wanted else []


def test_pictures_and_telemetry_of_hidden_people_are_left_out(tmp_path):
    source = make_film(tmp_path / "a.mkv", has_cover=True)
    notes = send_through(source, tmp_path / "out.mkv", TrackOptions(hides_people=True))
    assert _pictures(tmp_path / "out.mkv") == []
    assert any("may show people" in note for note in notes)


def make_action_camera_clip(path: Path) -> Path:
    """A clip with a track of telemetry (gpmd), made from one with a timecode."""
    content = bytearray(make_film(path, timecode="01:02:03:04", sounds=[Sound()]).read_bytes())
    for found in re.finditer(b"tmcd", bytes(content)):
        before = content[found.start() - 24 : found.start()]
        if b"stsd" in before:
            content[found.start() : found.end()] = b"gpmd"
        elif b"hdlr" in before:
            content[found.start() : found.end()] = b"meta"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_telemetry_of_action_cameras_is_kept_but_for_people_who_are_hidden(tmp_path, suffix):
    source, output = make_action_camera_clip(tmp_path / "a.mp4"), tmp_path / f"out{suffix}"
    assert send_through(source, output) == []
    assert contents(output, "data") == contents(source, "data")
    notes = send_through(source, output, TrackOptions(hides_places=True))
    assert contents(output, "data") == []
    assert any("may tell who and where" in note for note in notes)
    hiding = Recipe(processors=("face_anonymiser",))
    assert track_options(hiding).hides_people
    assert track_options(hiding).hides_places
    kept = track_options(hiding.model_copy(update={"keep_metadata": True}))
    assert (kept.hides_people, kept.hides_places) == (True, False)
    assert not track_options(Recipe()).hides_places


def test_a_run_says_what_was_converted(tmp_path, source_photo, target_clip):
    recipe = Recipe(
        source_paths=(source_photo,), target_path=target_clip, output_path=tmp_path / "out.webm", end_s=0.2,
        output_video_encoder="libsvtav1", output_video_preset="ultrafast", output_audio="convert",
    )  # fmt: skip
    assert run(recipe).notes == ("Audio track 1 (aac) is converted to opus.",)
    assert codecs_of(tmp_path / "out.webm", "audio") == ["opus"]


def test_av1_is_refused_for_mov_before_the_first_frame(tmp_path):
    with pytest.raises(OutputRefused, match=r"\.mov cannot hold libsvtav1 video.*libx264"):
        check_clip_output(tmp_path / "out.mov", "libsvtav1")
    for suffix in (".mp4", ".mkv", ".webm"):
        check_clip_output(tmp_path / f"out{suffix}", "libsvtav1")


def test_words_of_drop_tracks_that_mean_nothing_list_the_tracks(tmp_path):
    reader = ClipReader(make_film(tmp_path / "a.mkv", sounds=[Sound(tags={"language": "ger", "title": "Ton"})]))
    for word in ("sounds", "9", "-1", ""):
        with pytest.raises(RecipeError, match=r"audio track 1 \(aac, ger, 'Ton'\)"):
            list_passengers(reader, ".mkv", "libx264", TrackOptions(drop=(word,)))
    with pytest.raises(RecipeError, match="film itself"):
        list_passengers(reader, ".mkv", "libx264", TrackOptions(drop=("0",)))


def test_tracks_are_dropped_by_kind_and_by_number(tmp_path):
    source = make_film(tmp_path / "a.mkv", sounds=[Sound(), Sound("flac")], words=[Words(), Words("ass")])
    send_through(source, tmp_path / "out.mkv", TrackOptions(drop=("1", "subtitle")))
    assert [codec for _, codec, _, _ in streams_of(tmp_path / "out.mkv")] == ["h264", "flac"]
    send_through(source, tmp_path / "mute.mkv", TrackOptions(audio="none", drop=("3",)))
    assert [codec for _, codec, _, _ in streams_of(tmp_path / "mute.mkv")] == ["h264", "ass"]


def test_a_plan_names_what_does_not_fit_before_the_first_frame(tmp_path, source_photo):
    source = make_film(tmp_path / "a.mkv", sounds=[Sound(), EXOTIC])
    recipe = Recipe(source_paths=(source_photo,), target_path=source, output_path=tmp_path / "out.mp4")
    with pytest.raises(MediaUnsupported, match=r"audio track 2 \(wavpack\).*--audio convert"):
        build_plan(recipe)
    build_plan(recipe.model_copy(update={"output_audio": "convert"}))
    build_plan(recipe.model_copy(update={"drop_tracks": ("2",)}))
    with pytest.raises(RecipeError, match="'5'"):
        build_plan(recipe.model_copy(update={"drop_tracks": ("5",)}))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv", ".webm"])
@pytest.mark.parametrize("name", ["mkv_flac_sound_to_mov.mkv", "mkv_pcm_s24le_to_mp4.mkv", "wmv_with_wmav2_sound.wmv"])
def test_the_cases_are_held_or_have_true_ways_out(shared, tmp_path, name, suffix):
    check_answer(shared / "cases" / name, tmp_path / f"out{suffix}")


def test_windows_media_goes_into_matroska(shared, tmp_path):
    source, output = shared / "cases" / "wmv_with_wmav2_sound.wmv", tmp_path / "out.mkv"
    send_through(source, output)
    assert sound_length_s(output) == pytest.approx(sound_length_s(source), abs=0.001)


# Sound that is converted


@pytest.mark.parametrize("span", [{}, {"start_s": 0.2, "end_s": 0.8}], ids=["whole", "part"])
@pytest.mark.parametrize("start_s", [0.0, 0.25])
@pytest.mark.parametrize(
    ("suffix", "sound", "made"),
    [
        (".mp4", Sound("wavpack", 44100), "aac"),
        (".mp4", Sound("wavpack", 48000, "5.1(side)"), "aac"),
        (".mov", Sound("flac", 44100), "alac"),
        (".mov", Sound("flac", 48000, "mono"), "alac"),
        (".webm", Sound("aac", 44100), "opus"),
        (".webm", Sound("ac3", 48000, "5.1(side)"), "opus"),
    ],
    ids=lambda value: getattr(value, "layout", str(value)),
)
def test_converted_sound_is_heard_when_it_was(tmp_path, suffix, sound, made, start_s, span):
    sound = Sound(sound.codec, sound.rate, sound.layout, start_s=start_s)
    source, output = make_film(tmp_path / "a.mkv", sounds=[sound]), tmp_path / f"out{suffix}"
    notes = send_through(source, output, CONVERT, encoder="libsvtav1" if suffix == ".webm" else "libx264", **span)
    assert codecs_of(output, "audio") == [made]
    assert f"is converted to {made}" in notes[0]
    begins_s = float(frame_times(output)[0])
    assert begins_s == 0
    assert click_time_s(output) == pytest.approx(click_time_s(source) - span.get("start_s", 0), abs=0.002)
    wanted = min(sound_length_s(source), span.get("end_s", 9) - max(start_s, span.get("start_s", 0)))
    # Codecs of frames may pad their last one, and fade in from before the first.
    assert sound_length_s(output) == pytest.approx(wanted, abs=0.05 if made == "aac" else 0.002)
    with av.open(str(source)) as one, av.open(str(output)) as other:
        assert one.streams.audio[0].layout.nb_channels == other.streams.audio[0].layout.nb_channels


def test_lossless_sound_stays_so_in_mov(tmp_path):
    source = make_film(tmp_path / "a.mkv", sounds=[Sound("flac", 44100, options={"sample_fmt": "s16"})])
    send_through(source, tmp_path / "out.mov", CONVERT)

    def samples(path: Path) -> np.ndarray:
        with av.open(str(path)) as container:
            frames = list(container.decode(container.streams.audio[0]))
        rows = [f.to_ndarray() if f.format.is_planar else f.to_ndarray().reshape(f.samples, -1).T for f in frames]
        whole = np.concatenate(rows, axis=1)
        return whole.astype(np.int64) << (16 if whole.dtype == np.int16 else 0)

    np.testing.assert_array_equal(samples(source), samples(tmp_path / "out.mov"))


def test_only_what_does_not_fit_is_converted_and_bytes_are_the_same_each_time(tmp_path):
    source = make_film(tmp_path / "a.mkv", sounds=[Sound(), EXOTIC])
    outputs = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for output in outputs:
        notes = send_through(source, output, CONVERT)
        assert notes == ["Audio track 2 (wavpack) is converted to aac."]
    assert content_of(outputs[0]) == content_of(outputs[1])
    with av.open(str(source)) as one, av.open(str(outputs[0])) as other:
        first = [bytes(p) for p in one.demux(one.streams.audio[0]) if p.size]
        assert [bytes(p) for p in other.demux(other.streams.audio[0]) if p.size] == first


def test_a_gap_in_sound_becomes_silence(tmp_path):
    source = make_film(tmp_path / "a.mkv", sounds=[Sound("flac", click_s=0.8)])
    holed = tmp_path / "b.mkv"
    with av.open(str(source)) as one, av.open(str(holed), "w") as other:
        copies = [other.add_stream_from_template(stream, opaque=True) for stream in one.streams]
        for packet in one.demux():
            if packet.size and not (packet.stream_index == 1 and 200 <= packet.pts < 500):
                packet.stream = copies[packet.stream_index]
                other.mux(packet)
    send_through(holed, tmp_path / "out.mov", CONVERT)
    assert click_time_s(tmp_path / "out.mov") == pytest.approx(0.8, abs=0.002)
    assert sound_length_s(tmp_path / "out.mov") == pytest.approx(1.0, abs=0.002)


# Flags and names

FLAGS = {
    "default": Disposition.default,
    "forced": Disposition.forced,
    "comment": Disposition.comment,
    "hearing_impaired": Disposition.hearing_impaired,
    "visual_impaired": Disposition.visual_impaired,
    "original": Disposition.original,
    "dub": Disposition.dub,
}


def test_flags_languages_and_titles_are_kept(tmp_path):
    def flags(*names: str) -> int:
        return sum(int(FLAGS[name]) for name in names)

    source = make_film(
        tmp_path / "a.mkv",
        film_tags={"title": "Der Film", "language": "fre"},
        sounds=[
            Sound(tags={"language": "ger", "title": "Deutsch"}, disposition=flags("original")),
            Sound(tags={"language": "eng", "title": "Commentary"}, disposition=flags("default", "comment")),
            Sound(tags={"language": "eng"}, disposition=flags("visual_impaired")),
        ],
        words=[
            Words(tags={"language": "ger"}, disposition=flags("forced")),
            Words(tags={"language": "eng", "title": "SDH"}, disposition=flags("hearing_impaired")),
        ],
    )
    before = streams_of(source)
    for suffix, kept in ((".mkv", int(sum(FLAGS.values()))), (".mp4", flags("default", "comment", "forced"))):
        output = tmp_path / f"out{suffix}"
        send_through(source, output)
        after = streams_of(output)
        for one, other in zip(before, after, strict=True):
            assert one[2] & kept == other[2] & kept
            assert one[3].get("language", "und") == other[3].get("language", "und")
            assert one[3].get("title") == (other[3].get("title") or other[3].get("name"))
    hearing = int(FLAGS["hearing_impaired"])
    assert [s[2] & hearing for s in streams_of(tmp_path / "out.mp4")] == [s[2] & hearing for s in before]
    back = tmp_path / "back.mkv"
    send_through(tmp_path / "out.mp4", back)
    assert [s[3].get("title") for s in streams_of(back)] == [s[3].get("title") for s in before]


def test_the_case_of_flags_keeps_them(shared, tmp_path):
    source = shared / "cases" / "default_and_forced_flags.mkv"
    wanted = [flags for _, _, flags, _ in streams_of(source)]
    send_through(source, tmp_path / "out.mkv")
    assert [flags for _, _, flags, _ in streams_of(tmp_path / "out.mkv")] == wanted
    send_through(source, tmp_path / "out.mp4")
    known = int(sum(FLAGS.values()))
    assert [flags & known for _, _, flags, _ in streams_of(tmp_path / "out.mp4")] == wanted


def test_tags_that_tell_of_the_old_file_do_not_come_along(tmp_path):
    tags = {"BPS": "1234", "NUMBER_OF_FRAMES": "9", "_STATISTICS_TAGS": "BPS", "DURATION": "09:00:00.000000000"}
    source = make_film(tmp_path / "a.mkv", sounds=[Sound(tags=tags)], film_tags={"alpha_mode": "1", **tags})
    send_through(source, tmp_path / "out.mkv")
    for _, _, _, after in streams_of(tmp_path / "out.mkv"):
        assert not {"bps", "number_of_frames", "_statistics_tags", "alpha_mode"} & set(after)
        assert after["duration"] < "00:00:02"


def test_chapters_move_with_the_part(tmp_path):
    def chapter(number: int, start: int, end: int) -> dict:
        name = {"title": f"Part {number}"}
        return {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": name}

    marks = [chapter(1, 0, 300), chapter(2, 300, 600), chapter(3, 600, 1000)]
    source = make_film(tmp_path / "a.mkv", chapters=marks)
    for suffix in (".mkv", ".mp4"):
        output = tmp_path / f"out{suffix}"
        send_through(source, output, start_s=0.4, end_s=0.8)
        with av.open(str(output)) as container:
            found = [
                (c["metadata"]["title"], float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]))
                for c in container.chapters()
            ]
        assert found == [("Part 2", 0.0, pytest.approx(0.2)), ("Part 3", pytest.approx(0.2), pytest.approx(0.4))]


def test_names_of_chapters_in_mp4_do_not_become_a_track(tmp_path):
    mark = {"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    source = make_film(tmp_path / "a.mp4", chapters=[mark])
    assert send_through(source, tmp_path / "out.mkv") == []
    send_through(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [c["metadata"]["title"] for c in container.chapters()] == ["One"]


# Transparency


def test_transparency_that_is_lost_is_said_or_refused(tmp_path):
    pictures = [np.dstack([moving_square(160, 120, n), np.full((120, 160), 90, np.uint8)]) for n in range(5)]
    source = make_film(tmp_path / "a.mov", codec="qtrle", pixel_format="argb", pictures=pictures, count=5)
    notes = send_through(source, tmp_path / "out.mkv")
    assert any("transparency is lost" in note for note in notes)
    with pytest.raises(MediaUnsupported, match="transparent"):
        list_passengers(ClipReader(source), ".mp4", "libx264", TrackOptions(is_strict=True))


def test_alpha_mode_of_webm_does_not_lie(tmp_path):
    pictures = [np.dstack([moving_square(160, 120, n), np.full((120, 160), 90, np.uint8)]) for n in range(5)]
    source = make_film(tmp_path / "a.webm", codec="libvpx-vp9", pixel_format="yuva420p", pictures=pictures, count=5)
    assert streams_of(source)[0][3]["alpha_mode"] == "1"
    for suffix, encoder in ((".mkv", "libx264"), (".webm", "libsvtav1")):
        notes = send_through(source, tmp_path / f"out{suffix}", encoder=encoder)
        assert any("transparency is lost" in note for note in notes)
        assert "alpha_mode" not in streams_of(tmp_path / f"out{suffix}")[0][3]


# Damage


def damage_pes(source: Path, output: Path, pid: int, number: int) -> None:
    """Take the times from one packet of an MPEG-TS track and spoil what follows them."""
    content = bytearray(source.read_bytes())
    seen = 0
    for at in range(0, len(content) - 187, 188):
        if (content[at + 1] & 0x1F) << 8 | content[at + 2] != pid or not content[at + 1] & 0x40:
            continue
        seen += 1
        if seen == number:
            begin = at + 4 + (1 + content[at + 4] if content[at + 3] & 0x20 else 0)
            assert content[begin : begin + 3] == b"\x00\x00\x01"
            content[begin + 7] &= 0x3F  # neither time is there
            for place in range(begin + 14, min(at + 188, begin + 40)):
                content[place] ^= 0x5A
    output.write_bytes(content)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_damaged_packet_of_a_passenger_costs_itself_and_not_the_film(tmp_path, suffix):
    source = make_film(tmp_path / "a.ts", sounds=[Sound("aac", length_s=2.0)], count=50)
    for number in (1, 2, 3):
        damaged = tmp_path / f"damaged{number}.ts"
        damage_pes(source, damaged, 0x101, number)
        output = tmp_path / f"out{number}{suffix}"
        send_through(damaged, output)
        assert len(frame_times(output)) == 50
        assert sound_length_s(output) > 1.0
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("audio", ["keep", "convert"])
def test_random_damage_of_sound_never_ends_in_a_foreign_error(tmp_path, suffix, audio):
    source = make_film(tmp_path / "a.ts", sounds=[Sound("aac"), Sound("ac3")], count=25)
    good = source.read_bytes()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        content = bytearray(good)
        packets = [
            at for at in range(0, len(good) - 187, 188) if ((good[at + 1] & 0x1F) << 8 | good[at + 2]) in (257, 258)
        ]
        for at in rng.choice(packets, 4):
            place = int(at) + 4 + int(rng.integers(0, 180))
            content[place : place + 4] = rng.integers(0, 256, 4, dtype=np.uint8).tobytes()
        damaged = tmp_path / f"damaged{seed}.ts"
        damaged.write_bytes(content)
        output = tmp_path / f"out{seed}{suffix}"
        try:
            send_through(damaged, output, TrackOptions(audio=audio))
        except FaceFusionError:
            assert not output.exists()
            continue
        assert len(frame_times(output)) == 25
    assert left_over(tmp_path) == []


class Failing:
    """An output of libav that fails at one place."""

    def __init__(self, output: object, place: str, error: BaseException, after: int = 0) -> None:
        self._output, self._place, self._error, self._left = output, place, error, after

    def __getattr__(self, name: str) -> object:
        found = getattr(self._output, name)
        if name != self._place:
            return found

        def fail(*args: object, **options: object) -> object:
            self._left -= 1
            if self._left < 0:
                raise self._error
            return found(*args, **options)

        return fail


ERRORS = [
    ValueError("no"), TypeError("no"), OverflowError("no"), RuntimeError("no"), AssertionError(), KeyError("no"),
    AttributeError("no"), av.error.InvalidDataError(1094995529, "Invalid data"), av.error.ArgumentError(22, "Invalid"),
    OSError(28, "No space left on device"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("place", "after"),
    [("add_stream_from_template", 0), ("add_stream_from_template", 1), ("start_encoding", 0), ("set_chapters", 0),
     ("mux", 0), ("mux", 20), ("close", 0)],
)  # fmt: skip
def test_whatever_libav_raises_is_ours_and_leaves_nothing(tmp_path, monkeypatch, place, after, error):
    mark = {"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    source = make_film(tmp_path / "a.mkv", sounds=[Sound()], chapters=[mark])
    parts = make_parts(source, tmp_path / "parts")
    list_passengers(ClipReader(source), ".mp4", "libx264", TrackOptions())
    real = av.open

    def opened(*args: object, **options: object) -> object:
        output = real(*args, **options)
        return Failing(output, place, error, after) if "w" in args else output

    output = tmp_path / "out.mp4"
    output.write_bytes(b"old")
    monkeypatch.setattr(writer_module.av, "open", opened)
    try:
        with ClipMerger(output, ClipReader(source), "libx264", parts) as merger:
            merger.merge()
    except OutputRefused as refused:
        assert refused.hint
        assert output.read_bytes() == b"old"
    else:  # a packet of the sound that is refused costs itself
        assert place == "mux"
        monkeypatch.undo()
        assert len(frame_times(output)) == 25
    assert left_over(tmp_path) == []


def test_a_still_beside_the_film_is_named_and_the_film_is_taken(shared, tmp_path):
    source = shared / "cases" / "mjpeg_still_track_before_the_film.mkv"
    for suffix in (".mkv", ".mp4"):
        notes = send_through(source, tmp_path / f"out{suffix}")
        assert any(note.startswith("Picture track 0 (mjpeg) is left out") for note in notes)
        assert len(frame_times(tmp_path / f"out{suffix}")) == 38
        assert codecs_of(tmp_path / f"out{suffix}", "audio") == ["aac"]


def test_a_capture_that_begins_at_11_hours_begins_at_zero_with_its_sound(shared, tmp_path):
    source = shared / "cases" / "ts_capture_start_pts_11h.ts"

    def offset_s(path: Path) -> float:
        with av.open(str(path)) as container:
            starts = [s.start_time * s.time_base for s in (container.streams.video[0], container.streams.audio[0])]
        return float(starts[0] - starts[1])

    for suffix in (".mp4", ".mkv"):
        for audio in ("keep", "convert"):
            output = tmp_path / f"out{suffix}"
            send_through(source, output, TrackOptions(audio=audio))
            assert float(frame_times(output)[0]) < 0.05
            assert offset_s(output) == pytest.approx(offset_s(source), abs=0.003)
