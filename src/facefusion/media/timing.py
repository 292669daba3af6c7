"""Times that a container does not tell, or tells wrongly: joined recordings, and frames stored without times."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Timing = Literal["stamped", "counted"]
"""Whether a frame's own time is right, or the n-th frame that is shown gets the n-th time of the packets."""
TICKS_PER_S = 90_000
MAX_LEAP_TICKS = 10 * TICKS_PER_S
"""Times that leap further ahead of all tracks are a new recording, as players take it."""
_SLACK_TICKS = 90
_MAX_WAITING = 64
"""More packets than any decoder keeps; what waits longer will not be shown."""


_LONGEST_S = {"audio": 60}
"""No packet of a kind of track lasts longer, in seconds; of pictures and words none lasts longer than a day."""


def length_of(packet: Any) -> int:
    """How long a packet says that it lasts, in its own units; 0 where it does not or where that cannot be.

    The last packet of sound of an Ogg file, which is cut, has a length below zero, read as 27 hours.
    """
    length = int(packet.duration or 0)
    longest_s = _LONGEST_S.get(packet.stream.type, 86_400)
    return length if length > 0 and length * packet.time_base <= longest_s else 0


@dataclass(frozen=True, slots=True)
class Join:
    """A place where a recording goes on with times of another one.

    Attributes
    ----------
    number
        Of the first packet behind it, counted over all pictures and sound in the order of the file.
    shift_s
        Added to times from there on.
    """

    number: int
    shift_s: Fraction


def find_joins(rows: Sequence[tuple[int, int, int]]) -> tuple[Join, ...]:
    """Where times leap, and by how much what follows has to be moved to go on without a gap.

    Parameters
    ----------
    rows
        Track, time of decoding and duration of every packet of pictures and sound in the order of the file, in
        `TICKS_PER_S`.

    Returns
    -------
    Joins in order. All tracks are moved together, so sound stays with its picture. A single time that is wrong is no
    join.
    """
    followers: list[int | None] = [None] * len(rows)
    latest: dict[int, int] = {}
    for number in range(len(rows) - 1, -1, -1):
        followers[number] = latest.get(rows[number][0])
        latest[rows[number][0]] = number
    joins: list[Join] = []
    joined: set[int] = set()  # tracks that have passed the last join
    ends: dict[int, tuple[int, int]] = {}  # of every track: time and duration of its last packet
    shift, front = 0, None
    for number, (track, time, duration) in enumerate(rows):
        at = time + shift
        if track in ends and front is not None:
            last, length = ends[track]
            if at < last - _SLACK_TICKS or at > front + MAX_LEAP_TICKS:
                follower = followers[number]
                if follower is None or not _goes_on(time, rows[follower][1]):
                    continue
                more = last + length - at
                shift, at = shift + more, last + length
                is_same = bool(joins) and track not in joined and more > 0
                if is_same:  # the other tracks come to the same place: all are moved as far as the longest needs
                    ends = {k: (v[0] + more, v[1]) if k in joined else v for k, v in ends.items()}
                    front = max(end for end, _ in ends.values())
                else:
                    joined = set()
                begin = joins.pop().number if is_same else number
                joins.append(Join(begin, Fraction(shift, TICKS_PER_S)))
        if joins:
            joined.add(track)
        if track in ends and not duration:  # demuxers that leave it out
            duration = max(at - ends[track][0], 0)
        ends[track] = at, duration
        front = at if front is None else max(front, at)
    return tuple(joins)


def _goes_on(time: int, follower: int) -> bool:
    return -_SLACK_TICKS <= follower - time < MAX_LEAP_TICKS


def shift_at(joins: Sequence[Join], number: int) -> Fraction:
    """What is added to the time of a packet, in seconds."""
    before = bisect_right([join.number for join in joins], number)
    return joins[before - 1].shift_s if before else Fraction(0)


class Clock:
    """Gives every frame its time from the beginning of the clip, each later than the one before.

    Parameters
    ----------
    timing
        Of the clip.
    zero
        Container's time that is the beginning.
    step
        Usual duration of a frame.
    least
        How far frames are set apart that claim the same time.
    """

    def __init__(self, timing: Timing, zero: int, step: int, least: int) -> None:
        self._timing, self._zero, self._step, self._least = timing, zero, max(step, 1), max(least, 1)
        self._waiting: list[int] = []
        self._count = 0
        self._last: int | None = None

    def send(self, packet: Any) -> int | None:
        """Take note of a packet that goes to the decoder.

        Returns
        -------
        Time of its frame, None where that cannot be told.
        """
        if self._timing == "stamped":
            return None if packet.pts is None else packet.pts - self._zero
        time = packet.dts if packet.dts is not None else packet.pts
        time = self._count * self._step if time is None else time - self._zero
        self._count += 1
        heapq.heappush(self._waiting, time)
        return time

    def drop(self, time: int | None) -> None:
        """A packet gives no frame."""
        if time in self._waiting:
            self._waiting.remove(time)
            heapq.heapify(self._waiting)

    def time(self, picture: Any) -> int:
        """Time of a decoded frame; frames must come as they are shown."""
        if self._timing == "counted":
            while len(self._waiting) > _MAX_WAITING:
                heapq.heappop(self._waiting)
            at = heapq.heappop(self._waiting) if self._waiting else None
        else:
            at = None if picture.pts is None else picture.pts - self._zero
        if at is None:
            at = 0 if self._last is None else self._last + self._step
        if self._last is not None and at <= self._last:
            at = self._last + self._least
        self._last = at
        return at


def decimal_between(low: Fraction | None, high: Fraction) -> str:
    """The shortest decimal above ``low`` and not above ``high``: times that can be typed and mean exactly one place."""
    for digits in range(7):
        value = high * 10**digits // 1
        if low is None or Fraction(value, 10**digits) > low:
            return f"{value / 10**digits:.{digits}f}"
    return f"{float(high):.6f}"
