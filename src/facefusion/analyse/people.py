"""Tracks of one person, joined over cuts and long absences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from facefusion.types.track import Track

FloatArray = npt.NDArray[np.float32]


def link_people(tracks: Sequence[Track], same_person_cosine: float) -> tuple[int, ...]:
    """Number of the person behind every track; 0 is the most prominent.

    Tracks are joined best first, by the mean cosine between all their embeddings, and never where two of them show
    somebody in the same frame. A track without an embedding is a person of its own.

    References
    ----------
    Average linkage with cannot-link constraints: Davidson and Ravi, 2005.
    """
    groups: list[list[int]] = [[k] for k in range(len(tracks))]
    vectors = [
        None if t.identity is None else t.identity / max(float(np.linalg.norm(t.identity)), 1e-9) for t in tracks
    ]
    cosine = np.full((len(tracks), len(tracks)), -1.0)
    for a, one in enumerate(vectors):
        for b, other in enumerate(vectors):
            if one is not None and other is not None and not np.intersect1d(tracks[a].frames, tracks[b].frames).size:
                cosine[a, b] = float(one @ other)
            else:
                cosine[a, b] = -np.inf  # a mean with it stays below any limit
    while True:
        best = max(
            (
                (float(cosine[np.ix_(a, b)].mean()), i, j)
                for i, a in enumerate(groups)
                for j, b in enumerate(groups[:i])
            ),
            default=(-np.inf, 0, 0),
        )
        if best[0] < same_person_cosine:
            break
        groups[best[2]] += groups.pop(best[1])
    # Tracks come most prominent first, so the first track of a group tells its place.
    order = sorted(min(group) for group in groups)
    person_of = {k: order.index(min(group)) for group in groups for k in group}
    return tuple(person_of[k] for k in range(len(tracks)))
