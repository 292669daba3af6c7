"""The veil over a picture: haze, glare, a fade to white, a faded print. It lifts what is dark and takes contrast away.

In linear light a veiled picture is ``t * clear + veil``. Almost every picture of a face holds something near black
(pupils, nostrils, hair, a shadow), so what the darkest of it lacks to black is the veil.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.light import mean_of_channels, to_linear
from facefusion.types.frame import Pixels
from facefusion.types.topology import FACE_OVAL

FloatArray = npt.NDArray[np.float32]

_FACE_PX = 96
"""Height of the face at which the picture is looked at: grain and small sharp spots do not count."""
_AROUND_PX = 32
"""The same for what is around it."""
_DARKEST = 0.01
"""Share of the darkest pixels that is looked at."""
_BLACK = 0.015
"""What they have of the light of the skin without a veil, in the middle."""
FAINT = (0.1, 0.24)
"""The same, from which there begins to be a veil, and from which there is one. Of 98 photos 95 have less than 0.13."""
SURE = (0.22, 0.4)
"""The same where a veil too many is worse than one too few: blurred photos and white hair in the sun come up to 0.3."""
_DARK = (0.012, 0.04)
"""Linear light of the darkest pixels, from which the same holds: faces in the dark have little more."""
_MOST = 0.97
_MIX = 0.5
"""Share of fades made by editors, which add to sRGB values, over haze and glare, which add to light: both are common,
and the picture does not tell which it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Veil:
    """What lies over a picture.

    Attributes
    ----------
    light
        (3,) linear light that is added, red, green and blue.
    """

    light: FloatArray

    def weaker(self, share: float) -> Veil:
        """A share of it, 0 to 1."""
        return Veil(self.light * np.float32(share))

    def lift(self, pixels: Pixels) -> Pixels:
        """A veiled picture, (H, W, 3) sRGB bytes, as it would be without."""
        steps = np.arange(256)
        columns = [np.interp(steps, curve, steps) for curve in self._curves()]
        return _by_table(pixels, np.stack(columns, axis=-1))

    def lay(self, pixels: Pixels) -> Pixels:
        """A clear picture, (H, W, 3) sRGB bytes, under the veil."""
        return _by_table(pixels, np.stack(self._curves(), axis=-1))

    def lay_values(self, values: FloatArray) -> FloatArray:
        """The same of (H, W, 3) sRGB values of 0 to 255 that are not rounded."""
        steps = np.arange(256)
        columns = [np.interp(values[..., k], steps, curve) for k, curve in enumerate(self._curves())]
        return np.stack(columns, axis=-1).astype(np.float32)

    def _curves(self) -> list[npt.NDArray[np.float64]]:
        """Of each channel the sRGB bytes that come of 0 to 255, not rounded, rising."""
        steps = np.arange(256)
        linear = to_linear(steps.astype(np.uint8)).astype(np.float64)
        curves = []
        for light in self.light.astype(np.float64):
            hazy = _encode(light + (1 - self.light.max()) * linear)
            black = _encode(np.array(light))
            faded = black + (255 - _encode(np.array(self.light.max()))) / 255 * steps
            curves.append(_MIX * faded + (1 - _MIX) * hazy)
        return curves


def _encode(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear light to sRGB, 0 to 255, not rounded (IEC 61966-2-1)."""
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _by_table(pixels: Pixels, table: npt.NDArray[np.float64]) -> Pixels:
    steps = np.clip(table + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, np.ascontiguousarray(steps[None])), dtype=np.uint8)


def measure_black(pixels: Pixels, mesh: FloatArray) -> FloatArray:
    """(3,) linear light of the darkest that a picture shows of somebody and near by: clothes, hair, shadows.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB, the whole picture.
    mesh
        (478, 3) in its pixels.
    """
    height, width = pixels.shape[:2]
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    size = high - low
    x0, y0 = np.maximum((low - size * (1.0, 0.7)).astype(int), 0)
    x1, y1 = np.minimum((high + size * (1.0, 1.8)).astype(int) + 1, (width, height))
    if x1 <= x0 or y1 <= y0:
        return np.zeros(3, dtype=np.float32)
    scale = _AROUND_PX / max(float(size[1]), 1.0)
    step = max(int(0.5 / scale), 1)  # a large picture need not be read whole
    return _darkest(_reduced(np.ascontiguousarray(pixels[y0:y1:step, x0:x1:step]), scale * step))


def find_veil(
    pixels: Pixels, mesh: FloatArray, black: FloatArray | None = None, limits: tuple[float, float] = FAINT
) -> Veil | None:
    """The veil over a face and what is around it; None where the picture has none.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB: the face with some hair and surroundings.
    mesh
        (478, 3) in its pixels.
    black
        (3,) as of `measure_black`; None where it is not known.
    limits
        `FAINT` or `SURE`.

    References
    ----------
    He, Sun and Tang, Single Image Haze Removal Using Dark Channel Prior, 2009 (that something is always dark).
    """
    scale = min(1.0, _FACE_PX / max(float(np.ptp(mesh[:, 1])), 1.0))
    linear = _reduced(pixels, scale)
    oval = np.zeros(linear.shape[:2], np.uint8)
    cv2.fillPoly(oval, [np.round(mesh[list(FACE_OVAL), :2] * scale).astype(np.int32)], 1)
    if not oval.any():
        return None
    skin = _median(linear[oval > 0])
    darkest = _darkest(linear)
    if black is not None:
        darkest = np.minimum(darkest, black)
    share = float(darkest.mean() / max(float(skin.mean()), 1e-4))
    low, high = _DARK
    doubt = _rise((share - limits[0]) / (limits[1] - limits[0])) * _rise((float(darkest.mean()) - low) / (high - low))
    if doubt <= 0:
        return None
    found = np.clip((darkest - _BLACK * skin) / (1 - _BLACK), 0, _MOST) * doubt
    return Veil(found.astype(np.float32))


def _reduced(pixels: Pixels, scale: float) -> FloatArray:
    """Linear light of a picture made smaller."""
    height, width = pixels.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    return to_linear(np.asarray(small, dtype=np.uint8))


def _median(colours: FloatArray) -> FloatArray:
    """(3,) median of (N, 3) colours, each channel by itself."""
    # Each in one piece: along an axis of three it takes several times as long.
    return np.array([np.median(channel) for channel in np.ascontiguousarray(colours.T)], dtype=np.float32)


def _darkest(linear: FloatArray) -> FloatArray:
    """(3,) mean of the darkest pixels."""
    light = mean_of_channels(linear).ravel()
    count = max(int(_DARKEST * len(light)), 1)
    return np.asarray(linear.reshape(-1, 3)[np.argpartition(light, count - 1)[:count]].mean(axis=0), dtype=np.float32)


def _rise(value: float) -> float:
    clipped = min(max(value, 0.0), 1.0)
    return clipped * clipped * (3 - 2 * clipped)
