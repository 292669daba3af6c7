"""Where the light of the head is taken over at the rim of a new face, and where it is not."""

import numpy as np
import pytest

from facefusion.media.reader import ClipReader
from facefusion.pipeline.runner import build_analyser, build_processors, read_sources
from facefusion.processors.face_swapper import mesh as module
from facefusion.recipe import build_recipe
from facefusion.render.renderer import Renderer
from facefusion.testing.fakes import sample_path


@pytest.fixture(scope="module")
def frame():
    return next(iter(ClipReader(sample_path("target.mp4"))))


@pytest.fixture
def calls(monkeypatch):
    found = []
    join = module.join_light

    def spy(over, under, outline, shown, share):
        joined = join(over, under, outline, shown, share)
        found.append((over, under, outline, shown, share, joined))
        return joined

    monkeypatch.setattr(module, "join_light", spy)
    return found


def rendered(frame, **options) -> None:
    hides = "processors" in options
    sources = {} if hides else {"source_paths": [str(sample_path("source.jpg"))]}
    recipe = build_recipe({**sources, **options})
    analyser = build_analyser(recipe)
    tracks = analyser.analyse(iter([frame]))
    photos = [] if hides else read_sources([sample_path("source.jpg")], analyser)
    chain = build_processors(recipe, recipe.steps, photos)
    Renderer({0: chain}, tracks).render(frame)


def test_a_swap_takes_it_where_both_show_skin(frame, calls):
    rendered(frame, face_swapper_light=0.7)
    ((over, under, outline, shown, share, joined),) = calls
    assert share == pytest.approx(0.7)
    assert over.shape == under.shape == joined.shape and shown.shape == over.shape[:2]
    x, y = outline.mean(axis=0).astype(int)
    assert shown[y, x] > 0.99 and shown[0, 0] == 0
    assert np.ptp(outline[:, 1]) < over.shape[0]


def test_what_lies_before_a_face_gives_it_no_light(frame, calls, monkeypatch):
    """A hand is skin, too, in another light."""
    monkeypatch.setattr(
        "facefusion.processors.masking.CropMasks.mask",
        lambda self, pixels, *rest, **options: np.pad(
            np.zeros((pixels.shape[0] // 2, pixels.shape[1]), np.float32),
            ((0, pixels.shape[0] - pixels.shape[0] // 2), (0, 0)),
            constant_values=1,
        ),
    )
    rendered(frame)
    ((_, _, outline, shown, _, _),) = calls
    low, high = outline.min(axis=0).astype(int), outline.max(axis=0).astype(int)
    assert shown[low[1] : low[1] + 10].max() == 0
    assert shown[high[1] - 40 : high[1], (low[0] + high[0]) // 2].max() == 1


@pytest.mark.parametrize("options", [{"face_swapper_light": 0.0}, {"processors": ["face_anonymiser"]}])
def test_nobody_is_lit_who_does_not_want_it_or_is_hidden(frame, calls, options):
    """Of somebody who is hidden fine light tells who it was."""
    rendered(frame, **options)
    assert not calls
