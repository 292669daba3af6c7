"""The one place where anything is printed: nothing that a terminal, pipe or disk cannot take breaks the work."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from facefusion.errors import FaceFusionError
from facefusion.wording import plain_without_secrets, without_secrets

_TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of a line, and with it what a name seems to be."""

_COMMAND = re.compile(r"\bfacefusion (?:jobs|keys) [a-z]+\b(?: (?:ID|[0-9a-f]{16,32})\b)?")
"""A command that is suggested and looks into the job store."""
_repeated: list[str] = []


class Stream:
    """A stream of text that never raises: what it cannot encode is escaped, and when nobody reads it is silent.

    Attributes
    ----------
    failure : str
        Why writing failed, where it was not that the reader went away.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_broken = stream is None
        self.failure = ""
        if hasattr(stream, "reconfigure"):
            with suppress(OSError, ValueError, io.UnsupportedOperation):
                stream.reconfigure(errors="backslashreplace")

    @property
    def encoding(self) -> str:
        """How characters are written."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def is_unicode(self) -> bool:
        """Whether all characters can be written."""
        return self.encoding.lower().replace("-", "").replace("_", "").startswith("utf")

    def write(self, text: str) -> int:
        """Write text."""
        if not self._is_broken:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError) as error:  # a ValueError says that it is closed
                self._break(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is kept back."""
        if not self._is_broken:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._break(error)

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        try:
            return not self._is_broken and bool(self._stream.isatty())
        except (OSError, ValueError):
            return False

    def _break(self, error: Exception) -> None:
        self._is_broken = True
        if not isinstance(error, BrokenPipeError) and getattr(error, "errno", None) not in (errno.EPIPE, errno.EINVAL):
            self.failure = str(getattr(error, "strerror", None) or error)
        # What is still in its buffer goes nowhere, or the interpreter would stumble over it when it ends.
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def prepared() -> Iterator[None]:
    """Print through `Stream` in a block."""
    _fill_closed()
    before = sys.stdout, sys.stderr
    streams = [stream if isinstance(stream, Stream) else Stream(stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def _fill_closed() -> None:
    """Open what was closed at the start to nowhere: a job store must not become standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)


def output_failure() -> str:
    """Why standard output could not be written; empty where it could, or nobody wanted it."""
    sys.stdout.flush()
    return getattr(sys.stdout, "failure", "")


def shown(name: object) -> str:
    """A name as it can stand in a line: control characters, which could do anything to a terminal, are escaped."""
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) == "Cc" or letter in _TURNS else letter
        for letter in str(name)
    )


def quoted(name: object) -> str:
    """A name as it can be typed after a command: in quotation marks where it needs them."""
    text = shown(name)
    if os.name == "nt":
        return f'"{text}"' if " " in text else text
    return shlex.quote(text)


def shown_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(shown(line) for line in text.split("\n"))


def repeat(flags: Mapping[str, object]) -> None:
    """Have every command that is suggested say again where jobs are, so that it works as it is typed.

    Parameters
    ----------
    flags
        What was given on the command line, by flag; what settings say holds for the next command anyway.
    """
    _repeated[:] = [f"{flag} {quoted(value)}" for flag, value in flags.items()]


def typable(text: str) -> str:
    """A text whose commands work as they are typed (`repeat`)."""
    if not _repeated:
        return text
    return _COMMAND.sub(lambda found: " ".join([found[0], *_repeated]), text)


def say(text: str, is_error: bool = False) -> None:
    """Print lines of text, without passwords in addresses, with commands that work as they are typed."""
    print(shown_lines(without_secrets(typable(text))), file=sys.stderr if is_error else sys.stdout)


def emit(**fields: Any) -> None:
    """Print an event: one line of JSON, valid on every stream, without passwords in addresses."""
    fields = plain_without_secrets(_plain(fields))
    is_unicode = getattr(sys.stdout, "is_unicode", False)
    text = json.dumps(fields, ensure_ascii=not is_unicode, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8
        text = json.dumps(fields, allow_nan=False)
    print(text, flush=True)


def _plain(value: Any) -> Any:
    """What JSON knows: no NaN, no paths."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def tell_error(error: FaceFusionError, is_json: bool, **fields: Any) -> None:
    """Say what is wrong and what to do, as text or as an event."""
    message = error.message
    if "Option '" in message:
        from facefusion.settings import with_flags  # takes long to load

        message = with_flags(message)
    if is_json:
        emit(event="error", code=error.code, message=typable(message), hint=typable(error.hint), **fields)
        return
    say(f"facefusion: {shown(message)}", is_error=True)
    if error.hint:
        say(f"  {shown(error.hint)}", is_error=True)
