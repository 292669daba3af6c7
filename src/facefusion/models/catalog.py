"""Which models there are: built in, in the user's folders, from installed packages, and found by their kind."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from facefusion.documents import load_text
from facefusion.errors import SpecError, UnknownModel
from facefusion.installed import list_entries
from facefusion.models.spec import ModelFile, ModelSpec, Origin, parse_spec

BUILT_IN = resources.files("facefusion.models") / "catalog"
LOOSE = resources.files("facefusion.models") / "loose"
GROUP = "facefusion.models"
"""Entry points of this group name a package with TOML files (and model files) in it."""


class EntryLeftOutWarning(UserWarning):
    """A file in a models folder is no entry that can be used; everything else goes on without it."""


def load_catalog(folders: Sequence[Path] = ()) -> dict[str, ModelSpec]:
    """Every model by id.

    Parameters
    ----------
    folders
        Folders of the user. What is no entry, or one that is wrong, is left out with an `EntryLeftOutWarning`: a stray
        file breaks nobody's work. What is built in cannot be replaced, since it is what others rely on: who is hidden
        and whose licence is asked must not depend on a file that somebody put beside the models.

    Raises
    ------
    SpecError
        For a wrong entry of an installed package.
    """
    built_in = {spec.id: spec for spec in _built_in()}
    catalog = dict(built_in)
    for source in (_from_packages(), *(_from_folder(folder) for folder in folders)):
        seen: dict[str, ModelSpec] = {}
        for spec in source:
            if spec.id in built_in:
                _leave_out(spec, "that is the name of a built-in model")
            elif spec.id in seen:
                _leave_out(spec, "another entry beside it has the same name")
            else:
                seen[spec.id] = spec
        catalog |= seen
    return catalog


def _leave_out(spec: ModelSpec, why: str) -> None:
    warnings.warn(
        f"The model '{spec.id}' in {spec.folder} is left out: {why}. Give it another id.",
        EntryLeftOutWarning,
        stacklevel=3,
    )


def get_spec(model_id: str, folders: Sequence[Path] = ()) -> ModelSpec:
    """A model of the catalogue.

    Raises
    ------
    UnknownModel
    """
    catalog = load_catalog(folders)
    if model_id not in catalog:
        from facefusion.declaration import suggest

        raise UnknownModel(f"There is no model '{model_id}'.", suggest(model_id, list(catalog)))
    return catalog[model_id]


def _read(entries: Iterator[Traversable], origin: Origin, folder: Path | None) -> Iterator[ModelSpec]:
    for entry in sorted(entries, key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            yield parse_spec(entry.read_text(encoding="utf-8"), entry.name, origin, folder)


@cache
def _built_in() -> tuple[ModelSpec, ...]:
    specs = _read(BUILT_IN.iterdir(), "catalog", None)
    return tuple(replace(spec, origin="embedded") if spec.family == "embedded" else spec for spec in specs)


@cache
def _loose() -> tuple[ModelSpec, ...]:
    """Entries of files that are models by the ending of their name: one of a folder takes its place in the entry."""
    return tuple(_read(LOOSE.iterdir(), "local", None))


def _from_packages() -> Iterator[ModelSpec]:
    for entry in list_entries(GROUP):
        root = resources.files(entry.value)
        yield from _read(root.iterdir(), "package", Path(str(root)))


def _state_of(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return (0, 0)  # reading it says why
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=1024)
def _local_entry(path: Path, _changed_ns: int, _size_bytes: int) -> ModelSpec:
    """An entry of a folder, read once for each state of its file: one job asks dozens of times."""
    return parse_spec(load_text(path, SpecError, "a model's entry"), str(path), "local", path.parent)


def _from_folder(folder: Path) -> Iterator[ModelSpec]:
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.toml")):
        try:
            yield _local_entry(path, *_state_of(path))
        except SpecError as error:
            warnings.warn(f"{path.name} is left out: {error}", EntryLeftOutWarning, stacklevel=4)
    for kind in _loose():
        suffix = Path(kind.graph.name).suffix
        for path in sorted({*folder.glob(f"*{suffix}"), *folder.glob(f"*/*{suffix}")}):
            if path.is_file() and path.name.isprintable():
                scope = path.parent.name if path.parent != folder else "custom"
                files = (ModelFile(path.name),)
                yield replace(kind, id=f"{scope}/{path.stem}", files=files, vendor=scope, folder=path.parent)
