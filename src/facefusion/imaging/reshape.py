"""Moving the features of a face within its picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.mesh import rasterise, signed_areas, triangle_affines, warp_map

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]

RING = 1.5
"""Size of the ring, over that of the outline, up to which what surrounds a face moves with it."""
_DETAIL = 144


def reshape(pixels: Pixels, mesh: FloatArray, goal: FloatArray, triangles: IntArray, oval: IntArray) -> Pixels:
    """Draw a picture so that the points of a face lie elsewhere; beyond a ring around it nothing moves.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    mesh, goal
        (478, 3) where the points are and where they go, pixels.
    triangles
        (T, 3) all triangles of the face, clockwise.
    oval
        Vertices of its outline in order.

    Returns
    -------
    (H, W, 3) uint8.

    References
    ----------
    Piecewise affine warping: Cootes, Edwards and Taylor, Active Appearance Models, 2001.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _DETAIL / max(height, width))
    low_h, low_w = max(round(height * scale), 1), max(round(width * scale), 1)
    outline = mesh[oval]
    centre = outline.mean(axis=0)
    ring = centre + (outline - centre) * RING
    ring[:, 2] = outline[:, 2].max() + 0.1 * float(np.ptp(outline[:, 1]))
    source, aim = (np.concatenate([points[:468], ring]).astype(np.float32) for points in (mesh, goal))
    count = len(oval)
    first = np.arange(count)
    following = (first + 1) % count
    around = np.concatenate(
        [
            np.stack([oval[first], 468 + first, oval[following]], axis=1),
            np.stack([oval[following], 468 + first, 468 + following], axis=1),
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
    soft = cv2.blur(shifts, (3, 3))
    full = np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    x, y = full[..., 0] + columns, full[..., 1] + rows
    return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)
