"""Configuration, environment, drafts and numbers that are wrong: our own errors, naming the file; nothing is lost."""

import json
import os
import random
from pathlib import Path

import pytest

from facefusion.apps import cli
from facefusion.errors import FaceFusionError, RecipeError
from facefusion.metrics.report import read_limits
from facefusion.pipeline.selection import load_face_map
from facefusion.recipe import Recipe, build_recipe
from facefusion.settings import JobSettings, build_settings, load_options


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


NUMBERS = ["inf", "-inf", "nan", "1e400", "9" * 5000]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "flag",
    ["--start", "--end", "--face-mask-blur", "--segment-length", "--memory-limit", "--disk-limit", "--lease",
     "--keep-days", "--reference-frame-number", "--exempt-faces", "--faces", "--workers", "--face-detector-size"],
)  # fmt: skip
def test_numbers_that_are_none_are_refused(flag, number, capsys):
    assert call("run", f"{flag}={number}", "--show-config") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_limits_and_times_that_are_no_numbers_are_refused():
    for number in ("nan", "inf", "x"):
        with pytest.raises(RecipeError, match="no number"):
            read_limits([f"flicker={number}"])
    for options in ({"memory_limit_gb": float("inf")}, {"disk_limit_gb": 1e300}, {"keep_days": float("nan")}):
        with pytest.raises(RecipeError):
            build_settings(JobSettings, options)
    for options in ({"target_path": "a\0b"}, {"source_paths": ["a\0b"]}, {1: 2}, {"start_s": 1e300}):
        with pytest.raises(RecipeError):
            build_recipe(options)


@pytest.mark.parametrize("value", ["[", '["a"', "[" * 100_000, "[1e999", '[{"a": 1}]'])
def test_values_of_the_environment_that_are_no_json_are_named(value, monkeypatch, capsys):
    monkeypatch.setenv("FACEFUSION_SOURCE_PATHS", value)
    assert call("run", "--show-config") == 2
    assert "source_paths" in capsys.readouterr().err


CONTENTS = [
    (b"output_image_quality = ]\n", "line 1"),
    (b"# fine\n\n\xff\xfe = 1\n", "line 3"),
    (b"x = " + b"[" * 100_000, "nested"),
    (b"output_image_quality = " + b"9" * 10_000, "facefusion.toml"),
    (b"output_image_quality = 1979-05-27\n", "output_image_quality"),
    (b"[output_image_quality]\na = 1\n", "output_image_quality"),
    (b'target_path = "a\\u0000b"\n', "null character"),
    (b"#" * 5_000_000, "more than"),
]


@pytest.mark.parametrize(("content", "said"), CONTENTS, ids=[said for _, said in CONTENTS])
def test_damaged_toml_is_named_with_its_line(tmp_path, monkeypatch, content, said, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facefusion.toml").write_bytes(content)
    assert call("run", "--show-config") == 2
    assert said in capsys.readouterr().err.replace("-", "_")  # by its flag, which is its name with other strokes
    assert (tmp_path / "facefusion.toml").read_bytes() == content


def test_toml_of_an_editor_of_windows_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facefusion.toml").write_bytes(b"\xef\xbb\xbfoutput_image_quality = 51\r\n")
    assert call("run", "--show-config") == 0
    assert "output_image_quality = 51" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"quality = 3", b"[a]\n=\n", b"\xff\xfe", b"[a]\nx = 1\nx = 2\n", b"[a\n", b"[output]\noutput_path\n"]
)
def test_damaged_ini_is_named(tmp_path, content, capsys):
    path = tmp_path / "facefusion.ini"
    path.write_bytes(content)
    assert call("run", "--config-path", path, "--show-config") == 2
    error = capsys.readouterr().err
    assert "facefusion.ini" in error
    assert "Traceback" not in error


@pytest.mark.skipif(os.name == "nt", reason="fifos and rights of POSIX")
def test_a_configuration_that_is_no_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("run", "--config-path", tmp_path, "--show-config") == 2
    assert "is not a file" in capsys.readouterr().err
    assert call("run", "--config-path", tmp_path / "none", "--show-config") == 2
    assert "There is no configuration file" in capsys.readouterr().err
    os.mkfifo(tmp_path / "facefusion.toml")  # would be waited for for ever
    assert call("run", "--show-config") == 2
    assert "is not a file" in capsys.readouterr().err
    (tmp_path / "facefusion.toml").unlink()
    (tmp_path / "facefusion.toml").symlink_to("facefusion.toml")
    assert call("run", "--show-config") == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_configuration_that_may_not_be_read_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "facefusion.toml").write_text("output_image_quality = 50\n")
    real = Path.open

    def refuse(self, *words, **options):
        if self.name == "facefusion.toml":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *words, **options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    assert call("run", "--show-config") == 2
    assert "Permission denied" in capsys.readouterr().err


def test_an_empty_name_is_no_job(capsys):
    for words in (("delete", ""), ("cancel", " "), ("show", "")):
        assert call("jobs", *words) == 2
        assert "empty name" in capsys.readouterr().err


@pytest.fixture
def drafts(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert call("job-create", "good", "--quiet") == 0
    assert call("job-add-step", "good", "-s", "s.jpg", "-t", "t.jpg", "-o", "o.jpg", "--quiet") == 0
    return Path(os.environ["FACEFUSION_JOBS_PATH"]) / "drafts"


def test_steps_of_drafts_know_where_their_files_are(drafts, tmp_path):
    step = json.loads((drafts / "good.json").read_text())["steps"][0]
    assert step["target_path"] == str(tmp_path / "t.jpg")
    assert step["source_paths"] == [str(tmp_path / "s.jpg")]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[]", b"null", b"1", b"[" * 100_000, b'{"name": "bad", "status": "queued"}',
        b'{"name": "other", "status": "queued", "steps": []}', b'{"name": "bad", "status": "flying", "steps": []}',
        b'{"name": "bad", "status": "queued", "steps": [1]}', b'{"name": "bad", "status": "queued", "steps": [{}]}',
        b'{"name": "bad", "status": "queued", "steps": [{"target_path": 1, "output_path": []}]}',
        b'{"name": "bad", "status": "queued", "steps": "no"}', b'{"name": ["bad"], "status": {}, "steps": []}',
    ],
)  # fmt: skip
def test_a_damaged_draft_is_named_kept_and_left_out_of_lists(drafts, content, capsys):
    (drafts / "bad.json").write_bytes(content)
    capsys.readouterr()
    for verb in ("job-submit", "job-run", "job-add-step"):
        more = ["-t", "t.jpg", "-o", "o.jpg"] if verb == "job-add-step" else []
        assert call(verb, "bad", *more) == 8
        error = capsys.readouterr().err
        assert "bad.json" in error
        assert "job-delete bad" in error
    assert call("job-list") == 0
    listed = capsys.readouterr().out
    assert "good" in listed
    assert "bad.json" in listed
    assert call("job-list", "--json") == 0
    event = json.loads(capsys.readouterr().out)
    assert [job["name"] for job in event["jobs"]] == ["good"]
    assert call("job-submit-all", "--quiet") == 0
    assert json.loads((drafts / "good.json").read_text())["status"] == "queued"
    assert call("job-delete-all", "--quiet") == 0
    assert (drafts / "bad.json").read_bytes() == content
    assert call("job-delete", "bad", "--quiet") == 0
    assert list(drafts.iterdir()) == []


def test_a_step_that_is_no_recipe_is_refused_and_the_job_marked(drafts, capsys):
    draft = json.loads((drafts / "good.json").read_text())
    draft |= {"status": "queued", "steps": [{**draft["steps"][0], "nothing": 1}]}
    (drafts / "good.json").write_text(json.dumps(draft))
    assert call("job-run", "good", "--quiet") == 2
    assert "nothing" in capsys.readouterr().err
    assert json.loads((drafts / "good.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("name", ["", " ", "..", "../x", "a/b", "a\\b", "a\nb", "C:x", "n" * 300])
def test_names_of_drafts_stay_in_their_folder(tmp_path, name, capsys):
    assert call("job-create", name) == 2
    assert "cannot be the name" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(4))
def test_mutated_settings_drafts_and_face_maps_raise_only_our_own_errors(tmp_path, drafts, seed, monkeypatch):
    random_ = random.Random(seed)
    toml = (
        b'output_image_quality = 50\nfaces = "all"\nsource_paths = ["a.jpg", "b.jpg"]\nstart_s = 1.5\n'
        b'[[person]]\ntrack = 0\nsources = ["anna.jpg"]\nprocessors = ["face_swapper"]\n'
    )
    ini = b"[paths]\nsource_paths = a.jpg b.jpg\n[output]\noutput_image_quality = 80\n"
    map_ = b'[[person]]\ntrack = 0\nsources = ["anna.jpg"]\n[[person]]\nreference = "b.jpg"\nsources = "c.jpg"\n'
    draft = (drafts / "good.json").read_bytes()
    for _ in range(150):
        for name, content in (("c.toml", toml), ("c.ini", ini), ("map.toml", map_), ("good.json", draft)):
            changed = bytearray(content)
            for _ in range(random_.randint(1, 6)):
                at = random_.randrange(len(changed))
                if random_.random() < 0.5:
                    changed[at] = random_.choice(b'\x00\xff"[]{}=\n1.e-')
                else:
                    changed[at : at + random_.randint(1, 8)] = random_.randbytes(random_.randint(0, 3))
                changed = changed or bytearray(b" ")
            path = (drafts if name == "good.json" else tmp_path) / name
            path.write_bytes(changed)
            try:
                if name == "map.toml":
                    load_face_map(path, Recipe())
                elif name == "good.json":
                    assert call("job-submit", "good", "--quiet") in (0, 2, 8)
                else:
                    options = load_options({}, {}, None, path)
                    build_recipe({key: sourced.value for key, sourced in options.items()})
            except FaceFusionError as error:
                assert error.message
