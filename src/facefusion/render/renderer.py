"""Renders frames: cut out, process, paste back once. A frame needs only its pixels, the tracks and the sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.composite import crop_box, paste
from facefusion.imaging.crops import cut_native
from facefusion.plugins.protocols import FaceProcessor
from facefusion.types.crop import Crop
from facefusion.types.face import Face, Pose
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.track import Tracks


class Renderer:
    """Renders one frame at a time, in any order and from several threads.

    Parameters
    ----------
    processors
        Prepared face processors, applied in order to the same crop.
    tracks
        What pass 1 left.
    track_ids
        Which people are changed.
    blend
        How crops are joined to the frame: ``feather``, ``pyramid`` or ``poisson``.
    """

    def __init__(
        self, processors: Sequence[FaceProcessor], tracks: Tracks, track_ids: Sequence[int], blend: str = "feather"
    ) -> None:
        self._processors, self._tracks, self._blend = processors, tracks, blend
        self._track_ids = tuple(track_ids)

    def render(self, frame: Frame) -> RenderedFrame:
        """Change the chosen faces of a frame; a frame without any comes back as it is."""
        found = self._tracks.at(frame.pts, self._track_ids)
        faces = [
            Face(track.meshes[row], float(track.scores[row]), Pose(*(float(v) for v in track.poses[row])))
            for track, row in found
        ]
        if not faces:
            return RenderedFrame(frame)
        crops: list[Crop] = [cut_native(frame.pixels, face) for face in faces]
        for processor in self._processors:
            crops = processor.process(crops)
        # Far faces first, so that a near one covers a far one where they overlap.
        crops.sort(key=lambda crop: float(np.ptp(crop.face.mesh[:, 1])))
        return self._join(frame, crops)

    def _join(self, frame: Frame, crops: Sequence[Crop]) -> RenderedFrame:
        """Paste crops onto a copy of the part of the frame that they cover."""
        height, width = frame.pixels.shape[:2]
        boxes = [crop_box(crop.crop_from_frame, crop.pixels.shape[1], crop.pixels.shape[0]) for crop in crops]
        x0, y0 = (max(min(box[k] for box in boxes), 0) for k in (0, 1))
        x1, y1 = (min(max(box[k] for box in boxes), limit) for k, limit in ((2, width), (3, height)))
        if x1 <= x0 or y1 <= y0:
            return RenderedFrame(frame)
        part = frame.pixels[y0:y1, x0:x1].copy()
        changed = []
        for crop in crops:
            crop_from_part = crop.crop_from_frame.copy()
            crop_from_part[:, 2] += crop_from_part[:, :2] @ np.array([x0, y0], dtype=np.float32)
            box = paste(part, crop.pixels, crop.alpha, crop_from_part, self._blend)
            if box is not None:
                changed.append(box)
        if not changed:
            return RenderedFrame(frame)
        left, top = (min(box[k] for box in changed) for k in (0, 1))
        right, bottom = (max(box[k] for box in changed) for k in (2, 3))
        return RenderedFrame(frame, part[top:bottom, left:right], (x0 + left, y0 + top, x0 + right, y0 + bottom))
