"""Errors as RFC 9457 problem details: codes, sentences and hints of everywhere, options named as here, no path."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from facefusion import errors
from facefusion.declaration import flat_fields
from facefusion.errors import FaceFusionError
from facefusion.recipe import NAMED_OPTION, Execution, flags_of, known_options

MEDIA_TYPE = "application/problem+json"
_STATUS: tuple[tuple[type[FaceFusionError], int], ...] = (
    (errors.MediaMissing, 422),
    (errors.OutputRefused, 507),
    (errors.SegmentDamaged, 500),
    (errors.MediaError, 415),
    (errors.TracksError, 422),
    (errors.FaceError, 422),
    (errors.RecipeError, 422),
    (errors.SigningRefused, 503),
    (errors.FetchFailed, 502),
    (errors.StorageError, 503),
    (errors.ModelError, 422),
    (errors.QualityTooLow, 422),
    (errors.PolicyUnready, 503),
    (errors.PolicyError, 403),
    (errors.UnknownJob, 404),
    (errors.StoreUnreachable, 503),
    (errors.StoreRefused, 500),
    (errors.DiskLimitReached, 507),
    (errors.JobError, 409),
    (errors.OutOfMemory, 503),
    (errors.Stopped, 503),
)
_PATH = re.compile(
    r"(?:(?<!\w)[A-Za-z]:\\|(?<![\w}.-])(?<!https:)(?<!https:/)(?<!http:)(?<!http:/)/(?!v1/))"
    r"[^\s'\",;]*[/\\]([^\s/\\'\",;]+)"
)
"""Addresses of the web are none of the server's places, and stay."""

_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*(?![\w-])")
_RENAMED = {
    "target_path": "target",
    "source_paths": "sources",
    "exempt_paths": "exempt",
    "reference_face_path": "reference_face",
    "face_map_path": "people",
    "output_path": "output",
    "report_path": "report",
}
_OF_THE_SERVICE = frozenset(Execution.model_fields)
"""Options of whoever runs the service; their flags stay what they are."""


_NOT_FOR_CLIENTS = re.compile(
    r"(?<![\w-])--[a-z]|\bfacefusion [a-z]|\bpip3? |\bFACEFUSION_|\bAWS_|\b[cC]heck the (folder|URL)"
    r"|\b(?:Free|free) some space|\b(?:Take|take) it away|\.toml\b|\.ini\b"
)
"""What a hint says that only whoever runs the service can do."""
ASK = "Tell who runs this service."
_ROOM = "Delete jobs and assets that are not needed, or tell who runs this service; then try again."
_HINTS: Mapping[str, str] = {
    errors.OutputRefused.code: _ROOM,
    errors.DiskLimitReached.code: _ROOM,
    errors.LicenceRefused.code: "Choose another model: GET /v1/capabilities says which may run here.",
    errors.ModelMissing.code: "Choose a model that is here (GET /v1/models), or have it fetched: "
    "POST /v1/models/ID/fetch, with the scope admin.",
    errors.UnknownModel.code: "Choose one of GET /v1/capabilities.",
    errors.UnknownProcessor.code: "Choose one of GET /v1/capabilities.",
    errors.ProcessorRefused.code: "Choose another one of GET /v1/capabilities, or tell who runs this service.",
    errors.ModelMismatch.code: "Choose another model of GET /v1/capabilities, or tell who runs this service.",
    errors.HashMismatch.code: "Choose another model of GET /v1/capabilities, or tell who runs this service.",
    errors.UnknownJob.code: "See GET /v1/jobs.",
    errors.JobMismatch.code: "Ask for it again: POST /v1/jobs.",
    errors.OutOfMemory.code: "Try a smaller target, or tell who runs this service.",
    errors.StoreUnreachable.code: "Try again in a moment.",
    errors.StorageError.code: "Try again in a moment.",
    errors.SegmentFailed.code: "Try again: POST /v1/jobs/ID/retry. If it fails again, tell who runs this service.",
    errors.Stopped.code: "Try again: POST /v1/jobs/ID/retry.",
}
"""What a client can do where the error's own hint speaks to whoever runs the service; all others are told to ask."""


_MESSAGES: Mapping[str, str] = {
    errors.StoreUnreachable.code: "The service does not reach what it keeps jobs and files in.",
    errors.StoreRefused.code: "The service cannot use what it keeps jobs in.",
    errors.StorageError.code: "The service does not reach the place of its models.",
}
"""What a client is told of errors that name places inside: addresses, keys, what a library says of them."""


class Flaw(BaseModel):
    """One thing that is wrong in a body."""

    where: str
    message: str


class ProblemBody(BaseModel):
    """What is wrong, and what to do next (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="urn:facefusion:problem: and the code")
    title: str
    status: int
    code: str = Field(description="stable, for programs")
    detail: str = Field(description="what is wrong")
    hint: str = Field(description="what to do next")
    request_id: str
    errors: list[Flaw] = Field(default_factory=list)


def status_of(error: FaceFusionError) -> int:
    """What HTTP calls an error, by its class."""
    if isinstance(error, errors.ServiceError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


has_flags: ContextVar[bool] = ContextVar("has_flags", default=False)
"""Whether whoever is answered is a command line, which says so: there options are called by their flags."""
FLAGS_HEADER = b"facefusion-words"


def for_clients(text: str, is_called: bool | None = None) -> str:
    """A sentence in which options are called as in a recipe over the network, files lose their folder, and nothing is
    left of what only a command line can do.

    Parameters
    ----------
    text
        The sentence.
    is_called
        Whether options are called so; None where whoever is answered is no command line.
    """
    if is_called is None:
        is_called = not has_flags.get()
    kept, mark, _ = text.partition(" is kept: facefusion jobs resume")
    if mark:
        text = f"{kept.rpartition('Job ')[0]}Try again: POST /v1/jobs/ID/retry.".strip()
    if is_called:
        text = NAMED_OPTION.sub(lambda found: f"Option '{_fields().get(found[1], found[1])}':", text)
    text = _FLAG.sub(lambda found: _names().get(found[0], found[0]), text) if is_called else text
    return _PATH.sub(r"\1", text)


def message_for_clients(code: str, message: str) -> str:
    """What is wrong, as a client may know it.

    Parameters
    ----------
    code, message
        Of an error.
    """
    return _MESSAGES.get(code) or for_clients(message)


def hint_for_clients(code: str, hint: str) -> str:
    """What a client can do next: the error's own hint, unless it speaks of what only whoever runs the service can do.

    Parameters
    ----------
    code, hint
        Of an error.
    """
    text = "" if code in _MESSAGES else for_clients(hint, is_called=True)
    return _HINTS.get(code, ASK) if not text or _NOT_FOR_CLIENTS.search(text) else for_clients(hint)


@lru_cache(maxsize=1)
def _names() -> Mapping[str, str]:
    """What options of the command line are called in a recipe, by flag."""
    return {flag: called for name, called in _fields().items() for flag in flags_of(name)}


@lru_cache(maxsize=1)
def _fields() -> Mapping[str, str]:
    """What options are called in a recipe over the network, by their names in one here."""
    flat = flat_fields()
    named = {name: f"{flat[name][0].name}.{flat[name][1]}" for name in flat}
    return {name: _RENAMED.get(name, named.get(name, name)) for name in known_options() if name not in _OF_THE_SERVICE}


def facts_of(error: FaceFusionError, hint_of_fault: str) -> dict[str, str]:
    """What is told of an error: its code, message and hint. Of what nobody expected no more than that it happened: what
    it says may be of anybody.
    """
    if isinstance(error, errors.Fault):
        return {"code": error.code, "message": "Something went wrong that should not.", "hint": hint_of_fault}
    return {"code": error.code, "message": error.message, "hint": error.hint}


def noted(error: Exception, what: str, hint_of_fault: str) -> dict[str, str]:
    """`facts_of` an error that no request waits for; what nobody expected goes to the log.

    Parameters
    ----------
    error
        Whatever was raised.
    what
        What it is about, with its id.
    hint_of_fault
        What to do about what nobody expected.
    """
    known = errors.own_error(error)
    if isinstance(known, errors.Fault):
        logging.getLogger("facefusion.server").error("%s: %s", what, known.message, exc_info=error)
    return facts_of(known, hint_of_fault)


def respond(
    error: FaceFusionError, request_id: str, flaws: Sequence[Flaw] = (), status: int | None = None
) -> JSONResponse:
    """The answer that tells of an error.

    Parameters
    ----------
    error
        What is wrong.
    request_id
        Of the request.
    flaws
        All that is wrong in a body.
    status
        Where it is not what `status_of` says.
    """
    status = status or status_of(error)
    if error.code in _MESSAGES:  # whoever runs the service has to know it
        logging.getLogger("facefusion.server").error("%s %s", error.message, error.hint, extra={"request": request_id})
    told = facts_of(error, "It was noted; tell who runs this service the request id.")
    headers = {"Cache-Control": "no-store"}
    retry_after_s = getattr(error, "retry_after_s", 0.0) or (5.0 if status == 503 else 0.0)
    if retry_after_s:
        headers["Retry-After"] = str(max(1, int(-(-retry_after_s // 1))))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = ProblemBody(
        type=f"urn:facefusion:problem:{error.code}",
        title=error.code.replace("_", " ").capitalize(),
        status=status,
        code=error.code,
        detail=message_for_clients(error.code, told["message"]),
        hint=hint_for_clients(error.code, told["hint"]),
        request_id=request_id,
        errors=list(flaws),
    )
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)


def of_status(status: int, detail: str) -> FaceFusionError:
    """The error for what the framework itself refuses."""
    words = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Refused"
    code = words.lower().replace(" ", "_").replace("'", "")
    hints = {
        400: "Send what GET /v1/openapi.json says, whole and as JSON.",
        404: "See GET /v1/openapi.json for what there is.",
        405: "See the Allow header for what there is.",
    }  # fmt: skip
    text = f"{(detail or words).rstrip('.')}."
    return errors.ServiceError(text, hints.get(status, "See GET /v1/openapi.json."), code=code, status=status)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers that a route may give when something is wrong, for its description."""
    always = (400, 401, 403, 421, 422, 429, 500, 503)
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*always, *statuses})
    }
