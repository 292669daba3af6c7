"""Which video encoders this PyAV carries."""

from __future__ import annotations

import av

from facefusion.media.passengers import FILM_CODECS

ENCODERS = tuple(FILM_CODECS)


def describe_encoders() -> dict[str, bool]:
    """Encoders the recipe knows, and whether they are available."""
    return {name: name in av.codecs_available for name in ENCODERS}
