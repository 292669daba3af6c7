"""Taking in models that a user already has: FaceFusion's models folder, and one-person models."""

from __future__ import annotations

import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

from facefusion.errors import ModelMissing
from facefusion.models.spec import ModelFile, ModelSpec
from facefusion.models.store import ModelStore, OnBytes, sha256_of
from facefusion.writing import replacing

_KINDS = ("*.onnx", "*.dfm", "*/*.dfm")
_INSIDE = (Path(), Path(".assets/models"), Path("models"))


@dataclass(frozen=True, slots=True)
class Imported:
    """One file that was looked at.

    Attributes
    ----------
    name
        File name.
    state
        ``imported``, ``already here``, ``damaged`` (its checksum says so) or ``not in the catalogue``.
    model_id
        The model it belongs to, or empty.
    """

    name: str
    state: str
    model_id: str = ""


def find_models_folder(folder: Path) -> Path:
    """The folder with model files in a FaceFusion installation, or the folder itself.

    Raises
    ------
    ModelMissing
    """
    for inner in reversed(_INSIDE):
        place = folder / inner
        if place.is_dir() and (any(any(place.glob(kind)) for kind in _KINDS)):
            return place
    raise ModelMissing(f"There are no model files in {folder}.", "Name FaceFusion's folder or its .assets/models.")


def import_folder(folder: Path, store: ModelStore, on_bytes: OnBytes) -> list[Imported]:
    """Copy what the catalogue knows into the store, checked; hard links where the file system allows it.

    Parameters
    ----------
    folder
        FaceFusion's folder, its ``.assets/models``, or any folder with such files.
    store
        Files go to its home. Licences are asked when a model is used, not when it is copied.
    on_bytes
        Called after each file.

    Returns
    -------
    What became of every model file.
    """
    place = find_models_folder(folder)
    known: dict[str, tuple[ModelSpec, ModelFile]] = {
        file.name: (spec, file)
        for spec in store.catalog().values()
        for file in spec.files
        if spec.origin in ("catalog", "package", "local")
    }
    results = []
    paths = sorted(path for kind in _KINDS for path in place.glob(kind))
    for number, path in enumerate(paths):
        on_bytes(path.name, number + 1, len(paths))
        if path.suffix == ".dfm":
            scope = path.parent.name if path.parent != place else "custom"
            goal, model_id, wanted = store.home / scope / path.name, f"{scope}/{path.stem}", ""
        elif path.name in known:
            spec, file = known[path.name]
            goal, model_id, wanted = store.home / file.name, spec.id, file.sha256
        else:
            results.append(Imported(path.name, "not in the catalogue"))
            continue
        if goal.exists():
            results.append(Imported(path.name, "already here", model_id))
        elif not _is_whole(path) or (wanted and sha256_of(path) != wanted):
            results.append(Imported(path.name, "damaged", model_id))
        else:
            _take(path, goal)
            results.append(Imported(path.name, "imported", model_id))
    return results


def _is_whole(path: Path) -> bool:
    """Whether FaceFusion's own checksum (CRC32 in a file beside it) fits; True where there is none."""
    beside = path.with_suffix(".hash")
    if not beside.is_file():
        return True
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return f"{value:08x}" == beside.read_text(encoding="utf-8").strip().lower()


def _take(path: Path, goal: Path) -> None:
    goal.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, goal)
    except OSError:
        with replacing(goal) as partial:
            shutil.copyfile(path, partial)
