"""Which models there are: built in, in the user's folders, from installed packages, and found by their kind."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from facefusion.documents import load_text
from facefusion.errors import FaceFusionWarning, SpecError, UnknownModel
from facefusion.installed import list_entries
from facefusion.models.spec import ModelFile, ModelSpec, Origin, parse_spec

BUILT_IN = resources.files("facefusion.models") / "catalog"
LOOSE = resources.files("facefusion.models") / "loose"
GROUP = "facefusion.models"
"""Entry points of this group name a package with TOML files (and model files) in it."""


class EntryLeftOutWarning(FaceFusionWarning):
    """A file in a models folder is no entry that can be used; everything else goes on without it."""


def load_catalog(folders: Sequence[Path] = ()) -> Mapping[str, ModelSpec]:
    """Every model by id. What is in the folders is looked at each time, and read where it is not as it was.

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
    packages = [(entry.value, _listing(Path(str(resources.files(entry.value))), ())) for entry in list_entries(GROUP)]
    endings = tuple(Path(one.graph.name).suffix for one in _loose())
    found = read_catalog(tuple(packages), tuple((folder, _listing(folder, endings)) for folder in folders))
    for why in found.left_out:
        warnings.warn(why, EntryLeftOutWarning, stacklevel=2)
    return found.models


File = tuple[str, int, int]
"""Path below a folder, time of the last change in ns, and bytes; of models without an entry, whether it is a file."""


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """What some folders make of the models that are built in.

    Attributes
    ----------
    models
        By id.
    left_out
        Sentences on what is no entry that can be used.
    """

    models: Mapping[str, ModelSpec]
    left_out: tuple[str, ...] = ()


@lru_cache(maxsize=16)
def read_catalog(
    packages: tuple[tuple[str, tuple[File, ...]], ...], folders: tuple[tuple[Path, tuple[File, ...]], ...]
) -> Catalog:
    """The catalogue of packages and folders in one state; one job asks dozens of times.

    Parameters
    ----------
    packages, folders
        Each with the files in it that count.
    """
    built_in = {spec.id: spec for spec in _built_in()}
    catalog, left_out = dict(built_in), list[str]()
    sources = [_of_package(name) for name, _ in packages]
    for source in (*sources, *(_of_folder(folder, files, left_out) for folder, files in folders)):
        seen: dict[str, ModelSpec] = {}
        for spec in source:
            if why := clash_of(spec, seen):
                left_out.append(f"The model '{spec.id}' in {spec.folder} is left out: {why}. Give it another id.")
            else:
                seen[spec.id] = spec
        catalog |= seen
    return Catalog(MappingProxyType(catalog), tuple(left_out))


def clash_of(spec: ModelSpec, beside: Collection[str]) -> str:
    """Why an entry of a folder cannot have its id; empty where it can.

    Parameters
    ----------
    spec
        The entry.
    beside
        Ids of the entries before it in its folder.
    """
    if any(spec.id == known.id for known in _built_in()):
        return "that is the name of a built-in model"
    return "another entry beside it has the same name" if spec.id in beside else ""


def built_in_models() -> tuple[ModelSpec, ...]:
    """Entries that come with the package, those of files that are models by their ending included."""
    return (*_built_in(), *_loose())


def entries_in(folder: Path) -> Iterator[tuple[Path, ModelSpec | SpecError]]:
    """Every entry of a folder in order, as the catalogue reads it, or what is wrong with it."""
    return _entries_of(folder, _listing(folder, tuple(Path(one.graph.name).suffix for one in _loose())))


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


def _listing(folder: Path, loose: tuple[str, ...]) -> tuple[File, ...]:
    """Files of a folder that the catalogue is made of, in order.

    Parameters
    ----------
    folder
        Where; what is not there holds nothing.
    loose
        Endings of files that are models by their name, here and one folder further down.
    """
    return tuple(sorted(_iter_files(folder, "", loose), key=lambda file: file[0].split("/")))


def _iter_files(folder: Path, before: str, loose: tuple[str, ...]) -> Iterator[File]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:  # not there, or nobody may look into it
        return
    for entry in found:
        name = before + entry.name
        if not before and entry.name.endswith(".toml"):
            yield name, *_state_of(folder / entry.name)
        if loose and entry.name.endswith(loose):
            yield name, int((folder / entry.name).is_file()), 0
        if loose and not before and (folder / entry.name).is_dir():
            yield from _iter_files(folder / entry.name, f"{name}/", loose)


def _state_of(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return (0, 0)  # reading it says why
    return state.st_mtime_ns, state.st_size


def _of_package(name: str) -> Iterator[ModelSpec]:
    root = resources.files(name)
    yield from _read(root.iterdir(), "package", Path(str(root)))


def _of_folder(folder: Path, files: tuple[File, ...], left_out: list[str]) -> Iterator[ModelSpec]:
    for path, found in _entries_of(folder, files):
        if isinstance(found, SpecError):
            left_out.append(f"{path.name} is left out: {found}")
        else:
            yield found


def _entries_of(folder: Path, files: tuple[File, ...]) -> Iterator[tuple[Path, ModelSpec | SpecError]]:
    for name, _, _ in files:
        if name.endswith(".toml") and "/" not in name:
            path = folder / name
            try:
                yield path, parse_spec(load_text(path, SpecError, "a model's entry"), str(path), "local", path.parent)
            except SpecError as error:
                yield path, error
    for kind in _loose():
        suffix = Path(kind.graph.name).suffix
        for path in (folder / name for name, is_file, _ in files if name.endswith(suffix) and is_file):
            if path.name.isprintable():
                scope = path.parent.name if path.parent != folder else "custom"
                own = (ModelFile(path.name),)
                yield path, replace(kind, id=f"{scope}/{path.stem}", files=own, vendor=scope, folder=path.parent)
