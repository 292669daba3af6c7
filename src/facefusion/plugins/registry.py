"""Finds engines by entry point; listing them imports nothing."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from facefusion.errors import UnknownModel, UnknownProcessor
from facefusion.plugins.protocols import EngineContext
from facefusion.recipe import suggest

DETECTORS = "facefusion.detectors"
LANDMARKERS = "facefusion.landmarkers"
FACE_PROCESSORS = ("face_swapper",)
"""Capabilities of pass 2 that the recipe knows; each is an entry-point group of its own."""


def list_engines(group: str) -> list[str]:
    """Names offered in a group by all installed packages."""
    return sorted({entry.name for entry in entry_points(group=group)})


def check_processor(name: str) -> None:
    """Refuse a processor that does not exist, suggesting the nearest.

    Raises
    ------
    UnknownProcessor
    """
    if name not in FACE_PROCESSORS:
        raise UnknownProcessor(f"There is no processor '{name}'.", suggest(name, list(FACE_PROCESSORS)))


def build_engine(group: str, name: str, context: EngineContext) -> Any:
    """Import and build an engine.

    Parameters
    ----------
    group
        Entry-point group.
    name
        Name of the engine in it.
    context
        Handed to its builder.

    Raises
    ------
    UnknownModel
    """
    found: list[EntryPoint] = [entry for entry in entry_points(group=group) if entry.name == name]
    if not found:
        kind = group.removeprefix("facefusion.").rstrip("s").replace("_", " ")
        raise UnknownModel(f"There is no {kind} model '{name}'.", suggest(name, list_engines(group)))
    return found[0].load()(context)
