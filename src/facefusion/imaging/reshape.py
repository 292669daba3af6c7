"""Moving the features of a face within its picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.mesh import rasterise, signed_areas, triangle_affines, warp_map
from facefusion.imaging.texture import enlarged

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]

RING = 1.45
"""Size of the ring, over that of the outline, up to which what surrounds a face moves with it."""
_STEPS = (0.2, 0.4, 0.6, 0.8)
"""Parts of the way from the outline to the ring at which the share that moves is set: it ends without a kink."""
_DETAIL = 112
_LEAST_PX = 0.01
_SEEN_PX = 1 / 65
"""Shift that is seen: places are read to 1/32 of a pixel, so less than half of that changes nothing."""
_STRIP_PX = 32
"""Rows that are moved at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """How a picture is moved.

    Attributes
    ----------
    shifts
        (h, w, 2) float32 from each place of a reduced picture to where it looks, pixels of the full one.
    step
        Pixels of the full picture, per axis, for one of the reduced one, which may be a little larger.
    size
        (width, height) of the full picture.
    """

    shifts: FloatArray
    step: int
    size: tuple[int, int]

    def apply(self, pixels: Pixels) -> Pixels:
        """The picture (H, W, 3), moved."""
        result = pixels.copy()
        places = self._places()
        # What moves is round: strip by strip only that is resampled, and places are used while they are in the cache.
        for x0, y0, x1, y1 in self._strips():
            # Around it a cell more, so that there is something on both sides to interpolate between.
            top, left = y0 // self.step, x0 // self.step
            low = places[top : -(-y1 // self.step) + 2, left : -(-x1 // self.step) + 2]
            where = enlarged(low, self.step)[self.step :, self.step :][: y1 - y0, : x1 - x0]
            moved: Any = cv2.remap(pixels, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
            result[y0:y1, x0:x1] = moved
        return result

    def _places(self) -> FloatArray:
        """(h + 2, w + 2, 2) where each place of the reduced picture, and of a ring around it, looks."""
        height, width = self.shifts.shape[:2]
        places = np.asarray(cv2.copyMakeBorder(self.shifts, 1, 1, 1, 1, cv2.BORDER_REPLICATE), dtype=np.float32)
        across, down = ((np.arange(-1, n + 1, dtype=np.float32) + 0.5) * self.step - 0.5 for n in (width, height))
        places[..., 0] += across
        places[..., 1] += down[:, None]
        return places

    def _strips(self) -> Iterator[tuple[int, int, int, int]]:
        """Half-open xyxy boxes of whole steps, one below the other, that hold all that is seen to move."""
        across, down = cv2.split(np.abs(self.shifts))
        moves = cv2.dilate((cv2.max(across, down) >= _SEEN_PX).astype(np.uint8), np.ones((3, 3), np.uint8))
        tall = max(_STRIP_PX // self.step, 1)
        for first in range(0, len(moves), tall):
            columns = np.flatnonzero(moves[first : first + tall].any(axis=0))
            y0, y1 = first * self.step, min((first + tall) * self.step, self.size[1])
            if columns.size and y1 > y0:
                yield int(columns[0]) * self.step, y0, min((int(columns[-1]) + 1) * self.step, self.size[0]), y1

    def box(self) -> tuple[int, int, int, int] | None:
        """Half-open xyxy of what moves."""
        moves = (self.shifts[..., 0] != 0) | (self.shifts[..., 1] != 0)
        rows, columns = np.flatnonzero(moves.any(axis=1)), np.flatnonzero(moves.any(axis=0))
        if not rows.size:
            return None
        (x0, x1), (y0, y1) = ((line[[0, -1]] + [-1, 2]) * self.step for line in (columns, rows))
        return max(int(x0), 0), max(int(y0), 0), min(int(x1), self.size[0]), min(int(y1), self.size[1])

    def reach(self) -> FloatArray:
        """(H, W) float32: 1 around all that moves, 0 beyond."""
        reach = np.zeros(self.size[::-1], dtype=np.float32)
        box = self.box()
        if box is not None:
            reach[box[1] : box[3], box[0] : box[2]] = 1
        return reach


def reshape(pixels: Pixels, mesh: FloatArray, goal: FloatArray, triangles: IntArray, oval: IntArray) -> Pixels:
    """Draw a picture so that the points of a face lie elsewhere; see `find_bend`."""
    return find_bend(mesh, goal, triangles, oval, *pixels.shape[:2]).apply(pixels)


def find_bend(mesh: FloatArray, goal: FloatArray, triangles: IntArray, oval: IntArray, height: int, width: int) -> Bend:
    """How to move a picture so that the points of a face lie elsewhere; beyond a ring around it nothing moves.

    Outside only what changes the form of the outline is followed: of a face that gets longer, what lies beside it moves
    aside as far as the cheeks do, and not down with them, so that a shelf behind a head stays straight.

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
    block = max(round(max(height, width) / _DETAIL), 1)
    low_h, low_w = -(-height // block), -(-width // block)
    outline = mesh[oval]
    centre = outline.mean(axis=0)
    depth = outline[:, 2].max() + 0.1 * float(np.ptp(outline[:, 1]))
    outwards = _outwards(outline, goal[oval] - outline)
    inner = goal[:468].copy()
    inner[oval] = outline + outwards
    source_parts, aim_parts = [mesh[:468]], [inner]
    for step in (*_STEPS, 1.0):
        ring = centre + (outline - centre) * (1 + (RING - 1) * step)
        ring[:, 2] = depth
        source_parts.append(ring)
        aim_parts.append(ring + outwards * np.float32((1 - step) ** 2 * (1 + 2 * step)))
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
    shift = np.array([0.5, 0.5, 0.0], dtype=np.float32)
    small_aim = ((aim + shift) / np.float32(block) - shift).astype(np.float32)
    index = rasterise(small_aim, everything, low_h, low_w)
    where = warp_map(index, triangle_affines(small_aim, source, everything))
    columns, rows = ((np.arange(n, dtype=np.float32) + 0.5) * block - 0.5 for n in (low_w, low_h))
    here = np.stack(np.meshgrid(columns, rows), axis=-1)
    shifts = np.where((index >= 0)[..., None], where - here, 0).astype(np.float32)
    # Hundredths of a pixel are rounding.
    shifts[np.abs(shifts) < _LEAST_PX] = 0
    return Bend(np.asarray(cv2.blur(shifts, (3, 3)), dtype=np.float32), block, (width, height))


def _outwards(outline: FloatArray, moves: FloatArray) -> FloatArray:
    """(N, 3) what moves of an outline do to its form: one that slides along itself looks the same."""
    along = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    along[:, 2] = 0
    length = np.linalg.norm(along, axis=1, keepdims=True)
    # Where a turned head shows points of it one behind the other, their order says little of its direction.
    along /= np.maximum(length, length.mean() / 2 + np.float32(1e-6))
    return np.asarray(moves - along * (moves * along).sum(axis=1, keepdims=True), dtype=np.float32)
