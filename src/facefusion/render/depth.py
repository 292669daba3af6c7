"""Who stands before whom: their heads are left alone by what is done to those behind."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.imaging.masks import HEAD
from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]


def stand_beside(tracks: Tracks, track: Track, row: int) -> tuple[FloatArray, ...]:
    """Meshes (478, 3) in frame pixels of the other people whose heads are near somebody in one of its rows."""
    mesh, found = track.meshes[row], []
    for other, at in tracks.at(int(tracks.pts[track.frames[row]]), [one.track_id for one in tracks.tracks]):
        if other.track_id != track.track_id:
            reach = HEAD * (np.ptp(other.meshes[at][:, :2], axis=0) + np.ptp(mesh[:, :2], axis=0)) / 2
            if (np.abs((other.meshes[at] - mesh)[:, :2].mean(axis=0)) < 1.2 * reach).all():
                found.append(np.asarray(other.meshes[at], dtype=np.float32))
    return tuple(found)


def stand_before(tracks: Tracks, track: Track, row: int) -> tuple[FloatArray, ...]:
    """Meshes (478, 3) in frame pixels of the people who stand before somebody in one of its rows."""
    depth = track.depth(row)
    if depth == 0:
        return ()
    mesh, found = track.meshes[row], []
    pts = int(tracks.pts[track.frames[row]])
    for other, at in tracks.at(pts, [one.track_id for one in tracks.tracks]):
        if other.track_id != track.track_id and other.depth(at) < depth:
            reach = HEAD * np.ptp(other.meshes[at][:, :2], axis=0) / 2 + np.ptp(mesh[:, :2], axis=0) / 2
            if (np.abs((other.meshes[at] - mesh)[:, :2].mean(axis=0)) < 1.2 * reach).all():
                found.append(np.asarray(other.meshes[at], dtype=np.float32))
    return tuple(found)
