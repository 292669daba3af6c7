"""What the user sees while work goes on: a progress bar, JSON lines, or nothing."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from facefusion.apps.console import emit, quoted, say, shown, tell_error
from facefusion.errors import FaceFusionError, FaceFusionWarning
from facefusion.wording import counted

if TYPE_CHECKING:  # most commands show something before they need, or without needing, what works
    from facefusion.pipeline.progress import Progress
    from facefusion.pipeline.runner import Outcome
    from facefusion.service.values import Finished

_log = logging.getLogger("facefusion.warnings")
Mode = Literal["auto", "bar", "json", "quiet"]


class Value(Protocol):
    """What a service returns."""

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""


_TITLES = {
    "sources": "Sources", "generate": "Generate", "analyse": "Analyse", "render": "Render", "merge": "Merge",
    "measure": "Measure", "live": "Live",
}  # fmt: skip


class Show:
    """Shows progress, results and errors.

    Parameters
    ----------
    mode
        ``bar`` on standard error, ``json`` with one event per line on standard output, ``quiet``;
        ``auto`` is a bar on a terminal and quiet elsewhere.
    """

    def __init__(self, mode: Mode) -> None:
        if mode == "auto":
            mode = "bar" if sys.stderr.isatty() else "quiet"
        self._mode = mode
        self._bar: Any = None
        self._is_live = False
        self._tasks: dict[str, Any] = {}
        self._began: dict[str, float] = {}
        self._last_event = 0.0
        self._noted: set[str] = set()

    def __enter__(self) -> Show:
        if self._mode == "bar":
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description:<8}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[count]}", markup=False),
                TextColumn("{task.fields[rate]:>15}", markup=False),
                TimeRemainingColumn(compact=True),
                console=Console(stderr=True),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            self._bar.stop()

    def be_quiet(self) -> None:
        """Show nothing but errors from now on, unless events are written."""
        if self._mode == "bar":
            self._mode, self._bar = "quiet", None

    def progress(self, progress: Progress) -> None:
        """Take in one step."""
        now = time.monotonic()
        began = self._began.setdefault(progress.stage, now)
        rate = (progress.done - 1) / (now - began) if now > began else 0.0
        if self._bar is not None:
            if progress.stage not in self._tasks:
                self._go_live()
                self._tasks[progress.stage] = self._bar.add_task(
                    _TITLES[progress.stage], total=progress.total or None, rate="", count=""
                )
            shown = f"{rate:.1f} frames/s" if rate else ""
            count = f"{progress.done}/{progress.total or '?'}"
            self._bar.update(self._tasks[progress.stage], completed=progress.done, rate=shown, count=count)
        elif self._mode == "json":
            is_last = progress.done == progress.total
            if now - self._last_event < 0.2 and not is_last:
                return
            self._last_event = now
            left_s = (progress.total - progress.done) / rate if rate and progress.total else None
            self._emit(
                event="progress",
                stage=progress.stage,
                done=progress.done,
                total=progress.total,
                frames_per_s=round(rate, 2),
                time_left_s=None if left_s is None else round(max(left_s, 0.0), 1),
            )

    def _go_live(self) -> None:
        """Show the bar, now that there is a task: without one it would leave an empty line."""
        if not self._is_live:
            self._is_live = True
            self._bar.start()

    def restart(self) -> None:
        """Begin with fresh bars, for the next of several runs."""
        if self._bar is not None:
            for task in self._tasks.values():
                self._bar.remove_task(task)
        self._tasks.clear()
        self._began.clear()

    def transfer(self, name: str, done: int, total: int) -> None:
        """Take in bytes of a file that is fetched, copied or packed."""
        if self._bar is not None:
            if name not in self._tasks:
                self._go_live()
                self._tasks[name] = self._bar.add_task(shown(name), total=total or None, rate="", count="")
            self._bar.update(self._tasks[name], completed=done, count=f"{done / 1e6:.1f} MB")
        elif self._mode == "json" and (done == total or time.monotonic() - self._last_event >= 0.2):
            self._last_event = time.monotonic()
            self._emit(event="bytes", file=name, done=done, total=total)

    def outcome(self, outcome: Outcome) -> Finished:
        """Show what came of a run; see `finished`."""
        from facefusion.service.values import Finished

        return self.finished(Finished.of(outcome))

    def finished(self, made: Finished) -> Finished:
        """Show what came of a request."""
        # Where another run has done the work there is no speed to tell.
        speed = f", {made.frames_per_s:.1f} frames/s" if made.analyse_s + made.render_s > 0 else ""
        lines = [f"{shown(made.output)}: {made.changed_frames} of {counted(made.frames, 'frame')} changed{speed}"]
        people = counted(made.faces, "person", "people")
        times = f"{made.analyse_s + made.render_s:.1f} s, {made.analyse_s:.1f} s of them for finding faces"
        lines.append(f"  {people} found; {times}")
        lines += [f"  {shown(note)}" for note in made.notes if note not in self._noted]
        if made.is_marked:
            lines.append("  A hidden mark says that faces were changed; --watermark off leaves it out")
        lines.append(f"  How it was made: facefusion verify {quoted(made.output)}")
        self.answer("done", made, "\n".join(lines), is_news=True)
        return made

    def message(self, text: str, **fields: Any) -> None:
        """Show a line of text, or an event with its fields."""
        if self._mode == "json":
            self._emit(event="message", text=text, **fields)
        elif self._mode == "bar":
            say(text)

    def answer(self, event: str, value: Value, text: str, is_news: bool = False) -> None:
        """Show a value of the service: in JSON all of it and nothing else, or the same in words.

        Parameters
        ----------
        event
            Its name in JSON.
        value
            What was asked for, or what came of it.
        text
            The same in words.
        is_news
            Whether it tells what was done: then nothing is said where nothing but errors is wanted. What was asked for
            is shown all the same.
        """
        if self.is_json:
            self._emit(event=event, **value.as_dict())
        elif text and (self._mode == "bar" or not is_news):
            say(text)

    def note(self, message: Warning | str, *place: object, **__: object) -> None:
        """Show a warning of ours in words, without the place in the code; those of libraries go to the log."""
        if isinstance(message, Warning) and not isinstance(message, FaceFusionWarning):
            kind, *where = (*place, "", "")
            name = getattr(kind, "__name__", type(message).__name__)
            _log.debug("%s: %s (%s:%s)", name, message, *where[:2])
            return
        if self._mode == "json":
            self._emit(event="note", text=str(message))
        else:
            self._noted.add(str(message))  # said once, it is not said again at the end
            say(f"facefusion: Note: {shown(message)}", is_error=True)

    @property
    def is_json(self) -> bool:
        """Whether events are written."""
        return self._mode == "json"

    def error(self, error: FaceFusionError) -> None:
        """Show what is wrong and what to do."""
        tell_error(error, self.is_json)

    @staticmethod
    def _emit(**fields: Any) -> None:
        emit(**fields)
