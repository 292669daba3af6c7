"""Faces of whole targets, found beside the previews: while nobody waits for a picture, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from facefusion.errors import FaceFusionError
from facefusion.pipeline.progress import Progress
from facefusion.recipe import Recipe
from facefusion.service.previews import Previews

WAITING = 3
"""Recipes that wait for their turn; older ones are forgotten."""


class _Later(Exception):
    """Somebody wants to know of another target first."""


class Ahead:
    """Learns ahead what previews would look for at every new moment (`Previews.learn`), in a thread of its own.

    It does nothing while `aside` is held, and turns to whatever was wanted last. What cannot be learned is left: a
    preview says why.

    Parameters
    ----------
    previews
        Who keeps what is found.
    """

    def __init__(self, previews: Previews) -> None:
        self._previews = previews
        self._news = threading.Condition()
        self._wanted: dict[Hashable, Recipe] = {}
        self._calls = 0
        self._at: Hashable = None
        self._thread: threading.Thread | None = None

    def want(self, recipe: Recipe) -> None:
        """Have the faces of a recipe's target found, as soon as there is time."""
        try:
            key, is_known = self._previews.faces_of(recipe)
        except FaceFusionError:
            return
        with self._news:
            self._wanted.pop(key, None)
            if is_known:
                return
            self._wanted[key] = recipe
            for oldest in list(self._wanted)[:-WAITING]:
                del self._wanted[oldest]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)
                self._thread.start()
            self._news.notify_all()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Nothing is learned meanwhile."""
        with self._news:
            self._calls += 1
        try:
            yield
        finally:
            with self._news:
                self._calls -= 1
                self._news.notify_all()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._wanted and not self._calls)
                self._at = next(reversed(self._wanted))
                recipe = self._wanted[self._at]
            try:
                self._previews.learn(recipe, self._go_on)
            except _Later:
                continue
            except Exception:  # of a file that anybody may have sent; whoever wants a preview is told
                pass
            with self._news:
                self._wanted.pop(self._at, None)

    def _go_on(self, _: Progress) -> None:
        """Wait while somebody waits for a picture; give up for now where another target is wanted."""
        with self._news:
            self._news.wait_for(lambda: not self._calls)
            if self._wanted and next(reversed(self._wanted)) != self._at:
                raise _Later
