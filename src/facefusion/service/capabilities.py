"""What this installation can be asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from facefusion.media import image, probe
from facefusion.media.encoders import describe_encoders
from facefusion.plugins.registry import FACE_PROCESSORS, list_engines
from facefusion.recipe import Recipe
from facefusion.service.doctor import probe_providers
from facefusion.service.models import ModelLine, Models
from facefusion.version import __version__


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused because it is too large.

    Attributes
    ----------
    photo_pixels, photo_bytes
        Of a photo.
    clip_pixels, clip_side_px
        Of a frame of a clip.
    """

    photo_pixels: int = image.MAX_PIXELS
    photo_bytes: int = image.MAX_BYTES
    clip_pixels: int = probe.MAX_PIXELS
    clip_side_px: int = probe.MAX_SIDE


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What can be asked for here.

    Attributes
    ----------
    version
        Of FaceFusion.
    processors
        Names, each with the engines and models that it can take.
    options
        JSON Schema of all options.
    models
        All of the catalogue, with licences and whether they are here.
    providers
        Execution providers that really run.
    encoders
        Video encoders that are there.
    limits
        What is too large.
    """

    version: str
    processors: dict[str, tuple[str, ...]]
    options: dict[str, Any]
    models: tuple[ModelLine, ...]
    providers: tuple[str, ...]
    encoders: tuple[str, ...]
    limits: Limits

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def find_capabilities(models: Models) -> Capabilities:
    """Find out what can be asked for, providers tried."""
    lines = models.list()
    processors = {
        name: (*list_engines(name), *(m.id for m in lines if m.capability == name and m.place != "embedded"))
        for name in FACE_PROCESSORS
    }
    return Capabilities(
        __version__,
        processors,
        Recipe.model_json_schema(),
        lines,
        tuple(provider.name for provider in probe_providers(models) if provider.runs_on),
        tuple(name for name, is_there in describe_encoders().items() if is_there),
        Limits(),
    )
