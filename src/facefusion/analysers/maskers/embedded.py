"""The embedded mask network: what is face, what lies before it, and which part of the face it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.align import invert, mesh_crop
from facefusion.imaging.resample import cut, warp
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.recipe import MASK_REGIONS
from facefusion.types.face import Face
from facefusion.types.frame import Pixels

SIZE = 128
CLASSES = ("other", *MASK_REGIONS, "hair")
"""Channels of the network's output: everything that is not face, FaceFusion's regions, hair over the face."""
_COVERED = ("other", "glasses", "hair")
ENOUGH = 0.6
"""Chance of uncovered face that counts as all of it. Masks are drawn inwards where they are used
(`facefusion.imaging.masks.soften`), so without this brows, beard and outline would be lost with what is doubtful."""
GLASSES = 0.6
"""Chance of glasses that leaves no face: thin frames are never sure at this size, and missed at once."""
_HALF = (0.5, 0.5, 0.5)


class EmbeddedMasker:
    """Adds up the chances of some classes; see ``docs/models/face_occluder_embedded.md``.

    Parameters
    ----------
    session
        A session of ``face_occluder_embedded`` or ``face_parser_embedded``, which share one file.
    names
        Classes that count.
    enough
        Sum of chances that counts as 1.
    glasses
        Chance of glasses that leaves nothing; None where they do not count by themselves.
    """

    def __init__(
        self, session: Session, names: Sequence[str], enough: float = 1.0, glasses: float | None = None
    ) -> None:
        self._session, self._enough, self._glasses = session, enough, glasses
        self._rows = [CLASSES.index(name) for name in names]

    def mask(self, crops: Sequence[Pixels], faces: Sequence[Face]) -> list[FloatArray]:
        """See `facefusion.plugins.protocols.Masker`."""
        affines = [mesh_crop(face.mesh, SIZE) for face in faces]
        small = [cut(crop, affine, SIZE) for crop, affine in zip(crops, affines, strict=True)]
        (chances,) = self._session.run({"image": to_tensor(small, _HALF, _HALF)})
        found = np.clip(chances[:, self._rows].sum(axis=1) / np.float32(self._enough), 0, 1)
        if self._glasses is not None:
            glasses = chances[:, CLASSES.index("glasses")]
            found = np.minimum(found, 1 - np.clip(glasses / np.float32(self._glasses), 0, 1))
        return [
            warp(np.ascontiguousarray(mask), invert(affine), crop.shape[1], crop.shape[0], is_border_black=True)
            for mask, affine, crop in zip(found, affines, crops, strict=True)
        ]


def build_occluder(context: EngineContext) -> EmbeddedMasker:
    """Builder of the mask of uncovered face."""
    names = [name for name in CLASSES if name not in _COVERED]
    return EmbeddedMasker(context.session("face_occluder_embedded"), names, ENOUGH, GLASSES)


def build_parser(context: EngineContext) -> EmbeddedMasker:
    """Builder of the mask of chosen regions."""
    return EmbeddedMasker(context.session("face_parser_embedded"), context.recipe.face_mask_regions)
