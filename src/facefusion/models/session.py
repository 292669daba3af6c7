"""Verified ONNX Runtime sessions. A requested provider that does not run is an error, never a silent CPU run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from facefusion.errors import ModelMismatch, ProviderRefused
from facefusion.models.spec import ModelSpec

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
"""Our names of execution providers, and ONNX Runtime's."""


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_providers(names: Sequence[str]) -> None:
    """Refuse providers that are unknown or not installed.

    Raises
    ------
    ProviderRefused
    """
    available = onnxruntime.get_available_providers()
    installed = [name for name, full in PROVIDERS.items() if full in available]
    for name in names:
        if name not in PROVIDERS:
            raise ProviderRefused(f"There is no execution provider '{name}'.", f"Known: {', '.join(PROVIDERS)}.")
    if not any(name in installed for name in names):
        raise ProviderRefused(
            f"Execution provider {' or '.join(repr(name) for name in names)} is not installed here.",
            f"Installed: {', '.join(installed)}. For NVIDIA: pip install 'facefusion[cuda]'. See 'facefusion doctor'.",
        )


class Session:
    """A model that is loaded and runs; safe to share between threads.

    Parameters
    ----------
    spec
        The model; its hash is checked before anything is loaded.
    providers
        Our provider names in order of preference. The first one must really run unless another
        name follows it, which is how a user allows a fallback.
    thread_count
        Threads inside one call.

    Raises
    ------
    HashMismatch, ModelMismatch, ProviderRefused
    """

    def __init__(self, spec: ModelSpec, providers: Sequence[str] = ("cpu",), thread_count: int = 1) -> None:
        content = spec.read_verified()
        check_providers(providers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(thread_count, 1)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads would take the cores that decode and encode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        wanted = [PROVIDERS[name] for name in providers if PROVIDERS[name] in available]
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=wanted)
        except Exception as error:  # ONNX Runtime raises its own untyped errors
            raise ModelMismatch(f"Model {spec.id} cannot be loaded: {error}.", "See 'facefusion doctor'.") from error
        used = self._session.get_providers()
        allowed = {PROVIDERS[name] for name in providers}
        if used[0] not in allowed:
            raise ProviderRefused(
                f"Model {spec.id} was asked to run on {providers[0]} but runs on {used[0]}.",
                f"Add 'cpu' after '{providers[0]}' to allow that, or see 'facefusion doctor'.",
            )
        self.spec, self.provider = spec, used[0]
        _check_graph(spec, self._session)

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]:
        """Run the model; outputs come in the order of the specification."""
        outputs: list[npt.NDArray[np.float32]] = self._session.run(list(self.spec.outputs), inputs)
        return outputs


def _check_graph(spec: ModelSpec, session: Any) -> None:
    for kind, declared, found in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        shapes = {value.name: [n if isinstance(n, int) else None for n in value.shape] for value in found}
        for name, shape in declared.items():
            if name not in shapes:
                raise ModelMismatch(f"Model {spec.id} has no {kind} '{name}', only {', '.join(shapes)}.")
            pairs = zip(shape, shapes[name], strict=False)
            if len(shape) != len(shapes[name]) or any(a is not None and b is not None and a != b for a, b in pairs):
                raise ModelMismatch(f"Model {spec.id}: {kind} '{name}' is {shapes[name]}, expected {list(shape)}.")


def describe_providers() -> dict[str, bool]:
    """Our provider names, and whether this ONNX Runtime offers them."""
    available = onnxruntime.get_available_providers()
    return {name: full in available for name, full in PROVIDERS.items()}
