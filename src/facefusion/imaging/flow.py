"""Dense optical flow and what it says about flicker."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def estimate_flow(before: Pixels, after: Pixels) -> FloatArray:
    """(H, W, 2) float32 flow in pixels: where each pixel of ``after`` was in ``before``.

    References
    ----------
    Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016.
    """
    grey_before, grey_after = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (before, after))
    engine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(engine.calc(grey_after, grey_before, None), dtype=np.float32)


def follow(values: npt.NDArray[np.generic], flow: FloatArray) -> FloatArray:
    """Carry a picture or a map along a flow from `estimate_flow`."""
    rows, columns = np.mgrid[0 : flow.shape[0], 0 : flow.shape[1]].astype(np.float32)
    moved = cv2.remap(
        values.astype(np.float32), columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, dtype=np.float32)


def warping_error(
    target_before: Pixels, target_after: Pixels, before: Pixels, after: Pixels, mask: npt.NDArray[np.bool_]
) -> float:
    """How much a clip changes between two frames beyond the motion of the target.

    Parameters
    ----------
    target_before, target_after
        (H, W, 3) frames of the target; the flow is theirs.
    before, after
        The same frames of the clip that is judged: the target itself, or an output.
    mask
        (H, W) pixels that count; those whose flow fails the forward-backward check are left out.

    Returns
    -------
    Mean absolute difference after warping, divided by the mean gradient there; nan where nothing counts.

    References
    ----------
    Lai et al., Learning Blind Video Temporal Consistency, 2018 (warping error and its occlusion check).
    """
    flow, back = estimate_flow(target_before, target_after), estimate_flow(target_after, target_before)
    returned = flow + follow(back, flow)
    is_sound = (returned**2).sum(axis=-1) < 0.01 * ((flow**2).sum(axis=-1) + (back**2).sum(axis=-1)) + 0.5
    counted = mask & is_sound
    if int(counted.sum()) < 64:
        return float("nan")
    difference = np.abs(after.astype(np.float32) - follow(before, flow)).mean(axis=-1)
    grey = cv2.cvtColor(after, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.125))
    return float(difference[counted].mean() / max(float(gradient[counted].mean()), 1e-3))
