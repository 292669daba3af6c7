"""What a model is: its files with hashes, its licence, how pictures are prepared for it, its inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from facefusion.documents import parse_toml
from facefusion.errors import SpecError

EMBEDDED = resources.files("facefusion.models") / "embedded"
"""Folder of the models that ship with the package."""

Commercial = Literal["yes", "no", "unclear"]
Origin = Literal["embedded", "catalog", "local", "package"]

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]*")
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
        What it does: ``face_detector``, ``optical_flow``, or the name of a processor.
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

_Hash = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
_Length = Annotated[int, Field(ge=-1, le=1 << 24)]
_Triple = tuple[float, float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _File(_Strict):
    name: Annotated[str, Field(pattern=f"^{PLAIN_NAME.pattern}$", max_length=200)]
    sha256: _Hash = ""
    size_bytes: Annotated[int, Field(ge=0)] = 0
    urls: list[str] = []


class _Preprocess(_Strict):
    template: str = ""
    size: Annotated[int, Field(ge=0, le=8192)] = 0
    colour: Literal["RGB", "BGR"] = "RGB"
    mean: Annotated[_Triple, Field(strict=False)] = (0.0, 0.0, 0.0)
    std: Annotated[_Triple, Field(strict=False)] = (1.0, 1.0, 1.0)

    @field_validator("std")
    @classmethod
    def _check_divisor(cls, value: _Triple) -> _Triple:
        if 0.0 in value:
            raise ValueError("must not hold zero")
        return value


class _Entry(_Strict):
    """A catalogue entry as it stands in its file."""

    id: Annotated[str, Field(pattern=f"^{_ID.pattern}$", max_length=200)]
    version: Annotated[str, Field(max_length=40)]
    capability: str
    family: str
    licence: str
    licence_source: str
    commercial: Commercial
    vendor: str
    year: int
    precision: Literal["fp32", "fp16"] = "fp32"
    files: Annotated[list[_File], Field(min_length=1, max_length=100)]
    inputs: dict[str, list[_Length]] = {}
    outputs: dict[str, list[_Length]] = {}
    preprocess: _Preprocess = _Preprocess()
    options: dict[str, Any] = {}
    figures: dict[str, Any] = {}

    @field_validator("inputs", "outputs")
    @classmethod
    def _check_places(cls, value: dict[str, list[int]]) -> dict[str, list[int]]:
        for name in value:
            if name.startswith("#") and not name[1:].isdecimal():
                raise ValueError(f"has {name!r}, and a place is '#' and a number")
        return value


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
    values = parse_toml(text, where, SpecError)
    try:
        entry = _Entry(**values)
    except ValidationError as error:
        raise SpecError(f"{where}: {_say(error.errors()[0])}", _HELP) from error
    except TypeError as error:  # a key that is no name
        raise SpecError(f"{where}: {error}.", _HELP) from error
    return ModelSpec(
        **{name: getattr(entry, name) for name in _SAME},
        files=tuple(ModelFile(f.name, f.sha256, f.size_bytes, tuple(f.urls)) for f in entry.files),
        inputs=_shapes(entry.inputs),
        outputs=_shapes(entry.outputs),
        preprocess=Preprocess(**entry.preprocess.model_dump()),
        origin=origin,
        folder=folder,
    )


_HELP = "See docs/models/index.md."
_SAME = (
    "id", "version", "capability", "family", "licence", "licence_source", "commercial", "vendor", "year", "precision",
    "options", "figures",
)  # fmt: skip
_WORDS = {
    "missing": "it is missing",
    "extra_forbidden": f"there is no such key; known are {', '.join(_Entry.model_fields)}",
}


def _say(error: Any) -> str:
    """What is wrong with a value, in our words where pydantic's are not plain."""
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "string_pattern_mismatch":
        kind = (
            "64 lower-case hexadecimal digits" if place.endswith("sha256") else "a plain name of letters, digits, _ - ."
        )
        return f"'{place}' must be {kind}, not {error['input']!r}."
    if "int" in error["type"] and place.startswith(("inputs", "outputs")):
        return f"'{place}' must be whole numbers, -1 for any length, not {error['input']!r}."
    return f"'{place}': {_WORDS.get(error['type'], error['msg'])}."


def _shapes(table: Mapping[str, list[int]]) -> dict[str, tuple[int | None, ...]]:
    return {name: tuple(None if n < 0 else n for n in shape) for name, shape in table.items()}
