"""Telling Prometheus, where its package is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facefusion.errors import ExtraMissing
from facefusion.service.watched import Watched

if TYPE_CHECKING:
    from facefusion.service.exposition import Exposition


def expose(watched: Watched) -> Exposition:
    """What tells Prometheus of it.

    Raises
    ------
    ExtraMissing
    """
    try:
        from facefusion.service.exposition import Exposition
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("Telling Prometheus", str(error.name), "metrics") from error
    return Exposition(watched)
