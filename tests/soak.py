"""Many processes at once in one jobs folder, with random faults in between. Used by a test and a benchmark.

Processes are killed and stopped, and so are those of their pools; clocks jump, disks are full, inputs are replaced
while they are read, commands come in between. The verdict does not depend on who is faster: every process ends right to
the byte or with one clear line, everything that was not deleted can be gone on with, nothing is left, nothing of others
is touched, and no output holds a face that was to be hidden.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import psutil

from facefusion.jobs.local import LocalJobs
from facefusion.jobs.once import run
from facefusion.jobs.storage import hash_file
from facefusion.media.generate import write_test_clip
from facefusion.media.image import Photo, write_photo
from facefusion.media.reader import ClipReader
from facefusion.policy.provenance import is_sidecar, sidecar_of, wants_sidecar
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of

CODES = {0, 2, 3, 4, 5, 6, 7, 8, 130}
"""Exit codes that are documented and no fault of ours."""
FRAMES, WIDTH = 16, 192
PATIENCE_S = 1800
"""However busy the machine is, a process that is not done by then hangs."""
HOOK = Path(__file__).parent / "clock_hook"
SEED = 7
"""Of the faces of nobody, so that everyone makes the same."""
LIBRARY = """
import json, sys
from facefusion import build_recipe, run
from facefusion.errors import FaceFusionError
try:
    run(build_recipe(json.loads(sys.argv[1])))
except FaceFusionError as error:
    print(f"facefusion: {error}", file=sys.stderr)
    sys.exit(8)
"""
TWO_THREADS = """
import json, sys, threading
from facefusion.testing.provenance import content_of
from facefusion import build_recipe, run
threads = [threading.Thread(target=run, args=[build_recipe(json.loads(text))]) for text in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
CHANGING = ("replaced", "replaced swap", "replaced photo")
BEFALLS = {
    "kill child": ("workers", "hide", "clock"), "stop child": ("workers", "hide", "clock"), "replace": CHANGING,
}  # fmt: skip
"""Kinds of processes that a strike can befall, where it cannot befall all."""
KINDS = (
    "run", "workers", "hide", "photo", "hidden photo", "clock", "full disk", "full disk photo", "twice", "same output",
    "library", "threads", "batch", *CHANGING, "list", "sweep", "cancel", "delete", "resume", "report", "show",
)  # fmt: skip
COMMANDS = ("list", "sweep", "cancel", "delete", "resume", "report", "show")
WORK_S = {
    **dict.fromkeys(COMMANDS, 2.0),
    "photo": 3.5,
    "hidden photo": 3.5,
    "full disk photo": 3.0,
    "replaced photo": 3.5,
}
"""About how many seconds of the processor a process takes, 5 where nothing is said; two of them to begin."""
MOMENTS = {"replace": (0.4, 0.9), "kill child": (1.0, 2.0), "stop child": (1.0, 2.0)}
"""When in this time it is struck; from the beginning to the end where nothing is said."""
Look = str
"""What is done to a target: ``swap``, ``dim`` (a swap in another light) or ``hide``."""


# --- what is changed, and what must come out of it --------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """Targets, and the hash of every output that was made alone: by the hash of the target and the look."""

    clips: list[Path]
    photos: list[Path]
    wanted: dict[tuple[str, Look], str]

    def right(self, target: Path, look: Look) -> str:
        return self.wanted[hash_file(target), look]


def digest(path: Path) -> str:
    return content_of(path)


def make_clips(folder: Path, count: int) -> list[Path]:
    """Two seconds each, small, of different parts of the packaged sample."""
    frames = [frame.pixels for frame in ClipReader(sample_path("target.mp4"))]
    paths = []
    for number in range(count):
        chosen = frames[number * 7 % 40 :: 3][:FRAMES]
        small = [cv2.resize(pixels, (WIDTH, WIDTH), interpolation=cv2.INTER_AREA) for pixels in chosen]
        paths.append(folder / f"clip{number}.mp4")
        times = [k * 1600 for k in range(FRAMES)]
        write_test_clip(paths[-1], small, times, Fraction(1, 12800), audio_tracks=1, options={"preset": "ultrafast"})
    return paths


def make_photos(clips: list[Path]) -> list[Path]:
    """The first frame of every clip."""
    paths = []
    for number, clip in enumerate(clips):
        paths.append(clip.with_name(f"photo{number}.png"))
        write_photo(paths[-1], Photo(next(iter(ClipReader(clip))).pixels, None, None, None))
    return paths


def make_scene(folder: Path, count: int) -> Scene:
    """Clips and photos, and what comes of them."""
    folder.mkdir(parents=True)
    clips = make_clips(folder, count)
    scene = Scene(clips, make_photos(clips), {})
    for target in (*scene.clips, *scene.photos):
        for look in ("swap", "dim", "hide"):
            alone = folder / f"alone{target.suffix}"
            run(build_recipe(options_of(target, alone, look)))
            scene.wanted[hash_file(target), look] = digest(alone)
            alone.unlink()
    return scene


def options_of(target: Path, output: Path, look: Look = "swap") -> dict[str, object]:
    options: dict[str, object] = {
        "target_path": str(target), "output_path": str(output), "segment_s": 1.0, "output_video_preset": "ultrafast",
    }  # fmt: skip
    if look == "hide":
        return options | {"processors": ["face_anonymiser"], "face_anonymiser_seed": SEED}
    return options | {
        "source_paths": [str(sample_path("source.jpg"))],
        "face_swapper_light": 0.5 if look == "dim" else 1.0,
    }


def flags_of(look: Look = "swap", workers: int = 1) -> list[str]:
    flags = ["--segment-length", "1", "--output-video-preset", "ultrafast", "--workers", str(workers)]
    if look == "hide":
        return [*flags, "--processors", "face_anonymiser", "--face-anonymiser-seed", str(SEED)]
    light = "0.5" if look == "dim" else "1.0"
    return [*flags, "-s", str(sample_path("source.jpg")), "--face-swapper-light", light]


# --- files of somebody else -------------------------------------------------------------------------------------------

STRANGERS = (
    ".facefusion-0123456789abcdef/run-0.mp4", ".run-0.0123456789abcdef.part.mp4", "run-0.mp4.part", "run-0.mp4.bak",
    "made", "0123456789abcdef.lock", "0123456789abcdef", ".work/mine", "files/notes", "locks.txt", "jobs.db.bak",
)  # fmt: skip
"""Names that look like ours."""


def plant(folder: Path, outside: Path) -> None:
    """The user's own files, with names that look like ours, a link to one of them, and a second name of another."""
    for name in STRANGERS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"{outside}"\n{name}\n')
    (folder / "linked").symlink_to(outside)
    (folder / ".facefusion-fedcba9876543210").symlink_to(outside)
    os.link(folder / "made", folder / "second name")


def portrait(folder: Path) -> dict[str, str]:
    """What is in a folder, whatever of it is ours: kind, links and content of everything."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif is_sidecar(path):
            found[name] = "manifest"
        elif path.is_file():
            found[name] = f"{path.stat().st_nlink} names, {digest(path)}"
        else:
            found[name] = "folder"
    return found


# --- a disk that is full ----------------------------------------------------------------------------------------------


class SmallDisk:
    """A file system with little room and few files, where this process may mount one; else a folder."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        folder.mkdir()
        room = f"size={rng.randrange(120, 900)}k,nr_inodes={rng.randrange(25, 120)}"
        self.is_small = self._mount("-t", "tmpfs", "-o", room, "tmpfs", str(folder))

    def _mount(self, *words: str) -> bool:
        with suppress(OSError):
            return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
        return False

    def grow(self) -> None:
        """Make room."""
        if self.is_small:
            assert self._mount("-o", "remount,size=200m,nr_inodes=10000", str(self.folder))

    def close(self) -> None:
        if self.is_small:
            subprocess.run(["umount", str(self.folder)], capture_output=True, check=True)


# --- one round --------------------------------------------------------------------------------------------------------


@dataclass
class Started:
    """A process, what it is, and what may be in its outputs when it ends well."""

    kind: str
    process: subprocess.Popen[bytes]
    errors: Path
    outputs: dict[Path, set[str]] = field(default_factory=dict)
    is_killed: bool = False
    changing: tuple[Path, Path] | None = None
    """A target of its own, and what takes its place."""
    due: list[tuple[float, str]] = field(default_factory=list)
    """What is to befall it, and how many seconds of work before."""
    goes_on_at: float = math.inf
    began: float = field(default_factory=time.monotonic)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """The process, and those that it has."""
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def worked_s(self) -> float:
        """Seconds of the processor that it and its processes have had: so far it is, however busy the machine is."""
        total = 0.0
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


@dataclass
class Report:
    """What came of it."""

    seed: int
    processes: Counter[str]
    codes: Counter[int]
    strikes: Counter[str]
    jobs: int
    resumed: int
    seconds: float
    faults: list[str]


class Soak:
    """One round.

    Parameters
    ----------
    folder
        For everything.
    scene
        What is changed.
    rng
        Of everything that is left to chance.
    """

    def __init__(self, folder: Path, scene: Scene, rng: random.Random) -> None:
        self.folder, self.scene, self.rng = folder, scene, rng
        self.jobs_path, self.outputs, self.changing = folder / "jobs", folder / "out", folder / "changing"
        for made in (self.jobs_path, self.outputs, self.changing):
            made.mkdir(parents=True)
        self.disk = SmallDisk(folder / "disk", rng)
        (folder / "precious").write_text("precious")
        plant(self.outputs, folder / "precious")
        plant(folder / "mine", folder / "precious")
        self.before = portrait(self.outputs), portrait(folder / "mine")
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONFAULTHANDLER": "1"}
        self.environment.pop("FACEFUSION_JOBS_PATH", None)
        self.started: list[Started] = []
        self.strikes: Counter[str] = Counter()
        self.known: set[str] = set()
        self.faults: list[str] = []

    # starting

    def start(self, kind: str, words: list[str], outputs: dict[Path, set[str]] | None = None, **extra: str) -> Started:
        errors = self.folder / f"errors{len(self.started)}"
        with errors.open("wb") as file:
            process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=file, env={**self.environment, **extra}, cwd=self.folder
            )
        self.started.append(Started(kind, process, errors, outputs or {}))
        return self.started[-1]

    def cli(self, kind: str, *words: str, outputs: dict[Path, set[str]] | None = None, **extra: str) -> Started:
        command = [sys.executable, "-m", "facefusion", *words]
        if "--jobs-path" not in words:
            command += ["--jobs-path", str(self.jobs_path)]
        return self.start(kind, command, outputs, **extra)

    def change(
        self, kind: str, target: Path, output: Path, look: Look = "swap", workers: int = 1, *more: str, **extra: str
    ) -> Started:
        """A run of the command line with one target."""
        right = {output: {self.scene.right(target, look)}}
        words = ["run", "-t", str(target), "-o", str(output), *flags_of(look, workers), *more]
        return self.cli(kind, *words, outputs=right, **extra)

    def begin(self, kind: str, number: int) -> None:
        """Start what is of a kind."""
        clip = self.scene.clips[number % len(self.scene.clips)]
        photo = self.scene.photos[number % len(self.scene.photos)]
        output = self.outputs / f"{kind.replace(' ', '-')}-{number}.mp4"
        picture = output.with_suffix(".png")
        ways: dict[str, Callable[[], object]] = {
            "run": lambda: self.change(kind, clip, output),
            "workers": lambda: self.change(kind, clip, output, "swap", 2),
            "hide": lambda: self.change(kind, clip, output, "hide", 1 + number % 2),
            "photo": lambda: self.change(kind, photo, picture),
            "hidden photo": lambda: self.change(kind, photo, picture, "hide"),
            "clock": lambda: self.change(kind, clip, output, "swap", 1 + number % 2, **self.jumping(number)),
            "full disk": lambda: self.change(
                kind, clip, self.disk.folder / output.name, "swap", 1, "--jobs-path", str(self.disk.folder / "jobs")
            ),
            "full disk photo": lambda: self.change(kind, photo, self.disk.folder / picture.name, "hide"),
            "twice": lambda: [self.change(kind, clip, output) for _ in range(2)],
            "same output": lambda: self.same_output(kind, clip, output),
            "library": lambda: self.library(kind, clip, output),
            "threads": lambda: self.threads(kind, clip, output),
            "batch": lambda: self.batch(kind, number),
            "replaced": lambda: self.replaced(kind, self.scene.clips, number, "hide"),
            "replaced swap": lambda: self.replaced(kind, self.scene.clips, number, "swap"),
            "replaced photo": lambda: self.replaced(kind, self.scene.photos, number, "hide"),
        }
        if kind in ways:
            ways[kind]()
        elif kind in ("list", "sweep"):
            self.cli(kind, "jobs", kind, **self.jumping(number) if number % 5 == 0 else {})
        else:  # of one job
            self.known |= set(self.job_ids())
            self.cli(kind, "jobs", kind, self.rng.choice(sorted(self.known) or ["0123456789abcdef"]))

    def jumping(self, number: int) -> dict[str, str]:
        """Environment of a process whose clock jumps."""
        self.strikes["clock"] += 1
        return {
            "PYTHONPATH": os.pathsep.join([str(HOOK), self.environment.get("PYTHONPATH", "")]),
            "TEST_CLOCK": str(number),
        }

    def same_output(self, kind: str, clip: Path, output: Path) -> None:
        both = {self.scene.right(clip, "swap"), self.scene.right(clip, "dim")}
        for look in ("swap", "dim"):
            self.change(kind, clip, output, look).outputs[output] = both

    def library(self, kind: str, clip: Path, output: Path) -> None:
        told = json.dumps(options_of(clip, output))
        self.start(kind, [sys.executable, "-c", LIBRARY, told], {output: {self.scene.right(clip, "swap")}})

    def threads(self, kind: str, clip: Path, output: Path) -> None:
        told = [json.dumps(options_of(clip, path)) for path in (output, output.with_suffix(".mkv"))]
        self.start(kind, [sys.executable, "-c", TWO_THREADS, *told], {output: {self.scene.right(clip, "swap")}})

    def batch(self, kind: str, number: int) -> None:
        """Every clip, or every photo with its people hidden."""
        look, targets = ("hide", self.scene.photos) if number % 2 else ("swap", self.scene.clips)
        ending = targets[0].suffix
        outputs = {
            self.outputs / f"batch{number}-{path.stem}{ending}": {self.scene.right(path, look)} for path in targets
        }
        pattern = str(self.outputs / f"batch{number}-{{target_name}}{ending}")
        globbed = str(targets[0].parent / f"{targets[0].stem[:-1]}*{ending}")
        self.cli(kind, "batch-run", "-t", globbed, "-o", pattern, *flags_of(look), outputs=outputs)

    def replaced(self, kind: str, targets: list[Path], number: int, look: Look) -> None:
        """A run whose target is replaced by another film, or photo, while it goes on."""
        one, other = targets[number % len(targets)], targets[(number + 1) % len(targets)]
        own = self.changing / f"{kind.replace(' ', '-')}-{number}{one.suffix}"
        own.write_bytes(one.read_bytes())
        output = self.outputs / own.name
        started = self.change(kind, own, output, look)
        # Either of them, whole: it may be replaced before it is read.
        started.outputs[output] = {self.scene.right(one, look), self.scene.right(other, look)}
        started.changing = (own, other)

    def job_ids(self, folder: Path | None = None) -> list[str]:
        folder = folder or self.jobs_path
        if not (folder / "jobs.db").exists():
            return []
        jobs = LocalJobs.open(folder)
        try:
            return [job.id for job in jobs.store.list_jobs()]
        finally:
            jobs.store.close()

    # faults

    def strike(self, one: Started, kind: str) -> None:
        """Do something to one of the living."""
        if kind == "replace":
            self.replace(one)
        elif kind == "kill":
            one.is_killed = True
            one.process.kill()
        elif kind == "stop":
            one.process.send_signal(signal.SIGSTOP)
        else:  # to a process of a pool
            children = [process for process in one.family()[1:] if "--multiprocessing-fork" in process.cmdline()]
            if not children:
                return
            child = self.rng.choice(children)
            child.kill() if kind == "kill child" else child.suspend()
        if kind.startswith("stop"):
            one.goes_on_at = time.monotonic() + self.rng.uniform(1, 5)
        self.strikes[kind] += 1

    def living(self) -> list[Started]:
        """Who is not done; who takes far too long is left to `judge`."""
        now = time.monotonic()
        return [one for one in self.started if one.is_alive and now - one.began < PATIENCE_S]

    def plan(self, left: Counter[str], chances: int) -> None:
        """Decide what befalls the one that was started last, so that all that is left is done by the end.

        Parameters
        ----------
        left
            How often each kind of strike is still to come; what is given out is taken from it.
        chances
            How many processes are still to come, this one included.
        """
        one = self.started[-1]
        for kind in list(left):
            may_be = BEFALLS.get(kind, ())
            if left[kind] and (not may_be or one.kind in may_be):
                odds = left[kind] / (chances if not may_be else max(chances * len(may_be) / len(KINDS), 1))
                if self.rng.random() < odds:
                    left[kind] -= 1
                    moment = self.rng.uniform(*MOMENTS.get(kind, (0.0, 1.0)))
                    one.due.append((moment * WORK_S.get(one.kind, 5.0), kind))
        one.due.sort()

    def look_round(self) -> None:
        """Strike where it is time, and let go on who was stopped."""
        for one in self.started:
            if not one.is_alive:
                continue
            with suppress(psutil.Error):
                if time.monotonic() > one.goes_on_at:
                    one.goes_on_at = math.inf
                    for process in one.family():
                        process.resume()
                elif one.due and one.worked_s() >= one.due[0][0]:
                    self.strike(one, one.due.pop(0)[1])

    def replace(self, one: Started) -> None:
        """Another file in the place of a target: at once, or written over it."""
        assert one.changing is not None
        own, other = one.changing
        if self.rng.random() < 0.5:
            beside = own.with_name(f"new-{own.name}")
            beside.write_bytes(other.read_bytes())
            os.replace(beside, own)
        else:
            own.write_bytes(other.read_bytes())

    # the verdict

    def judge(self) -> None:
        """Look at what came of every process; all of them are over, or hang."""
        for one in self.started:
            if one.is_alive:
                one.process.send_signal(signal.SIGABRT)  # it says where it is
                one.process.wait()
                self.faults.append(f"{one.kind} hangs:\n{one.errors.read_text(errors='replace')}{self.tell()}")
            else:
                self.judge_one(one, one.process.returncode, one.errors.read_text(errors="replace"))

    def judge_one(self, one: Started, code: int, errors: str) -> None:
        if one.is_killed and code == -signal.SIGKILL:
            return
        lines = [line for line in errors.splitlines() if line.startswith("facefusion: ")]
        if "Traceback" in errors or code not in CODES:
            self.faults.append(f"{one.kind} ended with {code}:\n{errors}")
        elif code and not lines:
            self.faults.append(f"{one.kind} ended with {code} and said nothing of it:\n{errors}")
        if code == 0:
            for output, allowed in one.outputs.items():
                self.check(output, allowed, one.kind)

    def tell(self) -> str:
        """What the store knows of jobs that are not done."""
        jobs = LocalJobs.open(self.jobs_path)
        lines = []
        for job in jobs.store.list_jobs():
            if job.status != "done":
                lines += [f"job {job.id} {job.status} {job.recipe['output_path']}", *map(str, jobs.store.items(job.id))]
                lines += [f"{at:.1f} {what}" for at, what in jobs.store.history(job.id)]
        jobs.store.close()
        return "\n".join(lines)

    def check(self, output: Path, allowed: set[str], kind: str) -> None:
        if not output.exists():
            self.faults.append(f"{kind} ended well without its output {output.name}")
        elif digest(output) not in allowed:
            self.faults.append(f"{kind} made other bytes: {output.name}")

    def allowed(self) -> dict[Path, set[str]]:
        """What may be in every output, however its process ended."""
        return {path: hashes for one in self.started for path, hashes in one.outputs.items()}

    def check_outputs(self) -> None:
        """What has its name is whole and right, though its process was killed."""
        for path, hashes in self.allowed().items():
            if path.exists():
                self.check(path, hashes, "what is there")

    def finish(self) -> int:
        """Go on with everything that is left; what comes out is right, and nothing else stays."""
        self.check_outputs()
        self.disk.grow()
        resumed = sum(self.go_on(folder) for folder in (self.jobs_path, self.disk.folder / "jobs"))
        self.check_outputs()
        self.check_left()
        return resumed

    def call(self, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "facefusion", *words, "--jobs-path", str(folder)]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=self.folder, check=False
        )

    def go_on(self, folder: Path) -> int:
        """Resume what is not done, with the inputs that it began with; then sweep."""
        if not (folder / "jobs.db").exists():
            return 0
        resumed = 0
        jobs = LocalJobs.open(folder)
        for job in jobs.store.list_jobs():
            self.known.add(job.id)
            if job.status == "done":
                continue
            self.bring_back(Path(job.recipe["target_path"]), dict(job.plan.hashes))
            done = self.call(folder, "jobs", "resume", job.id)
            resumed += 1
            output = Path(job.recipe["output_path"])
            if done.returncode:
                self.faults.append(f"job {job.id} cannot be gone on with: {done.stderr}")
            else:
                self.check(output, self.allowed()[output], "resume")
        swept = self.call(folder, "jobs", "sweep")
        if swept.returncode:
            self.faults.append(f"sweep: {swept.stderr}")
        statuses = Counter(job.status for job in jobs.store.list_jobs())
        if set(statuses) - {"done"}:
            self.faults.append(f"jobs are {dict(statuses)}")
        jobs.store.close()
        return resumed

    def bring_back(self, target: Path, hashes: dict[str, str]) -> None:
        """The target that a job began with, where it was replaced."""
        if target.parent == self.changing:
            right = (path for path in (*self.scene.clips, *self.scene.photos) if hash_file(path) == hashes[str(target)])
            target.write_bytes(next(right).read_bytes())

    def check_left(self) -> None:
        """Nothing of ours but outputs is there, and everything of others is as it was."""
        known = {*self.allowed(), *(path.with_suffix(".mkv") for path in self.allowed())}
        known |= {sidecar_of(path) for path in known if wants_sidecar(path)}
        theirs, mine = self.before
        if portrait(self.folder / "mine") != mine or (self.folder / "precious").read_text() != "precious":
            self.faults.append("files outside were touched")
        now = portrait(self.outputs)
        touched = [name for name, what in theirs.items() if now.get(name) != what]
        if touched:
            self.faults.append(f"files of others were touched: {touched}")
        left = [self.outputs / name for name in now if name not in theirs and self.outputs / name not in known]
        left += [path for path in self.disk.folder.glob("*") if path not in known and path.name != "jobs"]
        for place in ("jobs/files", "jobs/locks", "disk/jobs/files", "disk/jobs/locks", "state/facefusion/working"):
            left += [path for path in (self.folder / place).rglob("*") if path.name != ".work"]
        left += list((self.folder / "state").rglob("fault-*"))
        if left:
            self.faults.append(f"left: {[str(path.relative_to(self.folder)) for path in left]}")


def run_round(folder: Path, scene: Scene, seed: int, kinds: list[str], strikes: list[str], at_once: int = 8) -> Report:
    """Start processes in random order, so many at once, and strike them at random moments of their work.

    Parameters
    ----------
    folder, scene
        As of `Soak`.
    seed
        Of the order and the moments.
    kinds
        What is started (`Soak.begin`).
    strikes
        ``kill``, ``stop``, ``kill child``, ``stop child`` and ``replace``; each falls on one that it can befall.
    at_once
        How many processes live at most.
    """
    rng = random.Random(seed)
    soak = Soak(folder, scene, rng)
    waiting = list(enumerate(kinds))
    rng.shuffle(waiting)
    left = Counter(strikes)
    began = time.monotonic()
    try:
        while waiting or soak.living():
            if waiting and len(soak.living()) < at_once:
                number, kind = waiting.pop()
                soak.begin(kind, number)
                soak.plan(left, 1 + len(waiting))
            soak.look_round()
            time.sleep(0.05)
        soak.judge()
        resumed = soak.finish()
    finally:
        for one in soak.started:
            if one.is_alive:
                one.process.kill()
                one.process.wait()
        soak.disk.close()
    return Report(
        seed,
        Counter(one.kind for one in soak.started),
        Counter(one.process.returncode for one in soak.started),
        soak.strikes,
        len(soak.known),
        resumed,
        time.monotonic() - began,
        soak.faults,
    )
