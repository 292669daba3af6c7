"""Tracks of one person, joined over cuts and long absences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Seen(Protocol):
    """When somebody is seen, and an embedding, if there is one."""

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """(N,) rows in which somebody is seen."""

    @property
    def identity(self) -> FloatArray | None:
        """(D,) embedding, or None."""


def link_people(tracks: Sequence[Seen], same_person_cosine: float) -> tuple[int, ...]:
    """Number of the person behind every track; 0 is the most prominent.

    Tracks are joined best first, by the mean cosine between all their embeddings, and never where two of them show
    somebody in the same frame. A track without an embedding is a person of its own.

    References
    ----------
    Average linkage with cannot-link constraints: Davidson and Ravi, 2005.
    """
    people = np.arange(len(tracks))
    known = [k for k, track in enumerate(tracks) if track.identity is not None]
    if len(known) > 1:
        vectors = np.stack([np.asarray(tracks[k].identity, dtype=np.float64) for k in known])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        cosine = vectors @ vectors.T
        np.fill_diagonal(cosine, -np.inf)
        for a, b in _together([tracks[k].frames for k in known]):
            cosine[a, b] = cosine[b, a] = -np.inf  # a mean with it stays below any limit
        sizes = np.ones(len(known))
        while True:
            a, b = sorted(divmod(int(np.argmax(cosine)), len(known)))
            if cosine[a, b] < same_person_cosine:
                break
            mean = (sizes[a] * cosine[a] + sizes[b] * cosine[b]) / (sizes[a] + sizes[b])
            cosine[a], cosine[:, a] = mean, mean
            cosine[a, a] = cosine[b] = cosine[:, b] = -np.inf
            sizes[a] += sizes[b]
            people[people == people[known[b]]] = people[known[a]]
    # Tracks come most prominent first, so the first track of a group tells its place.
    _, numbers = np.unique(people, return_inverse=True)
    return tuple(numbers.tolist())


def _together(frames: Sequence[npt.NDArray[np.int64]]) -> Iterator[tuple[int, int]]:
    """Pairs that share a frame."""
    order = sorted((k for k in range(len(frames)) if len(frames[k])), key=lambda k: int(frames[k][0]))
    going_on: list[int] = []
    for k in order:
        going_on = [other for other in going_on if frames[other][-1] >= frames[k][0]]
        yield from ((k, other) for other in going_on if np.intersect1d(frames[k], frames[other]).size)
        going_on.append(k)
