"""The tone of a new face beside that of its head, under light of all kinds, on people who do not exist."""

import cv2
import numpy as np
import pytest

from facefusion.imaging.crops import cut_native
from facefusion.imaging.light import limit_gain, to_lab, to_linear, to_srgb
from facefusion.imaging.resample import decode
from facefusion.metrics.tone import tone_step
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face, Pose
from facefusion.types.topology import LEFT_EYE, LIPS_OUTER, RIGHT_EYE

LIGHTS = {
    "as it is": (1.0, 1.0, 1.0),
    "orange": (1.5, 0.7, 0.12),
    "blue": (0.2, 0.5, 1.3),
    "green": (0.35, 1.0, 0.3),
    "overexposed": (3.2, 3.0, 2.8),
    "night": (0.018, 0.02, 0.03),
    "dim and warm": (0.16, 0.09, 0.04),
}


def person(number: int) -> tuple[np.ndarray, Face]:
    held = load_synthetic_faces()[number]
    return decode(held.jpeg), Face(held.mesh, 1.0, Pose(0.0, 0.0, 0.0))


def lit(pixels: np.ndarray, light: tuple[float, float, float]) -> np.ndarray:
    """The same person in other light: what is brighter than white is lost."""
    return to_srgb(to_linear(pixels) * np.float32(light))


def tinted(pixels: np.ndarray, share: float) -> np.ndarray:
    """The same person with darker skin, hair and all."""
    return to_srgb(to_linear(pixels) * np.float32([share, share**1.25, share**1.45]))


def swapped(source: tuple[np.ndarray, Face], target: tuple[np.ndarray, Face]) -> np.ndarray:
    swapper = MeshSwapper()
    swapper.prepare([SourceFace(*source)])
    crop = cut_native(*target, room=0.3)
    (done,) = swapper.process([crop])
    pixels = target[0].copy()
    x, y = (-crop.crop_from_frame[:, 2]).astype(int)
    height, width = done.alpha.shape
    pixels[y : y + height, x : x + width] = done.visible()
    return pixels


def step(source: np.ndarray, target: np.ndarray, numbers: tuple[int, int]) -> float:
    one, other = (person(k)[1] for k in numbers)
    return tone_step(target, swapped((source, one), (target, other)), other.mesh)


PAIRS = ((0, 1), (17, 8))
CHANGES = [
    *(("as it is", on) for on in LIGHTS),
    *((of, "as it is") for of in LIGHTS if of != "as it is"),
    ("orange", "blue"), ("blue", "overexposed"), ("dim and warm", "overexposed"), ("green", "night"),
    ("orange", "green"),
]  # fmt: skip


@pytest.mark.parametrize(("of", "on"), CHANGES)
def test_a_face_has_the_tone_of_its_head_whatever_the_light(of, on):
    found = [step(lit(person(a)[0], LIGHTS[of]), lit(person(b)[0], LIGHTS[on]), (a, b)) for a, b in PAIRS]
    assert np.nanmean(np.maximum(found, 0)) < 1.0
    assert np.nanmax(found) < 3.0


@pytest.mark.parametrize(("of", "on"), [(0.22, 1.0), (1.0, 0.22), (0.1, 1.8)])
def test_dark_skin_on_light_and_light_on_dark_leave_no_patch(of, on):
    found = [step(tinted(person(a)[0], of), tinted(person(b)[0], on), (a, b)) for a, b in PAIRS]
    assert np.nanmax(found) < 3.0


def test_a_head_without_colour_gets_a_face_without_colour_and_the_other_way_round():
    for a, b in PAIRS:
        source, target = person(a)[0], person(b)[0]
        grey = np.repeat(target.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
        assert step(source, grey, (a, b)) < 2.0
        new = swapped((source, person(a)[1]), (grey, person(b)[1]))
        assert np.abs(to_lab(new)[..., 1:]).max() < 4
        assert step(np.repeat(source.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8), target, (a, b)) < 3.0


def test_a_strong_change_of_light_keeps_its_colour():
    change = np.array([[[5.0, 3.0, 1.0], [0.5, 0.2, -0.4], [-9.0, -8.0, -7.0]]], np.float32)
    limited = limit_gain(change, 6.0, 1.6)
    np.testing.assert_allclose(limited.mean(axis=-1), [[1.6, 0.1, -6.0]], atol=1e-6)
    np.testing.assert_allclose(
        limited - limited.mean(axis=-1, keepdims=True), change - change.mean(axis=-1, keepdims=True), atol=1e-5
    )


def test_a_patch_of_another_tone_is_seen_and_an_even_face_is_not():
    pixels, face = person(3)
    assert tone_step(pixels, pixels, face.mesh) == 0
    patch, _ = person(3)
    outline = face.mesh[:468, :2]
    low, high = outline.min(axis=0).astype(int), outline.max(axis=0).astype(int)
    inside = patch[low[1] : high[1], low[0] : high[0]]
    patch[low[1] : high[1], low[0] : high[0]] = to_srgb(to_linear(inside) * np.float32([1.2, 1.0, 0.5]))
    assert tone_step(pixels, patch, face.mesh) > 5


def test_a_picture_without_skin_around_the_face_has_no_tone_step():
    pixels, face = person(3)
    alone = np.zeros_like(pixels)
    outline = face.mesh[:468, :2]
    low, high = outline.min(axis=0).astype(int), outline.max(axis=0).astype(int)
    middle, half = (low + high) // 2, (high - low) // 3
    part = (slice(middle[1] - half[1], middle[1] + half[1]), slice(middle[0] - half[0], middle[0] + half[0]))
    alone[part] = pixels[part]
    assert np.isnan(tone_step(alone, alone, face.mesh))


def toned(pixels: np.ndarray, dark: tuple[float, ...], white: tuple[float, ...]) -> np.ndarray:
    """The same person as a print of one colour."""
    grey = (pixels @ np.array([0.299, 0.587, 0.114]) / 255)[..., None]
    return np.clip(np.array(dark) + (np.array(white) - np.array(dark)) * grey, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("dark", "white"),
    [((40, 22, 10), (255, 238, 205)), ((15, 25, 45), (235, 250, 255)), ((0, 0, 0), (255, 215, 165))],
    ids=["sepia", "blue", "tinted"],
)
def test_a_print_of_one_colour_gets_a_face_of_that_colour(dark, white):
    def off(new: np.ndarray, mesh: np.ndarray) -> float:
        """How far lips and eyes are from what a print makes of their brightness, levels."""
        low, high = (np.array(colour) @ np.array([0.299, 0.587, 0.114]) for colour in (dark, white))
        grey = (new @ np.array([0.299, 0.587, 0.114]) - low) / (high - low) * 255
        plain = np.repeat(np.clip(grey, 0, 255)[..., None], 3, axis=-1)
        away = np.abs(new - toned(plain, dark, white).astype(float)).max(axis=-1)
        mask = np.zeros(away.shape, np.uint8)
        for ring in (LIPS_OUTER, LEFT_EYE, RIGHT_EYE):
            cv2.fillPoly(mask, [np.round(mesh[list(ring), :2]).astype(np.int32)], 1)
        return float(np.quantile(away[mask > 0], 0.8))

    for a, b in PAIRS:
        pixels, face = person(b)
        found = off(swapped(person(a), (toned(pixels, dark, white), face)), face.mesh)
        assert found < 9  # with the source's own colours up to 20
