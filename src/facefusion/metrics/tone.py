"""Whether a changed face has the tone of the head around it, as the face that was there had."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.imaging.align import mesh_crop
from facefusion.imaging.light import to_lab
from facefusion.imaging.resample import cut
from facefusion.imaging.texture import blur, inner_distance
from facefusion.types.frame import Pixels
from facefusion.types.topology import FACE_OVAL, LEFT_BROW, LEFT_EYE, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE

FloatArray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SIDE = 192
_MARGIN = 1.6
_AROUND = (1.04, 1.3)
"""The head around a face: between these sizes of its outline."""
_ALIKE = 22.0
"""CIELAB distance from the target's own face within which what is around it counts as its skin."""
_LEAST_PX = 60
"""Fewer pixels of skin say nothing."""


def tone_step(target: Pixels, output: Pixels, mesh: FloatArray, output_mesh: FloatArray | None = None) -> float:
    """How much further the skin of the face is from that of the head around it than it was.

    Parameters
    ----------
    target, output
        (H, W, 3) uint8 RGB frames before and after.
    mesh
        (478, 3) of the face in the target.
    output_mesh
        (478, 3) of the face in the output; None where it lies as before.

    Returns
    -------
    CIE76 distance in CIELAB between the medians of skin inside and around, less the same in the target: 0 where the
    new face is as even with its head as the old one, below 0 where it is more even. NaN where no skin is around.
    """
    affine = mesh_crop(mesh, SIDE, _MARGIN)
    before, after = (blur(to_lab(cut(pixels, affine, SIDE)), 1.0) for pixels in (target, output))
    old, new = (_on_crop(m, affine) for m in (mesh, mesh if output_mesh is None else output_mesh))
    inside = _plain_skin(old)
    if int(inside.sum()) < _LEAST_PX:
        return float("nan")
    own = np.median(before[inside], axis=0)
    low, high = (inner_distance(_grown(old, factor), SIDE) > 0 for factor in _AROUND)
    # The same pixels for both; what the new face lies on is not around it.
    around = high & ~low & ~(inner_distance(_grown(new, _AROUND[0]), SIDE) > 0)
    around &= np.linalg.norm(before - own, axis=-1) < _ALIKE
    now = _plain_skin(new)
    if int(around.sum()) < _LEAST_PX or int(now.sum()) < _LEAST_PX:
        return float("nan")
    steps = [
        float(np.linalg.norm(np.median(lab[skin], axis=0) - np.median(lab[around], axis=0)))
        for lab, skin in ((before, inside), (after, now))
    ]
    return steps[1] - steps[0]


def _on_crop(mesh: FloatArray, affine: FloatArray) -> FloatArray:
    return np.asarray(mesh[:, :2] @ affine[:, :2].T + affine[:, 2], dtype=np.float32)


def _grown(points: FloatArray, factor: float) -> FloatArray:
    outline = points[list(FACE_OVAL)]
    centre = outline.mean(axis=0)
    return np.asarray(centre + (outline - centre) * factor, dtype=np.float32)


def _plain_skin(points: FloatArray) -> Mask:
    """(SIDE, SIDE) the face without its rim, eyes, brows and lips."""
    skin = inner_distance(_grown(points, 0.92), SIDE) > 0
    for ring in (LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, LIPS_OUTER):
        part = (inner_distance(points[list(ring)], SIDE) > 0).astype(np.float32)
        skin &= blur(part, SIDE * 0.012) < 0.06
    return np.asarray(skin, dtype=np.bool_)
