"""Who stands before whom: their heads are left alone by what is done to those behind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from facefusion.imaging.masks import HEAD
from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]


def stand_beside(tracks: Tracks, track: Track, row: int) -> tuple[FloatArray, ...]:
    """Meshes (478, 3) in frame pixels of the other people whose heads are near somebody in one of its rows."""
    return tuple(mesh for mesh, _ in _others(tracks, track, row, own_side=HEAD))


def stand_before(tracks: Tracks, track: Track, row: int) -> tuple[FloatArray, ...]:
    """Meshes (478, 3) in frame pixels of the people who stand before somebody in one of its rows."""
    depth = track.depth(row)
    if depth == 0:
        return ()
    return tuple(mesh for mesh, other_depth in _others(tracks, track, row, own_side=1.0) if other_depth < depth)


def _others(tracks: Tracks, track: Track, row: int, own_side: float) -> Iterator[tuple[FloatArray, int]]:
    """Meshes and depths of other people whose heads meet somebody's face, whose box is taken to be so much larger."""
    mesh = track.meshes[row]
    for other, at in tracks.at(int(tracks.pts[track.frames[row]]), [one.track_id for one in tracks.tracks]):
        if other.track_id != track.track_id:
            reach = HEAD * np.ptp(other.meshes[at][:, :2], axis=0) / 2 + own_side * np.ptp(mesh[:, :2], axis=0) / 2
            if (np.abs((other.meshes[at] - mesh)[:, :2].mean(axis=0)) < 1.2 * reach).all():
                yield np.asarray(other.meshes[at], dtype=np.float32), other.depth(at)
