"""The invisible mark in outputs of the real flow: found again after what happens to clips, and in nothing else."""

from __future__ import annotations

import errno
import io
import json
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facefusion.apps import cli
from facefusion.errors import OutputRefused
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.once import run
from facefusion.jobs.prepare import mark_of, prepare
from facefusion.media.reader import ClipReader
from facefusion.pipeline.marks import find_in_frames, find_mark
from facefusion.policy.mark import MarkId, site_id
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of
from facefusion.types.frame import Frame

MARKED = SitePolicy(is_marked=True)
FAINT_CRF = 31
"""What a clip of half the size is coded with, so that little of the mark is left."""


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


def recipe_to(output: Path, target: str = "target.mp4", **options: object) -> Recipe:
    return build_recipe(
        {
            "source_paths": [sample_path("source.jpg")],
            "target_path": sample_path(target),
            "output_path": output,
            **options,
        }
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The data folder of the site that all tests here are."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture(autouse=True)
def _one_site(home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(home))


@pytest.fixture(scope="module")
def clip(home, tmp_path_factory):
    """The sample, changed and marked."""
    output = tmp_path_factory.mktemp("marked") / "out.mp4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home))
        run(recipe_to(output), policy=MARKED)
    return output


def encoded(pictures: list[np.ndarray], crf: int) -> list[Frame]:
    """Pictures through H.264."""
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "threads": "1"}
        for pixels in pictures:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    made.seek(0)
    with av.open(made) as found:
        return [
            Frame(frame.to_ndarray(format="rgb24"), number, number, Fraction(1, 25))
            for number, frame in enumerate(found.decode(video=0))
        ]


def test_a_changed_clip_says_who_made_it_and_its_target_says_nothing(clip):
    found = find_mark(clip)
    recipe = recipe_to(clip)
    assert found is not None
    assert found.id == mark_of(recipe, prepare(recipe).hashes)
    assert found.site == site_id()
    assert find_mark(sample_path("target.mp4")) is None


@pytest.mark.parametrize("kind", ["encoded again", "cropped", "of half the size", "one frame at 720p"])
def test_the_mark_outlives_what_happens_to_clips(clip, kind):
    pictures = [frame.pixels for frame in ClipReader(clip)]
    height, width = pictures[0].shape[:2]
    if kind == "cropped":
        x, y = width * 15 // 100, height * 5 // 100
        pictures = [pixels[y : y + height * 85 // 100, x : x + width * 7 // 10] for pixels in pictures]
    if kind == "of half the size":
        pictures = [cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for pixels in pictures]
    if kind == "one frame at 720p":
        size = round(width * 720 / height), 720
        pictures = [cv2.resize(pictures[40], size, interpolation=cv2.INTER_CUBIC)]
    found = find_in_frames(encoded(pictures, 23))
    assert found is not None
    assert found.id == find_mark(clip).id


def test_a_job_that_is_known_is_told_by_a_copy_in_which_nobody_else_could_read_the_mark(clip):
    pictures = [frame.pixels for frame in ClipReader(clip)]
    height, width = pictures[0].shape[:2]
    small = [cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for pixels in pictures]
    # How much a codec has to take so that nobody can read it depends on the id, which every machine has its own.
    faint = next(
        f for crf in range(FAINT_CRF - 2, FAINT_CRF + 11, 2) if find_in_frames(f := encoded(small, crf)) is None
    )
    others = [MarkId(site_id(), number) for number in range(1, 1000)]
    mark = find_mark(clip).id
    assert find_in_frames(faint, others) is None
    found = find_in_frames(faint, [*others, mark])
    assert found is not None
    assert found.id == mark


def test_a_changed_photo_is_marked(tmp_path):
    output = tmp_path / "out.jpg"
    run(recipe_to(output, "target.jpg"), policy=MARKED)
    found = find_mark(output)
    assert found is not None
    assert found.site == site_id()
    assert find_mark(sample_path("target.jpg")) is None


def test_a_site_may_leave_the_mark_out_and_no_recipe_can(tmp_path):
    assert not {"watermark", "mark", "is_marked"} & set(Recipe.model_fields)
    recipe = recipe_to(tmp_path / "out.jpg", "target.jpg")
    jobs = LocalJobs.open(tmp_path / "jobs", policy=SitePolicy(is_marked=False))
    job = jobs.create(recipe)
    assert job.plan.mark == ""
    jobs.run(job.id, workers=1)
    jobs.store.close()
    assert find_mark(tmp_path / "out.jpg") is None


def test_the_same_request_says_the_same_wherever_its_files_lie_and_whatever_its_output_is_called(tmp_path):
    recipe = recipe_to(tmp_path / "one.jpg", "target.jpg")
    moved = tmp_path / "moved.jpg"
    moved.write_bytes(sample_path("target.jpg").read_bytes())
    other = recipe_to(tmp_path / "two.png", "target.jpg").model_copy(update={"target_path": moved})
    asked = [prepare(one, is_marked=True) for one in (recipe, other)]
    assert asked[0].mark == asked[1].mark != ""
    changed = recipe_to(tmp_path / "one.jpg", "target.jpg", face_swapper_blend="pyramid")
    assert prepare(changed, is_marked=True).mark != asked[0].mark


def test_verify_knows_an_output_without_its_manifest_by_its_mark_and_names_the_job(tmp_path, capsys):
    output, bare = tmp_path / "out.mp4", tmp_path / "bare.mp4"
    words = ("run", "-s", sample_path("source.jpg"), "-t", sample_path("target.mp4"), "--watermark", "on", "--quiet")
    assert call(*words, "-o", output) == 0
    with av.open(str(output)) as old, av.open(str(bare), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    capsys.readouterr()
    assert call("jobs", "list", "--json") == 0
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    assert call("verify", output, "--json") == 0
    signed = json.loads(capsys.readouterr().out)
    assert call("verify", bare, "--json") == 12
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["is_own"], found["job"]) == ("marked-only", True, job["id"])
    assert found["watermark"] == signed["watermark"] != ""
    assert call("verify", sample_path("target.mp4"), "--json") == 13


def test_marked_bytes_are_the_same_from_one_process_a_pool_and_a_job_that_was_taken_up_again(tmp_path, monkeypatch):
    names = ("one", "pool", "resumed", "without")
    recipes = {
        name: recipe_to(tmp_path / f"{name}.mp4", end_s=2.0, segment_s=1.0, output_video_preset="ultrafast")
        for name in names
    }
    run(recipes["one"], policy=MARKED)
    run(recipes["without"], policy=SitePolicy(is_marked=False))
    jobs = LocalJobs.open(tmp_path / "jobs", policy=MARKED)
    job = jobs.create(recipes["pool"])
    assert job.plan.mark != ""
    jobs.run(job.id, workers=2)
    replace = os.replace

    def full(source: object, goal: object) -> None:
        if "/segments/00001" in str(goal):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, goal)

    job = jobs.create(recipes["resumed"])
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputRefused):
        jobs.run(job.id, workers=1)
    monkeypatch.setattr(os, "replace", replace)
    jobs.run(job.id, workers=1)
    jobs.store.close()
    contents = {name: content_of(tmp_path / f"{name}.mp4") for name in names}
    assert contents["pool"] == contents["one"], "of a pool"
    assert contents["resumed"] == contents["one"], "taken up again"
    assert contents["without"] != contents["one"]
    assert find_mark(tmp_path / "resumed.mp4") == find_mark(tmp_path / "one.mp4") is not None


@pytest.mark.parametrize("is_marked", [True, False])
def test_an_outcome_says_whether_a_mark_was_put_in_whoever_asks_later(tmp_path, is_marked):
    """A job carries what was decided when it was made."""
    jobs = LocalJobs.open(tmp_path / "jobs", policy=SitePolicy(is_marked=is_marked))
    job = jobs.create(recipe_to(tmp_path / "o.mp4", end_s=0.2))
    later = LocalJobs.open(tmp_path / "jobs", policy=SitePolicy(is_marked=not is_marked))
    assert later.run(job.id, workers=1).is_marked is is_marked
