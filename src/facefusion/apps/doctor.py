"""What is installed, which providers really run, which models verify."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from facefusion import __version__
from facefusion.apps.console import say
from facefusion.apps.models import state_of
from facefusion.errors import FaceFusionError
from facefusion.models.providers import core_count, describe_providers
from facefusion.models.session import SESSIONS
from facefusion.models.store import ModelStore
from facefusion.recipe import Recipe

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "av",
    "pillow",
    "pillow-heif",
    "pydantic",
    "safetensors",
)


def examine(recipe: Recipe) -> int:
    """``facefusion doctor``: print a report; 0 where the embedded default works."""
    say(f"facefusion {__version__}, Python {sys.version.split()[0]}, {platform.platform()}, {core_count()} cores")
    say("\npackages")
    runtimes = []
    for name in _PACKAGES:
        try:
            say(f"  {name:<24}{version(name)}")
            if name.startswith("onnxruntime"):
                runtimes.append(name)
        except PackageNotFoundError:
            say(f"  {name:<24}not installed")
    if len(runtimes) > 1:
        best = runtimes[-1]
        say(
            f"  {' and '.join(runtimes)} lie in one folder, and the last one installed has overwritten the others.\n"
            f"  To have {best}: pip uninstall -y {' '.join(runtimes)} && pip install {best}"
        )
    say("\nmodels")
    is_well = True
    store = ModelStore(recipe.models_paths, recipe.licences)
    specs = store.catalog()
    for spec in specs.values():
        if store.find(spec) is None and spec.origin != "embedded":
            continue
        try:
            store.verify(spec)
            state = state_of(spec, store)
        except FaceFusionError as error:
            state = error.message
            is_well = False
        say(f"  {spec.id:<28}{state}")
    others = sum(store.find(spec) is None for spec in specs.values())
    say(f"  {others} more in the catalogue are not here; see 'facefusion models list'")
    say("\nexecution providers")
    probe = specs["face_landmarker_embedded"]
    for name, is_offered in describe_providers().items():
        if not is_offered:
            say(f"  {name:<14}not in this ONNX Runtime")
            continue
        try:
            works = f"runs ({SESSIONS.get(probe, store, [name]).provider})"
        except FaceFusionError as error:
            works = f"does not run: {error.message}"
            is_well = is_well and name != "cpu"
        say(f"  {name:<14}{works}")
    say("\nvideo encoders")
    from facefusion.media.encoders import describe_encoders

    for encoder, is_there in describe_encoders().items():
        say(f"  {encoder:<12}{'available' if is_there else 'not in this PyAV'}")
    say("\nAll is well." if is_well else "\nSomething is broken; see above.")
    return 0 if is_well else 6
