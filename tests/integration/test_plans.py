"""What a plan knows is found out once, kept with its job, and asked of nobody else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.chaos import make_small

from facefusion import analyse_target, build_recipe, render_target, run
from facefusion.analyse.analyser import Analyser
from facefusion.declaration import ModelRef, Step
from facefusion.errors import JobMismatch, StoreRefused, TracksError
from facefusion.jobs import local, prepare, work
from facefusion.jobs.states import STAGES
from facefusion.jobs.store import LOCAL
from facefusion.jobs.stored import Joined, Merged, Rendered, StoredPlan, Told
from facefusion.media import image
from facefusion.media.defects import Defects
from facefusion.media.segments import Span
from facefusion.models import catalog
from facefusion.models.session import SessionCache
from facefusion.pipeline import cast, inputs, plan, resolved
from facefusion.pipeline.inputs import BoundInputs, Shelf, known_hash_of, known_hashes, learn_hashes
from facefusion.pipeline.plan import Found, Target, build_plan
from facefusion.pipeline.resolved import resolve
from facefusion.plugins import registry
from facefusion.recipe import Person, Recipe
from facefusion.testing.provenance import content_of
from facefusion.types.frame import SourceInfo


@pytest.fixture
def counted(monkeypatch) -> Counter:
    """How often files are read, and things are looked for."""
    found: Counter = Counter()

    def watch(place, name, key=lambda arguments: ""):
        real = getattr(place, name)

        def call(*given, **named):
            found[f"{name} {key(given)}".strip()] += 1
            return real(*given, **named)

        monkeypatch.setattr(place, name, call)

    def name_of(arguments):
        return Path(arguments[0]).name

    for module in (inputs, image, plan):  # whoever decodes
        if hasattr(module, "read_photo"):
            watch(module, "read_photo", name_of)
    watch(inputs, "hash_of", name_of)
    watch(Analyser, "find_faces")
    watch(plan, "find_models")
    monkeypatch.setattr(work, "find_models", plan.find_models)
    watch(plan, "_models_of_use", lambda given: given[1].model.capability)
    watch(resolved, "load_face_map")
    watch(catalog, "_of_folder", lambda given: given[0].name)
    watch(registry, "build_processor")
    monkeypatch.setattr(cast, "build_processor", registry.build_processor)
    return found


@pytest.fixture
def files(tmp_path, source_photo, target_photo) -> Path:
    """Inputs that nothing in this process has read before."""
    shutil.copy(source_photo, tmp_path / "source.jpg")
    shutil.copy(target_photo, tmp_path / "target.jpg")
    return tmp_path


def test_a_photo_is_decoded_once_and_hashed_twice(files, counted):
    places = [str(files / "mine")]
    (files / "mine").mkdir()
    values = {"source_paths": [files / "source.jpg"], "target_path": files / "target.jpg", "models_paths": places}
    run(build_recipe({**values, "output_path": files / "o.png"}))
    assert counted["read_photo target.jpg"] == counted["read_photo source.jpg"] == 1
    assert counted["find_faces"] == 1  # pass 1 looks at the target in another way
    # When the job is made, and before its output gets its name.
    assert counted["hash_of target.jpg"] == counted["hash_of source.jpg"] == 2
    # When it is planned, and by who does it.
    assert counted["find_models"] == 2
    assert counted["_models_of_use face_detector"] == 2
    assert counted["_of_folder mine"] == 1
    assert counted["build_processor"] == 2  # to say what the photo lacks, and to draw


def test_a_clip_in_processes_is_hashed_by_one_of_them(files, counted, jobs):
    clip = make_small(files / "clip.mp4", frame_count=10, side=160)
    recipe = build_recipe(
        {"target_path": clip, "output_path": files / "o.mp4", "processors": ["face_anonymiser"], "segment_s": 1.0,
         "face_anonymiser_model": "blur"}
    )  # fmt: skip
    job = jobs.create(recipe)
    assert counted["hash_of clip.mp4"] == 1
    known = known_hashes([clip])
    assert known[clip][1] == hashlib.sha256(clip.read_bytes()).hexdigest()
    inputs._known.clear()
    learn_hashes(known)  # as a process of the pool does, before it binds what it reads
    BoundInputs.bind([clip], job.plan.hashes)
    assert counted["hash_of clip.mp4"] == 1
    assert jobs.run(job.id, workers=1).frame_count == 10
    assert counted["hash_of clip.mp4"] == 2


def test_sources_of_saved_tracks_are_read_once(files, counted, few_frames):
    values = {"source_paths": [files / "source.jpg"], "target_path": few_frames, "output_path": files / "o.mp4"}
    tracks = analyse_target(build_recipe(values))
    counted.clear()
    render_target(build_recipe(values), tracks)
    assert counted["read_photo source.jpg"] == counted["find_faces"] == 1
    assert counted["build_processor"] == 2  # to say what the photo lacks, and to draw


def test_a_mapping_file_is_read_once(files, counted, few_frames):
    (files / "map.toml").write_text('[[person]]\ntrack = 0\nsources = ["source.jpg"]\n')
    recipe = build_recipe(
        {"target_path": few_frames, "output_path": files / "o.mp4", "face_map_path": files / "map.toml"}
    )
    assert run(recipe).changed_frame_count > 0
    assert counted["load_face_map"] == 1


def test_hashes_of_a_mapping_file_are_known_by_the_names_that_the_job_has(files, few_frames):
    """Whoever fetches inputs for a job of a cluster looks them up by these."""
    (files / "maps").mkdir()
    (files / "maps" / "map.toml").write_text('[[person]]\ntrack = 0\nsources = ["../source.jpg"]\n')
    recipe = build_recipe(
        {"target_path": few_frames, "output_path": files / "o.mp4", "face_map_path": files / "maps" / "map.toml"}
    )
    asked = prepare.prepare(recipe, is_shared=True)
    (person,) = asked.chosen.people
    assert set(asked.hashes) == set(map(str, prepare.input_paths(asked.chosen)))
    assert str(person.sources[0]) in asked.hashes


def test_who_does_a_job_looks_at_nothing_that_is_known(files, jobs, few_frames, monkeypatch):
    (files / "map.toml").write_text('[[person]]\ntrack = 0\nsources = ["source.jpg"]\n')
    recipe = build_recipe(
        {"target_path": few_frames, "output_path": files / "o.mp4", "face_map_path": files / "map.toml"}
    )
    job = jobs.create(recipe)

    def refuse(*given, **named):
        raise AssertionError("it is known")

    for module, name in (
        (plan, "is_photo"), (plan, "has_sound"), (plan, "target_of"), (plan, "look_at_clip"), (plan, "find_kind"),
        (resolved, "load_face_map"), (cast, "kind_of_source"), (prepare, "plan_clip"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, refuse)
    assert jobs.run(job.id, workers=1).changed_frame_count > 0


def test_a_job_of_the_layout_before_goes_on(files, jobs, few_frames):
    """Its plan does not say what the target and the sources are; whoever takes it up looks."""
    values = {"source_paths": [files / "source.jpg"], "target_path": few_frames, "output_path": files / "o.mp4"}
    run(build_recipe(values))
    right = content_of(files / "o.mp4")
    job = jobs.create(build_recipe(values))
    row = {name: value for name, value in job.plan.as_dict().items() if name not in ("target", "sources")}
    jobs.store.delete(job.id)
    jobs.store.create(job.id, job.recipe, row, job.storage, [5], LOCAL, stages=STAGES[2:])
    assert jobs.store.get(job.id).plan.found.target is None
    jobs.run(job.id, workers=1)
    assert content_of(files / "o.mp4") == right


@pytest.mark.parametrize(
    "stored",
    [
        StoredPlan(),
        StoredPlan(
            "1",
            Found("clip", Target(640, 360, Fraction(1, 12800), 512), {Path("/a.jpg"): "photo"}, (Span(None, 5, 5),)),
            {"m@1": "ab"}, {"/a.jpg": "cd"}, "ef", "0123", {"/a.jpg": "j/inputs/000.jpg"}, 7,
        ),
        StoredPlan("1", Found("clip", None, {}, (Span(None, None, 3),), SourceInfo(64, 64, Fraction(30000, 1001), 3))),
    ],
)  # fmt: skip
def test_a_plan_comes_back_from_the_store_as_it_was(stored):
    row = json.loads(json.dumps(stored.as_dict()))
    assert StoredPlan.from_dict(row) == stored


@pytest.mark.parametrize(
    "outcome",
    [
        Joined({3: 0, 5: 1}, 2),
        Rendered((0, 512), (512, 512), 1, Defects(lost=2, changes=((1.5, "a"),))),
        Merged(5, 4, 1, ("m@1 (MIT)",), ("A note.",), "ab", 7),
        Merged(5, 4, 1, (), (), "ab", 7, Told("quality_too_low", "Bad.", "Look.")),
        Told("fault", "What.", "Why.", "line 3"),
    ],
)
def test_an_outcome_comes_back_from_the_store_as_it_was(outcome):
    assert type(outcome).from_dict(json.loads(json.dumps(outcome.as_dict()))) == outcome


@pytest.mark.parametrize(
    "row",
    [
        {"spans": "none"}, {"spans": [[0, 1]]}, {"spans": [["a", None, 1]]}, {"models": 5}, {"hashes": ["x"]},
        {"kind": "film"}, {"target": {"width": 3}}, {"target": [1]}, {"sources": {"a": "cat"}},
        {"generated": {"width": 64, "height": 64, "frame_rate": "1/0", "frame_count": 1}},
    ],
)  # fmt: skip
def test_a_damaged_plan_is_refused_by_the_name_of_its_job(row):
    with pytest.raises(StoreRefused, match="Job abc is damaged") as caught:
        StoredPlan.from_dict(row, "abc")
    assert "jobs delete abc" in caught.value.hint


@pytest.mark.parametrize("kind", [Joined, Rendered, Merged, Told])
@pytest.mark.parametrize("row", [{}, {"tracks": "x", "pts": 3, "frames": None, "code": 1}])
def test_a_damaged_outcome_is_refused(kind, row):
    with pytest.raises(StoreRefused, match="Job abc"):
        kind.from_dict(row, "abc")


def test_a_shelf_knows_a_photo_by_what_is_in_it(tmp_path):
    path, shelf = tmp_path / "a.bmp", Shelf()
    first, second = (np.full((8, 8, 3), value, dtype=np.uint8) for value in (10, 200))
    Image.fromarray(first).save(path)
    state = path.stat()
    assert shelf.photo(path) is shelf.photo(path)
    assert np.array_equal(shelf.photo(path).pixels, first)
    Image.fromarray(second).save(path)  # as many bytes, and said to be as old
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert np.array_equal(shelf.photo(path).pixels, second)
    assert not shelf.photo(path).pixels.flags.writeable


def test_the_hash_of_a_file_is_asked_for_again_when_the_file_is_touched(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert known_hash_of(path) == hashlib.sha256(b"one").hexdigest()
    other = tmp_path / "b"
    other.write_bytes(b"two")
    os.replace(other, path)
    assert known_hash_of(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_is_replaced_while_its_hash_is_known_is_refused(files, jobs, few_frames):
    values = {"source_paths": [files / "source.jpg"], "target_path": few_frames, "output_path": files / "o.mp4"}
    job = jobs.create(build_recipe(values))
    os.replace(files / "target.jpg", files / "source.jpg")
    with pytest.raises(JobMismatch, match="has changed since job"):
        jobs.run(job.id, workers=1)


OPENED = [
    {"processors": ["face_swapper"]},
    {"processors": ["face_swapper"], "face_mask_types": ["box"], "face_swapper_fusion": 0.0},
    {"processors": ["face_swapper"], "face_mask_types": ["box", "region"], "motion_smoothing": 0.0},
    {"processors": ["face_anonymiser"], "face_anonymiser_model": "blur"},
    {"processors": ["face_anonymiser"], "face_anonymiser_model": "blur", "face_mask_types": ["occlusion", "region"]},
    {"processors": ["face_anonymiser"], "face_anonymiser_seed": 1},
    {"processors": ["face_anonymiser"], "face_anonymiser_seed": 1, "face_mask_types": ["box"]},
]


@pytest.mark.parametrize("options", OPENED, ids=[" ".join(map(str, one.values())) for one in OPENED])
def test_models_that_are_listed_are_those_that_are_opened(files, options, monkeypatch):
    opened: set[str] = set()
    real = SessionCache.get

    def get(self, spec, *given):
        opened.add(spec.key)
        return real(self, spec, *given)

    monkeypatch.setattr(SessionCache, "get", get)
    recipe = build_recipe(
        {"source_paths": [files / "source.jpg"], "target_path": files / "target.jpg", "output_path": files / "o.png"}
        | options
    )
    listed = {spec.key for spec in build_plan(recipe).models.every}
    assert not opened
    run(recipe)
    assert opened == listed


def opens(**options) -> set[ModelRef]:
    return {use.model for use in resolve(Recipe(**options)).uses_of_rendering}


def test_a_mask_that_is_off_or_that_a_processor_does_not_honour_opens_no_model():
    occluder, region = ModelRef("face_occluder", "embedded"), ModelRef("face_parser", "embedded")
    flow = ModelRef("optical_flow", Recipe().optical_flow_model)
    enhancer = ModelRef("face_enhancer", "gfpgan_1.4")
    assert opens(processors=("face_enhancer",), face_mask_types=("box",)) == {enhancer, flow}
    both = opens(processors=("face_enhancer",), face_mask_types=("occlusion", "region"))
    assert both == {enhancer, flow, occluder}  # an enhancer has no regions
    swapper = opens(processors=("face_swapper",), face_mask_types=("region",), motion_smoothing=0.0)
    assert swapper == {ModelRef("face_swapper", "mesh"), region}
    # Who is hidden is never averaged.
    blur = {"steps": (Step("face_anonymiser", model="blur"),)}
    assert opens(**blur, face_mask_types=("occlusion",)) == {ModelRef("face_anonymiser", "blur")}
    assert flow in opens(
        steps=(*blur["steps"], Step("face_enhancer")), people=(Person(track=0, steps=(Step("face_enhancer"),)),)
    )


def test_steps_that_no_person_of_a_mapping_file_has_open_no_model():
    hidden = Person(track=0, steps=(Step("face_anonymiser", model="blur"),))
    assert opens(steps=(Step("face_swapper", model="inswapper_128"),), people=(hidden,)) == {
        ModelRef("face_anonymiser", "blur")
    }


def test_what_follows_from_a_recipe_is_asked_once():
    recipe = Recipe(processors=("face_swapper",))
    found = resolve(recipe)
    assert resolve(found) is found
    assert found.wants_faces and found.wants_identity and not found.wants_attributes and not found.is_protective
    assert found.identifier == "embedded" and found.is_faces_only and found.generator is None
    hiding = resolve(Recipe(processors=("face_anonymiser",)))
    assert hiding.is_protective and hiding.is_private
    assert not resolve(hiding.recipe.model_copy(update={"keep_metadata": True})).is_private
    weighted = resolve(Recipe(steps=(Step("face_swapper", model="inswapper_128", weight=0.0),)))
    assert weighted.identifier == "arcface_w600k_r50" and weighted.wants_identity
    assert resolve(Recipe(face_selector_age_start=20)).wants_attributes
    assert local.Shelf is Shelf


@pytest.mark.parametrize(
    ("looked_at", "rendered"),
    [
        ({"end_s": 0.1}, {}),
        ({"start_s": 0.1}, {}),
        ({"start_s": 0.05, "end_s": 0.15}, {"start_s": 0.05}),
        ({"output_video_fps": 12}, {}),
    ],
)
def test_frames_in_which_nobody_was_looked_for_are_not_shown(few_frames, tmp_path, looked_at, rendered):
    """They would have gone into the output as they are, also where people are to be hidden."""
    asked = {
        "target_path": few_frames, "output_path": tmp_path / "o.mp4", "processors": ["face_anonymiser"],
        "face_anonymiser_model": "blur",
    }  # fmt: skip
    tracks = analyse_target(build_recipe(asked | looked_at))
    stages = []
    with pytest.raises(TracksError, match="Nobody was looked for in the frame of few"):
        render_target(build_recipe(asked | rendered), tracks, lambda progress: stages.append(progress.stage))
    assert "render" not in stages  # before the first frame of a film that may take hours
    assert list(tmp_path.iterdir()) == []
    outcome = render_target(build_recipe(asked | looked_at), tracks)
    assert outcome.changed_frame_count == outcome.frame_count > 0


def test_tracks_of_all_of_a_clip_serve_a_part_of_it(few_frames, tmp_path):
    asked = {"target_path": few_frames, "output_path": tmp_path / "o.mp4", "processors": ["face_anonymiser"]}
    tracks = analyse_target(build_recipe(asked))
    part = {"start_s": 0.05, "end_s": 0.15, "output_video_fps": 12, "face_anonymiser_model": "blur"}
    outcome = render_target(build_recipe(asked | part), tracks)
    assert outcome.changed_frame_count == outcome.frame_count > 0
