"""Where options come from on this machine, and which one wins.

Precedence, highest first: command line, environment (``FACEFUSION_<OPTION>``), the file named by
``--config-path`` or ``FACEFUSION_CONFIG_PATH``, ``facefusion.toml`` in the working folder, the user's
``config.toml``, built-in defaults. A named file that ends in ``.ini`` is read as FaceFusion 3's. Only
`facefusion.apps` reads this module.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from facefusion.declaration import flat_fields, nearest, processor_names, reserve, suggest
from facefusion.documents import load_toml, reason_of
from facefusion.errors import RecipeError, UnknownOption
from facefusion.facefusion3 import check_not_missing, is_needless, read_ini
from facefusion.recipe import NAMED_OPTION, WORKING_FOLDER_GONE, check_name, flags_of, known_options, refusal_of

PREFIX = "FACEFUSION_"
NO_OPTIONS = ("config_path", "debug")
"""What the environment says to the command line and not to a recipe."""


def _setting(default: Any, text: str, *flags: str, group: str = "jobs", **constraints: Any) -> Any:
    return Field(default, description=text, json_schema_extra={"flags": list(flags), "group": group}, **constraints)


class JobSettings(BaseModel):
    """Where jobs are and who works on them. Says nothing about what comes out, so it is no part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    jobs_path: Path = _setting(
        Path(),
        "folder with the jobs of this machine and their working files (default: in the user's data folder)",
        "--jobs-path",
    )
    job_store: str = _setting(
        "", "URL of the job store, such as postgresql+psycopg://… (default: SQLite in the jobs folder)", "--job-store"
    )
    broker: str = _setting("", "URL of RabbitMQ or Redis: work goes to workers instead of being done here", "--broker")
    storage: str = _setting(
        "", "URL of the working files that workers share: file://, s3://, gs:// or az://", "--storage"
    )
    worker_count: int = _setting(
        0, "processes that work on this machine; 0 chooses by cores and memory", "--workers", ge=0, le=256
    )
    queue: str = _setting("cpu", "which workers may take the work: cpu, gpu, gpu.large or a name of yours", "--queue")
    priority: int = _setting(5, "how soon it is taken, 0 to 9", "--priority", ge=0, le=9)
    memory_limit_gb: float | None = _setting(
        None, "memory that all processes may take together, GB (default: what is free)", "--memory-limit", gt=0, le=1e6
    )
    disk_limit_gb: float | None = _setting(
        None, "room that working files may take, GB (default: no limit)", "--disk-limit", gt=0, le=1e9
    )
    job_tries: int = _setting(3, "tries of a part of a clip before the job is put aside", "--job-tries", ge=1, le=100)
    lease_s: float = _setting(
        15.0, "a worker that has been silent for so long is taken to be lost, s", "--lease", ge=2, le=3600
    )
    keep_days: float = _setting(
        30.0, "days after which jobs that nobody touched are deleted with their files", "--keep-days", gt=0, le=36_500
    )

    @field_validator("jobs_path", "job_store", "broker", "storage", "queue")
    @classmethod
    def _check_name(cls, value: object) -> object:
        return check_name(value)

    @property
    def folder(self) -> Path:
        """Where jobs are."""
        return self.jobs_path if self.jobs_path != Path() else platformdirs.user_data_path("facefusion") / "jobs"


class ServerSettings(BaseModel):
    """How a service listens, whom it lets in and what it takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    server_host: str = _setting(
        "127.0.0.1", "address to listen at; other than loopback only with a key", "--host", group="server"
    )
    server_port: int = _setting(5000, "port to listen at; 0 takes a free one", "--port", group="server", ge=0, le=65535)
    server_names: tuple[str, ...] = _setting(
        (), "host names by which clients call the service, besides its address", "--names", group="server"
    )
    server_certificate: str = _setting("", "PEM file with the certificate, for https", "--certificate", group="server")
    server_certificate_key: str = _setting("", "PEM file with its private key", "--certificate-key", group="server")
    server_jobs: int = _setting(
        0, "jobs that are done here at the same time; 0 chooses by cores", "--jobs-at-once", group="server", ge=0, le=64
    )
    upload_limit_gb: float = _setting(
        8.0, "largest file that is taken, GB", "--upload-limit", group="server", gt=0, le=1e6
    )
    clip_limit_minutes: float = _setting(
        240.0, "longest clip that is taken, minutes", "--clip-limit", group="server", gt=0, le=1e6
    )
    asset_days: float = _setting(
        7.0, "days after which files that no job needs are deleted", "--asset-days", group="server", gt=0, le=36_500
    )
    requests_per_minute: int = _setting(
        3000, "requests a minute of one tenant", "--requests-per-minute", group="server", ge=1, le=10_000_000
    )
    open_jobs: int = _setting(
        100, "jobs of one tenant that may wait or run at once", "--open-jobs", group="server", ge=1, le=1_000_000
    )
    tenant_gb: float = _setting(100.0, "GB that a tenant may store", "--tenant-gb", group="server", gt=0, le=1e9)
    video_minutes_per_day: float = _setting(
        0.0, "minutes of video that a tenant may have made a day; 0 for any", "--video-minutes", group="server", ge=0
    )
    limits_store: str = _setting(
        "", "URL of the Redis in which several services count requests together", "--limits-store", group="server"
    )
    audit_days: float = _setting(
        365.0, "days for which it is kept who did what", "--audit-days", group="server", gt=0, le=36_500
    )
    oidc_issuer: str = _setting("", "issuer of tokens that are accepted besides keys", "--oidc-issuer", group="server")
    oidc_audience: str = _setting("", "audience that tokens must name", "--oidc-audience", group="server")
    oidc_jwks: str = _setting("", "file or https URL with the issuer's public keys", "--oidc-jwks", group="server")
    oidc_algorithms: tuple[str, ...] = _setting(
        ("RS256", "ES256"), "algorithms by which tokens may be signed", "--oidc-algorithms", group="server"
    )
    oidc_tenant_claim: str = _setting(
        "tenant", "claim that names the tenant of a token", "--oidc-tenant-claim", group="server"
    )

    @field_validator("server_names", "oidc_algorithms", mode="before")
    @classmethod
    def _one_is_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class RemoteSettings(BaseModel):
    """Which service does the work."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    server: str = _setting(
        "",
        "URL of a service that does the work: files are sent there, and the result is fetched",
        "--server",
        group="remote",
    )
    server_key: str = _setting("", "key of that service", "--key", group="remote")


class OperationSettings(BaseModel):
    """What those who run a service or workers are told."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metrics_port: int | None = _setting(
        None, "port at which Prometheus may ask (/metrics); 0 takes a free one", "--metrics-port", group="operation",
        ge=0, le=65535,
    )  # fmt: skip
    metrics_host: str = _setting(
        "127.0.0.1", "address of that port; whoever reaches it may ask", "--metrics-host", group="operation"
    )
    tenant_classes: tuple[str, ...] = _setting(
        (), "classes by which metrics tell of tenants, such as gold=studio,agency", "--tenant-classes",
        group="operation", max_length=16,
    )  # fmt: skip
    log_format: Literal["", "text", "json"] = _setting(
        "", "how the log is written to standard error: text or json (default: only faults)", "--log-format",
        group="operation",
    )  # fmt: skip
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "the least that is written to it: debug, info, warning or error", "--log-level", group="operation"
    )
    traces_url: str = _setting(
        "", "collector of OpenTelemetry, such as http://localhost:4318 (default: no traces)", "--traces-url",
        group="operation",
    )  # fmt: skip

    @field_validator("log_level", mode="before")
    @classmethod
    def _read_level(cls, value: object) -> object:
        return "warning" if value == "warn" else value  # as FaceFusion 3 calls it

    @field_validator("tenant_classes", mode="before")
    @classmethod
    def _one_is_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("tenant_classes")
    @classmethod
    def _check_classes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            name, _, tenants = word.partition("=")
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,19}", name) or not tenants.strip(" ,"):
                raise ValueError(f"{word!r} is no class of tenants; write it as gold=studio,agency")
        return value

    @property
    def classes(self) -> dict[str, str]:
        """Class by tenant."""
        pairs = [word.partition("=")[::2] for word in self.tenant_classes]
        return {tenant.strip(): name for name, tenants in pairs for tenant in tenants.split(",") if tenant.strip()}


Mode = Literal["off", "record", "require"]


class PolicySettings(BaseModel):
    """What may be done here. A request cannot weaken it: of all places the strictest mode counts, and files that are
    named by whoever is further from the request (`load_options`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    consent_mode: Mode = _setting("off", "consents of people: off, record or require", "--consent-mode", group="policy")
    consent_of: Literal["sources", "everyone"] = _setting(
        "everyone", "whose consents: sources, or everyone who is changed too", "--consent-of", group="policy"
    )
    consent_ledger: Path = _setting(
        Path(), "ledger of consents (default: in the user's data folder)", "--consent-ledger", group="policy"
    )
    blocklist_path: Path = _setting(
        Path(),
        "sealed list of people who must never take part (default: in the user's data folder)",
        "--blocklist-path",
        group="policy",
    )
    blocklist_key_path: Path = _setting(
        Path(), "file with its key, for its owner alone (default: beside the list)", "--blocklist-key", group="policy"
    )
    blocklist_key: str = _setting(
        "", "the key itself, base64; keep it in the environment", "--blocklist-secret", group="policy"
    )
    content_mode: Mode = _setting(
        "off", "check of what targets show: off, record or require", "--content-mode", group="policy"
    )
    content_models: tuple[str, ...] = _setting(
        (), "models that check it (default: all that are here)", "--content-models", group="policy"
    )
    content_licences: Literal["commercial", "research", "any"] = _setting(
        "commercial", "licences that these may have", "--content-licences", group="policy"
    )
    content_models_paths: tuple[str, ...] = _setting(
        (), "folders with these models", "--content-models-path", group="policy"
    )

    provenance: Literal["sign", "off"] = _setting(
        "sign", "whether outputs are signed: sign or off, which is recorded with every job", "--provenance",
        group="provenance",
    )  # fmt: skip
    watermark: Literal["on", "off"] = _setting(
        "on",
        "hidden mark of this site in changed frames, in a clear sky seen as faint mottling at worst: on or off, which "
        "jobs record",
        "--watermark", group="provenance",
    )  # fmt: skip
    signing_certificate: Path = _setting(
        Path(), "PEM file with the certificate chain that signs outputs, leaf first (default: this machine's own)",
        "--signing-certificate", group="provenance",
    )  # fmt: skip
    signing_key: Path = _setting(Path(), "PEM file with its private key", "--signing-key", group="provenance")
    identity_path: Path = _setting(
        Path(), "folder with the identity of this machine, which is made once (default: in the user's data folder)",
        "--identity-path", group="provenance",
    )  # fmt: skip

    @field_validator(
        "consent_ledger", "blocklist_path", "blocklist_key_path", "signing_certificate", "signing_key", "identity_path"
    )
    @classmethod
    def _check_name(cls, value: object) -> object:
        return check_name(value)

    @field_validator("content_models", "content_models_paths", mode="before")
    @classmethod
    def _one_is_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


SITE_FILE = (
    platformdirs.site_config_path("facefusion", appauthor=False) if os.name == "nt" else Path("/etc/facefusion")
) / "policy.toml"
"""What whoever runs a machine says for everybody on it. Its place is no setting."""
STRICTER: Mapping[str, tuple[str, ...]] = {
    "consent_mode": ("off", "record", "require"),
    "consent_of": ("sources", "everyone"),
    "content_mode": ("off", "record", "require"),
    "provenance": ("off", "sign"),
    "watermark": ("off", "on"),
}
"""Values from the most lenient to the strictest, of settings of which the strictest counts."""
SETTINGS: tuple[type[BaseModel], ...] = (JobSettings, ServerSettings, RemoteSettings, PolicySettings, OperationSettings)
"""Options that are no part of a recipe."""
reserve([name for model in SETTINGS for name in model.model_fields])


def setting_fields() -> dict[str, Any]:
    """All options that are no part of a recipe, by name."""
    return {name: field for model in SETTINGS for name, field in model.model_fields.items()}


def _fields() -> dict[str, Any]:
    return {**known_options(), **setting_fields()}


def with_flags(text: str) -> str:
    """A sentence of ours in which an option is called as on the command line, and as in files where that differs."""
    return NAMED_OPTION.sub(_called, text)


def _called(found: re.Match[str]) -> str:
    name = found[1]
    field = _fields().get(name)
    told = (getattr(field, "json_schema_extra", None) or {}).get("flags")
    flags = flags_of(name) if name in known_options() else told
    if not flags:
        return found[0]
    also = "" if flags[0].lstrip("-").replace("-", "_") == name else f" ({name})"
    return f"Option '{flags[0]}'{also}:"


S = TypeVar("S", bound=BaseModel)


def build_settings(kind: type[S], options: Mapping[str, Any]) -> S:
    """Settings of a kind, from all options.

    Raises
    ------
    RecipeError
    """
    try:
        return kind(**{name: value for name, value in options.items() if name in kind.model_fields})
    except ValidationError as error:
        raise RecipeError(*refusal_of(error, kind.model_fields, "settings")) from error


@dataclass(frozen=True, slots=True)
class Sourced:
    """One option's value and the place it was read from.

    Attributes
    ----------
    inner
        Places from which options of processors came that are said by the steps now.
    """

    value: Any
    origin: str
    inner: Mapping[str, str] = field(default_factory=dict)


COMMAND_LINE = "command line"
"""The origin of what needs no other name than the option's flag."""


@contextmanager
def naming_origins(options: Mapping[str, Sourced]) -> Iterator[None]:
    """Have what is wrong with an option say from which file or variable it came.

    Raises
    ------
    RecipeError
    """
    try:
        yield
    except RecipeError as error:
        found = NAMED_OPTION.match(error.message)
        origin = _origin_of(found[1], options) if found else COMMAND_LINE
        if found is None or origin == COMMAND_LINE:
            raise
        # Called as it is there, and not by its flag (`with_flags`).
        named = f"Option '{found[1]}' ({origin}):"
        raise type(error)(f"{named}{error.message[found.end() :]}", error.hint) from error


def _origin_of(name: str, options: Mapping[str, Sourced]) -> str:
    steps = options.get("steps", Sourced(None, COMMAND_LINE))
    if name in options:
        origin = options[name].origin
    else:
        origin = steps.inner.get(name, steps.origin if name in flat_fields() else COMMAND_LINE)
    is_variable = origin.startswith(PREFIX) and origin.isupper()
    return f"environment variable {origin}" if is_variable else origin


def config_files(working_folder: Path | None, environment: Mapping[str, str], explicit: Path | None) -> list[Path]:
    """Configuration files that exist, weakest first.

    Raises
    ------
    RecipeError
        When a file that was named explicitly is missing, or one of them is no file.
    """
    named = explicit or (Path(environment[PREFIX + "CONFIG_PATH"]) if environment.get(PREFIX + "CONFIG_PATH") else None)
    user = platformdirs.user_config_path("facefusion") / "config.toml"
    local = working_folder / "facefusion.toml" if working_folder is not None else None
    found = []
    for path in (user, local, named):
        if path is None:
            continue
        try:
            is_file = stat.S_ISREG(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError) as error:
            if path is named:
                raise RecipeError(f"There is no configuration file {path}.", "Check --config-path.") from error
            continue
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if not is_file:
            raise RecipeError(f"The configuration {path} is not a file.", "Move it away, or name a file.")
        found.append(path)
    return found


def _unreadable(path: Path, error: Exception) -> RecipeError:
    reason = getattr(error, "strerror", None) or error
    return RecipeError(
        f"The configuration {path} cannot be read: {reason}.", "Change its permissions, or move it away."
    )


def _read_file(path: Path) -> dict[str, Any]:
    """Options of a configuration file.

    Raises
    ------
    RecipeError
        Saying in which line it is wrong.
    """
    if path.suffix != ".ini":
        return _without_sections(load_toml(path, RecipeError, "a configuration file"), str(path))
    values: dict[str, Any] = {}
    for key, words in read_ini(path).items():
        if key == "config_path":
            continue
        _check_name(key, str(path))
        values[key] = _from_text(key, words, str(path))
    return values


def _without_sections(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Options of a TOML file: what stands in a section counts as if it stood in none.

    In the section of a processor the processor's name may be left out.

    Raises
    ------
    RecipeError, UnknownOption
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        is_section = isinstance(value, dict) and name not in _fields() and name not in (*_STEPS, *_STEPS.values())
        for key, one in value.items() if is_section else [(name, value)]:
            whole = f"{name}_{key}" if is_section and f"{name}_{key}" in flat_fields() and key not in _fields() else key
            if is_section and name in processor_names():
                _check_inner(name, key, whole, origin)
            if whole in found:
                raise RecipeError(f"Option '{whole}' is given twice in {origin}.", "Keep one of them.")
            found[whole] = one
    return found


def _check_inner(processor: str, key: str, whole: str, origin: str) -> None:
    """Refuse what is no option in the section of a processor, with the one of its own that was meant.

    Raises
    ------
    UnknownOption
    """
    if whole in _fields() or is_needless(key) or key in _OF_COMMANDS:
        return
    own = [name for spec, name, _ in flat_fields().values() if spec.name == processor]
    if near := nearest(key, own):
        raise UnknownOption(f"There is no option '{key}' in [{processor}] ({origin}).", f"Did you mean '{near}'?")
    if not nearest(key, _fields()):
        known = f"Known there: {', '.join(sorted(own))}."
        raise UnknownOption(f"There is no option '{key}' in [{processor}] ({origin}).", known)


def load_options(
    command_line: Mapping[str, Any],
    environment: Mapping[str, str],
    working_folder: Path | None,
    explicit: Path | None = None,
) -> dict[str, Sourced]:
    """Merge every origin into one set of options.

    Parameters
    ----------
    command_line
        Options that were given, by field name.
    environment
        Environment variables; only those that start with ``FACEFUSION_`` are read.
    working_folder
        Where ``facefusion.toml`` is looked for; None where there is no such folder.
    explicit
        A configuration file named on the command line.

    Returns
    -------
    Options by field name, each with its origin; options nobody gave are left out.

    Raises
    ------
    RecipeError, UnknownOption
        Naming the file, with its line where it is known, or the variable.
    """
    merged: dict[str, Sourced] = {}
    places: dict[str, int] = {}  # how strong the place is that an option comes from

    def put(name: str, value: Any, origin: str, place: int) -> None:
        name = _STEPS.get(name, name)
        value = _spelled_out(name, value)
        if name in merged and name in PolicySettings.model_fields and not _is_stricter(name, value, merged[name].value):
            return
        if places.get(name) == place and name in _STEPS.values():
            raise RecipeError(f"'step' and 'steps' are both given ({origin}).", "Keep one of them.")
        # A list of names and a list of steps say the same thing: the stronger place takes it all.
        for other in _ALTERNATIVES.get(name, ()):
            if other in merged and places[other] == place:
                raise RecipeError(f"Both '{other}' and '{name}' are given ({origin}).", "Keep one of them.")
            merged.pop(other, None)
        merged[name], places[name] = Sourced(value, origin), place

    for name, value in _site_values().items():
        put(name, value, str(SITE_FILE), -1)
    files = config_files(working_folder, environment, explicit)
    for number, path in enumerate(files):
        for key, value in _read_file(path).items():
            _check_name(key, str(path))
            put(key, value, str(path), number)
    for variable, text in environment.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in NO_OPTIONS:
            continue
        _check_name(name, f"environment variable {variable}")
        put(name, _from_text(name, text, f"environment variable {variable}"), variable, len(files))
    for name, value in command_line.items():
        put(name, value, COMMAND_LINE, len(files) + 1)
    return _under_steps(merged, places)


def _site_values() -> dict[str, Any]:
    """What the file of the whole machine says.

    Raises
    ------
    RecipeError
        When it cannot be read, or says anything else: it is never taken for one that says nothing.
    """
    try:
        is_there = SITE_FILE.exists()
    except OSError as error:
        raise _unreadable(SITE_FILE, error) from error
    values = load_toml(SITE_FILE, RecipeError, "a policy") if is_there else {}
    for name in values:
        if name not in PolicySettings.model_fields:
            raise UnknownOption(
                f"There is no option '{name}' in a policy ({SITE_FILE}).",
                suggest(name, list(PolicySettings.model_fields)),
            )
    with naming_origins({name: Sourced(value, str(SITE_FILE)) for name, value in values.items()}):
        build_settings(PolicySettings, values)
    return values


def _is_stricter(name: str, value: Any, other: Any) -> bool:
    """Whether a value of a policy takes the place of one that was said further from the request."""
    order = STRICTER.get(name)
    if order is None:
        return False
    # What is no value at all is refused when the settings are built.
    return value not in order or (other in order and order.index(value) > order.index(other))


def load_policy(environment: Mapping[str, str], working_folder: Path | None) -> PolicySettings:
    """What may be done here, for doors that read no other setting.

    Parameters
    ----------
    environment, working_folder
        As in `load_options`.

    Raises
    ------
    RecipeError
        Where a place that may speak of it cannot be read, or says what is none.
    """
    own = PolicySettings.model_fields
    merged = {name: Sourced(value, str(SITE_FILE)) for name, value in _site_values().items()}

    def put(name: str, value: Any, origin: str) -> None:
        value = _spelled_out(name, value)
        if name in own and (name not in merged or _is_stricter(name, value, merged[name].value)):
            merged[name] = Sourced(value, origin)

    for path in config_files(working_folder, environment, None):
        is_ini = path.suffix == ".ini"
        text = "a configuration file"
        values = read_ini(path) if is_ini else _without_sections(load_toml(path, RecipeError, text), str(path))
        for name, value in values.items():
            if name in own:
                put(name, _from_text(name, value, str(path)) if path.suffix == ".ini" else value, str(path))
    for variable, text in environment.items():
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and name in own:
            put(name, _from_text(name, text, f"environment variable {variable}"), variable)
    with naming_origins(merged):
        return build_settings(PolicySettings, {name: sourced.value for name, sourced in merged.items()})


def _under_steps(merged: dict[str, Sourced], places: Mapping[str, int]) -> dict[str, Sourced]:
    """Options of processors that come from no stronger place than the steps say what these leave out, and no more."""
    given = merged.get("steps")
    if given is None or not isinstance(given.value, list):
        return merged
    steps = [{"processor": one} if isinstance(one, str) else one for one in given.value]
    origins: dict[str, str] = {}
    for key in [key for key in merged if key in flat_fields() and places[key] <= places["steps"]]:
        spec, name, _ = flat_fields()[key]
        is_used = False
        for number, one in enumerate(steps):
            if not isinstance(one, dict) or one.get("processor") != spec.name:
                continue
            is_used = True
            inner = one.get("options")
            if name not in one and not (isinstance(inner, dict) and name in inner):
                steps[number] = {**one, name: merged[key].value}
        if is_used:
            origins[key] = merged.pop(key).origin
    merged["steps"] = Sourced(steps, given.origin, origins)
    return merged


_STEPS = {"step": "steps", "steps": "steps"}
"""``[[step]]`` tables of a configuration file."""
_OF_COMMANDS = ("source_pattern", "target_pattern", "output_pattern")
"""What a configuration file may say to one command, and is no option."""
_ALTERNATIVES = {"steps": ("processors",), "processors": ("steps",)}


def _check_name(name: str, origin: str) -> None:
    check_not_missing(name, origin)
    if (
        name not in _fields()
        and not is_needless(name)
        and name not in _OF_COMMANDS
        and name not in (*_STEPS, *_STEPS.values())
    ):
        hint = suggest(name, list(_fields()))
        if hint.startswith("Known:"):  # a hundred names and more
            short = {inner: key for key, (_, inner, _) in flat_fields().items()}
            near = nearest(name, short)
            hint = f"Did you mean '{short[near]}'?" if near else "All of them: facefusion run --help-all"
        raise UnknownOption(f"There is no option '{name}' ({origin}).", hint)


def _spelled_out(name: str, value: Any) -> Any:
    """A value, with the working folder by its whole path: by ``.`` it would be taken for a path that nobody gave."""
    is_here = isinstance(value, str) and bool(value.strip()) and Path(value) == Path()
    if not is_here or name not in _fields() or _fields()[name].default != Path():
        return value
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise RecipeError(*WORKING_FOLDER_GONE) from error


def _from_text(name: str, text: str, origin: str) -> Any:
    """Lists are JSON or words; everything else is left to the recipe to read."""
    if is_needless(name) or name in _OF_COMMANDS:
        return text
    if name in _STEPS or ("tuple" in str(_fields()[name].annotation) and name != "faces"):
        if not text.lstrip().startswith("["):
            return text.split()
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecipeError(
                f"Option '{name}' is not valid JSON ({origin}): {reason_of(error)}.",
                'Write a list such as ["one", "two"], or words with spaces between them.',
            ) from error
    return text
