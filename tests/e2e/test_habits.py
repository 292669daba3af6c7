"""Those who come from FaceFusion 3, and those who expect what command lines do: nothing harmless fails."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from facefusion.apps import cli
from facefusion.apps.manual import fate_of, habits_page
from facefusion.declaration import TO_COME
from facefusion.errors import RecipeError
from facefusion.facefusion3 import COMMANDS, IS_FLAG, NEEDLESS, OPTIONS, processor_of
from facefusion.media.image import read_photo
from facefusion.recipe import build_recipe
from facefusion.service.batch import plan_batch
from facefusion.testing.clips import make_clip

ROOT = Path(__file__).resolve().parents[2]
EVERY = [name for names in OPTIONS.values() for name in names]
VALUES = {
    "config_path": "facefusion.ini", "face_detector_size": "640x640", "face_detector_margin": "0 0 0 0",
    "face_detector_angles": "0 90", "face_selector_mode": "reference", "face_selector_order": "large-small",
    "face_selector_gender": "female", "face_selector_race": "asian", "face_mask_types": "box occlusion",
    "face_mask_areas": "upper-face mouth", "face_mask_regions": "skin nose", "face_mask_padding": "1 2 3 4",
    "output_audio_encoder": "libopus",
    "output_video_encoder": "libvpx-vp9", "output_video_preset": "veryfast", "processors": "face_swapper",
    "face_swapper_pixel_boost": "512x512", "execution_providers": "cpu", "log_level": "warn",
    "download_providers": "github huggingface", "ui_layouts": "default", "benchmark_resolutions": "240p 720p",
    "target_pattern": "*.mp4", "output_pattern": "out", "source_pattern": "*.jpg", "trim_frame_end": "9",
    "face_selector_age_end": "40", "face_detector_score": "0.5", "face_landmarker_score": "0.5",
    "reference_face_distance": "0.3", "face_mask_blur": "0.3", "face_swapper_weight": "0.5",
    "face_enhancer_weight": "0.5",
}  # fmt: skip
"""What FaceFusion 3.8.1 takes, where a 1 is not among it."""


def call(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facefusion.ini").write_text("[misc]\nlog_level =\n")
    return tmp_path


# FaceFusion 3's words


def test_their_list_of_options_is_whole():
    assert len(EVERY) == len(set(EVERY))
    of_processes = ("patterns", "uis", "download", "benchmark", "execution", "memory", "misc")
    of_steps = [name for group, names in OPTIONS.items() if group not in of_processes for name in names]
    assert len(set(of_steps) - {"config_path", "temp_path", "jobs_path"}) == 85  # as its own store counts them
    assert set(NEEDLESS) <= set(EVERY)
    assert all(processor_of(name) for name in OPTIONS["processors"] if name.startswith(TO_COME))


def flags(*names):
    return [
        word
        for name in names
        for word in (f"--{name.replace('_', '-')}", *([] if name in IS_FLAG else VALUES.get(name, "1").split()))
    ]


@pytest.mark.parametrize("group", OPTIONS)
def test_no_option_of_theirs_fails_for_being_harmless(group, folder, capsys):
    names = [name for name in OPTIONS[group] if not processor_of(name)]
    assert call("batch-run" if group == "patterns" else "headless-run", *flags(*names), "--show-config") == 0
    told = capsys.readouterr()
    needless = [name for name in names if name in NEEDLESS]
    assert told.err.count("facefusion: Note: Of FaceFusion 3") == bool(needless)
    for name in needless:
        assert f"--{name.replace('_', '-')}" in told.err
    in_force = {line.split(" = ")[0]: line for line in told.out.splitlines()}
    for name in set(names) - set(needless) - {"config_path", "log_level"}:
        assert group == "patterns" or in_force[name].endswith("# command line"), name


@pytest.mark.parametrize("name", [name for name in EVERY if processor_of(name)][::3])
def test_options_of_processors_to_come_are_named(name, folder, capsys):
    assert call("headless-run", *flags(name)) == 2
    error = capsys.readouterr().err
    assert fate_of(name)[0] == "not here yet"
    assert "not here yet" in error and processor_of(name) in error and "Did you mean" not in error


def test_the_same_stands_in_their_ini(folder, capsys):
    lines = {name: VALUES.get(name, "true" if name in IS_FLAG else "1") for name in EVERY if not processor_of(name)}
    (folder / "theirs.ini").write_text("[all]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items()))
    assert call("headless-run", "--config-path", "theirs.ini", "--show-config", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["event"] for one in told] == ["note", "options"]
    named = [name for name in NEEDLESS if f"--{name.replace('_', '-')}" in told[0]["text"]]
    assert named == list(NEEDLESS)
    options = {one["name"]: one["value"] for one in told[1]["options"]}
    assert (options["trim_frame_start"], options["trim_frame_end"], options["output_video_fps"]) == (1, 9, 1.0)


def test_programs_may_say_it_too():
    with pytest.warns(UserWarning, match="--temp-path"):
        recipe = build_recipe({"temp_path": "x", "faces": "all"})
    assert recipe.faces == "all"


@pytest.mark.parametrize("name", TO_COME)
def test_processors_to_come_are_called_so_and_never_taken_for_others(name, folder, capsys):
    assert call("headless-run", "--processors", name, "-s", "a.jpg", "-t", "b.mp4", "-o", "c.mp4") == 2
    error = capsys.readouterr().err
    assert f"'{name}' of FaceFusion 3 is not here yet" in error
    assert "Did you mean" not in error


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_are_others_here_say_which(command, capsys):
    assert call(command, "--download-scope", "lite") == 2
    assert "Use 'facefusion models" in capsys.readouterr().err


def test_help_names_their_commands(capsys):
    assert call("--help") == 0
    page = capsys.readouterr().out
    assert all(f"  {name}" in page for name in (*cli._DRAFT_ACTIONS, *COMMANDS))


def test_the_table_is_what_the_program_does():
    assert (ROOT / "docs" / "facefusion3.md").read_text() == habits_page(cli._book())


def test_halting_on_error_is_for_those_who_go_on(folder, target_photo, capsys):
    for name in ("a", "b"):
        assert call("job-create", name) == 0
        assert call("job-add-step", name, "-s", "gone.jpg", "-t", target_photo, "-o", f"{name}.png") == 0
        assert call("job-submit", name) == 0
    capsys.readouterr()
    assert call("job-run-all") == 3
    assert capsys.readouterr().err.count("gone.jpg") == 2
    assert call("job-retry-all", "--halt-on-error") == 3
    assert capsys.readouterr().err.count("gone.jpg") == 1


# Times and configuration


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("62.5", 62.5),
        ("01:02.5", 62.5),
        ("00:01:02,5", 62.5),
        ("1:02:03", 3723.0),
        (90, 90.0),
        ("100:00:00", 360_000.0),
    ],
)
def test_times_may_be_said_as_clocks_show_them(said, seconds):
    assert build_recipe({"start_s": said}).start_s == seconds


@pytest.mark.parametrize("said", ["1:75", "1:60:00", "::", "a", "1:2:3:4"])
def test_what_is_no_time_is_refused(said):
    with pytest.raises(RecipeError, match="start_s"):
        build_recipe({"start_s": said})


def test_options_in_force_can_be_fed_back(folder, capsys):
    chain = "[[step]]\nprocessor='face_enhancer'\nblend=10\n[[step]]\nprocessor='face_enhancer'\nblend=20\n"
    (folder / "twice.toml").write_text(f"faces = [0, 2]\n{chain}")
    asked = {
        "plain": ["--faces", "0,2", "--start", "00:01:02.5", "--face-mask-padding", "1", "2", "-s", 'a "quoted" ü.jpg'],
        "twice": ["--config-path", "twice.toml"],
    }
    for words in asked.values():
        assert call("run", *words, "--show-config") == 0
        text = capsys.readouterr().out
        (folder / "again.toml").write_text(text)
        first = tomllib.loads(text)
        assert call("run", "--config-path", "again.toml", "--show-config") == 0
        again = capsys.readouterr().out
        assert tomllib.loads(again) == first
        assert first["faces"] == [0, 2]


def test_sections_may_be_written_as_one_likes(folder, capsys):
    (folder / "facefusion.toml").write_text(
        "faces = 'all'\n[output]\nstart_s = '00:00:05'\nend_s = 7\n[face_swapper]\nlight = 0.5\n"
        "[misc]\nface_swapper_fusion = 0\n"
    )
    assert call("run", "--show-config") == 0
    found = tomllib.loads(capsys.readouterr().out)
    assert (found["start_s"], found["end_s"], found["faces"]) == (5.0, 7.0, "all")
    assert (found["face_swapper_light"], found["face_swapper_fusion"]) == (0.5, 0.0)
    (folder / "facefusion.toml").write_text("[output]\nstart = 1\n")
    assert call("run", "--show-config") == 2
    assert "'start'" in capsys.readouterr().err
    (folder / "facefusion.toml").write_text("faces = 'all'\n[selection]\nfaces = 'largest'\n")
    assert call("run", "--show-config") == 2
    assert "twice" in capsys.readouterr().err


def test_a_level_of_messages_is_quiet_or_talks(folder, target_photo, capsys):
    gone = ["run", "-s", "gone.jpg", "-t", target_photo, "-o", "o.png", "--temp-path", "x"]
    assert call(*gone, "--log-level", "loud") == 2
    assert "--log-level" in capsys.readouterr().err
    assert call(*gone, "--log-level", "debug") == 3
    assert "Traceback" in capsys.readouterr().err
    assert call(*gone, "--log-level", "error") == 3
    assert "Traceback" not in capsys.readouterr().err


# Help, completion, manual


def test_help_is_short_and_all_of_it_is_to_be_had(capsys):
    assert call("run", "--help") == 0
    short = capsys.readouterr().out
    assert call("run", "--help-all") == 0
    whole = capsys.readouterr().out
    assert "--help-all" in short and "--source" in short and "--face-swapper-model" in short
    assert "--face-detector-margin" not in short and "--face-detector-margin" in whole
    assert 2 * len(short.splitlines()) < len(whole.splitlines())
    assert "--temp-path" not in whole


def test_shells_complete_commands_options_and_their_words(tmp_path, capsys):
    for shell in ("bash", "zsh", "fish"):
        assert call("--completion", shell) == 0
        script = tmp_path / shell
        script.write_text(capsys.readouterr().out)
        assert "--output-video-encoder" in script.read_text() or "output-video-encoder" in script.read_text()
    assert call("--completion", "csh") == 2
    if shutil.which("bash") is None:
        pytest.skip("no bash here")

    def completed(*words):
        typed = " ".join(f"'{word}'" for word in words)
        line = f"source {tmp_path}/bash; COMP_WORDS=(facefusion {typed}); COMP_CWORD={len(words)}; _facefusion; "
        told = subprocess.run(
            ["bash", "-c", line + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True
        )
        return told.stdout.split()

    assert {"run", "render"} <= set(completed("r"))
    assert completed("run", "--face-detector-sc") == ["--face-detector-score"]
    assert completed("run", "--output-video-encoder", "libv") == ["libvpx-vp9"]
    assert completed("jobs", "res") == ["resume"]


def test_the_manual_page_tells_of_every_command_and_option(tmp_path, capsys):
    assert call("--man") == 0
    page = capsys.readouterr().out
    assert page.startswith(".TH FACEFUSION 1")
    for command in (*cli._COMMANDS, *cli._DRAFT_ACTIONS):
        assert f".B {command}".replace("-", "\\-") in page
    assert "\\-\\-face\\-detector\\-margin" in page
    if shutil.which("groff") is not None:
        path = tmp_path / "facefusion.1"
        path.write_text(page)
        told = subprocess.run(["groff", "-man", "-Tutf8", "-ww", path], capture_output=True, text=True, check=True)
        assert "FACEFUSION" in told.stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
@pytest.mark.parametrize("words", [[], ["run", "--help-all"], ["models", "list"]])
def test_nobody_has_to_read_to_the_end(words):
    process = subprocess.Popen(
        [sys.executable, "-m", "facefusion", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() in (0, 2)
    assert error == ""


# Folders


@pytest.fixture
def tree(folder, target_photo):
    for place in ("in/a", "in/b/c", "in/.hidden", "faces"):
        (folder / place).mkdir(parents=True)
    for place in ("in/x.jpg", "in/a/x.jpg", "in/b/c/x.jpg", "in/b/c/y.JPG", "in/.hidden/z.jpg"):
        (folder / place).write_bytes(target_photo.read_bytes())
    (folder / "in/notes.txt").write_text("no photo")
    make_clip(folder / "in/a/x.avi")
    return folder


def outputs(recipe, *patterns):
    return sorted(str(run.output) for run in plan_batch(recipe, *patterns).runs)


def test_the_same_names_in_a_tree_keep_their_places(tree):
    recipe = build_recipe({"source_paths": ["s.jpg"]})
    there = ["out/a/x.avi.mkv", "out/a/x.jpg", "out/b/c/x.jpg", "out/b/c/y.JPG", "out/x.jpg"]
    assert outputs(recipe, "", "in", "out") == there
    assert outputs(recipe, "", "in", "out/") == there
    assert outputs(recipe, "", "in/**/*.jpg", "out/{target_dir}/new-{target_name}.png") == [
        "out/a/new-x.png", "out/b/c/new-x.png", "out/new-x.png",
    ]  # fmt: skip
    with pytest.raises(RecipeError, match="Two runs would write") as refused:
        plan_batch(recipe, "", "in", "out/{target_name}.png")
    assert "{target_dir}" in refused.value.hint


def test_a_target_whose_container_cannot_hold_the_usual_film_gets_another_ending(tree):
    (tree / "in/a/x.webm").write_bytes(b"only its name counts here")
    options = {"source_paths": ["s.jpg"]}
    recipe = build_recipe(options)

    def in_a(recipe, *patterns):
        return [one for one in outputs(recipe, *patterns) if one.startswith(("out/a/x.webm", "out/x.webm"))]

    assert in_a(recipe, "", "in", "out") == ["out/a/x.webm.mkv"]
    fits = build_recipe(options | {"output_video_encoder": "libsvtav1"})
    assert in_a(fits, "", "in", "out") == ["out/a/x.webm"]
    asked = build_recipe(options | {"output_video_encoder": "libx264"})  # which is refused with its reason
    assert in_a(asked, "", "in", "out") == ["out/a/x.webm"]
    assert in_a(recipe, "", "in/a/x.avi", "out/{target_name}.webm") == ["out/x.webm"]  # as asked for


@pytest.mark.parametrize(
    "pattern", ["in/a/{target_name}-new{target_extension}", "in/{target_dir}/{target_name}-new{target_extension}"]
)
def test_an_output_under_another_ending_is_no_target_of_a_second_run(tree, pattern):
    (tree / "in/a/x.webm").write_bytes(b"only its name counts here")
    recipe = build_recipe({"source_paths": ["s.jpg"]})
    first = outputs(recipe, "", "in/a/*", pattern)
    assert [Path(one).name for one in first] == ["x-new.avi.mkv", "x-new.jpg", "x-new.webm.mkv"]
    for one in first:
        Path(one).write_bytes(b"made")
    assert outputs(recipe, "", "in/a/*", pattern) == first


def test_an_output_under_another_ending_is_not_written_over_a_target(tree):
    (tree / "in/a/x.avi.mkv").write_bytes(b"a film of the user")
    with pytest.raises(RecipeError, match="Two runs would write"):
        plan_batch(build_recipe({"source_paths": ["s.jpg"]}), "", "in", "out")


def test_outputs_within_the_folder_of_targets_are_no_targets(tree, target_photo):
    recipe = build_recipe({"source_paths": ["s.jpg"]})
    wanted = outputs(recipe, "", "in", "in/out")
    Path("in/out/a").mkdir(parents=True)
    for place in ("in/out/x.jpg", "in/out/a/x.jpg"):
        Path(place).write_bytes(target_photo.read_bytes())
    batch = plan_batch(recipe, "", "in", "in/out")
    assert sorted(str(run.output) for run in batch.runs) == wanted
    assert sorted(map(str, batch.left_out)) == ["in/out/a/x.jpg", "in/out/x.jpg"]
    # And beside their targets, under other names.
    beside = "in/{target_dir}/{target_name}-new{target_extension}"
    again = outputs(recipe, "", "in/**/x.jpg", beside)
    Path("in/a/x-new.jpg").write_bytes(target_photo.read_bytes())
    assert outputs(recipe, "", "in/**/x*.jpg", beside) == again


def test_what_of_a_folder_is_left_as_it_is_is_told(tree, capsys):
    (tree / "in/lost.jpg").symlink_to(tree / "nowhere.jpg")
    (tree / "in/b/back").symlink_to(tree / "in", target_is_directory=True)
    (tree / "in/.seen.jpg").write_bytes(b"")
    os.mkfifo(tree / "in/.pipe.c2pa")  # nobody writes into it, so whoever opened it would wait for ever
    (tree / "in/out").mkdir()
    (tree / "in/out/x.txt").write_text("of an output")
    batch = plan_batch(build_recipe({"processors": ["face_anonymiser"]}), "", "in", "in/out")
    left = {"in/.hidden/z.jpg", "in/notes.txt", "in/lost.jpg", "in/b/back", "in/.seen.jpg", "in/.pipe.c2pa"}
    assert set(map(str, batch.not_taken)) == left
    assert set(batch.as_dict()["not_taken"]) == left
    for place in ("in/a", "in/b/c"):
        shutil.rmtree(place)
    os.remove("in/x.jpg")
    (tree / "in/broken.jpg").write_bytes(b"none")
    assert call("run", "--processors", "face_anonymiser", "-t", "in", "-o", "out") == 3
    told = capsys.readouterr()
    said = next(line for line in (told.out + told.err).splitlines() if line.startswith("Left as they are"))
    assert "7 files" in said and "in/notes.txt" in said and "in/.hidden/z.jpg" in said


def test_a_folder_is_changed_into_another_with_all_photos_of_a_person(tree, source_photo, capsys):
    (tree / "faces/one.jpg").write_bytes(source_photo.read_bytes())
    shutil.rmtree("in/b")
    os.remove("in/a/x.avi")
    assert call("run", "-s", "faces", "-t", "in", "-o", "out", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[-1] == {"event": "batch done", "runs": 2, "done": 2, "skipped": 0, "failed": 0}
    for place in ("x.jpg", "a/x.jpg"):
        assert (read_photo(tree / "out" / place).pixels != read_photo(tree / "in" / place).pixels).any()
    assert call("run", "-s", "faces", "-t", "in", "-o", "out.jpg") == 2
    assert "is a folder" in capsys.readouterr().err
    (tree / "empty").mkdir()
    assert call("run", "-s", "empty", "-t", "in", "-o", "out") == 2
    assert "no photo in the folder" in capsys.readouterr().err


def test_the_end_of_a_run_tells_what_how_fast_and_what_next(folder, source_photo, target_photo, capsys):
    assert call("run", "-s", source_photo, "-t", target_photo, "-o", "it is.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("frames/s") and "1 of 1 frame changed" in lines[0]
    assert lines[1].startswith("  1 person found; ")
    assert lines[-1].startswith("  How it was made: facefusion verify ") and "it is.png'" in lines[-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("batch-run", "-t", "clips/0.mp4", "clips/1.mp4"), "put into quotation marks, such as -t 'clips/*.mp4'"),
        (("batch-run", "-s", "a.jpg", "-o", "my", "film.mp4"), "names with blanks are put into quotation marks"),
        (("run", "-t", "clips/0.mp4", "clips/1.mp4"), "several targets are done by facefusion batch-run -t"),
        (("jobs", "list", "--job-store", "my", "db"), ""),
    ],
)
def test_what_a_shell_makes_of_a_pattern_is_told(folder, capsys, words, told):
    assert call(*words) == 2
    assert told in capsys.readouterr().err
