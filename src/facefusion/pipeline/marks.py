"""Looks for the invisible mark in photos and clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facefusion.imaging.mark import Lay, Searcher, brightness
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.pipeline.clip import photo_frame
from facefusion.pipeline.plan import find_kind
from facefusion.policy.mark import MAX_HYPOTHESES, FoundMark, decode, least_cosine
from facefusion.types.frame import Frame

FloatArray = npt.NDArray[np.float32]
MAX_FRAMES = 400
"""Frames of a clip that are looked at."""
_KEPT = 24
"""Sizes of the tile in a part of a frame that are looked at closely, those that stand out most first."""


def find_mark(path: Path) -> FoundMark | None:
    """The mark in a photo or a clip.

    Parameters
    ----------
    path
        Any photo or clip.

    Raises
    ------
    FaceFusionError
        When it cannot be read.
    """
    if find_kind(path) == "photo":
        return find_in_frames([photo_frame(read_photo(path, allow_8bit=True))])
    return find_in_frames(islice(ClipReader(path, allow_8bit=True), MAX_FRAMES))


def find_in_frames(frames: Iterable[Frame]) -> FoundMark | None:
    """The mark in consecutive frames, all of one size, which are gone through once."""
    total: FloatArray | None = None
    count = 0
    for frame in frames:
        seen = brightness(frame.pixels)
        total = seen if total is None else np.add(total, seen, out=total)
        count += 1
    if total is None:
        return None
    searcher = Searcher(total / np.float32(count))
    least = least_cosine(MAX_HYPOTHESES)
    for way in _likeliest(searcher):
        found = decode(way.soft)
        if found.cosine >= least:
            return FoundMark(found.id.site, found.id.job, found.wrong, count, found.cosine)
    return None


def _likeliest(searcher: Searcher) -> Iterator[Lay]:
    """Ways of laying the tile, the likeliest first; where it begins is searched for only if the frame is not whole.

    A way is chosen by how long what it reads is, never by where that points: chance has no more words for it.
    """
    whole = sorted(searcher.whole(), key=lambda way: -way.strength)
    assert len(whole) + _KEPT <= MAX_HYPOTHESES
    yield from whole  # all of them: where the picture was taken off what is read may be no longer than by chance
    ways = sorted((searcher.best(size) for size in searcher.sizes()), key=lambda way: -way.strength)
    yield from (searcher.refine(way) for way in ways[:_KEPT])
