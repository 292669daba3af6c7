"""Frames that come without an end: faces found, changed and steadied from what was seen so far and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np

from facefusion.analyse.causal import CausalTracker
from facefusion.declaration import Input
from facefusion.documents import reason_of
from facefusion.errors import ConsentMissing, MediaUnsupported, RecipeError
from facefusion.pipeline.cast import Cast, build_analyser, build_cast
from facefusion.pipeline.clip import build_flow
from facefusion.pipeline.permission import Permission
from facefusion.pipeline.plan import (
    check_models,
    check_sources,
    decided,
    models_of,
    settled,
)
from facefusion.pipeline.resolved import Resolved, resolve
from facefusion.policy.mark import without_job
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe
from facefusion.render.flow import Past
from facefusion.types.frame import Frame, Pixels, RenderedFrame
from facefusion.types.track import Track, Tracks

_MICROSECOND = Fraction(1, 1_000_000)
PATIENCE = 25
"""Frames in which somebody who has to agree may be seen without being recognised."""
LOOK_EVERY_S = 1.0
"""How often the content of a stream is looked at."""


def check_live(recipe: Recipe) -> Recipe:
    """Refuse what cannot be done to frames whose end nobody knows; the recipe with everything decided.

    Raises
    ------
    RecipeError
        For what needs a file, the whole of a clip, or its end.
    FaceFusionError
        Everything else that planning refuses.
    """
    recipe = settled(recipe)
    if resolve(recipe).generator is not None:
        raise RecipeError("The first step makes the frames itself.", "Leave it out: here the frames come from outside.")
    if recipe.face_selector_mode == "reference" and recipe.reference_face_path is None:
        raise RecipeError("There is no reference frame where frames come one at a time.", "Add --reference-face-path.")
    if any(person.track is not None or person.number is not None for person in recipe.people):
        raise RecipeError(
            f"{recipe.face_map_path} names people by numbers, which are not known before the end.",
            "Name references instead.",
        )
    if Input.SOUND in resolve(recipe).required.inputs and not recipe.source_paths:
        raise RecipeError("A step needs a sound.", "Name a file with sound with --source.")
    recipe = decided(recipe)
    check_models(recipe)
    check_sources(recipe)
    return recipe


class Live:
    """Changes frames as they come.

    Who is changed is what the recipe says, as far as it can be known: of ``--faces largest`` it is the largest face in
    sight, who stays chosen while in sight; numbers are given in the order in which people come.

    Parameters
    ----------
    recipe
        What is done; target, output, times and report mean nothing here.
    policy
        What may be done here. Somebody who has to agree is changed from the moment they are recognised as one who has.

    Attributes
    ----------
    recipe
        With everything decided.
    latency
        Frames by which the output is behind: 0 where faces are changed, and the neighbours that steps on whole frames
        look at. What comes out depends on no frame after that.

    Raises
    ------
    FaceFusionError
        As `check_live` says, and what is wrong with sources and models.

    Notes
    -----
    Memory has a bound that does not depend on how many frames come. One thread at a time may use it.
    """

    def __init__(self, recipe: Recipe, policy: SitePolicy = NO_POLICY) -> None:
        self.recipe = check_live(recipe)
        self._resolved = resolve(self.recipe)
        self._mark = without_job() if policy.is_marked else None
        self._watchman = _Watchman(Permission(policy), self._resolved)
        self._cast = build_cast(self._resolved)
        is_looking = self._resolved.wants_faces
        self._tracker = CausalTracker(build_analyser(self._resolved)) if is_looking else None
        self._chooser = _Chooser(self.recipe, self._cast)
        self._size: tuple[int, int] | None = None
        self._begin = self._last = 0
        none = np.zeros(0, dtype=np.int64)
        self._nobody = Tracks(1, 1, Fraction(1), none, (), {}, none)
        self._flow = build_flow(self.recipe, self._cast, self._nobody, {})
        self._pasts = tuple(Past() for _ in self._flow.links)
        self.latency = self._flow.latency

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let threads go."""
        if self._tracker is not None:
            self._tracker.close()

    @property
    def models(self) -> tuple[str, ...]:
        """Id, version and licence of every model that runs."""
        uses = [*self._resolved.uses_of_analysis, *self._resolved.uses_of_rendering]
        return tuple(f"{spec.key} ({spec.licence})" for spec in models_of(self.recipe, uses))

    @property
    def people(self) -> Mapping[int, int]:
        """Who was changed in the frame that came last: number of the person by track."""
        return dict(self._chooser.now)

    def render(self, frame: Frame) -> RenderedFrame | None:
        """Take the next frame in.

        Parameters
        ----------
        frame
            All of one size, their times rising.

        Returns
        -------
        The frame that came `latency` frames ago, changed; None at the beginning where that is not 0.

        Raises
        ------
        MediaUnsupported
            When its size or its time does not fit to those before.
        """
        height, width = frame.pixels.shape[:2]
        if self._size is None:
            self._size, self._begin = (width, height), frame.pts
        elif self._size != (width, height):
            raise MediaUnsupported(
                f"A frame is {width} x {height} px where those before were {self._size[0]} x {self._size[1]} px.",
                "Begin again where the size changes.",
            )
        elif frame.pts <= self._last:
            raise MediaUnsupported("A frame comes before the one that was there already.", "Give them in order.")
        self._last = frame.pts
        tracks = self._nobody
        assigned: Mapping[int, int] = {}
        if self._tracker is not None:
            tracks = self._tracker.see(frame)
            assigned = self._watchman.pass_by(frame, tracks, self._chooser.choose(tracks, frame.pts))
        self._watchman.look(frame)
        self._flow = build_flow(self.recipe, self._cast, tracks, assigned, self._begin, self._mark)
        return self._flow.step(frame, self._pasts)

    def change(self, pixels: Pixels, at_s: float) -> Pixels | None:
        """`render` for programs that have arrays.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB, upright.
        at_s
            When it is shown, seconds; later than the one before.

        Returns
        -------
        (H, W, 3) uint8 RGB of the frame that came `latency` frames ago, or None.

        Raises
        ------
        MediaUnsupported
        """
        try:
            frame = Frame(pixels, 0, round(at_s / _MICROSECOND), _MICROSECOND)
        except (ValueError, AttributeError, TypeError) as error:
            raise MediaUnsupported(
                f"This is no picture: {reason_of(error)}.", "Give an array (H, W, 3) of uint8, RGB."
            ) from error
        rendered = self.render(frame)
        return None if rendered is None else rendered.pixels

    def finish(self) -> Iterator[RenderedFrame]:
        """What is left when no frame comes any more: `latency` frames."""
        while (rendered := self._flow.step(None, self._pasts)) is not None:
            yield rendered

    def run(self, frames: Iterable[Frame]) -> Iterator[RenderedFrame]:
        """Change all frames of a stream, as they come.

        Parameters
        ----------
        frames
            Such as a `facefusion.media.camera.Camera`, in `Newest` where the picture is not to lag.
        """
        for frame in frames:
            rendered = self.render(frame)
            if rendered is not None:
                yield rendered
        yield from self.finish()


class Newest:
    """Frames of a source that does not wait: of those that came meanwhile only the newest is handed on.

    Parameters
    ----------
    frames
        Read in a thread as fast as they come.

    Attributes
    ----------
    dropped_count
        Frames that were left out so far.
    """

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.dropped_count = 0
        self._held: Frame | None = None
        self._error: BaseException | None = None
        self._is_over = self._is_left = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=[iter(frames)], name="camera", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Read no more; it returns when the source is let go."""
        with self._change:
            self._is_left = True
        if self._thread.is_alive():
            self._thread.join()

    def __iter__(self) -> Iterator[Frame]:
        self._thread.start()
        while True:
            with self._change:
                while self._held is None and not self._is_over:
                    self._change.wait(0.5)  # a signal is heard in between
                frame, self._held = self._held, None
            if frame is None:
                if self._error is not None:
                    raise self._error
                return
            yield frame

    def _read(self, frames: Iterator[Frame]) -> None:
        try:
            for frame in frames:
                with self._change:
                    if self._is_left:
                        return
                    self.dropped_count += self._held is not None
                    self._held = frame
                    self._change.notify()
        except BaseException as error:
            self._error = error
        finally:
            with self._change:
                self._is_over = True
                self._change.notify()


class _Watchman:
    """Lets those be changed who may be, as they come into sight."""

    def __init__(self, permission: Permission, resolved: Resolved) -> None:
        self._permission, self._resolved = permission, resolved
        permission.sources(resolved)
        self._passed: set[int] = set()
        self._tries: dict[int, int] = {}
        self._next_s: float | None = None

    def pass_by(self, frame: Frame, tracks: Tracks, assigned: Mapping[int, int]) -> Mapping[int, int]:
        """Those of some people who may be changed now.

        Raises
        ------
        PersonBlocked, PolicyUnready
        ConsentMissing
            When somebody was not recognised in many frames.
        """
        if not self._permission.site.looks_at_people:
            return assigned
        for track, _ in tracks.at(frame.pts, tuple(assigned)):
            k = track.track_id
            if k in self._passed:
                continue
            try:
                self._permission.people(self._resolved, "clip", tracks, {k: assigned[k]}, frame)
                self._passed.add(k)
            except ConsentMissing:
                self._tries[k] = self._tries.get(k, 0) + 1
                if self._tries[k] >= PATIENCE:
                    raise
        return {k: number for k, number in assigned.items() if k in self._passed}

    def look(self, frame: Frame) -> None:
        """See what a frame shows, now and then.

        Raises
        ------
        ContentRefused, PolicyUnready
        """
        if self._permission.site.content_mode == "off":
            return
        if self._next_s is None or frame.time_s >= self._next_s:
            self._next_s = frame.time_s + LOOK_EVERY_S
            self._permission.frames([frame.pixels])


class _Chooser:
    """Who is changed, decided as people come; who was chosen stays it."""

    def __init__(self, recipe: Recipe, cast: Cast) -> None:
        self._recipe, self._cast = recipe, cast
        self._is_one = not recipe.people and (
            recipe.face_selector_mode == "one" or (recipe.face_selector_mode is None and recipe.faces == "largest")
        )
        self._numbers = recipe.faces if isinstance(recipe.faces, tuple) and recipe.face_selector_mode is None else None
        # Everybody who may be; who of them is then chosen is decided by who is in sight.
        mode = "many" if recipe.face_selector_mode == "one" else recipe.face_selector_mode
        self._asked = recipe.model_copy(update={"faces": "all", "face_selector_mode": mode})
        self._chosen: dict[int, int] = {}
        self._one: int | None = None
        self.now: dict[int, int] = {}

    def choose(self, tracks: Tracks, pts: int) -> Mapping[int, int]:
        """Number of the chain that changes a track, for those of the window that are changed."""
        known = {track.track_id for track in tracks.tracks}
        self._chosen = {
            k: n for k, n in {**self._cast.assign(self._asked, tracks), **self._chosen}.items() if k in known
        }
        if self._numbers is not None:
            self._chosen = {k: n for k, n in self._chosen.items() if tracks.person_of(k) in self._numbers}
        seen = tracks.at(pts, tuple(self._chosen))
        chosen = self._chosen
        if self._is_one:
            # Who is held through what may be a flash makes room for somebody who is there.
            there = [(track, row) for track, row in seen if not _is_of_before(track, row, tracks)]
            here = {track.track_id: _area(track, row) for track, row in there or seen}
            people = {k: tracks.person_of(k) for k in here}
            if here and self._one not in people.values():
                self._one = people[max(here, key=lambda k: here[k])]
            chosen = {k: n for k, n in chosen.items() if tracks.person_of(k) == self._one}
        self.now = {track.track_id: tracks.person_of(track.track_id) for track, _ in seen if track.track_id in chosen}
        return chosen


def _is_of_before(track: Track, row: int, tracks: Tracks) -> bool:
    """Whether somebody was seen before the last cut, and only taken to be there since."""
    if track.guessed is None or not track.guessed[row]:
        return False
    seen = track.frames[: row + 1][~track.guessed[: row + 1]]
    return not len(seen) or int(seen[-1]) < int(tracks.cuts[-1])


def _area(track: Track, row: int) -> float:
    return float(np.prod(np.ptp(track.meshes[row, :, :2], axis=0)))
