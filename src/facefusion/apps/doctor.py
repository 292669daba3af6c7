"""What is installed, which providers really run, which models verify."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from facefusion import __version__
from facefusion.errors import FaceFusionError, RecipeError
from facefusion.models.session import Session, core_count, describe_providers
from facefusion.models.spec import ModelSpec, get_spec, load_catalog

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "av",
    "pillow",
    "pydantic",
    "safetensors",
)


def show_models(action: str, model: str | None) -> int:
    """``facefusion models list | show ID | verify``."""
    if action == "show":
        if model is None:
            raise RecipeError("No model is named.", "Use: facefusion models show ID.")
        _print_model(get_spec(model))
        return 0
    failed = 0
    for spec in load_catalog().values():
        if action == "list":
            print(f"{spec.id:<26}{spec.capability:<18}{spec.licence:<12}{spec.size_bytes / 1e6:6.1f} MB  embedded")
            continue
        state = _verify(spec)
        failed += state != "verified"
        print(f"{spec.id:<26}{state}")
    return 6 if failed else 0


def _print_model(spec: ModelSpec) -> None:
    print(f"{spec.id}@{spec.version}: {spec.capability}, {spec.vendor} {spec.year}")
    print(f"  licence    {spec.licence} ({spec.licence_source}); commercial use: {spec.commercial}")
    print(f"  file       {spec.file}, {spec.size_bytes} bytes")
    print(f"  sha256     {spec.sha256}")
    for name, shape in [*spec.inputs.items(), *spec.outputs.items()]:
        print(f"  {name:<10} {' x '.join('?' if n is None else str(n) for n in shape)}")
    for key, value in spec.figures.items():
        print(f"  {key}: {value}")


def _verify(spec: ModelSpec) -> str:
    try:
        spec.read_verified()
    except FaceFusionError as error:
        return error.message
    return "verified"


def examine() -> int:
    """``facefusion doctor``: print a report; 0 where the embedded default works."""
    print(f"facefusion {__version__}, Python {sys.version.split()[0]}, {platform.platform()}, {core_count()} cores")
    print("\npackages")
    for name in _PACKAGES:
        try:
            print(f"  {name:<24}{version(name)}")
        except PackageNotFoundError:
            print(f"  {name:<24}not installed")
    print("\nmodels")
    is_well = True
    specs = load_catalog()
    for spec in specs.values():
        state = _verify(spec)
        is_well = is_well and state == "verified"
        print(f"  {spec.id:<26}{state}")
    print("\nexecution providers")
    probe = specs["face_mesh_embedded"]
    for name, is_offered in describe_providers().items():
        if not is_offered:
            print(f"  {name:<10}not in this ONNX Runtime")
            continue
        try:
            works = f"runs ({Session(probe, [name]).provider})"
        except FaceFusionError as error:
            works = f"does not run: {error.message}"
            is_well = is_well and name != "cpu"
        print(f"  {name:<10}{works}")
    print("\nvideo encoders")
    from facefusion.media.encoders import describe_encoders

    for encoder, is_there in describe_encoders().items():
        print(f"  {encoder:<12}{'available' if is_there else 'not in this PyAV'}")
    print("\nAll is well." if is_well else "\nSomething is broken; see above.")
    return 0 if is_well else 6


__all__ = ["examine", "show_models"]
