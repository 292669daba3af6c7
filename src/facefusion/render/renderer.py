"""Renders frames: cut out, process, paste back once. A frame needs only its pixels, the tracks and the sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.composite import paste
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
            return RenderedFrame(frame, frame.pixels)
        crops: list[Crop] = [cut_native(frame.pixels, face) for face in faces]
        for processor in self._processors:
            crops = processor.process(crops)
        pixels = frame.pixels.copy()
        changed = []
        # Far faces first, so that a near one covers a far one where they overlap.
        for crop in sorted(crops, key=lambda crop: float(np.ptp(crop.face.mesh[:, 1]))):
            pixels, box = paste(pixels, crop.pixels, crop.alpha, crop.crop_from_frame, self._blend)
            if box is not None:
                changed.append(box)
        return RenderedFrame(frame, pixels, tuple(changed))
