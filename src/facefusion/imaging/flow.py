"""Dense optical flow and what it says about flicker."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.resample import cut
from facefusion.types.topology import FACE_OVAL

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


FlowEstimator = Callable[[Pixels, Pixels], FloatArray]
"""Takes two (S, S, 3) uint8 RGB crops, before and after; gives (S, S, 2) float32: where each pixel of the one after
was in the one before, relative to itself."""


FINE_SIDE = 192
"""Up to this side in pixels flow is found at half size, above at a quarter."""


def dense_inverse_search(before: Pixels, after: Pixels) -> FloatArray:
    """The embedded `FlowEstimator`, quick enough for every frame.

    References
    ----------
    Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016.
    """
    greys = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (after, before)]
    engine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    if before.shape[0] <= FINE_SIDE:
        engine.setFinestScale(1)
    return np.asarray(engine.calc(*greys, None), dtype=np.float32)


def resize_flow(flow: FloatArray, side: int) -> FloatArray:
    """A (S, S, 2) flow at another size; its lengths change with it."""
    factor = side / flow.shape[0]
    if factor == 1:
        return flow
    return np.asarray(cv2.resize(flow, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.float32) * np.float32(
        factor
    )


MAX_RETURN_PX = 0.8
"""Forward and backward flow may miss each other by about this much."""
MAX_DIFFERENCE = 6.0
"""Levels of 255 by which a pixel may change on its way."""


def confidence(difference: FloatArray, flow: FloatArray, back: FloatArray) -> FloatArray:
    """How far a flow is to be believed.

    Parameters
    ----------
    difference
        (S, S) float32: brightness after, less the brightness before carried along the flow; levels of 255.
    flow
        Where pixels of the picture after were before.
    back
        Where pixels of the one before went in the one after.

    Returns
    -------
    (S, S) float32, 1 where the flow leads there and back and the pixel looks the same, down to 0.

    References
    ----------
    Sundaram, Brox and Keutzer, Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow,
    ECCV 2010 (forward-backward check).
    """
    across, down = cv2.split(flow + follow(back, flow))
    # Grain is no change; what remains after a small blur is.
    changed = cv2.blur(np.abs(difference), (5, 5)) * np.float32(1 / MAX_DIFFERENCE)
    doubt = (across * across + down * down) * np.float32(1 / MAX_RETURN_PX**2) + changed * changed
    return np.asarray(cv2.exp(-doubt), dtype=np.float32)


_CAMERA_SIDE = 256


def camera_shift(before: Pixels, after: Pixels) -> FloatArray:
    """(2,) float32 pixels by which most of a picture has moved from one frame to the next: as the camera did."""
    factor = max(max(before.shape[:2]) / _CAMERA_SIDE, 1.0)
    size = max(round(before.shape[1] / factor), 16), max(round(before.shape[0] / factor), 16)
    greys = [
        cv2.cvtColor(cv2.resize(p, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for p in (before, after)
    ]
    engine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow = engine.calc(*greys, None)
    return np.asarray(np.median(flow.reshape(-1, 2), axis=0) * factor, dtype=np.float32)


MOTION_SIDE = 144
"""Side of the crops in which motion is measured, pixels."""
INWARDS = 0.08
"""How far towards the middle of the face the motion of its outline is read."""


def crop_shift(before: FloatArray, after: FloatArray, crop_from_frame: FloatArray) -> FloatArray:
    """(2,) whole pixels of a crop by which a mesh (N, 2 or 3) has moved: small flows are found better than large ones.

    Whole ones, so that what stands still is cut out alike twice.
    """
    moved = (after[:, :2] - before[:, :2]).mean(axis=0) @ crop_from_frame[:, :2].T
    return np.asarray(np.round(moved), dtype=np.float32)


def measure_motion(
    before: Pixels, after: Pixels, mesh: FloatArray, crop_from_frame: FloatArray, shift: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """How far the pixels under a mesh have moved from one frame to the next.

    Parameters
    ----------
    before, after
        (S, S) uint8 grey crops of both frames (see `motion_crop`).
    mesh
        (N, 2 or 3) points in pixels of the frame that ``before`` was cut from.
    crop_from_frame
        (2, 3) affine of ``before``.
    shift
        (2,) how much farther to the right and down the crop ``after`` looks, in crop pixels; see `crop_shift`.

    Returns
    -------
    (N, 2) float32 motion in frame pixels, and (N,) float32 trust, 0 to 1: how well the moved pixels look
    like those before.
    """
    engine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = engine.calc(before, after, None)
    rows, columns = np.mgrid[0 : flow.shape[0], 0 : flow.shape[1]].astype(np.float32)
    moved = cv2.remap(
        after, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    difference = cv2.blur(cv2.absdiff(moved, before).astype(np.float32), (7, 7))
    # The network of points is about as dense as this blur, so one bad pixel moves no point.
    flow = cv2.blur(flow, (5, 5))
    at = (mesh[:, :2] @ crop_from_frame[:, :2].T + crop_from_frame[:, 2]).astype(np.float32)
    if len(at) > max(FACE_OVAL):
        # Under the outline itself may lie background that moves its own way.
        outline, middle = list(FACE_OVAL), at.mean(axis=0)
        at[outline] += (middle - at[outline]) * np.float32(INWARDS)
    # Where nothing is drawn any motion explains the picture, so none is trusted.
    grey = before.astype(np.float32)
    relief = cv2.blur(grey * grey, (17, 17)) - cv2.blur(grey, (17, 17)) ** 2
    difference += 12.0 * np.exp(-np.maximum(relief, 0) / 2.0).astype(np.float32)
    x, y = at[:, :1], at[:, 1:]  # (N, 1) each: a column of points
    motion = cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 2)
    doubt = cv2.remap(difference, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1)
    inverse = np.linalg.inv(crop_from_frame[:, :2].astype(np.float64))
    if shift is not None:
        motion = motion + shift
    return (motion @ inverse.T).astype(np.float32), np.exp(-((doubt / 7.0) ** 2)).astype(np.float32)


def motion_crop(pixels: Pixels, crop_from_frame: FloatArray) -> Pixels:
    """(S, S) uint8 grey crop for `measure_motion`; S is `MOTION_SIDE`."""
    return np.asarray(cv2.cvtColor(cut(pixels, crop_from_frame, MOTION_SIDE), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


@cache
def _grid(height: int, width: int) -> FloatArray:
    """(H, W, 2) x and y of every pixel."""
    return np.ascontiguousarray(np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1), dtype=np.float32)


def follow(values: npt.NDArray[np.generic], flow: FloatArray) -> FloatArray:
    """Carry a picture or a map of up to four channels along a flow from `estimate_flow`."""
    remap: Any = cv2.remap  # takes both maps in one, which its stubs do not know
    where = _grid(*flow.shape[:2]) + flow
    source = values.astype(np.float32, copy=False)
    return np.asarray(remap(source, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)


def gradient(light: FloatArray) -> FloatArray:
    """(H, W) size of the gradient of a picture, levels per pixel."""
    across, down = (np.asarray(cv2.Sobel(light, cv2.CV_32F, dx, 1 - dx, scale=0.125)) for dx in (1, 0))
    # The last bit of OpenCV's magnitude depends on where in memory the arrays begin.
    return np.asarray(np.sqrt(across * across + down * down), dtype=np.float32)


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
    slope = gradient(cv2.cvtColor(after, cv2.COLOR_RGB2GRAY).astype(np.float32))
    return float(difference[counted].mean() / max(float(slope[counted].mean()), 1e-3))
