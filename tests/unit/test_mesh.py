import numpy as np

from facefusion.imaging.mesh import rasterise, signed_areas, triangle_affines, warp_map

SQUARE = np.array([[2, 2, 0], [12, 2, 0], [12, 12, 0], [2, 12, 0]], dtype=np.float32)
TWO = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)


def test_triangles_of_a_square_leave_no_gap_and_no_double_pixel():
    drawn = rasterise(SQUARE, TWO, 16, 16)
    assert (drawn >= 0).sum() == 100
    assert (drawn[2:12, 2:12] >= 0).all()


def test_back_facing_triangles_are_not_drawn():
    assert (rasterise(SQUARE, TWO[:, ::-1], 16, 16) == -1).all()


def test_nearer_triangle_hides_the_farther_one():
    far, near = SQUARE.copy(), SQUARE.copy()
    far[:, 2], near[:, 2] = 5, -5
    points = np.concatenate([near, far])
    drawn = rasterise(points, np.concatenate([TWO, TWO + 4]).astype(np.int32), 16, 16)
    assert set(np.unique(drawn)) == {-1, 0, 1}


def test_mesh_outside_the_map_draws_nothing():
    assert (rasterise(SQUARE + np.float32([100, 100, 0]), TWO, 16, 16) == -1).all()
    assert (rasterise(SQUARE - np.float32([100, 100, 0]), TWO, 16, 16) == -1).all()


def test_signed_area_is_positive_for_clockwise_triangles():
    assert (signed_areas(SQUARE, TWO) == 100).all()


def test_warp_map_moves_every_pixel_by_its_triangle():
    goal = SQUARE.copy()
    goal[:, 0] += 3
    goal[:, 1] *= 2
    drawn = rasterise(SQUARE, TWO, 16, 16)
    where = warp_map(drawn, triangle_affines(SQUARE, goal, TWO))
    rows, columns = np.nonzero(drawn >= 0)
    np.testing.assert_allclose(where[rows, columns, 0], columns + 3, atol=1e-4)
    np.testing.assert_allclose(where[rows, columns, 1], rows * 2, atol=1e-4)
    assert (where[0, 0] == -1).all()


def test_degenerate_triangle_has_a_finite_affine():
    flat = SQUARE.copy()
    flat[:, 1] = 2
    assert np.isfinite(triangle_affines(flat, SQUARE, TWO)).all()
