"""Optical flow of users: RAFT's inputs and outputs."""

import numpy as np
import pytest
from tests.graphs import graph

from facefusion.errors import UnknownModel
from facefusion.plugins.registry import build_engine

ENTRY = """
id = "my_raft"
version = "1"
capability = "optical_flow"
family = "raft"
licence = "BSD-3-Clause"
licence_source = "https://example.org/raft"
commercial = "yes"
vendor = "A user"
year = 2026

[[files]]
name = "my_raft.onnx"
sha256 = ""

[preprocess]
size = 64
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[inputs]
"#0" = [-1, 3, 64, 64]
"#1" = [-1, 3, 64, 64]

[outputs]
"#0" = [-1, 2, 64, 64]
"""

RED_AND_BLUE = """
raft (float[n, 3, 64, 64] first, float[n, 3, 64, 64] second) => (float[n, 2, 64, 64] flow) {
    red = Gather <axis = 1> (first, zero)
    blue = Gather <axis = 1> (second, two)
    flow = Concat <axis = 1> (red, blue)
}"""


def test_raft_gets_the_later_picture_first_red_first_and_its_flow_is_scaled(zoo):
    (zoo.folder / "my_raft.toml").write_text(ENTRY)
    zoo.put("my_raft.onnx", graph(RED_AND_BLUE, zero=np.array([0], np.int64), two=np.array([2], np.int64)))
    estimate = zoo.build("optical_flow", "my_raft")
    before, after = np.zeros((2, 128, 128, 3), np.uint8)
    before[..., 2], after[..., 0] = 204, 255
    flow = estimate(before, after)
    assert flow.shape == (128, 128, 2)
    # Red of the picture after is 1 and blue of the one before 0.6 after scaling; lengths double with the side.
    np.testing.assert_allclose(flow[40, 40], [2.0, 1.2], atol=1e-2)


def test_flow_that_does_not_exist_is_refused(zoo):
    with pytest.raises(UnknownModel, match="optical flow"):
        build_engine("optical_flow", "rafft", zoo.context())
