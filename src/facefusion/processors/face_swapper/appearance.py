"""What a source's face looks like by itself: complete, evenly lit, without what lies before it.

The texture of a photo goes through a small network that has learnt what faces look like in the texture plane. It gives
the clean texture, coarsely, and says how far the photo's fine detail (moles, pores, hairs) is the person's own; that
detail is put back there, and taken from the other half of the face where this half does not show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefusion.imaging.texture import TexturePlane, blur, resize, unwrap
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray, Masker
from facefusion.plugins.registry import build_engine
from facefusion.types.crop import SourceFace

MODEL = "face_appearance_embedded"
OCCLUDER_MODEL = "face_occluder_embedded"
SIZE = 192
"""Side of the network's textures."""
LOW, HIGH = -2.6, 1.4
"""Limits of the logarithm of a texture without its light, as in training."""
SURE, DOUBTFUL = 0.75, 0.3
"""Chances of something before the face that count as all of it and as nothing."""
SQUARE = 0.45
"""How squarely a part must be seen so that its fine detail is worth more than that of the other half."""


PLAIN_FROM, PLAIN_TO = 0.46, 0.62
"""Distance from the middle of the texture, over half of its side, from which a face is plain skin."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """A clean face.

    Attributes
    ----------
    detail
        (S, S, 3) float32 logarithm of linear light without the light that fell on it.
    own
        (S, S) float32, 0 to 1: how far it is what the photos showed and not what was completed.
    """

    detail: FloatArray
    own: FloatArray


class Completer:
    """Cleans and completes textures.

    Parameters
    ----------
    session
        A session of ``face_appearance_embedded``.
    occluder
        Says where a photo shows the face and nothing before it: the embedded one.

    Attributes
    ----------
    key
        What the answer depends on besides the photos.
    """

    def __init__(self, session: Session, occluder: Masker) -> None:
        self._session, self._occluder = session, occluder
        self.key = session.spec.key, session.provider

    def find_covered(self, source: SourceFace, plane: TexturePlane) -> FloatArray:
        """(S, S) float32: how far something lies before the face of a photo, 0 to 1."""
        (bare,) = self._occluder.mask([source.pixels], [source.face])
        coded = np.clip((1 - bare - DOUBTFUL) * (255 / (SURE - DOUBTFUL)), 0, 255).astype(np.uint8)
        texture, _ = unwrap(np.repeat(coded[..., None], 3, axis=2), source.face.mesh, plane)
        return np.asarray(texture[..., 0] * np.float32(1 / 255), dtype=np.float32)

    def complete(self, detail: FloatArray, seen: FloatArray, covered: FloatArray) -> Appearance:
        """A clean texture from a spoiled one.

        Parameters
        ----------
        detail
            (S, S, 3) logarithm of linear light without the light that fell on the face.
        seen
            (S, S) how squarely each part was seen, 0 where it was not.
        covered
            (S, S) chance that something lies before it.
        """
        side = detail.shape[0]
        small, near, over = (resize(values, SIZE) for values in (np.clip(detail, LOW, HIGH), seen, covered))
        visible = np.clip(near * 12, 0, 1)
        image = np.dstack([small * visible[..., None], near, over]).transpose(2, 0, 1)[None]
        clean, own = self._session.run({"image": np.ascontiguousarray(image, dtype=np.float32)})
        whole, trust = np.ascontiguousarray(clean[0].transpose(1, 2, 0)), np.ascontiguousarray(own[0, 0])
        # What only one half shows, the other has too, more likely than what most people have there.
        known = trust * np.clip((near - 0.06) / 0.4, 0, 1)
        lack = np.clip((known[:, ::-1] - known - 0.15) / 0.6, 0, 1)
        lack = blur(np.asarray(lack * lack * (3 - 2 * lack), dtype=np.float32), 2.0)
        whole = whole + (whole[:, ::-1] - whole) * lack[..., None]
        # At the sides of the head there is skin and nothing that tells anybody apart; photos mostly show hair there.
        side_share = np.abs(np.arange(SIZE) - (SIZE - 1) / 2) / (SIZE / 2)
        plain = np.clip((side_share - PLAIN_FROM) / (PLAIN_TO - PLAIN_FROM), 0, 1)
        whole = whole * (1 - plain * plain * (3 - 2 * plain))[None, :, None]
        wide = resize(np.ascontiguousarray(whole, dtype=np.float32), side)
        trusted = resize(trust, side)
        # Fine detail is what the network's size cannot hold; it comes from the half that shows it best.
        fine = detail - resize(resize(detail, SIZE), side)
        share = trusted * np.clip(seen / SQUARE, 0, 1)
        other = share[:, ::-1] * (1 - share)
        fine = fine * share[..., None] + fine[:, ::-1] * other[..., None]
        return Appearance(np.asarray(wide + fine, dtype=np.float32), trusted)


def build_completer(context: EngineContext) -> Completer:
    """The network and the mask of what is not face, as a recipe asks for them."""
    return Completer(context.session(MODEL), build_engine("face_occluder", "embedded", context))
