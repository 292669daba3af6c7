"""Looks for the invisible mark of changed faces in photos and clips."""

from __future__ import annotations

from collections.abc import Iterable
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
from facefusion.types.track import Tracks

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
    return find_in_frames(islice(ClipReader(path, allow_8bit=True), MAX_FRAMES), analyser)


def find_in_frames(frames: Iterable[Frame], analyser: Analyser) -> FoundMark | None:
    """The mark in consecutive frames.

    Parameters
    ----------
    frames
        All of one size; they are held in memory as long as this takes.
    analyser
        Finds the faces.
    """
    held = list(frames)
    if not held:
        return None
    return find_in_tracks(held, analyser.analyse(held))


def find_in_tracks(frames: list[Frame], tracks: Tracks) -> FoundMark | None:
    """The mark in frames where it is known who is where."""
    least = least_cosine(MAX_HYPOTHESES)
    chosen = sorted(tracks.tracks, key=lambda track: -len(track.frames))[:MAX_FACES]
    bin_count = PATTERN_COUNT * _BINS_PER_KEY
    assert MAX_FACES * lay_count(bin_count) <= MAX_HYPOTHESES
    for track in chosen:
        sums: list[FloatArray | None] = [None] * bin_count
        counts = [0] * bin_count
        for frame in frames:
            for _, row in tracks.at(frame.pts, (track.track_id,)):
                grid = sample_grid(frame.pixels, mesh_five(track.meshes[row]))
                if grid is None:
                    continue
                moment = (frame.pts - frames[0].pts) * frame.time_base
                number = int(moment * _BINS_PER_KEY // Fraction(1)) % bin_count
                before = sums[number]
                sums[number] = grid if before is None else before + grid
                counts[number] += 1
        if not any(counts):
            continue
        means = [
            None if total is None else total / np.float32(count) for total, count in zip(sums, counts, strict=True)
        ]
        for way in read_grids(means, _BINS_PER_KEY):
            found = decode(way.soft)
            if found.cosine >= least:
                return FoundMark(found.id.site, found.id.job, found.wrong, sum(counts), found.cosine)
    return None
