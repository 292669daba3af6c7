"""The last step of pass 2: faces that were changed get an invisible mark (`facefusion.imaging.mark`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from facefusion.imaging.mark import PATTERN_COUNT, add_mark, cells_of, grid_box, mesh_five, sample_grid, shape_mark
from facefusion.types.frame import RenderedFrame
from facefusion.types.track import Tracks

FloatArray = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
FADE = Fraction(1, 10)
"""Seconds in which one key goes and the next comes."""


class Marker:
    """Marks frames in any order and from several threads.

    Parameters
    ----------
    tracks
        In pixels of the output.
    track_ids
        Whose faces are changed.
    signs
        What the mark says (`facefusion.policy.mark.MarkId.signs`).
    begin
        Time in pts at which the output begins.
    """

    def __init__(self, tracks: Tracks, track_ids: Sequence[int], signs: FloatArray, begin: int = 0) -> None:
        self._tracks, self._ids, self._signs, self._begin = tracks, tuple(track_ids), signs, begin

    def region(self, pts: int) -> Box | None:
        """Half-open xyxy box of the frame at a time that is looked at, None where nothing is; not clipped."""
        boxes = [grid_box(five) for five in self._faces(pts)]
        if not boxes:
            return None
        low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
        return int(low[0]), int(low[1]), int(high[2]), int(high[3])

    def mark(self, rendered: RenderedFrame, has_changed: Callable[[Box], bool] | None = None) -> RenderedFrame:
        """A rendered frame with the mark; one that nothing was changed in comes back as it is.

        Parameters
        ----------
        rendered
            After all processors.
        has_changed
            Whether something inside a box is new; None asks the frame.
        """
        if rendered.patch is None:
            return rendered
        frame = rendered.frame
        height, width = rendered.patch.shape[:2] if _is_whole(rendered) else frame.pixels.shape[:2]
        faces = [five for five in self._faces(frame.pts) if _meets(grid_box(five), rendered.box)]
        if not faces:
            return rendered
        boxes = np.array([rendered.box, *(grid_box(five) for five in faces)])
        x0, y0 = (int(v) for v in np.maximum(boxes[:, :2].min(axis=0), 0))
        x1, y1 = (int(v) for v in np.minimum(boxes[:, 2:].max(axis=0), [width, height]))
        if _is_whole(rendered):
            patch = rendered.patch.copy()
        else:
            patch = frame.pixels[y0:y1, x0:x1].copy()
            left, top, right, bottom = rendered.box
            patch[top - y0 : bottom - y0, left - x0 : right - x0] = rendered.patch
        pattern, strength = self._key_at((frame.pts - self._begin) * frame.time_base)
        for five in faces:
            own = five - np.array([x0, y0], dtype=np.float32)
            sampled = sample_grid(patch, own)
            if sampled is None:
                continue
            a, b, c, d = grid_box(own)
            cell_px = max(float((c - a) * (d - b)), 1.0) / (len(sampled) / 3) ** 2
            cells = shape_mark(cells_of(sampled), self._signs, pattern, strength, cell_px, float(width * height))
            add_mark(patch, (0, 0), own, cells)
        return rendered.with_patch(patch, (x0, y0, x1, y1))

    def _faces(self, pts: int) -> list[FloatArray]:
        return [mesh_five(track.meshes[row]) for track, row in self._tracks.at(pts, self._ids)]

    @staticmethod
    def _key_at(moment: Fraction) -> tuple[int, float]:
        """Which key a moment has, and how strong the mark is."""
        second = moment // 1
        inside = moment - second
        edge = min(inside, 1 - inside) if moment >= FADE else 1 - inside
        return int(second) % PATTERN_COUNT, float(min(Fraction(1, 4) + edge / FADE, Fraction(1)))


def _is_whole(rendered: RenderedFrame) -> bool:
    """Whether all of the frame is new, perhaps of another size."""
    assert rendered.patch is not None
    return rendered.box == (0, 0, rendered.patch.shape[1], rendered.patch.shape[0])


def _meets(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
