"""Crops to the tensors that models take, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def to_tensor(
    crops: Sequence[Pixels],
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
    is_bgr: bool = False,
) -> FloatArray:
    """(N, 3, H, W) float32 of RGB bytes: ``(value / 255 - mean) / std``, channels reversed where asked."""
    batch = np.ascontiguousarray(np.stack([crop.transpose(2, 0, 1) for crop in crops]), dtype=np.float32)
    # Channel by channel, in place: each lies in one piece.
    batch /= np.float32(255)
    for number, (middle, spread) in enumerate(zip(mean, std, strict=True)):
        if (middle, spread) != (0, 1):
            plane = batch[:, number]
            plane -= np.float32(middle)
            plane /= np.float32(spread)
    return np.ascontiguousarray(batch[:, ::-1]) if is_bgr else batch


def from_tensor(batch: FloatArray, mean: Sequence[float] = (0, 0, 0), std: Sequence[float] = (1, 1, 1)) -> list[Pixels]:
    """The inverse of `to_tensor` for RGB: rounded and clipped bytes."""
    values = batch.transpose(0, 2, 3, 1) * np.asarray(std, np.float32) + np.asarray(mean, np.float32)
    return list(np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8))


def split_phases(crop: Pixels, factor: int) -> list[Pixels]:
    """Every ``factor``-th pixel from each of ``factor``² starts: small pictures of the whole face.

    Parameters
    ----------
    crop
        (factor * S, factor * S, 3).

    Returns
    -------
    ``factor``² pictures of (S, S, 3), in rows.
    """
    return [np.ascontiguousarray(crop[y::factor, x::factor]) for y in range(factor) for x in range(factor)]


def join_phases(parts: Sequence[Pixels], factor: int) -> Pixels:
    """The inverse of `split_phases`."""
    side = parts[0].shape[0] * factor
    crop = np.empty((side, side, 3), dtype=np.uint8)
    for k, part in enumerate(parts):
        crop[k // factor :: factor, k % factor :: factor] = part
    return crop
