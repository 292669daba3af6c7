"""A cut-out of a frame on its way through face processors, and what comes back from them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from facefusion.types.face import Face
from facefusion.types.frame import Pixels
from facefusion.types.shown import shown

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CropShape:
    """The crops that a processor wants.

    Attributes
    ----------
    template
        Name of an alignment template (see `facefusion.imaging.templates`); empty for an upright crop at the frame's
        own scale.
    size
        Side in pixels; 0 where there is no template.
    margin
        Room around the mesh over its longer side, where there is no template.
    margin_in_doubt
        The same where it is not sure that, or where exactly, there is a face; never less than ``margin``.
    max_side
        Longest side in pixels of a crop without a template; larger ones are shrunk.
    """

    template: str
    size: int
    margin: float = 0.02
    max_side: int = 1024
    margin_in_doubt: float = 0.0

    def room_around(self, face: Face) -> float:
        """Room around the mesh of a face over its longer side."""
        return max(self.margin, self.margin_in_doubt if face.is_doubtful else 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """Pixels around one face, and the layer that processors have laid over them.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB: the frame's own until a processor has changed something, from then on the layer.
    crop_from_frame
        (2, 3) float32 affine from frame pixels to crop pixels.
    face
        The face in crop pixels.
    alpha
        (H, W) float32, 0 to 1: where the layer replaces the frame. 0 everywhere until a processor
        has changed something.
    under
        (H, W, 3) uint8 RGB: the frame under the layer; None as long as there is no layer.
    moment
        When its frame is shown, seconds from the beginning of the output; exact.
    """

    pixels: Pixels
    crop_from_frame: FloatArray
    face: Face
    alpha: FloatArray
    under: Pixels | None = None
    moment: Fraction = Fraction(0)

    __repr__ = shown

    def visible(self) -> Pixels:
        """What is seen: the frame with the layer over it."""
        if self.under is None:
            return self.pixels
        share = self.alpha[..., None]
        mixed = self.under + (self.pixels.astype(np.float32) - self.under) * share
        return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)

    def with_layer(self, pixels: Pixels, alpha: FloatArray) -> Crop:
        """The same crop with another layer over all that is there.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB.
        alpha
            (H, W) float32, 0 to 1.

        References
        ----------
        Porter and Duff, Compositing Digital Images, SIGGRAPH 1984 (over).
        """
        if self.under is None:
            return Crop(pixels, self.crop_from_frame, self.face, alpha, self.pixels, self.moment)
        kept = self.alpha * (1 - alpha)
        total = kept + alpha
        weighted = self.pixels * kept[..., None] + pixels * alpha[..., None]
        joined = weighted / np.maximum(total, 1e-6)[..., None]
        return Crop(
            np.clip(joined + 0.5, 0, 255).astype(np.uint8),
            self.crop_from_frame,
            self.face,
            total.astype(np.float32),
            self.under,
            self.moment,
        )


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SourceFace:
    """A face in a source photo.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB of the photo.
    face
        The face in the photo's pixels.
    """

    pixels: Pixels
    face: Face

    __repr__ = shown


Flaw = Literal["below", "above", "turned", "light", "burnt", "frown"]
"""What makes a photo a poor source that shows a whole face: where it is seen from, its light, what the face does."""


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What a processor makes of source photos.

    Attributes
    ----------
    taken
        (S, S, 3) uint8 RGB: the face as the photos show it, unrolled.
    used
        (S, S, 3) uint8 RGB: the face as it is used.
    own
        (S, S) float32, 0 to 1: how far that is what the photos show, not what was completed.
    shares
        How far by part of the face, 0 to 1: ``face`` for all that tells somebody apart, and its parts.
    photos
        The same of all that tells somebody apart, for each photo alone.
    has_eyes
        Whether they show eyes that can be drawn, where eyes are asked for.
    has_glasses
        Whether in any of them glasses are worn, which are left out.
    flaws
        What of the photo that most is from is seen in the new face although nothing is before the face.
    is_colourless
        Whether they have no colours, so that those of the face are what most people have.
    """

    taken: Pixels
    used: Pixels
    own: FloatArray
    shares: dict[str, float]
    photos: tuple[float, ...]
    has_eyes: bool = True
    has_glasses: bool = False
    flaws: tuple[Flaw, ...] = ()
    is_colourless: bool = False

    __repr__ = shown
