"""Lips: those of the target are covered, those of a source are whole."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facefusion.imaging.crops import cut_native
from facefusion.processors.face_swapper.lips import find_own_lips, openness, with_own_lips, with_whole_lips
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face
from facefusion.types.topology import LIPS_INNER, LIPS_OUTER

LIP, TEETH, DARK = (190, 30, 60), (225, 215, 205), (40, 14, 14)
UPPER, LOWER = list(LIPS_INNER[1:10]), list(LIPS_INNER[:10:-1])


def with_gap(face: Face, gap: float) -> Face:
    """The same face with its inner lips so far apart."""
    mesh = face.mesh.copy()
    middle = (mesh[UPPER] + mesh[LOWER]) / 2
    apart = np.array([0, gap / 2, 0], np.float32) * np.sin(np.linspace(0.1, 0.9, 9) * np.pi)[:, None]
    mesh[UPPER], mesh[LOWER] = middle - apart, middle + apart
    return replace(face, mesh=mesh.astype(np.float32))


def painted(target: SourceFace, face: Face, upper: float, lower: float, inside: tuple[int, int, int]) -> np.ndarray:
    """A picture whose red lips reach so far into the opening that the mesh has, shares of its gap."""
    pixels, mesh = target.pixels.copy(), face.mesh[:, :2]

    def fill(ring: np.ndarray, colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(pixels, [np.rint(ring * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)

    fill(mesh[list(LIPS_OUTER)], LIP)
    across = mesh[LOWER] - mesh[UPPER]
    if upper + lower < 1:
        fill(np.concatenate([mesh[UPPER] + across * upper, (mesh[LOWER] - across * lower)[::-1]]), inside)
    return cv2.GaussianBlur(pixels, (0, 0), 0.7)


@pytest.mark.parametrize("inside", [TEETH, DARK])
@pytest.mark.parametrize(("upper", "lower"), [(0.0, 0.0), (0.25, 0.0), (0.0, 0.3), (0.2, 0.2)])
def test_how_far_the_targets_lips_reach_in_is_read_off_the_picture(target, upper, lower, inside):
    face = with_gap(target.face, 20.0)
    found = find_own_lips(painted(target, face, upper, lower, inside), face.mesh)
    # In a soft picture between white and red the edge lies two pixels further out.
    np.testing.assert_allclose(found[0, 2:7], upper, atol=0.13)
    np.testing.assert_allclose(found[1, 2:7], lower, atol=0.13)


def test_teeth_that_are_hardly_lighter_than_lips_are_seen(target):
    face = with_gap(target.face, 8.0)
    pale = np.array(LIP) + np.array([20, 30, 25])
    found = find_own_lips(painted(target, face, 0.0, 0.0, tuple(pale.tolist())), face.mesh)
    assert openness(with_own_lips(face.mesh, found)) > 0.9


def test_teeth_stay_in_a_picture_that_hardly_shows_lips(target):
    """Teeth, lips and skin are nearly alike there, and what little tells them apart tells as much."""
    face = with_gap(target.face, 16.0)
    pixels = painted(target, face, 0.0, 0.0, (205, 110, 110)).astype(np.float32)
    skin = pixels[np.rint(face.mesh[:, 1]).astype(int), np.rint(face.mesh[:, 0]).astype(int)].mean(axis=0)
    dim = np.rint(skin + (pixels - skin) * 0.12).astype(np.uint8)
    assert find_own_lips(dim, face.mesh)[:, 3:6].sum(axis=0).max() < 0.5
    # Of who is hidden no more is shown than in a plain picture.
    assert find_own_lips(dim, face.mesh, 1.0)[:, 3:6].sum(axis=0).min() > 0.7


def test_more_of_a_pale_mouth_is_left_to_swaps_alone():
    assert MeshSwapper()._least_plain < MeshSwapper(broadness=6.0)._least_plain == 1


def test_lips_that_touch_are_closed_where_a_mesh_has_a_narrow_gap(target):
    face = with_gap(target.face, 2.4)
    found = find_own_lips(painted(target, face, 0.5, 0.5, DARK), face.mesh)
    assert openness(face.mesh) > 0.4
    assert openness(with_own_lips(face.mesh, found)) < 0.05


def test_lips_that_touch_are_closed_whatever_whatever_the_mesh_says(target):
    face = with_gap(target.face, 6.0)
    assert openness(face.mesh) == 1
    found = find_own_lips(painted(target, face, 0.5, 0.5, DARK), face.mesh)
    assert (found.sum(axis=0) <= 1.0001).all()
    assert openness(with_own_lips(face.mesh, found)) < 0.2


def test_a_tongue_is_no_lip(target):
    """It has a lip's colour and lies in a wide mouth: no mesh is wrong by so much."""
    face = with_gap(target.face, 60.0)
    found = find_own_lips(painted(target, face, 0.5, 0.5, DARK), face.mesh)
    assert found[:, 3:6].max() < 0.3
    assert openness(with_own_lips(face.mesh, found)) == 1


def test_a_mouth_outside_of_the_picture_is_read_without_an_error(target):
    face = with_gap(target.face, 20.0)
    away = replace(face, mesh=face.mesh + np.array([5000, -5000, 0], np.float32))
    assert np.isfinite(find_own_lips(target.pixels, away.mesh)).all()


def redness(pixels: np.ndarray, part: np.ndarray) -> float:
    linear = (pixels[part].astype(np.float32) / 255) ** 2.2 + 1e-3
    return float(np.log(linear[:, 0] / linear[:, 1]).mean())


def test_no_lip_of_the_target_is_seen_inside_the_new_ones(source, target):
    face = with_gap(target.face, 16.0)
    pixels = painted(target, face, 0.3, 0.3, TEETH)
    swapper = MeshSwapper()
    swapper.prepare([source])
    crop = cut_native(pixels, face)
    (result,) = swapper.process([crop])
    alpha = result.alpha[..., None]
    mixed = crop.pixels * (1 - alpha) + result.pixels * alpha
    mesh = crop.face.mesh[:, :2]
    for edge, other in ((UPPER, LOWER), (LOWER, UPPER)):
        at = np.rint(mesh[edge[3:6]] + (mesh[other[3:6]] - mesh[edge[3:6]]) * 0.15).astype(int)
        rim = np.zeros(alpha.shape[:2], bool)
        rim[at[:, 1], at[:, 0]] = True
        assert redness(crop.pixels, rim) > 2
        assert redness(mixed, rim) < 1.5, "the lips of the source have 1.3"
    middle = np.rint((mesh[UPPER[4]] + mesh[LOWER[4]]) / 2).astype(int)
    assert np.abs(mixed[middle[1], middle[0]] - TEETH).max() < 20, "teeth stay"


@pytest.fixture(scope="module")
def place():
    return MeshSwapper()._mouth_place


def flat(place, upper: tuple[float, float, float], lower: tuple[float, float, float]) -> np.ndarray:
    """Skin with lips of two colours, natural logarithm of light over that of skin."""
    detail = np.zeros((512, 512, 3), np.float32)
    colour = np.where(place.is_lower[..., None], np.float32(lower), np.float32(upper))
    detail[place.rows, place.columns] = colour * place.lips[..., None]
    return detail


def amid(place, detail: np.ndarray, is_lower: bool) -> np.ndarray:
    part = detail[place.rows, place.columns]
    return part[(place.lips > 0.95) & (np.abs(place.depth - 0.5) < 0.15) & (place.is_lower == is_lower)].mean(axis=0)


def test_usual_lips_stay_as_they_are(place):
    detail = flat(place, (-0.25, -0.75, -0.6), (0.15, -0.3, -0.1))
    made = with_whole_lips(detail, place)
    np.testing.assert_allclose(made, detail, atol=0.1)
    outside = np.ones((512, 512), bool)
    outside[place.rows, place.columns] = False
    np.testing.assert_array_equal(made[outside], detail[outside])


def test_lips_that_are_pressed_together_become_lips(place):
    made = with_whole_lips(flat(place, (0, 0, 0), (0.1, 0.1, 0.1)), place)
    for is_lower in (False, True):
        red, green, _ = amid(place, made, is_lower)
        assert red - green > 0.13
        assert red < 0.1


def half(place, is_lower: bool, is_left: bool) -> np.ndarray:
    middle = place.lips.shape[1] / 2
    columns = np.arange(place.lips.shape[1])[None]
    aside = columns < middle - 8 if is_left else columns > middle + 8
    return (place.lips > 0.95) & (np.abs(place.depth - 0.5) < 0.2) & (place.is_lower == is_lower) & aside


def test_lips_have_one_colour_on_the_left_as_on_the_right(place):
    """One half lay in another light, or no photo shows it."""
    detail = flat(place, (-0.25, -0.75, -0.6), (0.15, -0.3, -0.1))
    part = detail[place.rows, place.columns]
    middle = part.shape[1] // 2
    part[:, :middle] += np.float32([-0.3, -0.05, 0.1]) * place.lips[:, :middle, None]
    made = with_whole_lips(detail, place)[place.rows, place.columns]
    for is_lower in (False, True):
        left, right = (made[half(place, is_lower, is_left)].mean(axis=0) for is_left in (True, False))
        assert np.abs(left - right).max() < 0.12, "it was 0.3"
        assert (left - right)[0] < 0.05


def test_what_is_guessed_of_lips_gives_way_to_what_is_seen(place):
    detail = flat(place, (-0.25, -0.75, -0.6), (0.15, -0.3, -0.1))
    seen, middle = np.ones((512, 512), np.float32), 256
    seen[:, middle:] = 0
    detail[:, middle:] *= 0.2
    made = with_whole_lips(detail, place, seen=seen)[place.rows, place.columns]
    red = [float(np.subtract(*made[half(place, True, is_left)].mean(axis=0)[:2])) for is_left in (True, False)]
    assert red[0] == pytest.approx(0.45, abs=0.06)
    assert red[1] > 0.36


def test_skin_and_hair_where_a_mesh_has_the_upper_lip_get_the_colour_of_the_lower_one(place):
    made = with_whole_lips(flat(place, (-0.5, -0.5, -0.5), (0.15, -0.3, -0.1)), place)
    red, green, _ = amid(place, made, False)
    assert red - green > 0.2


def test_photos_with_hardly_any_colour_have_red_lips_too(place):
    pale = flat(place, (-0.5, -0.55, -0.55), (0.1, 0.05, 0.05))
    told = [float(np.subtract(*amid(place, with_whole_lips(pale, place, redness=skin), True)[:2])) for skin in (0.5, 0)]
    assert told[0] == pytest.approx(0.14, abs=0.03), "pale lips are somebody's own"
    assert told[1] > 0.5


def test_lips_are_neither_orange_nor_violet(place):
    for blue in (-0.6, 0.4):
        red, green, found = amid(place, with_whole_lips(flat(place, (0, -0.4, blue), (0, -0.4, blue)), place), True)
        assert -0.2 < (found - green) / (red - green) < 1.5, "it was -0.5 and 2"


def test_lines_along_a_lip_that_are_those_of_a_smaller_one_go(place):
    usual = flat(place, (-0.25, -0.75, -0.6), (0.15, -0.3, -0.1))
    detail = usual.copy()
    line = (np.abs(place.depth - 0.5) < 0.12) & (place.lips > 0.5)
    detail[place.rows, place.columns][line] -= 0.9
    apart = [
        np.abs(one[place.rows, place.columns][line] - usual[place.rows, place.columns][line]).mean()
        for one in (detail, with_whole_lips(detail, place))
    ]
    assert apart[1] < 0.85 * apart[0]


def test_a_black_lip_over_a_white_one_is_hard_light(place):
    detail = flat(place, (-1.9, -2.3, -2.3), (1.2, 0.8, 0.8))
    made = with_whole_lips(detail, place)
    assert amid(place, made, False).mean() > -1.6
    assert amid(place, made, True).mean() < 0.75
    assert amid(place, made, False).mean() < amid(place, made, True).mean() - 0.8


def test_a_shade_at_one_corner_of_the_mouth_is_no_part_of_a_face(place):
    detail = flat(place, (-0.25, -0.75, -0.6), (0.15, -0.3, -0.1))
    left = (place.corner > 0.5) & (np.arange(place.corner.shape[1]) < place.corner.shape[1] / 2)
    detail[place.rows, place.columns][left] = -1.5
    made = with_whole_lips(detail, place)[place.rows, place.columns]
    assert made[left].mean() > -0.7
    both = left | left[:, ::-1]
    even = flat(place, (-0.25, -0.75, -0.6), (0.15, -0.3, -0.1))
    even[place.rows, place.columns][both] = -0.5
    made = with_whole_lips(even, place)[place.rows, place.columns]
    assert made[both].mean() < -0.4, "corners that are dark on both sides are somebody's own"


def test_what_a_source_shows_between_its_lips_is_not_on_their_edge(source):
    swapper = MeshSwapper()
    inner, white = source.face.mesh[list(LIPS_INNER), :2], source.pixels.copy()
    cv2.fillPoly(white, [np.rint(inner).astype(np.int32)], (255, 255, 255))
    cv2.polylines(white, [np.rint(inner).astype(np.int32)], True, (255, 255, 255), 2)
    drawn = []
    for pixels in (source.pixels, white):
        swapper.prepare([SourceFace(pixels, source.face)])
        place, tones = swapper._mouth_place, swapper._prepared.tones[0]
        part = tones[place.rows, place.columns, :3].astype(np.float32)
        drawn.append(part[(place.lips > 0.2) & (place.depth < 0.12)].mean())
    assert drawn[1] < drawn[0] * 1.15
