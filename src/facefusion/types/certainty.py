"""How sure it is that a track is a face, from all that was seen of it over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]
Certainty = Literal["sure", "unsure", "unlikely"]

SURE, SURE_MESH, SURE_SEEN = 0.55, 0.9, 2
"""What the detector thought of it at best, the median score of its mesh, and frames in which it was seen, from which a
track is a face to both. One frame is enough where there is only one."""
UNLIKELY, UNLIKELY_SMALL, SMALL_PX = 0.4, 0.52, 16.0
"""Best thought of the detector below which a track is taken for something else where the verifier was not asked; the
same for what is smaller."""
UNLIKELY_PHOTO = 0.25
"""The same where there is one frame and nothing to be known from others."""
SCORE_ALONE = 0.9
"""Best score of the mesh from which a track is sure where the detector looked only once."""
BEST_QUARTER = 0.75
NO_VERDICT = -1.0
"""Stands for a verdict where the verifier was not asked."""
LEAST_ODDS, LEAST_ODDS_FEW, FEW = 2.0, -0.5, 2
"""Odds (`Evidence.odds`) below which a find is left alone: where the best of several looks counts, and where there are
fewer looks than so many, as in a photo."""
LEAST_ODDS_FOUND = -1.0
"""The same where the detector is sure by itself; faces held out had -0.9 at least."""
LEAST_ODDS_LARGE, NEARLY_LARGE_PX, LARGE_PX = -2.0, 56.0, 64.0
"""The same for what is so large that a mistake would show too much, and the sizes between which the limit goes there
from the one for what is small: a large face in profile is found by its ear, which neither network thinks much of."""
LEAST_ODDS_CUT, CUT = -4.0, 0.33
"""The same where the picture's border cuts so much off a large find, and less as it cuts less: both networks have seen
few halves of faces. Those had -4.2 at least, and nothing in pictures without people more than -6."""
LEAST_ODDS_ON_BODY = 1.0
"""The same for what lies on somebody's body and is far smaller than their face: hands, above all."""
LEAST_MOVED = 0.65
"""What the verifier and the detector think of what moves by itself, added up, below which it is left alone: it is found
by its way, so both are told little."""
BELIEVED = 0.75
"""Best thought of the detector from which what it is sure of is hidden, whatever the verifier thinks."""
NEVER_SURE = 0.003
"""Least thought and doubt that odds are taken of, so that neither network outweighs the other by being sure."""
LIKE_A_FACE = 0.3
"""Verdict from which what the detector is sure of gets a new face, and no squares."""
INSIDE, LEAST_ODDS_INSIDE = 0.6, 3.0
"""Share of its frames in which a doubtful find is taken for a part of somebody sure, from which it is left alone, and
the odds from which it is not: whoever looks past another's shoulder is near their head, too."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a face.

    Attributes
    ----------
    detector
        The best that the detector thought of it, mean of a look at the picture and one at its mirror image, 0 to 1.
    mesh
        Median score of its mesh where it was measured, 0 to 1.
    seen
        Frames in which it was measured.
    has_moved
        Whether it moved against its surroundings.
    size_px
        Median height of its mesh.
    inside
        Share of its frames in which it is taken for a part of somebody else who is sure to both, and hidden: it lies on
        their head, or looks like one of their hands.
    verdict
        What the verifier made of all looks at it (`verdict_of`), 0 to 1; None where it was not asked.
    cut
        Share of its width or height that lies out of the picture, the larger one, median.
    goes_on
        Whether it is where somebody sure is first or last found, or somebody whose head the border cuts, and goes on
        from there: who is a face in one frame is one in the next.
    beyond
        Share of its head's width or height that lies out of the picture, the larger one, where that is most.
    """

    detector: float
    mesh: float
    seen: int
    has_moved: bool
    size_px: float
    inside: float = 0.0
    verdict: float | None = None
    cut: float = 0.0
    goes_on: bool = False
    beyond: float = 0.0

    @classmethod
    def of(cls, track: Track) -> Evidence | None:
        """Of a track, or None where nobody looked twice."""
        if track.evidence is None:
            return None
        detector, mesh, seen, has_moved, size_px, inside, *rest = (float(v) for v in track.evidence)
        verdict = rest[0] if rest and rest[0] >= 0 else None
        cut = rest[1] if len(rest) > 1 else 0.0
        goes_on = len(rest) > 2 and rest[2] > 0
        beyond = rest[3] if len(rest) > 3 else 0.0
        return cls(detector, mesh, round(seen), has_moved > 0, size_px, inside, verdict, cut, goes_on, beyond)

    @property
    def odds(self) -> float:
        """Log-odds of a face, natural logarithm: the verifier's and twice the detector's; 0 where it was not asked.

        This tells faces held out from the rest better than a sum of both scores: what one network is sure of outweighs
        the other's doubt.
        """
        return 0.0 if self.verdict is None else _log_odds(self.verdict) + 2 * _log_odds(self.detector)

    @property
    def is_part_of_another(self) -> bool:
        """Whether it is taken for a part of somebody sure, who is hidden without it."""
        return self.inside >= INSIDE and (self.verdict is None or self.odds < LEAST_ODDS_INSIDE)

    @property
    def may_be_a_hand(self) -> bool:
        """Whether so little speaks for a face that it is taken for a hand where it lies on somebody's body.

        Not what is so large that a mistake would show too much, nor what the detector believes.
        """
        return (
            self.verdict is not None
            and not self.has_moved
            and self.size_px < LARGE_PX
            and self.detector < BELIEVED
            and self.odds < LEAST_ODDS_ON_BODY
        )

    def as_row(self) -> FloatArray:
        """As it is kept in `Track.evidence`."""
        verdict = NO_VERDICT if self.verdict is None else self.verdict
        seen = self.detector, self.mesh, self.seen, self.has_moved, self.size_px
        return np.array([*seen, self.inside, verdict, self.cut, self.goes_on, self.beyond], dtype=np.float32)

    def is_sure(self, frame_count: int) -> bool:
        """Whether the detector and the mesh are sure of it, in a clip of so many frames."""
        return self.detector >= SURE and self.mesh >= SURE_MESH and self.seen >= min(SURE_SEEN, frame_count)

    def is_left_alone(self, frame_count: int, is_eased: bool = True) -> bool:
        """Whether both networks together think too little of it, in a clip of so many frames.

        What is hidden thanks to eased limits (`_least_odds`) alone is hidden to be safe. That is no reason to take
        others for parts of it, who would be bare for that: where this is asked, limits are those without ease.
        """
        if self.goes_on:
            return False
        if self.verdict is None:
            if self.is_sure(frame_count) or self.has_moved:
                return False
            least = UNLIKELY if self.size_px >= SMALL_PX else UNLIKELY_SMALL
            return self.detector < (UNLIKELY_PHOTO if frame_count == 1 else least)
        if self.detector >= BELIEVED and self.is_sure(frame_count):
            return False
        speaks_against = self.odds < self._least_odds(frame_count, is_eased)
        return speaks_against and (not self.has_moved or self.verdict + self.detector < LEAST_MOVED)

    def _least_odds(self, frame_count: int, is_eased: bool = True) -> float:
        """The limit, without steps between sizes: of one head some frames are a little larger than others.

        Not eased it has steps, and what lies out of the picture makes nothing larger; eased it is never higher.
        """
        small = LEAST_ODDS_FEW if min(self.seen, frame_count) < FEW else LEAST_ODDS
        small = LEAST_ODDS_FOUND if self.detector >= SURE else small
        if not is_eased:
            large = LEAST_ODDS_CUT if self.cut >= CUT else LEAST_ODDS_LARGE
            return large if self.size_px >= LARGE_PX else small
        large = LEAST_ODDS_LARGE + (LEAST_ODDS_CUT - LEAST_ODDS_LARGE) * min(self.cut / CUT, 1.0)
        size = max(self.size_px, 1.0) * (1 + self.beyond)  # of what is cut off the mesh shows too little
        share = math.log(size / NEARLY_LARGE_PX) / math.log(LARGE_PX / NEARLY_LARGE_PX)
        return small + (large - small) * min(max(share, 0.0), 1.0)


def _log_odds(share: float) -> float:
    share = min(max(share, NEVER_SURE), 1 - NEVER_SURE)
    return math.log(share / (1 - share))


def verdict_of(scores: Sequence[float]) -> float:
    """One verdict from the verifier's scores of a find in all frames: what it thinks in its best quarter of them.

    A face is seen well now and then; what is none looks like one by accident, and seldom. `NO_VERDICT` without scores.
    """
    return float(np.quantile(scores, BEST_QUARTER)) if len(scores) else NO_VERDICT


def certainty_of(track: Track, frame_count: int) -> Certainty:
    """How sure it is that a track is a face.

    Parameters
    ----------
    track
        All of it, or a part: what counts is known of the whole.
    frame_count
        Frames of the clip; 1 for a photo.
    """
    found = Evidence.of(track)
    if found is None:
        return "sure" if len(track.scores) and float(track.scores.max()) >= SCORE_ALONE else "unsure"
    if found.is_left_alone(frame_count):
        return "unlikely"
    if found.is_sure(frame_count):
        return "sure" if found.verdict is None or found.verdict >= LIKE_A_FACE else "unsure"
    return "unlikely" if found.is_part_of_another and not found.goes_on else "unsure"


def certainties(tracks: Tracks) -> dict[int, Certainty]:
    """`certainty_of` every track, by its number."""
    return {track.track_id: certainty_of(track, len(tracks.pts)) for track in tracks.tracks}
