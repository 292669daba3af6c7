"""What files say of how they were made, and who signs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from facefusion.errors import FaceFusionError
from facefusion.media.sequence import find_changed, is_index
from facefusion.policy.mark import MarkId, site_id
from facefusion.policy.signing import KEY, OF_THIS_MACHINE, Signing
from facefusion.policy.verifying import Finding, FindMark, load_anchors, verify
from facefusion.service.values import Problem
from facefusion.types.paths import PathLike, as_path, as_paths
from facefusion.wording import counted


@dataclass(frozen=True, slots=True)
class Verification(Finding):
    """What a file says of how it was made: see `facefusion.policy.verifying.Finding`. ``is_own`` is also whether this
    site set the invisible mark.

    Attributes
    ----------
    file
        Which, as it was named.
    """

    file: str = ""

    @property
    def is_intact(self) -> bool:
        """Whether it is signed, and was not changed since."""
        return self.state in ("trusted", "valid")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"file": self.file, **asdict(self)}


FindJob = Callable[[str], str]
"""Tells which job's outputs carry an invisible mark; empty for none."""
KnownMarks = Callable[[], Sequence[str]]
"""Tells the marks of the jobs that are known: they are told where others no longer are."""


def find_mark(path: PathLike, known: Sequence[str] = ()) -> str | None:
    """The invisible mark of a photo or a clip, which takes seconds to look for; None of anything else."""
    path = as_path(path)
    from facefusion.pipeline.marks import find_mark as look

    with suppress(FaceFusionError):
        found = look(path, [MarkId.parse(mark) for mark in known])
        return None if found is None else str(found.id)
    return None


def verify_file(
    path: PathLike,
    trust: PathLike | None = None,
    signing: Signing = OF_THIS_MACHINE,
    find_mark: Callable[[Path, Sequence[str]], str | None] | None = find_mark,
    sidecar: PathLike | None = None,
    find_job: FindJob | None = None,
    known_marks: KnownMarks | None = None,
) -> Verification:
    """Find out what a file says of how it was made.

    Parameters
    ----------
    path
        Photo or clip, or the index of numbered pictures, whose hashes are compared then.
    trust
        PEM file with the certificates of authorities that are trusted; None trusts nobody.
    signing
        Of this machine or site, to know its own outputs.
    find_mark
        Looks for the invisible mark where there is no manifest, as `find_mark` does; None does not look.
    sidecar
        The manifest beside the file; None looks where it should be.
    find_job
        Tells of which job a mark of this site is.
    known_marks
        Tells the marks of jobs that are known, if any is to be looked for.

    Raises
    ------
    MediaMissing, MediaUnreadable, RecipeError
    """
    path = as_path(path)
    trust = None if trust is None else as_path(trust)
    sidecar = None if sidecar is None else as_path(sidecar)
    anchors = b"" if trust is None else load_anchors(trust)
    look: FindMark | None = None
    if find_mark is not None:
        look = lambda one: find_mark(one, known_marks() if known_marks is not None else ())  # noqa: E731
    found = verify(path, anchors, signing.own_roots(), look, sidecar)
    told = Verification(**{one.name: getattr(found, one.name) for one in fields(found)}, file=str(path))
    if told.is_intact and is_index(path) and (changed := find_changed(path)):
        many = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        said = (
            f"{counted(len(changed), 'picture is', 'pictures are')} missing or changed: {', '.join(changed[:3])}{many}"
        )
        return replace(told, state="tampered", problems=(*told.problems, said))
    if told.state != "marked-only" or not _is_of_this_site(told.watermark):
        return told
    return replace(told, is_own=True, job=find_job(told.watermark) if find_job is not None else "")


def _is_of_this_site(mark: str) -> bool:
    try:
        site = MarkId.parse(mark).site
    except ValueError:
        return False
    return site != 0 and site == site_id()


def verify_files(
    paths: Sequence[PathLike],
    trust: PathLike | None = None,
    signing: Signing = OF_THIS_MACHINE,
    find_job: FindJob | None = None,
    known_marks: KnownMarks | None = None,
) -> Iterator[Verification]:
    """`verify_file` of several.

    Raises
    ------
    MediaMissing, MediaUnreadable, RecipeError
    """
    files = as_paths(paths)
    trust = None if trust is None else as_path(trust)
    for path in files:
        yield verify_file(path, trust, signing, find_job=find_job, known_marks=known_marks)


@dataclass(frozen=True, slots=True)
class SigningState:
    """Who signs outputs here.

    Attributes
    ----------
    is_on
        Whether outputs are signed at all.
    is_local
        Whether by an identity of this machine, which is on no trust list.
    is_made
        Whether that is there already; it is made with the first output.
    is_passing
        Whether it lies in a temporary folder, since its own cannot be written.
    certificate
        SHA-256 of the certificate that signs.
    until
        Last day of it.
    problem
        Why nothing can be signed.
    """

    is_on: bool
    is_local: bool = False
    is_made: bool = True
    is_passing: bool = False
    certificate: str = ""
    until: str = ""
    problem: Problem | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def describe_signing(signing: Signing) -> SigningState:
    """Who signs outputs here; nothing is made."""
    if signing.is_off:
        return SigningState(False)
    if signing.is_local and not (signing.home / KEY).is_file():
        return SigningState(True, True, is_made=False)
    try:
        signer = signing.signer()
    except FaceFusionError as error:
        return SigningState(True, signing.is_local, problem=Problem.of(error))
    until = f"{signer.until:%Y-%m-%d}"
    return SigningState(True, signer.is_local, True, signer.is_passing, signer.fingerprint, until)
