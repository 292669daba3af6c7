"""Models: what there is, what it allows, getting it, checking it, carrying it over, timing it."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from facefusion.errors import FaceFusionError, ModelError, ProviderRefused, RecipeError
from facefusion.media.files import check_outputs, translate_os_error
from facefusion.models.importing import Imported
from facefusion.models.licences import LicencePolicy, is_allowed
from facefusion.models.spec import ModelSpec
from facefusion.models.store import ModelStore, OnBytes, ignore_bytes
from facefusion.service.values import Problem
from facefusion.types.paths import PathLike, as_path

Place = Literal["embedded", "here", "not here"]


@dataclass(frozen=True, slots=True)
class ModelLine:
    """A model as one line of a list.

    Attributes
    ----------
    id, version, capability, family
        Which, and what it is for.
    licence, commercial
        Its licence, and whether that allows commercial use: ``yes``, ``no`` or ``unclear``.
    is_allowed
        Whether it may be used under the licences that are accepted.
    place
        Whether its file is on this machine.
    """

    id: str
    version: str
    capability: str
    family: str
    licence: str
    commercial: str
    is_allowed: bool
    place: Place

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ModelList:
    """All models of the catalogue."""

    models: tuple[ModelLine, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"models": [line.as_dict() for line in self.models]}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The key by which others know that a bundle is signed by somebody."""

    public_key: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ModelFileView:
    """A file of a model.

    Attributes
    ----------
    name, size_bytes, sha256, urls
        As published; 0 and empty where nobody says.
    path
        Where it is on this machine, or None.
    """

    name: str
    size_bytes: int
    sha256: str
    urls: tuple[str, ...]
    path: str | None


@dataclass(frozen=True, slots=True)
class ModelView:
    """All that is known of a model.

    Attributes
    ----------
    line
        As in a list.
    key
        Id and version.
    vendor, year, precision, licence_source
        Who made it, when, in what numbers, and where its licence is stated.
    files
        Its files.
    template, size_px, colour, mean, std
        How crops are made for it.
    inputs, outputs
        Shapes by name; None where any length will do.
    options, figures
        What its family needs to know, and what was measured.
    """

    line: ModelLine
    key: str
    vendor: str
    year: int
    precision: str
    licence_source: str
    files: tuple[ModelFileView, ...]
    template: str
    size_px: int
    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    inputs: dict[str, tuple[int | None, ...]]
    outputs: dict[str, tuple[int | None, ...]]
    options: dict[str, Any]
    figures: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        fields = asdict(self)
        line: dict[str, Any] = fields.pop("line")
        return line | fields


@dataclass(frozen=True, slots=True)
class Verified:
    """Whether the files of a model are what they should be.

    Attributes
    ----------
    id
        Which.
    state
        What is known, in words.
    problem
        What is wrong, or None.
    """

    id: str
    state: str
    problem: Problem | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of fetching a model.

    Attributes
    ----------
    id
        Which.
    files
        Files that were fetched; none where all were here already.
    is_embedded
        Whether it ships with the package.
    """

    id: str
    files: tuple[str, ...] = ()
    is_embedded: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A file that is taken to be right as it is now."""

    id: str
    file: str
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Taken:
    """A file or a model that was looked at to take it in.

    Attributes
    ----------
    name
        File name, or model id of a bundle.
    state
        As `facefusion.models.importing.Imported` has it.
    id
        Model id, or empty.
    licence
        Its licence, where it came in a bundle.
    """

    name: str
    state: str
    id: str
    licence: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, found: Imported) -> Taken:
        """From what importing tells."""
        return cls(found.name, found.state, found.model_id)


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was written.

    Attributes
    ----------
    path
        Where.
    ids
        Models in it.
    public_key
        Whose key signed it.
    """

    path: str
    ids: tuple[str, ...]
    public_key: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Timing:
    """One call of a model.

    Attributes
    ----------
    provider, precision
        On what: a name of ours, and ``model`` or ``half``.
    seconds
        Median of some calls; None where it could not be measured.
    problem
        Why not.
    """

    provider: str
    precision: str
    seconds: float | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Timed:
    """A model on everything that is installed."""

    id: str
    timings: tuple[Timing, ...]

    @property
    def fastest(self) -> Timing | None:
        """The one that took least, or None where nothing could be measured."""
        known = [timing for timing in self.timings if timing.seconds is not None]
        return min(known, key=lambda timing: timing.seconds or 0.0, default=None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"fastest": self.fastest and asdict(self.fastest)}


@dataclass(frozen=True, slots=True)
class Advice:
    """What is fastest over all models together, one call of each.

    Attributes
    ----------
    best
        The fastest of `totals`.
    totals
        Everything that can run all of them.
    """

    best: Timing
    totals: tuple[Timing, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Models:
    """The models of this machine and of the catalogue.

    Parameters
    ----------
    places
        Folders and URLs that are searched.
    licences
        Which licences are accepted.
    """

    def __init__(self, places: Sequence[str] = (), licences: LicencePolicy = "commercial") -> None:
        self.store = ModelStore(tuple(places), licences)

    def list(self, capability: str = "") -> tuple[ModelLine, ...]:
        """All models, or those of a capability, by capability and id."""
        specs = sorted(self.store.catalog().values(), key=lambda spec: (spec.capability, spec.id))
        return tuple(self._line(spec) for spec in specs if capability in ("", spec.capability))

    def here(self) -> tuple[str, ...]:
        """Ids of models whose file is on this machine."""
        return tuple(spec.id for spec in self.store.catalog().values() if self.store.find_known(spec) is not None)

    def show(self, model_id: str) -> ModelView:
        """All that is known of a model.

        Raises
        ------
        UnknownModel
        """
        spec, store = self.store.get(model_id), self.store
        files = []
        for file in spec.files:
            path = store.find_known(spec, file)
            files.append(
                ModelFileView(file.name, file.size_bytes, file.sha256, file.urls, None if path is None else str(path))
            )
        prepared = spec.preprocess
        return ModelView(
            self._line(spec), spec.key, spec.vendor, spec.year, spec.precision, spec.licence_source, tuple(files),
            prepared.template, prepared.size, prepared.colour, tuple(prepared.mean), tuple(prepared.std),
            dict(spec.inputs), dict(spec.outputs), dict(spec.options), dict(spec.figures),
        )  # fmt: skip

    def _line(self, spec: ModelSpec) -> ModelLine:
        place: Place = "not here"
        if spec.origin == "embedded":
            place = "embedded"
        elif self.store.find_known(spec) is not None:
            place = "here"
        return ModelLine(
            spec.id, spec.version, spec.capability, spec.family, spec.licence, spec.commercial,
            is_allowed(spec, self.store.licences), place,
        )  # fmt: skip

    def verify(self, ids: Sequence[str] = ()) -> Iterator[Verified]:
        """Check models' files one after the other; without ids all that are here.

        Raises
        ------
        UnknownModel
            Before anything is checked.
        """
        specs = [self.store.get(model_id) for model_id in ids or self.here()]
        return (self._verify(spec) for spec in specs)

    def _verify(self, spec: ModelSpec) -> Verified:
        try:
            self.store.verify(spec)
        except ModelError as error:
            return Verified(spec.id, f"{error.message} {error.hint}".strip(), Problem.of(error))
        if all(file.sha256 for file in spec.files):
            return Verified(spec.id, "verified")
        known = self.store.is_known(spec)
        unknown = "nobody has said what it should be; pinned when it first works"
        return Verified(spec.id, "as it was pinned" if known else unknown)

    def pin(self, ids: Sequence[str]) -> tuple[Pinned, ...]:
        """Take the files of models that have no published hash to be right as they are now.

        Raises
        ------
        UnknownModel
        """
        pinned = []
        for spec in [self.store.get(model_id) for model_id in ids]:
            for file in spec.files:
                path = self.store.find(spec, file)
                if path is not None and not file.sha256:
                    sha256 = self.store.hash_of(path)
                    self.store.pin(spec, file, sha256)
                    pinned.append(Pinned(spec.id, file.name, sha256))
        return tuple(pinned)

    def fetch(self, ids: Sequence[str], on_bytes: OnBytes = ignore_bytes) -> Iterator[Fetched]:
        """Fetch models, and those that they need, one after the other.

        Raises
        ------
        UnknownModel
            Before anything is fetched.
        LicenceRefused, FetchFailed, HashMismatch
        """
        from facefusion.models.fetch import fetch

        specs = [self.store.get(model_id) for model_id in ids]
        for spec in specs:
            if spec.origin == "embedded":
                yield Fetched(spec.id, is_embedded=True)
                continue
            for one in [spec, *(self.store.get(name) for name in spec.needs)]:
                yield Fetched(one.id, tuple(str(path) for path in fetch(one, self.store, on_bytes)))

    def take_in(
        self, path: PathLike, trusted: Sequence[str] = (), on_bytes: OnBytes = ignore_bytes
    ) -> tuple[Taken, ...]:
        """Import a FaceFusion folder, or a bundle that is signed by a trusted key.

        Raises
        ------
        ModelMissing, BundleRefused
        """
        path = as_path(path)
        if path.is_dir():
            from facefusion.models.importing import import_folder

            return tuple(Taken.of(found) for found in import_folder(path, self.store, on_bytes))
        from facefusion.models.bundle import import_bundle

        specs = import_bundle(path, self.store, list(trusted), on_bytes)
        return tuple(Taken(spec.id, "imported", spec.id, spec.licence) for spec in specs)

    def export(
        self, path: PathLike, ids: Sequence[str], key: PathLike | None = None, on_bytes: OnBytes = ignore_bytes
    ) -> Exported:
        """Write models into a signed bundle.

        Parameters
        ----------
        path
            The bundle.
        ids
            Models.
        key
            Private key that signs it, made on first use; None takes the user's own.
        on_bytes
            Called as bytes are written.

        Raises
        ------
        UnknownModel, ModelMissing, LicenceRefused, OutputRefused
        """
        path = as_path(path)
        key = None if key is None else as_path(key)
        from facefusion.models.bundle import export_bundle, load_or_make_key, public_text

        key = key or own_key()
        signer = load_or_make_key(key)
        specs = [self.store.get(model_id) for model_id in ids]
        found = [("model file", self.store.find(spec, file)) for spec in specs for file in spec.files]
        check_outputs([("bundle", path)], [("key", key), *((what, file) for what, file in found if file is not None)])
        try:
            export_bundle(path, specs, self.store, signer, on_bytes)
        except OSError as error:
            raise translate_os_error(error, path) from error
        return Exported(str(path), tuple(ids), public_text(signer))

    @staticmethod
    def public_key(key: PathLike | None = None) -> str:
        """The public half of a key that signs bundles, which is made on first use."""
        key = None if key is None else as_path(key)
        from facefusion.models.bundle import load_or_make_key, public_text

        return public_text(load_or_make_key(key or own_key()))

    def bench(self, ids: Sequence[str] = (), thread_count: int = 0, device_id: int = 0) -> Iterator[Timed]:
        """Time models on every provider that is installed, one after the other; without ids all that are here.

        Raises
        ------
        UnknownModel
            Before anything is timed.
        """
        specs = [self.store.get(model_id) for model_id in ids or self.here()]
        return (self._bench(spec, thread_count, device_id) for spec in specs)

    def _bench(self, spec: ModelSpec, thread_count: int, device_id: int) -> Timed:
        from facefusion.models.providers import check_precision, describe_providers, warm_up_inputs
        from facefusion.models.session import SESSIONS
        from facefusion.plugins.protocols import makes_pictures

        timings = []
        precisions = ("model", "half") if makes_pictures(spec) else ("model",)
        here = [name for name, is_there in describe_providers().items() if is_there]
        for provider, precision in itertools.product(here, precisions):
            try:
                check_precision([provider], precision)
            except ProviderRefused:
                continue  # there is no such thing to measure
            try:
                is_half = precision == "half"
                session = SESSIONS.get(spec, self.store, [provider], thread_count or 1, device_id, is_half)
                inputs = warm_up_inputs(session.graph)
                session.graph.run(None, inputs)
                spent = []
                for _ in range(10):
                    began = time.perf_counter()
                    session.graph.run(None, inputs)
                    spent.append(time.perf_counter() - began)
                timings.append(Timing(provider, precision, statistics.median(spent)))
            except FaceFusionError as error:
                timings.append(Timing(provider, precision, None, Problem.of(error)))
        return Timed(spec.id, tuple(timings))


def own_key() -> Path:
    """Where the user's own key is that signs bundles."""
    return platformdirs.user_config_path("facefusion") / "bundle-key.pem"


def check_named(ids: Sequence[str], action: str) -> None:
    """Refuse to do something with no model at all.

    Raises
    ------
    RecipeError
    """
    if not ids:
        raise RecipeError("No model is named.", f"Use: facefusion models {action} ID; ids: facefusion models list.")


def advise(measured: Sequence[Timed]) -> Advice | None:
    """What was fastest over all models together; None where nothing could be measured."""
    times = [{(t.provider, t.precision): t for t in timed.timings if t.seconds is not None} for timed in measured]
    totals = []
    for provider, precision in sorted({key for own in times for key in own}):
        # What does not make pictures has no half.
        calls = [own.get((provider, precision), own.get((provider, "model"))) for own in times]
        known = [call.seconds for call in calls if call is not None and call.seconds is not None]
        if len(known) == len(times):
            totals.append(Timing(provider, precision, sum(known)))
    if not totals:
        return None
    return Advice(min(totals, key=lambda timing: timing.seconds or 0.0), tuple(totals))
