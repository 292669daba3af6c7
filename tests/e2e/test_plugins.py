"""A package of others, installed from ``examples/``: it runs from every door, in spans, resumed, to the same bytes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.chaos import digest
from tests.patience import PATIENCE_S

from facefusion.imaging.resample import resize_pixels
from facefusion.media.generate import write_test_clip
from facefusion.media.image import read_photo
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader
from facefusion.media.sound import read_sound
from facefusion.testing.fakes import sample_path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "facefusion-sample-plugin"
NAMES = ("face_tint", "frame_doubler", "mouth_meter", "drawn_portrait")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The sample package, installed into a folder of its own, without a network."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            "--disable-pip-version-check", "--target", str(folder), str(SAMPLE),
        ],
        check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Somebody who turns their head: 12 frames of 160 px in two spans and a half, with a sound of its own."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames = [resize_pixels(frame.pixels, 160, 160) for frame in ClipReader(sample_path("target.mp4"))][::8]
    write_test_clip(path, frames[:12], [k * 2560 for k in range(12)], Fraction(1, 12800), audio_tracks=1)
    return path


@pytest.fixture(scope="session")
def bursts(tmp_path_factory):
    """A sound that is loud for 0.3 s and silent for 0.5 s."""
    path = tmp_path_factory.mktemp("sounds") / "bursts.wav"
    t = np.arange(3 * 22_050) / 22_050
    samples = np.sin(t * 2 * np.pi * 300) * 12_000 * (t % 0.8 < 0.3)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture
def call(site, tmp_path):
    def run(*words, check=True, program=("-m", "facefusion"), **variables):
        known = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([str(site), *([known] if known else [])])
        done = subprocess.run(
            [sys.executable, *program, *map(str, words)],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, **variables},
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stderr + done.stdout
        return done

    run.site = site
    return run


def frames_of(path):
    return [frame.pixels for frame in ClipReader(path)]


def words(clip, output, *more, workers="1"):
    return "run", "-t", clip, "-o", output, "--segment-length", "1", "--workers", workers, *more


def test_a_face_processor_of_others_gives_the_same_bytes_from_every_door(call, clip, tmp_path):
    flags = ("--processors", "face_tint", "--face-tint-colour", "#3060ff", "--face-tint-keep-light")
    call(*words(clip, tmp_path / "cli.mp4", *flags))
    call(*words(clip, tmp_path / "many.mp4", *flags, workers="2"))
    call(
        *words(clip, tmp_path / "env.mp4"),
        FACEFUSION_PROCESSORS="face_tint", FACEFUSION_FACE_TINT_COLOUR="#3060ff", FACEFUSION_FACE_TINT_KEEP_LIGHT="1",
    )  # fmt: skip
    table = '[[step]]\nprocessor = "face_tint"\ncolour = "#3060ff"\nkeep_light = true\n'
    (tmp_path / "tint.toml").write_text(table)
    call(*words(clip, tmp_path / "toml.mp4", "--config-path", tmp_path / "tint.toml"))
    code = (
        "import sys; from facefusion import Recipe, Step, run\n"
        "step = Step('face_tint', colour='#3060ff', keep_light=True)\n"
        "run(Recipe(target_path=sys.argv[1], output_path=sys.argv[2], segment_s=1, steps=[step]))"
    )
    call(clip, tmp_path / "library.mp4", program=("-c", code))
    names = ("cli", "many", "env", "toml", "library")
    assert len({digest(tmp_path / f"{name}.mp4") for name in names}) == 1
    before, after = frames_of(clip), frames_of(tmp_path / "cli.mp4")
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        face = new[65:95, 65:95].astype(int) - old[65:95, 65:95]
        assert face[..., 2].mean() - face[..., 0].mean() > 25, "the face is blue"
        assert np.abs(new[:20, :20].astype(int) - old[:20, :20]).mean() < 3, "and nothing else is"


def test_frame_processors_alone_look_for_no_face_and_see_their_neighbours(call, tmp_path):
    rng = np.random.default_rng(0)
    frames = [np.repeat(np.repeat(rng.integers(40, 216, (12, 16, 3)), 8, 0), 8, 1).astype(np.uint8) for _ in range(12)]
    clip = tmp_path / "nobody.mp4"
    lossless = {"codec": "libx264rgb", "pixel_format": "rgb24", "options": {"qp": "0"}}
    write_test_clip(clip.with_suffix(".mkv"), frames, [k * 200 for k in range(12)], Fraction(1, 1000), **lossless)
    clip = clip.with_suffix(".mkv")
    flags = ("--processors", "frame_doubler", "--frame-doubler-filter", "blocks")
    done = call(*words(clip, tmp_path / "one.mp4", *flags, "--json"))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "done"
    assert events[-1]["models"] == []
    assert {event["stage"] for event in events if event["event"] == "progress"} <= {"render", "merge"}
    call(*words(clip, tmp_path / "two.mp4", *flags, workers="2"))
    assert digest(tmp_path / "one.mp4") == digest(tmp_path / "two.mp4")
    info = probe(tmp_path / "one.mp4")
    assert (info.width, info.height) == (256, 192)
    made = frames_of(tmp_path / "one.mp4")
    assert len(made) == 12
    for number, pixels in enumerate(made):
        near = frames[max(number - 2, 0) : number + 3]
        wanted = np.mean(near, axis=0).repeat(2, axis=0).repeat(2, axis=1)
        assert np.abs(pixels - wanted).mean() < 6, f"frame {number} is the mean of those within two frames of it"


def test_a_sound_driven_processor_hears_every_frame_at_its_own_time(call, clip, bursts, tmp_path):
    flags = ("--processors", "mouth_meter", "-s", bursts)
    call(*words(clip, tmp_path / "one.mp4", *flags))
    call(*words(clip, tmp_path / "two.mp4", *flags, workers="2"))
    assert digest(tmp_path / "one.mp4") == digest(tmp_path / "two.mp4")
    call(*words(clip, tmp_path / "late.mp4", *flags, "--start", "0.8"))
    before, after, late = frames_of(clip), frames_of(tmp_path / "one.mp4"), frames_of(tmp_path / "late.mp4")

    def is_open(old, new):
        return bool(np.abs(new[95:130, 55:115].astype(int) - old[95:130, 55:115]).max() > 60)

    opened = [is_open(old, new) for old, new in zip(before, after, strict=True)]
    assert opened == [k % 4 < 2 for k in range(12)]
    # The output begins at 0, and the sound with it.
    assert [is_open(old, new) for old, new in zip(before[4:], late, strict=True)] == opened[:8]


def test_a_sound_driven_processor_without_a_sound_is_refused(call, clip, tmp_path):
    done = call(*words(clip, tmp_path / "o.mp4", "--processors", "mouth_meter"), check=False)
    assert done.returncode == 2
    assert "mouth_meter needs a sound" in done.stderr
    done = call(
        *words(clip, tmp_path / "o.mp4", "--processors", "mouth_meter", "-s", sample_path("source.jpg")), check=False
    )
    assert "mouth_meter needs a sound" in done.stderr


@pytest.mark.parametrize(
    "order", [("face_tint", "frame_doubler"), ("frame_doubler", "face_tint"), ("frame_doubler",) * 2 + ("face_tint",)]
)
def test_the_order_of_steps_is_the_users_and_faces_are_found_at_every_size(order, call, clip, tmp_path):
    flags = ("--processors", *order, "--face-tint-strength", "1", "--motion-smoothing", "0")
    call(*words(clip, tmp_path / "o.mp4", *flags, workers="2"))
    made = frames_of(tmp_path / "o.mp4")
    factor = 2 ** order.count("frame_doubler")
    assert made[0].shape == (160 * factor, 160 * factor, 3)
    for old, new in zip(frames_of(clip), made, strict=True):
        small = resize_pixels(new, 160, 160).astype(int)
        assert np.abs(small[70:90, 70:90] - (255, 128, 0)).mean() < 25, "the face has the colour"
        assert np.abs(small[:25] - old[:25]).mean() < 12, "what is above it has not"
    # Who is tinted last has a hard edge in the large frame; who is tinted first is averaged with the neighbours.
    assert len(made) == 12


def test_a_photo_goes_through_all_kinds_of_steps(call, tmp_path):
    photo = sample_path("target.jpg")
    call("run", "-t", photo, "-o", tmp_path / "o.png", "--processors", "face_tint", "frame_doubler")
    before, after = read_photo(photo).pixels, read_photo(tmp_path / "o.png").pixels
    assert after.shape == (before.shape[0] * 2, before.shape[1] * 2, 3)
    code = (
        "import sys; from facefusion import Recipe, Step, run\n"
        "steps = [Step('face_tint'), Step('frame_doubler')]\n"
        "run(Recipe(target_path=sys.argv[1], output_path=sys.argv[2], steps=steps))"
    )
    call(photo, tmp_path / "library.png", program=("-c", code))
    assert np.array_equal(read_photo(tmp_path / "library.png").pixels, after)


def test_the_same_processor_twice_has_options_of_its_own_each_time(call, clip, tmp_path):
    table = (
        '[[step]]\nprocessor = "face_tint"\ncolour = "#ff0000"\nstrength = 1.0\n'
        '[[step]]\nprocessor = "face_tint"\ncolour = "#0000ff"\nstrength = 0.5\n'
    )
    (tmp_path / "facefusion.toml").write_text(table)
    call(*words(clip, tmp_path / "o.mp4", "--motion-smoothing", "0", "--finish-matching", "0"))
    for pixels in frames_of(tmp_path / "o.mp4"):
        assert np.abs(pixels[75:85, 75:85].astype(int) - (128, 0, 128)).mean() < 25


def portrait(output, bursts, *more, workers="1"):
    return (
        "run", "-s", sample_path("source.jpg"), bursts, "-o", output, "--segment-length", "1", "--workers", workers,
        "--drawn-portrait-size", "96", "--drawn-portrait-frame-rate", "5", *more,
    )  # fmt: skip


def test_a_source_makes_the_frames_and_its_sound_goes_with_them(call, bursts, tmp_path):
    call(*portrait(tmp_path / "one.mp4", bursts, "--processors", "drawn_portrait"))
    call(*portrait(tmp_path / "two.mp4", bursts, "--processors", "drawn_portrait", workers="2"))
    (tmp_path / "portrait.toml").write_text(
        "[[step]]\nprocessor = \"drawn_portrait\"\nsize = 96\nframe_rate = 5\n[[step]]\nprocessor = 'drawn_portrait'\n"
    )
    refused = call("run", "--config-path", "portrait.toml", "-s", bursts, "-o", tmp_path / "x.mp4", check=False)
    assert refused.returncode == 2
    (tmp_path / "facefusion.toml").write_text('[[step]]\nprocessor = "drawn_portrait"\nsize = 96\nframe_rate = 5\n')
    call("run", "-s", sample_path("source.jpg"), bursts, "-o", tmp_path / "toml.mp4", "--segment-length", "1")
    code = (
        "import sys; from facefusion import Recipe, Step, run\n"
        "step = Step('drawn_portrait', size=96, frame_rate=5)\n"
        "run(Recipe(source_paths=sys.argv[1:3], output_path=sys.argv[3], segment_s=1, steps=[step]))"
    )
    call(sample_path("source.jpg"), bursts, tmp_path / "library.mp4", program=("-c", code))
    assert len({digest(tmp_path / f"{name}.mp4") for name in ("one", "two", "toml", "library")}) == 1
    made = frames_of(tmp_path / "one.mp4")
    assert len(made) == 15
    assert made[0].shape == (96, 96, 3)
    darkness = [int((pixels[55:90, 30:66].max(axis=2) < 60).sum()) for pixels in made]
    loud, silent = [darkness[k] for k in (0, 1, 4, 5)], [darkness[k] for k in (2, 3, 6, 7)]
    assert min(loud) > 5 > max(silent), darkness
    heard = read_sound(tmp_path / "one.mp4")
    assert abs(heard.duration_s - 3) < 0.1
    levels = [np.abs(heard.around(Fraction(k, 10), Fraction(1, 10))).mean() for k in (2, 6, 10, 14)]
    assert levels[0] > 0.1 > levels[1]
    assert levels[2] > 0.1 > levels[3]


def test_what_a_source_makes_is_changed_like_any_clip(call, bursts, tmp_path):
    flags = ("--processors", "drawn_portrait", "frame_doubler", "face_tint", "--face-tint-strength", "1")
    call(*portrait(tmp_path / "o.mp4", bursts, *flags, "--drawn-portrait-size", "128", workers="2"))
    for pixels in frames_of(tmp_path / "o.mp4"):
        assert pixels.shape == (256, 256, 3)
        assert np.abs(pixels[118:138, 118:138].astype(int) - (255, 128, 0)).mean() < 30
    done = call(*portrait(tmp_path / "x.mp4", bursts, "--processors", "face_tint", "drawn_portrait"), check=False)
    assert done.returncode == 2
    assert "comes first" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_with_processors_of_others_goes_on_to_the_same_bytes(name, call, clip, bursts, tmp_path):
    chain = {"face_tint": ("frame_doubler", "face_tint"), "drawn_portrait": ("drawn_portrait", "face_tint")}
    flags = ("--processors", *chain.get(name, (name,)), "--json", *(("-s", bursts) if name == "mouth_meter" else ()))

    def words_to(output, workers="1"):
        if name == "drawn_portrait":
            return portrait(output, bursts, *flags, workers=workers)
        return words(clip, output, *flags, workers=workers)

    call(*words_to(tmp_path / "whole.mp4"))
    command = [sys.executable, "-m", "facefusion", *map(str, words_to(tmp_path / "killed.mp4", "2"))]
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(call.site), *([known] if known else [])])
    kills = 0
    for seen in (2, 3):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        lines = list(itertools.islice(process.stdout, seen))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if len(lines) < seen:
            break  # it was done before
    assert kills
    call(*words_to(tmp_path / "killed.mp4", "2"))
    assert digest(tmp_path / "killed.mp4") == digest(tmp_path / "whole.mp4")


def test_processors_of_others_hold_to_their_contracts_and_are_listed(call):
    done = call("plugins", "check", *NAMES, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    checks = [event for event in events if event["event"] == "check"]
    assert {check["state"] for check in checks} == {"holds"}
    assert {word for check in checks for word in check["name"].split()} >= set(NAMES)
    (listed,) = [json.loads(line) for line in call("processors", "list", "--json").stdout.splitlines()]
    by_name = {line["name"]: line for line in listed["processors"]}
    for name in NAMES:
        assert by_name[name]["package"] == "facefusion-sample-plugin 0.1.0"
    shown = call("processors", "show", "frame-doubler").stdout
    assert "--frame-doubler-reach" in shown
    assert "≥ 0, ≤ 2; default: 2" in shown
    assert "halo       2 frames" in shown
    help_page = call("run", "--help-all").stdout
    assert "--face-tint-colour" in help_page


def test_nothing_in_the_package_knows_the_samples():
    for path in (ROOT / "src").rglob("*"):
        if path.is_file() and path.suffix in (".py", ".toml", ".md", ".json"):
            text = path.read_text(encoding="utf-8")
            for name in (*NAMES, "facefusion_sample"):
                assert name not in text, f"{path} names {name}"
