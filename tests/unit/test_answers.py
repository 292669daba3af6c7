"""Answers of engines that are no numbers end in one clear error, and in no fault of ours."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from facefusion.analyse.answers import checked_detections, numbers
from facefusion.errors import ModelMismatch
from facefusion.media.image import read_photo
from facefusion.pipeline.cast import build_analyser
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.face import Detection
from facefusion.types.frame import Frame


def detection(box=(0, 0, 10, 10), points=1.0, score=0.9):
    return Detection(np.array(box, np.float32), np.full((5, 2), points, np.float32), score)


def test_numbers_are_handed_on_as_they_are():
    answer = np.zeros((2, 3), np.float32)
    assert numbers(answer, "face_identifier") is answer
    assert numbers(np.zeros((0, 8)), "face_identifier").shape == (0, 8)
    found = [detection(), detection()]
    assert checked_detections(found) == found and checked_detections([]) == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_are_no_numbers_name_the_engine_and_a_way_out(wrong):
    for found in (detection(box=(0, 0, wrong, 1)), detection(points=wrong), detection(score=wrong)):
        with pytest.raises(ModelMismatch, match="The face detector answered with what are no numbers") as caught:
            checked_detections([detection(), found])
        assert "--face-detector-model" in caught.value.hint and "plugins check" in caught.value.hint


class Broken:
    """An engine of a package, one of whose answers is no number."""

    def __init__(self, engine, name):
        self._engine, self._name = engine, name

    def __getattr__(self, name):
        found = getattr(self._engine, name)
        return self._spoil(found) if name == self._name else found

    def _spoil(self, answer):
        def spoilt(*values):
            found = answer(*values)
            first = found[0]
            (first if isinstance(first, np.ndarray) else first[0].points).flat[0] = np.nan
            return found

        return spoilt


@pytest.mark.parametrize(
    ("engine", "method", "said"),
    [
        ("_detector", "detect", "The face detector"),
        ("_landmarker", "landmark", "The face landmarker"),
        ("_identifier", "identify", "The face identifier"),
    ],
)
def test_an_engine_that_answers_with_nan_is_no_fault_of_ours(engine, method, said):
    analyser = build_analyser(build_recipe({}), has_identity=True)
    setattr(analyser, engine, Broken(getattr(analyser, engine), method))
    pixels = read_photo(sample_path("target.jpg")).pixels
    with pytest.raises(ModelMismatch, match=said):
        analyser.analyse([Frame(pixels, 0, 0, Fraction(1))])
