"""What whoever runs a machine allows there: a value that doors read from their settings and hand down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from facefusion.models.licences import LicencePolicy
from facefusion.policy.signing import OF_THIS_MACHINE, Signing
from facefusion.policy.verdict import Mode

ConsentOf = Literal["sources", "everyone"]
"""Whose consent counts: those whose face is put on, or those who are changed too."""


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """What is checked here, and by what.

    Attributes
    ----------
    consent_mode
        Of consents.
    consent_of
        Whose.
    ledger
        File with the consents; None where there is none.
    blocklist
        File with the people who must never take part. One that is there is always in force.
    is_blocklist_named
        Whether somebody has said where it is: then it must be there.
    blocklist_key
        Secret of the list, base64; empty where it lies in a file.
    blocklist_key_path
        That file; None for ``KEY`` beside the list.
    content_mode
        Of what the target shows.
    content_models
        Engines and catalogue entries that look; empty for all that are here and allowed.
    content_licences
        Which licences they may have, as ``--licences`` puts it.
    models_paths
        Folders with their files.
    signing
        How outputs are signed.
    is_marked
        Whether frames with changed faces get the mark of this site.
    """

    consent_mode: Mode = "off"
    consent_of: ConsentOf = "everyone"
    ledger: Path | None = None
    blocklist: Path | None = None
    is_blocklist_named: bool = False
    blocklist_key: str = field(default="", repr=False)
    blocklist_key_path: Path | None = None
    content_mode: Mode = "off"
    content_models: tuple[str, ...] = ()
    content_licences: LicencePolicy = "commercial"
    models_paths: tuple[str, ...] = ()
    signing: Signing = OF_THIS_MACHINE
    is_marked: bool = True

    @property
    def has_blocklist(self) -> bool:
        """Whether there is a list of people who must never take part."""
        return self.blocklist is not None and (self.is_blocklist_named or self.blocklist.exists())

    @property
    def looks_at_people(self) -> bool:
        """Whether anybody has to be recognised."""
        return self.consent_mode != "off" or self.has_blocklist

    @property
    def is_idle(self) -> bool:
        """Whether nothing is checked; outputs are signed all the same."""
        return not self.looks_at_people and self.content_mode == "off"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is in force, and nothing of where it is."""
        return {
            "consent": self.consent_mode, "consent_of": self.consent_of, "blocklist": self.has_blocklist,
            "content": self.content_mode, "watermark": "on" if self.is_marked else "off",
        }  # fmt: skip


NO_POLICY = SitePolicy()
"""Nothing is checked; outputs are marked, and signed by an identity of this machine."""
