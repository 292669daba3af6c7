"""May these people take part? Judged by embeddings that others have measured; nothing here opens a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from facefusion.errors import ConsentMissing, PersonBlocked, PolicyUnready
from facefusion.plugins.protocols import FloatArray
from facefusion.policy.blocklist import Blocked
from facefusion.policy.consent import Consent, Use
from facefusion.policy.site import SitePolicy
from facefusion.policy.verdict import Verdict

CONSENT_COSINE = 0.6
"""Cosine to a photo of the ledger above which it is the same person: a stranger must not pass for one who agreed."""
BLOCKED_COSINE = 0.55
"""The same for the blocklist, where somebody who is missed is worse than somebody who is stopped."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Somebody who would take part.

    Attributes
    ----------
    use
        As a source, or as somebody who is changed.
    name
        For errors, at the beginning of a sentence: ``The source anna.jpg``.
    label
        The same without the name of a file, for what is stored.
    processors
        What would be done, by name.
    codes
        (K, D) float32 of unit length: looks at this person. None where nobody can be recognised.
    others
        (K, D): whoever else is in the picture.
    """

    use: Use
    name: str
    label: str
    processors: tuple[str, ...]
    codes: FloatArray = field(repr=False)
    others: FloatArray | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SeenModel:
    """A person whose face a model brings along.

    Attributes
    ----------
    model
        Id of the model.
    processors
        What would be done with it.
    """

    model: str
    processors: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Who is known here.

    Attributes
    ----------
    consents
        Each with the looks of its photos, (K, D) float32 of unit length.
    blocked
        People who must never take part.
    contract
        Name of the space of all of these.
    flaws
        What could not be read, in sentences.
    """

    consents: tuple[tuple[Consent, FloatArray], ...] = ()
    blocked: tuple[Blocked, ...] = ()
    contract: str = ""
    flaws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """Judges by a site's policy.

    Attributes
    ----------
    site
        What is in force.
    asked
        References that the request names; with any, only these count.
    tenant
        On whose behalf; empty where there are no tenants.
    day
        On which it is asked.
    """

    site: SitePolicy
    asked: tuple[str, ...]
    tenant: str
    day: date

    def judge(self, people: Sequence[Seen], models: Sequence[SeenModel], known: Known) -> Verdict:
        """Who of some people has agreed.

        Raises
        ------
        PersonBlocked
            When somebody is on the blocklist, whatever the mode.
        ConsentMissing
            When somebody has not agreed, where that is required.
        PolicyUnready
            When the blocklist was made by another recogniser.
        """
        self._check_blocked(people, known)
        base = Verdict(self.site.consent_mode, asked=self.asked, has_blocklist=self.site.has_blocklist)
        if self.site.consent_mode == "off":
            return base
        # Nobody learns by asking which references other tenants have.
        own = {consent.ref for consent, _ in known.consents if not consent.tenants or self.tenant in consent.tenants}
        unknown = [ref for ref in self.asked if ref not in own]
        if unknown and self.site.consent_mode == "require":
            raise ConsentMissing(
                f"There is no consent '{unknown[0]}' here.", "Name one of the ledger with --consent, or leave it out."
            )
        verdict, used, notes = base, set(), [f"There is no consent '{ref}' here." for ref in unknown]
        notes += known.flaws
        for role in ("source", "target"):
            if role == "target" and self.site.consent_of == "sources":
                continue
            members = [(one.name, one.label, self._find(one, known)) for one in people if one.use == role]
            if role == "source":
                members += [
                    (f"The person whom {one.model} shows", f"The person of {one.model}", self._find_model(one, known))
                    for one in models
                ]
            for name, label, ref in members:
                if ref is None and self.site.consent_mode == "require":
                    raise self._missing(name, role)
                if ref is None:
                    notes.append(f"{label} is not covered by a consent.")
                else:
                    used.add(ref)
            covered = sum(ref is not None for _, _, ref in members)
            counts = {f"{role}s": len(members), f"{role}s_covered": covered}
            verdict = verdict.joined(Verdict(**counts))  # type: ignore[arg-type]
        return verdict.joined(Verdict(used=tuple(sorted(used)), notes=tuple(notes)))

    def _missing(self, name: str, role: str) -> ConsentMissing:
        named = " that the request names" if self.asked else ""
        way_out = "use a clearer photo" if role == "source" else "leave the person out (--exempt)"
        return ConsentMissing(
            f"{name} is not covered by a valid consent{named}.",
            f"Have the consent entered in the ledger of this site, name another with --consent, or {way_out}.",
        )

    def _check_blocked(self, people: Sequence[Seen], known: Known) -> None:
        for entry in known.blocked:
            if known.contract and entry.contract != known.contract:
                raise PolicyUnready(
                    "The blocklist was made by another recogniser.", "Enter its people again with this version."
                )
        listed = [entry.codes for entry in known.blocked]
        for one in people:
            middle = mean_code(one.codes)
            looks = [one.codes, one.others, None if middle is None else middle[None]]
            seen = [codes for codes in looks if codes is not None and len(codes)]
            if any(float((every @ codes.T).max()) > BLOCKED_COSINE for every in seen for codes in listed if len(codes)):
                raise PersonBlocked(
                    f"{one.name} must not take part here.",
                    "Use other material. If this is a mistake, tell whoever runs this site.",
                )

    def _find(self, one: Seen, known: Known) -> str | None:
        """The reference of the consent that covers somebody, or None. All that is known is their face."""
        middle = mean_code(one.codes)
        if middle is None:
            return None
        best, found = CONSENT_COSINE, None
        for consent, codes in self._eligible(one.use, one.processors, known):
            likeness = float((codes @ middle).max()) if len(codes) else -1.0
            if likeness > best:
                best, found = likeness, consent.ref
        return found

    def _find_model(self, one: SeenModel, known: Known) -> str | None:
        eligible = self._eligible("source", one.processors, known)
        return next((consent.ref for consent, _ in eligible if one.model in consent.models), None)

    def _eligible(self, use: Use, processors: Iterable[str], known: Known) -> list[tuple[Consent, FloatArray]]:
        return [
            (consent, codes)
            for consent, codes in known.consents
            if (not self.asked or consent.ref in self.asked) and consent.allows(use, processors, self.tenant, self.day)
        ]


def mean_code(codes: FloatArray) -> FloatArray | None:
    """(D,) float32 of unit length in the middle of some looks, or None where there is none."""
    if not len(codes):
        return None
    middle = codes.mean(axis=0)
    length = float(np.linalg.norm(middle))
    return np.asarray(middle / length, dtype=np.float32) if length > 0 else None
