"""Execution providers: our names, what each is told, and whether a requested one really runs."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import platformdirs

from facefusion.errors import ProviderRefused
from facefusion.workplace import user_workplace

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "openvino_cpu": "OpenVINOExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
"""Our names of execution providers, and ONNX Runtime's. OpenVINO alone means a GPU, as in FaceFusion."""

HALF_PROVIDERS = ("tensorrt", "openvino", "openvino_cpu")
"""Providers that can run a model of 32 bits in 16: float16, on CPUs bfloat16."""

MIN_SHARE = 0.5
"""Share of the time in a warm-up that the requested provider must have, or it does not really run."""

DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_providers() -> dict[str, bool]:
    """Our provider names, and whether this ONNX Runtime offers them."""
    available = onnxruntime.get_available_providers()
    return {name: full in available for name, full in PROVIDERS.items()}


def check_providers(names: Sequence[str]) -> None:
    """Refuse providers that are unknown or not installed.

    Raises
    ------
    ProviderRefused
    """
    installed = [name for name, is_there in describe_providers().items() if is_there]
    for name in names:
        if name not in PROVIDERS:
            raise ProviderRefused(f"There is no execution provider '{name}'.", f"Known: {', '.join(PROVIDERS)}.")
    if not any(name in installed for name in names):
        raise ProviderRefused(
            f"Execution provider {' or '.join(repr(name) for name in names)} is not installed here.",
            f"Installed: {', '.join(installed)}. For NVIDIA: pip uninstall -y onnxruntime && pip install "
            "onnxruntime-gpu. See 'facefusion doctor'.",
        )


def check_precision(names: Sequence[str], precision: str) -> None:
    """Refuse half precision where it would not be had.

    Parameters
    ----------
    names
        Providers, ours.
    precision
        ``model`` or ``half``.

    Raises
    ------
    ProviderRefused
    """
    if precision != "half":
        return
    if names[0] not in HALF_PROVIDERS:
        raise ProviderRefused(
            f"Execution provider '{names[0]}' runs a model as its file says, not in half precision.",
            f"Use {', '.join(HALF_PROVIDERS)}, or a model of 16 bits with --execution-precision model.",
        )
    if names[0] == "openvino_cpu" and has_bfloat16() is False:
        raise ProviderRefused(
            "This CPU has no instructions for bfloat16, so half precision would not be faster.",
            "Leave --execution-precision at 'model'.",
        )


def has_bfloat16() -> bool | None:
    """Whether the CPU computes in bfloat16; None where nobody says so."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    words = set(text.split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def provider_options(name: str, device_id: int, is_half: bool = False, thread_count: int = 1) -> dict[str, str]:
    """What a provider is told.

    Parameters
    ----------
    name
        One of ours.
    device_id
        Number of the device.
    is_half
        Whether the model computes in half precision.
    thread_count
        Threads inside one call.
    """
    device = str(device_id)
    if name == "cuda":
        return {
            "device_id": device,
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "arena_extend_strategy": "kSameAsRequested",
        }
    if name == "tensorrt":
        folder = str(cache_folder("tensorrt"))
        return {
            "device_id": device,
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
            "trt_builder_optimization_level": "4",
            "trt_fp16_enable": str(int(is_half)),
        }
    if name == "migraphx":
        return {"device_id": device, "migraphx_model_cache_dir": str(cache_folder("migraphx"))}
    if name == "coreml":
        return {
            "ModelFormat": "MLProgram",
            "SpecializationStrategy": "FastPrediction",
            "ModelCacheDirectory": str(cache_folder("coreml")),
        }
    if name == "openvino":
        # FaceFusion's device numbers mean GPUs; without one OpenVINO itself says so.
        return {"device_type": "GPU" if device_id == 0 else f"GPU.{device}", "precision": "FP16" if is_half else "FP32"}
    if name == "openvino_cpu":
        # As many calls side by side as there are cores for; otherwise they queue up for one.
        cores = core_count()
        streams, hint = max(cores // max(thread_count, 1), 1), "bf16" if is_half else "f32"
        return {
            "device_type": "CPU",
            "num_of_threads": str(cores),
            "num_streams": str(streams),
            "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": hint}}),
        }
    if name == "qnn":
        return {"device_id": device, "backend_type": "htp"}
    if name in ("directml", "rocm"):
        return {"device_id": device}
    return {}


def cache_folder(provider: str) -> Path:
    """Where a provider keeps what it compiles, apart for every version of ONNX Runtime."""
    folder: Path = platformdirs.user_cache_path("facefusion") / provider / str(onnxruntime.__version__)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def time_shares(profile: Path) -> dict[str, float]:
    """Share of the time that each provider took, read from a profile of ONNX Runtime.

    Parameters
    ----------
    profile
        File that ``InferenceSession.end_profiling`` names.
    """
    spent: dict[str, float] = defaultdict(float)
    for event in json.loads(profile.read_text(encoding="utf-8")):
        provider = event.get("args", {}).get("provider") if isinstance(event, dict) else None
        if provider:
            spent[str(provider)] += max(float(event.get("dur", 0)), 1.0)
    total = sum(spent.values())
    return {provider: time / total for provider, time in spent.items()} if total else {}


def measure_shares(content: bytes, options: Any, providers: Sequence[tuple[str, dict[str, str]]]) -> dict[str, float]:
    """Load a graph, run it once with zeros and say where the time went.

    Returns
    -------
    Share of the time by ONNX Runtime's provider name.
    """
    with user_workplace() as place:
        options.enable_profiling = True
        options.profile_file_prefix = str(place.folder / "warmup")
        try:
            session = onnxruntime.InferenceSession(content, options, providers=list(providers))
            session.run(None, warm_up_inputs(session))
            return time_shares(Path(session.end_profiling()))
        finally:
            options.enable_profiling = False


def warm_up_inputs(session: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The same noise every time for every input; free lengths are 1, free heights and widths 64."""
    inputs = {}
    noise = np.random.default_rng(0)
    for value in session.get_inputs():
        shape = [n if isinstance(n, int) and n > 0 else (64 if k >= 2 else 1) for k, n in enumerate(value.shape)]
        # No zeros: an embedding without a length, or a flat picture, makes some good models divide by nothing.
        inputs[value.name] = noise.uniform(0.1, 0.9, shape).astype(DTYPES.get(value.type, np.float32))
    return inputs
