"""The invisible mark of pictures: set in one that is whole, and looked for in photos and clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facefusion.imaging.mark import Lay, Searcher, Shaper, brightness
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.pipeline.clip import photo_frame
from facefusion.pipeline.plan import find_kind
from facefusion.policy.mark import MAX_HYPOTHESES, Decoded, FoundMark, Known, MarkId, decode, least_cosine
from facefusion.types.frame import Frame, Pixels

FloatArray = npt.NDArray[np.float32]
MAX_FRAMES = 400
"""Frames of a clip that are looked at."""
_KEPT = 24
"""Sizes of the tile in a part of a frame that are looked at closely, those that stand out most first."""


def marked(pixels: Pixels, mark: MarkId) -> Pixels:
    """A picture with a mark.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB, which stays as it is.
    mark
        What it is to say.
    """
    made = pixels.copy()
    Shaper(mark.signs).add_rgb(made)
    return made


def find_mark(path: Path, known: Sequence[MarkId] = ()) -> FoundMark | None:
    """The mark in a photo or a clip.

    Parameters
    ----------
    path
        Any photo or clip.
    known
        Ids that it may say, such as those of the jobs that are known here: they are told where others no longer are.

    Raises
    ------
    FaceFusionError
        When it cannot be read.
    """
    if find_kind(path) == "photo":
        return find_in_frames([photo_frame(read_photo(path, allow_8bit=True))], known)
    return find_in_frames(islice(ClipReader(path, allow_8bit=True), MAX_FRAMES), known)


def find_in_frames(frames: Iterable[Frame], known: Sequence[MarkId] = ()) -> FoundMark | None:
    """The mark in consecutive frames, all of one size, which are gone through once; ``known`` as in `find_mark`."""
    total: FloatArray | None = None
    count = 0
    for frame in frames:
        seen = brightness(frame.pixels)
        total = seen if total is None else np.add(total, seen, out=total)
        count += 1
    if total is None:
        return None
    found = _read(Searcher(total / np.float32(count)), Known(known))
    return None if found is None else FoundMark(found.id.site, found.id.job, found.wrong, count, found.cosine)


def _read(searcher: Searcher, known: Known) -> Decoded | None:
    """What it says: whatever is beyond doubt first, then the known id that it is nearest to."""
    least, nearest = least_cosine(), None
    for ways in (_of_whole(searcher), _of_part(searcher)):
        for way in ways:
            found = decode(way.soft)
            if found.cosine >= least:
                return found
            near = known.nearest(way.soft)
            if near is not None and (nearest is None or near.cosine > nearest.cosine):
                nearest = near
        if nearest is not None:
            return nearest
    return None


def _of_whole(searcher: Searcher) -> list[Lay]:
    """Ways of laying the tile over a whole frame, the likeliest first.

    A way is chosen by how long what it reads is, never by where that points: chance has no more words for it. All are
    tried: where the picture was taken off what is read may be no longer than by chance.
    """
    whole = sorted(searcher.whole(), key=lambda way: -way.strength)
    assert len(whole) + _KEPT <= MAX_HYPOTHESES
    return whole


def _of_part(searcher: Searcher) -> Iterator[Lay]:
    """Ways of laying it over what may be a part of a frame; where it begins is searched for, which takes seconds."""
    ways = sorted((searcher.best(size) for size in searcher.sizes()), key=lambda way: -way.strength)
    yield from (searcher.refine(way) for way in ways[:_KEPT])
