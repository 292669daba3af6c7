"""What of a photo that shows a whole face is told all the same, and how little a look from aside is worth."""

from dataclasses import replace

import numpy as np
import pytest

from facefusion.imaging import flaws
from facefusion.imaging.face_map import texture_plane
from facefusion.imaging.texture import worth
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.models.pose import estimate_pose
from facefusion.pipeline.advice import ADVICE, FLAWS, advice, verdict_of
from facefusion.processors.face_swapper.mesh import tilted
from facefusion.types.crop import Inspection
from facefusion.types.face import Pose
from facefusion.types.topology import LEFT_BROW

PLANE = texture_plane(load_mesh_topology())
SIZE = PLANE.size


def turned(yaw: float, pitch: float) -> np.ndarray:
    y, p = np.radians(yaw), np.radians(pitch)
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    return (load_mesh_topology().mean @ (about_x @ about_y).T * 100 + 200).astype(np.float32)


def found(share: float = 0.95, **others) -> Inspection:
    shares = dict.fromkeys(("face", *ADVICE), share)
    return Inspection(*(np.zeros((1, 1, 3), np.uint8),) * 2, np.zeros((1, 1), np.float32), shares, (share,), **others)


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_face_that_is_all_seen_is_not_good_where_it_is_seen_badly(flaw):
    assert (verdict_of(found()), advice(found())) == ("good", [])
    assert verdict_of(found(flaws=(flaw,))) == "fair"
    assert advice(found(flaws=(flaw,))) == [FLAWS[flaw]]
    assert verdict_of(found(0.4, flaws=(flaw,))) == "poor"


def test_a_fair_face_is_told_what_is_seen_least():
    one = found(0.65)
    one.shares["right half"] = 0.5
    assert advice(one) == [
        "Not all is seen of: left cheek. A photo in which the person's left cheek is seen shows more."
    ]
    assert advice(replace(one, has_glasses=True))[0].startswith("Glasses")


def test_a_look_from_the_front_is_worth_all_of_it_and_one_from_aside_half():
    front = turned(0, 0)
    square = np.ones((SIZE, SIZE), np.float32)
    middle = (slice(SIZE // 4, SIZE * 3 // 4), slice(SIZE // 4, SIZE * 3 // 4))
    assert worth(square, front, load_mesh_topology().mean, PLANE)[middle].min() > 0.95
    aside = turned(45, 0)
    assert estimate_pose(aside).yaw == pytest.approx(45, abs=1)
    share = worth(square, aside, load_mesh_topology().mean, PLANE)[middle]
    left, right = share[:, : SIZE // 8].mean(), share[:, -SIZE // 8 :].mean()
    assert max(left, right) > 0.95 and min(left, right) < 0.5
    # What lies beside something hidden is mixed with it.
    square[SIZE // 2 :, SIZE // 2 :] = 0
    spoiled = worth(square, front, load_mesh_topology().mean, PLANE)
    assert spoiled[SIZE * 5 // 8, SIZE // 2 - 4] < 0.5 < spoiled[SIZE * 5 // 8, SIZE // 2 - 24]


def test_only_faces_from_far_below_or_above_are_tilted():
    assert [tilted(Pose(0.0, pitch, 0.0)) for pitch in (-20.0, -7.0, 15.0)] == [0, 0, 0]
    assert tilted(Pose(0.0, 32.0, 0.0)) > 0.9 and tilted(Pose(0.0, -46.0, 0.0)) > 0.9


def test_folds_between_the_brows_are_found_where_they_are_seen():
    rng = np.random.default_rng(1)
    skin = np.repeat(rng.normal(-1, 0.05, (SIZE, SIZE, 1)), 3, axis=2).astype(np.float32)
    known = np.ones((SIZE, SIZE), np.float32)
    assert flaws.folds_between_brows(skin, known, PLANE) < 0.06
    brows = int(PLANE.points[list(LEFT_BROW), 1].mean())
    for x in (0.47, 0.53):
        at = int(SIZE * x)
        skin[brows - 30 : brows + 30, at - 5 : at + 5] -= 1.0
    assert flaws.folds_between_brows(skin, known, PLANE) > 0.16
    assert flaws.folds_between_brows(skin, known * 0, PLANE) == 0


def test_light_from_one_side_and_burnt_skin_are_measured():
    even, skin = np.zeros((192, 192, 3), np.float32), np.ones((192, 192), np.float32)
    assert flaws.one_sidedness(even, skin) == 0
    even[:, :96] -= 0.9
    assert flaws.one_sidedness(even, skin) == pytest.approx(0.9, abs=0.1)
    light = np.full((32, 32, 3), -1.0, np.float32)
    assert flaws.spread_of_light(light, light, np.ones((32, 32), np.float32)) == (0, 0)
    light[:8] = -0.01
    spread, burnt = flaws.spread_of_light(light, light, np.ones((32, 32), np.float32))
    assert (round(spread, 2), burnt) == (0.99, 0.25)
    assert flaws.spread_of_light(light, light, np.zeros((32, 32), np.float32)) == (0, 0)
