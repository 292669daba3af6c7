"""Numbers of frames as a short text: ``13:25:1`` is 25 numbers from 13, one apart. And what a rate means."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

_OVER_1001 = (24, 30, 48, 60, 120)
_AS_ROUNDED = 0.005


def rate_of(value: float) -> Fraction:
    """Frames a second that are meant: 23.976 (or 23.98), 29.97, 47.952, 59.94 and 119.88 are rates over 1001."""
    for whole in _OVER_1001:
        exact = Fraction(whole * 1000, 1001)
        if abs(exact - value) < _AS_ROUNDED:
            return exact
    return Fraction(value).limit_denominator(1001) or Fraction(1, 1001)


def write_numbers(numbers: Sequence[int]) -> str:
    """Rising numbers as runs of equal steps; empty where there are none."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and len(runs[-1]) == 1:
            runs[-1] += [number]
        elif runs and number - runs[-1][-1] == runs[-1][1] - runs[-1][0]:
            runs[-1] = [*runs[-1][:2], number]
        else:
            runs.append([number])
    told = []
    for run in runs:
        step = run[1] - run[0] if len(run) > 1 else 1
        told.append(f"{run[0]}:{(run[-1] - run[0]) // step + 1}:{step}")
    return " ".join(told)


def read_numbers(text: str, count: int) -> npt.NDArray[np.int64]:
    """(count,) int64 of what `write_numbers` wrote.

    Where it tells of another count, since frames could not be read, numbers go on from the first one; from 0 where it
    tells of none.
    """
    try:
        runs = [tuple(int(word) for word in run.split(":")) for run in text.split()]
        if sum(length for _, length, _ in runs) == count > 0:
            return np.concatenate([first + step * np.arange(length) for first, length, step in runs]).astype(np.int64)
        first = runs[0][0] if runs else 0
    except ValueError:
        first = 0
    return np.arange(first, first + count, dtype=np.int64)
