"""Frames by their numbers: when the Nth one is shown, as those count who cut by frames."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import ceil
from pathlib import Path

from facefusion.media.probe import file_state, film_of
from facefusion.media.reader import ClipReader
from facefusion.types.numbers import write_numbers


def count_frames(path: Path) -> int:
    """Frames that a clip's packets promise.

    Raises
    ------
    MediaError
    """
    return len(_times(path, file_state(path))[0])


def time_of_frame(path: Path, number: int) -> float | None:
    """Seconds from the beginning of a clip at which a part begins whose first frame has that number.

    Parameters
    ----------
    path
        The clip.
    number
        Of the frame, in the order in which frames are shown, from 0.

    Returns
    -------
    None where the clip has no such frame.

    Raises
    ------
    MediaError
    """
    times, base = _times(path, file_state(path))
    if number >= len(times):
        return None
    exact = times[number] * base
    before = times[number - 1] if number else times[number] - 1
    for seconds in (float(exact), float(exact) - 1e-6, float(before + times[number]) / 2 * float(base)):
        # As a reader takes it: the frame must be the first that is not earlier.
        if seconds >= 0 and before < ceil(Fraction(seconds).limit_denominator(1_000_000) / base) <= times[number]:
            return seconds
    return max(float(exact), 0.0)


def numbers_of(reader: ClipReader) -> str:
    """Numbers in their clip of the frames that a reader gives (`facefusion.types.numbers`); empty where it gives all.

    Raises
    ------
    MediaError
    """
    first, stop = reader.span_pts()
    if first is None and stop is None and not reader.left_out:
        return ""
    times, _ = _times(reader.info.path, file_state(reader.info.path))
    kept = [
        number
        for number, time in enumerate(times)
        if (first is None or time >= first) and (stop is None or time < stop) and time not in reader.left_out
    ]
    return write_numbers(kept)


@lru_cache(maxsize=16)
def _times(path: Path, state: tuple[int, int]) -> tuple[tuple[int, ...], Fraction]:
    """Times of all frames in pts, sorted, and the time base; remembered as long as the file does not change."""
    reader = ClipReader(path, allow_8bit=True)
    info = reader.info
    found: list[int] = []
    untimed = 0
    with reader.open() as container:
        for packet in reader.packets(container, [film_of(container)]):
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                untimed += 1
            else:
                found.append(packet.pts - info.zero)
    if untimed:  # no times are kept: the rate says when they are
        step = 1 / ((info.frame_rate or Fraction(25)) * info.time_base)
        found = [round(number * step) for number in range(len(found) + untimed)]
    times: list[int] = []
    for time in sorted(time for time in found if time >= 0):
        times.append(max(time, times[-1] + 1) if times else time)  # as a reader takes two frames of one time
    return tuple(times), info.time_base
