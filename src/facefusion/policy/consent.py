"""Who has agreed to what: a ledger that people can read, with the photos that show who they are.

The ledger is TOML. Photos lie in a folder beside it and count by their hash: one that was replaced proves nothing. No
embedding is kept; faces are looked at again in every process that asks (`facefusion.pipeline.permission`), so there is
no biometric template to lose, and a better recogniser needs no new photos.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facefusion.documents import load_toml
from facefusion.errors import OutputRefused, PolicyUnready, RecipeError
from facefusion.recipe import CONSENT_REF
from facefusion.wording import counted
from facefusion.workplace import make_folder, take
from facefusion.writing import save_private

FORMAT = "facefusion-consents-1"
Use = Literal["source", "target"]
"""What somebody agrees to: that their face is put on others, or that pictures of them are changed."""
PATIENCE_S = 30.0
"""How long to wait for another process that writes the ledger."""
_PHOTO_BYTES = 64_000_000
_DAMAGED = "Restore the ledger from a copy, or take the entry that is wrong out."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Photo(_Strict):
    """A photo that shows the person: its name in the folder of photos, and its hash."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]*/[0-9]+\.[a-z0-9]{1,8}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Consent(_Strict):
    """What one person has agreed to.

    Attributes
    ----------
    ref
        How requests and verdicts call it.
    person
        Whose it is, for people who read the ledger; it is never written anywhere else.
    photos
        That show who it is.
    uses
        What for: to be put on others (``source``), to be changed (``target``).
    processors
        By which; empty for any.
    tenants
        For whom; empty for anybody.
    models
        One-person models that show this person.
    valid_from, valid_until
        First and last day, UTC; None for no bound.
    note
        Where the signed paper is, and the like.
    added_at, revoked_at
        When it was entered, and taken back.
    """

    ref: Annotated[str, Field(pattern=CONSENT_REF)]
    person: Annotated[str, Field(max_length=200)] = ""
    photos: tuple[Photo, ...] = ()
    uses: tuple[Use, ...] = ("source", "target")
    processors: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    valid_from: date | None = None
    valid_until: date | None = None
    note: Annotated[str, Field(max_length=1000)] = ""
    added_at: datetime
    revoked_at: datetime | None = None

    def state(self, today: date) -> Literal["valid", "not yet valid", "expired", "revoked"]:
        """How it is on a day."""
        if self.revoked_at is not None:
            return "revoked"
        if self.valid_from is not None and today < self.valid_from:
            return "not yet valid"
        if self.valid_until is not None and today > self.valid_until:
            return "expired"
        return "valid"

    def allows(self, use: Use, processors: Iterable[str], tenant: str, today: date) -> bool:
        """Whether it covers a use, by all of some processors, for a tenant, on a day."""
        return (
            self.state(today) == "valid"
            and use in self.uses
            and (not self.processors or set(processors) <= set(self.processors))
            and (not self.tenants or tenant in self.tenants)
        )


class _Document(_Strict):
    format: Literal["facefusion-consents-1"]
    consent: tuple[Consent, ...] = ()


def today() -> date:
    """The day by which consents are judged: that of UTC."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger file and the folder of its photos.

    Attributes
    ----------
    path
        The file; it need not be there.
    now
        Tells the time.
    """

    path: Path
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False, compare=False)

    @property
    def photos(self) -> Path:
        """Folder with the photos of everybody."""
        return self.path.with_name(f"{self.path.name}.photos")

    def load(self, must_exist: bool = True) -> tuple[Consent, ...]:
        """Every consent, in order.

        Raises
        ------
        PolicyUnready
            When the ledger is missing or is none. It is never taken for an empty one.
        """
        if not self.path.exists():
            if must_exist:
                raise PolicyUnready(
                    f"There is no ledger of consents {self.path}.", "Add the first: facefusion consent add REF PHOTO"
                )
            return ()
        values = load_toml(self.path, PolicyUnready, "a ledger of consents")
        try:
            found = _Document(**values).consent
        except (ValidationError, TypeError) as error:
            raise PolicyUnready(f"{self.path} is no ledger of consents: {_first_of(error)}.", _DAMAGED) from error
        refs = [consent.ref for consent in found]
        twice = sorted({ref for ref in refs if refs.count(ref) > 1})
        if twice:
            raise PolicyUnready(f"{self.path} has two consents '{twice[0]}'.", _DAMAGED)
        return found

    def get(self, ref: str) -> Consent:
        """One consent.

        Raises
        ------
        RecipeError
            When there is none of that reference.
        PolicyUnready
        """
        found = next((consent for consent in self.load(must_exist=False) if consent.ref == ref), None)
        if found is None:
            raise RecipeError(f"There is no consent '{ref}'.", "See 'facefusion consent list'.")
        return found

    def read_photo(self, photo: Photo) -> bytes | None:
        """The content of a photo, or None where it is missing or not the one that was entered."""
        try:
            content = (self.photos / photo.file).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == photo.sha256 else None

    def place_of(self, photo: Photo) -> Path:
        """Where a photo lies."""
        return self.photos / photo.file

    def add(self, ref: str, photos: Sequence[Path], **scope: Any) -> Consent:
        """Enter a consent, and copy its photos.

        Parameters
        ----------
        ref
            New reference.
        photos
            Of the person; they are copied.
        scope
            Other fields of `Consent`.

        Raises
        ------
        RecipeError
            When the reference is taken or something of it is wrong.
        OutputRefused, PolicyUnready
        """
        contents = [_read(path) for path in photos]
        named = tuple(
            Photo(file=f"{ref}/{number}{_ending(path)}", sha256=hashlib.sha256(content).hexdigest())
            for number, (path, content) in enumerate(zip(photos, contents, strict=True), start=1)
        ) if re.fullmatch(CONSENT_REF, ref) else ()  # fmt: skip
        try:
            entry = Consent(ref=ref, photos=named, added_at=self.now().replace(microsecond=0), **scope)
        except ValidationError as error:
            raise RecipeError(f"This is no consent: {_first_of(error)}.", "See docs/policy.md.") from error
        if not entry.photos and not entry.models:
            raise RecipeError("A consent without a photo covers nobody.", "Name one or more photos of the person.")
        if entry.valid_from and entry.valid_until and entry.valid_until < entry.valid_from:
            raise RecipeError("The consent ends before it begins.", "Change --from or --until.")

        def enter(known: tuple[Consent, ...]) -> tuple[Consent, ...]:
            if any(one.ref == ref for one in known):
                raise RecipeError(f"There is a consent '{ref}' already.", "Choose another reference; old ones stay.")
            folder = make_folder(self.photos / ref)
            for photo, content in zip(named, contents, strict=True):
                save_private(folder.parent / photo.file, content)
            return (*known, entry)

        self._change(enter)
        return entry

    def revoke(self, ref: str) -> Consent:
        """Take a consent back; the entry stays as a record, its photos are deleted.

        Raises
        ------
        RecipeError
            When there is none of that reference, or it is revoked already.
        OutputRefused, PolicyUnready
        """

        def end(known: tuple[Consent, ...]) -> tuple[Consent, ...]:
            found = next((one for one in known if one.ref == ref), None)
            if found is None:
                raise RecipeError(f"There is no consent '{ref}'.", "See 'facefusion consent list'.")
            if found.revoked_at is not None:
                raise RecipeError(f"The consent '{ref}' is revoked already.", "Nothing is to be done.")
            ended = found.model_copy(update={"revoked_at": self.now().replace(microsecond=0)})
            return tuple(ended if one is found else one for one in known)

        changed = self._change(end)
        folder = self.photos / ref
        try:
            if folder.is_symlink():
                folder.unlink()
            elif folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise OutputRefused(
                f"The consent is revoked, but its photos could not be deleted: {error.strerror}.",
                f"Delete {folder}.",
            ) from error
        return next(one for one in changed if one.ref == ref)

    def _change(self, change: Callable[[tuple[Consent, ...]], tuple[Consent, ...]]) -> tuple[Consent, ...]:
        """Read, change and write the ledger while nobody else does."""
        lock = take(self.path.with_name(f"{self.path.name}.lock"), PATIENCE_S)
        if lock is None:
            raise PolicyUnready(f"Another process is writing {self.path}.", "Try again when it is done.")
        try:
            changed = change(self.load(must_exist=False))
            entries = [entry.model_dump(mode="python", exclude_none=True) for entry in changed]
            text = tomli_w.dumps({"format": FORMAT, "consent": [_plain(entry) for entry in entries]})
            save_private(self.path, text.encode())
            return changed
        finally:
            lock.release()


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, so that people have less to read."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in entry.items()
        if value not in ("", ())
    }


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise RecipeError(f"There is no photo {path}.", "Check the path.")
        if path.stat().st_size > _PHOTO_BYTES:
            raise RecipeError(
                f"{path} has more than {counted(_PHOTO_BYTES // 1_000_000, 'megabyte')}.", "Use a smaller photo."
            )
        return path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    return ending if re.fullmatch(r"\.[a-z0-9]{1,8}", ending) else ".photo"


def _first_of(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    return str(error)
