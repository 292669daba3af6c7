"""Tiny ONNX graphs with known answers, one for each family's contract."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser


def graph(text: str, **constants: np.ndarray) -> bytes:
    """A model from ONNX's text format; constants become initializers, in order."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def constant_outputs(input_shape: list[int | str], outputs: dict[str, np.ndarray], touch: bool = True) -> bytes:
    """A graph that gives fixed arrays whatever it is shown, shifted by nothing (0 times the mean of the input)."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    inits = [numpy_helper.from_array(np.float32(0), "zero")]
    values = []
    for name, array in outputs.items():
        inits.append(numpy_helper.from_array(array.astype(np.float32), f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        values.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(array.shape)))
    made = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, input_shape)],
        values,
        inits,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def channel_means(size: int, length: int, is_channels_last: bool = False) -> bytes:
    """Embedding whose first three numbers are the means of the channels as the graph sees them, then zeros."""
    axes = "1, 2" if is_channels_last else "2, 3"
    shape = f"n, {size}, {size}, 3" if is_channels_last else f"n, 3, {size}, {size}"
    return graph(
        f"""
        means (float[{shape}] input) => (float[n, {length}] output) {{
            mean = ReduceMean <axes = [{axes}], keepdims = 0> (input)
            output = MatMul(mean, spread)
        }}""",
        spread=np.eye(3, length, dtype=np.float32),
    )


def pixel_reader(size: int, length: int, row: int, column: int) -> bytes:
    """Embedding whose first three numbers are one pixel of the crop: proves where the crop was cut."""
    return graph(
        f"""
        pixel (float[n, 3, {size}, {size}] input) => (float[n, {length}] output) {{
            line = Gather <axis = 2> (input, row)
            pixel = Gather <axis = 2> (line, column)
            output = MatMul(pixel, spread)
        }}""",
        row=np.int64(row),
        column=np.int64(column),
        spread=np.eye(3, length, dtype=np.float32),
    )


def painting_swapper(size: int, source_shape: str, emap: np.ndarray | None = None) -> bytes:
    """Paints the crop in a colour read off the source input, plus a tenth of what it sees.

    With a vector the colour is its first three numbers; with a picture the means of its channels.
    """
    is_vector = source_shape.count(",") == 1
    colour = "MatMul(source, pick)" if is_vector else "ReduceMean <axes = [2, 3], keepdims = 0> (source)"
    constants = {"tenth": np.float32(0.1), "shape": np.array([-1, 3, 1, 1], dtype=np.int64)}
    if is_vector:
        length = int(source_shape.split(",")[1])
        constants["pick"] = np.eye(length, 3, dtype=np.float32)
    if emap is not None:
        constants["emap"] = emap  # the last initializer, as in inswapper
    return graph(
        f"""
        paint (float[{source_shape}] source, float[n, 3, {size}, {size}] target)
            => (float[n, 3, {size}, {size}] output) {{
            colour = {colour}
            tall = Reshape(colour, shape)
            seen = Mul(target, tenth)
            output = Add(tall, seen)
        }}""",
        **constants,
    )


def linear(length: int, factor: float) -> bytes:
    """A converter that multiplies."""
    return graph(
        f"""
        linear (float[n, {length}] input) => (float[n, {length}] output) {{
            output = Mul(input, factor)
        }}""",
        factor=np.float32(factor),
    )


def inverting(size: int, has_weight: bool = False) -> bytes:
    """An enhancer that gives the negative; with a weight input it gives that number everywhere."""
    if has_weight:
        return graph(
            f"""
            weighted (float[1, 3, {size}, {size}] input, double[1] weight) => (float[1, 3, {size}, {size}] output) {{
                zeroed = Mul(input, zero)
                number = Cast <to = 1> (weight)
                output = Add(zeroed, number)
            }}""",
            zero=np.float32(0),
        )
    return graph(
        f"""
        invert (float[1, 3, {size}, {size}] input) => (float[1, 3, {size}, {size}] output) {{
            output = Neg(input)
        }}"""
    )
