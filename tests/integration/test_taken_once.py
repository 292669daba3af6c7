"""What does not change from picture to picture is worked out once, and goes with what it was made of."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from facefusion import build_recipe, run
from facefusion.pipeline.cast import build_analyser, read_faces
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine, build_processor
from facefusion.processors.face_anonymiser.synthetic import SyntheticAnonymiser
from facefusion.processors.face_swapper import mesh
from facefusion.processors.face_swapper.appearance import Completer
from facefusion.recipe import Recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.crop import SourceFace


@pytest.fixture
def completions(monkeypatch):
    """How often a texture is completed."""
    calls = []
    complete = Completer.complete

    def counted(self, *given):
        calls.append(1)
        return complete(self, *given)

    monkeypatch.setattr(Completer, "complete", counted)
    # What tests before in this process still hold is theirs.
    monkeypatch.setattr(mesh, "_completed", weakref.WeakKeyDictionary())
    return calls


def build(**options):
    recipe = build_recipe({"source_paths": [sample_path("source.jpg")], **options})
    return build_processor(recipe.steps[0], EngineContext(recipe))


def test_sources_of_a_run_are_taken_in_once(completions, tmp_path):
    source = sample_path("source.jpg")
    run(
        build_recipe(
            {"source_paths": [source], "target_path": sample_path("target.jpg"), "output_path": tmp_path / "o.png"}
        )
    )
    assert len(completions) == 1
    assert not mesh._completed  # nobody is kept when the job is over


def test_what_was_taken_is_the_same_as_taken_anew_and_goes_with_its_sources(completions):
    (found,) = read_faces([sample_path("source.jpg")], build_analyser(Recipe(), has_identity=False))
    kept = [SourceFace(found.pixels, found.face)]
    first, second, soft = build(), build(), build(face_mask_blur=0.9)
    inspection = first.inspect(kept)
    second.prepare(kept)
    soft.prepare(kept)
    assert len(completions) == 1
    anew = [SourceFace(found.pixels.copy(), found.face)]
    fresh, fresh_soft = build(), build(face_mask_blur=0.9)
    fresh.prepare(anew)
    fresh_soft.prepare([SourceFace(found.pixels.copy(), found.face)])
    assert len(completions) == 3
    for one, other in ((second, fresh), (soft, fresh_soft)):
        pairs = zip(one._prepared.tones, other._prepared.tones, strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
        assert np.array_equal(one._prepared.shading, other._prepared.shading)
        assert one._prepared.blur == other._prepared.blur
    assert not np.array_equal(second._prepared.tones[0], soft._prepared.tones[0])
    assert np.array_equal(first.inspect(kept).own, inspection.own)
    del kept, anew
    gc.collect()
    assert not mesh._completed


def test_the_packaged_faces_are_looked_at_once_whoever_is_hidden():
    identifier = build_engine("face_identifier", "embedded", EngineContext(Recipe()))
    calls = []

    class Counting:
        contract, same_person_cosine = identifier.contract, identifier.same_person_cosine

        def identify(self, pixels, points):
            calls.append(len(pixels))
            return identifier.identify(pixels, points)

    anonymiser = SyntheticAnonymiser(1, Counting())
    rng = np.random.default_rng(0)
    anonymiser._identities = {person: rng.normal(size=128).astype(np.float32) for person in range(6)}
    chosen = [sorted(anonymiser._candidates(person)) for person in range(6)]
    assert len(calls) == 1 and calls[0] > 3
    anonymiser.forget()
    anonymiser._identities = {0: rng.normal(size=128).astype(np.float32)}
    anonymiser._candidates(0)
    assert len(calls) == 1
    assert len({tuple(one) for one in chosen}) > 1  # and each gets those least like them


def test_masks_of_the_texture_plane_are_not_written_into():
    swapper = build()
    before = {name: mask.copy() for name, mask in mesh._masks.items()}
    (found,) = read_faces([sample_path("source.jpg")], build_analyser(Recipe(), has_identity=False))
    swapper.inspect([found])
    swapper.prepare([found])
    assert before and all(np.array_equal(mesh._masks[name], mask) for name, mask in before.items())
