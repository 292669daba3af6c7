"""FaceFusion: change faces in photos and video.

    from facefusion import process_video, set_options  # files
    from facefusion import Swapper, analyse_image  # pictures in memory

The public names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import os

from facefusion.version import __version__

# ONNX Runtime tells its makers about every process that loads it, and leaves an id of the machine in the home folder.
# Nobody was asked. Before it is loaded is the only time to say so, and processes that come of this one inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

TYPE_CHECKING = False  # that of typing, whose import takes so long that Ctrl-C would fall into it
if TYPE_CHECKING:
    from typing import Any

    from facefusion.apps.library import (
        Anonymiser,
        FaceFusion,
        Live,
        Swapper,
        analyse_image,
        analyse_target,
        render_target,
        run,
    )
    from facefusion.apps.progress import ProgressBar
    from facefusion.apps.simple import get_options, process_image, process_video, set_options
    from facefusion.declaration import Step
    from facefusion.errors import FaceFusionError, Stopped
    from facefusion.pipeline.progress import CancelToken, Progress
    from facefusion.pipeline.runner import Outcome
    from facefusion.recipe import Recipe, build_recipe
    from facefusion.service.pictures import Changed, SeenFace, Stream
    from facefusion.types.track import Track, Tracks

_HOMES = {
    "set_options": "facefusion.apps.simple",
    "get_options": "facefusion.apps.simple",
    "process_video": "facefusion.apps.simple",
    "process_image": "facefusion.apps.simple",
    "Step": "facefusion.declaration",
    "Recipe": "facefusion.recipe",
    "build_recipe": "facefusion.recipe",
    "run": "facefusion.apps.library",
    "analyse_target": "facefusion.apps.library",
    "render_target": "facefusion.apps.library",
    "FaceFusion": "facefusion.apps.library",
    "Swapper": "facefusion.apps.library",
    "Anonymiser": "facefusion.apps.library",
    "analyse_image": "facefusion.apps.library",
    "ProgressBar": "facefusion.apps.progress",
    "Stream": "facefusion.service.pictures",
    "Changed": "facefusion.service.pictures",
    "SeenFace": "facefusion.service.pictures",
    "Live": "facefusion.apps.library",
    "CancelToken": "facefusion.pipeline.progress",
    "Progress": "facefusion.pipeline.progress",
    "Outcome": "facefusion.pipeline.runner",
    "Track": "facefusion.types.track",
    "Tracks": "facefusion.types.track",
    "FaceFusionError": "facefusion.errors",
    "Stopped": "facefusion.errors",
}

__all__ = [
    "Anonymiser",
    "CancelToken",
    "Changed",
    "FaceFusion",
    "FaceFusionError",
    "Live",
    "Outcome",
    "Progress",
    "ProgressBar",
    "Recipe",
    "SeenFace",
    "Step",
    "Stopped",
    "Stream",
    "Swapper",
    "Track",
    "Tracks",
    "__version__",
    "analyse_image",
    "analyse_target",
    "build_recipe",
    "get_options",
    "process_image",
    "process_video",
    "render_target",
    "run",
    "set_options",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'facefusion' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
