"""What programs hand to the library by mistake, or to another process: a refusal that says what to do."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefusion import (
    Anonymiser,
    CancelToken,
    Stream,
    Swapper,
    Tracks,
    analyse_image,
    analyse_target,
    build_recipe,
    render_target,
    run,
)
from facefusion.errors import MediaUnsupported, RecipeError
from facefusion.media.image import check_sides
from facefusion.testing.fakes import sample_path
from facefusion.types.track import MAX_SIDE

SOURCE, PHOTO = (sample_path(name) for name in ("source.jpg", "target.jpg"))


def test_what_holds_models_or_locks_is_neither_pickled_nor_copied_and_says_so(swapper):
    with Stream(swapper) as stream:
        for one in (swapper, stream, CancelToken(), Anonymiser(face_anonymiser_model="blur")):
            for way in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(RecipeError, match=f"{type(one).__name__} belongs to the process") as caught:
                    way(one)
                assert "initializer of a pool" in caught.value.hint


def test_a_changed_picture_may_come_from_another_process_and_is_signed_where_it_was_made(swapper, picture, tmp_path):
    changed = swapper.change(picture)
    back = pickle.loads(pickle.dumps(changed))
    assert np.array_equal(back.pixels, changed.pixels) and back.changed == changed.changed == (0,)
    assert np.array_equal(back.faces[0].mesh, changed.faces[0].mesh)
    assert np.array_equal(np.asarray(back.as_pil()), changed.pixels) and back.alpha is None
    with pytest.raises(RecipeError, match=r"new\.png cannot be written"):
        back.save(tmp_path / "new.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [True, None, "now"])
def test_what_is_no_token_is_refused_as_that(swapper, picture, tmp_path, wrong):
    recipe = build_recipe({"source_paths": SOURCE, "target_path": PHOTO, "output_path": tmp_path / "o.png"})
    tracks = Tracks.load  # never read: the token is looked at first
    calls = (
        lambda: swapper.swap(picture, wrong),
        lambda: list(swapper.swap_each([picture], cancel=wrong)),
        lambda: Stream(swapper).change(picture, cancel=wrong),
        lambda: run(recipe, cancel=wrong),
        lambda: run(recipe, cancel=wrong, jobs_path=tmp_path / "jobs"),
        lambda: analyse_target(recipe, cancel=wrong),
    )
    for call in calls:
        with pytest.raises(RecipeError, match="'cancel' takes a CancelToken"):
            call()
    with pytest.raises(RecipeError, match="Tracks are wanted, not method"):
        render_target(recipe, tracks, cancel=wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_token_in_the_place_of_a_listener_is_refused_before_anything_is_done(swapper, picture, tmp_path):
    recipe = build_recipe({"source_paths": SOURCE, "target_path": PHOTO, "output_path": tmp_path / "o.png"})
    for call in (run, analyse_target):
        with pytest.raises(RecipeError, match="'on_progress' takes a function, not CancelToken") as caught:
            call(recipe, on_progress=CancelToken())
        assert "goes to 'cancel'" in caught.value.hint
    with pytest.raises(RecipeError, match="'on_progress' takes a function"):
        next(swapper.change_each([picture], 5))
    assert list(tmp_path.iterdir()) == []


def test_a_stream_of_what_changes_nothing_and_a_likeness_to_what_is_no_face_are_refused(picture):
    with pytest.raises(RecipeError, match="not by str"):
        Stream("face.jpg")
    (face, *_) = analyse_image(picture)
    with pytest.raises(RecipeError, match="A face is wanted, not ndarray"):
        face.is_same_person(face.embedding)


def test_sources_may_be_any_iterable(swapper, picture):
    expected = swapper.swap(picture)
    for sources in (deque([SOURCE]), {str(SOURCE): 1}.keys(), (path for path in [SOURCE]), map(str, [SOURCE])):
        assert np.array_equal(Swapper(sources).swap(picture), expected)


def test_sources_without_an_order_are_refused():
    with pytest.raises(RecipeError, match=r"a set has no order.*Give a list"):
        Swapper({str(SOURCE), "other.jpg"})


@pytest.mark.parametrize("size", [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)])
def test_a_side_that_is_too_long_is_refused_and_is_no_fault(swapper, tmp_path, size):
    image = Image.new("RGB", size)
    path = tmp_path / "long.png"
    image.save(path)
    for given in (image, np.asarray(image), path, path.read_bytes()):
        with pytest.raises(MediaUnsupported, match=f"{size[0]} x {size[1]} px; sides of up to {MAX_SIDE} px work"):
            swapper.swap(given)
    recipe = build_recipe({"source_paths": SOURCE, "target_path": path, "output_path": tmp_path / "o.png"})
    with pytest.raises(MediaUnsupported, match=r"long\.png is"):
        run(recipe)
    check_sides(MAX_SIDE, MAX_SIDE, "all that works")
    assert [one.name for one in Path(tmp_path).iterdir()] == ["long.png"]
