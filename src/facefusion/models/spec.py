"""What a model is: its files with hashes, its licence, how pictures are prepared for it, its inputs and outputs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

from facefusion.errors import SpecError

EMBEDDED = resources.files("facefusion.models") / "embedded"
"""Folder of the models that ship with the package."""

Commercial = Literal["yes", "no", "unclear"]
Origin = Literal["embedded", "catalog", "local", "package"]

MAKES_PICTURES = frozenset({"face_swapper", "deep_swapper", "face_enhancer"})
"""Capabilities whose models answer with pictures and not with numbers that something is decided by."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]*")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)?")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model.

    Attributes
    ----------
    name
        File name, without folders.
    sha256
        64 hexadecimal digits; empty where nobody has published it. Such a file is pinned when it is first loaded.
    size_bytes
        0 where it is not known.
    urls
        Where it may be fetched from, best first.
    """

    name: str
    sha256: str = ""
    size_bytes: int = 0
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a crop is prepared.

    Attributes
    ----------
    template
        Name of the alignment template (see `facefusion.imaging.templates`); empty where there is none.
    size
        Side of the crop in pixels; 0 where the graph takes any.
    colour
        Order of the channels.
    mean, std
        ``(value / 255 - mean) / std`` for each channel.
    """

    template: str = ""
    size: int = 0
    colour: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the catalogue.

    Attributes
    ----------
    id, version
        Name and version; together unique.
    capability
        What it does: ``face_detector``, ``face_swapper`` …
    family
        Which engine runs it.
    files
        The graph first.
    licence, licence_source, commercial
        SPDX identifier or name of the weights' licence, where that is stated, and whether it allows commercial use.
    vendor, year, precision
        Who made it and when; ``fp32`` or ``fp16``.
    inputs, outputs
        Tensor names with shapes; ``None`` stands for any length, an empty shape for any shape. Names such as
        ``#0`` go by position.
    preprocess
        How crops are prepared.
    options
        What only the family understands.
    figures
        Held-out figures as the model card gives them.
    origin
        Embedded, from the built-in catalogue, from a user's folder or from an installed package.
    folder
        Where the specification was found, for files beside it.
    """

    id: str
    version: str
    capability: str
    family: str
    files: tuple[ModelFile, ...]
    licence: str
    licence_source: str
    commercial: Commercial
    vendor: str
    year: int
    precision: str = "fp32"
    inputs: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    preprocess: Preprocess = Preprocess()
    options: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = "catalog"
    folder: Path | None = None

    @property
    def key(self) -> str:
        """``id@version``."""
        return f"{self.id}@{self.version}"

    @property
    def graph(self) -> ModelFile:
        """The ONNX graph among the files."""
        return self.files[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the models without which this one cannot run."""
        return tuple(str(self.options[name]) for name in _NEEDS if name in self.options)


_NEEDS = ("identifier", "converter")

_TOP = {
    "id": str,
    "version": str,
    "capability": str,
    "family": str,
    "licence": str,
    "licence_source": str,
    "commercial": str,
    "vendor": str,
    "year": int,
    "precision": str,
}
_OPTIONAL = {"precision"}
_TABLES = {"files", "inputs", "outputs", "preprocess", "options", "figures"}


def parse_spec(text: str, where: str, origin: Origin, folder: Path | None = None) -> ModelSpec:
    """Read one catalogue entry.

    Parameters
    ----------
    text
        TOML.
    where
        Named in errors.
    origin, folder
        See `ModelSpec`.

    Raises
    ------
    SpecError
        Naming the key that is missing, unknown or of the wrong kind.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where} is not valid TOML: {error}.", "Mend that line.") from error
    unknown = set(values) - set(_TOP) - _TABLES
    if unknown:
        raise SpecError(
            f"{where}: unknown key '{sorted(unknown)[0]}'.", f"Known: {', '.join([*_TOP, *sorted(_TABLES)])}."
        )
    for name, kind in _TOP.items():
        if name not in values and name not in _OPTIONAL:
            raise SpecError(f"{where}: '{name}' is missing.", _HELP)
        if name in values and not isinstance(values[name], kind):
            raise SpecError(f"{where}: '{name}' must be a {kind.__name__}, not {values[name]!r}.", _HELP)
    if not _ID.fullmatch(values["id"]):
        raise SpecError(f"{where}: id {values['id']!r} is not a plain name.", "Use letters, digits, '_', '-' and '.'.")
    if values["commercial"] not in ("yes", "no", "unclear"):
        raise SpecError(f"{where}: commercial must be yes, no or unclear.", _HELP)
    files = tuple(_read_file(entry, where) for entry in values.pop("files", ()))
    if not files:
        raise SpecError(f"{where}: no [[files]] entry.", _HELP)
    inputs, outputs = (_read_shapes(values.pop(side, {}), f"{where}: {side}") for side in ("inputs", "outputs"))
    preprocess = _read_preprocess(values.pop("preprocess", {}), where)
    return ModelSpec(
        **values, files=files, inputs=inputs, outputs=outputs, preprocess=preprocess, origin=origin, folder=folder
    )


_HELP = "See docs/models/index.md."


def _read_file(entry: dict[str, Any], where: str) -> ModelFile:
    unknown = set(entry) - {"name", "sha256", "size_bytes", "urls"}
    name, sha256 = entry.get("name", ""), entry.get("sha256", "")
    if unknown or not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
        raise SpecError(f"{where}: a file needs a plain name, and may have sha256, size_bytes and urls.", _HELP)
    if sha256 and not _SHA256.fullmatch(sha256):
        raise SpecError(f"{where}: sha256 of {name} is not 64 lower-case hexadecimal digits.", _HELP)
    return ModelFile(name, sha256, int(entry.get("size_bytes", 0)), tuple(entry.get("urls", ())))


def _read_shapes(table: dict[str, list[int]], where: str) -> dict[str, tuple[int | None, ...]]:
    if not all(isinstance(shape, list) and all(isinstance(n, int) for n in shape) for shape in table.values()):
        raise SpecError(f"{where} must be lists of whole numbers, -1 for any length.", _HELP)
    return {name: tuple(None if n < 0 else n for n in shape) for name, shape in table.items()}


def _read_preprocess(table: dict[str, Any], where: str) -> Preprocess:
    unknown = set(table) - {"template", "size", "colour", "mean", "std"}
    if unknown or table.get("colour", "RGB") not in ("RGB", "BGR"):
        raise SpecError(f"{where}: preprocess has template, size, colour (RGB or BGR), mean and std.", _HELP)
    triples = {name: tuple(float(v) for v in table[name]) for name in ("mean", "std") if name in table}
    if any(len(triple) != 3 for triple in triples.values()) or 0.0 in triples.get("std", (1.0,)):
        raise SpecError(f"{where}: mean and std are three numbers, std not zero.", _HELP)
    given = {name: table[name] for name in ("template", "size", "colour") if name in table}
    return Preprocess(**given, **cast(dict[str, Any], triples))
