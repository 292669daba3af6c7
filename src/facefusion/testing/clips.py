"""Generated clips with every oddity that real ones have."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from facefusion.media.generate import write_test_clip


def moving_square(width: int, height: int, number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A frame whose content tells its number: a gradient with a square that moves."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 // max(width, 1), rows * 255 // max(height, 1), np.full_like(rows, 90)], axis=-1)
    x = (number * 5) % max(width - 16, 1)
    pixels[height // 2 : height // 2 + 12, x : x + 12] = 255
    return pixels.astype(np.uint8)


def make_clip(
    path: Path,
    width: int = 160,
    height: int = 120,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    **options: Any,
) -> Path:
    """Write a clip of `moving_square` frames at exact times; options as in `write_test_clip`."""
    times = list(pts) if pts is not None else [number * 512 for number in range(20)]
    frames = [moving_square(width, height, number) for number in range(len(times))]
    write_test_clip(path, frames, times, time_base, **options)
    return path
