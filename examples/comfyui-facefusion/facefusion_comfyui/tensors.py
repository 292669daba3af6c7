"""IMAGE of ComfyUI, (B, H, W, C) float from 0 to 1, to pictures of FaceFusion and back. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def to_pictures(images: Any) -> list[np.ndarray]:
    """An IMAGE as (H, W, 3) uint8 RGB pictures; alpha is left out.

    Raises
    ------
    ValueError
        When it is none.
    """
    array = images.detach().cpu().numpy() if hasattr(images, "detach") else np.asarray(images)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[3] not in (3, 4) or not len(array):
        raise ValueError(f"An IMAGE is (B, H, W, 3), not {array.shape}.")
    pixels = np.clip(np.nan_to_num(array[..., :3].astype(np.float32)) * 255 + 0.5, 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(picture) for picture in pixels]


def to_images(pictures: Sequence[np.ndarray], like: Any) -> Any:
    """Pictures as an IMAGE: a tensor of torch where one was given, on the same device."""
    array = np.stack(pictures).astype(np.float32) / 255
    return _like(array, like)


def to_masks(masks: Iterable[np.ndarray], like: Any) -> Any:
    """(H, W) booleans as a MASK, (B, H, W) float."""
    return _like(np.stack([mask.astype(np.float32) for mask in masks]), like)


def _like(array: np.ndarray, like: Any) -> Any:
    if not hasattr(like, "detach"):
        return array
    import torch

    return torch.from_numpy(array).to(like.device)
