"""Turned heads: what networks say of them within their outline, and what hides them."""

import numpy as np
import pytest

from facefusion.analysers.maskers.embedded import EmbeddedMasker
from facefusion.imaging.masks import polygon, soften
from facefusion.plugins.protocols import EngineContext
from facefusion.processors.face_anonymiser.patch import PatchAnonymiser, pixelate_face
from facefusion.processors.masking import CropMasks, with_front, within_outline
from facefusion.recipe import MASK_REGIONS, Recipe
from facefusion.testing.fakes import make_face
from facefusion.types.crop import Crop
from facefusion.types.topology import FACE_OVAL

SIDE = 256
NOSE_TIP, UPPER_LIP = 1, 0
CHEEKS = {1: 50, -1: 280}
"""Middle of the cheek that is seen, by the sign of the yaw."""


def face_and_oval(yaw: float):
    """A face, and the mask that a network gives that has learnt the oval of its mesh."""
    face = make_face(centre=(128.0, 120.0), eye_distance=70.0, yaw=yaw)
    return face, polygon(face.mesh[list(FACE_OVAL), :2], SIDE, SIDE)


def at(mask: np.ndarray, face, point: int, inwards: float = 0.1) -> float:
    """A mask at a point of the mesh, a little towards the middle."""
    middle = face.mesh[:468, :2].mean(axis=0)
    x, y = np.rint(face.mesh[point, :2] + (middle - face.mesh[point, :2]) * inwards).astype(int)
    return float(mask[y, x])


@pytest.mark.parametrize("yaw", [45, 52, -45, -52])
def test_nose_and_lips_that_stand_out_over_the_oval_of_a_turned_head_are_face(yaw):
    face, oval = face_and_oval(yaw)
    assert at(oval, face, NOSE_TIP, 0) == 0, "or there is nothing to test"
    mask = within_outline(oval, face)
    assert at(mask, face, NOSE_TIP) > 0.95
    assert at(mask, face, UPPER_LIP) > 0.95


@pytest.mark.parametrize("yaw", [45, -45])
def test_what_lies_before_the_cheek_of_a_turned_head_is_still_before_it(yaw):
    face, oval = face_and_oval(yaw)
    x, y = np.rint(face.mesh[CHEEKS[int(np.sign(yaw))], :2]).astype(int)
    oval[y - 14 : y + 15, x - 14 : x + 15] = 0
    assert within_outline(oval, face)[y, x] < 0.05


@pytest.mark.parametrize("yaw", [0, 12, -20])
def test_a_head_from_the_front_has_no_more_than_its_oval(yaw):
    face, oval = face_and_oval(yaw)
    x, y = np.rint(face.mesh[NOSE_TIP, :2]).astype(int)
    oval[y - 10 : y + 11, x - 10 : x + 11] = 0
    outline = face.mesh[list(FACE_OVAL), :2]
    middle = outline.mean(axis=0)
    alone = soften(oval, inside=polygon(middle + (outline - middle) * np.float32(0.97), SIDE, SIDE))
    np.testing.assert_allclose(within_outline(oval, face), alone, atol=1e-6)


@pytest.mark.parametrize("yaw", [45, -52])
def test_what_another_network_says_of_a_turned_head_counts(yaw):
    face, _ = face_and_oval(yaw)
    mask = np.ones((SIDE, SIDE), dtype=np.float32)
    x, y = np.rint(face.mesh[UPPER_LIP, :2]).astype(int)
    mask[y - 7 : y + 22, x - 7 : x + 8] = 0
    told = within_outline(mask, face, knows_ovals=False)
    assert told[y + 4, x] < 0.05
    assert at(told, face, NOSE_TIP, 0) > 0.95


def test_a_profile_is_left_to_the_network_since_its_nose_is_not_where_the_mesh_says():
    face, oval = face_and_oval(70)
    assert at(within_outline(oval, face), face, NOSE_TIP) < 0.05


TURNS = [(yaw, pitch) for yaw in (0, 30, -45, 60, -75, 90) for pitch in (-25, 0, 30)]


@pytest.mark.parametrize(("yaw", "pitch"), TURNS)
@pytest.mark.parametrize("shape", ["disc", "box", "head"])
def test_all_of_a_face_is_hidden_whichever_way_its_head_is_turned(shape, yaw, pitch):
    face = make_face(centre=(256.0, 256.0), eye_distance=70.0, yaw=yaw, pitch=pitch)
    patch = PatchAnonymiser(pixelate_face, 1.0, is_box=shape == "box", is_head=shape == "head")
    pixels = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    crop = Crop(pixels, np.eye(2, 3, dtype=np.float32), face, np.ones((512, 512), np.float32))
    (hidden,) = patch.process([crop])
    x, y = np.rint(face.mesh[:468, :2]).astype(int).T
    assert hidden.alpha[y, x].min() > 0.99


@pytest.mark.parametrize("yaw", [50, -50])
def test_nose_and_lips_of_a_turned_head_get_a_packaged_face_too(yaw):
    face, oval = face_and_oval(yaw)
    assert at(oval, face, NOSE_TIP, 0.3) < 0.05, "or there is nothing to test"
    assert at(soften(with_front(oval, face)), face, NOSE_TIP, 0.3) > 0.95


@pytest.mark.parametrize(("regions", "front"), [(MASK_REGIONS, True), (("mouth", "upper-lip"), False)])
def test_regions_that_are_all_of_a_face_hold_what_stands_out_over_its_oval(monkeypatch, regions, front):
    face, oval = face_and_oval(50)
    monkeypatch.setattr(EmbeddedMasker, "mask", lambda self, crops, faces: [oval])
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    mask = CropMasks(EngineContext(Recipe(face_mask_regions=regions)), ["region"]).mask(pixels, pixels, face)
    assert (at(mask, face, NOSE_TIP, 0.3) > 0.9) is front
