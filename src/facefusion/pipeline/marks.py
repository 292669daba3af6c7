"""The invisible mark of pictures: set in one that is whole, and looked for in photos and clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facefusion.imaging.mark import Lay, Searcher, Shaper, brightness, halved
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.pipeline.clip import photo_frame
from facefusion.pipeline.plan import find_kind
from facefusion.policy.mark import MAX_HYPOTHESES, Decoded, FoundMark, Known, MarkId, decode, least_cosine
from facefusion.types.frame import Frame, Pixels

FloatArray = npt.NDArray[np.float32]
MAX_FRAMES = 400
"""Frames of a clip that are looked at."""
GROUP, MOST_GROUPS = 16, 16
"""Frames that are averaged before they are looked at, for what moves hides the mark in some groups and not in others;
and how many groups there may be until they become longer."""
_BEGINNING = 1, 3, 12
"""Frames in the first groups: a codec spends most on the first, which is no difference to another."""
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
    groups = _Groups()
    for frame in frames:
        groups.add(brightness(frame.pixels))
    if not groups.count:
        return None
    found = _read(Searcher(*groups.means()), Known(known))
    return None if found is None else FoundMark(found.id.site, found.id.job, found.wrong, groups.count, found.cosine)


class _Groups:
    """Frames that follow each other, averaged in few groups: `_BEGINNING`, then of `GROUP` frames, or of more."""

    def __init__(self) -> None:
        self.count = 0
        self._length = GROUP
        self._sums: list[FloatArray] = []
        self._counts: list[int] = []
        self._total: FloatArray | None = None
        self._in_total = 0

    def add(self, seen: FloatArray) -> None:
        """Another frame's brightness, (H, W) float32, which may be written over."""
        self._total = seen if self._total is None else np.add(self._total, seen, out=self._total)
        self.count += 1
        self._in_total += 1
        if self._in_total == self._aim(len(self._sums)):
            self._close()

    def means(self) -> tuple[list[FloatArray], list[float], list[float]]:
        """Of every group, as far as reading needs them, and two ways of how much each counts; the last call.

        The first is by its frames, the second alike, except for one that is not full.
        """
        self._close()
        for total, count in zip(self._sums, self._counts, strict=True):
            total *= np.float32(1 / count)
        full = [count / self._aim(number) for number, count in enumerate(self._counts)]
        return self._sums, [count / self._length for count in self._counts], full

    def _aim(self, number: int) -> int:
        """Frames in a group that is full."""
        return _BEGINNING[number] if number < len(_BEGINNING) else self._length

    def _close(self) -> None:
        if self._total is None:
            return
        self._sums.append(halved(self._total))
        self._counts.append(self._in_total)
        self._total, self._in_total = None, 0
        own = len(_BEGINNING)
        if len(self._sums) == own + MOST_GROUPS:  # pairs become one, and so will those that follow
            ends = range(own, own + MOST_GROUPS, 2)
            self._sums[own:] = [self._sums[k] + self._sums[k + 1] for k in ends]
            self._counts[own:] = [self._counts[k] + self._counts[k + 1] for k in ends]
            self._length *= 2


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
