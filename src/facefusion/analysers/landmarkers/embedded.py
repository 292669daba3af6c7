"""The embedded mesh networks: 478 points and a score from a 128 px crop, and a closer look at eyes and mouth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.align import eye_crop, invert, mesh_extent, mouth_crop, transform
from facefusion.imaging.resample import cut
from facefusion.imaging.texture import smoothly
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray, opens
from facefusion.types.frame import Pixels

MODELS = ("face_landmarker_embedded", "face_features_embedded")
EYE_SIDE, MOUTH_SIDE = 64, 80
LARGE_ENOUGH = (24.0, 48.0)
"""Pixels of a face from which a closer look says more than the first one, and counts in full."""
INSIDE = (0.7, 0.95)
"""Share of a crop inside the picture from which what is seen in it counts, and counts in full."""


class EmbeddedLandmarker:
    """Mesh networks of our own training; see ``docs/models`` for their figures.

    Parameters
    ----------
    session
        A session of ``face_landmarker_embedded``.
    features
        A session of ``face_features_embedded``.

    References
    ----------
    Grishchenko et al., Attention Mesh, 2020.
    """

    crop_size = 128

    def __init__(self, session: Session, features: Session) -> None:
        self._session, self._features = session, features

    def landmark(self, crops: Sequence[Pixels]) -> tuple[FloatArray, FloatArray]:
        """See `facefusion.plugins.protocols.Landmarker`."""
        meshes, scores = self._session.run({"image": _batch(crops)})
        return meshes, scores

    def look_closer(self, pixels: Pixels, meshes: Sequence[FloatArray]) -> list[FloatArray]:
        """See `facefusion.plugins.protocols.CloserLook`."""
        shares = [smoothly(mesh_extent(mesh), LARGE_ENOUGH) for mesh in meshes]
        seen = [mesh for mesh, share in zip(meshes, shares, strict=True) if share > 0]
        if not seen:
            return list(meshes)
        flip = load_mesh_topology().flip
        affines = [(eye_crop(mesh, EYE_SIDE), _mirrored_eye_crop(mesh[flip])) for mesh in seen]
        mouths = [mouth_crop(mesh, MOUTH_SIDE) for mesh in seen]
        found, found_mouths = self._features.run(
            {
                "eyes": _batch([cut(pixels, affine, EYE_SIDE) for pair in affines for affine in pair]),
                "mouths": _batch([cut(pixels, affine, MOUTH_SIDE) for affine in mouths]),
            }
        )
        closer = iter(zip(affines, mouths, found.reshape(-1, 2, *found.shape[1:]), found_mouths, strict=True))
        result = []
        for mesh, share in zip(meshes, shares, strict=True):
            if not share > 0:
                result.append(mesh)
                continue
            (left, right), mouth, (in_left, in_right), in_mouth = next(closer)
            moved = mesh.copy()
            for affine, points, side, order in (
                (left, in_left, EYE_SIDE, None),
                (right, in_right, EYE_SIDE, flip),
                (mouth, in_mouth, MOUTH_SIDE, None),
            ):
                # What lies beyond the border of the picture is made up.
                inside = smoothly(_share_inside(affine, side, pixels), INSIDE)
                at, much = transform(invert(affine), points[:, :2]), points[:, 2:] * np.float32(share * inside)
                if order is not None:
                    at, much = at[order], much[order]
                moved[:, :2] += (at - moved[:, :2]) * much
            result.append(moved)
        return result


def _share_inside(affine: FloatArray, side: int, pixels: Pixels) -> float:
    """Share of a crop that lies in the picture."""
    at = (np.arange(8) + 0.5) * side / 8 - 0.5
    places = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2).astype(np.float32)
    found = transform(invert(affine), places)
    return float(((found >= 0) & (found <= np.array(pixels.shape[1::-1]) - 1)).all(axis=1).mean())


def _batch(crops: Sequence[Pixels]) -> FloatArray:
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def _mirrored_eye_crop(mesh: FloatArray) -> FloatArray:
    """(2, 3) ``crop_from_frame`` of the eye on the right, in whose crop it lies as one on the left.

    Parameters
    ----------
    mesh
        (478, 3) with its points in the order of the mirrored face.
    """
    turn = np.array([-1, 1], dtype=np.float32)
    affine = eye_crop(mesh[:, :2] * turn, EYE_SIDE)
    return np.concatenate([affine[:, :2] * turn, affine[:, 2:]], axis=1)


@opens(lambda _: MODELS)
def build(context: EngineContext) -> EmbeddedLandmarker:
    """Builder named in the entry point."""
    return EmbeddedLandmarker(*(context.session(name) for name in MODELS))
