"""What is installed, which providers really run, which models are what they should be."""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from facefusion.errors import FaceFusionError, StoreUnreachable, own_error
from facefusion.jobs.storage import check_room, one_patience, open_storage
from facefusion.jobs.store import LookedAt
from facefusion.media.encoders import describe_encoders
from facefusion.models.providers import core_count, describe_providers
from facefusion.models.session import SESSIONS
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.service.backend import Backend
from facefusion.service.consent import find_problems
from facefusion.service.models import Models, Verified
from facefusion.service.provenance import SigningState, describe_signing
from facefusion.service.values import Problem
from facefusion.version import __version__
from facefusion.wording import without_secrets

LOOK_S = 5.0
"""How long to wait for each place."""
PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "av",
    "pillow",
    "pillow-heif",
    "pydantic",
    "safetensors",
    "c2pa-python",
)
EXTRAS = {
    "report": ("jinja2", "matplotlib"),
    "models": ("onnx",),
    "worker": ("celery", "psycopg"),
    "storage": ("obstore",),
    "server": ("fastapi", "uvicorn", "pyjwt", "limits"),
    "metrics": ("prometheus-client",),
    "traces": ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
    "parquet": ("pyarrow",),
}
"""Packages that are installed only when they are wanted, by extra."""


@dataclass(frozen=True, slots=True)
class ProviderState:
    """An execution provider.

    Attributes
    ----------
    name
        Ours.
    is_offered
        Whether this ONNX Runtime has it.
    runs_on
        What a model really ran on, or empty.
    problem
        Why it does not run.
    """

    name: str
    is_offered: bool
    runs_on: str = ""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs, messages or files are to be.

    Attributes
    ----------
    name
        ``jobs folder``, ``job store``, ``broker`` or ``storage``.
    where
        Path or URL, without its password.
    problem
        Why it cannot be used.
    """

    name: str
    where: str
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How an installation is.

    Attributes
    ----------
    version, python, platform, cores
        What and where it is.
    packages
        Versions, None for what is not installed.
    extras
        Whether all packages of an extra are installed.
    runtimes
        Packages of ONNX Runtime that overwrite one another; more than one is a mistake.
    models
        Those that are here.
    other_count
        Models of the catalogue that are not here.
    providers, encoders
        What can run, and what can be written.
    signing
        Who signs outputs.
    is_well
        Whether the embedded default works, and so do all checks that are in force.
    policy
        What is checked here before anything is done (`facefusion.policy.site.SitePolicy`).
    policy_problems
        Why a check that is in force cannot be made.
    encoder_problems
        Why encoders cannot be used.
    place_problems
        Why remote places of models could not be asked; what is in them counts as not here.
    places
        Where jobs are: the folder of this machine, and what is configured of store, broker and storage.
    """

    version: str
    python: str
    platform: str
    cores: int
    packages: dict[str, str | None]
    extras: dict[str, bool]
    runtimes: tuple[str, ...]
    models: tuple[Verified, ...]
    other_count: int
    providers: tuple[ProviderState, ...]
    encoders: dict[str, bool]
    signing: SigningState
    is_well: bool
    policy: dict[str, Any] = field(default_factory=dict)
    policy_problems: tuple[Problem, ...] = ()
    encoder_problems: dict[str, str] = field(default_factory=dict)
    place_problems: tuple[Problem, ...] = ()
    places: tuple[Place, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def examine(models: Models, policy: SitePolicy = NO_POLICY, backend: Backend | None = None) -> Health:
    """Look at everything; where a backend is given, at where its jobs are, too."""
    packages = {name: _version(name) for name in PACKAGES}
    lines = models.list()
    # What ships with the package should be there.
    here = tuple(models.verify([line.id for line in lines if line.place != "not here"]))
    providers = probe_providers(models)
    signed = describe_signing(policy.signing)
    cpu = next(provider for provider in providers if provider.name == "cpu")
    troubles = tuple(find_problems(policy))
    encoders = describe_encoders()
    places = () if backend is None else tuple(look_at_places(backend))
    return Health(
        __version__,
        sys.version.split()[0],
        platform.platform(),
        core_count(),
        packages,
        {extra: all(_version(name) for name in names) for extra, names in EXTRAS.items()},
        tuple(name for name, found in packages.items() if name.startswith("onnxruntime") and found),
        here,
        len(lines) - len(here),
        providers,
        {name: not why for name, why in encoders.items()},
        signed,
        cpu.problem is None
        and signed.problem is None
        and not any(model.problem for model in here)
        and not troubles
        and not any(place.problem for place in places),
        policy.as_dict(),
        troubles,
        {name: why for name, why in encoders.items() if why},
        tuple(map(Problem.of, models.store.find_away())),
        places,
    )


def look_at_places(backend: Backend) -> Iterator[Place]:
    """Whether what is configured answers, in seconds; nothing is made or changed."""
    url = backend.store_url

    def look_at_store() -> None:
        if not (url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()):  # made when needed
            LookedAt(url, LOOK_S).close()

    def look_at_storage() -> None:
        with one_patience(LOOK_S):
            open_storage(backend.storage_url, backend.folder / "doctor").check()

    def look_at_broker() -> None:
        from facefusion.service.jobs import cluster_room

        cluster_room().check_broker(backend, LOOK_S)

    looks: list[tuple[str, str, Callable[[], None]]] = [
        ("jobs folder", str(backend.folder), lambda: check_room(backend.folder)),
        ("job store", url, look_at_store),
        ("broker", backend.broker, look_at_broker),
        ("storage", backend.storage_url, look_at_storage),
    ]
    for name, where, look in looks:
        if where:
            yield Place(name, without_secrets(where), _within(LOOK_S * 2, name, look))


def _within(limit_s: float, name: str, look: Callable[[], None]) -> Problem | None:
    """What a look finds wrong; some libraries know no limit of time."""
    found: list[Problem] = []

    def run() -> None:
        try:
            look()
        except Exception as error:
            found.append(Problem.of(own_error(error)))

    thread = threading.Thread(target=run, name="doctor", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        late = f"The {name} did not answer within {limit_s:.0f} s."
        return Problem.of(StoreUnreachable(late, "Check the address and the network."))
    return found[0] if found else None


def probe_providers(models: Models) -> tuple[ProviderState, ...]:
    """Which providers really run, tried on an embedded model."""
    probe = models.store.get("face_landmarker_embedded")
    found = []
    for name, is_offered in describe_providers().items():
        state = ProviderState(name, is_offered)
        if is_offered:
            try:
                state = ProviderState(name, True, SESSIONS.get(probe, models.store, [name]).provider)
            except FaceFusionError as error:
                state = ProviderState(name, True, problem=Problem.of(error))
        found.append(state)
    return tuple(found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
