"""How much a face looks like another, by its unwrapped texture. No recogniser: it compares surfaces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.imaging.light import to_log
from facefusion.imaging.texture import TexturePlane, blur, build_plane, inner_distance, resize, unwrap
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.types.frame import Pixels
from facefusion.types.topology import FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE

FloatArray = npt.NDArray[np.float32]

SIZE = 256
CELLS = 96


class Likeness:
    """Compares faces by the middle frequencies of their textures: brows, lids, nose, lips, folds.

    Light and skin colour are taken out first, and pose and expression by the mesh. Values run from
    -1 to 1. All faces share much of their relief: two strangers have about 0.5, so only differences
    between such figures mean something. It says whether the source's face is on the
    target's head, not who a stranger would see: use a face recogniser for that.
    """

    def __init__(self) -> None:
        topology = load_mesh_topology()
        triangles = np.concatenate([topology.skin, topology.eyes, topology.mouth])
        self._plane: TexturePlane = build_plane(topology.mean, triangles, np.array(FACE_OVAL, dtype=np.int32), SIZE)
        inside = np.clip((inner_distance(self._plane.points[list(FACE_OVAL)], SIZE) - 16) / 12, 0, 1)
        for ring in (LEFT_EYE, RIGHT_EYE, LIPS_INNER):
            hole = (inner_distance(self._plane.points[list(ring)], SIZE) > 0).astype(np.float32)
            inside = inside * (1 - np.clip(blur(hole, 2.0) * 2, 0, 1))
        self._weight = resize(inside.astype(np.float32), CELLS)

    def describe(self, pixels: Pixels, mesh: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Texture of a face without its light, (C, C), and how well each cell is seen, (C, C)."""
        texture, quality = unwrap(pixels, mesh, self._plane)
        light = resize(np.ascontiguousarray(to_log(texture).mean(axis=-1), dtype=np.float32), CELLS)
        weight = self._weight * resize(quality, CELLS)
        local = blur(light * weight, 4.0) / (blur(weight, 4.0) + 1e-3)
        return np.asarray((light - local) * (weight > 0.02), dtype=np.float32), weight

    def compare(self, one: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]) -> float:
        """Weighted correlation of two descriptions, -1 to 1."""
        weight = np.minimum(one[1], other[1])
        total = float(weight.sum())
        if total < 1:
            return float("nan")
        a, b = (x - float((x * weight).sum()) / total for x in (one[0], other[0]))
        norm = float(np.sqrt((a * a * weight).sum() * (b * b * weight).sum()))
        return float((a * b * weight).sum()) / max(norm, 1e-9)
