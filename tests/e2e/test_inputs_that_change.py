"""What is delivered was made from the files that were hashed, or nothing is delivered."""

import os
import shutil
from pathlib import Path

import pytest

from facefusion import build_recipe, run
from facefusion.apps import cli
from facefusion.errors import JobMismatch
from facefusion.jobs import prepare, work
from facefusion.jobs.local import LocalJobs
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.pipeline.inputs import BoundInputs
from facefusion.testing.provenance import content_of
from facefusion.types.frame import RenderedFrame


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, target_clip) -> tuple[Path, Path]:
    """Two clips of one kind with different content."""
    found = []
    for start in (0.0, 2.0):
        path = tmp_path_factory.mktemp("clips") / f"{start}.mp4"
        reader = ClipReader(target_clip, start, start + 0.2)
        with ClipWriter(path, reader) as writer:
            for frame in reader:
                writer.write(RenderedFrame(frame))
        found.append(path)
    return found[0], found[1]


def replace(path: Path, other: Path) -> None:
    """Put another file where one was, as editors and synchronisers do."""
    copy = path.with_name("copy")
    shutil.copy(other, copy)
    os.replace(copy, path)


@pytest.mark.parametrize("which", ["target.jpg", "source.jpg"])
@pytest.mark.parametrize("place", ["check_faces", "join_observations", "render_spans", "merge_segments"])
def test_a_photo_that_is_replaced_meanwhile_is_not_delivered(
    tmp_path, source_photo, target_photo, monkeypatch, which, place
):
    shutil.copy(source_photo, tmp_path / "source.jpg")
    shutil.copy(target_photo, tmp_path / "target.jpg")
    output = tmp_path / "o.png"
    output.write_bytes(b"old")
    other = target_photo if which == "source.jpg" else source_photo

    where = prepare if place == "check_faces" else work
    real = getattr(where, place)

    def meddle(*given: object, **named: object) -> object:
        replace(tmp_path / which, other)
        return real(*given, **named)

    monkeypatch.setattr(where, place, meddle)
    recipe = build_recipe(
        {"source_paths": [tmp_path / "source.jpg"], "target_path": tmp_path / "target.jpg", "output_path": output}
    )
    with pytest.raises(JobMismatch, match="was changed while it was read") as caught:
        run(recipe)
    assert "jobs" not in caught.value.hint  # there is no job that could be gone on with
    assert output.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"source.jpg", "target.jpg", "o.png"}


@pytest.mark.skipif(os.name == "nt", reason="no time of the last change of a file itself there")
def test_a_photo_that_is_replaced_and_put_back_is_not_delivered_either(
    tmp_path, target_photo, source_photo, monkeypatch
):
    target = tmp_path / "target.jpg"
    shutil.copy(target_photo, target)

    real = work.render_spans

    def meddle(*given: object, **named: object) -> object:
        target.rename(tmp_path / "aside")
        shutil.copy(source_photo, target)
        (tmp_path / "aside").replace(target)
        return real(*given, **named)

    monkeypatch.setattr(work, "render_spans", meddle)
    recipe = build_recipe({"target_path": target, "output_path": tmp_path / "o.png", "processors": ["face_anonymiser"]})
    with pytest.raises(JobMismatch, match="touched"):
        run(recipe)
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize("place", ["join_observations", "render_spans", "merge_segments"])
@pytest.mark.parametrize("processor", ["face_swapper", "face_anonymiser"])
def test_a_clip_that_is_replaced_meanwhile_is_not_delivered_and_goes_on_when_it_is_back(
    tmp_path, source_photo, clips, monkeypatch, capsys, place, processor
):
    target, output = tmp_path / "clip.mp4", tmp_path / "o.mp4"
    shutil.copy(clips[0], target)
    words = ["-t", target, "-o", output, "--workers", "1", "--quiet", "--processors", processor]
    words += ["-s", source_photo] if processor == "face_swapper" else ["--face-anonymiser-seed", "3"]
    assert call(*words) == 0
    right = content_of(output)
    output.write_bytes(b"old")

    real = getattr(work, place)

    def meddle(*given: object, **named: object) -> object:
        replace(target, clips[1])
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(work, place, meddle)
        assert call(*words) == 8
    assert "changed while it was read" in capsys.readouterr().err
    assert output.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "o.mp4"}
    replace(target, clips[0])
    assert call(*words) == 0
    assert content_of(output) == right


def test_a_clip_that_was_only_touched_is_read_again(tmp_path, source_photo, clips, monkeypatch):
    target, output = tmp_path / "clip.mp4", tmp_path / "o.mp4"
    shutil.copy(clips[0], target)
    real, touched = work.join_observations, []

    def meddle(*given: object, **named: object) -> object:
        if not touched:
            touched.append(replace(target, clips[0]))  # the same content
        return real(*given, **named)

    monkeypatch.setattr(work, "join_observations", meddle)
    assert call("-s", source_photo, "-t", target, "-o", output, "--workers", "1", "--quiet") == 0
    assert len(list(ClipReader(output))) == 5
    jobs = LocalJobs.open(Path(os.environ["FACEFUSION_JOBS_PATH"]))
    (job,) = jobs.store.list_jobs()
    assert [item.renders for item in jobs.store.items(job.id) if item.stage == "join"] == [2]


@pytest.mark.parametrize("is_copied", [False, True])
def test_the_library_binds_clips_too(tmp_path, source_photo, clips, monkeypatch, is_copied):
    from facefusion.testing.clips import make_clip

    target = tmp_path / "clip.mp4"
    shutil.copy(make_clip(tmp_path / "empty.mp4") if is_copied else clips[0], target)
    place = "copy_target" if is_copied else "merge_segments"
    real = getattr(work, place)

    def meddle(*given: object, **named: object) -> object:
        replace(target, clips[1])
        return real(*given, **named)

    monkeypatch.setattr(work, place, meddle)
    options = {"source_paths": [source_photo], "target_path": target, "output_path": tmp_path / "o.mp4"}
    with pytest.raises(JobMismatch):
        run(build_recipe(options | {"allow_empty": True}))
    assert not (tmp_path / "o.mp4").exists()
    assert not list(tmp_path.glob(".*"))


def test_tracks_of_what_was_there_before_hide_nobody_and_are_refused(tmp_path, clips):
    target, tracks, output = tmp_path / "clip.mp4", tmp_path / "clip.tracks", tmp_path / "o.mp4"
    shutil.copy(clips[0], target)
    assert call("analyse", "-t", target, "-o", tracks, "--quiet") == 0
    words = ("render", "--tracks", tracks, "-t", target, "-o", output, "--processors", "face_anonymiser", "--quiet")
    replace(target, clips[1])
    assert call(*words) == 3
    assert not output.exists()
    replace(target, clips[0])
    assert call(*words) == 0


def test_a_preview_of_a_film_that_was_replaced_shows_nobody(tmp_path, clips, capsys):
    target, picture = tmp_path / "clip.mp4", tmp_path / "p.png"
    shutil.copy(clips[0], target)
    jobs = LocalJobs.open(Path(os.environ["FACEFUSION_JOBS_PATH"]))
    options = {"target_path": target, "output_path": tmp_path / "o.mp4", "processors": ["face_anonymiser"]}
    job = jobs.create(build_recipe(options))
    worker = work.Worker(jobs.store, jobs.storage)
    worker.perform(job.id, "analyse", range(1))
    worker.perform(job.id, "join", range(1))
    worker.close()
    words = ("jobs", "preview", job.id, "--at", "0.1", "-o", picture)
    replace(target, clips[1])
    assert call(*words) == 8
    assert "has changed since the job began" in capsys.readouterr().err
    assert not picture.exists()
    replace(target, clips[0])
    assert call(*words) == 0
    assert picture.exists()


def test_bound_inputs_tell_what_became_of_a_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    bound = BoundInputs.bind([path])
    bound.check()
    path.write_bytes(b"two")
    with pytest.raises(JobMismatch, match="changed") as told:
        bound.check_untouched()
    assert not told.value.retryable
    path.write_bytes(b"one")
    with pytest.raises(JobMismatch, match="touched") as told:
        bound.check()
    assert told.value.retryable
    path.unlink()
    with pytest.raises(JobMismatch, match="gone"):
        bound.check()
    path.write_bytes(b"two")
    with pytest.raises(JobMismatch, match="since the job began"):
        BoundInputs.bind([path], bound.hashes and {str(path): bound.hashes[path]})
