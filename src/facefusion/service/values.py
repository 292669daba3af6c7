"""What the service tells about jobs: frozen values, each with `as_dict` for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from facefusion.errors import FaceFusionError
from facefusion.jobs.states import JobStatus, StageName
from facefusion.pipeline.runner import Outcome
from facefusion.policy.provenance import Signed

State = JobStatus | Literal["stopped"]
"""What is told of a job: its status, or that nobody goes on with it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and what to do next.

    Attributes
    ----------
    code
        Of the error's class, never changed.
    message, hint
        In words.
    """

    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: FaceFusionError) -> Problem:
        """The problem that an error tells of."""
        return cls(error.code, error.message, error.hint)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StageState:
    """How far one stage of a job is.

    Attributes
    ----------
    parts, done
        Parts of the stage, and how many are done.
    frames, frames_done
        The same in frames.
    frames_per_s
        How fast it goes just now, all workers together; 0 where nobody is at it.
    time_left_s
        Until the stage is done; None where nobody knows.
    """

    parts: int
    done: int
    frames: int
    frames_done: int
    frames_per_s: float
    time_left_s: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished job made.

    Attributes
    ----------
    frames, changed
        Frames of the output, and those in which a face was changed.
    tracks
        People found.
    models
        What ran: id, version and licence.
    notes
        What is not as one would expect.
    sha256, size_bytes
        Of the output.
    signed
        How it is signed; None of jobs of earlier versions.
    """

    frames: int
    changed: int
    tracks: int
    models: tuple[str, ...]
    notes: tuple[str, ...]
    sha256: str
    size_bytes: int
    signed: Signed | None = None


def share_of(done: int, total: int, is_done: bool) -> float:
    """How much of a job is done, 0 to 1. What is left when every frame is written shows as a hundredth.

    Parameters
    ----------
    done, total
        Frames of all stages.
    is_done
        Whether the job is.
    """
    return 1.0 if is_done else min(done / max(total, 1), 0.99)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job as one line of a list.

    Attributes
    ----------
    id, status
        Which, and how it is.
    share
        How much of its work is done, by the frames of all stages, 0 to 1; 1 is a job that is done, and no other.
    target, output
        Paths.
    error
        Why it failed, in one line.
    created_at, updated_at
        Seconds since 1970.
    is_stopped
        Whether it is a job of this machine that is neither over nor in the hands of any process.
    """

    id: str
    status: JobStatus
    share: float
    target: str
    output: str
    error: str
    created_at: float
    updated_at: float
    is_stopped: bool = False

    @property
    def state(self) -> State:
        """The status, or ``stopped``."""
        return "stopped" if self.is_stopped else self.status

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``status`` is the state."""
        return asdict(self) | {"status": self.state, "share": round(self.share, 4)}


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs of a list, the newest first.

    Attributes
    ----------
    jobs
        Those of this page.
    cursor
        What to ask for the next page with; empty where there is none.
    """

    jobs: tuple[JobSummary, ...]
    cursor: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"jobs": [job.as_dict() for job in self.jobs], "cursor": self.cursor}


@dataclass(frozen=True, slots=True)
class JobView:
    """All that is told about a job.

    Attributes
    ----------
    id, status, share, target, output, error, created_at, updated_at, is_stopped
        As in `JobSummary`.
    problem
        What is wrong with a job that failed, or with the output of one that is done, by code and with a hint.
    is_shared
        Whether workers of a cluster do it.
    models
        SHA-256 of what runs, by id and version.
    stages
        How far each is, in order.
    tries
        How often a part was tried, for those that took more than once.
    outcome
        What came of it, when it is done.
    trace
        Where a fault came from, for those who mend it; it is told on a machine of one's own and not in JSON.
    policy
        What the policy of the site said (`facefusion.policy.verdict.Verdict`): of the output where there is one, else
        when the job was made.
    """

    id: str
    status: JobStatus
    share: float
    target: str
    output: str
    error: str
    problem: Problem | None
    created_at: float
    updated_at: float
    is_shared: bool
    models: dict[str, str]
    stages: dict[StageName, StageState]
    tries: dict[str, int]
    outcome: Result | None
    is_stopped: bool = False
    trace: str = ""
    policy: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The status, or ``stopped``."""
        return "stopped" if self.is_stopped else self.status

    @property
    def stage(self) -> StageName | None:
        """The first stage that is not done, or None."""
        return next((name for name, stage in self.stages.items() if stage.done < stage.parts), None)

    @property
    def is_over(self) -> bool:
        """Whether nobody goes on with it unless told to."""
        return self.status in ("done", "failed", "cancelled")

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``status`` is the state."""
        fields = asdict(self) | {
            "status": self.state,
            "share": round(self.share, 4),
            "stage": self.stage,
            "outcome": {} if self.outcome is None else asdict(self.outcome),
        }
        del fields["trace"]
        return fields


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was asked for.

    Attributes
    ----------
    job
        As it is now.
    parts_done
        Parts that are there already.
    taken_from
        Id of the job whose parts it took over, or nothing.
    """

    job: JobView
    parts_done: int = 0
    taken_from: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"job": self.job.as_dict(), "parts_done": self.parts_done, "taken_from": self.taken_from}


@dataclass(frozen=True, slots=True)
class Happened:
    """A line of a job's history.

    Attributes
    ----------
    number
        Grows; who was cut off asks for what comes after the last one they saw.
    at
        Seconds since 1970.
    what
        In words.
    """

    number: int
    at: float
    what: str
    event: Literal["history"] = field(default="history", init=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Advanced:
    """A stage is further than it was.

    Attributes
    ----------
    stage
        Which.
    done, total
        In frames.
    frames_per_s, time_left_s
        As in `StageState`.
    """

    stage: StageName
    done: int
    total: int
    frames_per_s: float
    time_left_s: float | None
    event: Literal["progress"] = field(default="progress", init=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Changed:
    """A job has another status than before, or the one it has when somebody begins to listen.

    Attributes
    ----------
    status
        ``deleted`` where there is no such job any more.
    problem
        What is wrong, where something is.
    """

    status: JobStatus | Literal["deleted"]
    problem: Problem | None = None
    event: Literal["status"] = field(default="status", init=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


Event = Happened | Advanced | Changed


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of one frame of a job or a recipe.

    Attributes
    ----------
    output
        Where it is.
    time_s
        Exact time of the frame in the output.
    width, height
        Of the picture in pixels.
    is_changed
        Whether anything is new in the frame.
    is_beside
        Whether the frame before is shown too, on the left.
    notes
        Sentences on what may be otherwise in the output.
    """

    output: str
    time_s: float
    width: int = 0
    height: int = 0
    is_changed: bool = True
    is_beside: bool = False
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Told:
    """All about a job, with what happened to it.

    Attributes
    ----------
    job
        As it is.
    history
        The last lines.
    """

    job: JobView
    history: tuple[Happened, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self.job.as_dict() | {"history": [line.as_dict() for line in self.history]}


@dataclass(frozen=True, slots=True)
class Deleted:
    """A job, or a draft, that is no more."""

    id: str
    status: Literal["deleted"] = field(default="deleted", init=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a request, as measured.

    Attributes
    ----------
    output
        The file that was written.
    frames, changed_frames
        In it, and those in which something was changed.
    faces
        People found.
    analyse_s, render_s
        Wall time up to the first frame that was rendered, and from there on, in seconds; of this call alone.
    frames_per_s
        Of both together.
    models
        What ran: id, version and licence.
    notes
        Sentences on what is not as one would expect.
    is_marked
        Whether changed frames carry the mark of the site, which is not seen.
    """

    output: str
    frames: int
    changed_frames: int
    faces: int
    analyse_s: float
    render_s: float
    frames_per_s: float
    models: tuple[str, ...]
    notes: tuple[str, ...]
    is_marked: bool = False

    @classmethod
    def of(cls, outcome: Outcome) -> Finished:
        """The value that an outcome is told as."""
        return cls(
            str(outcome.output_path), outcome.frame_count, outcome.changed_frame_count, outcome.track_count,
            round(outcome.analyse_s, 3), round(outcome.render_s, 3), round(outcome.frames_per_s, 2),
            tuple(outcome.models), tuple(outcome.notes), outcome.is_marked,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Hired:
    """A worker that begins: from which queues it takes items, and how many at a time."""

    queues: tuple[str, ...]
    processes: int
    metrics_url: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Drained:
    """Workers that were told to leave: a name, or ``all``."""

    drained: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OptionValue:
    """An option as it is in force.

    Attributes
    ----------
    step
        Processor of the step that it belongs to; empty for options of the recipe and of the jobs.
    name, value
        Which, as JSON.
    origin
        Where it comes from: ``default``, ``command line``, a file or a variable.
    """

    step: str
    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Options:
    """All options as they are in force."""

    options: tuple[OptionValue, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
