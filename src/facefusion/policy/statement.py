"""What an output says of how it was made, without a name, a path or a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath
from typing import IO, Any, Literal

from facefusion.version import __version__

SOFTWARE = "FaceFusion"
LABEL = "org.facefusion.generation"
"""The assertion with all that C2PA has no word for."""
_KINDS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE, GENERATED = f"{_KINDS}compositeWithTrainedAlgorithmicMedia", f"{_KINDS}trainedAlgorithmicMedia"
PARENT = "target"
"""Mark of the target among the ingredients."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that ran.

    Attributes
    ----------
    id, licence
        Of its catalogue entry; the id with its version.
    sha256
        Of its file.
    """

    id: str
    licence: str
    sha256: str

    def as_dict(self) -> dict[str, str]:
        """For the manifest."""
        return {"id": self.id, "licence": self.licence, "sha256": self.sha256}


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What was changed.

    Attributes
    ----------
    sha256
        Of its file; empty where it must not lead back to it.
    open
        Opens the file, to take over the manifest that it may have; None where that must not be.
    """

    sha256: str = ""
    open: Callable[[], IO[bytes]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """What is said of an output.

    Attributes
    ----------
    when
        It was finished.
    models
        That ran.
    recipe
        What was asked for, without paths (`without_paths`).
    target
        What was changed; None where the frames were made.
    sources
        SHA-256 of the photos and sounds that were put in.
    is_changed
        Whether anything was.
    hides_people
        Whether it must not be told what the target was.
    job
        Id of the job.
    policy
        What the site checked (`Verdict.as_dict`); None where nobody asked.
    watermark
        Id of the invisible mark, hexadecimal; empty where there is none.
    """

    when: datetime
    models: tuple[Model, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    target: Target | None = None
    sources: tuple[str, ...] = ()
    is_changed: bool = True
    hides_people: bool = False
    job: str = ""
    policy: Mapping[str, Any] | None = None
    watermark: str = ""

    def manifest(self, media_type: str, facts: Mapping[str, str]) -> dict[str, Any]:
        """As C2PA's builder reads it; the target is added by whoever signs.

        Parameters
        ----------
        media_type
            Of the output.
        facts
            What is known of the output's own bytes.
        """
        names = [f"source {number}" for number in range(1, len(self.sources) + 1)]
        ingredients = [
            {"relationship": "inputTo", "instance_id": f"sha256:{sha256}", "label": name}
            for name, sha256 in zip(names, self.sources, strict=True)
        ]
        told = {
            "software": SOFTWARE, "version": __version__, "job": self.job, "recipe": dict(self.recipe),
            "models": [model.as_dict() for model in self.models], "hides_people": self.hides_people, **facts,
        }  # fmt: skip
        if self.policy is not None:
            told["policy"] = dict(self.policy)
        if self.watermark:
            told["watermark"] = self.watermark
        return {
            "claim_generator_info": [{"name": SOFTWARE, "version": __version__}],
            "format": media_type,
            "ingredients": ingredients,
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": self._actions(names)}},
                {"label": LABEL, "data": told},
            ],
        }

    def _actions(self, names: list[str]) -> list[dict[str, Any]]:
        done: dict[str, Any] = {
            "when": self.when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "softwareAgent": {"name": SOFTWARE, "version": __version__},
        }
        put_in = {"parameters": {"ingredientIds": names}} if names else {}
        if self.target is None:
            return [done | put_in | {"action": "c2pa.created", "digitalSourceType": GENERATED}]
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}
        if not self.is_changed:
            return [opened, done | {"action": "c2pa.transcoded"}]
        return [opened, done | put_in | {"action": "c2pa.edited", "digitalSourceType": COMPOSITE}]


Hidden = Literal["seed"]


def without_paths(values: Any) -> Any:
    """Plain values of a recipe with everything left out that names a place: paths, and words with a separator in them.

    Parameters
    ----------
    values
        As the recipe holds them, not yet as text.

    Returns
    -------
    JSON values; None where nothing is left.
    """
    if isinstance(values, Mapping):
        kept = {str(name): without_paths(value) for name, value in values.items()}
        return {name: value for name, value in kept.items() if value is not None and value not in ({}, [])}
    if isinstance(values, (list, tuple)):
        return [value for value in map(without_paths, values) if value is not None]
    if isinstance(values, PurePath):
        return None
    if isinstance(values, str):
        return None if "/" in values or "\\" in values else values
    return values if isinstance(values, (bool, int, float)) else None
