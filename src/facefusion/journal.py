"""What is written to the log, and how: lines for people, or JSON with the ids of request, job and part.

A record carries ids and words of ours. What others put into theirs (paths, addresses, what an exception quotes) is
taken out, for it may name files, and files name people.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Literal

from facefusion import traces

Form = Literal["", "text", "json"]
Plan = tuple[Form, str, str]
"""How a process writes its log, the least that is written, and where its traces go."""
FIELDS = ("request", "job", "order", "stage", "segment", "code", "status", "method", "route", "seconds")
"""What a record may carry besides its words."""
_about: ContextVar[Mapping[str, Any]] = ContextVar("facefusion_journal", default=MappingProxyType({}))
_PATH = re.compile(
    r"""(?:[A-Za-z]:)?(?:[\\/][^\s'":,;]+)+|[a-z][a-z0-9+.-]*://[^\s'"]+|\S+\.[A-Za-z][A-Za-z0-9]{1,4}\b"""
)
_ROUTE = re.compile(r"^/[\w/{}:.-]*$")
_plan: tuple[Form, str] = ("", "info")
NO_PLAN: Plan = ("", "info", "")
logging.getLogger("facefusion").addHandler(logging.NullHandler())  # nothing is written where nobody asked for a log


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Have every record that is written meanwhile carry these."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def begin(**fields: Any) -> None:
    """Have every record of what begins here (a request in a task of its own) carry these."""
    _about.set({**_about.get(), **fields})


def scrubbed(text: str) -> str:
    """A text without what may be a path, an address or a file's name."""
    return _PATH.sub("…", text)


class JsonLines(logging.Formatter):
    """One JSON object to a line."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        told: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": scrubbed(record.getMessage()),
            "process": record.process,
        }
        for name in FIELDS:
            value = getattr(record, name, _about.get().get(name))
            if value is not None:
                told[name] = value if isinstance(value, (int, float)) else _field(str(value))
        if record.exc_info and record.exc_info[1] is not None:
            told["error"] = trace_of(record.exc_info[1])
        return json.dumps(told, ensure_ascii=False)


def _field(value: str) -> str:
    return value[:120] if _ROUTE.match(value) else scrubbed(value)[:120]


def trace_of(error: BaseException) -> list[str]:
    """Where an exception came from: kinds and places, and none of its words, which may quote what was read."""
    lines = []
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        lines.append(f"{type(one).__module__}.{type(one).__qualname__}")
        for frame in traceback.extract_tb(one.__traceback__):
            name = frame.filename.replace("\\", "/").rpartition("/")[2]
            lines.append(f"  {name}:{frame.lineno} in {frame.name}")
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return lines


def set_up(form: Form, level: str = "info", traces_url: str = "") -> None:
    """Write the log of this process to standard error, and send its traces.

    Parameters
    ----------
    form
        ``json``, ``text``, or nothing to leave everything as it is.
    level
        The least that is written of ours; of others it is warnings.
    traces_url
        As in `traces.set_up`.

    Raises
    ------
    ExtraMissing, RecipeError
    """
    global _plan
    _plan = (form, level)
    traces.set_up(traces_url)
    if not form:
        return
    root = logging.getLogger()
    for handler in [one for one in root.handlers if getattr(one, "is_of_journal", False)]:
        root.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.is_of_journal = True  # type: ignore[attr-defined]
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    own = logging.getLogger("facefusion")
    own.setLevel(level.upper())
    own.propagate = True


def plan() -> Plan:
    """How this process writes its log and where its traces go, for processes that it starts."""
    return (*_plan, traces.address())


def is_set_up() -> bool:
    """Whether somebody said how the log is written."""
    return bool(_plan[0])
