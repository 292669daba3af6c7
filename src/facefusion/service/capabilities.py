"""What this installation can be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from facefusion.declaration import Kind, find_processor, processor_names
from facefusion.errors import ProcessorRefused
from facefusion.media import image, probe
from facefusion.media.encoders import describe_encoders
from facefusion.plugins.registry import list_engines
from facefusion.recipe import INNER, Recipe
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
class ProcessorView:
    """A processor that can be asked for.

    Attributes
    ----------
    name, title, kind
        Which, what it does, and on what it works.
    models
        Engines and models that it can take.
    inputs
        What it wants besides the target, where nothing else is chosen.
    options
        JSON Schema of its options.
    """

    name: str
    title: str
    kind: Kind
    models: tuple[str, ...]
    inputs: tuple[str, ...]
    options: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What can be asked for here.

    Attributes
    ----------
    version
        Of FaceFusion.
    processors
        Those that are installed and can be loaded.
    options
        JSON Schema of the options of a recipe that are no processor's.
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
    processors: tuple[ProcessorView, ...]
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
    schema = Recipe.model_json_schema()
    schema["properties"] = {name: value for name, value in schema["properties"].items() if name not in INNER}
    schema.pop("$defs", None)
    return Capabilities(
        __version__,
        tuple(_processors(lines)),
        schema,
        lines,
        tuple(provider.name for provider in probe_providers(models) if provider.runs_on),
        tuple(name for name, is_there in describe_encoders().items() if is_there),
        Limits(),
    )


def _processors(lines: Sequence[ModelLine]) -> Iterator[ProcessorView]:
    for name in processor_names():
        try:
            spec = find_processor(name)
            inputs = spec.require(spec.options()).inputs
        except ProcessorRefused:  # told about when it is asked for
            continue
        known = (line.id for line in lines if line.capability == name and line.place != "embedded")
        yield ProcessorView(
            name, spec.title, spec.kind, (*list_engines(name), *known), tuple(sorted(inputs)),
            spec.options.model_json_schema(),
        )  # fmt: skip
