"""Which licences the user accepts. Asked before a model is fetched and again before it is loaded."""

from __future__ import annotations

from typing import Literal

from facefusion.errors import LicenceRefused
from facefusion.models.spec import ModelSpec

LicencePolicy = Literal["commercial", "research", "any"]

_ALLOWED: dict[str, frozenset[str]] = {
    "commercial": frozenset({"yes"}),
    "research": frozenset({"yes", "no"}),
    "any": frozenset({"yes", "no", "unclear"}),
}
_WORDS = {"no": "does not allow commercial use", "unclear": "does not say what it allows"}


def is_allowed(spec: ModelSpec, policy: LicencePolicy) -> bool:
    """Whether a policy lets a model in."""
    return spec.commercial in _ALLOWED[policy]


def check_licence(spec: ModelSpec, policy: LicencePolicy) -> None:
    """Refuse a model that the policy does not let in.

    Raises
    ------
    LicenceRefused
        With the licence and where it is stated.
    """
    if is_allowed(spec, policy):
        return
    wider = "research" if spec.commercial == "no" else "any"
    raise LicenceRefused(
        f"Model {spec.id} is under {spec.licence}, which {_WORDS[spec.commercial]} "
        f"(stated at {spec.licence_source}); the setting 'licences' is '{policy}'.",
        f"Read that licence; if your use is allowed, add --licences {wider}.",
    )
