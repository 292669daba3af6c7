"""Light: linear values, robust low-frequency shading, and moving one surface into another's light."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_STEPS = 8192
OFFSET = 0.004
"""Added to linear light before its logarithm is taken, so that black stays finite."""
_LOG_LOW, _LOG_HIGH = -5.6, 0.1
_OF_TONE, _LITTLE = 0.035, 1e-5
"""Colour beyond its tone, natural logarithm, from which a place says little of what goes with tones; and what keeps
that finite where all tones are alike."""
_AGREED = (0.15, 0.4)
"""Share of the skin that fits a smooth light, up to which no such light is believed, and from which it is."""


@cache
def _to_linear_table() -> FloatArray:
    v = np.arange(256, dtype=np.float64) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _to_srgb_table() -> Pixels:
    v = np.linspace(0, 1, _STEPS)
    encoded = np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055)
    return np.round(encoded * 255).astype(np.uint8)


def to_linear(pixels: Pixels) -> FloatArray:
    """sRGB bytes to linear light, 0 to 1 (IEC 61966-2-1)."""
    return np.asarray(cv2.LUT(pixels, _to_linear_table()), dtype=np.float32)


def to_srgb(linear: FloatArray) -> Pixels:
    """Linear light to sRGB bytes; values outside 0 to 1 are clipped."""
    return np.asarray(_to_srgb_table()[(np.clip(linear, 0, 1) * (_STEPS - 1) + 0.5).astype(np.uint16)])


def to_lab(pixels: Pixels) -> FloatArray:
    """sRGB bytes to CIELAB (D65): L from 0 to 100, a and b about -100 to 100."""
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), dtype=np.float32)


def mean_of_channels(pixels: Pixels | FloatArray) -> FloatArray:
    """(H, W) float32 plain mean of red, green and blue, same range."""
    values = pixels.astype(np.float32, copy=False)
    return np.asarray(cv2.transform(values, np.full((1, 3), 1 / 3, dtype=np.float32)), dtype=np.float32)


def mean_of_three(values: FloatArray) -> FloatArray:
    """(...) mean over a last axis of three, as numpy's, which takes several times as long over so few."""
    return np.asarray((values[..., 0] + values[..., 1] + values[..., 2]) / np.float32(3), dtype=np.float32)


def largest_of_channels(values: FloatArray) -> FloatArray:
    """(H, W) largest of red, green and blue."""
    red, green, blue = cv2.split(values)
    return np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.float32)


def to_log(pixels: Pixels) -> FloatArray:
    """sRGB bytes to the natural logarithm of linear light."""
    return np.asarray(cv2.LUT(pixels, _to_log_table()), dtype=np.float32)


@cache
def _to_log_table() -> FloatArray:
    return np.asarray(np.log(_to_linear_table() + np.float32(OFFSET)), dtype=np.float32)


@cache
def _from_log_table() -> Pixels:
    return to_srgb((np.exp(np.linspace(_LOG_LOW, _LOG_HIGH, _STEPS)) - OFFSET).astype(np.float32))


def from_log(log: FloatArray) -> Pixels:
    """The inverse of `to_log`, by a table; values outside are clipped."""
    factor = (_STEPS - 1) / (_LOG_HIGH - _LOG_LOW)
    steps = log * np.float32(factor)
    steps += np.float32(0.5 - _LOG_LOW * factor)
    np.clip(steps, 0, _STEPS - 1, out=steps)
    return np.asarray(_from_log_table().take(steps.astype(np.uint16)))


@cache
def _from_log_exact_table() -> FloatArray:
    linear = np.exp(np.linspace(_LOG_LOW, _LOG_HIGH, _STEPS)) - OFFSET
    clipped = np.clip(linear, 0, 1)
    return (255 * np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)).astype(
        np.float32
    )


def from_log_exactly(log: FloatArray) -> FloatArray:
    """As `from_log`, not rounded to whole levels."""
    factor = (_STEPS - 1) / (_LOG_HIGH - _LOG_LOW)
    steps = log * np.float32(factor)
    steps += np.float32(0.5 - _LOG_LOW * factor)
    np.clip(steps, 0, _STEPS - 1, out=steps)
    return np.asarray(_from_log_exact_table().take(steps.astype(np.uint16)))


@cache
def _second_degree(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """(6, rows * columns) values of 1, x, y, xy, x^2 and y^2 over a grid from -1 to 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y]).reshape(6, -1)


def estimate_shading(
    log_colour: FloatArray, weight: FloatArray, sigma: float, rounds: int = 3, is_mixed: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Low-frequency light and colour of a face on a grid, not led astray by hair, glasses or hands.

    A second-degree surface is fitted to the logarithm of linear light by reweighted least squares;
    what it leaves is smoothed with the same weights and added.

    Parameters
    ----------
    log_colour
        (G, G, 3) natural logarithm of linear light on a grid that is fixed to the face.
    weight
        (G, G) 0 to 1: how far each cell is skin in sight.
    sigma
        Standard deviation of the smoothing in cells.
    rounds
        Rounds of reweighting.
    is_mixed
        Whether light and shade may meet on the face, or much hair and skin. Then hardly anything fits a surface that
        lies between them, and what is seen counts as it is.

    Returns
    -------
    (G, G, 3) shading, and (G, G) 0 to 1: how far each cell fits it (outliers are near 0).

    References
    ----------
    Holland and Welsch, Robust regression using iteratively reweighted least-squares, 1977.
    """
    basis = _second_degree(*weight.shape)
    values = log_colour.reshape(-1, 3)
    exact, base_weight = values.astype(np.float64), weight.reshape(-1).astype(np.float64)
    fit = base_weight.copy()
    # A weak pull to a flat surface keeps cells that are never seen (a far cheek) from running away.
    ridge = np.diag([0.0, 1.0, 1.0, 3.0, 3.0, 3.0]) * (0.02 * max(base_weight.sum(), 1e-3))
    surface = np.zeros_like(values)
    trust = np.ones_like(base_weight)
    for _ in range(rounds):
        weighted = basis * fit
        system = weighted @ basis.T + ridge + np.eye(6) * 1e-6
        surface = (basis.T @ np.linalg.solve(system, weighted @ exact)).astype(np.float32)
        # Luminance may vary with relief, colour hardly does on skin.
        residual = values - surface
        # Columns one by one and squares twice: reductions over three values and powers are slow.
        light = (residual[:, 0] + residual[:, 1] + residual[:, 2]) / 3
        hue = np.abs(residual - light[:, None])
        hue = np.maximum(np.maximum(hue[:, 0], hue[:, 1]), hue[:, 2])
        trust = 1 / (1 + np.square(np.square(light / 0.38)) + np.square(np.square(hue / 0.28)))
        fit = base_weight * trust
    if is_mixed:
        share = float(fit.sum() / (base_weight.sum() + 1e-6))
        lost = min(max((_AGREED[1] - share) / (_AGREED[1] - _AGREED[0]), 0.0), 1.0)
        trust = np.maximum(trust, lost)
        fit = base_weight * trust
    rest = (values - surface).reshape(log_colour.shape)
    sure = fit.reshape(weight.shape).astype(np.float32)
    total = cv2.GaussianBlur(sure, (0, 0), sigma)
    spread = cv2.GaussianBlur(rest * sure[..., None], (0, 0), sigma) / (total[..., None] + 0.05)
    shading = surface.reshape(log_colour.shape) + spread
    return shading.astype(np.float32), trust.reshape(weight.shape).astype(np.float32)


def limit_gain(change: FloatArray, loss: float, gain: float) -> FloatArray:
    """A change of light with its brightness limited and its colour as it is.

    Parameters
    ----------
    change
        (..., 3) natural logarithm of the factor for each channel. Held back each on its own, the channels of a
        strong change would end up alike, and its colour be lost.
    loss, gain
        Largest darkening and brightening, natural logarithm of the geometric mean of the channels.
    """
    brightness = mean_of_three(change)[..., None]
    return np.asarray(change + (np.clip(brightness, -loss, gain) - brightness), dtype=np.float32)


def match_low_frequencies(pixels: Pixels, goal: Pixels, share: float) -> Pixels:
    """Give a picture the broad colours of another of the same size.

    Parameters
    ----------
    pixels, goal
        (H, W, 3) uint8.
    share
        0 leaves the picture as it is, 1 takes all of the difference.
    """
    result = pixels.astype(np.float32)
    height, width = pixels.shape[:2]
    for side in (16, 32, 64):
        small = [cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA) for x in (goal.astype(np.float32), result)]
        difference = cv2.resize(small[0] - small[1], (width, height), interpolation=cv2.INTER_CUBIC)
        result += np.asarray(difference, dtype=np.float32) * (share / 3)
    return np.asarray(np.clip(result + 0.5, 0, 255), dtype=np.uint8)


def colour_agreement(pixels: Pixels, goal: Pixels) -> float:
    """Correlation of the hue and saturation histograms of two pictures, -1 to 1."""
    one, other = (
        cv2.calcHist([cv2.cvtColor(x, cv2.COLOR_RGB2HSV)], [0, 1], None, [50, 60], [0, 180, 0, 256])
        for x in (pixels, goal)
    )
    return float(cv2.compareHist(one, other, cv2.HISTCMP_CORREL))


def colour_beyond_tone(log: FloatArray) -> FloatArray:
    """(N,) how far colours are from those that go with their tone, natural logarithm, in the channel that is farthest.

    A print has none, whatever it was toned or tinted with. What few places have does not count towards what goes with
    a tone.

    Parameters
    ----------
    log
        (N, 3) logarithm of linear light.
    """
    grey = log.mean(axis=-1, keepdims=True)
    colour, away = log - grey, grey - np.median(grey)
    tones = np.concatenate([np.ones_like(away), away, away * away], axis=-1)
    rest, weight = np.zeros_like(grey), np.ones_like(grey)
    for _ in range(3):
        weighed = (tones * weight).T
        fit = np.linalg.solve(weighed @ tones + _LITTLE * len(log) * np.eye(3, dtype=np.float32), weighed @ colour)
        rest = np.abs(colour - tones @ fit).max(axis=-1, keepdims=True)
        weight = 1 / (1 + np.square(rest / _OF_TONE))
    return np.asarray(rest[:, 0], dtype=np.float32)
