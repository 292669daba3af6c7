"""A second execution provider that really runs here: OpenVINO on the CPU, and OpenVINO's GPU, which is not there.

Its ONNX Runtime takes the place of the plain one, so it lies in a folder of its own and only subprocesses see it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.patience import PATIENCE_S

from facefusion.errors import ProviderRefused
from facefusion.models.providers import check_precision, has_bfloat16, provider_options

RUNTIME = Path(sys.prefix) / "onnxruntime-openvino"


@pytest.fixture(scope="module")
def openvino():
    """Environment in which ``import onnxruntime`` means the one with OpenVINO."""
    if not (RUNTIME / "onnxruntime").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", RUNTIME]
        done = subprocess.run([*command, "onnxruntime-openvino"], capture_output=True, text=True, check=False)
        if done.returncode:
            said = f"onnxruntime-openvino cannot be installed here: {done.stderr.strip()[-300:]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(said)
    paths = [str(RUNTIME), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def call(environment, *words):
    return subprocess.run(
        [sys.executable, "-m", "facefusion", *map(str, words)], env=environment, capture_output=True, text=True,
        check=False, timeout=PATIENCE_S,
    )  # fmt: skip


def test_a_provider_that_does_not_run_is_an_error_and_no_silent_cpu_run(openvino, source_photo, target_photo, tmp_path):
    """ONNX Runtime itself only warns that OpenVINO finds no GPU, and goes on with the CPU."""
    words = ["run", "-s", source_photo, "-t", target_photo, "-o", tmp_path / "out.png", "--quiet"]
    done = call(openvino, *words, "--execution-providers", "openvino")
    assert done.returncode == 6
    assert "openvino" in done.stderr
    assert "runs on CPUExecutionProvider" in done.stderr or "takes 0% of the work" in done.stderr
    assert not (tmp_path / "out.png").exists()
    assert call(openvino, *words, "--execution-providers", "openvino", "cpu").returncode == 0
    assert (tmp_path / "out.png").exists()


def test_openvino_on_the_cpu_makes_the_picture_that_the_default_makes(openvino, source_photo, target_photo, tmp_path):
    pictures = []
    for name, environment in (("cpu", None), ("openvino_cpu", openvino)):
        path = tmp_path / f"{name}.png"
        done = call(
            environment, "run", "-s", source_photo, "-t", target_photo, "-o", path, "--quiet",
            "--execution-providers", name,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        pictures.append(np.asarray(Image.open(path)).astype(int))
    apart = np.abs(pictures[0] - pictures[1])
    assert apart.max() > 0 or (pictures[0] != np.asarray(Image.open(target_photo))).any()
    assert apart.mean() < 0.1
    assert np.percentile(apart, 99.9) <= 4


def test_doctor_tells_which_providers_run(openvino):
    said = call(openvino, "doctor").stdout
    rows = {line.split()[0]: line for line in said.splitlines() if line.startswith("  ")}
    assert "runs (OpenVINOExecutionProvider)" in rows["openvino_cpu"]
    assert "does not run" in rows["openvino"]
    assert "not in this ONNX Runtime" in rows["cuda"]


CODE = """
import dataclasses, json, sys, numpy as np
from onnx import TensorProto, helper, numpy_helper
from facefusion.models.catalog import get_spec
from facefusion.models.session import Session

def graph(quantised):
    rng, nodes, at = np.random.default_rng(0), [], "x"
    weights = [numpy_helper.from_array(rng.standard_normal((16, 3 if k == 0 else 16, 3, 3)).astype("f") / 10, f"w{k}")
               for k in range(4)]
    if quantised:
        weights += [helper.make_tensor("step", TensorProto.FLOAT, [], [0.01]),
                    helper.make_tensor("nil", TensorProto.INT8, [], [0])]
        nodes += [helper.make_node("QuantizeLinear", [at, "step", "nil"], ["q"]),
                  helper.make_node("DequantizeLinear", ["q", "step", "nil"], ["d"])]
        at = "d"
    for k in range(4):
        nodes.append(helper.make_node("Conv", [at, f"w{k}"], [f"c{k}" if k < 3 else "y"], pads=[1] * 4))
        at = f"c{k}"
    sides = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64]),
             helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 64, 64])]
    built = helper.make_graph(nodes, "convs", sides[:1], sides[1:], weights)
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

spec = dataclasses.replace(get_spec("face_fusion_embedded"), inputs={"x": ()}, outputs={"y": ()})
x = np.random.default_rng(1).random((1, 3, 64, 64), dtype=np.float32)
results = [Session(spec, graph(quantised), [provider], is_half=is_half).run({"x": x})[0].astype(float)
           for provider, is_half, quantised in (("cpu", 0, 0), ("openvino_cpu", 0, 0), ("openvino_cpu", 1, 0),
                                                ("openvino_cpu", 0, 1), ("openvino_cpu", 1, 1))]
span = float(np.ptp(results[0]))
print(json.dumps([float(np.abs(a - b).max()) / span for a, b in ((0, 1), (0, 2), (3, 4))
                  for a, b in [(results[a], results[b])]]))
"""


@pytest.mark.skipif(has_bfloat16() is not True, reason="this CPU has no bfloat16")
def test_half_precision_is_another_arithmetic_and_close(openvino):
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=openvino, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    full, half, quantised = json.loads(done.stdout)
    assert full < 1e-5
    assert 1e-4 < half < 0.05
    assert quantised == 0, "a graph of 8 bits must be left as it is"


def test_half_precision_is_refused_where_it_would_not_be_had(monkeypatch):
    check_precision(["cpu"], "model")
    with pytest.raises(ProviderRefused, match="as its file says"):
        check_precision(["cpu"], "half")
    with pytest.raises(ProviderRefused, match="as its file says"):
        check_precision(["cuda", "tensorrt"], "half")
    check_precision(["tensorrt"], "half")
    monkeypatch.setattr("facefusion.models.providers.has_bfloat16", lambda: False)
    with pytest.raises(ProviderRefused, match="bfloat16"):
        check_precision(["openvino_cpu"], "half")
    check_precision(["openvino"], "half")


def test_half_precision_is_what_the_provider_is_told(monkeypatch):
    monkeypatch.setattr("facefusion.models.providers.core_count", lambda: 8)
    told = provider_options("openvino_cpu", 0, is_half=True, thread_count=2)
    assert (told["device_type"], told["num_of_threads"], told["num_streams"]) == ("CPU", "8", "4")
    assert json.loads(told["load_config"]) == {"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}}
    assert "f32" in provider_options("openvino_cpu", 0)["load_config"]
    assert provider_options("openvino", 1, is_half=True) == {"device_type": "GPU.1", "precision": "FP16"}
    assert provider_options("tensorrt", 0, is_half=True)["trt_fp16_enable"] == "1"
