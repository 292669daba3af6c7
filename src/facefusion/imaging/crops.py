"""Crops at the frame's own scale, so that nothing is resampled on the way in and out."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.align import shifted, transform
from facefusion.types.crop import Crop
from facefusion.types.face import Face
from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]

MAX_SIDE = 1024
MARGIN = 0.02


def cut_native(pixels: Pixels, face: Face, room: float = MARGIN, max_side: int = MAX_SIDE) -> Crop:
    """An upright, unturned crop around a face, shifted by whole pixels.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 frame.
    face
        The face in frame pixels.
    room
        Room around the mesh over its longer side.
    max_side
        Larger crops are shrunk by a whole number.

    Returns
    -------
    A crop that holds the mesh with a margin.
    """
    x0, y0, x1, y1 = native_box(pixels, face, room)
    part = pixels[y0:y1, x0:x1]
    factor = -(-max(x1 - x0, y1 - y0) // max_side)
    if factor == 1:
        affine = shifted(x0, y0)
        crop = np.ascontiguousarray(part)
    else:
        size = (max((x1 - x0) // factor, 1), max((y1 - y0) // factor, 1))
        crop = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        sx, sy = size[0] / (x1 - x0), size[1] / (y1 - y0)
        shift_x, shift_y = (0.5 - x0) * sx - 0.5, (0.5 - y0) * sy - 0.5
        affine = np.array([[sx, 0, shift_x], [0, sy, shift_y]], dtype=np.float32)
    return Crop(crop, affine, move_face(face, affine), np.zeros(crop.shape[:2], dtype=np.float32))


def native_box(pixels: Pixels, face: Face, room: float = MARGIN) -> tuple[int, int, int, int]:
    """Half-open xyxy box of whole pixels of a picture (H, W, 3) around a face in it; see `cut_native`."""
    height, width = pixels.shape[:2]
    box = face.box
    margin = room * float(max(box[2:] - box[:2]))
    x0, y0 = (
        int(np.clip(np.floor(v - margin), 0, limit - 1)) for v, limit in zip(box[:2], (width, height), strict=True)
    )
    x1, y1 = (
        int(np.clip(np.ceil(v + margin) + 1, low + 1, limit))
        for v, low, limit in zip(box[2:], (x0, y0), (width, height), strict=True)
    )
    return x0, y0, x1, y1


def shrunk(pixels: Pixels, factor: int) -> tuple[Pixels, FloatArray]:
    """A picture shrunk by averaging blocks of pixels, and the (2, 3) affine to it; rests at the end are left out."""
    if factor == 1:
        return pixels, np.eye(2, 3, dtype=np.float32)
    height, width = (max(n // factor, 1) for n in pixels.shape[:2])
    part = pixels[: height * factor, : width * factor]
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    shift = 0.5 / factor - 0.5
    return np.asarray(small, dtype=np.uint8), np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]], np.float32)


def move_face(face: Face, affine: FloatArray) -> Face:
    """The same face in the pixels of a crop."""
    points = None if face.points is None else transform(affine, face.points)
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2].astype(np.float64)))))
    covers = tuple(transform(affine, mesh) for mesh in face.covers)
    beside = tuple(transform(affine, mesh) for mesh in face.beside)
    mesh = transform(affine, face.mesh)
    smear = face.smear
    if smear is not None:
        smear = np.array([*(affine[:, :2] @ smear[:2]), scale * smear[2]], dtype=np.float32)
    return replace(face, mesh=mesh, points=points, blur=face.blur * scale, covers=covers, beside=beside, smear=smear)
