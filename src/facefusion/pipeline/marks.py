"""Looks for the invisible mark of changed faces in photos and clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facefusion.analyse.analyser import Analyser
from facefusion.imaging.mark import PATTERN_COUNT, lay_count, mesh_five, read_grids, sample_grid
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.pipeline.cast import build_analyser
from facefusion.pipeline.clip import photo_frame
from facefusion.pipeline.plan import find_kind
from facefusion.pipeline.resolved import resolve
from facefusion.policy.mark import MAX_HYPOTHESES, FoundMark, decode, least_cosine
from facefusion.recipe import Recipe
from facefusion.types.frame import Frame

FloatArray = npt.NDArray[np.float32]
MAX_FRAMES = 400
"""Frames of a clip that are looked at."""
MAX_FACES = 4
"""Tracks that are looked at, those seen longest first."""
_BINS_PER_KEY = 4


def find_mark(path: Path, recipe: Recipe | None = None) -> FoundMark | None:
    """The mark in a photo or a clip.

    Parameters
    ----------
    path
        Any photo or clip.
    recipe
        For its options of execution and its models; the mark is looked for with the embedded ones.

    Raises
    ------
    FaceFusionError
        When it cannot be read.
    """
    analyser = build_analyser(resolve(recipe or Recipe(faces="all")))
    if find_kind(path) == "photo":
        return find_in_frames([photo_frame(read_photo(path, allow_8bit=True))], analyser)
    return find_in_frames(_Frames(path), analyser)


class _Frames:
    """The first frames of a clip, read anew each time that they are asked for: in memory they might not all fit."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Frame]:
        return islice(ClipReader(self._path, allow_8bit=True), MAX_FRAMES)


def find_in_frames(frames: Iterable[Frame], analyser: Analyser) -> FoundMark | None:
    """The mark in consecutive frames.

    Parameters
    ----------
    frames
        All of one size; they are gone through twice.
    analyser
        Finds the faces.
    """
    first = next(iter(frames), None)
    if first is None:
        return None
    tracks = analyser.analyse(frames)
    least = least_cosine(MAX_HYPOTHESES)
    bin_count = PATTERN_COUNT * _BINS_PER_KEY
    assert MAX_FACES * lay_count(bin_count) <= MAX_HYPOTHESES
    chosen = sorted(tracks.tracks, key=lambda track: -len(track.frames))[:MAX_FACES]
    sums: dict[int, list[FloatArray | None]] = {track.track_id: [None] * bin_count for track in chosen}
    counts = {track.track_id: [0] * bin_count for track in chosen}
    for frame in frames if chosen else ():
        number = int((frame.pts - first.pts) * frame.time_base * _BINS_PER_KEY // Fraction(1)) % bin_count
        for track, row in tracks.at(frame.pts, tuple(sums)):
            grid = sample_grid(frame.pixels, mesh_five(track.meshes[row]))
            if grid is None:
                continue
            before = sums[track.track_id][number]
            sums[track.track_id][number] = grid if before is None else before + grid
            counts[track.track_id][number] += 1
    for track_id, seen in counts.items():
        if not any(seen):
            continue
        means = [
            None if total is None else total / np.float32(count)
            for total, count in zip(sums[track_id], seen, strict=True)
        ]
        for way in read_grids(means, _BINS_PER_KEY):
            found = decode(way.soft)
            if found.cosine >= least:
                return FoundMark(found.id.site, found.id.job, found.wrong, sum(seen), found.cosine)
    return None
