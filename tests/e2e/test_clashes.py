"""Nothing that is read is written over, by any door; batches and paths."""

import json
import os
import shutil
from pathlib import Path

import pytest

from facefusion.apps import cli
from facefusion.errors import OutputRefused, RecipeError
from facefusion.jobs.local import LocalJobs
from facefusion.media.reader import ClipReader
from facefusion.service.batch import fill, own_outputs, pair


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture
def here(tmp_path, monkeypatch, source_photo, target_photo) -> Path:
    """A working folder with photos of every use."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("source.jpg", "exempt.jpg", "reference.jpg", "mapped.jpg"):
        shutil.copy(source_photo, folder / name)
    shutil.copy(target_photo, folder / "target.jpg")
    (folder / "map.toml").write_text('[[person]]\ntrack = 0\nsources = ["mapped.jpg"]\n')
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


SWAP = ("-s", "source.jpg", "-t", "target.jpg")
CLASHES = [
    (*SWAP, "-o", "target.jpg"),
    (*SWAP, "-o", "source.jpg"),
    (*SWAP, "-o", "o.png", "--report", "source.jpg"),
    (*SWAP, "-o", "o.png", "--report", "target.html"),  # and target.json is the configuration below
    (*SWAP, "-o", "o.png", "--report", "o.png"),
    (*SWAP, "-o", "exempt.jpg", "--exempt", "exempt.jpg"),
    (*SWAP, "-o", "reference.jpg", "--face-selector-mode", "reference", "--reference-face-path", "reference.jpg"),
    ("-t", "target.jpg", "--face-map", "map.toml", "-o", "mapped.jpg"),
    ("-t", "target.jpg", "--face-map", "map.toml", "-o", "o.png", "--report", "map.toml"),
    ("headless-run", *SWAP, "-o", "target.jpg"),
    ("render", *SWAP, "--tracks", "tracks.png", "-o", "tracks.png"),
    ("analyse", "-t", "target.jpg", "-o", "target.jpg"),
    ("analyse", "-t", "target.jpg", "--exempt", "exempt.jpg", "-o", "exempt.jpg"),
    ("analyse", "-t", "target.jpg", "-o", "facefusion.toml"),
]


@pytest.mark.parametrize("words", CLASHES, ids=lambda words: " ".join(words[-4:]))
@pytest.mark.parametrize("spelling", ["plain", "link"])
def test_no_door_writes_over_what_it_reads(here, words, spelling, capsys):
    (here / "facefusion.toml").write_text("output_image_quality = 50\n")
    (here / "target.json").symlink_to("facefusion.toml")
    (here / "tracks.png").write_bytes(b"tracks")
    if spelling == "link":  # the same file by another name
        name = words[-1]
        (here / f"link-{name}").symlink_to(here / name) if (here / name).exists() else None
        words = (*words[:-1], f"link-{name}" if (here / name).exists() else name)
    before = content(here)
    assert call(*words) == 5
    assert " also " in capsys.readouterr().err
    assert content(here) == before


def test_a_preview_does_not_go_over_what_the_job_reads(here, few_frames, monkeypatch, capsys):
    monkeypatch.setattr(LocalJobs, "run", lambda *_, **__: (_ for _ in ()).throw(OutputRefused("Stopped here.")))
    shutil.copy(few_frames, here / "clip.mp4")
    assert call("-s", "source.jpg", "-t", "clip.mp4", "-o", "o.mp4") == 5
    (job,) = LocalJobs.open(Path(os.environ["FACEFUSION_JOBS_PATH"])).store.list_jobs()
    before = content(here)
    assert call("jobs", "preview", job.id, "-o", "source.jpg") == 5
    assert "also an input: it is the source" in capsys.readouterr().err
    assert call("jobs", "preview", job.id, "--at", "nan", "-o", "p.png") == 2
    assert content(here) == before


def test_a_bundle_does_not_go_over_a_model(here, tmp_path, capsys):
    from facefusion.models.store import ModelStore

    store = ModelStore(())
    file = store.find(store.get("face_detector_embedded"))
    (here / "link.onnx").symlink_to(file)
    before = file.read_bytes()
    assert call("models", "export", "link.onnx", "face_detector_embedded", "--key", tmp_path / "key.pem") == 5
    assert "also an input: it is the model file" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_an_output_that_is_a_link_is_written_through(here, source_photo):
    (here / "store").mkdir()
    (here / "store" / "real.png").write_bytes(b"old")
    (here / "out.png").symlink_to(Path("store") / "real.png")
    assert call(*SWAP, "-o", "out.png", "--quiet") == 0
    assert (here / "out.png").is_symlink()
    assert (here / "store" / "real.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir(here / "store") == ["real.png"]


def test_a_clip_is_written_through_a_link_too(here, few_frames):
    shutil.copy(few_frames, here / "clip.mp4")
    (here / "store").mkdir()
    (here / "out.mp4").symlink_to(here / "store" / "new.mp4")  # leads nowhere yet
    assert call("-s", "source.jpg", "-t", "clip.mp4", "-o", "out.mp4", "--workers", "1", "--quiet") == 0
    assert (here / "out.mp4").is_symlink()
    assert len(list(ClipReader(here / "store" / "new.mp4"))) == 5
    assert os.listdir(here / "store") == ["new.mp4"]


def test_a_job_is_the_same_from_every_folder_and_goes_on_from_another(here, tmp_path, few_frames, monkeypatch, capsys):
    shutil.copy(few_frames, here / "clip.mp4")
    (tmp_path / "elsewhere").symlink_to(here)
    (here / "sub").mkdir()
    stopped: list[str] = []
    run = LocalJobs.run

    def stop(self, job_id, *_, **__):
        stopped.append(job_id)
        raise OutputRefused("Stopped here.")

    monkeypatch.setattr(LocalJobs, "run", stop)
    spellings = [
        (here, "source.jpg", "clip.mp4", "out.mp4"),
        (here / "sub", "../source.jpg", "../clip.mp4", "../out.mp4"),
        (tmp_path, here / "source.jpg", here / "clip.mp4", "here/sub/../out.mp4"),
        (tmp_path / "elsewhere", "./source.jpg", tmp_path / "elsewhere" / "clip.mp4", "out.mp4"),
    ]
    for folder, source, target, output in spellings:
        monkeypatch.chdir(folder)
        assert call("-s", source, "-t", target, "-o", output, "--workers", "1", "--quiet") == 5
    assert len(set(stopped)) == 1
    monkeypatch.setattr(LocalJobs, "run", run)
    monkeypatch.chdir(tmp_path)
    shutil.copy(few_frames, tmp_path / "out.mp4")  # another file of the same name
    assert call("jobs", "resume", stopped[0], "--workers", "1", "--quiet") == 0
    assert len(list(ClipReader(here / "out.mp4"))) == 5
    assert (tmp_path / "out.mp4").read_bytes() == few_frames.read_bytes()


def test_relative_paths_of_a_mapping_file_belong_to_the_file(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("-t", "here/target.jpg", "--face-map", "here/map.toml", "-o", "o.png", "--quiet") == 0
    assert (tmp_path / "o.png").is_file()


def events(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_batch_does_what_can_be_done_and_says_so_line_by_line(here, capsys):
    (here / "in").mkdir()
    for name in ("a.jpg", "clip[1].jpg", "z{0}.jpg"):
        shutil.copy(here / "target.jpg", here / "in" / name)
    (here / "in" / "damaged.jpg").write_bytes(b"\xff\xd8 no picture")
    (here / "in" / "empty.jpg").write_bytes(b"")
    shutil.copy(here / "target.jpg", here / "in" / "taken.jpg")
    (here / "out" / "taken.jpg").mkdir(parents=True)
    words = ("batch-run", "-s", "source.jpg", "-t", "in/*", "-o", "out/{target_name}{target_extension}", "--json")
    assert call(*words) == 3
    told = [event for event in events(capsys) if event["event"] == "step"]
    assert {Path(event["target"]).name: event["status"] for event in told} == {
        "a.jpg": "done", "clip[1].jpg": "done", "z{0}.jpg": "done", "damaged.jpg": "failed", "empty.jpg": "failed",
        "taken.jpg": "failed",
    }  # fmt: skip
    assert call(*words) == 3
    told = [event["status"] for event in events(capsys) if event["event"] == "step" and event["status"] != "begun"]
    assert sorted(told) == ["failed", "failed", "failed", "skipped", "skipped", "skipped"]


def test_a_file_that_is_called_as_the_pattern_is_meant_itself(here, capsys):
    shutil.copy(here / "target.jpg", here / "clip[1].jpg")
    shutil.copy(here / "target.jpg", here / "clip1.jpg")
    assert call("batch-run", "-s", "source.jpg", "-t", "clip[1].jpg", "-o", "{target_name}-new.png", "--quiet") == 0
    assert (here / "clip[1]-new.png").is_file()
    assert not (here / "clip1-new.png").exists()


def test_a_batch_never_takes_its_own_outputs(here, capsys):
    shutil.copy(here / "target.jpg", here / "a.jpg")
    for pattern in ("{target_name}-{source_name}{target_extension}", "made{index:02d}.jpg", "out.jpg"):
        words = ("batch-run", "-s", "source.jpg", "-t", "[amo]*.jpg", "-o", pattern, "--json")
        for item in (*here.glob("a-*"), *here.glob("made*"), here / "mapped.jpg", here / "out.jpg"):
            item.unlink(missing_ok=True)
        assert call(*words) == 0
        made = {path.name for path in here.iterdir()}
        capsys.readouterr()
        assert call(*words) == 0
        told = events(capsys)
        assert told[0]["left_out"]
        assert {event["status"] for event in told if event["event"] == "step"} == {"skipped"}
        assert {path.name for path in here.iterdir()} == made


@pytest.mark.parametrize("pattern", ["clip1.jpg", "{target_name}1.jpg"])
def test_a_file_that_only_looks_like_an_output_of_the_batch_is_not_written_over(here, capsys, pattern):
    (here / "in").mkdir()
    for name in ("clip.jpg", "clip1.jpg"):
        shutil.copy(here / "target.jpg", here / "in" / name)
    before = content(here / "in")
    words = ("batch-run", "-s", "source.jpg", "-t", "in/clip*.jpg", "-o", f"in/{pattern}")
    assert call(*words) == 5
    assert "no batch is known to have made it" in capsys.readouterr().err
    assert content(here / "in") == before
    (here / "in" / "clip1.jpg").unlink()
    assert call(*words) == 0
    assert call(*words, "--face-swapper-light", "0.5") == 0  # what a batch has made it makes anew
    (here / "in" / "clip1.jpg").write_bytes(before["clip1.jpg"])
    assert call(*words) == 5


def test_a_batch_whose_outputs_are_inputs_of_others_is_refused(here, capsys):
    before = content(here)
    for pattern, said in (
        ("{target_name}{target_extension}", "written over the target"),
        ("source.jpg", "written over the source"),
        ("{target_name}/../target.jpg", "written over the target"),
    ):
        assert call("batch-run", "-s", "source.jpg", "-t", "target.jpg", "-o", pattern) == 5
        assert said in capsys.readouterr().err
    assert content(here) == before


@pytest.mark.parametrize(
    "pattern",
    [
        "{nothing}.png", "{}.png", "{target_name.stem}.png", "{index!r}.png", "{index:99999999999d}.png", "{", "}",
        "{target_name:>9999999}.png",
    ],
)  # fmt: skip
def test_fields_that_are_not_there_are_named(pattern):
    with pytest.raises(RecipeError, match=r"(?i)field"):
        fill(pattern, {"index": 1, "source_name": "s", "target_name": "t", "target_extension": ".png"})


def test_numbers_and_braces_of_output_patterns():
    values = {"index": 7, "source_name": "s", "target_name": "{index}", "target_extension": ".png"}
    assert fill("{{x}}-{index:03d}-{target_name}{target_extension}", values) == "{x}-007-{index}.png"


def test_own_outputs_are_told_from_files_that_only_look_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [Path(name) for name in ("a.jpg", "a-s.jpg", "b-s.jpg", "a-s-s.jpg", "a-s.png")]
    assert own_outputs(names, [Path("s.jpg")], "{target_name}-{source_name}{target_extension}") == [names[1], names[3]]
    assert own_outputs(names, [Path("s.jpg")], "other/{target_name}-{source_name}{target_extension}") == []
    assert own_outputs(names, [Path("s.jpg")], "{target_name}{target_extension}") == []
    with pytest.raises(OutputRefused):
        pair([], [Path("1.jpg"), Path("2.jpg")], "{index}.jpg")


def test_home_is_understood_in_patterns(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    assert call("batch-run", "-s", "~/source.jpg", "-t", "~/target.jpg", "-o", "~/o.png", "--quiet") == 0
    assert (here / "o.png").is_file()
