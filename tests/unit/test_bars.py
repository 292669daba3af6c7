"""Black bars beside a film."""

import numpy as np
import pytest

from facefusion.imaging.boxes import within_bars


def picture(height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(1).integers(60, 220, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("bars", [(0, 0, 0, 0), (14, 13, 0, 0), (0, 0, 20, 21), (9, 0, 0, 0), (4, 5, 6, 7)])
def test_bars_are_found_on_every_side_and_noise_in_them_is_none(bars):
    top, bottom, left, right = bars
    pixels = picture()
    height, width = pixels.shape[:2]
    noise = np.random.default_rng(2).integers(0, 24, pixels.shape, dtype=np.uint8)
    inside = np.zeros((height, width), bool)
    inside[top : height - bottom, left : width - right] = True
    pixels[~inside] = noise[~inside]
    assert within_bars(pixels) == (left, top, width - right, height - bottom)


def test_what_is_black_all_over_has_no_bars_and_dark_pictures_are_no_bar():
    black = np.zeros((40, 60, 3), np.uint8)
    assert within_bars(black) == (0, 0, 60, 40)
    black[20, 30] = 200
    assert within_bars(black) == (30, 20, 31, 21)
    dark = np.full((40, 60, 3), 40, np.uint8)
    assert within_bars(dark) == (0, 0, 60, 40)
