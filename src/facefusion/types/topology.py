"""Names for the points of the 478-point face mesh (layout ``mesh478``).

Points 0-467 are skin, lids and lips; 468-472 and 473-477 are the irises (centre first).
Left and right are as seen in the image, so the subject's right eye is ``LEFT_EYE``.

References
----------
Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs, 2019;
Grishchenko et al., Attention Mesh, 2020 (irises and lips).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

POINT_COUNT = 478
SKIN_COUNT = 468

LEFT_IRIS = 468
RIGHT_IRIS = 473
NOSE_TIP = 4
MOUTH_LEFT = 61
MOUTH_RIGHT = 291
FOREHEAD = 10
CHIN = 152

FIVE_POINTS = (LEFT_IRIS, RIGHT_IRIS, NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT)
"""Left eye, right eye, nose tip, left and right mouth corner: the five-point layout."""

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LEFT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
RIGHT_EYE = (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382)
LIPS_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
LIPS_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)

MESH_TO_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""Mesh points that lie where the 68-point layout has its points."""


def five_from_68(points: FloatArray) -> FloatArray:
    """Five points of a (68, 2) layout: middles of the eyes, nose tip, mouth corners."""
    left, right = points[36:42, :2].mean(axis=0), points[42:48, :2].mean(axis=0)
    return np.stack([left, right, points[30, :2], points[48, :2], points[54, :2]]).astype(np.float32)
