"""Folds of smiles and frowns that come and go, foreheads that pass into each other, and glasses told by their rims."""

from dataclasses import replace

import numpy as np
import pytest

from facefusion.imaging.masks import are_glasses
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_processor
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.processors.face_swapper.smile import frown_of, smile_of, without_folds, without_frown
from facefusion.recipe import Recipe
from facefusion.testing.fakes import make_face, make_mesh
from facefusion.types.crop import SourceFace
from facefusion.types.topology import (
    LEFT_BROW,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    RIGHT_BROW,
    RIGHT_IRIS,
)

SIDE = 320


def smiling(mesh: np.ndarray, share: float = 1.0) -> np.ndarray:
    """A mesh whose mouth is broader, with its corners up."""
    unit = float(np.linalg.norm(mesh[LEFT_IRIS] - mesh[RIGHT_IRIS]))
    middle = (mesh[MOUTH_LEFT] + mesh[MOUTH_RIGHT]) / 2
    half = np.linalg.norm(mesh[MOUTH_LEFT] - middle)
    moved = mesh.copy()
    for point in {*LIPS_OUTER, *LIPS_INNER}:
        aside = (mesh[point, 0] - middle[0]) / half
        moved[point, 0] += share * 0.13 * unit * aside
        moved[point, 1] -= share * 0.12 * unit * (aside**2 - 0.3)
    return moved


@pytest.mark.parametrize("pose", [(0, 0, 0), (20, 5, 0), (0, 0, 35)])
@pytest.mark.parametrize("size", [30, 120])
def test_a_smile_is_told_from_the_mesh_whatever_its_size_and_pose(pose, size):
    calm = make_mesh((300, 300), size, *pose)
    upright = smiling(make_mesh((0, 0), 1.0))
    assert smile_of(calm) < 0.1
    assert smile_of(smiling(make_mesh((300, 300), size))) > 0.9
    assert 0.1 < smile_of(smiling(make_mesh((300, 300), size), 0.55)) < 0.9
    assert smile_of(upright * size) == pytest.approx(smile_of(upright), abs=1e-3)


@pytest.fixture(scope="module")
def swapper() -> MeshSwapper:
    return build_processor(Recipe().step_of("face_swapper"), EngineContext(Recipe()))


def fold(swapper: MeshSwapper, depth: float = 0.5) -> np.ndarray:
    """A texture with a dark line from beside the nose to beside the mouth, as smiles make it, and a dark brow."""
    points = swapper._plane.points
    detail = np.zeros((512, 512, 3), np.float32)
    rows, columns = np.mgrid[0:512, 0:512]
    corner = points[MOUTH_LEFT]
    line = (np.abs(columns - (corner[0] - 22)) < 4) & (np.abs(rows - (corner[1] - 20)) < 40)
    brow = (np.abs(columns - points[105, 0]) < 20) & (np.abs(rows - points[105, 1]) < 6)
    detail[line | brow] = -depth
    return detail


def test_folds_go_and_features_stay(swapper):
    detail = fold(swapper)
    calm = without_folds(detail, swapper._plane, None)
    corner, brow = swapper._plane.points[MOUTH_LEFT].astype(int), swapper._plane.points[105].astype(int)
    was, rest = (float(one[corner[1] - 20, corner[0] - 22].mean()) for one in (detail, calm))
    assert was == -0.5
    assert rest > -0.3, "more than a third of a fold goes"
    np.testing.assert_allclose(calm[brow[1], brow[0]], -0.5, atol=1e-3)
    hair = np.ones((48, 48), np.float32)
    np.testing.assert_allclose(without_folds(detail, swapper._plane, hair), detail, atol=1e-6)


def photo(mesh: np.ndarray) -> SourceFace:
    rng = np.random.default_rng(2)
    pixels = np.clip(rng.normal((190, 140, 120), 9, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    return SourceFace(pixels, replace(make_face(centre=(160, 150), eye_distance=75), mesh=mesh))


def test_folds_are_drawn_as_far_as_the_target_smiles(swapper):
    mesh = make_face(centre=(160, 150), eye_distance=75).mesh
    swapper.prepare([photo(smiling(mesh))])
    held = swapper._prepared
    assert held is not None
    assert held.smile > 0.9
    assert held.calm
    (own,), (calm,) = ([held.levels(0, 1.0, smile, 1.0)[0].astype(int)] for smile in (1.0, 0.0))
    between = held.levels(0, 1.0, 0.5, 1.0)[0].astype(int)
    assert np.abs(own - calm).max() > 0
    assert np.abs(between - (own + calm) / 2).max() <= 1.01
    assert np.array_equal(own, held.tones[0])
    swapper.prepare([photo(mesh)])
    assert not swapper._prepared.calm, "who does not smile has no folds to lose"


def frowning(source: SourceFace, depth: float = 0.45, slant: float = 0.0) -> SourceFace:
    """The same photo with two dark lines between the brows, upright or across."""
    left, right, _, low = (source.face.mesh[k, :2] for k in (107, 336, 193, 417))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    lines = np.zeros((SIDE, SIDE), np.float32)
    for share in (0.35, 0.65):
        if slant:
            away = np.abs(rows - (left[1] + (low[1] - left[1]) * (share - 0.3)))
        else:
            away = np.abs(columns - (left[0] + (right[0] - left[0]) * share))
        lines = np.maximum(lines, np.exp(-((away / 1.5) ** 2)) * (rows < low[1]) * (rows > left[1] - 15))
    pixels = np.clip(source.pixels * (1 - depth * lines[..., None]), 0, 255).astype(np.uint8)
    return SourceFace(pixels, source.face)


def test_a_frown_is_told_by_upright_folds_between_the_brows():
    calm = photo(make_face(centre=(160, 150), eye_distance=75).mesh)
    told = [frown_of(one.pixels, one.face.mesh) for one in (calm, frowning(calm, 0.08), frowning(calm))]
    assert told[0] == 0, "noise is none"
    assert told[0] < told[1] < told[2]
    assert told[2] > 0.9
    across = frowning(calm, slant=1.0)
    assert frown_of(across.pixels, across.face.mesh) == 0, "nor is the bridge of glasses"
    away = calm.face.mesh + np.array([5000, -5000, 0], np.float32)
    assert np.isfinite(frown_of(calm.pixels, away))


def test_folds_between_brows_go_and_brows_stay(swapper):
    points = swapper._plane.points
    detail = np.zeros((512, 512, 3), np.float32)
    rows, columns = np.mgrid[0:512, 0:512]
    middle = (points[107] + points[336]) / 2
    line = (np.abs(columns - middle[0]) < 4) & (np.abs(rows - middle[1]) < 20)
    brow = (np.abs(columns - points[105, 0]) < 20) & (np.abs(rows - points[105, 1]) < 6)
    detail[line | brow] = -0.5
    plain = without_frown(detail, swapper._plane)
    assert plain[int(middle[1]), int(middle[0])].mean() > -0.25
    np.testing.assert_allclose(plain[brow], -0.5, atol=0.02)
    low = int(points[MOUTH_LEFT, 1]) - 40
    np.testing.assert_array_equal(plain[low:], detail[low:])


def test_folds_between_brows_are_drawn_as_far_as_the_target_frowns(swapper):
    calm = photo(make_face(centre=(160, 150), eye_distance=75).mesh)
    calm.pixels[:60, :, :] = (20, 30, 60)  # a picture with something dark in it has no haze
    swapper.prepare([frowning(calm)])
    held = swapper._prepared
    assert held.frown > 0.9
    own, half, none = (held.levels(0, 1.0, 1.0, frown)[0].astype(int) for frown in (1.0, 0.5, 0.0))
    assert np.array_equal(own, held.tones[0])
    assert 0 < np.abs(own - half).sum() < np.abs(own - none).sum()
    swapper.prepare([calm])
    assert not swapper._prepared.relaxed, "who does not frown has no folds to lose"


def test_foreheads_pass_into_each_other(swapper):
    points = swapper._plane.points
    middle = int(points[10, 0])
    brows = int(points[[*LEFT_BROW, *RIGHT_BROW], 1].min())
    down = swapper._cover[:brows, middle]
    between = np.flatnonzero((down > 0.02) & (down < 0.98))
    assert np.ptp(between) > 0.06 * 512
    assert (np.diff(down) >= -1e-4).all()
    assert down[-1] > 0.999
    hidden = MeshSwapper(broadness=6.0)._cover[:brows, middle]
    assert np.ptp(np.flatnonzero((hidden > 0.02) & (hidden < 0.98))) < 0.05 * 512, "a hidden forehead is all new"


def rims(angles: tuple[float, float], eyes: tuple[int, ...]) -> np.ndarray:
    """What rims over a part of a circle around some eyes hide, degrees from the right downwards."""
    mesh = make_mesh((160, 150), 75)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    hidden = np.zeros((SIDE, SIDE), np.float32)
    for eye in eyes:
        x, y = columns - mesh[eye, 0], rows - mesh[eye, 1]
        angle = np.degrees(np.arctan2(y, x)) % 360
        around = np.abs(np.hypot(x, y) - 0.36 * 75) < 2
        hidden[around & (angle >= angles[0]) & (angle <= angles[1])] = 1
    return hidden


@pytest.mark.parametrize(
    ("angles", "eyes", "are_worn"),
    [
        ((0, 360), (LEFT_IRIS, RIGHT_IRIS), True),
        ((180, 360), (LEFT_IRIS, RIGHT_IRIS), True),
        ((0, 300), (LEFT_IRIS,), True),
        ((200, 300), (LEFT_IRIS, RIGHT_IRIS), False),
        ((180, 360), (LEFT_IRIS,), False),
        ((0, 1), (), False),
    ],
    ids=["whole", "half", "one, of a turned head", "brows", "one brow", "nothing"],
)
def test_glasses_go_around_the_eyes(angles, eyes, are_worn):
    assert are_glasses(rims(angles, eyes), make_mesh((160, 150), 75)) is are_worn


@pytest.mark.parametrize(("ways", "are_worn"), [((0, 1), True), ((1, 2), True), ((0,), False), ((2,), False)])
def test_lenses_without_rims_are_held_over_the_nose_and_at_the_temples(ways, are_worn):
    mesh = make_mesh((160, 150), 75)
    hidden = np.zeros((SIDE, SIDE), np.float32)
    for way in ways:
        start, end = (mesh[k, :2] for k in ((133, 362), (127, 33), (356, 263))[way])
        for share in np.linspace(0.05, 0.95, 100):
            x, y = np.rint(start + (end - start) * share).astype(int)
            hidden[y - 1 : y + 2, x] = 1
    assert are_glasses(hidden, mesh) is are_worn
