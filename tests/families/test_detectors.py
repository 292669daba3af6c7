import numpy as np
import pytest
from tests.graphs import constant_outputs, graph

from facefusion.errors import ModelMismatch, ModelMissing
from facefusion.plugins.registry import list_engines
from facefusion.testing.conformance import check_detector

PICTURE = np.full((640, 640, 3), 90, np.uint8)
STRIDES = (8, 16, 32)


def anchor_outputs(each, columns_of):
    """Arrays of three strides, all zero."""
    return {
        f"{name}_{stride}": np.zeros((1, (640 // stride) ** 2 * each, columns), np.float32)
        for name, columns in columns_of
        for stride in STRIDES
    }


def scrfd_outputs():
    outputs = anchor_outputs(2, (("score", 1), ("bbox", 4), ("kps", 10)))
    row = (10 * 80 + 20) * 2 + 1  # second anchor of row 10, column 20 at stride 8: x 160, y 80
    outputs["score_8"][0, row] = 0.8
    outputs["bbox_8"][0, row] = (2, 3, 4, 5)
    outputs["kps_8"][0, row] = np.arange(10) - 5
    row = (5 * 20 + 15) * 2  # stride 32: x 480, y 160
    outputs["score_32"][0, row] = 0.9
    outputs["bbox_32"][0, row] = (1, 1, 1, 1)
    return outputs


@pytest.mark.parametrize(("model", "file"), [("scrfd", "scrfd_2.5g.onnx"), ("retinaface", "retinaface_10g.onnx")])
def test_scrfd_and_retinaface_decode_distances_in_strides_from_two_anchors_per_cell(zoo, model, file):
    zoo.put(file, constant_outputs([1, 3, "h", "w"], scrfd_outputs()))
    first, second = zoo.build("face_detector", model).detect([PICTURE])[0]
    assert first.score == pytest.approx(0.9)
    np.testing.assert_allclose(first.box, [448, 128, 512, 192], atol=1e-3)
    np.testing.assert_allclose(second.box, [160 - 16, 80 - 24, 160 + 32, 80 + 40], atol=1e-3)
    np.testing.assert_allclose(second.points[0], [160 - 40, 80 - 32], atol=1e-3)
    np.testing.assert_allclose(second.points[4], [160 + 24, 80 + 32], atol=1e-3)


def test_detections_come_back_in_the_pixels_of_a_larger_picture(zoo):
    zoo.put("scrfd_2.5g.onnx", constant_outputs([1, 3, 640, 640], scrfd_outputs()))
    large = np.zeros((1280, 1920, 3), np.uint8)  # shrunk to 640 x 426, put at the top left
    found = zoo.build("face_detector", "scrfd").detect([large])[0][0]
    np.testing.assert_allclose((found.box + 0.5) / 3, np.array([448, 128, 512, 192]) + 0.5, rtol=5e-3)


def yunet_outputs():
    outputs = anchor_outputs(1, (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)))
    row = 7 * 40 + 12  # stride 16: x 192, y 112
    outputs["cls_16"][0, row] = 0.9
    outputs["obj_16"][0, row] = 0.8
    outputs["bbox_16"][0, row] = (0.5, -0.25, np.log(4), np.log(6))
    outputs["kps_16"][0, row] = np.arange(10) / 10
    return outputs


def test_yunet_multiplies_its_scores_and_decodes_centre_and_size(zoo):
    zoo.put("yunet_2023_mar.onnx", constant_outputs([1, 3, 640, 640], yunet_outputs()))
    (found,) = zoo.build("face_detector", "yunet").detect([PICTURE])[0]
    assert found.score == pytest.approx(0.72)
    x, y = 192 + 8, 112 - 4
    np.testing.assert_allclose(found.box, [x - 32, y - 48, x + 32, y + 48], atol=1e-3)
    np.testing.assert_allclose(found.points[1], [192 + 0.2 * 16, 112 + 0.3 * 16], atol=1e-3)


def test_yolo_face_reads_its_table(zoo):
    table = np.zeros((1, 20, 8400), np.float32)
    table[0, :, 17] = [300, 200, 100, 80, 0.7, *(v for k in range(5) for v in (290 + k, 190 + k, 0.1))]
    zoo.put("yoloface_8n.onnx", constant_outputs([1, 3, 640, 640], {"output0": table}))
    (found,) = zoo.build("face_detector", "yolo_face").detect([PICTURE])[0]
    np.testing.assert_allclose(found.box, [250, 160, 350, 240], atol=1e-3)
    np.testing.assert_allclose(found.points[3], [293, 193], atol=1e-3)
    assert found.score == pytest.approx(0.7)


def colour_probe(model_outputs, name):
    """Puts the mean of the first channel the graph sees into the score of one anchor."""
    base = dict(model_outputs)
    body = "".join(f"{key} = Identity({key}_value)\n" for key in base if key != name)
    shapes = ", ".join(f"float[{', '.join(map(str, value.shape))}] {key}" for key, value in base.items())
    return graph(
        f"""
        probe (float[1, 3, 640, 640] input) => ({shapes}) {{
            first = Gather <axis = 1> (input, zero)
            mean = ReduceMean <keepdims = 0> (first)
            scaled = Mul(mean, factor)
            {name} = Mul({name}_value, scaled)
            {body}
        }}""",
        zero=np.int64(0),
        factor=np.float32(1),
        **{f"{key}_value": value for key, value in base.items()},
    )


@pytest.mark.parametrize(
    ("model", "file", "outputs", "name", "expected"),
    [
        # A picture of B 254, G 0, R 0: with the first channel blue, normalised as each family wants it.
        ("scrfd", "scrfd_2.5g.onnx", scrfd_outputs(), "score_8", 0.8 * (254 - 127.5) / 128),
        ("yunet", "yunet_2023_mar.onnx", yunet_outputs(), "cls_16", 1.0),
        ("yolo_face", "yoloface_8n.onnx", None, "output0", 0.7 * 254 / 255),
    ],
)
def test_detectors_see_blue_first_and_in_their_own_range(zoo, model, file, outputs, name, expected):
    if outputs is None:
        table = np.zeros((1, 20, 8400), np.float32)
        table[0, :5, 3] = [300, 200, 100, 80, 0.7]
        outputs = {"output0": table}
    if model == "scrfd":
        outputs["score_32"][:] = 0
    zoo.put(file, colour_probe(outputs, name))
    blue = np.zeros((640, 640, 3), np.uint8)
    blue[..., 2] = 254
    (found,) = zoo.build("face_detector", model).detect([blue])[0]
    # Raw bytes (YuNet) give a score far above 1, which is cut off.
    assert found.score == pytest.approx(expected, abs=1e-3)
    red = np.ascontiguousarray(blue[..., ::-1])
    assert zoo.build("face_detector", model).detect([red])[0] == []


def test_detectors_conform(zoo):
    zoo.put("scrfd_2.5g.onnx", constant_outputs([1, 3, 640, 640], scrfd_outputs()))
    check_detector(zoo.build("face_detector", "scrfd"))


def test_many_joins_what_is_here_and_allowed(zoo):
    with pytest.raises(ModelMissing, match="models fetch yunet"):
        zoo.build("face_detector", "many")
    zoo.put("scrfd_2.5g.onnx", constant_outputs([1, 3, 640, 640], scrfd_outputs()))
    zoo.put("yunet_2023_mar.onnx", constant_outputs([1, 3, 640, 640], yunet_outputs()))
    found = zoo.build("face_detector", "many").detect([PICTURE])[0]
    assert len(found) == 3
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    assert "many" in list_engines("face_detector")


def test_graph_of_another_family_is_refused(zoo):
    zoo.put("scrfd_2.5g.onnx", constant_outputs([1, 3, 640, 640], yunet_outputs()))
    with pytest.raises(ModelMismatch, match=r"score 8|12 outputs|expected"):
        zoo.build("face_detector", "scrfd").detect([PICTURE])
    zoo.put("yoloface_8n.onnx", constant_outputs([1, 3, 640, 640], {"output0": np.zeros((1, 21, 8400))}))
    with pytest.raises(ModelMismatch, match="expected"):
        zoo.build("face_detector", "yolo_face")
