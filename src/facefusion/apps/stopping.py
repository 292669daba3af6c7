"""Ctrl-C, SIGTERM and SIGHUP: one clean end, one line, exit code 130, from the first moment on.

Imports next to nothing: it is ready before anything heavy is loaded.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

EXIT_STOPPED = 130
FORCE_AFTER_S = 1.0
"""Ctrl-C that comes so long after another ends at once; sooner it is the same press of a key."""
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")

Phase = Literal["starting", "working", "over"]


class _State:
    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.stopped_at: float | None = None
        self.is_told = False
        self.code = EXIT_STOPPED
        self.depth = 0


_state = _State()


def is_stopping() -> bool:
    """Whether a signal has come: what is raised now comes of it."""
    return _state.stopped_at is not None


def work_begins() -> None:
    """From now on a signal unwinds what is being done, where before there was nothing to unwind."""
    _state.phase = "working"


def work_is_over(code: int) -> None:
    """From now on a signal cannot change what came of it."""
    _state.phase, _state.code = "over", code


def tell(what: str, job_id: str = "", is_json: bool = False) -> None:
    """Say, once, that the user stopped the work.

    Parameters
    ----------
    what
        What became of it.
    job_id
        The job in hand, or nothing.
    is_json
        Whether events are written.
    """
    if _state.is_told:
        return
    _state.is_told = True
    if is_json:
        event: dict[str, Any] = {"event": "error", "code": "stopped", "message": "Stopped.", "hint": what}
        _write(1, json.dumps(event | ({"job": job_id} if job_id else {})))
    else:
        _write(2, f"facefusion: Stopped; {what}.")


def _write(descriptor: int, text: str) -> None:
    """Print although a signal may have come in the middle of printing."""
    stream = sys.stdout if descriptor == 1 else sys.stderr
    try:
        print(text, file=stream, flush=True)
    except (RuntimeError, OSError, ValueError):  # a buffer that is in use
        with suppress(OSError):
            os.write(descriptor, f"{text}\n".encode(errors="backslashreplace"))


@contextmanager
def watched(is_program: bool = False) -> Iterator[None]:
    """Take signals in a block; what is ignored, such as SIGHUP under nohup, stays so.

    Parameters
    ----------
    is_program
        Whether the process ends with the block: signals are then taken until it is gone.
    """
    before: dict[int, Any] = {}
    if _state.depth == 0:
        _state.__init__()  # type: ignore[misc]
    _state.depth += 1
    hook = sys.unraisablehook
    with suppress(ValueError):  # only the main thread can
        if _state.depth == 1:
            for name in _SIGNALS:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, _on_signal)
            sys.unraisablehook = lambda told: _on_unraisable(told, hook)
    try:
        yield
    finally:
        _state.depth -= 1
        if before and not is_program:
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)


def _on_signal(number: int, frame: object) -> None:
    if _state.phase == "over":
        os._exit(_state.code)
    if _state.phase == "starting":
        # An exception in the middle of an import may come out as another one, or not at all.
        _state.stopped_at = time.monotonic()
        tell("nothing was written", is_json="--json" in sys.argv)
        os._exit(EXIT_STOPPED)
    if _state.stopped_at is None:
        _state.stopped_at = time.monotonic()
        raise KeyboardInterrupt
    if number == signal.SIGINT and time.monotonic() - _state.stopped_at > FORCE_AFTER_S:
        tell("what was being written is taken away by the next run", is_json="--json" in sys.argv)
        os._exit(EXIT_STOPPED)


def _on_unraisable(told: Any, hook: Any) -> None:
    """A signal that came where exceptions are swallowed comes again."""
    if isinstance(told.exc_value, KeyboardInterrupt):
        _state.stopped_at = None
        _thread.interrupt_main(signal.SIGINT)
    else:
        hook(told)
