"""Sound as samples, on the time line of the film that it goes with."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from facefusion.types.shown import shown


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Samples from the beginning of a file.

    Attributes
    ----------
    samples
        (N, C) float32, -1 to 1; C channels.
    rate
        Samples per second.
    """

    samples: npt.NDArray[np.float32]
    rate: int

    __repr__ = shown

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32 or self.rate <= 0:
            raise ValueError(f"samples must be (N, C) float32, not {self.samples.shape} {self.samples.dtype}")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate

    def around(self, moment: Fraction, length_s: Fraction | float) -> npt.NDArray[np.float32]:
        """What is heard around a moment.

        Parameters
        ----------
        moment
            Seconds from the beginning; the middle of the part.
        length_s
            Length of the part in seconds.

        Returns
        -------
        (round(length_s x rate), C) float32; silence where there is no sound. It depends on the moment alone, so every
        worker gets the same.
        """
        count = round(Fraction(length_s) * self.rate)
        start = round(Fraction(moment) * self.rate) - count // 2
        part = np.zeros((count, self.samples.shape[1]), dtype=np.float32)
        low, high = max(start, 0), min(start + count, len(self.samples))
        if high > low:
            part[low - start : high - start] = self.samples[low:high]
        return part
