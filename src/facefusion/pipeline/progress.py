"""What a run tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["sources", "generate", "assemble", "analyse", "join", "render", "merge", "measure", "live"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step forward.

    Attributes
    ----------
    stage
        Which part of the work.
    done
        Frames (or source photos) finished in this stage.
    total
        How many there will be, 0 where unknown.
    """

    stage: Stage
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Tell nobody."""
