"""How far a face is smeared in a single frame: by its motion while the shutter was open, or a moment out of focus.

`measure_finish` says how soft a shot is; this says what one frame has more of it than the frames around it have. Faces
differ, so nothing can be said of one picture: what is measured is compared with what the same face usually shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]

SIDE, HEIGHT = 96, 128.0
"""Side of the part of a face that is measured, and height that the face has there, pixels."""
LEAST_PX = 50.0
"""Height of a face below which nothing can be said."""
RADII = (0.03, 0.05, 0.075, 0.11, 0.16, 0.23, 0.32)
"""Bounds of the bands of frequency, cycles per pixel of the part."""
DIRECTIONS = 8
BINS = (len(RADII) - 1) * DIRECTIONS
WIDTH = BINS + 2
"""Numbers that are kept of a face in a frame: its bins, how it is turned, radians, and its scale in the part."""
NO_SPECTRUM = np.zeros(WIDTH, np.float16)
NO_SPECTRUM.setflags(write=False)
"""Of a face that is too small or not in sight."""
_QUIET = 30.0
"""Power that counts as none."""
_IN_SIGHT = 0.8
"""Share of the part that has to be in the picture."""
_USUAL = 0.6
"""Quantile of a bin over frames that is what the face usually shows: a little more than half, since blur takes away."""
_FEWEST = 8
"""Frames of which less tell nothing of what is usual."""
_FLOOR = 0.3
"""Quantile over frames of the least that is left in the finest band: noise."""
_ABOVE = 0.7
"""Natural logarithm over the noise from which a bin of the usual face counts."""
_KEPT = 0.07
"""Share of the power that every blur leaves: cameras lay pictures over each other, and highlights stay."""
_LEVEL = 0.6
"""Natural logarithm of the power that may come and go with light and expression."""
_ALIKE = 0.3
"""Mean difference of logarithms to the usual face up to which a frame shows just that: of people who speak half have
less than 0.25."""
_FALLS, _FALLS_BY = (0.12, 0.28), (0.25, 0.4)
"""By how much a line must lessen that difference, and by which share of it, to count, and to count in full."""
_BEYOND_ROUND = 0.85
"""Share of what the best round blur leaves of it from which a line is none."""
_ROUND_FALLS, _ROUND_FALLS_BY = (0.15, 0.35), (0.3, 0.5)
"""The same for a round blur, which codecs and expression resemble more."""
_NARROW, _NARROW_ROUND = (0.65, 1.1), (0.45, 0.75)
"""Spreads, pixels of the part, up to which a line is none, and from which it counts in full (lengths of 2.3 and 3.8);
the same of a round blur."""
_UNSEEN = 0.2
"""Spread, pixels of the part, below which nobody sees one."""
LEAST_SMEAR_PX = 0.5
"""Length below which a picture stays as it is."""
_ROUND = (0.0, 0.5, 0.65, 0.8, 1.0, 1.2, 1.45, 1.75, 2.1, 2.5, 3.0)
_LENGTHS, _BESIDES = (2.0, 2.7, 3.5, 4.5, 5.7, 7.0, 8.5, 10.3, 12.5, 15.0, 18.0, 22.0, 27.0), (0.0, 0.7, 1.1, 1.6)
_STEPS = 18
"""What is tried, pixels of the part: standard deviations of round blurs, the first of which is none; lengths of lines,
standard deviations of a round blur beside them, and the number of their directions."""
_FOUND, _TRUE = (0.0, 4.25, 5.9, 9.1, 13.4, 17.2, 27.0), (0.0, 3.9, 6.4, 10.3, 15.4, 20.5, 32.0)
"""Lengths that are found of lines of other ones, medians of 16 photos: long ones take in what lies beside."""


def _plane() -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Frequencies of the part across and down, cycles per pixel, and their bins, -1 for none."""
    down, across = np.broadcast_arrays(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    band = np.searchsorted(RADII, np.hypot(across, down), side="right") - 1
    turn = np.round(np.degrees(np.arctan2(down, across)) / (180 / DIRECTIONS)).astype(np.int64) % DIRECTIONS
    bins = np.where((band >= 0) & (band < len(RADII) - 1), band * DIRECTIONS + turn, -1)
    return across.astype(np.float32), down.astype(np.float32), bins


_ACROSS, _DOWN, _BIN_OF = _plane()
_IS_IN = _BIN_OF >= 0
_BIN = _BIN_OF[_IS_IN]
_COUNTS = np.bincount(_BIN, minlength=BINS)
_WEIGHTS = (np.sqrt(_COUNTS) / np.sqrt(_COUNTS).sum()).astype(np.float32)
_WINDOW = np.outer(np.hanning(SIDE), np.hanning(SIDE)).astype(np.float32)


def _binned(power: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(np.bincount(_BIN, power[_IS_IN], minlength=BINS) / _COUNTS)


def measure_spectrum(pixels: Pixels, mesh: FloatArray) -> npt.NDArray[np.float16]:
    """How much detail of which size and direction a face shows.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    mesh
        (478, 3) in its pixels.

    Returns
    -------
    (50,) natural logarithm of the power in six bands by eight directions of the upright face, then the angle in radians
    by which it is turned clockwise, and pixels of the part per pixel of the picture. Zeros where the face is too small
    or not in sight.
    """
    points = mesh[:, :2]
    height = float(np.hypot(*(points[152] - points[10])))
    if not height >= LEAST_PX:
        return NO_SPECTRUM
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    scale = HEIGHT / height
    across, down = (points[263] - points[33]).tolist()
    turn = float(np.arctan2(down, across))
    half = SIDE / scale / 2
    rows, columns = pixels.shape[:2]
    inside = [
        max(min(middle + half, size) - max(middle - half, 0.0), 0.0) / (2 * half)
        for middle, size in ((middle_x, columns), (middle_y, rows))
    ]
    if inside[0] * inside[1] < _IN_SIGHT:
        return NO_SPECTRUM
    reach = half * (abs(np.cos(turn)) + abs(np.sin(turn))) + 3
    left, top = max(int(middle_x - reach), 0), max(int(middle_y - reach), 0)
    grey = cv2.cvtColor(pixels[top : int(middle_y + reach), left : int(middle_x + reach)], cv2.COLOR_RGB2GRAY)
    shrink = 1.0
    if (block := int(1 / scale)) > 1:  # means of whole blocks take a fifth of the time of others
        high, wide = (size // block for size in grey.shape)
        grey = np.asarray(
            cv2.resize(grey[: high * block, : wide * block], (wide, high), interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
        shrink = 1 / block
    step = shrink / scale
    cosine, sine = float(np.cos(turn)) * step, float(np.sin(turn)) * step
    at_x, at_y = (middle_x - left + 0.5) * shrink - 0.5, (middle_y - top + 0.5) * shrink - 0.5
    centre = (SIDE - 1) / 2
    grey_from_part = np.array(
        [[cosine, -sine, at_x - (cosine - sine) * centre], [sine, cosine, at_y - (sine + cosine) * centre]]
    )
    part = cv2.warpAffine(
        np.asarray(grey, dtype=np.float32), grey_from_part, (SIDE, SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    found = np.fft.rfft2((part - part.mean()) * _WINDOW)
    power = found.real**2 + found.imag**2
    return np.array([*np.log(_binned(power) + _QUIET), turn, scale], dtype=np.float16)


@cache
def _tried() -> tuple[npt.NDArray[np.float64], FloatArray]:
    """(K, 48) share of the power that blurs leave in the bins, and (K, 3) what they are: standard deviation, length and
    direction of a line in degrees. First come the round ones.
    """
    squared = _ACROSS**2 + _DOWN**2
    lines = [(length, step * 180 / _STEPS) for length in _LENGTHS for step in range(_STEPS)]
    sharp = []
    for length, direction in lines:
        angle = np.radians(direction)
        sharp.append(np.sinc((_ACROSS * np.cos(angle) + _DOWN * np.sin(angle)) * length) ** 2)
    left = [_binned(_round(sigma, squared)) for sigma in _ROUND]
    kinds = [(sigma, 0.0, 0.0) for sigma in _ROUND]
    for sigma in _BESIDES:
        left += [_binned(one * _round(sigma, squared)) for one in sharp]
        kinds += [(sigma, *line) for line in lines]
    return _KEPT + (1 - _KEPT) * np.array(left), np.array(kinds, np.float32)


def _round(sigma: float, squared: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-((2 * np.pi * sigma) ** 2) * squared), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """What a face usually shows.

    Attributes
    ----------
    power
        (48,) natural logarithm of the power in the bins.
    floor
        That of the noise.
    """

    power: npt.NDArray[np.float64]
    floor: float


@dataclass(frozen=True, slots=True)
class Smear:
    """How a face is smeared: along a line, evenly in all directions, or both.

    Attributes
    ----------
    length
        Of the line, pixels of the part (the face is 128 high); 0 where there is none.
    direction
        Of the line, radians in the picture, clockwise from the right.
    sigma
        Standard deviation of the round blur, pixels of the part.
    scale
        Pixels of the part per pixel of the picture.
    surety
        0 to 1: how much better it explains the frame than no blur does.
    """

    length: float = 0.0
    direction: float = 0.0
    sigma: float = 0.0
    scale: float = 1.0
    surety: float = 0.0

    @property
    def spread(self) -> float:
        """Standard deviation along the line, pixels of the part."""
        return float(np.hypot(self.length / np.sqrt(12), self.sigma))


NO_SMEAR = Smear()


def is_measured(spectra: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """(N,) which of (N, 50) are of a face that could be measured."""
    return np.asarray(spectra[:, -1] > 0)


def usual_spectrum(spectra: npt.NDArray[np.floating]) -> Usual | None:
    """What a face usually shows in some frames; None where they are too few.

    Parameters
    ----------
    spectra
        (N, 50) as of `measure_spectrum`.
    """
    known = spectra[is_measured(spectra), :BINS].astype(np.float64)
    if len(known) < _FEWEST:
        return None
    levels = known.mean(axis=1, keepdims=True)
    power = np.quantile(known - levels, _USUAL, axis=0) + np.quantile(levels, _USUAL)
    return Usual(np.asarray(power), float(np.quantile(known[:, -DIRECTIONS:].min(axis=1), _FLOOR)))


def find_smear(spectrum: npt.NDArray[np.floating], usual: Usual) -> Smear:
    """How a face is smeared in a frame.

    Parameters
    ----------
    spectrum
        (50,) as of `measure_spectrum`.
    usual
        What the face usually shows.

    Notes
    -----
    A line of length L takes sinc(f L)^2 of the power at the frequency f along it, a Gaussian the same in all
    directions. All that are tried are compared with the frame by the mean difference of logarithms. Grain stays as it
    is, and so do blocks, what two pictures laid over each other share, and highlights.

    References
    ----------
    Cannon, Blind Deconvolution of Spatially Invariant Image Blurs with Phase, 1976 (blurs read off the power that they
    leave).
    """
    scale = float(spectrum[-1])
    if not scale > 0:
        return NO_SMEAR
    found = spectrum[:BINS].astype(np.float64)
    floor = max(min(usual.floor, float(found[-DIRECTIONS:].min())), float(np.log(_QUIET)))
    weights = _WEIGHTS * (usual.power - floor > _ABOVE)
    if not weights.any():
        return NO_SMEAR
    weights = weights / weights.sum()
    left, kinds = _tried()
    plain = float(_misfits(left[:1], found, usual.power, floor, weights)[0])
    if plain < _ALIKE:
        return NO_SMEAR
    misfits = _misfits(left, found, usual.power, floor, weights)
    count = len(_ROUND)
    best_round, best_line = int(np.argmin(misfits[:count])), count + int(np.argmin(misfits[count:]))
    is_line = misfits[best_line] <= _BEYOND_ROUND * misfits[best_round]
    best = best_line if is_line else best_round
    fall = plain - float(misfits[best])
    bounds = (_FALLS, _FALLS_BY) if is_line else (_ROUND_FALLS, _ROUND_FALLS_BY)
    surety = _ramp(fall, bounds[0]) * _ramp(fall / plain, bounds[1])
    sigma = float(kinds[best, 0])
    if not is_line:
        return Smear(sigma=sigma, scale=scale, surety=surety) if sigma > 0 else NO_SMEAR
    length, direction = _between(best - count, misfits[count:])
    length = float(np.interp(length, _FOUND, _TRUE))
    return Smear(length, direction + float(spectrum[-2]), sigma, scale, surety)


def _misfits(
    left: npt.NDArray[np.float64],
    found: npt.NDArray[np.float64],
    usual: npt.NDArray[np.float64],
    floor: float,
    weights: npt.NDArray[np.floating],
) -> npt.NDArray[np.float64]:
    """(K,) weighted mean difference of logarithms; a little of it may be light and expression."""
    expected = np.exp(usual) * left
    level = np.clip((found - np.log(expected + np.exp(floor))) @ weights, -_LEVEL, _LEVEL)
    rest = found - np.log(expected * np.exp(level)[:, None] + np.exp(floor))
    return np.asarray(np.abs(rest) @ weights)


def _between(best: int, misfits: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Length and direction in radians at the least of parabolas through lines that were tried on both sides."""
    grids = misfits.reshape(len(_BESIDES), len(_LENGTHS), _STEPS)
    number, row, step = (int(k) for k in np.unravel_index(best, grids.shape))
    grid = grids[number]
    turn = _least(grid[row, step - 1], grid[row, step], grid[row, (step + 1) % _STEPS])
    length = _LENGTHS[row]
    if 0 < row < len(_LENGTHS) - 1:
        away = _least(grid[row - 1, step], grid[row, step], grid[row + 1, step])
        length += away * (_LENGTHS[row + 1] - length if away > 0 else length - _LENGTHS[row - 1])
    return length, float(np.radians((step + turn) * 180 / _STEPS))


def _least(before: float, at: float, after: float) -> float:
    """Where a parabola through three values at -1, 0 and 1 is least, -0.5 to 0.5."""
    bend = before - 2 * at + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend > 1e-9 else 0.0


def _ramp(value: float, bounds: tuple[float, float]) -> float:
    return float(np.clip((value - bounds[0]) / (bounds[1] - bounds[0]), 0, 1))


def smear_in_picture(smear: Smear, surety: float, widest: float = np.inf) -> tuple[float, float, float]:
    """As much of a smear as counts, in pixels of the picture: a line across and down, whose sign says nothing, and a
    standard deviation.

    Parameters
    ----------
    smear
        What was found.
    surety
        How far it is believed, 0 to 1.
    widest
        Spread, in pixels of the part, that it may have at most.
    """
    spread = smear.spread
    if spread <= 0:
        return 0.0, 0.0, 0.0
    share = min(widest / spread, 1.0)
    share *= surety * _ramp(spread * share, _NARROW if smear.length else _NARROW_ROUND)
    if share * spread < _UNSEEN:
        return 0.0, 0.0, 0.0
    share /= smear.scale
    return (
        share * smear.length * float(np.cos(smear.direction)),
        share * smear.length * float(np.sin(smear.direction)),
        share * smear.sigma,
    )


def smeared(pixels: Pixels, across: float, down: float) -> Pixels:
    """A (H, W, 3) uint8 picture smeared along a line, given in pixels; its ends may lie between pixels."""
    length = float(np.hypot(across, down))
    if length < LEAST_SMEAR_PX:
        return pixels
    kernel = _line_kernel(across, down)
    return np.asarray(cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _line_kernel(across: float, down: float) -> FloatArray:
    """(K, L) a line through the middle, its weight spread over the pixels beside it; the sum is 1."""
    half_x, half_y = int(np.ceil(abs(across) / 2)), int(np.ceil(abs(down) / 2))
    count = max(int(np.ceil(4 * np.hypot(across, down))), 2)
    at = (np.arange(count) + 0.5) / count - 0.5
    kernel = np.zeros((2 * half_y + 2, 2 * half_x + 2), np.float64)
    x, y = at * across + half_x, at * down + half_y
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for dx, wide in ((0, 1 - (x - column)), (1, x - column)):
        for dy, high in ((0, 1 - (y - row)), (1, y - row)):
            np.add.at(kernel, (row + dy, column + dx), wide * high / count)
    return kernel[: 2 * half_y + 1, : 2 * half_x + 1].astype(np.float32)
