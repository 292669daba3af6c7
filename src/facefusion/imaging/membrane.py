"""Light along the outline of a new face: what it lacks to the head that it joins, spread inwards until it is gone.

Light that is estimated on the face alone is right in the middle and wrong at the rim, where a forehead burns out or a
cheek turns away, and there a step of a few levels is what makes a face look like a mask.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.masks import polygon
from facefusion.imaging.texture import smoothstep
from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]

_HEIGHT_PX = 56
"""Height of a face at which the light is compared."""
_AT, _BAND = 0.035, 0.03
"""Where the rim lies inside the outline, and how broad it is, over the height of the face."""
_REACH = 0.18
"""How far inwards what is found there reaches, the same."""
_NEAR, _FAR = 0.04, 0.09
"""Standard deviations of the spreading along the rim, the same: what is near counts; what is far, where nothing is."""
_FAR_SHARE, _NOTHING = 0.05, 0.01
"""How much what is far counts, and what stands for nothing in the sum of weights."""
_SAME_LIGHT, _SAME_HUE = 0.2, 0.1
"""Differences, natural logarithm of bytes, from which it is hair or a wall that is seen at the rim and no skin."""
_UNSEEN = (0.06, 0.15)
"""Steps of light, the same, up to which none is seen, and from which all of it is taken."""
_MOST = 0.27
_OWN_MARGIN, _OWN_REACH, _OWN_EDGE = 0.5, 0.2, 0.03
"""How far around a place light is compared, how far it spreads, and how soft the place's edge is, over its width."""
_OWN_SKIN, _MOST_OWN = 0.35, 0.6
"""Natural logarithm by which what is compared differs from skin, and the most that is taken."""
_LIFT = np.float32(8.0)
"""Levels that are added before ratios are taken: what is black has no colour."""


def join_light(
    over: Pixels,
    under: Pixels,
    outline: FloatArray,
    shown: FloatArray,
    share: float = 1.0,
) -> Pixels:
    """A new face with the light of the head at its rim.

    Parameters
    ----------
    over
        (H, W, 3) uint8 RGB: the new face, drawn also where little of it is shown.
    under
        (H, W, 3) uint8 RGB: the picture under it.
    outline
        (N, 2) of the face, pixels.
    shown
        (H, W) 0 to 1: where both show skin that may be compared; 0 where something lies before the face.
    share
        How much of the difference is taken, 0 to 1.

    Returns
    -------
    (H, W, 3) uint8.

    References
    ----------
    Perez, Gangnet and Blake, Poisson image editing, 2003 (the difference at the border, spread as a membrane);
    Farbman et al., Coordinates for instant image cloning, 2009 (spread by weights instead of solving for it).
    """
    height = float(np.ptp(outline, axis=0).max())
    step = max(round(height / _HEIGHT_PX), 1)
    rows, columns = (side // step for side in over.shape[:2])
    if height < 8 or min(rows, columns) < 2:
        return over
    whole = slice(0, rows * step), slice(0, columns * step)
    own, there = (_reduced(pixels[whole], columns, rows) for pixels in (over, under))
    seen = cv2.resize(shown[whole], (columns, rows), interpolation=cv2.INTER_AREA)
    size = height / step
    ratio = np.log((there + _LIFT) / (own + _LIFT))
    difference = np.asarray(cv2.GaussianBlur(ratio, (0, 0), max(0.015 * size, 0.6)), dtype=np.float32)
    light = difference.mean(axis=-1)
    hue = np.abs(difference - light[..., None]).max(axis=-1)
    reduced = np.asarray((outline + 0.5) / step - 0.5, dtype=np.float32)
    depth = _depth(reduced, rows, columns) / np.float32(size)
    # A small step is not seen, and what makes it is the tone of somebody.
    difference = difference * smoothstep((np.abs(light) - _UNSEEN[0]) / (_UNSEEN[1] - _UNSEEN[0]))[..., None]
    weight = np.exp(-np.square((depth - _AT) / _BAND)) * seen
    weight /= 1 + np.square(np.square(light / _SAME_LIGHT))
    weight /= 1 + np.square(np.square(hue / _SAME_HUE))
    weighted = np.dstack([difference * weight[..., None], weight]).astype(np.float32)
    near, far = (cv2.GaussianBlur(weighted, (0, 0), sigma * size) for sigma in (_NEAR, _FAR))
    spread = near + far * np.float32(_FAR_SHARE)
    change = spread[..., :3] / (spread[..., 3:] + np.float32(_NOTHING))
    inwards = smoothstep(1 - np.maximum(depth, 0) / _REACH) * np.float32(share)
    gain = np.exp(np.clip(change, -_MOST, _MOST) * inwards[..., None])
    # As much is added as the broad tones need; what is finer keeps its relief.
    more = np.rint((own + _LIFT) * (gain - 1))
    # In bytes, which are several times as fast to enlarge and to add as numbers that may be negative.
    added, taken = (_enlarged(np.clip(sign * more, 0, 255).astype(np.uint8), step, *over.shape[:2]) for sign in (1, -1))
    return np.asarray(cv2.subtract(cv2.add(over, added), taken), dtype=np.uint8)


def show_own(
    over: Pixels, alpha: FloatArray, under: Pixels, bare: FloatArray | None, outline: FloatArray, share: float
) -> None:
    """Put what a picture itself shows in a place into a new face that leaves it open there, in the light around it.

    A lid in its own tone, amid the face of somebody else, is an empty socket.

    Parameters
    ----------
    over, alpha
        (H, W, 3) uint8 RGB, and (H, W): the new face; both are written into.
    under
        (H, W, 3) uint8 RGB: the picture under it.
    bare
        (H, W) 0 to 1 where nothing lies before the face, or None.
    outline
        (N, 2) of the place, pixels.
    share
        How far it is shown, 0 to 1.
    """
    low, high = outline.min(axis=0), outline.max(axis=0)
    width = float(high[0] - low[0])
    margin = _OWN_MARGIN * width
    x0, y0 = (max(int(v - margin), 0) for v in low)
    x1, y1 = (min(int(v + margin) + 1, n) for v, n in zip(high, (over.shape[1], over.shape[0]), strict=True))
    if width < 4 or min(x1 - x0, y1 - y0) < 4:
        return
    window = slice(y0, y1), slice(x0, x1)
    inside = polygon(outline - np.array([x0, y0], dtype=np.float32), y1 - y0, x1 - x0)
    drawn, own, shown = over[window].astype(np.float32), under[window].astype(np.float32), alpha[window]
    seen = shown if bare is None else shown * bare[window]
    ratio = np.log((drawn + _LIFT) / (own + _LIFT))
    soft = max(_OWN_EDGE * width, 0.6)
    weight = seen * (1 - cv2.GaussianBlur(cv2.dilate(inside, np.ones((3, 3), np.uint8)), (0, 0), soft))
    for picture in (drawn, own):  # brows and lashes of either are no skin
        light = np.log(picture.mean(axis=-1) + _LIFT)
        usual = float(np.quantile(light[weight > 0.5], 0.6)) if (weight > 0.5).any() else 0.0
        weight = weight / (1 + np.square(np.square((light - usual) / _OWN_SKIN)))
    weighted = np.dstack([ratio * weight[..., None], weight]).astype(np.float32)
    spread = cv2.GaussianBlur(weighted, (0, 0), _OWN_REACH * width)
    gain = np.exp(np.clip(spread[..., :3] / (spread[..., 3:] + np.float32(_NOTHING)), -_MOST_OWN, _MOST_OWN))
    laid = cv2.GaussianBlur(inside, (0, 0), soft) * np.float32(share)
    if bare is not None:
        laid = laid * bare[window]
    own = np.clip((own + _LIFT) * gain - _LIFT, 0, 255)
    more = (1 - shown) * laid
    total = shown + more
    mixed = (drawn * shown[..., None] + own * more[..., None]) / np.maximum(total, 1e-3)[..., None]
    over[window] = np.where(total[..., None] > 1e-3, np.rint(mixed), drawn).astype(np.uint8)
    alpha[window] = total


def _reduced(pixels: Pixels, columns: int, rows: int) -> FloatArray:
    """(R, C, 3) levels of a picture made smaller."""
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def _depth(outline: FloatArray, rows: int, columns: int) -> FloatArray:
    """(R, C) distance inside an outline, pixels; negative outside."""
    mask = (polygon(outline, rows, columns) > 0.5).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (mask, 1 - mask))
    # Where there is no outline in sight the distance to it is no number to reckon with.
    far = float(rows + columns)
    return np.asarray(np.clip(inside - outside, -far, far), dtype=np.float32)


def _enlarged(values: Pixels, step: int, height: int, width: int) -> Pixels:
    """A reduced field at full size; what is left over at the right and below goes on as it is."""
    rows, columns = values.shape[:2]
    size = columns * step, rows * step
    whole = values if step == 1 else cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
    left = height - size[1], width - size[0]
    if any(left):
        whole = cv2.copyMakeBorder(whole, 0, left[0], 0, left[1], cv2.BORDER_REPLICATE)
    return np.asarray(whole, dtype=np.uint8)
