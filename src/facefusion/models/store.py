"""Where model files are on this machine, and whether they are what their specification names."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from facefusion.documents import load_json, reason_of
from facefusion.errors import (
    ExtraMissing,
    FaceFusionError,
    FaceFusionWarning,
    HashMismatch,
    ModelMissing,
    RecipeError,
    StorageError,
)
from facefusion.models.catalog import load_catalog
from facefusion.models.licences import LicencePolicy, check_licence
from facefusion.models.spec import EMBEDDED, ModelFile, ModelSpec
from facefusion.workplace import LOCK, take, user_base
from facefusion.writing import replacing, save_bytes

OnBytes = Callable[[str, int, int], None]
"""Called with a file's name, the bytes so far and all bytes (0 where nobody knows)."""


def ignore_bytes(name: str, done: int, total: int) -> None:
    """Tell nobody."""


_CHUNK = 1 << 20
AWAY_S = 30.0
"""How long a remote place that did not answer is taken to be away where many models are looked for."""
_away: dict[str, tuple[float, FaceFusionError]] = {}
_RETRY: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
PIN_PATIENCE_S = 10.0
"""How long another process may take to write down a hash."""


class UnknownHashWarning(FaceFusionWarning):
    """A file whose SHA-256 nobody has published works, was taken on trust, and is pinned."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another without reading it."""

    path: str
    size_bytes: int
    changed_ns: int


@dataclass(slots=True)
class ModelStore:
    """Finds, checks and reads model files.

    Parameters
    ----------
    places
        Folders, or URLs of object storage such as ``s3://bucket/models``, searched in order. A folder may be
        FaceFusion's own (``.assets/models``). Empty: only what ships with the package and what was fetched.
    licences
        Which licences are accepted.
    home
        Where fetched and imported files are kept; None takes the user's data folder.
    """

    places: tuple[str, ...] = ()
    licences: LicencePolicy = "commercial"
    home: Path = field(default_factory=lambda: platformdirs.user_data_path("facefusion") / "models")
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        check_places(self.places)

    @property
    def folders(self) -> list[Path]:
        """Local folders that are searched, best first."""
        local = [place for place in self.places if not _is_remote(place)]
        return [_folder_of(place) for place in local] + [self.home]

    def catalog(self) -> Mapping[str, ModelSpec]:
        """Every model by id, those of the user's folders included."""
        return load_catalog(list(reversed(self.folders)))

    def get(self, model_id: str) -> ModelSpec:
        """A model of the catalogue.

        Raises
        ------
        UnknownModel
        """
        from facefusion.models.catalog import get_spec

        return get_spec(model_id, list(reversed(self.folders)))

    def find(self, spec: ModelSpec, file: ModelFile | None = None, trust_s: float = 0.0) -> Path | None:
        """The file of a model on this machine, or None.

        Raises
        ------
        StorageError, ExtraMissing
            When it is not here and a remote place does not answer, or did not ``trust_s`` seconds ago.
        """
        file = file or spec.graph
        if spec.origin == "embedded":
            path = Path(str(EMBEDDED / file.name))
            return path if path.is_file() else None
        beside = [spec.folder] if spec.folder is not None else []
        for folder in [*beside, *self.folders]:
            for path in (folder / file.name, folder / ".assets" / "models" / file.name):
                if path.is_file():
                    return path
        return self._find_remote(file, trust_s)

    def find_known(self, spec: ModelSpec, file: ModelFile | None = None) -> Path | None:
        """`find`, for who tells of many models: what does not answer has none and is not asked again at once."""
        try:
            return self.find(spec, file, AWAY_S)
        except (StorageError, ExtraMissing):
            return None

    def find_away(self) -> tuple[FaceFusionError, ...]:
        """Why places could not be asked lately."""
        return tuple(_away[place][1] for place in self.places if place in _away)

    def _find_remote(self, file: ModelFile, trust_s: float) -> Path | None:
        """A file in object storage, copied here once for each state it is in.

        Parameters
        ----------
        file
            Which.
        trust_s
            How long a place that was away is taken to be away.

        Raises
        ------
        StorageError, ExtraMissing
            When no place has it, and one does not answer.
        """
        failed: FaceFusionError | None = None
        for place in self.places:
            if not _is_remote(place):
                continue
            since, known = _away.get(place, (-math.inf, None))
            if known is not None and time.monotonic() - since < trust_s:
                failed = failed or known
                continue
            try:
                found = _fetch_object(place, file.name, self.home / "remote")
            except (StorageError, ExtraMissing) as error:
                _away[place] = time.monotonic(), error
                failed = failed or error
                continue
            _away.pop(place, None)
            if found is not None:
                return found
        if failed is not None:
            raise failed
        return None

    def stamp(self, spec: ModelSpec) -> Stamp:
        """State of a model's graph, cheap to ask for; another stamp means another file.

        Raises
        ------
        ModelMissing
        """
        path = self.find(spec)
        if path is None:
            raise missing(spec, spec.graph)
        return stamp_of(path)

    def read(self, spec: ModelSpec, file: ModelFile | None = None) -> bytes:
        """Content of a model's file: licence accepted, file there, hash as named.

        Raises
        ------
        LicenceRefused, ModelMissing, HashMismatch
        """
        file = file or spec.graph
        check_licence(spec, self.licences)
        path = self.find(spec, file)
        if path is None:
            raise missing(spec, file)
        content = path.read_bytes()
        self.check_hash(spec, file, hashlib.sha256(content).hexdigest(), path)
        return content

    def check_hash(self, spec: ModelSpec, file: ModelFile, found: str, path: Path) -> bool:
        """Compare with the specification, or with what was pinned.

        Returns
        -------
        Whether anybody knows what the hash should be.

        Raises
        ------
        HashMismatch
        """
        wanted, by = file.sha256, "its specification"
        if not wanted:
            wanted, by = self._pins().get(self._pin_name(spec, file), ""), "what was pinned when it was first loaded"
        if wanted and wanted != found:
            where = (
                "Reinstall facefusion."
                if spec.origin == "embedded"
                else f"Delete {path} and run: facefusion models fetch {spec.id}"
                + ("" if file.sha256 else f" - or, if you changed it yourself: facefusion models pin {spec.id}")
            )
            raise HashMismatch(f"The file {file.name} of model {spec.id} does not match {by}.", where)
        return bool(wanted)

    def is_known(self, spec: ModelSpec) -> bool:
        """Whether the hashes of all files of a model are published or pinned."""
        return all(file.sha256 or self._pins().get(self._pin_name(spec, file)) for file in spec.files)

    def trust(self, spec: ModelSpec, content: bytes) -> None:
        """Pin a graph that was loaded, that works, and whose hash nobody has published.

        A file that does not work is never pinned: the right one, put in its place, would be refused.
        """
        found = hashlib.sha256(content).hexdigest()
        if spec.graph.sha256 or self._pins().get(self._pin_name(spec, spec.graph)):
            return
        warnings.warn(
            f"Nobody has published the SHA-256 of {spec.graph.name} ({spec.id}); {found[:12]}… is pinned from now on.",
            UnknownHashWarning,
            stacklevel=2,
        )
        self.pin(spec, spec.graph, found)

    def hash_of(self, path: Path) -> str:
        """SHA-256 of a file, remembered as long as the file does not change."""
        return _hash_at(stamp_of(path))

    def verify(self, spec: ModelSpec) -> dict[str, str]:
        """SHA-256 of every file of a model, each checked.

        Raises
        ------
        ModelMissing, HashMismatch
        """
        hashes = {}
        for file in spec.files:
            path = self.find(spec, file)
            if path is None:
                raise missing(spec, file)
            hashes[file.name] = self.hash_of(path)
            self.check_hash(spec, file, hashes[file.name], path)
        return hashes

    def pin(self, spec: ModelSpec, file: ModelFile, sha256: str) -> None:
        """Remember a hash that nobody has published."""
        with self._lock, ExitStack() as stack:
            # Another process may be adding one at this moment. Where it was killed the lock is swept with what it left.
            name = hashlib.sha256(os.fsencode(os.path.realpath(self._pin_path))).hexdigest()[:16]
            lock = take(user_base() / f"pins-{name}{LOCK}", PIN_PATIENCE_S)
            if lock is not None:
                stack.callback(lock.release, is_removing=True)
            pins = self._pins() | {self._pin_name(spec, file): sha256}
            save_bytes(self._pin_path, (json.dumps(pins, indent=1, sort_keys=True) + "\n").encode())

    @staticmethod
    def _pin_name(spec: ModelSpec, file: ModelFile) -> str:
        return f"{spec.key}/{file.name}"

    @property
    def _pin_path(self) -> Path:
        return self.home / "pins.json"

    def _pins(self) -> dict[str, str]:
        if not self._pin_path.exists():
            return {}
        pins = load_json(self._pin_path, HashMismatch, "a list of hashes")
        if not isinstance(pins, dict) or not all(isinstance(pin, str) for pin in pins.values()):
            raise HashMismatch(f"{self._pin_path} is damaged.", "Restore it, or delete it to pin anew.")
        return pins


def check_places(places: Iterable[str], option: str = "models_paths") -> None:
    """Refuse folders of models that somebody names and that are not there: they would be searched in vain, unsaid.

    Raises
    ------
    RecipeError
    """
    for place in places:
        if not _is_remote(place) and not _folder_of(place).is_dir():
            what = "is no folder" if _folder_of(place).exists() else "is not there"
            raise RecipeError(f"Option '{option}': {place} {what}.", "Name a folder with models, or leave it out.")


def _folder_of(place: str) -> Path:
    return Path(urlsplit(place).path if place.startswith("file://") else place)


def _is_remote(place: str) -> bool:
    return "://" in place and not place.startswith("file://")


def missing(spec: ModelSpec, file: ModelFile) -> ModelMissing:
    """The error for a file that is not here, with the exact command that gets it."""
    if spec.origin == "embedded":
        return ModelMissing(f"The file of model {spec.id} is missing: {file.name}.", "Reinstall facefusion.")
    way = f"facefusion models fetch {spec.id}" if file.urls else f"--models-path FOLDER with {file.name} in it"
    return ModelMissing(
        f"Model {spec.id} is not on this machine ({file.name}).",
        f"Get it with: {way}" + ("; or point --models-path at a FaceFusion models folder." if file.urls else "."),
    )


def stamp_of(path: Path) -> Stamp:
    """State of a file."""
    stat = path.stat()
    return Stamp(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_at(stamp: Stamp) -> str:
    """SHA-256 of a file in one state; shared by all stores of this process, which are made often."""
    return sha256_of(Path(stamp.path))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_object(place: str, name: str, folder: Path) -> Path | None:
    """Copy an object here under a name that holds its version; None where there is no such object.

    Raises
    ------
    StorageError
    """
    try:
        import obstore
        from obstore.store import from_url
    except ImportError as error:
        raise ExtraMissing.of(f"The models place {place}", "obstore", "storage") from error
    try:
        store: Any = from_url(place, retry_config=_RETRY)
        head = obstore.head(store, name)
    except FileNotFoundError:
        return None
    except Exception as error:  # obstore raises one class per back end
        raise StorageError(
            f"{place} cannot be read: {reason_of(error)}.", "Check the URL, the network and the credentials."
        ) from error
    state = hashlib.sha256(
        f"{place}/{name} {head.get('e_tag')} {head['last_modified']} {head['size']}".encode()
    ).hexdigest()
    path = folder / state[:16] / name
    if path.is_file():
        return path
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            for chunk in obstore.get(store, name).stream(min_chunk_size=_CHUNK):
                file.write(chunk)
    except Exception as error:
        raise StorageError(f"{place}/{name} could not be read: {reason_of(error)}.", "Try again.") from error
    return path
