"""Tracks of one person, joined over cuts and long absences; and where one track comes to show somebody else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

STRANGE = 0.6
"""Share of the cosine from which two looks are one person, below which a look is not of whom the ones before are, or
of their profile, or of a hand before them."""
LEARNED = 0.6
"""Share of the way from the cosine of one person to 1, from which a look is added to what is known of them."""
APART = 4
"""Frames between two looks that bear each other out; nearer ones share the same blur and the same hand."""

ALSO = 8
"""Frames before and after which no look shows the other person, in which they may shine through all the same."""


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


@dataclass(slots=True)
class Sameness:
    """Whether the looks at a face that is followed are still of one person, look by look.

    One strange look is blur or a hand; two strange ones that are like each other are somebody else if the picture has
    become another meanwhile, as in a dissolve. In the same picture it is a profile, or a hand that stays.

    Attributes
    ----------
    same_person_cosine
        Cosine above which two embeddings are one person.
    known
        (D,) sum of the looks that are surely of this person, or None before the first.
    first
        (D,) unit embedding that the others of those are like.
    strange
        Frame and (D,) unit embedding of the last look, where that was strange.
    turns
        Rising frames at which the picture as a whole had become another; more may come to it.
    at
        Frame of the last look that was surely of this person.
    """

    same_person_cosine: float
    turns: Sequence[int] = ()
    known: FloatArray | None = None
    first: FloatArray | None = None
    strange: tuple[int, FloatArray] | None = None
    at: int = 0

    def see(self, frame: int, embedding: FloatArray) -> bool:
        """Take in the next look; whether it and the last strange one show somebody else, who is then known instead."""
        unit = _unit(embedding)
        likeness = 1.0 if self.known is None else float(unit @ _unit(self.known))
        if likeness >= STRANGE * self.same_person_cosine:
            # What is between, as in a dissolve, would make the next one less strange, and that the one after it.
            least = self.same_person_cosine + LEARNED * (1 - self.same_person_cosine)
            if self.known is None or self.first is None:
                self.known, self.first, self.at = unit, unit, frame
            elif float(unit @ self.first) >= least:
                self.known, self.at = self.known + unit, frame
            self.strange = None
            return False
        if bisect_right(self.turns, frame) <= bisect_right(self.turns, self.at):
            return False
        if self.strange is not None and float(unit @ self.strange[1]) >= self.same_person_cosine:
            if frame - self.strange[0] < APART:
                return False
            self.known, self.first, self.strange, self.at = self.strange[1] + unit, unit, None, frame
            return True
        self.strange = frame, unit
        return False


@dataclass(frozen=True, slots=True)
class Change:
    """Where a face that is followed comes to be somebody else's.

    Attributes
    ----------
    at
        First frame that is more of the second person than of the first.
    last, begins
        Frames of the last look that shows the first person and nothing of the second, and of the first one that shows
        the second and nothing of the first.
    """

    at: int
    last: int
    begins: int

    @property
    def both(self) -> tuple[int, int]:
        """Half-open span of frames in which both may be seen."""
        return self.last - ALSO, self.begins + ALSO + 1


def find_changes(
    frames: npt.NDArray[np.int64], embeddings: FloatArray, same_person_cosine: float, turns: Sequence[int]
) -> list[Change]:
    """Where the looks at one track come to be of somebody else.

    Parameters
    ----------
    frames
        (N,) of the looks, rising.
    embeddings
        (N, D) of them.
    same_person_cosine
        Cosine above which two embeddings are one person.
    turns
        Rising frames at which the picture as a whole has become another.
    """
    if len(frames) < 2:
        return []
    units = [_unit(one) for one in embeddings]
    sameness = Sameness(same_person_cosine, turns)
    firsts, known = [0], []  # of every person: the first look, and what is known of them
    for frame, unit in zip(frames.tolist(), units, strict=True):
        before, strange = sameness.known, sameness.strange
        if sameness.see(frame, unit):
            assert before is not None
            assert strange is not None
            firsts.append(int(np.searchsorted(frames, strange[0])))
            known.append(_unit(before))
    assert sameness.known is not None
    known.append(_unit(sameness.known))
    bounds = [*firsts, len(frames)]
    changes: list[Change] = []
    for number in range(1, len(firsts)):
        one, other = known[number - 1], known[number]
        first, stop = bounds[number - 1], bounds[number + 1]
        turn = bounds[number]
        while turn > first + 1 and units[turn - 1] @ other > units[turn - 1] @ one:
            turn -= 1
        sure = [k for k in range(first, turn) if _is_surely(units[k], one, other, same_person_cosine)]
        sure_other = [k for k in range(turn, stop) if _is_surely(units[k], other, one, same_person_cosine)]
        last, begins = sure[-1] if sure else first, sure_other[0] if sure_other else stop - 1
        turned = int(frames[turn - 1] + frames[turn] + 1) // 2
        changes.append(Change(turned, int(frames[last]), int(frames[begins])))
    return changes


def _is_surely(unit: FloatArray, one: FloatArray, other: FloatArray, same_person_cosine: float) -> bool:
    """Whether a look shows the one and nothing of the other."""
    return bool(unit @ one >= same_person_cosine and unit @ other < STRANGE * same_person_cosine)


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), dtype=np.float32)
