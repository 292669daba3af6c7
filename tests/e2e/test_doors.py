import json
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.patience import PATIENCE_S

import facefusion
from facefusion.apps import cli
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.testing.clips import make_clip
from facefusion.types.track import Tracks


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory, target_clip) -> Path:
    """The first 0.6 s of the sample clip, with its sound."""
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    from facefusion.media.writer import ClipWriter
    from facefusion.types.frame import RenderedFrame

    reader = ClipReader(target_clip, end_s=0.6)
    with ClipWriter(path, reader) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    return path


def test_the_script_of_the_readme_runs_verbatim(tmp_path, monkeypatch, source_photo, short_clip):
    (tmp_path / "input").mkdir()
    (tmp_path / "input/source.jpg").write_bytes(source_photo.read_bytes())
    (tmp_path / "input/target.mp4").write_bytes(short_clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    from facefusion import process_video, set_options

    set_options({"source_paths": ["./input/source.jpg"], "target_path": "./input/target.mp4",
                 "output_path": "./output/result.mp4", "frame_processors": ["face_swapper"],
                 "execution_providers": ["cpu"]})  # fmt: skip
    outcome = process_video()
    assert (outcome.frame_count, outcome.changed_frame_count) == (15, 15)
    assert len(list(ClipReader(tmp_path / "output/result.mp4"))) == 15


def test_short_form_swaps_a_photo(tmp_path, source_photo, target_photo, capsys):
    output = tmp_path / "new" / "out.png"
    assert call("--source", source_photo, "--target", target_photo, "--output", output, "--quiet") == 0
    before, after = read_photo(target_photo).pixels.astype(int), read_photo(output).pixels.astype(int)
    assert before.shape == after.shape
    changed = np.abs(before - after).max(axis=2) > 3
    assert 0.02 < changed.mean() < 0.4
    assert not changed[:40].any()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("spelling", [("run",), ("headless-run",)])
def test_run_and_headless_run_swap_a_clip(tmp_path, source_photo, short_clip, spelling):
    output = tmp_path / "out.mp4"
    code = call(
        *spelling,
        "-s",
        source_photo,
        source_photo,
        "-t",
        short_clip,
        "-o",
        output,
        "--processors",
        "face_swapper",
        "--quiet",
    )
    assert code == 0
    assert [f.pts for f in ClipReader(output)] == [f.pts for f in ClipReader(short_clip)]
    with av.open(str(output)) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]


def test_analyse_then_render_gives_the_same_pictures_as_run(tmp_path, source_photo, short_clip):
    assert call("analyse", "-t", short_clip, "-o", tmp_path / "a.tracks", "--quiet") == 0
    tracks = Tracks.load(tmp_path / "a.tracks")
    assert len(tracks.tracks) == 1
    assert len(tracks.tracks[0].frames) == 15
    common = ["-s", source_photo, "-t", short_clip, "--quiet"]
    assert call("render", *common, "--tracks", tmp_path / "a.tracks", "-o", tmp_path / "two.mp4") == 0
    assert call("run", *common, "-o", tmp_path / "one.mp4") == 0
    for one, two in zip(ClipReader(tmp_path / "one.mp4"), ClipReader(tmp_path / "two.mp4"), strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)


def test_the_same_run_twice_gives_the_same_pictures(tmp_path, source_photo, short_clip):
    for name in ("a.mp4", "b.mp4"):
        assert call("-s", source_photo, "-t", short_clip, "-o", tmp_path / name, "--quiet") == 0
    for one, two in zip(ClipReader(tmp_path / "a.mp4"), ClipReader(tmp_path / "b.mp4"), strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)


def test_json_events_come_one_per_line(tmp_path, source_photo, short_clip, capsys):
    assert call("-s", source_photo, "-t", short_clip, "-o", tmp_path / "out.mp4", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["stage"] for event in events if event["event"] == "progress"} == {"analyse", "render", "merge"}
    (submitted,) = (event["job"] for event in events if event["event"] == "submitted")
    assert (submitted["status"], submitted["is_stopped"]) == ("queued", False)
    assert events[-1]["event"] == "done"
    assert events[-1]["frames"] == 15
    assert events[-1]["frames_per_s"] > 0


def test_an_error_is_an_event_too(tmp_path, capsys):
    assert call("-s", tmp_path / "none.jpg", "-t", tmp_path / "none.mp4", "-o", tmp_path / "o.mp4", "--json") == 3
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["code"]) == ("error", "media_missing")
    assert event["hint"]


def test_trimming_by_time(tmp_path, source_photo, target_clip):
    words = ("-s", source_photo, "-t", target_clip, "-o", tmp_path / "o.mp4", "--start", "1", "--end", "1.4", "--quiet")
    assert call(*words) == 0
    assert len(list(ClipReader(tmp_path / "o.mp4"))) == 10


def test_environment_and_file_reach_the_command(tmp_path, monkeypatch, source_photo, target_photo, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facefusion.toml").write_text("output_image_quality = 50\n")
    monkeypatch.setenv("FACEFUSION_FACE_MASK_BLUR", "0.7")
    assert call("-s", source_photo, "-t", target_photo, "-o", "o.png", "--show-config", "--faces", "all") == 0
    shown = capsys.readouterr().out
    assert "output_image_quality = 50  # " in shown
    assert "face_mask_blur = 0.7  # FACEFUSION_FACE_MASK_BLUR" in shown
    assert 'faces = "all"  # command line' in shown
    assert "allow_8bit = false  # default" in shown
    assert not (tmp_path / "o.png").exists()


@pytest.fixture
def landscape(tmp_path) -> Path:
    rows, columns = np.mgrid[0:240, 0:320]
    pixels = np.stack([columns // 2, rows, 200 - rows // 2], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "land.png")
    return tmp_path / "land.png"


def test_no_face_in_the_source(tmp_path, landscape, target_photo, capsys):
    assert call("-s", landscape, "-t", target_photo, "-o", tmp_path / "o.png") == 4
    assert "land.png" in capsys.readouterr().err


def test_no_face_in_a_target_photo(tmp_path, landscape, source_photo, capsys):
    assert call("-s", source_photo, "-t", landscape, "-o", tmp_path / "o.png") == 4
    assert "No face is found in the target" in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()


def test_no_face_in_a_target_clip_is_an_error_or_a_copy(tmp_path, source_photo):
    clip = make_clip(tmp_path / "empty.mp4")
    assert call("-s", source_photo, "-t", clip, "-o", tmp_path / "o.mp4", "--quiet") == 4
    assert not (tmp_path / "o.mp4").exists()
    assert call("-s", source_photo, "-t", clip, "-o", tmp_path / "o.mp4", "--allow-empty", "--quiet") == 0
    assert (tmp_path / "o.mp4").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--processors", "face_swaper"], 2, "face_swapper"),
        (["--face-swapper-model", "mash"], 2, "mesh"),
        (["--face-swaper-model", "mesh"], 2, "--face-swapper-model"),
        (["--face-mask-blur", "7"], 2, "less than or equal to 1"),
        (["--execution-providers", "cuda"], 6, "not installed"),
        (["--faces", "7"], 2, "no face 7"),
        (["--start", "1"], 2, "photo"),
    ],
)
def test_wrong_requests_say_what_to_do(tmp_path, source_photo, target_photo, words, code, said, capsys):
    assert call("-s", source_photo, "-t", target_photo, "-o", tmp_path / "o.png", *words) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quiet", "analyse", "-t", "x.mp4"], "The command comes first: facefusion analyse --quiet -t x.mp4"),
        (["-t", "x.mp4", "--json", "preview"], "facefusion preview -t x.mp4 --json"),
        (["preview", "-t", "x.mp4", "--at", "abc", "-o", "x.png"], "'abc' is no time: seconds, or 00:01:02.5"),
        (["preview", "-t", "x.mp4", "--at", "0:75", "-o", "x.png"], "'0:75' is no time"),
    ],
)
def test_words_in_the_wrong_place_are_told(words, said, capsys):
    assert call(*words) == 2
    told = capsys.readouterr()
    assert said in told.err + told.out


def test_output_equal_to_an_input_is_refused(tmp_path, source_photo, target_photo, capsys):
    target = tmp_path / "t.jpg"
    target.write_bytes(target_photo.read_bytes())
    (tmp_path / "link.jpg").symlink_to(target)
    for output in (target, tmp_path / "link.jpg"):
        assert call("-s", source_photo, "-t", target, "-o", output) == 5
        assert "also an input" in capsys.readouterr().err
    assert target.read_bytes() == target_photo.read_bytes()


def test_output_that_is_a_folder_or_inside_a_file_is_refused(tmp_path, source_photo, target_photo):
    (tmp_path / "f").write_text("x")
    assert call("-s", source_photo, "-t", target_photo, "-o", tmp_path) == 5
    assert call("-s", source_photo, "-t", target_photo, "-o", tmp_path / "f" / "o.png") == 5


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0" + b"\x00" * 30])
def test_damaged_inputs_are_explained(tmp_path, source_photo, target_photo, content, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    assert call("-s", bad, "-t", target_photo, "-o", tmp_path / "o.png") == 3
    assert call("-s", source_photo, "-t", bad, "-o", tmp_path / "o.png") == 3
    assert "bad.jpg" in capsys.readouterr().err


def test_one_pixel_target_has_no_face(tmp_path, source_photo):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert call("-s", source_photo, "-t", tmp_path / "dot.png", "-o", tmp_path / "o.png", "--quiet") == 4


def test_a_clip_as_source_is_explained(tmp_path, target_photo, target_clip, capsys):
    assert call("-s", target_clip, "-t", target_photo, "-o", tmp_path / "o.png") == 4
    assert "sources are photos" in capsys.readouterr().err


def test_tracks_of_another_target_are_refused(tmp_path, source_photo, short_clip, capsys):
    other = make_clip(tmp_path / "other.mp4")
    assert call("analyse", "-t", short_clip, "-o", tmp_path / "a.tracks", "--quiet") == 0
    words = ("render", "-s", source_photo, "-t", other, "-o", tmp_path / "o.mp4", "--tracks", tmp_path / "a.tracks")
    assert call(*words) == 3
    assert "Analyse this target again" in capsys.readouterr().err


def test_models_and_doctor_report(capsys):
    assert call("models", "list") == 0
    assert "face_landmarker_embedded" in capsys.readouterr().out
    assert call("models", "verify") == 0
    assert call("models", "show", "face_detector_embedded") == 0
    assert "sha256" in capsys.readouterr().out
    assert call("models", "show", "nothing") == 2
    assert call("doctor") == 0
    assert "All is well." in capsys.readouterr().out


def test_help_version_and_unknown_command(capsys):
    assert call("--help") == 0
    assert "exit codes" in capsys.readouterr().out
    assert call("--version") == 0
    assert facefusion.__version__ in capsys.readouterr().out
    assert call("run", "--help") == 0
    assert "--face-swapper-model" in capsys.readouterr().out
    assert call("rnu") == 2
    assert "Did you mean 'run'?" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from facefusion.apps.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'av', 'onnxruntime', 'PIL', 'rich', 'safetensors'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    for words in (["--help"], ["run", "--help"], ["run", "--help-all"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.rstrip().endswith("HEAVY []")


def test_ctrl_c_leaves_nothing_and_keeps_the_old_output(tmp_path, source_photo, target_clip):
    output = tmp_path / "o.mp4"
    output.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs without it\n"
        "from facefusion.pipeline import runner\n"
        "from facefusion.apps import show\n"
        "step = show.Show.progress\n"
        "def stop_in_the_middle(self, progress):\n"
        "    step(self, progress)\n"
        "    if progress.stage == 'render' and progress.done > 0: os.kill(os.getpid(), signal.SIGINT)\n"
        "show.Show.progress = stop_in_the_middle\n"
        "from facefusion.apps.cli import main\n"
        "main(sys.argv[1:])"
    )
    words = ["-s", str(source_photo), "-t", str(target_clip), "-o", str(output), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 130, done.stderr
    assert output.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4"]


def test_python_dash_m_works():
    done = subprocess.run([sys.executable, "-m", "facefusion", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"facefusion {facefusion.__version__}"


def test_demo_reports_what_it_measured(tmp_path, capsys):
    from facefusion.apps.demo import main

    outcome = main(str(tmp_path))
    assert outcome.changed_frame_count == outcome.frame_count == 100
    printed = capsys.readouterr().out
    assert "frames/s" in printed
    told = re.search(r"likeness to the source photo: (\S+) before, (\S+) after .* from (\S+) on", printed)
    before, after, same = (float(value) for value in told.groups())
    assert before < same < after  # what the swap is for
    assert float(re.search(r"output to the target: (\S+)", printed)[1]) < after
