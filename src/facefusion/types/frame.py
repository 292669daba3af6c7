"""One picture of a clip, at an exact time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from facefusion.types.shown import shown

Pixels = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB, upright: rotation metadata is already applied.
    index
        Number of the frame in the clip as it is read, from 0.
    pts
        Presentation time in units of ``time_base``; exact.
    time_base
        Seconds per unit.
    native
        The reader's own picture, handed back to the writer so that untouched areas stay exact.
        Opaque to everyone else.
    duration
        How long it is shown in units of ``time_base``; 0 where the container does not say.
    """

    pixels: Pixels
    index: int
    pts: int
    time_base: Fraction
    native: object = None
    duration: int = 0

    __repr__ = shown

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be (H, W, 3) uint8, not {self.pixels.shape} {self.pixels.dtype}")

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a processor that makes frames itself is going to make.

    Attributes
    ----------
    width, height
        Size of its frames in pixels; even numbers.
    frame_rate
        Frames per second, exact.
    frame_count
        How many there will be.
    """

    width: int
    height: int
    frame_rate: Fraction
    frame_count: int

    def __post_init__(self) -> None:
        sides = (self.width, self.height)
        if any(side <= 0 or side % 2 for side in sides) or self.frame_rate <= 0 or self.frame_count <= 0:
            raise ValueError(f"{self} is no clip: its sides are even, and its rate and count above 0")


@dataclass(frozen=True, slots=True, eq=False)
class FrameWindow:
    """A frame among its neighbours.

    Attributes
    ----------
    frames
        Consecutive frames. At the beginning and the end of a clip there are fewer.
    at
        Which of them is in the middle.
    moment
        When the middle one is shown, seconds from the beginning of the output; exact.
    """

    frames: tuple[Frame, ...]
    at: int
    moment: Fraction = Fraction(0)

    __repr__ = shown

    @property
    def now(self) -> Frame:
        """The frame in the middle."""
        return self.frames[self.at]


class Overlay(Protocol):
    """Something that is added to the brightness of a whole frame, last of all."""

    def add(self, luma: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], scale: float = 1.0, bits: int = 8) -> None:
        """Add it in place to (H, W) samples of so many bits, uint8 up to 8 and uint16 above.

        Their levels, brought to 8 bits, are ``scale`` times as fine as those of 0 to 255.
        """

    def add_rgb(self, pixels: Pixels) -> None:
        """Add it in place to (H, W, 3) uint8 RGB."""


@dataclass(frozen=True, slots=True, eq=False)
class RenderedFrame:
    """A frame after pass 2: the target frame and the part that is new.

    Attributes
    ----------
    frame
        The target frame it was made from.
    patch
        (h, w, 3) uint8 RGB, the new pixels of ``box``; None where nothing was changed.
    box
        (x0, y0, x1, y1) half-open box in pixels that holds every changed pixel.
    alpha
        (h, w) float32, 0 to 1: how far the new pixels of ``box`` cover the target's; None where nobody asked for it.
    overlay
        What is added to the whole frame when it is written; None where nothing is. ``patch`` does not hold it.
    """

    frame: Frame
    patch: Pixels | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    alpha: FloatArray | None = None
    overlay: Overlay | None = None

    def with_patch(self, patch: Pixels, box: tuple[int, int, int, int]) -> RenderedFrame:
        """The same frame with other new pixels in a box that holds the one before; what covers it stays in place."""
        if self.alpha is None or box == self.box:
            return RenderedFrame(self.frame, patch, box, self.alpha, self.overlay)
        alpha = np.zeros(patch.shape[:2], dtype=np.float32)
        left, top = self.box[0] - box[0], self.box[1] - box[1]
        alpha[top : top + self.alpha.shape[0], left : left + self.alpha.shape[1]] = self.alpha
        return RenderedFrame(self.frame, patch, box, alpha, self.overlay)

    __repr__ = shown

    @property
    def is_changed(self) -> bool:
        """Whether anything is new."""
        return self.patch is not None

    @property
    def pixels(self) -> Pixels:
        """(H, W, 3) uint8 RGB, the whole picture; the frame's own array where nothing is new."""
        if self.patch is None:
            return self.frame.pixels
        x0, y0, x1, y1 = self.box
        pixels = self.frame.pixels.copy()
        pixels[y0:y1, x0:x1] = self.patch
        if self.overlay is not None:
            self.overlay.add_rgb(pixels)
        return pixels


def scaled_size(width: int, height: int, scale: Fraction) -> tuple[int, int]:
    """Width and height in pixels of a frame whose sides are scaled; half pixels are rounded up."""
    return int(width * scale + Fraction(1, 2)), int(height * scale + Fraction(1, 2))
