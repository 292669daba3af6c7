from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.analyse.smooth import smooth_finishes
from facefusion.imaging.finish import grain_of, measure_finish
from facefusion.imaging.flow import gradient
from facefusion.models.pose import estimate_poses
from facefusion.render.grain import GrainMatcher
from facefusion.testing.fakes import make_mesh
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.track import Track, Tracks

MESH = make_mesh((150.0, 150.0), 90.0)


@pytest.fixture
def drawing():
    """Hard edges such as brows and lips have."""
    pixels = np.full((300, 300, 3), 170, np.uint8)
    for k in range(8):
        cv2.ellipse(pixels, (90 + 18 * k, 100 + 14 * k), (26, 7), 20 * k, 0, 360, (70, 50 + 8 * k, 45), -1)
    return pixels


def noisy(pixels, sigma, rng):
    return np.clip(pixels + rng.normal(0, sigma, pixels.shape), 0, 255).astype(np.uint8)


def make_tracks(finish, count=1):
    meshes = np.repeat(MESH[None], count, axis=0)
    track = Track(
        0,
        np.arange(count),
        meshes,
        np.ones(count, np.float32),
        estimate_poses(meshes),
        finishes=np.tile(np.array(finish, np.float32), (count, 1)),
    )
    pts = np.arange(count, dtype=np.int64)
    return Tracks(300, 300, Fraction(1, 25), pts, (track,), {}, np.array([0], np.int64))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_blur_is_measured_in_pixels(drawing, sigma):
    before, _ = measure_finish(drawing, MESH)
    after, _ = measure_finish(cv2.GaussianBlur(drawing, (0, 0), sigma), MESH)
    assert np.sqrt(after**2 - before**2) == pytest.approx(sigma, rel=0.3)


def test_grain_does_not_pass_for_sharpness_and_is_measured(drawing, rng):
    soft = cv2.GaussianBlur(drawing, (0, 0), 2)
    clean, grainy = measure_finish(soft, MESH), measure_finish(noisy(soft, 6, rng), MESH)
    assert grainy[0] == pytest.approx(clean[0], rel=0.25)
    # Grain that differs from channel to channel is weaker in grey.
    assert grainy[1] - clean[1] == pytest.approx(6 * np.sqrt(0.299**2 + 0.587**2 + 0.114**2), rel=0.2)


def test_a_face_that_is_too_small_or_out_of_sight_is_not_measured(drawing):
    assert measure_finish(drawing, make_mesh((150.0, 150.0), 8.0)) is None
    assert measure_finish(drawing, make_mesh((-200.0, 150.0), 60.0)) is None


def test_grain_is_what_is_fine_and_weak(drawing, rng):
    grain = grain_of(noisy(drawing, 5, rng), 5.0)
    flat = grain[10:40, 10:290]
    assert 3.5 < flat.std() < 5.2
    assert np.abs(grain_of(drawing, 5.0)).max() < 12.6  # an edge is no grain


@pytest.mark.filterwarnings("error")
def test_grain_beside_a_plain_wall_is_a_number():
    """Sums that run down a column ended below zero there, and one such pixel took the whole face with it."""
    for seed, height, width, noisy_px, wall in ((764165, 244, 78, 51, 141), (199614, 141, 94, 18, 218)):
        picture = np.full((height, width, 3), wall, np.uint8)
        picture[:noisy_px] = np.random.default_rng(seed).integers(0, 256, (noisy_px, width, 3))
        assert np.isfinite(grain_of(picture, 3.0)).all()
        plain = RenderedFrame(Frame(picture, 0, 0, Fraction(1, 25)), np.full_like(picture, 150), (0, 0, width, height))
        done = GrainMatcher(make_tracks((1.0, 5.0)), (0,), 1.0).match(plain)
        assert done.patch.min() > 100  # whatever is no number became black


def test_a_plain_patch_gets_the_grain_of_the_shot(drawing, rng):
    pixels = noisy(drawing, 6, rng)
    patch = np.full((100, 100, 3), 120, np.uint8)
    plain = RenderedFrame(Frame(pixels, 0, 0, Fraction(1, 25)), patch, (20, 10, 120, 110))
    done = GrainMatcher(make_tracks((1.0, 5.0)), (0,), 1.0).match(plain)
    inside = done.patch[20:60, 5:95].astype(float)
    assert 3.5 < inside.std() < 6.5
    assert abs(inside.mean() - 120) < 1
    # It is the target's own, so a still part of it does not flicker more than the target.
    assert np.corrcoef(inside.ravel(), pixels[30:70, 25:115].astype(float).ravel())[0, 1] > 0.8


@pytest.mark.parametrize(("finish", "strength"), [((1.0, 0.5), 1.0), ((1.0, 5.0), 0.0)])
def test_no_grain_where_there_is_none_or_nobody_asked(drawing, finish, strength):
    plain = RenderedFrame(Frame(drawing, 0, 0, Fraction(1, 25)), np.full((50, 50, 3), 9, np.uint8), (0, 0, 50, 50))
    assert GrainMatcher(make_tracks(finish), (0,), strength).match(plain) is plain


def test_one_blurred_moment_does_not_count():
    found = dict.fromkeys(range(0, 60, 6), (1.0, 2.0))
    found[30] = (9.0, 2.0)
    smooth = smooth_finishes(np.arange(60), found)
    np.testing.assert_allclose(smooth, np.tile([1.0, 2.0], (60, 1)), atol=1e-6)
    assert smooth_finishes(np.arange(3), {}) is None


def test_finishes_are_saved_and_belong_to_the_face(tmp_path):
    tracks = make_tracks((2.5, 3.5), count=3)
    tracks.save(tmp_path / "t.tracks")
    again = Tracks.load(tmp_path / "t.tracks")
    face = again.tracks[0].face(1)
    assert (face.blur, face.grain) == (2.5, 3.5)
    with pytest.raises(ValueError, match="finishes"):
        replace(again.tracks[0], finishes=np.zeros((2, 2), np.float32))


def test_what_is_measured_does_not_depend_on_where_in_memory_it_lies(rng):
    for height, width in ((97, 131), (150, 203), (64, 64)):
        light = np.rint(rng.random((height, width)) * 255).astype(np.float32)
        found = gradient(light)
        for offset in (4, 12, 20, 36):
            room = np.empty(light.nbytes + 128, np.uint8)
            start = -room.ctypes.data % 64 + offset
            moved = room[start : start + light.nbytes].view(np.float32).reshape(light.shape)
            moved[...] = light
            for _ in range(4):  # what is made on the way lies elsewhere each time
                np.testing.assert_array_equal(gradient(moved), found)
