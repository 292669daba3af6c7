"""Reads what a graph keeps inside. The home of the onnx package, which is imported only here and only when needed."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from facefusion.errors import ExtraMissing, ModelMismatch

READ_INSIDE = frozenset({"inswapper"})
"""Families of which something is read out of the graph."""


def check_readable(family: str, model_id: str) -> None:
    """Refuse a model of which something is to be read that cannot be read here.

    Raises
    ------
    ExtraMissing
    """
    if family in READ_INSIDE and find_spec("onnx") is None:
        raise _needs_onnx(model_id)


def _needs_onnx(model_id: str) -> ExtraMissing:
    return ExtraMissing.of(f"Model {model_id}", "onnx", "models")


def last_initializer(content: bytes, shape: tuple[int, ...], model_id: str) -> npt.NDArray[np.float32]:
    """The last initializer of a graph, where inswapper keeps its embedding map.

    Parameters
    ----------
    content
        The ONNX file.
    shape
        Shape that it must have.
    model_id
        Named in errors.

    Returns
    -------
    float32 array of that shape.

    Raises
    ------
    ModelMismatch
    ExtraMissing
        Where the onnx package is not here.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise _needs_onnx(model_id) from error
    initializers = onnx.load_from_string(content).graph.initializer
    if not initializers:
        raise ModelMismatch(f"Model {model_id} has no initializers, so no embedding map.")
    values = numpy_helper.to_array(initializers[-1])
    if values.shape != shape:
        raise ModelMismatch(f"Model {model_id}: its last initializer is {values.shape}, expected {shape}.")
    return np.asarray(values, dtype=np.float32)
