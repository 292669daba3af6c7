"""What this installation can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from facefusion.declaration import processor_names
from facefusion.errors import ProcessorRefused
from facefusion.media import image, probe
from facefusion.media.encoders import describe_encoders
from facefusion.metrics.page import can_make_page
from facefusion.plugins.listing import ProcessorView, show_processor
from facefusion.policy.site import NO_POLICY, SitePolicy
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
        Video encoders that work here.
    reports
        Whether a report of an output can be made as a page.
    limits
        What is too large.
    policy
        What is checked before anything is done: consents, blocklist, content (`facefusion.policy.site.SitePolicy`).
    """

    version: str
    processors: tuple[ProcessorView, ...]
    options: dict[str, Any]
    models: tuple[ModelLine, ...]
    providers: tuple[str, ...]
    encoders: tuple[str, ...]
    reports: bool
    limits: Limits
    policy: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def find_capabilities(models: Models, policy: SitePolicy = NO_POLICY) -> Capabilities:
    """Find out what can be asked for, providers tried."""
    lines = models.list()
    schema = Recipe.model_json_schema()
    schema["properties"] = {name: value for name, value in schema["properties"].items() if name not in INNER}
    schema.pop("$defs", None)
    return Capabilities(
        __version__,
        tuple(_processors(models)),
        schema,
        lines,
        tuple(provider.name for provider in probe_providers(models) if provider.runs_on),
        tuple(name for name, problem in describe_encoders().items() if not problem),
        can_make_page(),
        Limits(),
        policy.as_dict(),
    )


def _processors(models: Models) -> Iterator[ProcessorView]:
    for name in processor_names():
        try:
            yield show_processor(name, models.store)
        except ProcessorRefused:  # told about when it is asked for
            continue
