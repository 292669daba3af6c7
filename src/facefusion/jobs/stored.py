"""What is kept with a job and its items, as values; in the store it is JSON that people can read.

A plan is stored without what follows from the recipe, which is stored beside it, and without what each machine finds
for itself: models, threads. `facefusion.pipeline.plan.Plan` is made of the two again without a look at any input file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, get_args

from facefusion.errors import FaceFusionError, Fault, StoreRefused
from facefusion.media.defects import NO_DEFECTS, Defects
from facefusion.media.segments import Span
from facefusion.pipeline.plan import Found, Kind, Target
from facefusion.pipeline.resolved import SourceKind
from facefusion.policy.mark import MarkId
from facefusion.policy.provenance import Signed
from facefusion.policy.verdict import Verdict
from facefusion.types.frame import SourceInfo

_WRONG = (ValueError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError)
"""What reading values raises that nobody here has written."""


_WORDS = ("work", "taken_from", "tenant", "mark", "output_place")
"""What a plan says in one word each."""


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """What was decided of a job before its first frame.

    Attributes
    ----------
    version
        Of FaceFusion; another one does not finish the job.
    found
        What looking at the input files has told.
    models
        SHA-256 of what runs, by id and version.
    hashes
        SHA-256 of every input file, by path.
    work
        Id of the work behind the job: others that share it have the same parts. Empty where no parts are taken over.
    taken_from
        Id of the job whose parts it took over, or nothing.
    inputs
        Where each input file lies in the storage of a cluster, by path; nothing for jobs of this machine.
    target_bytes
        Size of the target there.
    notes
        What is told with the outcome: what the sources lack.
    tenant
        On whose behalf the job is done; empty where there are no tenants.
    verdict
        What the site's policy said when the job was made. Whoever does it asks anew.
    mark
        What the invisible mark says (`facefusion.policy.mark.MarkId`); empty where the site has switched it off.
    output_place
        Where the output of a job of a cluster goes, told so that equal places are equal (`place_id_of`).
    """

    version: str = ""
    found: Found = field(default_factory=lambda: Found("clip"))
    models: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    work: str = ""
    taken_from: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    target_bytes: int = 0
    notes: tuple[str, ...] = ()
    tenant: str = ""
    verdict: Verdict = field(default_factory=Verdict)
    mark: str = ""
    output_place: str = ""

    def is_alike(self, other: StoredPlan) -> bool:
        """Whether two jobs have the same parts, made on behalf of the same tenant: what one may do another may not."""
        own = self.tenant, self.work, self.mark, self.found.spans, dict(self.models)
        its = other.tenant, other.work, other.mark, other.found.spans, dict(other.models)
        return bool(self.work) and own == its

    @property
    def mark_id(self) -> MarkId | None:
        """What the invisible mark says, or None.

        Raises
        ------
        StoreRefused
        """
        with _reading(""):
            return MarkId.parse(self.mark) if self.mark else None

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        found = self.found
        values = {
            "version": self.version,
            "kind": found.kind,
            "spans": [[span.start, span.stop, span.frame_count] for span in found.spans],
            "models": dict(self.models),
            "hashes": dict(self.hashes),
            "sources": {str(path): kind for path, kind in found.sources.items()},
        }
        if found.target is not None:
            values["target"] = asdict(found.target) | {"time_base": str(found.target.time_base)}
        if found.generated is not None:
            values["generated"] = asdict(found.generated) | {"frame_rate": str(found.generated.frame_rate)}
        told = {name: getattr(self, name) for name in (*_WORDS, "target_bytes")}
        told["notes"] = list(self.notes)
        told["policy"] = None if self.verdict.is_empty else self.verdict.as_dict()
        return values | {name: value for name, value in told.items() if value} | _if_any("inputs", self.inputs)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], job_id: str = "") -> Self:
        """What `as_dict` gave. What earlier versions left out is looked up again where it is wanted.

        Raises
        ------
        StoreRefused
            When it is not a plan.
        """
        with _reading(job_id):
            made, target = values.get("generated"), values.get("target")
            found = Found(
                _one_of(values.get("kind", "clip"), Kind),
                target
                and Target(
                    target["width"],
                    target["height"],
                    Fraction(target["time_base"]),
                    target["begin"],
                    str(target.get("frames", "")),
                ),
                {Path(path): _one_of(kind, SourceKind) for path, kind in _table(values, "sources").items()},
                tuple(_span(span) for span in values.get("spans", ())),
                made and SourceInfo(made["width"], made["height"], Fraction(made["frame_rate"]), made["frame_count"]),
            )
            version, *words = (str(values.get(name, "")) for name in ("version", *_WORDS))
            models, hashes, inputs = (_texts(values, name) for name in ("models", "hashes", "inputs"))
            size = int(values.get("target_bytes", 0))
            notes = tuple(str(note) for note in values.get("notes", ()))
            named = dict(zip(_WORDS, words, strict=True))
            return cls(
                version, found, models, hashes, inputs=inputs, target_bytes=size, notes=notes,
                verdict=_verdict(values), **named,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Joined:
    """What is recorded with the tracks of a job.

    Attributes
    ----------
    assigned
        Number of the chain that changes a track, by its id.
    track_count
        People found.
    verdict
        What the site's policy said of those who are changed.
    notes
        Sentences on what is not as one would expect.
    """

    assigned: Mapping[int, int] = field(default_factory=dict)
    track_count: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        told = {"assigned": {str(k): number for k, number in self.assigned.items()}, "tracks": self.track_count}
        told |= {"notes": list(self.notes)} if self.notes else {}
        return told | ({} if self.verdict.is_empty else {"policy": self.verdict.as_dict()})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], job_id: str = "") -> Self:
        """What `as_dict` gave.

        Raises
        ------
        StoreRefused
        """
        with _reading(job_id):
            assigned = {int(k): int(v) for k, v in _table(values, "assigned").items()}
            notes = tuple(str(one) for one in values.get("notes", ()))
            return cls(assigned, int(values["tracks"]), _verdict(values), notes)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What is recorded with the segment of a span.

    Attributes
    ----------
    pts, durations
        Of its frames.
    changed_frame_count
        Frames in which a face was changed.
    defects
        What was wrong with its frames.
    """

    pts: tuple[int, ...]
    durations: tuple[int, ...]
    changed_frame_count: int
    defects: Defects = NO_DEFECTS

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        times = {"pts": list(self.pts), "durations": list(self.durations)}
        return times | {"changed": self.changed_frame_count, "defects": self.defects.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], job_id: str = "") -> Self:
        """What `as_dict` gave.

        Raises
        ------
        StoreRefused
        """
        with _reading(job_id):
            pts, durations = (tuple(int(value) for value in values[name]) for name in ("pts", "durations"))
            return cls(pts, durations, int(values["changed"]), Defects.from_dict(values["defects"]))


@dataclass(frozen=True, slots=True)
class Told:
    """An error as it is kept; `facefusion.jobs.local.error_of` makes an error of it again.

    Attributes
    ----------
    code
        Of its class.
    message, hint
        In words.
    trace
        Where a fault came from.
    """

    code: str
    message: str
    hint: str
    trace: str = ""

    @classmethod
    def of(cls, error: FaceFusionError) -> Self:
        """What there is to tell of an error."""
        return cls(error.code, error.message, error.hint, error.trace if isinstance(error, Fault) else "")

    def as_dict(self) -> dict[str, str]:
        """For the store."""
        told = {"code": self.code, "message": self.message, "hint": self.hint}
        return told | ({"trace": self.trace} if self.trace else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], job_id: str = "") -> Self:
        """What `as_dict` gave.

        Raises
        ------
        StoreRefused
        """
        with _reading(job_id):
            code, message, hint = (str(values[name]) for name in ("code", "message", "hint"))
            return cls(code, message, hint, str(values.get("trace", "")))


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a job.

    Attributes
    ----------
    frame_count, changed_frame_count
        Frames of the output, and those in which a face was changed.
    track_count
        People found.
    models
        What ran: id, version and licence.
    notes
        What is not as one would expect.
    sha256, size_bytes
        Of the output.
    failure
        What is too bad about the output, where it was measured; None where nothing is.
    verdict
        What the site's policy said where the output was made.
    signed
        How the output is signed; None of jobs of earlier versions.
    """

    frame_count: int
    changed_frame_count: int
    track_count: int
    models: tuple[str, ...]
    notes: tuple[str, ...]
    sha256: str
    size_bytes: int
    failure: Told | None = None
    verdict: Verdict = field(default_factory=Verdict)
    signed: Signed | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        return {
            "notes": list(self.notes), "frames": self.frame_count, "changed": self.changed_frame_count,
            "tracks": self.track_count, "models": list(self.models), "sha256": self.sha256,
            "size_bytes": self.size_bytes, **({} if self.failure is None else {"failure": self.failure.as_dict()}),
            **({} if self.verdict.is_empty else {"policy": self.verdict.as_dict()}),
            **({} if self.signed is None else {"signed": self.signed.as_dict()}),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], job_id: str = "") -> Self:
        """What `as_dict` gave.

        Raises
        ------
        StoreRefused
        """
        with _reading(job_id):
            frames, changed, tracks = (int(values[name]) for name in ("frames", "changed", "tracks"))
            models, notes = (tuple(str(word) for word in values.get(name, ())) for name in ("models", "notes"))
            failure = values.get("failure")
            if failure is None and values.get("report"):  # as it was kept before
                failure = json.loads(values["report"])
            told = None if failure is None else Told.from_dict(failure, job_id)
            sha256, size = str(values["sha256"]), int(values["size_bytes"])
            signed = Signed.from_dict(_table(values, "signed")) if values.get("signed") else None
            return cls(frames, changed, tracks, models, notes, sha256, size, told, _verdict(values), signed)


Outcome = Joined | Rendered | Merged
"""What an item leaves beside its file; those of other stages leave nothing."""


@contextmanager
def _reading(job_id: str) -> Iterator[None]:
    """Whatever reading values of a job raises is one error of ours, which names the job."""
    try:
        yield
    except _WRONG as error:
        name = f"Job {job_id}" if job_id else "A job"
        raise StoreRefused(
            f"{name} is damaged in the store.", f"Delete it: facefusion jobs delete {job_id or 'ID'}"
        ) from error


def _verdict(values: Mapping[str, Any]) -> Verdict:
    found = values.get("policy")
    return Verdict() if found is None else Verdict.from_dict(found)


def _if_any(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(values)} if values else {}


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, Mapping):
        raise TypeError(f"{name} is {found!r}")
    return found


def _texts(values: Mapping[str, Any], name: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in _table(values, name).items()}


def _one_of(value: Any, kinds: Any) -> Any:
    if value not in get_args(kinds):
        raise ValueError(f"{value!r} is none of {get_args(kinds)}")
    return value


def _span(values: Any) -> Span:
    start, stop, count = values
    if any(bound is not None and not isinstance(bound, int) for bound in (start, stop)):
        raise TypeError(f"{values!r} is no span")
    return Span(start, stop, int(count))
