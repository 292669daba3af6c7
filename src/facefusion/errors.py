"""The error tree. Every error says what is wrong (message) and what to do next (hint).

FaceFusionError
├── RecipeError (ValueError)
│   ├── UnknownOption
│   ├── UnknownProcessor
│   ├── ProcessorRefused
│   ├── UnknownModel
│   └── ExtraMissing
├── MediaError (OSError)
│   ├── MediaMissing (FileNotFoundError)
│   ├── MediaUnreadable
│   ├── MediaUnsupported
│   ├── OutputRefused
│   └── SegmentDamaged
├── FaceError (ValueError)
│   ├── NoFaceInSource
│   └── NoFaceInTarget
├── TracksError (ValueError)
├── ModelError (RuntimeError)
│   ├── SpecError
│   ├── ModelMissing
│   ├── LicenceRefused
│   ├── HashMismatch
│   ├── ModelMismatch
│   ├── ProviderRefused
│   ├── FetchFailed
│   ├── StorageError
│   └── BundleRefused
├── SigningRefused (ValueError)
├── ReleaseRefused (ValueError)
├── QualityTooLow
├── PolicyError
│   ├── ConsentMissing
│   ├── PersonBlocked
│   ├── ContentRefused
│   └── PolicyUnready
├── JobError (RuntimeError)
│   ├── UnknownJob
│   ├── JobMismatch
│   ├── IllegalMove
│   ├── LeaseLost
│   ├── SegmentFailed
│   ├── StoreUnreachable
│   ├── StoreRefused
│   └── DiskLimitReached
├── ServiceError
│   ├── RequestRefused
│   ├── AccessRefused
│   ├── ScopeMissing
│   ├── NotThere
│   ├── Conflict
│   ├── TooLarge
│   ├── KindRefused
│   ├── LimitReached
│   └── ServiceUnreachable
├── OutOfMemory (MemoryError)
├── Fault
└── Stopped
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator

from facefusion.version import DISTRIBUTION
from facefusion.wording import without_secrets


class FaceFusionWarning(UserWarning):
    """Something that a user should know. Warnings of libraries are none: they speak to those who write code."""


class FaceFusionError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    message
        What is wrong, in one sentence, naming the file, option or value. Passwords in addresses are hidden: whoever
        raises it may name a setting as it is, and what a library says of it.
    hint
        What to do next.

    Attributes
    ----------
    code : str
        Stable identifier, for programs.
    retryable : bool
        Whether the same call may succeed later without a change.
    """

    code = "error"
    retryable = False

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = without_secrets(message)
        self.hint = without_secrets(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class RecipeError(FaceFusionError, ValueError):
    """The request itself is wrong: an option, its value or a combination."""

    code = "recipe"


class UnknownOption(RecipeError):
    """An option that does not exist."""

    code = "unknown_option"


class UnknownProcessor(RecipeError):
    """A processor that no installed package offers."""

    code = "unknown_processor"


class ProcessorRefused(RecipeError):
    """A processor of another package that cannot be loaded, or does not hold to what a processor must."""

    code = "processor_refused"


class UnknownModel(RecipeError):
    """A model that the processor or analyser does not have."""

    code = "unknown_model"


class ExtraMissing(RecipeError):
    """Something was asked for that needs a package which is installed only when it is wanted."""

    code = "extra_missing"

    @classmethod
    def of(cls, what: str, package: str, extra: str) -> ExtraMissing:
        """The error for one of the extras of this package.

        Parameters
        ----------
        what
            What was asked for, as the subject of a sentence.
        package
            What is not installed.
        extra
            Its name.
        """
        return cls(
            f"{what} needs the package {package}, which is not installed.",
            f"Run: pip install '{DISTRIBUTION}[{extra}]'",
        )


class MediaError(FaceFusionError, OSError):
    """A photo or clip cannot be read or written."""

    code = "media"


class MediaMissing(MediaError, FileNotFoundError):
    """A file is not there."""

    code = "media_missing"


class MediaUnreadable(MediaError):
    """A file is empty, damaged or not a photo or clip."""

    code = "media_unreadable"


class MediaUnsupported(MediaError):
    """A good file of a kind that is not handled: more than 8 bits, animated, far too large."""

    code = "media_unsupported"


class OutputRefused(MediaError):
    """The output cannot be written: no permission, no room, or it would overwrite an input."""

    code = "output_refused"


class SegmentDamaged(MediaError):
    """A finished part of a clip is not what was recorded; it has to be made again."""

    code = "segment_damaged"
    retryable = True


class FaceError(FaceFusionError, ValueError):
    """A face that is needed is not there."""

    code = "face"


class NoFaceInSource(FaceError):
    """A source photo shows no face."""

    code = "no_face_in_source"


class NoFaceInTarget(FaceError):
    """The target shows no face to change."""

    code = "no_face_in_target"


class TracksError(FaceFusionError, ValueError):
    """A tracks file is damaged or belongs to another target."""

    code = "tracks"


class ModelError(FaceFusionError, RuntimeError):
    """A model cannot be used."""

    code = "model"


class SpecError(ModelError):
    """An entry of the catalogue is wrong."""

    code = "model_entry"


class ModelMissing(ModelError):
    """A model file is not on this machine."""

    code = "model_missing"


class LicenceRefused(ModelError):
    """A model's licence is not one that the user accepts."""

    code = "licence_refused"


class FetchFailed(ModelError):
    """A model could not be fetched; what has arrived is kept."""

    code = "fetch_failed"
    retryable = True


class StorageError(ModelError):
    """Object storage cannot be read."""

    code = "storage"
    retryable = True


class BundleRefused(ModelError):
    """A bundle is damaged, not signed by a trusted key, or holds what it should not."""

    code = "bundle_refused"


class ReleaseRefused(FaceFusionError, ValueError):
    """A release is not what was signed, or not signed by a trusted key."""

    code = "release_refused"


class HashMismatch(ModelError):
    """A model file is not the file its specification names."""

    code = "hash_mismatch"


class ModelMismatch(ModelError):
    """A graph does not have the inputs and outputs its specification names."""

    code = "model_mismatch"


class ProviderRefused(ModelError):
    """A requested execution provider is not installed or does not really run."""

    code = "provider_refused"


class SigningRefused(FaceFusionError, ValueError):
    """A certificate or key that cannot sign outputs."""

    code = "signing_refused"


class QualityTooLow(FaceFusionError):
    """The output was written, and is worse than the limits that were set."""

    code = "quality_too_low"


class PolicyError(FaceFusionError):
    """Whoever runs this machine does not allow what was asked for."""

    code = "policy"


class ConsentMissing(PolicyError):
    """Somebody whose face would be used or changed has not agreed to it, as far as the ledger tells."""

    code = "consent_missing"


class PersonBlocked(PolicyError):
    """Somebody is on the list of people who must never be a source or a target."""

    code = "person_blocked"


class ContentRefused(PolicyError):
    """What the target shows must not be worked on here."""

    code = "content_refused"


class PolicyUnready(PolicyError):
    """A check that is required cannot be made: a ledger, list, key or model is missing or damaged."""

    code = "policy_unready"


class JobError(FaceFusionError, RuntimeError):
    """A job cannot go on."""

    code = "job"


class UnknownJob(JobError):
    """There is no job of this id."""

    code = "unknown_job"


class JobMismatch(JobError):
    """A file that the job rests on is not the one it began with."""

    code = "job_mismatch"


class IllegalMove(JobError):
    """A job or segment was told to do what it cannot do in its state; the history is in the message."""

    code = "illegal_move"


class LeaseLost(JobError):
    """Somebody else has taken the work over, or it was cancelled: what this worker does no longer counts."""

    code = "lease_lost"


class SegmentFailed(JobError):
    """A part of a job failed too often and was put aside, with the reason."""

    code = "segment_failed"


class StoreUnreachable(JobError):
    """The job store, broker or storage does not answer."""

    code = "store_unreachable"
    retryable = True


class StoreRefused(JobError):
    """A job store that is damaged, of something else, or of a newer version; nothing in it was changed."""

    code = "store_refused"


class DiskLimitReached(JobError):
    """The working files of a job would take more room than they may."""

    code = "disk_limit"


class ServiceError(FaceFusionError):
    """A service refuses a request, or cannot be asked.

    Attributes
    ----------
    status : int
        What HTTP calls it.
    retry_after_s : float
        When asking again is of use, in seconds from now; 0 where that is not known.
    """

    code = "service"
    status = 500

    def __init__(
        self, message: str, hint: str = "", retry_after_s: float = 0.0, code: str = "", status: int = 0
    ) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s
        self.code = code or type(self).code
        self.status = status or type(self).status


class RequestRefused(ServiceError):
    """A request that is not what the protocol allows."""

    code = "request"
    status = 400


class AccessRefused(ServiceError):
    """No key, or none that is valid."""

    code = "access"
    status = 401


class ScopeMissing(ServiceError):
    """A valid key that does not allow this."""

    code = "scope"
    status = 403


class NotThere(ServiceError):
    """There is no such thing, or it is somebody else's."""

    code = "not_there"
    status = 404


class Conflict(ServiceError):
    """Something is not in a state in which this can be done."""

    code = "conflict"
    status = 409


class TooLarge(ServiceError):
    """More than the service takes."""

    code = "too_large"
    status = 413


class KindRefused(ServiceError):
    """A file of a kind that is not taken."""

    code = "kind"
    status = 415


class LimitReached(ServiceError):
    """A quota is used up."""

    code = "limit"
    status = 429
    retryable = True


class ServiceUnreachable(ServiceError):
    """A service does not answer, or answers with what is no answer."""

    code = "service_unreachable"
    status = 502
    retryable = True


class OutOfMemory(FaceFusionError, MemoryError):
    """There is less memory than the work needs; with more of it, or less at once, it would go."""

    code = "out_of_memory"
    retryable = True


class Fault(FaceFusionError):
    """Something that nobody expected: a mistake of ours, or of a library or plug-in.

    Attributes
    ----------
    trace : str
        Where it came from, for those who mend it.
    """

    code = "fault"
    retryable = True
    trace = ""


class Stopped(FaceFusionError):
    """The user stopped the work; what is finished is kept."""

    code = "stopped"


MEMORY_HINT = (
    "Use fewer --workers or set --memory-limit, use a smaller --execution-thread-count, close other programs, or make "
    "the target smaller."
)
_NO_MEMORY = re.compile(
    r"bad_?alloc|out of (?:device |host |system )?memory|not enough memory|insufficient memory|"
    r"(?:fail\w*|cannot|can't|could not|unable) to allocate|(?:cannot|can't|could not) allocate|OUT_?OF_?MEMORY|"
    r"can't start new thread",
    re.IGNORECASE,
)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an exception of any library says that there is too little memory."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if isinstance(error, FaceFusionError):
        return False  # its text may name a file
    if isinstance(error, OSError):  # so may these, but for Pillow's, which has no number
        return error.errno is None and str(error).startswith("out of memory")
    if isinstance(error, ImportError):  # a library that does not fit any more
        text = str(error)
        return "Cannot allocate memory" in text or ("failed to map segment" in text and _is_memory_limited())
    is_native = isinstance(error, (RuntimeError, SystemError)) or type(error).__module__.split(".")[0] in _NATIVE
    return is_native and _NO_MEMORY.search(str(error)) is not None


def _is_memory_limited() -> bool:
    """Whether this process may have no more than some memory (``ulimit -v``). Without that a segment that cannot be
    mapped is one of a folder from which nothing may be run.
    """
    try:
        import resource
    except ImportError:
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


_NATIVE = ("onnxruntime", "cv2", "numpy", "obstore", "safetensors", "safetensors_rust", "sqlite3", "sqlalchemy")
"""Libraries whose errors say only in words that memory is short."""


def check_memory(error: BaseException, what: str) -> None:
    """Called where the error of a library is turned into ours: raise what is right where memory is short.

    Parameters
    ----------
    error
        What was raised.
    what
        What could not be done, such as ``"a.mp4 could not be read"``.

    Raises
    ------
    OutOfMemory
    """
    if any(is_lack_of_memory(one) for one in _causes(error)):
        raise OutOfMemory(f"There is not enough memory: {what}.", MEMORY_HINT) from error


def own_error(error: BaseException, hint: str = "") -> FaceFusionError:
    """An error of ours for whatever was raised.

    Parameters
    ----------
    error
        Ours stay as they are, but for those that came of too little memory.
    hint
        What to do about a fault; nothing stands for telling us.

    Returns
    -------
    The same error, `OutOfMemory` or `Fault`.
    """
    if isinstance(error, OutOfMemory):
        return error
    lack = next((one for one in _causes(error) if is_lack_of_memory(one)), None)
    if lack is not None:
        return OutOfMemory(f"There is not enough memory ({_text(lack)}).", MEMORY_HINT)
    if isinstance(error, FaceFusionError):
        return error
    fault = Fault(
        f"Something went wrong that should not: {_text(error)}, at {_place(error)}.",
        hint or "This is a fault of FaceFusion or of a library or plug-in it uses; please report it with this text.",
    )
    fault.trace = without_secrets("".join(traceback.format_exception(error))[-4000:])
    return fault


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and all(one is not other for other in seen):
        seen.append(one)
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _text(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:300]}" if words else type(error).__name__


def _place(error: BaseException) -> str:
    """File and line where it was raised, or where we called what raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    own = [frame for frame in frames if "facefusion" in frame.filename]
    last = (own or frames)[-1]
    return f"{last.filename.replace(chr(92), '/').split('/')[-1]}:{last.lineno}"
