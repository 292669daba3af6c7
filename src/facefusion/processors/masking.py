"""The masks a recipe asks for, as one alpha per crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from facefusion.imaging.masks import area_mask, box_mask, face_oval, joined, polygon, silhouette, soften
from facefusion.imaging.texture import smoothstep
from facefusion.plugins.protocols import EngineContext, FloatArray, LineMasker, Masker
from facefusion.plugins.registry import build_engine
from facefusion.recipe import four_sides
from facefusion.types.face import Face
from facefusion.types.frame import Pixels

_SURE, _OVER = 0.97, 1.03
"""Size of the outline, over that of the face, in which a network knows face from what is beside it, and beyond which it
does not."""
_FRONT = frozenset({"skin", "nose", "upper-lip", "lower-lip"})
"""Regions that stand out over the oval of a head that is turned."""
_GAP = 0.06
"""Width of what is closed between an oval and the nose that stands out over it, over the height of the face."""
_TURNED, _PROFILE = (30.0, 42.0), (55.0, 65.0)
"""Yaw in degrees over which nose and lips come to stand out over the oval, and over which the mesh loses them."""


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
        self._knows_ovals = recipe.face_occluder_model == "embedded"
        self._has_front = recipe.face_parser_model == "embedded" and set(recipe.face_mask_regions) >= _FRONT
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
        masks = [np.ones((height, width), dtype=np.float32)]
        if "box" in self._kinds:
            masks.append(box_mask(height, width, self._recipe.face_mask_blur, self._padding))
        if self._occluder is not None:
            seen, lines = self._look(original, face)
            if lines is not None:
                masks.append(lines)
            if has_outline:
                masks.append(within_outline(seen, face, self._knows_ovals))
            else:
                masks.append(soften(with_front(seen, face) if self._knows_ovals else seen))
        if "area" in self._kinds:
            masks.append(area_mask(height, width, face.points_68, self._recipe.face_mask_areas))
        if self._parser is not None:
            regions = self._parser.mask([changed], [face])[0]
            masks.append(soften(with_front(regions, face) if self._has_front else regions))
        return np.asarray(np.minimum.reduce(masks), dtype=np.float32)

    def _look(self, original: Pixels, face: Face) -> tuple[FloatArray, FloatArray | None]:
        if isinstance(self._occluder, LineMasker):
            return self._occluder.mask_with_lines([original], [face])[0]
        return cast(Masker, self._occluder).mask([original], [face])[0], None


def within_outline(mask: FloatArray, face: Face, knows_ovals: bool = True) -> FloatArray:
    """What a mask says within the outline of a face, softened; beside it goes on as it is at the rim.

    Parameters
    ----------
    mask
        (H, W) 0 to 1: what a network takes for face.
    face
        In pixels of the mask.
    knows_ovals
        Whether the network learnt faces as ovals of their meshes. Of nose and lips of a head that is turned it says
        nothing then, nor of what lies before them.
    """
    if not knows_ovals:
        return soften(mask, inside=polygon(silhouette(face.mesh, _SURE), *mask.shape))
    inside = polygon(face_oval(face.mesh, _SURE), *mask.shape)
    softened = soften(mask, inside=inside)
    share = _turned(face)
    if share <= 0:
        return softened
    front = _front(face, *mask.shape)
    whole = soften(_with_front(mask, front, face), inside=np.maximum(inside, front))
    return np.asarray(softened + (whole - softened) * share, dtype=np.float32)


def with_front(mask: FloatArray, face: Face) -> FloatArray:
    """A mask in which nose and lips of a head that is turned are face, too; shapes as in `within_outline`."""
    share = _turned(face)
    if share <= 0:
        return mask
    whole = _with_front(mask, _front(face, *mask.shape), face)
    return np.asarray(mask + (whole - mask) * share, dtype=np.float32)


def _with_front(mask: FloatArray, front: FloatArray, face: Face) -> FloatArray:
    return joined(mask, front, _GAP * float(np.ptp(face.mesh[:, 1])))


def _front(face: Face, height: int, width: int) -> FloatArray:
    """(H, W) where a face stands out over its oval.

    Networks that learnt from ovals take nose and lips there for background, so what they say of it does not count.
    """
    outlines = silhouette(face.mesh, _SURE), face_oval(face.mesh, _OVER)
    whole, oval = (polygon(outline, height, width) for outline in outlines)
    return np.asarray(np.maximum(whole - oval, 0), dtype=np.float32)


def _turned(face: Face) -> np.float32:
    """How far a face stands out over its oval, and the mesh says where, 0 to 1."""
    yaw = abs(face.pose.yaw)
    return np.float32(_rise(yaw, _TURNED) * (1 - _rise(yaw, _PROFILE)))


def _rise(value: float, over: tuple[float, float]) -> float:
    return float(smoothstep(np.array((value - over[0]) / (over[1] - over[0]))))
