"""Which video encoders this PyAV carries, and which of them work here."""

from __future__ import annotations

import av

from facefusion.media.passengers import FILM_CODECS
from facefusion.media.writer import refusal_of

ENCODERS = tuple(FILM_CODECS)


def describe_encoders() -> dict[str, str]:
    """Encoders the recipe knows, and why each cannot be used; empty where it works. Those of hardware are tried."""
    return {name: _problem_of(name) for name in ENCODERS}


def _problem_of(name: str) -> str:
    if name not in av.codecs_available:
        return "not in this PyAV"
    reason = refusal_of(name)
    return f"does not work on this machine: {reason}" if reason else ""
