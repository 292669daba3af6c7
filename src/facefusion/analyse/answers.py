"""What engines answer, which may come from other packages and from any graph: it has to be numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from facefusion.errors import ModelMismatch
from facefusion.types.face import Detection

T = TypeVar("T")


def numbers(answer: T, engine: str, *values: object) -> T:
    """An answer whose values are finite numbers: sums of others would end somewhere else, or nowhere.

    Parameters
    ----------
    answer
        What an engine gave.
    engine
        Which kind of engine: ``face_detector``.
    values
        What of it has to be numbers; nothing stands for all of it.

    Raises
    ------
    ModelMismatch
    """
    if not all(np.isfinite(np.asarray(one, dtype=np.float64)).all() for one in values or (answer,)):
        raise ModelMismatch(
            f"The {engine.replace('_', ' ')} answered with what are no numbers (NaN or infinite).",
            f"Choose another --{engine.replace('_', '-')}-model; 'facefusion plugins check' tries those of packages.",
        )
    return answer


def checked_detections(found: Sequence[Detection]) -> list[Detection]:
    """`numbers` of a detector."""
    for one in found:
        numbers(one, "face_detector", one.box, one.points, one.score)
    return list(found)
