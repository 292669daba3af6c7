"""Covers faces with something that shows less: blur, pixels, one colour, black.

What a patch hides depends on its strength, and restoration networks invent faces from weak ones; ``docs/anonymise.md``
has what recognisers still read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from facefusion.imaging.masks import disc_around, disc_over, rectangle_around, silhouette
from facefusion.imaging.resample import blur_pixels, pixelate
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.crop import Crop, CropShape, SourceFace
from facefusion.types.face import Face
from facefusion.types.frame import Pixels
from facefusion.types.topology import CHIN, FACE_OVAL, FOREHEAD

GROWTH = 1.22
"""Size of the patch over that of the face: chin, ears and the first of the hair are under it."""
GROWTH_IN_DOUBT = 2.2
"""The same where it is not sure that, or where exactly, there is a face: of who is seen from the side or from
behind the mesh lies on an ear or on hair."""
MARGIN, MARGIN_IN_DOUBT = 0.32, 0.75
"""Room around the mesh for the patch, over the longer side of the mesh."""

HEAD_WIDE, HEAD_HIGH, HEAD_DEEP = 0.66, 0.86, 0.78
"""Half axes of a whole head with hair and ears, over the height of its face."""
HEAD_UP, HEAD_BACK = 0.16, 0.3
"""How far the middle of a head lies above and behind the middle of the face's outline, in the same."""
HEAD_MARGIN = 0.75
"""Room around the mesh that a head may take, over the longer side of the mesh."""
_SIDES = 234, 454
"""Points of the mesh at the left and the right side of the face."""

Patch = Callable[[Pixels, float, float], Pixels]
"""Takes a crop, the height of its face in pixels and a strength from 0 to 1."""


class PatchAnonymiser:
    """Lays one patch over every face.

    Parameters
    ----------
    patch
        What is laid over.
    strength
        0 to 1.
    is_box
        A rectangle instead of a disc.
    is_head
        Over the whole head: hair and ears tell, too.
    """

    needs: frozenset[str] = frozenset()
    covers_fully = True

    def __init__(self, patch: Patch, strength: float, is_box: bool = False, is_head: bool = False) -> None:
        self._patch, self._strength, self._is_box, self._is_head = patch, strength, is_box, is_head
        self._oval = list(FACE_OVAL)
        self.crop_shape: CropShape | None = CropShape(
            "", 0, margin=HEAD_MARGIN if is_head else MARGIN, margin_in_doubt=MARGIN_IN_DOUBT
        )

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """Sources are of no use here."""

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        return [crop.with_layer(*self._cover(crop.visible(), crop.face)) for crop in crops]

    def _cover(self, pixels: Pixels, face: Face) -> tuple[Pixels, FloatArray]:
        (height, width), mesh = pixels.shape[:2], face.mesh
        outline = mesh[self._oval, :2]
        growth = GROWTH_IN_DOUBT if face.is_doubtful else GROWTH
        if self._is_head:
            head = _head_around(mesh, self._oval)
            alpha = disc_around(head, height, width, 1.0, 0.04)
            return self._patch(pixels, float(np.ptp(head, axis=0).max()), self._strength), alpha
        if self._is_box:
            alpha = rectangle_around(silhouette(mesh), height, width, growth)
        else:
            alpha = disc_over(mesh, height, width, growth, 0.08)
        return self._patch(pixels, float(np.ptp(outline, axis=0).max()), self._strength), alpha


def _head_around(mesh: FloatArray, oval: list[int]) -> FloatArray:
    """(N, 2) outline of a whole head about a face, whichever way it is turned.

    A head is about as deep as it is high, so the mesh, which is a mask before it, tells its middle: behind the face,
    and somewhat above it.
    """
    face = mesh[oval].astype(np.float64)
    across = mesh[_SIDES[1]] - mesh[_SIDES[0]]
    down = mesh[CHIN] - mesh[FOREHEAD]
    across, down = (np.asarray(v, np.float64) / max(float(np.linalg.norm(v)), 1e-6) for v in (across, down))
    behind = np.cross(across, down)
    high = float(np.linalg.norm(mesh[CHIN] - mesh[FOREHEAD]))
    middle = face.mean(axis=0) - HEAD_UP * high * down + HEAD_BACK * high * behind
    # The outline of an ellipsoid with these half axes, seen from the front.
    axes = np.stack([HEAD_WIDE * high * across, HEAD_HIGH * high * down, HEAD_DEEP * high * behind])[:, :2]
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = np.sqrt(((rays @ axes.T) ** 2).sum(axis=1))
    own = silhouette(mesh).astype(np.float64)
    # The support of the ellipsoid in every direction; never less than the face itself, grown a little.
    reach = np.maximum(reach, ((own - middle[:2]) @ rays.T).max(axis=0) * 1.06)
    normals, nexts = rays, np.roll(rays, -1, axis=0)
    solved = [
        np.linalg.solve(np.stack([a, b]), np.array([r, s]))
        for a, b, r, s in zip(normals, nexts, reach, np.roll(reach, -1), strict=True)
    ]
    return np.asarray(np.array(solved) + middle[:2], dtype=np.float32)


def _blur(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    return blur_pixels(pixels, face_px * (0.03 + 0.2 * strength))


def pixelate_face(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    """Squares: down to 12 cells over the height of the face at strength 0, 5 at one half, 2 at 1."""
    return pixelate(pixels, max(round(face_px / (12 * 0.17**strength)), 2))


def one_colour(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    """The mean colour of the crop: what a flat mask shows of a face."""
    return np.broadcast_to(pixels.reshape(-1, 3).mean(axis=0).astype(np.uint8), pixels.shape).copy()


def _black(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    return np.zeros_like(pixels)


def build_blur(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(_blur, context.options.strength)


def build_pixelate(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(pixelate_face, context.options.strength)


def build_head(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(pixelate_face, context.options.strength, is_head=True)


def build_mask(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(one_colour, context.options.strength)


def build_blackout(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(_black, context.options.strength, is_box=True)
