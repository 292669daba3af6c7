"""Frames of glasses stay before a new face, and what one sees through clear ones is the new face."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facefusion.imaging.glasses import worn_of
from facefusion.imaging.resample import decode
from facefusion.models.pose import estimate_pose
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine, models_behind
from facefusion.processors.masking import CropMasks
from facefusion.recipe import Recipe
from facefusion.types.face import Face
from facefusion.types.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

PEOPLE = (2, 5, 11, 17, 23)
FRAMES = {"black": (20, 20, 25, 0.09, 0.8), "brown": (90, 55, 30, 0.06, 0.75), "gold": (190, 160, 95, 0.04, 0.5)}
"""Colour, width over the distance of the eyes, and how much of it must stay; gold is hardly unlike skin."""


def load_person(number: int) -> tuple[np.ndarray, Face]:
    found = load_synthetic_faces()[number]
    mesh = found.mesh.astype(np.float32)
    return decode(found.jpeg).copy(), Face(mesh, 1.0, estimate_pose(mesh))


def put_on(pixels: np.ndarray, face: Face, kind: str, lens: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Glasses on a face: the picture, and (H, W) bool of the frame and of the lenses within it."""
    mesh = face.mesh
    *colour, share, _ = FRAMES[kind]
    unit = float(np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2]))
    frame, lenses = np.zeros(pixels.shape[:2], np.float32), np.zeros(pixels.shape[:2], np.float32)
    width = max(round(unit * share), 1)
    axes = (round(unit * 0.43), round(unit * 0.34))
    for eye in (LEFT_IRIS, RIGHT_IRIS):
        middle = tuple(int(v) for v in np.round(mesh[eye, :2] + (0, unit * 0.06)))
        cv2.ellipse(lenses, middle, axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
        cv2.ellipse(frame, middle, axes, 0, 0, 360, 1.0, width, cv2.LINE_AA)
    out = pixels + (np.float32([15, 15, 18]) - pixels) * (lens * lenses)[..., None]
    out = out + (np.float32(colour) - out) * frame[..., None]
    return out.astype(np.uint8), frame > 0.6, (lenses > 0.5) & (cv2.dilate(frame, np.ones((5, 5))) < 0.1)


def openings(face: Face, shape: tuple[int, ...]) -> np.ndarray:
    inside = np.zeros(shape[:2], np.uint8)
    for eye in (LEFT_EYE, RIGHT_EYE):
        cv2.fillPoly(inside, [np.round(face.mesh[list(eye), :2]).astype(np.int32)], 1)
    return inside > 0


@pytest.fixture(scope="module")
def masks() -> CropMasks:
    return CropMasks(EngineContext(Recipe()), ["occlusion"])


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_stay_and_eyes_are_seen_through_clear_lenses(masks, kind):
    kept, seen = [], []
    for number in PEOPLE:
        pixels, face = load_person(number)
        worn, frame, _ = put_on(pixels, face, kind)
        mask = masks.mask(worn, worn, face, has_outline=True)
        kept.append(1 - mask[frame].mean())
        seen.append(mask[openings(face, mask.shape) & ~frame].mean())
    assert np.mean(kept) > FRAMES[kind][-1], kept
    assert np.mean(seen) > 0.9, seen


def test_nothing_is_seen_through_dark_lenses(masks):
    for number in PEOPLE:
        pixels, face = load_person(number)
        worn, frame, lenses = put_on(pixels, face, "black", lens=0.97)
        mask = masks.mask(worn, worn, face, has_outline=True)
        assert mask[lenses | frame].mean() < 0.15


def test_who_wears_none_is_not_looked_at_again():
    occluder = build_engine("face_occluder", "embedded", EngineContext(Recipe()))
    for number in PEOPLE:
        pixels, face = load_person(number)
        ((mask, lines),) = occluder.mask_with_lines([pixels], [face])
        assert lines is None
        np.testing.assert_array_equal(mask, occluder.mask([pixels], [face])[0])


@pytest.mark.parametrize("kind", FRAMES)
def test_pass_1_tells_who_wears_glasses_and_whether_they_are_dark(kind):
    occluder = build_engine("face_occluder", "embedded", EngineContext(Recipe()))
    bare, worn, dark = [], [], []
    for number in PEOPLE:
        pixels, face = load_person(number)
        bare.append(occluder.see_glasses(pixels, face))
        worn.append(occluder.see_glasses(put_on(pixels, face, kind)[0], face))
        dark.append(occluder.see_glasses(put_on(pixels, face, kind, lens=0.97)[0], face))
    assert worn_of(np.array(bare, np.float16))[0] == 0
    np.testing.assert_array_equal(worn_of(np.array(worn, np.float16)), [1, 0])
    np.testing.assert_array_equal(worn_of(np.array(dark, np.float16)), [1, 1])


def test_of_glasses_that_are_known_to_be_clear_the_lens_that_shines_is_clear_too(masks):
    seen, kept, alone = [], [], []
    for number in PEOPLE:
        pixels, face = load_person(number)
        worn, frame, lenses = put_on(pixels, face, "black")
        half = lenses & (np.arange(lenses.shape[1]) > face.mesh[1, 0])
        worn[half] = (0.15 * worn[half] + 0.85 * np.float32([120, 130, 140])).astype(np.uint8)
        there = openings(face, half.shape) & half
        known = replace(face, glasses=(1.0, 0.0))
        mask = masks.mask(worn, worn, known, has_outline=True)
        seen.append(mask[there].mean())
        kept.append(1 - mask[frame].mean())
        alone.append(masks.mask(worn, worn, face, has_outline=True)[there].mean())
    assert np.mean(seen) > 0.75 > np.mean(alone), (seen, alone)
    assert np.mean(kept) > 0.7, kept


def test_who_is_known_to_wear_none_gets_no_lines(masks):
    for number in PEOPLE:
        pixels, face = load_person(number)
        worn, frame, _ = put_on(pixels, face, "black")
        mask = masks.mask(worn, worn, replace(face, glasses=(0.0, 0.0)), has_outline=True)
        assert mask[frame].mean() > 0.7


def test_other_occluders_know_no_lines():
    class Plain:
        def mask(self, crops, faces):
            return [np.full(crop.shape[:2], 0.5, np.float32) for crop in crops]

    pixels, face = load_person(PEOPLE[0])
    found = CropMasks(EngineContext(Recipe()), ["occlusion"])
    found._occluder = Plain()
    assert found.mask(pixels, pixels, face).max() < 1e-6


def test_both_networks_are_named_where_the_occluder_runs():
    found = [spec.id for spec in models_behind("face_occluder", "embedded", EngineContext(Recipe()))]
    assert found == ["face_occluder_embedded", "face_glasses_embedded"]
