"""Joining a changed crop to its frame."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def feather(under: Pixels, over: Pixels, alpha: FloatArray) -> Pixels:
    """Plain weighted mean.

    Parameters
    ----------
    under, over
        (H, W, 3) uint8.
    alpha
        (H, W) float32, 0 to 1: share of ``over``.
    """
    if alpha.size and alpha.min() >= 1:
        return over.copy()
    return np.asarray(cv2.blendLinear(under, over, 1 - alpha, alpha), dtype=np.uint8)


def pyramid(under: Pixels, over: Pixels, alpha: FloatArray, levels: int = 4) -> Pixels:
    """Multi-band blend: broad seams for colour, narrow ones for detail.

    References
    ----------
    Burt and Adelson, A Multiresolution Spline With Application to Image Mosaics, 1983.
    """
    levels = min(levels, int(np.log2(max(min(alpha.shape), 2))) - 2)
    # Where alpha is 0 the other picture's colours would leak in through the coarse bands.
    base = feather(under, over, np.clip(alpha * 4, 0, 1).astype(np.float32))
    a, b, mask = under.astype(np.float32), base.astype(np.float32), alpha
    bands: list[FloatArray] = []
    for _ in range(max(levels, 0)):
        smaller = [cv2.pyrDown(x) for x in (a, b, mask)]
        size = (a.shape[1], a.shape[0])
        detail_a, detail_b = a - cv2.pyrUp(smaller[0], dstsize=size), b - cv2.pyrUp(smaller[1], dstsize=size)
        bands.append(np.asarray(detail_a + (detail_b - detail_a) * mask[..., None], dtype=np.float32))
        a, b, mask = (np.asarray(x, dtype=np.float32) for x in smaller)
    result = a + (b - a) * mask[..., None]
    for band in reversed(bands):
        result = cv2.pyrUp(result, dstsize=(band.shape[1], band.shape[0])) + band
    mixed = np.clip(result + 0.5, 0, 255).astype(np.uint8)
    return np.where((alpha > 0)[..., None], mixed, under)


def poisson(under: Pixels, over: Pixels, alpha: FloatArray) -> Pixels:
    """Gradient-domain blend inside the firm part of the mask, feathered at its edge.

    References
    ----------
    Pérez, Gangnet and Blake, Poisson Image Editing, 2003.
    """
    # The solver eats a few pixels at every edge of its mask, which a small face cannot spare.
    factor = max(-(-240 // max(min(alpha.shape), 1)), 1)
    size = (alpha.shape[1] * factor, alpha.shape[0] * factor)
    firm = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR) > 0.5
    mask = firm.astype(np.uint8) * 255
    # Openings (eyes, mouth) would pull the old face through; they are laid back on top at the end.
    side = max(min(size) // 8, 3) | 1
    round_ = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, round_), dtype=np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, outlines, -1, 255, cv2.FILLED)
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    x, y, width, height = cv2.boundingRect(mask)
    if width < 24 or height < 24:
        return feather(under, over, alpha)
    large_over, large_under = (cv2.resize(p, size, interpolation=cv2.INTER_CUBIC) for p in (over, under))
    centre = (x + width // 2, y + height // 2)
    cloned = cv2.seamlessClone(large_over, large_under, mask, centre, cv2.NORMAL_CLONE)
    small = cv2.resize(cloned, (alpha.shape[1], alpha.shape[0]), interpolation=cv2.INTER_AREA)
    return feather(under, np.asarray(small, dtype=np.uint8), alpha)


BLENDS = {"feather": feather, "pyramid": pyramid, "poisson": poisson}


def crop_box(crop_from_frame: FloatArray, width: int, height: int) -> tuple[int, int, int, int]:
    """Half-open xyxy box of frame pixels that a crop of a size covers, not clipped to the frame."""
    if _is_whole_shift(crop_from_frame):
        left, top = (int(round(float(-v))) for v in crop_from_frame[:, 2])
        return left, top, left + width, top + height
    inverse = np.linalg.inv(crop_from_frame[:, :2].astype(np.float64))
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
    corners = (corners - crop_from_frame[:, 2]) @ inverse.T
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int) + 1
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _is_whole_shift(affine: FloatArray) -> bool:
    is_unturned = bool(np.abs(affine[:, :2] - np.eye(2)).max() < 1e-6)
    return is_unturned and bool(np.abs(affine[:, 2] - np.round(affine[:, 2])).max() < 1e-4)


def paste(
    frame: Pixels,
    over: Pixels,
    alpha: FloatArray,
    crop_from_frame: FloatArray,
    blend: str = "feather",
    cover: FloatArray | None = None,
) -> tuple[int, int, int, int] | None:
    """Put a changed crop back into its frame.

    Parameters
    ----------
    frame
        (H, W, 3) uint8; it is changed in place.
    over, alpha
        (h, w, 3) uint8 and (h, w) float32 in crop pixels.
    crop_from_frame
        (2, 3) affine; whole-pixel shifts are pasted without resampling.
    blend
        ``feather``, ``pyramid`` or ``poisson``.
    cover
        (H, W) float32; the share of ``over`` is written into it.

    Returns
    -------
    The half-open xyxy box that holds every changed pixel, or None where nothing changed.
    """
    height, width = frame.shape[:2]
    box = crop_box(crop_from_frame, alpha.shape[1], alpha.shape[0])
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    if x1 <= x0 or y1 <= y0:
        return None
    if _is_whole_shift(crop_from_frame):
        rows, columns = slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])
        over, alpha = over[rows, columns], alpha[rows, columns]
    else:
        matrix = crop_from_frame.astype(np.float64).copy()
        matrix[:, 2] += matrix[:, :2] @ np.array([x0, y0])
        size = (x1 - x0, y1 - y0)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        over = np.asarray(
            cv2.warpAffine(over, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
        )
        alpha = np.asarray(cv2.warpAffine(alpha, matrix, size, flags=how, borderValue=0), dtype=np.float32)
    rows_used, columns_used = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if rows_used.size == 0:
        return None
    part = (
        slice(int(rows_used[0]), int(rows_used[-1]) + 1),
        slice(int(columns_used[0]), int(columns_used[-1]) + 1),
    )
    under = frame[y0:y1, x0:x1]
    under[part] = BLENDS[blend](np.ascontiguousarray(under[part]), np.ascontiguousarray(over[part]), alpha[part])
    if cover is not None:
        cover[y0:y1, x0:x1][part] = alpha[part]
    return x0 + part[1].start, y0 + part[0].start, x0 + part[1].stop, y0 + part[0].stop
