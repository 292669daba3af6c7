"""How busy the GPUs of this machine are, where NVIDIA's library is here and says so; nothing where it is not."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes
    ----------
    number, name
        Which, and its model.
    used_bytes, total_bytes
        Its memory.
    busy
        Share of the last moment in which it computed, 0 to 1; None where it does not tell.
    """

    number: int
    name: str
    used_bytes: int
    total_bytes: int
    busy: float | None


_lock = threading.Lock()
_found: list[Any] = []
"""The library, once it was begun with; empty before, and a None where there is none."""


def _library() -> Any:
    if not _found:
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # no package, no driver, no device: each library version has errors of its own
            _found.append(None)
        else:
            _found.append(pynvml)
    return _found[0]


def look() -> tuple[Gpu, ...]:
    """All GPUs that NVIDIA's library tells of."""
    with _lock:
        nvml = _library()
        if nvml is None:
            return ()
        found = []
        try:
            for number in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(number)
                name, memory = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
                try:
                    busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
                except Exception:  # a slice of a GPU tells of no share
                    busy = None
                text = name.decode() if isinstance(name, bytes) else str(name)
                found.append(Gpu(number, text, int(memory.used), int(memory.total), busy))
        except Exception:  # the driver was taken away meanwhile
            return ()
        return tuple(found)
