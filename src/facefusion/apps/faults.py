"""What is said of a fault of ours: what happened, the job's state, where to report it, a log that quotes no files."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from facefusion.errors import Fault
from facefusion.version import __version__
from facefusion.writing import save_bytes

REPORT_TO = "the issues of the FaceFusion repository"
KEPT_LOGS = 20
_TELLING = (
    ImportError,
    AttributeError,
    NameError,
    TypeError,
    AssertionError,
    RuntimeError,
    ArithmeticError,
    IndexError,
)
"""Exceptions whose words come from programs. Those of the others may hold what was read."""


_is_asked = False


def debug(is_on: bool) -> None:
    """Say whether tracebacks are to be shown in this command."""
    global _is_asked
    _is_asked = is_on


def is_debugging() -> bool:
    """Whether tracebacks are to be shown."""
    return _is_asked or "--debug" in sys.argv or os.environ.get("FACEFUSION_DEBUG", "0") not in ("", "0")


def fault_of(error: BaseException) -> Fault:
    """What is said of an exception that nobody expected: its kind and place, and none of what it may quote."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}facefusion{os.sep}" in frame.filename]
    last = own[-1] if own else frames[-1] if frames else None
    where = f" in {Path(last.filename).name}, line {last.lineno}" if last is not None else ""
    words = _words(error)
    return Fault(f"This is a fault of ours: {type(error).__name__}{where}{f': {words}' if words else ''}.")


def describe(error: BaseException, words: Sequence[str], job: str = "") -> str:
    """A report for those who mend it: versions, names of options, the job, and where it happened.

    Parameters
    ----------
    error
        What was raised.
    words
        The command line, of which only the names of options are told.
    job
        Id and state of the job in hand.
    """
    options = [word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word, re.DOTALL)]
    verb = words[0] if words and re.fullmatch(r"[a-z-]+", words[0]) else ""
    lines = [
        f"facefusion {__version__}, Python {sys.version.split()[0]}, {platform.platform()}",
        f"command: {' '.join([verb, *options]).strip()}",
        f"job: {job or 'none'}",
    ]
    for one in _causes(error):
        lines += ["", f"{type(one).__module__}.{type(one).__qualname__}: {_words(one) or '(not told, see --debug)'}"]
        lines += [
            f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(one.__traceback__)
        ]
        if type(one).__name__ in ("RemoteTraceback", "_RemoteTraceback"):  # of another process
            lines += [f"  {line.strip()}" for line in str(one).splitlines() if line.startswith('  File "')]
    return "\n".join(lines) + "\n"


def save_log(text: str) -> Path | None:
    """Write a report into the user's state folder, where the last ones are kept.

    Returns
    -------
    Where it is, or None where it could not be written.
    """
    import platformdirs

    folder = platformdirs.user_state_path("facefusion") / "faults"
    path = folder / f"fault-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_bytes(path, text.encode("utf-8", "backslashreplace"))
        path.chmod(0o600)
        for old in sorted(folder.glob("fault-*.log"))[:-KEPT_LOGS]:
            with suppress(OSError):
                old.unlink()
    except OSError:
        return None
    return path


def _words(error: BaseException) -> str:
    """What an exception says, where it cannot quote what is in files."""
    if isinstance(error, OSError):
        return str(error.strerror or "")
    if isinstance(error, _TELLING):
        return " ".join(str(error).split())[:200]
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
