"""Alignment templates: where a model expects the five points, and the similarity that takes them there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

TEMPLATES: dict[str, tuple[tuple[float, float], ...]] = {
    "arcface_112_v1": (
        (0.35473214, 0.45658929),
        (0.64526786, 0.45658929),
        (0.50000000, 0.61154464),
        (0.37913393, 0.77687500),
        (0.62086607, 0.77687500),
    ),
    "arcface_112_v2": (
        (0.34191607, 0.46157411),
        (0.65653393, 0.45983393),
        (0.50022500, 0.64050536),
        (0.37097589, 0.82469196),
        (0.63151696, 0.82325089),
    ),
    "arcface_128": (
        (0.36167656, 0.40387734),
        (0.63696719, 0.40235469),
        (0.50019687, 0.56044219),
        (0.38710391, 0.72160547),
        (0.61507734, 0.72034453),
    ),
    "dfl_whole_face": (
        (0.35342266, 0.39285716),
        (0.62797622, 0.39285716),
        (0.48660713, 0.54017860),
        (0.38839287, 0.68750011),
        (0.59821427, 0.68750011),
    ),
    "ffhq_512": (
        (0.37691676, 0.46864664),
        (0.62285697, 0.46912813),
        (0.50123859, 0.61331904),
        (0.39308822, 0.72541100),
        (0.61150205, 0.72490465),
    ),
    "mtcnn_512": (
        (0.36562865, 0.46733799),
        (0.63305391, 0.46585885),
        (0.50019127, 0.61942959),
        (0.39032951, 0.77598822),
        (0.61178945, 0.77476328),
    ),
    "styleganex_384": (
        (0.42353745, 0.52289879),
        (0.57725008, 0.52319972),
        (0.50123859, 0.61331904),
        (0.43364461, 0.68337652),
        (0.57015325, 0.68306005),
    ),
}
"""Left eye, right eye, nose tip, left and right mouth corner as shares of the crop's side, as seen in the image."""


def template_points(name: str, size: int) -> FloatArray:
    """(5, 2) points of a template in a crop of a size, pixels.

    Convention
    ----------
    A share is multiplied by the size, as the models' own training code does, with no half-pixel shift.

    Raises
    ------
    KeyError
        For a template that does not exist.
    """
    return np.array(TEMPLATES[name], dtype=np.float32) * size


def similarity(points: FloatArray, goal: FloatArray) -> FloatArray:
    """Least-squares turn, scale and shift without mirroring.

    Parameters
    ----------
    points, goal
        (N, 2) matching points.

    Returns
    -------
    (2, 3) ``goal_from_points``.

    References
    ----------
    Umeyama, Least-Squares Estimation of Transformation Parameters Between Two Point Patterns, PAMI 1991.
    """
    a, b = points.astype(np.float64), goal.astype(np.float64)
    middle_a, middle_b = a.mean(axis=0), b.mean(axis=0)
    a, b = a - middle_a, b - middle_b
    # In the plane a turn with scale is one complex number.
    za, zb = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    power = float((np.abs(za) ** 2).sum())
    factor = complex((np.conj(za) * zb).sum()) / max(power, 1e-12)
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    shift = middle_b - linear @ middle_a
    return np.concatenate([linear, shift[:, None]], axis=1).astype(np.float32)


def align_to(points: FloatArray, template: str, size: int) -> FloatArray:
    """(2, 3) affine from where five points are to a template's crop of a size."""
    return similarity(points, template_points(template, size))
