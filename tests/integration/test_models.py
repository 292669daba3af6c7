import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from facefusion.errors import HashMismatch, ModelMismatch, ProviderRefused, UnknownModel
from facefusion.models.session import Session, check_providers
from facefusion.models.spec import ModelSpec, get_spec, load_catalog


@pytest.mark.parametrize("model_id", sorted(load_catalog()))
def test_every_model_of_the_catalogue_verifies_and_loads(model_id):
    spec = get_spec(model_id)
    assert spec.licence
    assert spec.licence_source
    assert spec.size_bytes == len(spec.read_verified())
    assert Session(spec).provider == "CPUExecutionProvider"


def test_embedded_models_together_are_at_most_8_megabytes():
    assert sum(spec.size_bytes for spec in load_catalog().values()) <= 8_000_000


def test_wrong_hash_is_refused_before_a_session_exists():
    spec = dataclasses.replace(get_spec("face_mesh_embedded"), sha256="0" * 64)
    with pytest.raises(HashMismatch):
        Session(spec)


def test_unknown_model_is_refused():
    with pytest.raises(UnknownModel, match="face_mesh_embedded"):
        get_spec("face_mush")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("inputs", {"picture": (None, 3, 128, 128)}, "picture"),
        ("inputs", {"image": (None, 3, 64, 64)}, "image"),
        ("outputs", {"mesh": (None, 468, 3)}, "mesh"),
    ],
)
def test_graph_that_does_not_match_its_specification_is_refused(field, value, named):
    spec = dataclasses.replace(get_spec("face_mesh_embedded"), **{field: value})
    with pytest.raises(ModelMismatch, match=named):
        Session(spec)


def test_session_returns_what_a_known_graph_computes(tmp_path, monkeypatch):
    import hashlib

    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "double.onnx")
    content = (tmp_path / "double.onnx").read_bytes()
    base = get_spec("face_mesh_embedded")
    spec = dataclasses.replace(
        base,
        id="double",
        sha256=hashlib.sha256(content).hexdigest(),
        inputs={"x": (None, 2)},
        outputs={"y": (None, 2)},
    )
    monkeypatch.setattr(ModelSpec, "path", property(lambda self: tmp_path / "double.onnx"))
    (result,) = Session(spec).run({"x": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(result, [[2, 4]])


def test_provider_that_is_not_here_is_an_error_and_no_silent_cpu_run():
    with pytest.raises(ProviderRefused, match="doctor"):
        check_providers(["cuda"])
    with pytest.raises(ProviderRefused, match="no execution provider"):
        check_providers(["gpu"])
    with pytest.raises(ProviderRefused):
        Session(get_spec("face_mesh_embedded"), ["cuda"])


def test_cpu_after_another_provider_allows_the_fallback():
    check_providers(["cuda", "cpu"])
    assert Session(get_spec("face_mesh_embedded"), ["cuda", "cpu"]).provider == "CPUExecutionProvider"
