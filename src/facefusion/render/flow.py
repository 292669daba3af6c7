"""The order of pass 2: frames go through links, one after the other, and come out rendered.

Spans, previews, photos and whatever comes without an end go the same way. What a frame becomes depends on the frames
around it, at most `Flow.halo` of them, and never on who renders it or what was rendered before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from operator import mul
from typing import Protocol, TypeVar

import numpy as np

from facefusion.errors import ProcessorRefused
from facefusion.plugins.protocols import FrameProcessor
from facefusion.render.grain import GrainMatcher
from facefusion.render.mark import Marker
from facefusion.render.overlap import batched, map_in_order
from facefusion.render.renderer import Renderer
from facefusion.render.smooth import HALO, Look, MotionSmoother, Trail, Window
from facefusion.types.frame import Frame, FrameWindow, RenderedFrame, scaled_size
from facefusion.wording import counted

T = TypeVar("T")
Box = tuple[int, int, int, int]


@dataclass(slots=True, eq=False)
class Past:
    """What a link remembers where frames come one at a time, without an end.

    Attributes
    ----------
    trail
        Frames before, for steadying.
    frames, at
        Frames around the one that is due, and which of them that is.
    """

    trail: Trail = field(default_factory=Trail)
    frames: deque[Frame] = field(default_factory=deque)
    at: int = 0


class Link(Protocol):
    """Something that frames go through."""

    @property
    def halo(self) -> int:
        """Frames before and after one that are looked at."""

    @property
    def scale(self) -> Fraction:
        """Sides of the frames that come out over those that go in."""

    def run(
        self, frames: Iterable[Frame], finish: Callable[[RenderedFrame], T], batch_size: int, thread_count: int
    ) -> Iterator[tuple[RenderedFrame, T]]:
        """Rendered frames in order, each with what ``finish`` made of it in one of the threads."""

    @property
    def latency(self) -> int:
        """Frames by which `step` is behind."""

    def step(self, frame: Frame | None, past: Past) -> RenderedFrame | None:
        """The frame that is due when another one comes, or None; without one, the next of those that are left."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceLink:
    """Consecutive face processors: crops are cut out and pasted back once, then steadied and given the shot's grain.

    Parameters
    ----------
    renderer, smoother, grain
        The steps, in order.
    """

    renderer: Renderer
    smoother: MotionSmoother
    grain: GrainMatcher

    @property
    def halo(self) -> int:
        """See `Link`."""
        return HALO

    @property
    def scale(self) -> Fraction:
        """See `Link`."""
        return Fraction(1)

    def region(self, pts: int) -> Box | None:
        """Half-open xyxy box of the frame at a time that is looked at, None where nothing is; not clipped."""
        one, other = self.renderer.region(pts), self.smoother.region(pts)
        if one is None or other is None:
            return one or other
        return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])

    def run(
        self, frames: Iterable[Frame], finish: Callable[[RenderedFrame], T], batch_size: int, thread_count: int
    ) -> Iterator[tuple[RenderedFrame, T]]:
        """See `Link`."""

        def render(group: list[Frame]) -> list[Look]:
            return [self.smoother.look(rendered) for rendered in self.renderer.render_many(group)]

        def steady(window: Window) -> tuple[RenderedFrame, T]:
            rendered = self.grain.match(self.smoother.smooth(window))
            return rendered, finish(rendered)

        groups = map_in_order(render, batched(frames, batch_size), thread_count)
        yield from map_in_order(steady, self.smoother.windows(look for looks in groups for look in looks), thread_count)

    @property
    def latency(self) -> int:
        """See `Link`: a change is steadied by those before it alone."""
        return 0

    def step(self, frame: Frame | None, past: Past) -> RenderedFrame | None:
        """See `Link`."""
        if frame is None:
            return None
        look = self.smoother.look(self.renderer.render(frame))
        return self.grain.match(self.smoother.smooth(self.smoother.window_after(past.trail, look)))


@dataclass(frozen=True, slots=True, eq=False)
class FrameLink:
    """One frame processor.

    Parameters
    ----------
    name
        Of the processor, for errors.
    processor
        Prepared.
    halo
        As its requirements say.
    begin
        Time in pts at which the output begins.
    """

    name: str
    processor: FrameProcessor
    halo: int
    begin: int = 0

    @property
    def scale(self) -> Fraction:
        """See `Link`."""
        return Fraction(self.processor.scale)

    def run(
        self, frames: Iterable[Frame], finish: Callable[[RenderedFrame], T], batch_size: int, thread_count: int
    ) -> Iterator[tuple[RenderedFrame, T]]:
        """See `Link`."""

        def render(group: list[FrameWindow]) -> list[tuple[RenderedFrame, T]]:
            done = [self._rendered(w.now, p) for w, p in zip(group, self._process(group), strict=True)]
            return [(rendered, finish(rendered)) for rendered in done]

        for group in map_in_order(render, batched(self._windows(frames), batch_size), thread_count):
            yield from group

    @property
    def latency(self) -> int:
        """See `Link`: its neighbours have to come first."""
        return self.halo

    def step(self, frame: Frame | None, past: Past) -> RenderedFrame | None:
        """See `Link`."""
        if frame is not None:
            past.frames.append(frame)
            if len(past.frames) - past.at <= self.halo:
                return None
        elif past.at >= len(past.frames):
            return None
        window = self._window(past.frames, past.at)
        past.at += 1
        if past.at > self.halo:
            past.frames.popleft()
            past.at -= 1
        return self._rendered(window.now, self._process([window])[0])

    def _windows(self, frames: Iterable[Frame]) -> Iterator[FrameWindow]:
        known: deque[Frame] = deque()
        at = 0  # the next one in the middle
        for frame in frames:
            known.append(frame)
            if len(known) - at > self.halo:
                yield self._window(known, at)
                at += 1
            if at > self.halo:
                known.popleft()
                at -= 1
        for k in range(at, len(known)):
            low = max(k - self.halo, 0)
            yield self._window(deque(list(known)[low:]), k - low)

    def _window(self, known: Sequence[Frame], at: int) -> FrameWindow:
        now = known[at]
        return FrameWindow(tuple(known), at, (now.pts - self.begin) * now.time_base)

    def _process(self, group: Sequence[FrameWindow]) -> list[np.ndarray]:
        found = self.processor.process(group)
        for window, pixels in zip(group, found, strict=False):
            height, width = window.now.pixels.shape[:2]
            wanted = scaled_size(width, height, self.scale)
            is_right = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
            if not is_right or pixels.shape != (wanted[1], wanted[0], 3):
                raise ProcessorRefused(
                    f"Processor '{self.name}' answered a frame of {width} x {height} px with "
                    f"{getattr(pixels, 'shape', type(pixels).__name__)} {getattr(pixels, 'dtype', '')}, not with "
                    f"({wanted[1]}, {wanted[0]}, 3) uint8.",
                    "Mend it, or leave it out; 'facefusion plugins check' tells more.",
                )
        if len(found) != len(group):
            raise ProcessorRefused(
                f"Processor '{self.name}' answered {counted(len(group), 'frame')} with {len(found)}.",
                "Mend it, or leave it out.",
            )
        return found

    @staticmethod
    def _rendered(frame: Frame, pixels: np.ndarray) -> RenderedFrame:
        whole = replace(frame, pixels=pixels, native=None)
        if pixels.shape == frame.pixels.shape and np.array_equal(pixels, frame.pixels):
            return RenderedFrame(frame)
        return RenderedFrame(whole, pixels, (0, 0, pixels.shape[1], pixels.shape[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Links in order.

    Parameters
    ----------
    links
        None hands frames on as they are.
    marker
        Marks what comes out of the last one, or None.
    """

    links: tuple[Link, ...]
    marker: Marker | None = None

    @property
    def halo(self) -> int:
        """Frames before and after one on which it depends."""
        return sum(link.halo for link in self.links)

    @property
    def scale(self) -> Fraction:
        """Sides of the output over those of the target."""
        return reduce(mul, (link.scale for link in self.links), Fraction(1))

    @property
    def is_on_target(self) -> bool:
        """Whether `RenderedFrame.frame` is the target's: not where links follow each other, or one makes it anew."""
        return not self.links or (len(self.links) == 1 and isinstance(self.links[0], FaceLink))

    @property
    def region(self) -> Callable[[int], Box | None] | None:
        """What tells which part of a frame is looked at; None where all of it is."""
        first = self.links[0] if self.links else None
        return first.region if len(self.links) == 1 and isinstance(first, FaceLink) else None

    def run(
        self,
        frames: Iterable[Frame],
        finish: Callable[[RenderedFrame], T],
        batch_size: int = 1,
        thread_count: int = 1,
    ) -> Iterator[tuple[RenderedFrame, T]]:
        """Render frames.

        Parameters
        ----------
        frames
            In order.
        finish
            Applied to every rendered frame in one of the threads.
        batch_size
            Frames that go through a model together.
        thread_count
            Threads of every link.

        Returns
        -------
        Rendered frames in order, each with what ``finish`` made of it. ``is_changed`` and ``box`` are those of the last
        link, but a frame that an earlier one changed counts as changed as a whole.
        """
        for link in self.links[:-1]:
            frames = _passed_on(link.run(frames, _nothing, batch_size, thread_count))
        if not self.links:
            for frame in frames:
                yield (plain := RenderedFrame(frame)), finish(plain)
            return

        def end(rendered: RenderedFrame) -> tuple[RenderedFrame, T]:
            rendered = self._ended(rendered)
            return rendered, finish(rendered)

        for _, ended in self.links[-1].run(frames, end, batch_size, thread_count):
            yield ended

    @property
    def latency(self) -> int:
        """Frames by which `step` is behind."""
        return sum(link.latency for link in self.links)

    def step(self, frame: Frame | None, pasts: Sequence[Past]) -> RenderedFrame | None:
        """Render frames that come one at a time and may have no end.

        Parameters
        ----------
        frame
            The next one; None where none comes any more.
        pasts
            Of every link, from the frame before. The links may be others meanwhile, of tracks that reach further.

        Returns
        -------
        The frame that came `latency` frames ago, or None: at the beginning, and when none is left.
        """
        for number, (link, past) in enumerate(zip(self.links, pasts, strict=True)):
            rendered = link.step(frame, past)
            if number == len(self.links) - 1:
                return None if rendered is None else self._ended(rendered)
            if rendered is None and frame is not None:
                return None
            frame = None if rendered is None else _handed_on(rendered)
        return None if frame is None else RenderedFrame(frame)

    def render(self, frames: Iterable[Frame]) -> Iterator[RenderedFrame]:
        """Render frames in this thread's pace: for previews and photos."""
        for rendered, _ in self.run(frames, _nothing):
            yield rendered

    def _ended(self, rendered: RenderedFrame) -> RenderedFrame:
        """What comes out for what the last link left."""
        if len(self.links) > 1:
            rendered = _whole(rendered)
        return rendered if self.marker is None else self.marker.mark(rendered)


def _nothing(rendered: RenderedFrame) -> None:
    """Nothing is made of it yet."""


def _passed_on(found: Iterable[tuple[RenderedFrame, None]]) -> Iterator[Frame]:
    """Rendered frames as the next link gets them; one without its own picture was changed."""
    for rendered, _ in found:
        yield _handed_on(rendered)


def _handed_on(rendered: RenderedFrame) -> Frame:
    """A rendered frame as the next link gets it."""
    return replace(rendered.frame, pixels=rendered.pixels, native=None) if rendered.is_changed else rendered.frame


def _whole(rendered: RenderedFrame) -> RenderedFrame:
    """A frame that an earlier link changed counts as changed, though the last one left it alone."""
    if rendered.frame.native is not None or (rendered.is_changed and rendered.box[:2] == (0, 0)):
        return rendered
    pixels = rendered.pixels
    return RenderedFrame(rendered.frame, pixels, (0, 0, pixels.shape[1], pixels.shape[0]))
