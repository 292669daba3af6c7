"""How far the changed face and what surrounds it differ in colour, across its border."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.imaging.align import mesh_crop
from facefusion.imaging.light import to_lab
from facefusion.imaging.resample import cut
from facefusion.imaging.texture import blur, inner_distance
from facefusion.types.frame import Pixels
from facefusion.types.topology import FACE_OVAL

FloatArray = npt.NDArray[np.float32]

SIDE = 160
_MARGIN = 1.25
_RINGS = ((3.0, 8.0), (14.0, 22.0))
"""Distances inside the outline in pixels of the crop: at the rim, where the old face stays, and well inside."""


def border_distance(target: Pixels, output: Pixels, mesh: FloatArray) -> float:
    """Mean over the outline of how much the step of colour from rim to inside has changed.

    Parameters
    ----------
    target, output
        (H, W, 3) uint8 RGB frames before and after.
    mesh
        (478, 3) of the face.

    Returns
    -------
    CIE76 distance in CIELAB: 0 where the new face joins on as the old one did, above about 5 where a seam shows.
    """
    affine = mesh_crop(mesh, SIDE, _MARGIN)
    outline = mesh[list(FACE_OVAL), :2] @ affine[:, :2].T + affine[:, 2]
    depth = inner_distance(outline, SIDE)
    angle = np.arctan2(*np.moveaxis(np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2, 0, 0))
    sector = ((angle + np.pi) / (2 * np.pi) * 16).astype(int) % 16
    steps = []
    for pixels in (target, output):
        lab = blur(to_lab(cut(pixels, affine, SIDE)), 2.0)
        rings = [(depth > low) & (depth <= high) for low, high in _RINGS]
        steps.append([_mean(lab, rings[0] & (sector == k)) - _mean(lab, rings[1] & (sector == k)) for k in range(16)])
    return float(np.nanmean(np.linalg.norm(np.array(steps[1]) - np.array(steps[0]), axis=1)))


def _mean(lab: FloatArray, where: npt.NDArray[np.bool_]) -> FloatArray:
    if int(where.sum()) < 8:
        return np.full(3, np.nan, dtype=np.float32)
    return np.asarray(lab[where].mean(axis=0), dtype=np.float32)
