"""That what is known of faces is asked when textures are made and drawn, too: every mechanism tells in the outcome."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.integration.test_appearance import make_swapper, person
from tests.integration.test_eyes import RINGS, disc_of, ring_of, with_openings
from tests.integration.test_lips import LIP, LOWER, UPPER
from tests.unit.test_smile import smiling

from facefusion.imaging.texture import blur
from facefusion.models.pose import estimate_pose
from facefusion.processors.face_swapper import appearance
from facefusion.processors.face_swapper import eyes as eyes_module
from facefusion.processors.face_swapper import mesh as mesh_module
from facefusion.processors.face_swapper.appearance import Completer, Fineness
from facefusion.processors.face_swapper.lips import find_own_lips, openness, with_own_lips
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.processors.face_swapper.smile import smile_of, without_folds
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face
from facefusion.types.topology import (
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    RIGHT_IRIS,
)

SIZE = 512


@pytest.fixture(scope="module")
def swapper() -> MeshSwapper:
    return make_swapper()


@pytest.fixture(scope="module")
def photo() -> SourceFace:
    return person(2)


def of(pixels: np.ndarray, mesh: np.ndarray) -> SourceFace:
    return SourceFace(pixels, Face(mesh, 1.0, estimate_pose(mesh)))


def test_folds_are_asked_of_the_target_when_it_is_drawn(swapper, photo):
    mesh = photo.face.mesh
    grin = smiling(mesh)
    assert smile_of(mesh) < 0.2 < 0.9 < smile_of(grin)
    pixels = photo.pixels.copy()
    unit = float(np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2]))
    for corner, side in ((grin[MOUTH_LEFT, :2], -1), (grin[MOUTH_RIGHT, :2], 1)):
        ends = corner + np.array([[side * 0.05, -0.4], [side * 0.16, 0.1]]) * unit
        cv2.line(
            pixels, *(tuple(map(int, end)) for end in ends), (120, 80, 65), max(round(unit * 0.06), 2), cv2.LINE_AA
        )
    swapper.prepare([of(pixels, grin)])
    # The same lips are drawn, only the smile is another one.
    calm, _, _ = swapper._draw(photo.pixels, photo.face)
    glad, alpha, (x0, y0) = swapper._draw(photo.pixels, photo.face, grin)
    change = (calm.astype(int) - glad).mean(axis=-1) * (alpha > 0.5)
    x, y = np.rint(mesh[MOUTH_LEFT, :2] - (x0, y0)).astype(int)
    reach = round(unit * 0.4)
    beside = change[y - reach : y + reach // 2, x - reach : x]
    assert beside.max() > 8


def test_dimples_go_with_the_folds(swapper):
    x, y = np.rint(swapper._plane.points[MOUTH_LEFT]).astype(int)
    detail = np.zeros((SIZE, SIZE, 3), np.float32)
    dimple = slice(y - 2, y + 3), slice(x - 9, x - 4)  # as fine as pores, where folds are none
    detail[dimple] = -0.5
    assert without_folds(detail, swapper._plane, None)[dimple].mean() > -0.3


class RimsAlone:
    """Masks that are too soft for frames of glasses, and lines that are not."""

    def mask(self, crops, faces):
        return [np.ones(crop.shape[:2], np.float32) for crop in crops]

    def mask_with_lines(self, crops, faces):
        (bare,), mesh = self.mask(crops, faces), faces[0].mesh
        unit = float(np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2]))
        for iris in (LEFT_IRIS, RIGHT_IRIS):
            cv2.circle(bare, tuple(map(int, mesh[iris, :2])), round(0.36 * unit), 0.0, max(round(0.04 * unit), 2))
        return [(np.ones_like(bare), bare)]


def test_frames_of_glasses_cover_a_texture(swapper, photo):
    completer = Completer(swapper._completer._session, RimsAlone())
    covered = completer.find_covered(photo, swapper._plane, completer.find_rims(photo))
    assert completer.find_rims(photo) is not None
    assert (covered > 0.9).sum() > 2000


@pytest.fixture(scope="module")
def texture(swapper, photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a photo shows without broad light, how squarely, and what hides it: as `Completer.complete` gets it."""
    log, seen, hidden, _ = swapper._join([photo], [np.zeros((SIZE, SIZE), np.float32)])
    return (log - blur(log, 60.0)).astype(np.float32), seen, hidden


def test_grain_of_a_texture_is_that_of_skin(swapper, texture):
    detail, seen, hidden = texture
    noise = np.random.default_rng(3).normal(0, 0.25, (SIZE, SIZE, 1))
    grainy = (detail + noise * (swapper._plain > 0.5)[..., None]).astype(np.float32)
    made = swapper._completer.complete(grainy, seen, hidden, swapper._plain).detail
    skin = (swapper._plain > 0.95) & (swapper._cover > 0.9) & (seen > 0.5)
    grain = (made - blur(made, 1.0)).mean(axis=-1)[skin].std()
    assert grain < 0.1


def test_shade_of_hair_beside_cheeks_goes(swapper, texture):
    detail, seen, hidden = texture
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    aside = np.abs(columns - 0.5) * 2
    shade = np.clip((aside - 0.4) / 0.05, 0, 1) * np.clip((rows - 0.43) / 0.05, 0, 1)
    made = swapper._completer.complete((detail - 0.8 * shade[..., None]).astype(np.float32), seen, hidden).detail
    cheek = (shade == 1) & (aside < 0.5) & (rows < 0.65)
    # Farther out nothing of a photo is drawn anyway, and what is dark beside brows goes by itself.
    assert np.quantile(made.mean(axis=-1)[cheek], 0.1) > -0.25


def test_features_of_a_small_photo_are_sharper(swapper, texture, monkeypatch):
    features = (swapper._plain < 0.05) & (swapper._cover > 0.9)
    edges = []
    for share in (appearance.SHARPENED, 0.0):
        monkeypatch.setattr(appearance, "SHARPENED", share)
        made = swapper._completer.complete(*texture, swapper._plain, Fineness(120.0)).detail
        edges.append((made - blur(made, 4.0)).mean(axis=-1)[features].std())
    assert edges[0] > 1.3 * edges[1]


def test_lips_that_are_taken_from_a_photo_become_whole(swapper, photo):
    """Those that are pressed together show skin."""
    pixels, mesh = photo.pixels.copy(), photo.face.mesh
    ring = np.rint(mesh[list(LIPS_OUTER), :2] * 16).astype(np.int32)
    cv2.fillPoly(pixels, [ring], (190, 150, 130), cv2.LINE_AA, 4)
    place = swapper._mouth_place
    part = swapper._complete([of(pixels, mesh)], swapper._completer).detail[place.rows, place.columns]
    amid = (place.lips > 0.95) & (np.abs(place.depth - 0.5) < 0.15)
    for is_lower in (False, True):
        red, green, _ = part[amid & (place.is_lower == is_lower)].mean(axis=0)
        assert red - green > 0.1


def test_two_lids_are_drawn_together(swapper, photo, monkeypatch):
    swapper.prepare([photo])
    given, found = [], mesh_module.find_openings
    monkeypatch.setattr(mesh_module, "find_openings", lambda *args: given.append(args[-1]) or found(*args))
    face = replace(photo.face, mesh=with_openings(photo.face.mesh, (0.12, 0.52)))
    swapper._draw(photo.pixels, face)
    ((left, right),) = given
    assert left == pytest.approx(right, abs=0.06)


def test_irises_of_a_photo_are_looked_for_near_those_of_its_mesh(swapper, photo):
    """A corner in the shade is darker than a light iris."""
    mesh, pixels = photo.face.mesh, photo.pixels.astype(float)
    for ring, iris in RINGS:
        inside = ring_of(mesh, ring, pixels.shape[:2])
        pixels[inside] = (205, 195, 185)
        pixels[inside & disc_of(mesh, iris, 1.0, pixels.shape[:2])] = (120, 115, 110)
        pixels[inside & disc_of(mesh, iris, 1.0, pixels.shape[:2], 1.5)] *= 0.4
    taken = swapper._complete([of(pixels.astype(np.uint8), mesh)], swapper._completer)
    own = taken.appearance.own
    assert abs(eyes_module._aside_of_both(taken.detail, own, mesh, swapper._plane, swapper._eyes)) < 0.55


def test_lips_keep_their_relief_where_a_target_is_burnt_out(swapper, photo):
    swapper.prepare([photo])
    bright = np.full_like(photo.pixels, 250)
    relief = swapper._measure_light(bright, photo.face, swapper._prepared, None)[2]
    assert relief[swapper._red > 0.9].mean() > relief[swapper._skin > 0.9].mean() + 0.3


def test_a_tongue_deep_in_a_mouth_is_no_lip(photo):
    mesh, pixels = photo.face.mesh.copy(), photo.pixels.copy()
    length = float(np.linalg.norm(mesh[LIPS_INNER[0], :2] - mesh[LIPS_INNER[10], :2]))
    apart = np.array([0, 0.4 * length, 0], np.float32) * np.sin(np.linspace(0.1, 0.9, 9) * np.pi)[:, None]
    for inner, outer, way in ((UPPER, LIPS_OUTER[1:10], -1), (LOWER, LIPS_OUTER[:10:-1], 1)):
        mesh[inner] += way * apart
        mesh[list(outer)] += way * apart
    cv2.fillPoly(pixels, [np.rint(mesh[list(LIPS_OUTER), :2] * 16).astype(np.int32)], LIP, cv2.LINE_AA, 4)
    found = find_own_lips(pixels, mesh)
    assert found[:, 3:6].max() < 0.35
    assert openness(with_own_lips(mesh, found)) == 1
