"""Which frame of a clip is meant by a time."""

from fractions import Fraction

import numpy as np
import pytest

from facefusion.errors import RecipeError
from facefusion.media.generate import write_test_clip
from facefusion.pipeline.still import find_frame, find_moment
from facefusion.recipe import build_recipe

COUNT = 24


@pytest.fixture(scope="module", params=[(10, 1), (30, 1), (60, 1)], ids=["10/s", "30/s", "60/s"])
def clip(request, tmp_path_factory):
    rate = Fraction(*request.param)
    path = tmp_path_factory.mktemp("moments") / "clip.mkv"
    frames = [np.full((48, 64, 3), 10 * k, np.uint8) for k in range(COUNT)]
    times = [round(k / rate * 90000) for k in range(COUNT)]
    write_test_clip(path, frames, times, Fraction(1, 90000))
    return path, rate


def shown_at(path, at_s, **options):
    frame = find_frame(
        build_recipe({"target_path": str(path), "processors": ["face_anonymiser"], **options}), "clip", at_s
    )
    return round(float(frame.pixels.mean()) / 10)


def test_a_time_between_two_frames_shows_the_one_that_is_on_the_screen(clip):
    path, rate = clip
    for number in (0, 1, 7, COUNT - 2):
        for share in (0.0, 0.2, 0.45):
            assert shown_at(path, float((number + share) / rate)) == number


def test_a_time_that_was_written_in_hundredths_shows_the_frame_it_was_written_for(clip):
    path, rate = clip
    for number in range(COUNT):
        assert shown_at(path, float(f"{float(number / rate):.2f}")) == number


def test_parts_begin_with_their_first_frame(clip):
    path, rate = clip
    half = float(Fraction(21, 2) / rate)
    assert shown_at(path, 0.0, start=half) == 11
    assert shown_at(path, float(Fraction(1, 5) / rate), start=half) == 11


def test_neighbours_are_those_of_the_frame(clip):
    path, rate = clip
    recipe = build_recipe({"target_path": str(path), "processors": ["face_anonymiser"]})
    moment = find_moment(recipe, "clip", float(Fraction(61, 5) / rate), 3)
    numbers = [round(float(frame.pixels.mean()) / 10) for frame in moment.around(3)]
    assert numbers == list(range(9, 16))
    first = find_moment(recipe, "clip", 0.0, 3)
    assert [round(float(frame.pixels.mean()) / 10) for frame in first.around(2)] == [0, 1, 2]


def test_behind_the_end_there_is_none(clip):
    path, rate = clip
    with pytest.raises(RecipeError, match="There is no frame"):
        shown_at(path, float((COUNT + 30) / rate))
