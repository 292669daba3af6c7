"""Finds engines by entry point and catalogue; listing them imports nothing."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import wraps
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from facefusion.declaration import Step, is_ours, package_of, processor_names, suggest, told
from facefusion.errors import FaceFusionError, ProcessorRefused, UnknownModel
from facefusion.installed import list_entries

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from facefusion.models.spec import ModelSpec
    from facefusion.plugins.protocols import EngineContext

FAMILIES = "facefusion.families"
"""Entry points of this group run the catalogue entries of a family."""


def list_engines(capability: str) -> list[str]:
    """Names of engines with a model of their own, from all installed packages."""
    return sorted({entry.name for entry in list_entries(f"facefusion.{capability}")})


def find_entry(group: str, name: str) -> EntryPoint | None:
    """The entry point of a name, or None."""
    return next((entry for entry in list_entries(group) if entry.name == name), None)


def build_engine(capability: str, name: str, context: EngineContext) -> Any:
    """Import and build an engine.

    Parameters
    ----------
    capability
        ``face_detector``, ``optical_flow`` …, or the name of a processor.
    name
        An engine with a model of its own, or the id of a catalogue entry.
    context
        Handed to its builder, with the catalogue entry in it.

    Raises
    ------
    UnknownModel
    """
    if context.step is None and capability in processor_names():
        context = replace(context, step=context.recipe.step_of(capability))
    entry = find_entry(f"facefusion.{capability}", name)
    if entry is not None:
        return entry.load()(context)
    spec = check_model(capability, name, context)
    assert spec is not None
    family = find_entry(FAMILIES, spec.family)
    if family is None:
        raise UnknownModel(
            f"Model '{name}' is of the family '{spec.family}', which no installed package runs.",
            "Install the package that brings it.",
        )
    return family.load()(replace(context, spec=spec))


def build_by_model(context: EngineContext) -> Any:
    """A processor whose engine is named by its option ``model``: the builder of processors that have many."""
    assert context.step is not None
    return build_engine(context.step.processor, context.options.model, context)


def build_processor(step: Step, context: EngineContext) -> Any:
    """Import and build the processor of a step.

    What a processor of another package raises is told as its own: it is no fault of ours.

    Raises
    ------
    FaceFusionError
    """
    build = step.spec.load()
    if is_ours(step.processor):
        return build(replace(context, step=step))
    with _told_of(step.processor):
        processor = build(replace(context, step=step))
    for name in ("prepare", "meet", "process", "read"):
        method = getattr(processor, name, None)
        if callable(method):
            with suppress(AttributeError):  # one with slots is told as a fault
                object.__setattr__(processor, name, _guarded(step.processor, method))
    return processor


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    try:
        yield
    except (FaceFusionError, MemoryError):
        raise
    except Exception as error:
        raise ProcessorRefused(
            f"Processor '{name}' of the package {package_of(name)} has failed: {told(error)} ({_place_of(error)}).",
            "Report it to whoever made that package; 'facefusion plugins check' may tell more.",
        ) from error


def _guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any) -> Any:
        with _told_of(name):
            found = method(*arguments)
            return _guarded_frames(name, found) if isinstance(found, Iterator) else found

    return call


def _guarded_frames(name: str, frames: Iterator[Any]) -> Iterator[Any]:
    with _told_of(name):
        yield from frames


def _place_of(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{PurePath(frame.filename).name}, line {frame.lineno}"


def is_mesh_reader(spec: ModelSpec) -> bool:
    """Whether the engine of a landmarker's family reads the mesh by itself."""
    family = find_entry(FAMILIES, spec.family)
    return family is not None and bool(getattr(family.load(), "reads_mesh", False))


def models_of_engine(capability: str, name: str, context: EngineContext) -> list[str]:
    """Ids of the catalogue entries that an engine with a model of its own opens, as its builder declares them.

    Raises
    ------
    ModelMissing
        Where an engine takes what is there, and nothing is.
    """
    entry = find_entry(f"facefusion.{capability}", name)
    find = getattr(entry.load(), "models_of", None) if entry is not None else None
    return list(find(context)) if find is not None else []


def engine_sees_glasses(capability: str, name: str) -> bool:
    """Whether an engine tells who wears glasses, as its builder declares it."""
    entry = find_entry(f"facefusion.{capability}", name)
    return entry is not None and bool(getattr(entry.load(), "sees_glasses", False))


def models_behind(capability: str, name: str, context: EngineContext) -> list[ModelSpec]:
    """Catalogue entries that are opened where an engine or an entry of a capability is asked for by name.

    Raises
    ------
    UnknownModel, ModelMissing
    """
    own = context.store.catalog().get(f"{capability}_{name}") if name == "embedded" else None
    if own is not None:
        declared = models_of_engine(capability, name, context)
        return [own, *(context.store.get(id_) for id_ in declared if id_ != own.id)]
    spec = check_model(capability, name, context)
    if spec is not None:
        return [spec]
    return [context.store.get(id_) for id_ in models_of_engine(capability, name, context)]


def check_model(capability: str, name: str, context: EngineContext) -> Any:
    """Refuse a model that does not exist, suggesting the nearest.

    Returns
    -------
    Its catalogue entry, or None for an engine with a model of its own.

    Raises
    ------
    UnknownModel
    """
    engines = list_engines(capability)
    if name in engines:
        return None
    catalog = context.store.catalog()
    spec = catalog.get(name)
    if spec is None or spec.capability != capability or spec.origin == "embedded":
        known = [*engines, *(s.id for s in catalog.values() if s.capability == capability and s.origin != "embedded")]
        kind = capability.replace("_", " ")
        raise UnknownModel(f"There is no {kind} model '{name}'.", suggest(name, known) if known else "")
    return spec
