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
    batch = np.stack(crops).astype(np.float32)
    scaled = (batch / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    ordered = scaled[..., ::-1] if is_bgr else scaled
    return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), dtype=np.float32)


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
