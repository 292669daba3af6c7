"""How far a call of the library is, where somebody can see it."""

from __future__ import annotations

import sys
from html import escape
from types import TracebackType
from typing import Any, Self

from facefusion.apps.show import Show
from facefusion.pipeline.progress import Progress


class ProgressBar:
    """Shows how far a call is: a bar on a terminal, an element in a notebook, nothing elsewhere.

    To be given as ``on_progress``.

    Examples
    --------
    >>> recipe = build_recipe({"source_paths": "face.jpg", "target_path": "clip.mp4", "output_path": "out.mp4"})
    >>> with ProgressBar() as bar:
    ...     outcome = run(recipe, bar)
    """

    def __init__(self) -> None:
        display = _notebook()
        self._page = None if display is None else _Page(display)
        self._show = Show("auto" if self._page is None else "quiet")

    def __enter__(self) -> Self:
        self._show.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show.__exit__(kind, error, trace)

    def __call__(self, progress: Progress) -> None:
        """Take in one step."""
        if self._page is None:
            self._show.progress(progress)
        else:
            self._page.tell(progress)


class _Page:
    """One element of a notebook's page, which is written anew with each step."""

    def __init__(self, display: Any) -> None:
        self._display, self._handle = display, None
        self._stages: dict[str, Progress] = {}

    def tell(self, progress: Progress) -> None:
        self._stages[progress.stage] = progress
        content = {"text/html": self._repr_html_(), "text/plain": f"{progress.stage} {progress.done}/{progress.total}"}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<div>{escape(name.capitalize())} "
            f"<progress value={one.done} max={max(one.total, one.done, 1)}></progress> "
            f"{one.done}{f' of {one.total}' if one.total else ''}</div>"
            for name, one in self._stages.items()
        )
        return f'<div style="font:12px sans-serif">{rows}</div>'


def _notebook() -> Any:
    """What shows values in the notebook that this runs in, or None."""
    python = sys.modules.get("IPython")
    shell = None if python is None else python.get_ipython()
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    from importlib import import_module

    return import_module("IPython.display").display
