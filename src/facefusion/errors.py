"""The error tree. Every error says what is wrong (message) and what to do next (hint).

FaceFusionError
├── RecipeError (ValueError)
│   ├── UnknownOption
│   ├── UnknownProcessor
│   └── UnknownModel
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
├── QualityTooLow
├── JobError (RuntimeError)
│   ├── UnknownJob
│   ├── JobMismatch
│   ├── IllegalMove
│   ├── LeaseLost
│   ├── SegmentFailed
│   ├── WorkerLost
│   ├── StoreUnreachable
│   ├── StoreRefused
│   └── DiskLimitReached
└── Stopped
"""

from __future__ import annotations


class FaceFusionError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    message
        What is wrong, in one sentence, naming the file, option or value.
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
        super().__init__(message)
        self.message = message
        self.hint = hint

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


class UnknownModel(RecipeError):
    """A model that the processor or analyser does not have."""

    code = "unknown_model"


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


class HashMismatch(ModelError):
    """A model file is not the file its specification names."""

    code = "hash_mismatch"


class ModelMismatch(ModelError):
    """A graph does not have the inputs and outputs its specification names."""

    code = "model_mismatch"


class ProviderRefused(ModelError):
    """A requested execution provider is not installed or does not really run."""

    code = "provider_refused"


class QualityTooLow(FaceFusionError):
    """The output was written, and is worse than the limits that were set."""

    code = "quality_too_low"


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


class WorkerLost(JobError):
    """A process ended in the middle of its work."""

    code = "worker_lost"
    retryable = True


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


class Stopped(FaceFusionError):
    """The user stopped the work; what is finished is kept."""

    code = "stopped"
