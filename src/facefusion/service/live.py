"""What a camera shows, changed and recorded."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from facefusion.errors import MediaError, MediaUnreadable, OutputRefused, RecipeError
from facefusion.jobs.provenance import sign_alone
from facefusion.media.camera import Camera, Recorder
from facefusion.media.files import Named
from facefusion.media.writer import check_clip_output
from facefusion.pipeline.live import Live, Newest
from facefusion.pipeline.plan import check_paths
from facefusion.pipeline.progress import OnProgress, Progress, ignore_progress
from facefusion.pipeline.runner import COMMENT
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe
from facefusion.types.frame import Frame
from facefusion.types.paths import PathLike, as_path

NOBODY = "Nobody was seen, so nothing was changed."
STOPPED = "It was stopped before its time; what was recorded until then is kept."


@dataclass(frozen=True, slots=True)
class CameraChoice:
    """Which camera, and what is wanted of it: see `facefusion.media.camera.Camera`."""

    device: str = "0"
    size: tuple[int, int] | None = None
    rate: float | None = None
    form: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded.

    Attributes
    ----------
    output
        The clip.
    width, height
        Of its frames in pixels.
    frames, changed_frames, dropped_frames
        In it, changed, and left out because the one before took too long.
    people
        People who were changed.
    length_s
        From the first frame to the last, seconds.
    frames_per_s
        How many frames were changed in a second of work.
    latency_frames
        Frames by which the output is behind the camera.
    models
        What ran: id, version and licence.
    notes
        Sentences on what is not as one would expect.
    """

    output: str
    width: int
    height: int
    frames: int
    changed_frames: int
    dropped_frames: int
    people: int
    length_s: float
    frames_per_s: float
    latency_frames: int
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def record(
    recipe: Recipe,
    camera: CameraChoice | Iterable[Frame],
    output: PathLike,
    seconds: float,
    is_dropping: bool = True,
    on_progress: OnProgress = ignore_progress,
    reads: Sequence[Named] = (),
    policy: SitePolicy = NO_POLICY,
) -> Recorded:
    """Record what a camera shows, changed. Ctrl-C ends the recording, and what there is until then is kept.

    Parameters
    ----------
    recipe
        What is done; target, output and times mean nothing here.
    camera
        Which, or frames from elsewhere.
    output
        Clip to write.
    seconds
        How long, by the times of the frames.
    is_dropping
        Leave frames out rather than lag.
    on_progress
        Called after each frame.
    reads
        Files that must not be written over besides those of the recipe.
    policy
        What may be done here.

    Raises
    ------
    RecipeError, MediaUnreadable, OutputRefused
        And everything else that planning refuses, with nothing written.
    """
    output = as_path(output)
    if not math.isfinite(seconds) or seconds <= 0:
        raise RecipeError(f"There is no recording of {seconds} s.", "Say how long with --seconds.")
    recipe = recipe.model_copy(update={"target_path": Path(), "output_path": Path()})
    check_clip_output(output, recipe.output_video_encoder)
    check_paths(recipe, writes=[("recording", output)], reads=reads)
    policy.signing.check()
    counted = _Counted()

    def finish(made: Path) -> None:
        sign_alone(made, output, recipe, policy, bool(counted.changed))

    with Live(recipe, policy) as live, ExitStack() as stack:
        rate: Fraction | None = None
        frames: Iterable[Frame]
        if isinstance(camera, CameraChoice):
            opened = stack.enter_context(Camera(camera.device, camera.size, camera.rate, camera.form))
            frames, rate = opened, opened.frame_rate
        else:
            frames = camera
        newest = stack.enter_context(Newest(frames)) if is_dropping else None
        settings = recipe.output_video_encoder, recipe.output_video_preset, recipe.output_video_quality
        models = live.models
        comment = f"{COMMENT}; models: {', '.join(models)}" if models else COMMENT
        is_stopped, ended = False, ""
        with Recorder(output, *settings, comment, rate, finish) as recorder:
            try:
                for rendered in live.run(_until(newest or frames, seconds)):
                    frame = rendered.frame
                    pixels = rendered.pixels
                    recorder.write(pixels, frame.pts * frame.time_base)
                    counted.add(frame, pixels.shape[:2], rendered.is_changed, live.people.values())
                    on_progress(Progress("live", counted.frames, 0))
            except KeyboardInterrupt:
                is_stopped = True
            except MediaError as error:  # a camera that is pulled out takes nothing along
                if isinstance(error, OutputRefused) or not counted.frames:
                    raise
                ended = f"{error.message} What was recorded until then is kept."
            if not counted.frames:
                raise MediaUnreadable("The camera gave no frame.", "Check it, or its name.")
        told = (
            STOPPED if is_stopped else "",
            ended,
            "" if counted.changed else "Nobody was seen, so nothing was changed.",
        )
        notes = tuple(note for note in told if note)
        height, width = counted.size
        dropped = newest.dropped_count if newest else 0
        return Recorded(
            str(output), width, height, counted.frames, counted.changed, dropped, len(counted.people),
            round(counted.length_s, 3), round(counted.frames_per_s, 2), live.latency, models, notes,
        )  # fmt: skip


class _Counted:
    """What came so far."""

    def __init__(self) -> None:
        self.frames = self.changed = 0
        self.people: set[int] = set()
        self.size = (0, 0)
        self.length_s = 0.0
        self._began = time.perf_counter()

    def add(self, frame: Frame, size: tuple[int, ...], is_changed: bool, people: Iterable[int]) -> None:
        self.frames += 1
        self.changed += is_changed
        self.people.update(people)
        self.size, self.length_s = (size[0], size[1]), frame.time_s

    @property
    def frames_per_s(self) -> float:
        return self.frames / max(time.perf_counter() - self._began, 1e-9)


def _until(frames: Iterable[Frame], seconds: float) -> Iterator[Frame]:
    """Frames of the first seconds, whose times begin at 0."""
    first: int | None = None
    for frame in frames:
        first = frame.pts if first is None else first
        moved = replace(frame, pts=frame.pts - first)
        if moved.time_s >= seconds:
            return
        yield moved
