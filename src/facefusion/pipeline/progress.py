"""What a run tells while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from facefusion.errors import RecipeError, Stopped
from facefusion.staying import Staying

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


class CancelToken(Staying):
    """Ends what was begun, from another thread. One may be given to many calls.

    Whoever works looks at it between frames and between models; the call then raises `facefusion.errors.Stopped`.
    """

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def __repr__(self) -> str:
        return f"CancelToken({'cancelled' if self.is_cancelled else 'not cancelled'})"

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called; it stays so."""
        return self._event.is_set()

    def cancel(self) -> None:
        """End it. May be called from any thread, any number of times, before the work begins too."""
        self._event.set()

    def check(self, hint: str = "") -> None:
        """Raise where it was cancelled.

        Parameters
        ----------
        hint
            What is to be done next.

        Raises
        ------
        Stopped
        """
        if self.is_cancelled:
            raise Stopped("The work was cancelled.", hint)

    def watched(self, on_progress: OnProgress) -> OnProgress:
        """The same function, which raises `Stopped` where this was cancelled."""

        def told(progress: Progress) -> None:
            self.check()
            on_progress(progress)

        return told


NEVER = CancelToken()
"""Of whoever cannot be cancelled. Nobody calls its `cancel`."""


def check_token(cancel: object) -> None:
    """Refuse what cannot end a call.

    Raises
    ------
    RecipeError
    """
    if not isinstance(cancel, CancelToken):
        raise RecipeError(
            f"'cancel' takes a CancelToken, not {type(cancel).__name__}.", "Make one: token = CancelToken()."
        )


def check_listener(on_progress: object) -> None:
    """Refuse what cannot be called with a `Progress`.

    Raises
    ------
    RecipeError
    """
    if not callable(on_progress):
        raise RecipeError(
            f"'on_progress' takes a function, not {type(on_progress).__name__}.",
            "Give one that takes a Progress, such as ProgressBar(); a CancelToken goes to 'cancel'.",
        )
