"""The ledger of consents and the blocklist: kept, shown and tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from facefusion.errors import FaceFusionError, PolicyUnready, RecipeError
from facefusion.pipeline.permission import blocklist_of, contract, describe_faces, describe_person, looks_of
from facefusion.policy.blocklist import Blocked
from facefusion.policy.consent import Consent, Ledger, today
from facefusion.policy.content import find_checkers
from facefusion.policy.gate import BLOCKED_COSINE, CONSENT_COSINE
from facefusion.policy.site import SitePolicy
from facefusion.service.values import Problem
from facefusion.types.paths import PathLike, as_paths


@dataclass(frozen=True, slots=True)
class ConsentView:
    """A consent, as it is told of.

    Attributes
    ----------
    ref, person, uses, processors, tenants, models, note
        As in `facefusion.policy.consent.Consent`.
    state
        ``valid``, ``not yet valid``, ``expired`` or ``revoked``.
    photos, photos_usable
        Photos that were entered, and those that are what was entered and show one face. None where nobody looked.
    valid_from, valid_until
        Days, or nothing.
    added_at, revoked_at
        Times, or nothing.
    """

    ref: str
    person: str
    state: str
    uses: tuple[str, ...]
    processors: tuple[str, ...]
    tenants: tuple[str, ...]
    models: tuple[str, ...]
    valid_from: str
    valid_until: str
    note: str
    added_at: str
    revoked_at: str
    photos: int
    photos_usable: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = (
            "ref", "person", "state", "valid_from", "valid_until", "note", "added_at", "revoked_at", "photos",
            "photos_usable",
        )  # fmt: skip
        told: dict[str, Any] = {name: getattr(self, name) for name in names}
        return told | {name: list(getattr(self, name)) for name in ("uses", "processors", "tenants", "models")}


@dataclass(frozen=True, slots=True)
class ConsentList:
    """All consents of a ledger."""

    consents: tuple[ConsentView, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"consents": [consent.as_dict() for consent in self.consents]}


@dataclass(frozen=True, slots=True)
class FaceChecked:
    """Who a face is, as far as is known here.

    Attributes
    ----------
    consents
        Those of the person, whatever their state.
    is_blocked
        Whether the person is on the blocklist.
    """

    consents: tuple[ConsentView, ...]
    is_blocked: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"consents": [consent.as_dict() for consent in self.consents], "is_blocked": self.is_blocked}


@dataclass(frozen=True, slots=True)
class PhotoChecked:
    """Who a photo shows, as far as is known here.

    Attributes
    ----------
    photo
        Which.
    faces
        Everybody in it, the largest first: the one who is the source where it is one.
    """

    photo: str
    faces: tuple[FaceChecked, ...]

    @property
    def consents(self) -> tuple[ConsentView, ...]:
        """Those of the largest face, whatever their state."""
        return self.faces[0].consents

    @property
    def is_blocked(self) -> bool:
        """Whether anybody in it is on the blocklist: then it can be no source."""
        return any(face.is_blocked for face in self.faces)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        consents = [consent.as_dict() for consent in self.consents]
        faces = [face.as_dict() for face in self.faces]
        return {"photo": self.photo, "consents": consents, "is_blocked": self.is_blocked, "faces": faces}


@dataclass(frozen=True, slots=True)
class BlockedView:
    """Somebody on the blocklist, without anything of their face.

    Attributes
    ----------
    id, note, added_at
        As in `facefusion.policy.blocklist.Blocked`.
    faces
        How many were found in the photos that were given; all of them are refused.
    """

    id: str
    note: str
    added_at: str
    faces: int

    @classmethod
    def of(cls, entry: Blocked) -> BlockedView:
        """What is told of an entry."""
        return cls(entry.id, entry.note, entry.added_at, len(entry.codes))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"id": self.id, "note": self.note, "added_at": self.added_at, "faces": self.faces}


@dataclass(frozen=True, slots=True)
class BlockedList:
    """Everybody on the blocklist."""

    people: tuple[BlockedView, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"people": [one.as_dict() for one in self.people]}


def ledger_of(site: SitePolicy) -> Ledger:
    """The ledger of a site.

    Raises
    ------
    PolicyUnready
        When it has none.
    """
    if site.ledger is None:
        raise PolicyUnready("There is no ledger of consents here.", "Name one with --consent-ledger.")
    return Ledger(site.ledger)


def list_consents(site: SitePolicy) -> ConsentList:
    """All consents, photos not looked at."""
    return ConsentList(tuple(_view(entry) for entry in ledger_of(site).load(must_exist=False)))


def show_consent(site: SitePolicy, ref: str) -> ConsentView:
    """One consent, with how many of its photos are usable.

    Raises
    ------
    RecipeError, PolicyUnready
    """
    ledger = ledger_of(site)
    entry = ledger.get(ref)
    return _view(entry, len(looks_of(ledger, entry)))


def add_consent(site: SitePolicy, ref: str, photos: Sequence[PathLike], **scope: Any) -> ConsentView:
    """Enter a consent; every photo must show one face, so that nobody else is covered.

    Parameters
    ----------
    ref
        New reference.
    photos
        Of the person.
    scope
        Fields of `facefusion.policy.consent.Consent`.

    Raises
    ------
    RecipeError, NoFaceInSource, MediaError, OutputRefused, PolicyUnready
    """
    files = as_paths(photos)
    for photo in files:
        describe_person(photo)
    ledger = ledger_of(site)
    entry = ledger.add(ref, files, **scope)
    return _view(entry, len(looks_of(ledger, entry)))


def revoke_consent(site: SitePolicy, ref: str) -> ConsentView:
    """Take a consent back and delete its photos.

    Raises
    ------
    RecipeError, OutputRefused, PolicyUnready
    """
    return _view(ledger_of(site).revoke(ref))


def check_photos(site: SitePolicy, photos: Sequence[PathLike]) -> Iterator[PhotoChecked]:
    """Who some photos show, as far as is known here: every face is looked at, as where they are sources.

    Raises
    ------
    NoFaceInSource, MediaError, PolicyUnready
    """
    files = as_paths(photos)
    ledger = ledger_of(site)
    known = [(entry, looks_of(ledger, entry)) for entry in ledger.load(must_exist=False)]
    blocked = blocklist_of(site).load() if site.has_blocklist else ()
    for photo in files:
        faces = []
        for code in describe_faces(photo):
            found = tuple(
                _view(entry, len(codes)) for entry, codes in known
                if len(codes) and float((codes @ code).max()) > CONSENT_COSINE
            )  # fmt: skip
            is_blocked = any(len(one.codes) and float((one.codes @ code).max()) > BLOCKED_COSINE for one in blocked)
            faces.append(FaceChecked(found, is_blocked))
        yield PhotoChecked(str(photo), tuple(faces))


def list_blocked(site: SitePolicy) -> BlockedList:
    """Everybody on the blocklist.

    Raises
    ------
    PolicyUnready
    """
    return BlockedList(tuple(map(BlockedView.of, blocklist_of(site).load(must_exist=site.is_blocklist_named))))


def block(site: SitePolicy, photos: Sequence[PathLike], note: str = "") -> BlockedView:
    """Put everybody in some photos on the blocklist, as one entry; of the photos nothing is kept but what our
    recogniser says of them.

    Returns
    -------
    What was entered, with how many faces: whoever expected one of each photo sees that there were more.

    Raises
    ------
    RecipeError, NoFaceInSource, MediaError, OutputRefused, PolicyUnready
    """
    files = as_paths(photos)
    if not files:
        raise RecipeError("Who is to be put on the blocklist?", "Name photos of the person.")
    codes = np.concatenate([describe_faces(photo) for photo in files])
    return BlockedView.of(blocklist_of(site).add(codes, contract(), note))


def unblock(site: SitePolicy, ids: Sequence[str]) -> BlockedList:
    """Take people off the blocklist.

    Raises
    ------
    RecipeError, OutputRefused, PolicyUnready
    """
    return BlockedList(tuple(map(BlockedView.of, blocklist_of(site).remove(ids))))


def find_problems(site: SitePolicy) -> Iterator[Problem]:
    """Why checks that are in force cannot be made."""
    if site.consent_mode != "off":
        try:
            ledger_of(site).load()
        except FaceFusionError as error:
            yield Problem.of(error)
    if site.has_blocklist:
        try:
            blocklist_of(site).load()
        except FaceFusionError as error:
            yield Problem.of(error)
    if site.content_mode != "off":
        try:
            if not find_checkers(site):
                raise PolicyUnready(
                    "No model that checks content is here.", "Name its folder with --content-models-path."
                )
        except FaceFusionError as error:
            yield Problem.of(error)


def _view(entry: Consent, usable: int | None = None) -> ConsentView:
    def told(value: date | None) -> str:
        return "" if value is None else value.isoformat()

    return ConsentView(
        entry.ref, entry.person, entry.state(today()), entry.uses, entry.processors, entry.tenants, entry.models,
        told(entry.valid_from), told(entry.valid_until), entry.note, told(entry.added_at), told(entry.revoked_at),
        len(entry.photos), usable,
    )  # fmt: skip
