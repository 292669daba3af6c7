"""Small texts that people and programs leave on a disk: read whole, with every way of being wrong said in our words."""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facefusion.errors import FaceFusionError

MAX_BYTES = 4 << 20
"""No text that we read is larger."""


@contextmanager
def border(kind: type[FaceFusionError], message: str, hint: str) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one of our errors.

    Parameters
    ----------
    kind
        Class of the error.
    message
        What is wrong; what was raised is added to it.
    hint
        What to do next.

    Raises
    ------
    FaceFusionError
        Of that kind; our own errors and a lack of memory pass as they are.
    """
    try:
        yield
    except (FaceFusionError, MemoryError):
        raise
    except RecursionError as error:
        raise kind(f"{message}: it is nested too deeply.", hint) from error
    except Exception as error:  # damaged input makes libraries raise anything
        raise kind(f"{message}: {reason_of(error)}.", hint) from error


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line, without a full stop; its class where it says nothing."""
    if isinstance(error, FaceFusionError):
        return error.message.rstrip(".")
    text = str(getattr(error, "strerror", None) or error).partition("\n\nDebug source:")[0]  # of Rust, for its authors
    text = text.strip() or type(error).__name__
    if isinstance(error, KeyError):
        text = f"{error.args[0]!r} is missing" if error.args else "something is missing"
    return " ".join(text.split())[:300].rstrip(".")


def load_text(path: Path, kind: type[FaceFusionError], what: str = "") -> str:
    """A text file in UTF-8.

    Parameters
    ----------
    path
        A file; pipes, devices and folders are refused, so that nothing waits for ever.
    kind
        Class of the error.
    what
        What it should be, such as "a mapping file".

    Raises
    ------
    FaceFusionError
        Of that kind.
    """
    should_be = f", so it is not {what}" if what else ""
    with border(kind, f"{path} cannot be read", "Check the path and its permissions."):
        # A pipe that nobody writes to would block.
        if not stat.S_ISREG(path.stat().st_mode):
            raise kind(f"{path} is no file{should_be}.", "Name a text file.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise kind(f"{path} has more than {MAX_BYTES >> 20} MiB{should_be}.", "Name a text file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise kind(f"{path}, line {line}, is not UTF-8 text.", "Save it as UTF-8.") from error


def load_toml(path: Path, kind: type[FaceFusionError], what: str = "") -> dict[str, Any]:
    """A TOML file; raises as `load_text` does."""
    return parse_toml(load_text(path, kind, what), str(path), kind)


def parse_toml(text: str, where: str, kind: type[FaceFusionError]) -> dict[str, Any]:
    """TOML; errors name the place."""
    with border(kind, f"{where} is not valid TOML", "Mend that line."):
        return tomllib.loads(text)


def load_json(path: Path, kind: type[FaceFusionError], what: str = "") -> Any:
    """A JSON file; raises as `load_text` does."""
    text = load_text(path, kind, what)
    with border(kind, f"{path} is damaged", "Restore it, or take it away."):
        return json.loads(text)
