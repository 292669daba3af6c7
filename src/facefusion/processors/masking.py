"""The masks a recipe asks for, as one alpha per crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from facefusion.imaging.masks import area_mask, box_mask, polygon, soften
from facefusion.plugins.protocols import EngineContext, FloatArray, Masker
from facefusion.plugins.registry import build_engine
from facefusion.recipe import four_sides
from facefusion.types.face import Face
from facefusion.types.frame import Pixels
from facefusion.types.topology import FACE_OVAL

_SURE = 0.97
"""Size of the outline, over that of the face, in which a network knows face from what is beside it."""


class CropMasks:
    """Box, occlusion, area and region masks, combined by minimum; only those asked for are computed.

    Parameters
    ----------
    context
        Its recipe says how masks are made; models are built only for kinds that need one.
    kinds
        ``box``, ``occlusion``, ``area``, ``region``.
    has_padding
        Whether the box takes the recipe's padding; enhancers do not.
    """

    def __init__(self, context: EngineContext, kinds: Sequence[str], has_padding: bool = True) -> None:
        recipe = context.recipe
        self._kinds, self._recipe = frozenset(kinds), recipe
        self._padding = four_sides(recipe.face_mask_padding) if has_padding else (0, 0, 0, 0)
        self._occluder = self._build("occlusion", "face_occluder", recipe.face_occluder_model, context)
        self._parser = self._build("region", "face_parser", recipe.face_parser_model, context)

    def _build(self, kind: str, capability: str, model: str, context: EngineContext) -> Masker | None:
        return cast(Masker, build_engine(capability, model, context)) if kind in self._kinds else None

    def mask(self, original: Pixels, changed: Pixels, face: Face, has_outline: bool = False) -> FloatArray:
        """(H, W) float32, 0 to 1.

        Parameters
        ----------
        original
            (H, W, 3) crop before the change: what covers the face is seen there.
        changed
            The crop after it: regions are read off the new face.
        face
            The face in crop pixels.
        has_outline
            Whether what is drawn has an outline of its own: then what lies before the face is told from it there, but
            not the face from what is beside it.
        """
        height, width = original.shape[:2]
        inside = None
        if has_outline:
            outline = face.mesh[list(FACE_OVAL), :2]
            middle = outline.mean(axis=0)
            inside = polygon(middle + (outline - middle) * np.float32(_SURE), height, width)
        masks = [np.ones((height, width), dtype=np.float32)]
        if "box" in self._kinds:
            masks.append(box_mask(height, width, self._recipe.face_mask_blur, self._padding))
        if self._occluder is not None:
            masks.append(soften(self._occluder.mask([original], [face])[0], inside=inside))
        if "area" in self._kinds:
            masks.append(area_mask(height, width, face.points_68, self._recipe.face_mask_areas))
        if self._parser is not None:
            masks.append(soften(self._parser.mask([changed], [face])[0]))
        return np.asarray(np.minimum.reduce(masks), dtype=np.float32)
