"""Numbered pictures in and out: exact, resumed, signed, and never over what is somebody else's."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefusion import run
from facefusion.apps import cli
from facefusion.apps.library import analyse_target
from facefusion.apps.verify import _text as text_of
from facefusion.errors import (
    FaceFusionError,
    MediaMissing,
    MediaUnreadable,
    MediaUnsupported,
    OutputRefused,
    RecipeError,
)
from facefusion.jobs.prepare import prepare
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.media.sequence import find_changed, find_numbered, in_order, index_of, is_pattern, name_of
from facefusion.recipe import build_recipe
from facefusion.service.provenance import verify_file
from facefusion.service.sequences import SequenceWarning, as_clip, settle_sequences
from facefusion.testing.clips import make_clip, moving_square
from facefusion.testing.fakes import sample_path
from facefusion.types.numbers import rate_of

SOURCE = str(sample_path("source.jpg"))


def numbered(folder, count=5, first=1, width=98, height=75, pattern="%04d.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(moving_square(width, height, number)).save(folder / name_of(pattern, first + number))
    return folder / pattern


def asked(target, output, **options):
    return build_recipe(
        {"source_paths": [SOURCE], "target_path": target, "output_path": output, "allow_empty": True, **options}
    )


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Four pictures with a face in them."""
    folder = tmp_path_factory.mktemp("faces")
    for number, frame in zip(range(4), ClipReader(sample_path("target.mp4")), strict=False):
        Image.fromarray(frame.pixels[::2, ::2]).save(folder / f"shot_{number + 8}.png")
    return folder / "shot_%d.png"


@pytest.mark.parametrize(
    ("pattern", "number", "name"),
    [
        ("%04d.png", 7, "0007.png"),
        ("%04d.png", 12345, "12345.png"),
        ("a%d.b.jpg", 7, "a7.b.jpg"),
        ("x_%02d_y.webp", 3, "x_03_y.webp"),
    ],
)
def test_patterns_name_numbers_as_ffmpeg_does(pattern, number, name):
    assert is_pattern(Path("some/where") / pattern)
    assert name_of(pattern, number) == name
    assert not is_pattern(Path("%04d/clip.mp4")) and not is_pattern(Path("100%.png")) and not is_pattern(Path("a%db%d"))


@pytest.mark.parametrize("name", ["my%20dog.png", "c %03d.mp4", "%4d.png", "100%drawn.gif"])
def test_names_that_only_look_like_patterns_are_names(name):
    assert not is_pattern(Path(name))


def test_what_becomes_one_picture_or_a_clip_may_be_called_like_a_pattern(tmp_path):
    photo = settle_sequences(asked(sample_path("target.jpg"), tmp_path / "%03d.png"))
    assert photo.output_path == tmp_path / "%03d.png"
    clip = settle_sequences(asked(sample_path("target.mp4"), tmp_path / "%03d.mp4"))
    assert clip.output_path == tmp_path / "%03d.mp4"


def test_pictures_become_a_clip_without_loss_at_the_rate_that_is_said(tmp_path):
    pattern = numbered(tmp_path / "in", width=99, height=75)
    recipe = settle_sequences(asked(pattern, tmp_path / "o.mp4", frame_rate=23.976))
    reader = ClipReader(recipe.target_path)
    assert reader.info.frame_rate == Fraction(24000, 1001) and recipe.frame_rate is None
    frames = list(reader)
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(k * 1001, 24000) for k in range(5)]
    for number, frame in enumerate(frames):
        assert (frame.pixels == moving_square(99, 75, number)).all()


def test_a_clip_is_packed_once_for_what_is_in_the_pictures_and_anew_for_what_is_not(tmp_path):
    pattern = numbered(tmp_path / "in")

    def packed(**options):
        return settle_sequences(asked(pattern, tmp_path / "o.mp4", **options)).target_path

    first = packed()
    made = first.stat().st_mtime_ns
    os.utime(tmp_path / "in" / "0001.png")
    assert packed() == first and first.stat().st_mtime_ns == made
    assert packed(frame_rate=30) != first
    Image.fromarray(moving_square(98, 75, 77)).save(tmp_path / "in" / "0003.png")
    changed = packed()
    assert changed != first and (list(ClipReader(changed))[2].pixels == moving_square(98, 75, 77)).all()
    for folder in first.parent.parent.iterdir():
        os.utime(folder, (0, 0))
    packed(frame_rate=50)
    assert not first.exists() and not changed.exists()  # nobody has used them for long


def test_frames_that_nobody_changes_come_out_as_they_went_in_with_their_numbers(tmp_path):
    pattern = numbered(tmp_path / "in", first=1001, width=99, height=75)
    outcome = run(asked(pattern, tmp_path / "out" / "%05d.png"))
    assert outcome.frame_count == 5 and outcome.output_path == tmp_path / "out" / "%05d.png.frames"
    assert any("01001.png to 01005.png" in note for note in outcome.notes)
    for number in range(5):
        assert (pixels(tmp_path / "out" / f"{1001 + number:05d}.png") == moving_square(99, 75, number)).all()
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[0] == "%05d.png.frames"
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_parts_keep_the_numbers_of_their_pictures_and_others_can_be_asked_for(tmp_path):
    pattern = numbered(tmp_path / "in", first=11)
    run(asked(pattern, tmp_path / "a" / "%d.png", trim_frame_start=2))
    assert {path.name for path in (tmp_path / "a").glob("*.png")} == {"13.png", "14.png", "15.png"}
    settled = settle_sequences(asked(pattern, tmp_path / "b" / "%d.png", start_s=0.08, frame_rate=25))
    assert settled.first_number == 13
    assert settle_sequences(asked(pattern, tmp_path / "c" / "%d.jpg", first_number=0)).first_number == 0


def test_a_clip_becomes_pictures_as_its_player_shows_them_and_its_sound_is_named(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", pts=[0, 512, 1100], audio_tracks=1)
    outcome = run(asked(clip, tmp_path / "out" / "%d.png"))
    for number, frame in enumerate(ClipReader(clip), 1):
        assert (pixels(tmp_path / "out" / f"{number}.png") == frame.pixels).all()
    assert any("is left out: a sequence holds none" in note for note in outcome.notes), outcome.notes
    told = json.loads((tmp_path / "out" / "%d.png.frames").read_text())
    assert [one["time_s"] for one in told["pictures"]] == [0.0, 0.04, round(1100 / 12800, 6)]


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_other_kinds_of_pictures_are_written(tmp_path, suffix):
    pattern = numbered(tmp_path / "in", 2)
    run(asked(pattern, tmp_path / "out" / f"%d{suffix}", output_image_quality=100))
    difference = np.abs(pixels(tmp_path / "out" / f"2{suffix}").astype(int) - moving_square(98, 75, 1))
    assert difference.mean() < 4
    assert "facefusion" in str(read_photo(tmp_path / "out" / f"2{suffix}").exif).lower() or suffix == ".webp"


def test_scale_counts_for_pictures_too(tmp_path):
    run(asked(numbered(tmp_path / "in", 2), tmp_path / "out" / "%d.png", output_video_scale=0.5))
    assert pixels(tmp_path / "out" / "1.png").shape == (38, 49, 3)


def test_faces_are_changed_in_pictures_and_the_rest_stays_exact_without_the_mark(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEFUSION_WATERMARK", "off")
    options = {"processors": ["face_anonymiser"], "face_anonymiser_model": "pixelate", "source_paths": []}
    outcome = run(asked(faces, tmp_path / "out" / "%d.png", **options))
    assert outcome.changed_frame_count == 4
    before, after = pixels(faces.parent / "shot_9.png"), pixels(tmp_path / "out" / "9.png")
    changed = (before != after).any(axis=2)
    assert 0.05 < changed.mean() < 0.9
    assert not changed[:4].any() and not changed[:, :4].any()
    tracks = analyse_target(build_recipe({"target_path": faces}))
    assert len(tracks.tracks) == 1 and len(tracks.tracks[0].frames) == 4


def test_the_index_is_signed_and_tells_of_a_picture_that_is_gone_or_changed(tmp_path):
    run(asked(numbered(tmp_path / "in"), tmp_path / "out" / "%04d.png"))
    index = tmp_path / "out" / "%04d.png.frames"
    assert verify_file(index).state == "valid"
    Image.fromarray(moving_square(98, 75, 9)).save(tmp_path / "out" / "0002.png")
    (tmp_path / "out" / "0004.png").unlink()
    found = verify_file(index)
    assert found.state == "tampered" and "0002.png, 0004.png" in found.problems[-1]
    (wrong,) = (line for line in text_of(found).splitlines() if line.split()[:1] == ["wrong"])
    assert wrong.split()[1] == "2" and "untrusted" not in wrong  # whose the signature is, is nothing wrong
    index.write_text(index.read_text() + " ")
    assert verify_file(index).state == "tampered"


def test_pictures_of_others_are_not_written_over_and_an_earlier_output_is_replaced_as_a_whole(tmp_path):
    pattern = numbered(tmp_path / "in")
    out = tmp_path / "out" / "%04d.png"
    run(asked(pattern, out))
    run(asked(numbered(tmp_path / "short", 2), out))
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"0001.png", "0002.png"}
    assert find_changed(index_of(out)) == ()
    (tmp_path / "out" / "0003.png").write_bytes(b"somebody's")
    with pytest.raises(OutputRefused, match=r"already: 0003\.png"):
        run(asked(pattern, out))
    assert (tmp_path / "out" / "0003.png").read_bytes() == b"somebody's"
    with pytest.raises(OutputRefused, match="already"):
        run(asked(pattern, tmp_path / "in" / "%04d.png"))  # over the target's own


def test_a_picture_that_somebody_changed_since_is_not_taken_away(tmp_path):
    out = tmp_path / "out" / "%d.png"
    run(asked(numbered(tmp_path / "in"), out))
    (tmp_path / "out" / "5.png").write_bytes(b"worked on")
    run(asked(numbered(tmp_path / "short", 2), out))
    assert (tmp_path / "out" / "5.png").read_bytes() == b"worked on"
    assert not (tmp_path / "out" / "4.png").exists()


def test_a_run_that_broke_off_goes_on_and_gives_the_same_pictures(tmp_path, monkeypatch):
    pattern = numbered(tmp_path / "in", 24, width=64, height=48)
    recipe = asked(pattern, tmp_path / "out" / "%d.png", segment_s=1, frame_rate=8)
    replace, kept = os.replace, []

    def full(source, goal):
        if "/segments/00001" in str(goal):
            raise OSError(errno.ENOSPC, "No space left on device")
        kept.extend([str(goal)] if "/segments/" in str(goal) else [])
        replace(source, goal)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OutputRefused):
            run(recipe, jobs_path=tmp_path / "jobs")
    assert kept
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    run(recipe, jobs_path=tmp_path / "jobs")
    run(asked(pattern, tmp_path / "other" / "%d.png", segment_s=1, frame_rate=8))
    for name in ("%d.png.frames", "1.png", "24.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


_KILLED = """
import os, signal, sys
from facefusion import build_recipe, run
from facefusion.jobs import work
deliver, left = work.deliver, [int(sys.argv[1])]
def die(*given):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return deliver(*given)
work.deliver = die
options = {"source_paths": [sys.argv[2]], "target_path": sys.argv[3], "output_path": sys.argv[4], "allow_empty": True}
run(build_recipe(options), jobs_path=sys.argv[5])
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL there")
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_kill_between_two_pictures_that_get_their_names_loses_and_leaves_nothing(tmp_path, count):
    """Before the index, before the first picture, amid them: the same command goes on, over an earlier output too."""
    earlier = numbered(tmp_path / "earlier", 6, width=64, height=48)
    pattern = numbered(tmp_path / "in", 4, first=3, width=64, height=48)
    output = tmp_path / "out" / "%04d.png"
    run(asked(earlier, output, first_number=1), jobs_path=tmp_path / "jobs")
    words = [str(count), SOURCE, str(pattern), str(output), str(tmp_path / "jobs")]
    ended = subprocess.run([sys.executable, "-c", _KILLED, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    run(asked(pattern, output), jobs_path=tmp_path / "jobs")
    run(asked(pattern, tmp_path / "other" / "%04d.png"), jobs_path=tmp_path / "jobs")
    found = {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.suffix in (".png", ".frames")
    }
    wanted = {
        path.name: path.read_bytes() for path in (tmp_path / "other").iterdir() if path.suffix in (".png", ".frames")
    }
    assert found == wanted
    assert sorted(found) == ["%04d.png.frames", "0003.png", "0004.png", "0005.png", "0006.png"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "other").iterdir()
    }
    assert verify_file(index_of(output)).state == "valid"


def test_what_is_missing_broken_or_of_another_size_is_named(tmp_path):
    pattern = numbered(tmp_path / "in")

    def refused(kind, words, target=pattern, **options):
        with pytest.raises(kind, match=words) as caught:
            run(asked(target, tmp_path / "o.mp4", **options))
        assert caught.value.hint
        assert not (tmp_path / "o.mp4").exists()

    (tmp_path / "in" / "0003.png").rename(tmp_path / "away.png")
    refused(MediaMissing, r"1 picture is missing in .*: 3, behind 0002\.png")
    with pytest.warns(SequenceWarning, match="1 number has no picture: 3"):
        assert run(asked(tmp_path / "in" / "*.png", tmp_path / "o.mp4")).frame_count == 4
    (tmp_path / "o.mp4").unlink()
    Image.fromarray(moving_square(50, 50, 1)).save(tmp_path / "in" / "0003.png")
    refused(MediaUnsupported, r"0003\.png is 50 x 50 px, and 0001\.png is 98 x 75 px")
    (tmp_path / "in" / "0003.png").write_bytes((tmp_path / "away.png").read_bytes()[:200])
    refused(MediaUnreadable, r"0003\.png")
    refused(MediaMissing, "There is no picture", tmp_path / "in" / "%05d.png")
    refused(MediaMissing, "There is no folder", tmp_path / "none" / "%04d.png")
    refused(MediaMissing, "There is no picture", tmp_path / "in" / "*.jpg")
    shutil.copy(tmp_path / "in" / "0001.png", tmp_path / "in" / "1.png")
    refused(MediaUnsupported, "have one number", tmp_path / "in" / "*.png")
    clip = make_clip(tmp_path / "clip.mp4", pts=[0, 512])
    refused(RecipeError, "--frame-rate is for a target", clip, frame_rate=24)


@pytest.mark.parametrize("written", ["%04d", "####", "$F4"])
def test_numbers_are_written_as_elsewhere_too(tmp_path, written):
    numbered(tmp_path / "in", 3, first=1001, pattern="sh010.%04d.png")
    recipe = asked(tmp_path / "in" / f"sh010.{written}.png", tmp_path / "out" / f"a.{written}.png", frame_rate=12)
    settled = settle_sequences(recipe)
    assert len(list(ClipReader(settled.target_path))) == 3
    assert settled.output_path == tmp_path / "out" / "a.%04d.png.frames" and settled.first_number == 1001
    clip = settle_sequences(asked(sample_path("target.mp4"), tmp_path / "take#1.mp4"))
    assert clip.output_path == tmp_path / "take#1.mp4"
    photo = settle_sequences(asked(sample_path("target.jpg"), tmp_path / "photo#1.png"))
    assert photo.output_path == tmp_path / "photo#1.png"


@pytest.mark.parametrize("name", ["party#1.webp", "take#2.png", "a##b.png", "img##.png", "$Fox.png"])
def test_a_sign_of_a_name_is_no_number(tmp_path, name):
    settled = settle_sequences(asked(sample_path("target.mp4"), tmp_path / name))
    assert settled.output_path == tmp_path / name


@pytest.mark.parametrize("name", ["img#1.png", "img##.png", "img.##.png", "img.####.png"])
def test_a_missing_target_does_not_become_other_pictures(tmp_path, name):
    for number in (11, 21, 31):
        shutil.copy(sample_path("source.jpg"), tmp_path / f"img{number}.png")
    recipe = asked(tmp_path / name, tmp_path / "o.mp4", frame_rate=24 if "." in name[:-4] else None)
    if "." in name[:-4]:
        with pytest.raises(MediaMissing, match=r"There is no file .*, nor a numbered picture such as img\.0+1\.png"):
            settle_sequences(recipe)
    else:
        assert settle_sequences(recipe).target_path == tmp_path / name


@pytest.mark.parametrize("written", ["img####", "a_##_b", "a.$F.b"])
def test_numbers_stand_where_others_write_them(tmp_path, written):
    pattern = written.replace("####", "%04d").replace("##", "%02d").replace("$F", "%d")
    numbered(tmp_path / "in", 3, pattern=f"{pattern}.png")
    settled = settle_sequences(asked(tmp_path / "in" / f"{written}.png", tmp_path / f"{written}.png"))
    assert len(list(ClipReader(settled.target_path))) == 3
    assert settled.output_path == tmp_path / f"{pattern}.png.frames"


def test_pictures_that_are_not_read_or_written_are_told_as_such(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / f"a.{number:04d}.exr").write_bytes(b"v/1\1")
    for name in ("a.%04d.exr", "a.####.exr", "a.*.exr"):
        with pytest.raises(
            MediaUnsupported, match=r"names 3 files, but pictures that end in \.exr are not read"
        ) as told:
            settle_sequences(asked(tmp_path / name, tmp_path / "o.mp4", frame_rate=24))
        assert ".tif" in told.value.hint
    with pytest.raises(MediaMissing, match="There is no file"):
        settle_sequences(asked(tmp_path / "b.%04d.dpx", tmp_path / "o.mp4", frame_rate=24))
    with pytest.raises(OutputRefused, match=r"Pictures cannot be written as 'o\.%04d\.exr'") as told:
        settle_sequences(asked(sample_path("target.mp4"), tmp_path / "o.####.exr"))
    assert ".tif" in told.value.hint


@pytest.mark.parametrize("said", ["24000/1001", " 24000 / 1001 ", 23.976, "23.976"])
def test_rates_are_fractions_too(tmp_path, said):
    recipe = settle_sequences(asked(numbered(tmp_path / "in"), tmp_path / "o.mp4", frame_rate=said))
    assert ClipReader(recipe.target_path).info.frame_rate == Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (24000 / 1001, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (24, Fraction(24)),
        (12.5, Fraction(25, 2)),
        (0.0001, Fraction(1, 1001)),
    ],
)
def test_rates_that_are_written_short_are_those_that_are_meant(said, meant):
    assert rate_of(said) == meant


def test_a_lower_rate_is_the_one_that_is_meant_too(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", pts=[k * 256 for k in range(20)])
    assert ClipReader(path, rate=23.976).info.frame_rate == Fraction(24000, 1001)


def test_mattes_beside_a_clip_have_the_numbers_of_the_targets_pictures(tmp_path):
    pattern = numbered(tmp_path / "in", 4, first=1001)
    recipe = settle_sequences(asked(pattern, tmp_path / "o.mkv", start_s=0.04, mask_path=tmp_path / "matte"))
    assert recipe.first_number == 1002
    run(recipe)
    assert sorted(path.name for path in (tmp_path / "matte").glob("*.png")) == [
        f"0000{k}.png" for k in (1002, 1003, 1004)
    ]


def test_a_folder_is_a_target_of_pictures_where_a_rate_is_said(tmp_path):
    numbered(tmp_path / "in", 3, first=9, pattern="%d.png")  # 9, 10, 11: by number and not by name
    recipe = settle_sequences(asked(tmp_path / "in", tmp_path / "o.mp4", frame_rate=12))
    frames = [frame.pixels for frame in ClipReader(recipe.target_path)]
    assert all((frame == moving_square(98, 75, number)).all() for number, frame in enumerate(frames))
    assert settle_sequences(asked(tmp_path / "in", tmp_path / "o.mp4")).target_path == tmp_path / "in"
    (tmp_path / "none").mkdir()
    with pytest.raises(MediaMissing):
        settle_sequences(asked(tmp_path / "none", tmp_path / "o.mp4", frame_rate=12))


def test_names_without_numbers_go_by_name_and_a_file_called_like_a_pattern_is_itself(tmp_path):
    assert [path.name for path in in_order([Path("b.png"), Path("a.png")]).paths] == ["a.png", "b.png"]
    odd = tmp_path / "%d.png"
    Image.fromarray(moving_square(98, 75, 1)).save(odd)
    assert settle_sequences(asked(odd, tmp_path / "o.png")).target_path == odd
    found = find_numbered(numbered(tmp_path / "in", 2, first=0, pattern="%d.png"))
    assert (found.first, len(found.paths)) == (0, 2)


def test_more_than_eight_bits_and_transparency_are_as_with_photos(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((64, 64), 40000, np.uint16)).save(tmp_path / "in" / "1.png")
    with pytest.raises(MediaUnsupported, match="16 bits"):
        run(asked(tmp_path / "in" / "%d.png", tmp_path / "o.mp4"))
    assert run(asked(tmp_path / "in" / "%d.png", tmp_path / "o.mp4", allow_8bit=True)).frame_count == 1
    Image.fromarray(np.full((64, 64, 4), 128, np.uint8)).save(tmp_path / "in" / "1.png")
    with pytest.warns(SequenceWarning, match="Transparency"):
        run(asked(tmp_path / "in" / "%d.png", tmp_path / "o.mp4"))


def test_what_cannot_write_pictures_says_so(tmp_path):
    pattern = numbered(tmp_path / "in", 2)

    def refused(words, target=pattern, output=tmp_path / "out" / "%d.png", **options):
        with pytest.raises(FaceFusionError, match=words) as caught:
            run(asked(target, output, **options))
        assert caught.value.hint

    refused("cannot be written as '%d.heic'", output=tmp_path / "out" / "%d.heic")
    refused("not measured", report_path=tmp_path / "r.html")
    with pytest.raises(RecipeError, match="no numbered pictures"):
        prepare(settle_sequences(asked(pattern, tmp_path / "out" / "%d.png")), is_shared=True)
    with pytest.raises(OutputRefused, match="cannot be written") as caught:
        from facefusion.jobs.once import run as run_as_it_is

        run_as_it_is(asked(make_clip(tmp_path / "c.mp4", pts=[0, 512]), tmp_path / "%d.png"))
    assert "Numbered pictures" in caught.value.hint


def test_commands_take_numbered_pictures(faces, tmp_path, capsys, monkeypatch):
    def call(*words):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in words])
        return stop.value.code or 0

    monkeypatch.chdir(tmp_path)
    shutil.copytree(faces.parent, "in")
    assert call("people", "-t", "in/shot_%d.png", "--quiet") == 0
    assert call("preview", "-s", SOURCE, "-t", "in", "--frame-rate", "10", "--at", "0.1", "-o", "p.png", "--quiet") == 0
    hide = ("--processors", "face_anonymiser", "--face-anonymiser-model", "blur")
    assert call("run", "-t", "in/shot_%d.png", "-o", "out/%d.png", *hide, "--quiet") == 0
    assert sorted(path.name for path in Path("out").glob("*.png")) == ["10.png", "11.png", "8.png", "9.png"]
    capsys.readouterr()
    assert call("report", *hide, "-t", "in/shot_%d.png", "-o", "out/%d.png", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert next(one for one in told if one["event"] == "measured")["frames"] == 4
    assert as_clip(Path("out/%d.png.frames"), build_recipe({})).suffix == ".mp4"
    assert call("run", "-t", "in/shot_%d.png", "--frame-rate", "nine", "-o", "o.mp4") == 2


def test_video_without_loss_can_be_asked_for(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", pts=[0, 512, 1024])
    run(asked(clip, tmp_path / "out.mkv", output_video_encoder="ffv1"))
    pairs = zip(ClipReader(clip), ClipReader(tmp_path / "out.mkv"), strict=True)
    assert all((one.pixels == other.pixels).all() for one, other in pairs)
    with pytest.raises(OutputRefused, match="cannot hold ffv1"):
        run(asked(clip, tmp_path / "out.mp4", output_video_encoder="ffv1"))


@pytest.mark.parametrize("how", ["pattern", "folder", "glob"])
@pytest.mark.parametrize("command", ["preview", "people", "run"])
def test_no_output_of_any_kind_goes_over_a_picture_of_the_target(faces, tmp_path, monkeypatch, how, command, capsys):
    """The pictures are known though what is worked on is a clip that was packed of them, also by a second command."""
    folder = tmp_path / "frames"
    shutil.copytree(faces.parent, folder)
    monkeypatch.chdir(tmp_path)
    target = {"pattern": ["frames/shot_%d.png"], "folder": ["frames"], "glob": ["frames/*.png"]}[how]
    target += ["--frame-rate", "25"]
    frame = folder / ("shot_10.png" if how == "pattern" else "shot_8.png")
    before = frame.read_bytes()
    words = ["-o", str(frame)] if command != "run" else ["-o", "o.mp4", "--report", str(frame.with_suffix(".html"))]
    if command == "run":
        os.link(frame, frame.with_suffix(".html"))  # by another name
    with pytest.raises(SystemExit) as ended:
        cli.main([command, *(["-s", SOURCE] if command != "people" else []), "-t", *target, *words])
    assert ended.value.code != 0
    assert "it is the picture of the target" in capsys.readouterr().err
    assert frame.read_bytes() == before
