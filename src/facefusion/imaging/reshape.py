"""Moving the features of a face within its picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.mesh import rasterise, signed_areas, triangle_affines, warp_map

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]

RING = 1.5
"""Size of the ring, over that of the outline, up to which what surrounds a face moves with it."""
_STEPS = (0.2, 0.4, 0.6, 0.8)
"""Parts of the way from the outline to the ring at which the share that moves is set: it ends without a kink."""
_DETAIL = 144
_LEAST_PX = 0.01
_NOTICED_PX = 0.25
"""Pixels of movement from which the moved picture stands in for the frame in full."""


@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """How a picture is moved.

    Attributes
    ----------
    shifts
        (h, w, 2) float32 from each place of a reduced picture to where it looks, pixels of the full one.
    size
        (width, height) of the full picture.
    """

    shifts: FloatArray
    size: tuple[int, int]

    def apply(self, pixels: Pixels) -> Pixels:
        """The picture (H, W, 3), moved."""
        width, height = self.size
        full = np.asarray(cv2.resize(self.shifts, self.size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        full[..., 0] += np.arange(width, dtype=np.float32)
        full[..., 1] += np.arange(height, dtype=np.float32)[:, None]
        x, y = np.ascontiguousarray(full[..., 0]), np.ascontiguousarray(full[..., 1])
        return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)

    def reach(self) -> FloatArray:
        """(H, W) float32: 1 where anything moves, 0 where nothing does, without a step between."""
        amount = np.abs(self.shifts).max(axis=-1) * np.float32(1 / _NOTICED_PX)
        wide = cv2.blur(np.minimum(cv2.dilate(amount, np.ones((3, 3), dtype=np.uint8)), 1), (3, 3))
        return np.asarray(cv2.resize(wide, self.size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def reshape(pixels: Pixels, mesh: FloatArray, goal: FloatArray, triangles: IntArray, oval: IntArray) -> Pixels:
    """Draw a picture so that the points of a face lie elsewhere; see `find_bend`."""
    return find_bend(mesh, goal, triangles, oval, *pixels.shape[:2]).apply(pixels)


def find_bend(mesh: FloatArray, goal: FloatArray, triangles: IntArray, oval: IntArray, height: int, width: int) -> Bend:
    """How to move a picture so that the points of a face lie elsewhere; beyond a ring around it nothing moves.

    Parameters
    ----------
    mesh, goal
        (478, 3) where the points are and where they go, pixels.
    triangles
        (T, 3) all triangles of the face, clockwise.
    oval
        Vertices of its outline in order.
    height, width
        Of the picture.

    References
    ----------
    Piecewise affine warping: Cootes, Edwards and Taylor, Active Appearance Models, 2001.
    """
    scale = min(1.0, _DETAIL / max(height, width))
    low_h, low_w = max(round(height * scale), 1), max(round(width * scale), 1)
    outline = mesh[oval]
    centre = outline.mean(axis=0)
    depth = outline[:, 2].max() + 0.1 * float(np.ptp(outline[:, 1]))
    moved = goal[oval] - outline
    source_parts, aim_parts = [mesh[:468]], [goal[:468]]
    for step in (*_STEPS, 1.0):
        ring = centre + (outline - centre) * (1 + (RING - 1) * step)
        ring[:, 2] = depth
        source_parts.append(ring)
        aim_parts.append(ring + moved * np.float32((1 - step) ** 2 * (1 + 2 * step)))
    source, aim = (np.concatenate(parts).astype(np.float32) for parts in (source_parts, aim_parts))
    count = len(oval)
    first = np.arange(count, dtype=np.int32)
    following = (first + 1) % count
    rings: list[IntArray] = [oval, *(468 + count * k + first for k in range(len(_STEPS) + 1))]
    around = np.concatenate(
        [
            triangle
            for inner, outer in pairwise(rings)
            for triangle in (
                np.stack([inner[first], outer[first], inner[following]], axis=1),
                np.stack([inner[following], outer[first], outer[following]], axis=1),
            )
        ]
    )
    around = np.where((signed_areas(aim, around.astype(np.int32)) > 0)[:, None], around, around[:, ::-1])
    everything = np.concatenate([triangles, around]).astype(np.int32)
    factor = np.array([low_w / width, low_h / height, scale], dtype=np.float32)
    shift = np.array([0.5, 0.5, 0.0], dtype=np.float32)
    small_aim = ((aim + shift) * factor - shift).astype(np.float32)
    index = rasterise(small_aim, everything, low_h, low_w)
    where = warp_map(index, triangle_affines(small_aim, source, everything))
    columns = (np.arange(low_w, dtype=np.float32) + 0.5) / factor[0] - 0.5
    rows = (np.arange(low_h, dtype=np.float32) + 0.5) / factor[1] - 0.5
    here = np.stack(np.meshgrid(columns, rows), axis=-1)
    shifts = np.where((index >= 0)[..., None], where - here, 0).astype(np.float32)
    # Hundredths of a pixel are rounding.
    shifts[np.abs(shifts) < _LEAST_PX] = 0
    return Bend(np.asarray(cv2.blur(shifts, (3, 3)), dtype=np.float32), (width, height))
