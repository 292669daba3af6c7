"""Hair before the sides of a face is followed from what a network found of it."""

import cv2
import numpy as np
import pytest

from facefusion.imaging.resample import decode
from facefusion.imaging.strands import follow_strands
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.types.topology import FACE_OVAL, LEFT_BROW, LEFT_IRIS, RIGHT_BROW, RIGHT_IRIS

BLOND, DARK = (226, 198, 120), (42, 30, 24)


def person(number: int = 2) -> tuple[np.ndarray, np.ndarray, float]:
    face = load_synthetic_faces()[number]
    mesh = face.mesh.astype(np.float32)
    return decode(face.jpeg), mesh, float(np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2]))


def with_strand(pixels, mesh, unit, colour) -> tuple[np.ndarray, np.ndarray]:
    """A strand of hairs from above the face down along one side of it, and where it is."""
    rng, drawn = np.random.default_rng(3), pixels.copy()
    strand = np.zeros(pixels.shape[:2], np.uint8)
    oval = mesh[list(FACE_OVAL), :2]
    left = oval[:, 0].min()
    points = [(left + 0.22 * unit, oval[:, 1].min() - 0.2 * unit), (left + 0.3 * unit, mesh[LEFT_IRIS, 1])]
    points += [(left + 0.26 * unit, mesh[61, 1]), (left + 0.4 * unit, oval[:, 1].max())]
    path = np.round(np.array(points) * 16).astype(np.int32)
    cv2.polylines(strand, [path], False, 255, round(0.2 * unit), cv2.LINE_AA, 4)
    for _ in range(60):
        shade = np.clip(np.array(colour) * rng.uniform(0.7, 1.12), 0, 255).tolist()
        moved = path + np.array([rng.normal(0, 0.06 * unit) * 16, 0]).astype(np.int32)
        cv2.polylines(drawn, [moved], False, shade, 1, cv2.LINE_AA, 4)
    alpha = cv2.GaussianBlur(strand, (0, 0), 0.8)[..., None] / 255
    base = np.broadcast_to(np.array(colour, np.float32) * 0.95, pixels.shape)
    mixed = np.where(drawn != pixels, drawn, base)
    return (pixels + (mixed - pixels) * alpha).astype(np.uint8), strand > 127


def inside_of(mesh, shape) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(mesh[list(FACE_OVAL), :2]).astype(np.int32)], 1)
    return mask > 0


@pytest.mark.parametrize("colour", [BLOND, DARK])
@pytest.mark.parametrize("number", [2, 11])
def test_a_strand_is_followed_to_its_end_from_what_was_found_of_it(number, colour):
    clean, mesh, unit = person(number)
    pixels, strand = with_strand(clean, mesh, unit, colour)
    inside = inside_of(mesh, strand.shape)
    found = (strand & (np.mgrid[: strand.shape[0], : strand.shape[1]][0] < mesh[LEFT_IRIS, 1])).astype(np.float32)
    seen = strand & inside
    assert (found[seen] > 0.5).mean() < 0.5
    followed = follow_strands(pixels, mesh, found)
    assert (followed >= found).all()
    # Dark ones below the brows only near the outline: farther in a shaded cheek looks the same.
    assert (followed[seen] > 0.5).mean() > (0.85 if colour == BLOND else 0.6)
    # Skin on the other side of the strand and of the face is skin.
    away = inside & (cv2.dilate(strand.astype(np.uint8), np.ones((9, 9))) == 0)
    assert (followed[away] > 0.5).mean() < 0.06


@pytest.mark.parametrize("number", [2, 11])
def test_where_nothing_was_found_hardly_anything_is_followed(number):
    """A dark line at the very edge of a face may be a hair."""
    clean, mesh, unit = person(number)
    followed = follow_strands(clean, mesh, np.zeros(clean.shape[:2], np.float32)) > 0.5
    assert followed.mean() < 0.006
    inner = cv2.erode(inside_of(mesh, followed.shape).astype(np.uint8), np.ones((2 * round(0.2 * unit) + 1,) * 2)) > 0
    assert not (followed & inner).any()


def test_glasses_are_no_hair():
    """What comes far into the face is not followed: a dark rim and a dark brow look the same."""
    clean, mesh, unit = person()
    pixels, rims = clean.copy(), np.zeros(clean.shape[:2], np.uint8)
    for picture, colour in ((pixels, (25, 20, 20)), (rims, 255)):
        for eye in (mesh[LEFT_IRIS, :2], mesh[RIGHT_IRIS, :2]):
            at = tuple(int(v) for v in np.round(eye))
            cv2.ellipse(picture, at, (round(unit * 0.4), round(unit * 0.32)), 0, 0, 360, colour, 5, cv2.LINE_AA)
        bridge = [tuple(int(v) for v in np.round(mesh[row, :2])) for row in (LEFT_IRIS, RIGHT_IRIS)]
        cv2.line(picture, *bridge, colour, 5, cv2.LINE_AA)
    found = (rims > 127).astype(np.float32)
    np.testing.assert_array_equal(follow_strands(pixels, mesh, found), found)


def test_brows_under_a_fringe_are_hidden_with_it():
    clean, mesh, unit = person()
    oval, brows = mesh[list(FACE_OVAL), :2], mesh[[*LEFT_BROW, *RIGHT_BROW], 1]
    rng, pixels = np.random.default_rng(5), clean.copy()
    fringe = np.zeros(clean.shape[:2], np.uint8)
    for x in np.linspace(oval[:, 0].min(), oval[:, 0].max(), 260):
        start, end = (round(x), round(oval[:, 1].min() - 0.1 * unit)), (round(x), round(brows.min() + 0.03 * unit))
        shade = np.clip(np.array((120, 84, 52)) * rng.uniform(0.7, 1.15), 0, 255).tolist()
        cv2.line(pixels, start, end, shade, 2, cv2.LINE_AA)
        cv2.line(fringe, start, end, 255, 3)
    rows = np.mgrid[: fringe.shape[0], : fringe.shape[1]][0]
    found = ((fringe > 0) & (rows < brows.min() - 0.25 * unit)).astype(np.float32)
    followed = follow_strands(pixels, mesh, found)
    for brow in (LEFT_BROW, RIGHT_BROW):
        x, y = np.round(mesh[list(brow), :2].mean(axis=0)).astype(int)
        assert found[y, x] < 0.5 < followed[y, x]


def test_what_looks_like_skin_is_followed_nowhere():
    """Seeds that are wrong lead to nothing: what was found must look otherwise than skin."""
    clean, mesh, unit = person()
    cheek = mesh[[116, 123], :2].mean(axis=0)
    found = np.zeros(clean.shape[:2], np.float32)
    cv2.circle(found, tuple(int(v) for v in np.round(cheek)), round(0.14 * unit), 1.0, -1)
    followed = follow_strands(clean, mesh, found)
    assert (followed > 0.5).sum() < 1.6 * (found > 0.5).sum()


def test_a_beard_is_no_hair_that_hangs_down():
    clean, mesh, unit = person()
    pixels, strand = with_strand(clean, mesh, unit, DARK)
    rng = np.random.default_rng(2)
    jaw = np.zeros(strand.shape, np.uint8)
    cv2.fillPoly(jaw, [np.round(mesh[[*FACE_OVAL[9:28], 2], :2]).astype(np.int32)], 1)
    for row, column in rng.permutation(np.argwhere(jaw > 0))[:5000]:
        shade = int(rng.integers(15, 60))
        cv2.line(pixels, (int(column), int(row)), (int(column), int(row) + 6), (shade, shade - 8, shade - 10), 1)
    found = (strand & (np.mgrid[: strand.shape[0], : strand.shape[1]][0] < mesh[LEFT_IRIS, 1])).astype(np.float32)
    followed = follow_strands(pixels, mesh, found)
    chin = tuple(np.round(mesh[175, 1::-1]).astype(int))
    assert followed[chin] < 0.5


def with_hair(clean, mesh, unit, start, end, breadth) -> tuple[np.ndarray, np.ndarray]:
    """A dark line, and where it is."""
    pixels, line = clean.copy(), np.zeros(clean.shape[:2], np.uint8)
    for picture, colour in ((pixels, DARK), (line, 255)):
        path = np.round(np.array([start, end]) * 16).astype(np.int32)
        cv2.polylines(picture, [path], False, colour, max(round(breadth * unit), 1), cv2.LINE_AA, 4)
    return pixels, line > 127


@pytest.mark.parametrize("number", [2, 11])
def test_a_few_hairs_that_hang_in_are_found_where_nothing_else_was(number):
    clean, mesh, unit = person(number)
    oval = mesh[list(FACE_OVAL), :2]
    top, side = oval[:, 1].min(), mesh[LEFT_BROW[0], 0]
    start, end = (side + 0.2 * unit, top - 0.1 * unit), (side + 0.03 * unit, mesh[LEFT_IRIS, 1] + 0.35 * unit)
    pixels, hair = with_hair(clean, mesh, unit, start, end, 0.03)
    followed = follow_strands(pixels, mesh, np.zeros(clean.shape[:2], np.float32))
    rows = np.mgrid[: hair.shape[0], : hair.shape[1]][0]
    inside = inside_of(mesh, hair.shape) & hair
    brow = mesh[list(LEFT_BROW), 1]
    above, below = inside & (rows < brow.min() - 0.1 * unit), inside & (rows > mesh[LEFT_IRIS, 1] + 0.2 * unit)
    assert above.sum() > 20
    assert below.sum() > 10
    assert (followed[above] > 0.5).mean() > 0.7
    assert (followed[below] > 0.5).mean() > 0.7, "it goes on behind the brow"
    assert (followed > 0.5).mean() < 0.05


@pytest.mark.parametrize("where", ["across the forehead", "amid the face"])
def test_wrinkles_and_lines_that_do_not_come_from_outside_are_no_hair(where):
    clean, mesh, unit = person()
    brows = mesh[[*LEFT_BROW, *RIGHT_BROW], :2]
    if where == "amid the face":
        x = mesh[LEFT_IRIS, 0] + 0.05 * unit
        start, end = (x, mesh[LEFT_IRIS, 1] + 0.25 * unit), (x, mesh[LEFT_IRIS, 1] + 0.6 * unit)
    else:
        y = brows[:, 1].min() - 0.15 * unit
        start, end = (brows[:, 0].min() + 0.2 * unit, y), (brows[:, 0].max() - 0.2 * unit, y)
    pixels, _ = with_hair(clean, mesh, unit, start, end, 0.03)
    nothing = np.zeros(clean.shape[:2], np.float32)
    np.testing.assert_array_equal(follow_strands(pixels, mesh, nothing), nothing)


def test_an_arm_beside_a_grey_face_is_followed_to_its_edge():
    clean, mesh, unit = person()
    pixels = np.repeat(cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    oval = mesh[list(FACE_OVAL), :2]
    edge = int(oval[:, 0].max() - 0.42 * unit)
    columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]][1]
    rng = np.random.default_rng(2)
    arm = np.clip(rng.normal(58, 3, pixels.shape[:2]), 0, 255)[..., None]
    pixels = np.where((columns >= edge)[..., None], arm, pixels).astype(np.uint8)
    found = (columns >= edge + 0.22 * unit).astype(np.float32)  # a network draws what is not in focus too small
    inside = inside_of(mesh, found.shape)
    rows = np.mgrid[: found.shape[0], : found.shape[1]][0]
    upper = inside & (rows < mesh[61, 1])
    missed = upper & (columns >= edge) & (found < 0.5)
    assert missed.sum() > 100
    followed = follow_strands(pixels, mesh, found)
    assert (followed[missed] > 0.5).mean() > 0.9
    skin = upper & (columns < edge - 0.2 * unit)
    assert (followed[skin] > 0.5).mean() < 0.02


def test_pale_hairs_over_a_brow_are_found_where_they_begin_at_hair():
    clean, mesh, unit = person()
    pixels, shade = clean.copy(), (244, 236, 214)
    brow = mesh[list(RIGHT_BROW), :2]
    top, end = brow[:, 1].min() - 0.3 * unit, brow[:, 1].max() + 0.02 * unit
    x = float(brow[:, 0].mean())
    line = np.zeros(pixels.shape[:2], np.uint8)
    points = np.round(np.array([[(x, top), (x + 0.12 * unit, end)]]) * 16).astype(np.int32)
    cv2.polylines(line, points, False, 255, 1, cv2.LINE_AA, 4)
    pixels = (pixels + (np.array(shade) - pixels) * (line[..., None] / 255)).astype(np.uint8)
    rows = np.mgrid[: line.shape[0], : line.shape[1]][0]
    hair = (rows < top + 0.03 * unit).astype(np.float32)
    lost = (line > 127) & (rows > top + 0.1 * unit) & (rows < end - 0.1 * unit)
    assert (follow_strands(pixels, mesh, hair)[lost] > 0.5).mean() > 0.6
    # Without hair that it begins at, it may be a scar.
    assert (follow_strands(pixels, mesh, np.zeros_like(hair))[lost] > 0.5).mean() < 0.1
