"""Stands in for NVIDIA's library on machines without a GPU: one GPU of which three quarters of the memory are taken."""

from types import SimpleNamespace


def nvmlInit() -> None:  # noqa: N802
    pass


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return 1


def nvmlDeviceGetHandleByIndex(number: int) -> int:  # noqa: N802
    return number


def nvmlDeviceGetName(handle: int) -> str:  # noqa: N802
    return "Stand-in"


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(used=6_000_000_000, total=8_000_000_000)


def nvmlDeviceGetUtilizationRates(handle: int) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(gpu=40)
