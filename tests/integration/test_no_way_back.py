"""Jobs that end the same way however often they are resumed: their errors do not offer it."""

from __future__ import annotations

import numpy as np
import pytest

from facefusion.errors import (
    ConsentMissing,
    ModelMissing,
    NoFaceInTarget,
    OutputRefused,
    ProcessorRefused,
    RecipeError,
    TracksError,
    UnknownOption,
)
from facefusion.imaging.resample import encode_jpeg
from facefusion.jobs.local import LocalJobs, failure_of, is_of_the_request
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path


def failed(jobs, recipe):
    job = jobs.create(recipe)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the caller's question
        jobs.run(job.id, workers=1)
    return job, caught.value


def test_a_person_who_is_not_there_and_a_target_without_anybody_offer_no_resuming(tmp_path):
    jobs = LocalJobs.open(tmp_path / "jobs")
    values = {
        "source_paths": sample_path("source.jpg"), "target_path": sample_path("target.jpg"),
        "output_path": tmp_path / "o.png",
    }  # fmt: skip
    job, error = failed(jobs, build_recipe(values | {"faces": "99"}))
    assert isinstance(error, UnknownOption) and error.hint == "It has 1: 0; 0 is the most prominent."
    assert failure_of(jobs.store.get(job.id)).hint == error.hint  # as those tell it who look later
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(encode_jpeg(np.full((96, 96, 3), 128, np.uint8), 90))
    _, error = failed(jobs, build_recipe(values | {"target_path": empty}))
    assert isinstance(error, NoFaceInTarget) and "resume" not in str(error) and error.hint.endswith("-size.")


def test_what_can_be_mended_outside_of_the_request_offers_it():
    for kind in (NoFaceInTarget, TracksError, UnknownOption, RecipeError):
        assert is_of_the_request(kind("a", "b"))
    for kind in (ModelMissing, OutputRefused, ConsentMissing, ProcessorRefused):
        assert not is_of_the_request(kind("a", "b"))
