"""How a command ends: what is said of whatever was raised, and the exit code that stands for it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from facefusion import errors
from facefusion.apps import console, faults
from facefusion.apps.stopping import EXIT_STOPPED
from facefusion.errors import Fault, own_error

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_INPUT = 3
EXIT_NO_FACE = 4
EXIT_OUTPUT = 5
EXIT_MODEL = 6
EXIT_QUALITY = 7
EXIT_JOB = 8
EXIT_MEMORY = 9
EXIT_POLICY = 10

_OF_THE_MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG,
    errno.ELOOP,
)  # fmt: skip
"""Errors of files that are no fault of ours, wherever they come up."""


def exit_code(error: BaseException) -> int:
    """Exit code of an error, by its class."""
    table: list[tuple[type[BaseException], int]] = [
        (errors.OutputRefused, EXIT_OUTPUT),
        (errors.MediaError, EXIT_INPUT),
        (errors.TracksError, EXIT_INPUT),
        (errors.ReleaseRefused, EXIT_INPUT),
        (errors.FaceError, EXIT_NO_FACE),
        (errors.RecipeError, EXIT_USAGE),
        (errors.SigningRefused, EXIT_USAGE),
        (errors.ModelError, EXIT_MODEL),
        (errors.QualityTooLow, EXIT_QUALITY),
        (errors.PolicyError, EXIT_POLICY),
        (errors.JobError, EXIT_JOB),
        (errors.ServiceError, EXIT_JOB),
        (errors.OutOfMemory, EXIT_MEMORY),
        (errors.Stopped, EXIT_STOPPED),
    ]
    return next((code for kind, code in table if isinstance(error, kind)), EXIT_UNEXPECTED)


def tell_exception(error: Exception, words: Sequence[str], is_json: bool) -> int:
    """Say what went wrong: an error of ours as it is, and all others as a fault, with a log.

    Returns
    -------
    The exit code.
    """
    known = own_error(error)
    cause = known.__cause__ if error is known and known.__cause__ is not None else error
    if isinstance(known, Fault) and isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE and cause.filename:
        from facefusion.media.files import translate_os_error

        known = translate_os_error(cause, Path(os.fsdecode(cause.filename)))
    if faults.is_debugging():
        import traceback

        console.say("".join(traceback.format_exception(error)), is_error=True)
    if not isinstance(known, Fault):
        console.tell_error(known, is_json)
        return exit_code(known)
    job_id, state = job_in_hand()
    fault = faults.fault_of(cause)
    log = faults.save_log(faults.describe(cause, words, f"{job_id} {state}".strip()))
    hints = [f"Job {job_id} is kept ({state}); go on with: facefusion jobs resume {job_id}."] if job_id else []
    hints.append(f"Please report it to {faults.REPORT_TO}" + (f", with {log}." if log else "."))
    if not faults.is_debugging():
        hints.append("With --debug, all is shown.")
    fault.hint = " ".join(hints)
    console.tell_error(fault, is_json, job=job_id or None, job_status=state or None, log=log)
    return EXIT_UNEXPECTED


def job_in_hand() -> tuple[str, str]:
    """Id and state of the job that this process works on, or nothing."""
    jobs = sys.modules.get("facefusion.apps.jobs")
    if jobs is None:
        return "", ""
    with suppress(Exception):  # there is an error already that is to be told
        return jobs.job_in_hand(), jobs.state_in_hand()
    return "", ""
