"""Frames of glasses are whole, clear lenses are clear on both sides, and a track has glasses or none."""

import cv2
import numpy as np
import pytest

from facefusion.imaging.align import eye_band, transform
from facefusion.imaging.glasses import evidence_of, hidden_by, whole_frame, worn_of
from facefusion.imaging.masks import hull
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.types.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

WIDTH, HEIGHT = 192, 96
IRISES, RINGS = (LEFT_IRIS, RIGHT_IRIS), (LEFT_EYE, RIGHT_EYE)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """The mean face in a band, its sides in the order of the picture."""
    mesh = load_mesh_topology().mean.astype(np.float32)
    return transform(eye_band(mesh, WIDTH, HEIGHT), mesh[:, :2])


def drawn(points: np.ndarray, chances: tuple[float, float], is_filled: tuple[bool, bool] = (False, False)):
    """Chances of rims around the eyes of the left and of the right half of a band."""
    band = np.zeros((HEIGHT, WIDTH), np.float32)
    order = sorted(IRISES, key=lambda iris: points[iris, 0])
    for iris, chance, filled in zip(order, chances, is_filled, strict=True):
        cv2.ellipse(band, middle(points, iris), (27, 22), 0, 0, 360, chance, 5)
        if filled:
            cv2.ellipse(band, middle(points, iris), (27, 22), 0, 0, 360, chance, -1)
    ahead = [middle(points, iris) for iris in order]
    cv2.line(band, (ahead[0][0] + 27, ahead[0][1]), (ahead[1][0] - 27, ahead[1][1]), max(chances), 5)
    return band


def middle(points: np.ndarray, iris: int) -> tuple[int, int]:
    x, y = np.round(points[iris, :2]).astype(int).tolist()
    return x, y + 4


def sides(points: np.ndarray) -> list[np.ndarray]:
    """Rims of either half, without what is between the eyes."""
    rims = drawn(points, (1, 1)) > 0
    columns = np.arange(WIDTH)[None]
    order = sorted(points[iris, 0] for iris in IRISES)
    return [rims & (columns < order[0]), rims & (columns > order[1])]


def openings(points: np.ndarray) -> list[np.ndarray]:
    order = sorted(RINGS, key=lambda ring: points[ring[0], 0])
    return [hull(points[list(ring), :2], HEIGHT, WIDTH) > 0.5 for ring in order]


def test_a_lens_that_shines_on_one_side_is_clear_and_keeps_its_rim(points):
    fine = drawn(points, (0.9, 0.8), (False, True))
    coarse = drawn(points, (0.9, 0.95), (False, True))
    found = whole_frame(fine, coarse, points, dark=0)
    for opening, rim in zip(openings(points), sides(points), strict=True):
        assert found[opening].max() <= 0.25
        assert found[rim].mean() > 0.65  # of one that is as wide as rims get, a bit of the inner edge goes
    assert hidden_by(fine, points)[openings(points)[1]].min() > 0.9  # what one network says alone


def test_dark_lenses_stay_whole(points):
    fine = drawn(points, (0.9, 0.9), (True, True))
    found = whole_frame(fine, fine, points, dark=1)
    assert all(found[opening].min() > 0.95 for opening in openings(points))


def test_rims_of_one_side_are_looked_for_on_the_other(points):
    fine, coarse = drawn(points, (0.1, 0.9)), drawn(points, (0.12, 0.9))
    left, right = sides(points)
    assert hidden_by(fine, points)[left].max() < 0.05
    found = whole_frame(fine, coarse, points, dark=0)
    assert found[left].mean() > 0.8 and found[right].mean() > 0.9
    assert max(found[opening].max() for opening in openings(points)) < 0.1


def test_rims_that_only_the_coarse_network_sees_are_kept(points):
    found = whole_frame(drawn(points, (0, 0.9)), drawn(points, (0.6, 0.9)), points, dark=0)
    assert found[sides(points)[0]].mean() > 0.8


def test_faint_rims_are_kept_on_both_sides(points):
    faint = drawn(points, (0.2, 0.2))
    found = whole_frame(faint, np.zeros_like(faint), points, dark=0)
    assert all(found[rim].mean() > 0.8 for rim in sides(points))


def test_nothing_comes_of_nothing(points):
    nothing = np.zeros((HEIGHT, WIDTH), np.float32)
    assert not whole_frame(nothing, nothing, points, dark=0).any()


def test_what_speaks_for_glasses_needs_both_networks(points):
    rims, nothing = drawn(points, (0.4, 0.4)), np.zeros((HEIGHT, WIDTH), np.float32)
    assert evidence_of(rims, rims, points)[0] > 0.9
    assert evidence_of(rims, nothing, points)[0] < 0.1
    assert evidence_of(nothing, rims, points)[0] < 0.1


def test_lenses_are_dark_on_both_sides_or_not_at_all(points):
    both, one = (drawn(points, (0.9, 0.9), filled) for filled in ((True, True), (False, True)))
    assert evidence_of(both, both, points)[1] > 0.8
    assert evidence_of(one, one, points)[1] < 0.1
    assert evidence_of(one, both, points)[1] < 0.1


def test_a_track_wears_glasses_or_none():
    looks = np.array([[0.9, 0], [-1, -1], [0.2, 0], [0.8, 0], [-1, -1], [0.9, 0]], np.float16)
    np.testing.assert_array_equal(worn_of(looks), [1, 0])
    looks[:, 0] = -1, 0.1, 0.9, 0.2, 0.3, 0
    np.testing.assert_array_equal(worn_of(looks), [0, 0])
    assert worn_of(looks[:1]) is None
    np.testing.assert_array_equal(worn_of(np.array([[0.7, 0]], np.float16)), [0, 0])  # one look is not that sure
    np.testing.assert_array_equal(worn_of(np.array([[1, 0.9]], np.float16)), [1, 1])
