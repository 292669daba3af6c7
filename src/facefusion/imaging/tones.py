"""Textures in bytes, and the light they are shown in as a straight line over them.

A texture byte is ``exp(EXPONENT * detail)`` on a scale of its own. Of one detail under one light an eye sees
``encode(exp(detail * relief + light))``, which over such bytes is very nearly a straight line: off by about a level of
255 from deep shadows to highlights. Light varies slowly, so the line is found for a reduced picture and enlarged, and a
face is drawn by one look-up of bytes, one multiplication and one addition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.light import from_log_exactly
from facefusion.imaging.resample import stack
from facefusion.imaging.texture import SurfaceView, enlarged, look_up_at

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

EXPONENT = 0.42
_DARK = -1.2
"""Detail, natural logarithm of light over that around it, of the second point of the line: brows, nostrils, lashes."""
_BRIGHTEST = (0.4, 1.4)
"""Least and largest detail that becomes 255."""
_STRIP_PX = 32
"""Rows that are drawn at a time."""
_SHARE_ABOVE = 0.001
"""Share of a texture's values that may be brighter than that."""


def brightest(detail: FloatArray, alpha: FloatArray) -> float:
    """The detail that becomes 255: most of the bytes for what is there, and next to nothing cut off.

    Parameters
    ----------
    detail
        (S, S, 3) logarithm of linear light without light of its own.
    alpha
        (S, S) where it is drawn, 0 to 1.
    """
    drawn = detail[alpha > 0]
    if not drawn.size:
        return _BRIGHTEST[0]
    return float(np.clip(np.quantile(drawn, 1 - _SHARE_ABOVE), *_BRIGHTEST))


def to_tones(detail: FloatArray, cover: FloatArray, top: float) -> Pixels:
    """(S, S, 4) bytes of a texture, its alpha last.

    Parameters
    ----------
    detail
        (S, S, 3) logarithm of linear light without light of its own.
    cover
        (S, S) alpha, 0 to 1.
    top
        As of `brightest`.
    """
    tones = np.exp(EXPONENT * (detail - np.float32(top)))
    values = np.concatenate([tones, cover[..., None]], axis=-1) * np.float32(255)
    return np.asarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


Change = tuple[slice, slice, npt.NDArray[np.int16]]
"""Where a texture is another one, and what to add to its bytes for that."""


def change_to(tones: Pixels, other: Pixels) -> Change:
    """What makes one texture another of its size."""
    differs = (tones != other).any(axis=-1)
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    down, across = (slice(int(k[0]), int(k[-1]) + 1) if len(k) else slice(0, 1) for k in (rows, columns))
    return down, across, other[down, across].astype(np.int16) - tones[down, across]


def changed(tones: Pixels, change: Change, share: float) -> Pixels:
    """A texture on its way to another, 0 to 1."""
    rows, columns, more = change
    made = tones.copy()
    made[rows, columns] = cv2.addWeighted(tones[rows, columns], 1, more, share, 0, dtype=cv2.CV_8U)
    return made


def find_line(
    light: FloatArray, relief: FloatArray, top: float, seen_through: Callable[[FloatArray], FloatArray] | None = None
) -> tuple[FloatArray, FloatArray]:
    """What to multiply bytes of a texture by and what to add, so that they become bytes of a picture.

    Parameters
    ----------
    light
        (h, w, 3) logarithm of linear light.
    relief
        (h, w) factor for the texture's detail.
    top
        As of `brightest`.
    seen_through
        What becomes of (h, w, 3) sRGB values of 0 to 255 before they are seen, for instance by haze.

    Returns
    -------
    Gains and offsets, (h, w, 3) each.
    """
    values = [from_log_exactly(light + relief[..., None] * np.float32(detail)) for detail in (0.0, _DARK)]
    if seen_through is not None:
        values = [seen_through(value) for value in values]
    plain, dark = (np.float32(255 * np.exp(EXPONENT * (detail - top))) for detail in (0.0, _DARK))
    gains = (values[0] - values[1]) / (plain - dark)
    return gains, values[0] - gains * plain


@dataclass(frozen=True, slots=True, eq=False)
class Lit:
    """A surface with its texture and its light.

    Attributes
    ----------
    levels
        Two levels of a texture of tones, one after the other coarser, or one.
    further
        How much of the second level is mixed in, 0 to 1.
    top
        As of `brightest`.
    tint
        Share of the colours of its detail that is shown.
    gains, offsets
        (h, w, 3) as of `find_line`.
    fade
        (h, w) factor for alpha.
    """

    levels: tuple[Pixels, ...]
    further: float
    top: float
    tint: float
    gains: FloatArray
    offsets: FloatArray
    fade: FloatArray


def draw(lit: Lit, view: SurfaceView, plane_size: int) -> tuple[Pixels, FloatArray]:
    """A surface as a picture.

    Parameters
    ----------
    lit
        What is drawn.
    view
        Where each pixel of the picture looks. Its reduced picture has the size of the light.
    plane_size
        Side of the plane of the texture in pixels.

    Returns
    -------
    (H, W, 3) bytes, rounded and clipped, and (H, W) alpha, 0 to 1.
    """
    width, height = view.size
    pixels, alpha = np.empty((height, width, 3), dtype=np.uint8), np.empty((height, width), dtype=np.float32)
    rows = len(view.where)
    factors = stack(lit.gains, lit.fade)
    tall = max(_STRIP_PX // view.step, 1)
    for first in range(0, rows, tall):
        # Strip by strip, so that what is made in between stays in the cache; with a row of room for interpolation.
        low, high = max(first - 1, 0), min(first + tall + 1, rows)
        smooth: tuple[FloatArray, ...] = (view.where, factors, lit.offsets)
        parts = (enlarged(values[low:high], view.step) for values in smooth)
        begin, end = (first - low) * view.step, (min(first + tall, rows) - low) * view.step
        top = first * view.step
        end = min(end, begin + height - top)
        where, more, added = (part[begin:end, :width] for part in parts)
        values = cv2.multiply(_tones(lit, where, plane_size), more, dtype=cv2.CV_32F)
        into = slice(top, top + end - begin)
        cv2.add(cv2.cvtColor(values, cv2.COLOR_RGBA2RGB), added, dst=pixels[into], dtype=cv2.CV_8U)
        np.multiply(cv2.extractChannel(values, 3), np.float32(1 / 255), out=alpha[into])
    return pixels, alpha


def _tones(lit: Lit, where: FloatArray, plane_size: int) -> npt.NDArray[Any]:
    """(H, W, 4) tones of the texture at (H, W, 2) places; floats where they are a mean."""
    plain = int(255 * np.exp(-EXPONENT * lit.top) + 0.5)
    outside = (plain, plain, plain, 0)
    tones: Any = look_up_at(lit.levels[0], where, plane_size, outside)
    if lit.further > 0:
        other = look_up_at(lit.levels[1], where, plane_size, outside)
        # Not rounded: of two values that differ by one a rounded mean is either.
        tones = cv2.addWeighted(tones, 1 - lit.further, other, lit.further, 0, dtype=cv2.CV_32F)
    if lit.tint < 1:
        matrix = np.eye(4, dtype=np.float32)
        matrix[:3, :3] = np.eye(3) * lit.tint + (1 - lit.tint) / 3
        tones = cv2.transform(tones, matrix)
    return np.asarray(tones)
