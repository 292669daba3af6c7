"""The grain of the shot, laid over what was changed: a face without any looks like plastic in a grainy film.

It is the target's own grain of the same frame at the same place, so it is as strong, as coarse and as colourful as
around the face, and as restless: it comes after the smoothing over time, which would take it off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.finish import grain_of
from facefusion.imaging.light import largest_of_channels
from facefusion.imaging.resample import add, mean_around, subtract
from facefusion.types.frame import RenderedFrame
from facefusion.types.track import Tracks

NOTICED, FULL = 1.5, 3.0
"""Levels of 255 between which grain begins to count; skin alone measures about one."""
_COVERED = 3.0
"""Levels of 255 from which a change counts as covering."""


class GrainMatcher:
    """Adds grain where people were changed, from several threads.

    Parameters
    ----------
    tracks
        What pass 1 left.
    track_ids
        People whose faces get grain.
    strength
        0 to 1.
    """

    def __init__(self, tracks: Tracks, track_ids: Sequence[int], strength: float) -> None:
        self._tracks, self._ids, self._strength = tracks, tuple(track_ids), strength

    def match(self, rendered: RenderedFrame) -> RenderedFrame:
        """A frame whose changed part is as grainy as the rest."""
        if not rendered.is_changed or self._strength <= 0:
            return rendered
        grains = [track.face(row).grain for track, row in self._tracks.at(rendered.frame.pts, self._ids)]
        sigma = max(grains, default=0.0)
        share = self._strength * min(max((sigma - NOTICED) / (FULL - NOTICED), 0.0), 1.0)
        if share <= 0:
            return rendered
        assert rendered.patch is not None
        x0, y0, x1, y1 = rendered.box
        target = rendered.frame.pixels[y0:y1, x0:x1]
        change = largest_of_channels(np.abs(subtract(rendered.patch, target)))
        covered = mean_around(np.minimum(change * np.float32(1 / _COVERED), 1), 5)
        is_covered = covered > 0.5
        if not is_covered.any():
            return rendered
        grain = grain_of(target, sigma)
        # Skin of the source that is finely drawn needs less.
        wanted, own = (float((g[is_covered] ** 2).mean()) for g in (grain, grain_of(rendered.patch, sigma)))
        missing = float(np.sqrt(max(wanted - own, 0.0) / max(wanted, 1e-6)))
        added = grain * (covered * np.float32(share * missing))[..., None]
        return rendered.with_patch(add(rendered.patch, added), rendered.box)
