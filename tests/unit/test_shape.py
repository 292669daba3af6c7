"""Proportions of people, apart from pose and expression, and moving a picture towards them."""

import itertools

import cv2
import numpy as np
import pytest

from facefusion.imaging.reshape import RING, find_bend
from facefusion.models.face_shape import (
    HABITS,
    OPENED,
    habits_of,
    lid_gap,
    load_face_shape,
    reshaped,
    shape_of,
    to_front,
    with_habits,
    without_expression,
)
from facefusion.models.face_shape import proportions_of as shape_and_habits
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.testing.fakes import make_mesh
from facefusion.types.topology import FACE_OVAL, LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE

OVAL = np.array(FACE_OVAL)


def triangles() -> np.ndarray:
    topology = load_mesh_topology()
    return np.concatenate([topology.skin, topology.eyes, topology.mouth])


def person(seed: int) -> np.ndarray:
    """(478, 3) offsets of somebody who differs from the mean as people do."""
    model = load_face_shape()
    spread = np.linalg.cholesky(model.between.astype(np.float64) + np.eye(len(model.between)) * 1e-9)
    return model.offsets((spread @ np.random.default_rng(seed).normal(size=len(spread))).astype(np.float32))


def proportions_of(mesh: np.ndarray, looks: float = 4.0) -> np.ndarray:
    return load_face_shape().proportions(shape_of(mesh[None], np.zeros(1, np.float32))[0], looks)


def doing(mesh: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A mesh moved by offsets of the front, what opens and shuts included."""
    _, scale, turn = to_front(mesh[None])
    return (mesh + offsets @ turn[0].T * scale[0]).astype(np.float32)


def proportions_of_all(mesh: np.ndarray) -> np.ndarray:
    return shape_and_habits(mesh[None], np.zeros(1, np.float32))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of points of two sets of proportions, eye distances."""
    return float(np.linalg.norm(load_face_shape().offsets(one - other), axis=1).mean())


def test_a_mesh_turned_to_the_front_is_the_same_from_every_side():
    goal, _, _ = to_front(make_mesh()[None])
    for yaw, pitch, roll, size in ((20, 0, 0, 50), (0, -15, 0, 120), (-25, 10, 40, 30), (0, 0, 170, 60)):
        front, scale, _ = to_front(make_mesh((300, 80), size, yaw, pitch, roll)[None])
        np.testing.assert_allclose(front, goal, atol=1e-3)
        assert scale[0] == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_proportions_of_a_person_do_not_depend_on_the_pose(seed):
    offsets = person(seed)
    frontal = proportions_of(reshaped(make_mesh(), offsets))
    for pose in ((25, 0, 0), (0, 15, 0), (-20, -10, 30)):
        assert difference(proportions_of(reshaped(make_mesh((90, 40), 35, *pose), offsets)), frontal) < 2e-3


@pytest.mark.parametrize("seed", range(4))
def test_what_a_face_does_most_is_left_out(seed):
    model = load_face_shape()
    _, axes = np.linalg.eigh(model.within.astype(np.float64))
    habit = model.offsets(axes[:, -1].astype(np.float32))
    habit *= 0.3 / np.abs(habit).max()  # a third of an eye distance
    one = reshaped(make_mesh(), person(seed))
    done = difference(proportions_of(doing(one, habit)), proportions_of(one))
    assert done < 0.1 * float(np.linalg.norm(habit, axis=1).mean())


def gap(mesh: np.ndarray, upper: int, lower: int) -> float:
    """How far two points are apart, eye distances."""
    return float(np.linalg.norm(mesh[upper] - mesh[lower]) / to_front(mesh[None])[1][0])


LIPS, LIDS = ((13, 14), (82, 87), (311, 402)), ((159, 145), (158, 153), (386, 374), (385, 380))


@pytest.mark.parametrize("open_by", [-0.09, 0.0, 0.25])
@pytest.mark.parametrize("seed", range(3))
def test_a_mouth_is_as_open_with_the_proportions_of_somebody_else(seed, open_by):
    offsets = person(seed)
    offsets[[13, 82, 311, 312, 81, 80, 310, 191, 415]] -= [0, 0.08, 0]  # of somebody who always talks
    jaw = np.zeros((478, 3), np.float32)
    jaw[[14, 87, 402, 317, 178, 88, 318, 95, 324, 17, 152], 1] = open_by
    mesh = doing(make_mesh((200, 200), 60, 15, 5, 20), jaw)
    moved = reshaped(mesh, offsets)
    for pair in LIPS:
        assert gap(moved, *pair) == pytest.approx(gap(mesh, *pair), abs=2e-3)
    # The lips themselves, and where the mouth is, are who somebody is.
    assert difference(proportions_of(moved), proportions_of(mesh)) > 0.01


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_lids_that_are_down_stay_down_with_the_proportions_of_somebody_else(share):
    wide = np.zeros((478, 3), np.float32)
    for upper, lower in LIDS:
        wide[upper, 1], wide[lower, 1] = -0.03, 0.03
    mesh = make_mesh((200, 200), 60, -10, 5, 20)
    shut = mesh.copy()
    for uppers, lowers in (
        ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
        ((398, 384, 385, 386, 387, 388, 466), (382, 381, 380, 374, 373, 390, 249)),
    ):
        shut[list(uppers)] = shut[list(lowers)] + (mesh[list(uppers)] - mesh[list(lowers)]) * share
    offsets = without_expression(shut, wide)
    for upper, lower in LIDS:
        assert offsets[lower, 1] - offsets[upper, 1] == pytest.approx(0.06 * share, abs=0.008)
        assert gap(reshaped(shut, wide), upper, lower) == pytest.approx(gap(shut, upper, lower), abs=0.008)


def test_habits_are_what_most_looks_show():
    mesh = make_mesh((200, 200), 60, 5, 0, 10)
    shut = mesh.copy()
    for ring in (LEFT_EYE, RIGHT_EYE):
        shut[list(ring[1:8])] = mesh[list(ring[:8:-1])]
    usual = lid_gap(mesh, LEFT_EYE)[0]
    assert usual > 0.2 and lid_gap(shut, LEFT_EYE)[0] == pytest.approx(0, abs=0.02)
    meshes = np.stack([mesh] * 6 + [shut] * 4)
    many = np.concatenate([meshes] * 4)
    assert habits_of(many, np.zeros(40, np.float32))[0] == pytest.approx(usual, abs=0.02)
    # A few looks in one blink do not make somebody who never opens their eyes.
    assert habits_of(shut[None], np.zeros(1, np.float32))[0] > 0.4 * OPENED


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_lids_are_as_open_from_every_side(share):
    for yaw, pitch, roll in ((0, 0, 0), (30, 0, 0), (-45, 10, 20), (60, 0, 90), (20, 0, 180)):
        mesh = make_mesh((300, 300), 60, yaw, pitch, roll)
        for ring in (LEFT_EYE, RIGHT_EYE):
            mesh[list(ring[1:8])] = mesh[list(ring[:8:-1])] + (mesh[list(ring[1:8])] - mesh[list(ring[:8:-1])]) * share
        frontal = make_mesh((300, 300), 60)
        for ring in (LEFT_EYE, RIGHT_EYE):
            assert lid_gap(mesh, ring)[0] == pytest.approx(lid_gap(frontal, ring)[0] * share, abs=0.03)


@pytest.mark.parametrize("pose", [(0, 0, 0), (20, -10, 30)])
def test_brows_go_where_somebody_elses_are_and_lids_keep_what_they_do(pose):
    raised = np.zeros((478, 3), np.float32)
    raised[[*LEFT_BROW, *RIGHT_BROW], 1] = -0.08
    mesh = make_mesh((200, 200), 60, *pose)
    own, other = (proportions_of_all(one) for one in (mesh, doing(mesh, raised)))
    count = len(own) - HABITS
    offsets = with_habits(np.zeros((478, 3), np.float32), other[count:] - own[count:], 1.0, 0.2)
    moved = reshaped(mesh, offsets)
    np.testing.assert_allclose(proportions_of_all(moved)[count + 1 :], other[count + 1 :], atol=0.01)
    for ring in (LEFT_EYE, RIGHT_EYE):
        np.testing.assert_allclose(moved[list(ring)], mesh[list(ring)], atol=0.6)
    little = with_habits(np.zeros((478, 3), np.float32), other[count:] - own[count:], 1.0, 0.02)
    assert np.abs(little).max() <= 0.02 + 1e-6


def test_more_looks_at_somebody_are_believed_more():
    offsets = person(3)
    few, many = (float(np.linalg.norm(proportions_of(reshaped(make_mesh(), offsets), k))) for k in (1, 4))
    assert few < many
    assert proportions_of(reshaped(make_mesh(), offsets), 4).tolist() == (
        proportions_of(reshaped(make_mesh(), offsets), 400).tolist()
    )


def mesh_is_still(point: int) -> bool:
    """Whether proportions move a point as they are, and not as far as eyes are open."""
    mean = load_mesh_topology().mean
    eyes = [*LEFT_EYE, *RIGHT_EYE]
    return point < 468 and float(np.linalg.norm(mean[eyes] - mean[point], axis=1).min()) > 0.13


def test_offsets_are_symmetric_and_turn_with_the_head():
    offsets, flip = person(5), load_mesh_topology().flip
    np.testing.assert_allclose(offsets[flip] * [-1, 1, 1], offsets, atol=1e-3)
    for pose in ((0, 0, 0), (30, 0, 0), (0, 0, 90)):
        mesh = make_mesh((100, 100), 40, *pose)
        moved = np.linalg.norm(without_expression(mesh, offsets), axis=1)
        still = [k for k in range(478) if mesh_is_still(k)]
        np.testing.assert_allclose(
            np.linalg.norm(reshaped(mesh, offsets) - mesh, axis=1)[still], 40 * moved[still], atol=0.25
        )


def door_frames(height: int, width: int, columns: list[int]) -> np.ndarray:
    """A picture with upright lines, three pixels wide."""
    pixels = np.full((height, width, 3), 200, np.uint8)
    for column in columns:
        pixels[:, column - 1 : column + 2] = 20
    return pixels


def line_of(pixels: np.ndarray, column: int) -> np.ndarray:
    """Where a dark line lies in each row, by its centre of mass."""
    part = 200 - pixels[:, column - 12 : column + 13, 0].astype(float)
    return (part * np.arange(column - 12, column + 13)).sum(axis=1) / part.sum(axis=1)


def wide_mesh() -> tuple[np.ndarray, np.ndarray]:
    """A head, and the same with a far broader jaw and a longer chin than anybody gets."""
    mesh = make_mesh((320, 330), 90)
    mean = load_mesh_topology().mean
    offsets = np.zeros((478, 3), np.float32)
    offsets[:, 0] = 0.2 * np.sign(mean[:, 0]) * np.clip(np.abs(mean[:, 0]), 0, 1)
    offsets[:, 1] = 0.2 * np.clip(mean[:, 1], 0, 1)
    return mesh, reshaped(mesh, offsets)


def test_straight_lines_beyond_the_ring_stay_straight_to_the_pixel():
    mesh, goal = wide_mesh()
    outline = mesh[OVAL, :2]
    left, right = (float(f(outline[:, 0])) for f in (np.min, np.max))
    middle = (left + right) / 2
    beside = [int(middle - (middle - left) * RING * 1.1), int(middle + (right - middle) * RING * 1.1)]
    pixels = door_frames(640, 640, beside)
    moved = find_bend(mesh, goal, triangles(), OVAL, 640, 640).apply(pixels)
    for column in beside:
        assert np.ptp(line_of(moved, column)) < 0.05
    np.testing.assert_array_equal(moved[:, : beside[0] + 2], pixels[:, : beside[0] + 2])


def test_a_door_frame_within_the_ring_bends_softly():
    mesh, goal = wide_mesh()
    right = float(mesh[OVAL, 0].max())
    near = int(right + 0.25 * (right - 320))
    moved = find_bend(mesh, goal, triangles(), OVAL, 640, 640).apply(door_frames(640, 640, [near]))
    line = line_of(moved, near)
    assert 1 < np.ptp(line) < 0.2 * 90  # it gives way, by less than the face grows
    # No kink: neighbouring rows lie nearly alike, and the slope changes little by little.
    soft = np.convolve(line, np.ones(9) / 9, "valid")
    assert np.abs(np.diff(soft)).max() < 0.25
    assert np.abs(np.diff(soft[::9], 2)).max() < 1.0


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("height", "limit"), [(280, 0.2), (310, 0.2), (340, 0.4), (380, 1.2)])
def test_a_shelf_that_ends_at_the_ears_of_a_head_that_gets_longer_stays_straight(height, limit, side):
    mesh = make_mesh((320, 330), 90)
    goal = mesh.copy()
    goal[:, 1] += 0.2 * (mesh[:, 1] - mesh[10, 1])  # from the forehead down; cheeks by 22 pixels, the chin by 48
    assert goal[454, 1] - mesh[454, 1] == pytest.approx(22, abs=1)
    shelf = door_frames(640, 640, [height]).transpose(1, 0, 2).copy()
    moved = find_bend(mesh, goal, triangles(), OVAL, 640, 640).apply(shelf)
    outline = mesh[OVAL, 0]
    beside = moved[:, int(outline.max()) + 20 :] if side > 0 else moved[:, : int(outline.min()) - 20]
    assert np.ptp(line_of(beside.transpose(1, 0, 2), height)) < limit  # it was 6 to 12


def test_the_bend_ends_at_the_ring_and_says_where_it_reaches():
    mesh, goal = wide_mesh()
    bend = find_bend(mesh, goal, triangles(), OVAL, 640, 640)
    reach = bend.reach()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (640, 640, 3), dtype=np.uint8)
    changed = (bend.apply(pixels) != pixels).any(axis=-1)
    assert reach.shape == (640, 640)
    assert (reach[changed] > 0).all()
    assert not reach[:20].any()
    still = find_bend(mesh, mesh, triangles(), OVAL, 640, 640)
    np.testing.assert_array_equal(still.apply(pixels), pixels)
    assert not still.reach().any()


@pytest.mark.parametrize(("size", "scale"), [((640, 640), 90), ((331, 407), 60), ((95, 100), 22)])
def test_moving_strip_by_strip_is_moving_all_at_once(size, scale):
    height, width = size
    mesh = make_mesh((width * 0.55, height * 0.4), scale)
    bend = find_bend(mesh, reshaped(mesh, person(3) * 3), triangles(), OVAL, height, width)
    rows, columns = (np.arange(-(-n // bend.step) * bend.step, dtype=np.float32) for n in size)
    shifts = cv2.resize(bend.shifts, (len(columns), len(rows)), interpolation=cv2.INTER_LINEAR)
    x, y = shifts[:height, :width, 0] + columns[:width], shifts[:height, :width, 1] + rows[:height, None]
    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 1.5)
    plain = cv2.remap(pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    assert (plain != pixels).mean() > 0.1
    apart = np.abs(bend.apply(pixels).astype(int) - plain)  # places are read to 1/32 of a pixel, rounded either way
    assert apart.mean() < 0.01
    assert apart.max() <= 4


def test_the_bend_moves_with_the_head_and_does_not_wobble():
    offsets = person(7) * 2
    mesh = make_mesh((300.0, 300.0), 80)
    shifts = []
    for k in range(8):  # a head that glides by a fraction of a pixel a frame
        now = mesh + np.array([0.31 * k, 0.17 * k, 0], np.float32)
        bend = find_bend(now, reshaped(now, offsets), triangles(), OVAL, 600, 600)
        shifts.append(bend.shifts)
    steps = [float(np.abs(b - a).max()) for a, b in itertools.pairwise(shifts)]
    assert max(steps) < 0.12 * float(np.abs(shifts[0]).max()) + 0.05
