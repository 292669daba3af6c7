"""Skin of a source without what is not its own: grain of the film, and the shade of hair beside cheeks."""

import numpy as np
import pytest

from facefusion.imaging.texture import blur
from facefusion.processors.face_swapper.appearance import (
    FACE_OF_SIDE,
    GRAINS,
    SHADED,
    SIZE,
    USUAL_BLUR,
    Fineness,
    _shade_on_cheeks,
    _sharpened,
    _with_less_grain,
)
from facefusion.processors.face_swapper.mesh import SHARPER

SIDE = 512


def grain(detail: np.ndarray, low: float, high: float) -> float:
    """Standard deviation of what is between two widths."""
    fine = blur(detail, low) if low > 0 else detail
    return float((fine - blur(detail, high)).mean(axis=-1)[100:400, 100:400].std())


@pytest.mark.parametrize("strength", [0.005, 0.2])
def test_skin_has_no_more_grain_than_skin_has(strength):
    rng = np.random.default_rng(1)
    noise = rng.normal(0, strength, (SIDE, SIDE, 1)).astype(np.float32)
    coarse = blur(rng.normal(0, strength * 4, (SIDE, SIDE, 1)).astype(np.float32), 1.0)[..., None]
    detail = np.repeat(noise + coarse, 3, axis=2)
    less = _with_less_grain(detail, np.ones((SIDE, SIDE), np.float32))
    for low, high, most in GRAINS:
        was, rest = grain(detail, low, high), grain(less, low, high)
        if strength < 0.1:
            assert rest == pytest.approx(was, rel=0.02), "what skin has stays"
        else:
            assert was > 0.9 * most
            assert rest < 0.85 * was
    np.testing.assert_array_equal(_with_less_grain(detail, np.zeros((SIDE, SIDE), np.float32)), detail)


def test_grain_of_shadows_goes_and_the_lit_half_stays():
    rng = np.random.default_rng(2)
    strength = np.where(np.arange(SIDE) < SIDE / 2, 0.2, 0.01)[None, :, None]
    detail = np.repeat(rng.normal(0, 1, (SIDE, SIDE, 1)) * strength, 3, axis=2).astype(np.float32)
    less = _with_less_grain(detail, np.ones((SIDE, SIDE), np.float32))
    assert less[:, :200].std() < 0.4 * detail[:, :200].std()
    assert np.abs(less - detail)[:, 320:].max() < 1e-3


def test_the_shade_of_hair_beside_cheeks_goes_and_beards_stay():
    whole = np.zeros((SIZE, SIZE, 3), np.float32)
    side = round(SIZE * (0.5 + 0.47 / 2))
    whole[:, side - 6 : side + 7] = -0.5
    whole[:, SIZE // 2 - 6 : SIZE // 2 + 7] = -0.5
    nowhere = np.zeros((SIZE, SIZE), np.float32)
    shade = _shade_on_cheeks(whole, nowhere)
    cheek, eyes = round(SIZE * 0.55), round(SIZE * 0.3)
    assert -0.5 - float(shade[cheek, side]) == pytest.approx(SHADED, abs=0.03)
    assert shade[eyes, side] == 0
    assert shade[cheek, SIZE // 2] == 0
    assert np.abs(_shade_on_cheeks(whole, nowhere + 1)).max() == 0


@pytest.mark.parametrize("height", [100.0, 210.0, 400.0])
def test_features_of_small_photos_are_sharper_by_what_is_reckoned_with(height):
    edge = np.zeros((SIDE, SIDE, 3), np.float32)
    edge[:, SIDE // 2 :] = 0.3
    soft = blur(edge, USUAL_BLUR * FACE_OF_SIDE * SIDE / height)
    fineness = Fineness(height)
    slopes = []
    for skin in (0.0, 1.0):
        made = _sharpened(soft, np.full((SIDE, SIDE), skin, np.float32), fineness)
        slopes.append(float(np.diff(made[SIDE // 2, :, 0]).max() / np.diff(soft[SIDE // 2, :, 0]).max()))
    assert slopes[0] == pytest.approx(1 + SHARPER * fineness.sharpened, rel=0.03)
    assert slopes[1] - 1 < 0.2 * (slopes[0] - 1) + 1e-6, "skin hardly"
    assert (slopes[0] > 1.05) == (height < 300)
