"""What a model is: its files with hashes, its licence, its inputs and outputs."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from facefusion.errors import HashMismatch, UnknownModel

EMBEDDED = resources.files("facefusion.models") / "embedded"
CATALOG = resources.files("facefusion.models") / "catalog"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the catalogue.

    Attributes
    ----------
    id, version
        Name and version; together unique.
    capability
        What it does: ``face_detector`` or ``face_landmarker``.
    file, sha256, size_bytes
        Its file in the package, checked before every load.
    licence
        SPDX identifier of the weights.
    licence_source
        Where that is stated.
    commercial
        Whether commercial use is allowed: yes, no or unclear.
    inputs, outputs
        Tensor names with shapes; ``None`` stands for any length.
    figures
        Held-out figures as the model card gives them.
    """

    id: str
    version: str
    capability: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    licence_source: str
    commercial: str
    vendor: str
    year: int
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, tuple[int | None, ...]]
    figures: Mapping[str, str]

    @property
    def path(self) -> Path:
        """The file on this machine."""
        return Path(str(EMBEDDED / self.file))

    def read_verified(self) -> bytes:
        """The file's content, if it is the file this specification names.

        Raises
        ------
        HashMismatch
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise HashMismatch(f"The file of model {self.id} is missing: {self.file}.", _REINSTALL) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise HashMismatch(f"The file of model {self.id} is not the one its specification names.", _REINSTALL)
        return content


_REINSTALL = "Reinstall facefusion."


def load_catalog() -> dict[str, ModelSpec]:
    """Every model of the catalogue by id."""
    specs = {}
    for entry in sorted(CATALOG.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".toml"):
            continue
        values = tomllib.loads(entry.read_text(encoding="utf-8"))
        for side in ("inputs", "outputs"):
            values[side] = {name: tuple(None if n < 0 else n for n in shape) for name, shape in values[side].items()}
        spec = ModelSpec(**values)
        specs[spec.id] = spec
    return specs


def get_spec(model_id: str) -> ModelSpec:
    """A model of the catalogue.

    Raises
    ------
    UnknownModel
    """
    catalog = load_catalog()
    if model_id not in catalog:
        raise UnknownModel(f"There is no model '{model_id}'.", f"Known: {', '.join(catalog)}.")
    return catalog[model_id]
