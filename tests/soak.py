"""Many processes at once in one jobs folder, with commands, kills and stops in between. Used by a test and a benchmark.

The verdict does not depend on who is faster: every process ends right to the byte or with one clear line, everything
that was not deleted can be gone on with, and nothing is left.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2

from facefusion.jobs.local import LocalJobs
from facefusion.jobs.once import run
from facefusion.media.generate import write_test_clip
from facefusion.media.reader import ClipReader
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.fakes import sample_path

CODES = {0, 2, 3, 4, 5, 6, 7, 8, 130}
"""Exit codes that are documented and no fault of ours."""
FRAMES, WIDTH = 16, 192
PATIENCE_S = 300
"""However busy the machine is, a process that is not done by then hangs."""
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
from facefusion import build_recipe, run
threads = [threading.Thread(target=run, args=[build_recipe(json.loads(text))]) for text in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def options_of(clip: Path, output: Path, light: float = 1.0) -> dict[str, object]:
    return {
        "source_paths": [str(sample_path("source.jpg"))], "target_path": str(clip), "output_path": str(output),
        "segment_s": 1.0, "output_video_preset": "ultrafast", "face_swapper_light": light,
    }  # fmt: skip


def words_of(clip: Path, output: Path, light: float = 1.0) -> list[str]:
    return [
        "run", "-s", str(sample_path("source.jpg")), "-t", str(clip), "-o", str(output), "--segment-length", "1",
        "--output-video-preset", "ultrafast", "--face-swapper-light", str(light), "--workers", "1",
    ]  # fmt: skip


@dataclass
class Started:
    """A process, what it is, and what may be in its outputs when it ends well."""

    kind: str
    process: subprocess.Popen[str]
    outputs: dict[Path, set[str]] = field(default_factory=dict)
    is_killed: bool = False
    is_stopped: bool = False


@dataclass
class Report:
    """What came of it."""

    seed: int
    processes: Counter[str]
    codes: Counter[int]
    kills: int
    stops: int
    resumed: int
    seconds: float
    faults: list[str]


class Soak:
    """One round.

    Parameters
    ----------
    folder
        For everything.
    clips
        Targets.
    wanted
        Hash of the output of every clip, rendered alone, by clip and light.
    """

    def __init__(self, folder: Path, clips: list[Path], wanted: dict[tuple[Path, float], str]) -> None:
        self.folder, self.clips, self.wanted = folder, clips, wanted
        self.jobs_path, self.outputs = folder / "jobs", folder / "out"
        self.outputs.mkdir(parents=True)
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONFAULTHANDLER": "1"}
        self.environment.pop("FACEFUSION_JOBS_PATH", None)
        self.started: list[Started] = []
        self.faults: list[str] = []

    def start(self, kind: str, words: list[str], outputs: dict[Path, set[str]] | None = None) -> None:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.environment, cwd=self.folder
        )
        self.started.append(Started(kind, process, outputs or {}))

    def cli(self, kind: str, *words: str, outputs: dict[Path, set[str]] | None = None) -> None:
        self.start(kind, [sys.executable, "-m", "facefusion", *words, "--jobs-path", str(self.jobs_path)], outputs)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "facefusion", *words, "--jobs-path", str(self.jobs_path)]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=self.folder, check=False
        )

    def job_ids(self) -> list[str]:
        if not (self.jobs_path / "jobs.db").exists():
            return []
        jobs = LocalJobs.open(self.jobs_path)
        try:
            return [job.id for job in jobs.store.list_jobs()]
        finally:
            jobs.store.close()

    def begin(self, kind: str, number: int, rng: random.Random) -> None:
        """Start a process of a kind."""
        clip = self.clips[number % len(self.clips)]
        one, output = self.wanted[clip, 1.0], self.outputs / f"{kind}-{number}.mp4"
        if kind == "run":
            self.cli(kind, *words_of(clip, output), outputs={output: {one}})
        elif kind == "twice":
            for _ in range(2):
                self.cli(kind, *words_of(clip, output), outputs={output: {one}})
        elif kind == "same output":
            both = {one, self.wanted[clip, 0.5]}
            for light in (1.0, 0.5):
                self.cli(kind, *words_of(clip, output, light), outputs={output: both})
        elif kind == "library":
            told = json.dumps(options_of(clip, output))
            self.start(kind, [sys.executable, "-c", LIBRARY, told], {output: {one}})
        elif kind == "threads":
            other = self.outputs / f"{kind}-{number}.mkv"
            told = [json.dumps(options_of(clip, path)) for path in (output, other)]
            self.start(kind, [sys.executable, "-c", TWO_THREADS, *told], {output: {one}})
        elif kind == "batch":
            pattern = str(self.outputs / f"batch{number}-{{target_name}}.mp4")
            outputs = {self.outputs / f"batch{number}-{path.stem}.mp4": {self.wanted[path, 1.0]} for path in self.clips}
            words = words_of(clip, output)[7:]
            self.cli(
                kind, "batch-run", "-s", str(sample_path("source.jpg")), "-t", str(clip.parent / "clip*.mp4"),
                "-o", pattern, *words, outputs=outputs,
            )  # fmt: skip
        elif kind in ("list", "sweep"):
            self.cli(kind, "jobs", kind)
        else:  # of one job
            ids = self.job_ids()
            job_id = rng.choice(ids) if ids else "0123456789abcdef"
            self.cli(kind, "jobs", kind, job_id)

    def strike(self, kind: str, rng: random.Random) -> None:
        """Kill, stop or let go on."""
        living = [one for one in self.started if one.process.poll() is None]
        if not living:
            return
        one = rng.choice(living)
        if kind == "kill":
            one.is_killed = True
            one.process.kill()
        else:
            one.is_stopped = True
            one.process.send_signal(signal.SIGSTOP)

    def let_go_on(self) -> None:
        for one in self.started:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)

    def judge(self) -> None:
        """Wait for every process, and look at what came of it."""
        for one in self.started:
            try:
                _, errors = one.process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                one.process.send_signal(signal.SIGABRT)  # it says where it is
                _, errors = one.process.communicate()
                self.faults.append(f"{one.kind} hangs:\n{errors}{self.tell()}")
                continue
            code = one.process.returncode
            if one.is_killed and code == -signal.SIGKILL:
                continue
            lines = [line for line in errors.splitlines() if line.startswith("facefusion: ")]
            if "Traceback" in errors or code not in CODES:
                self.faults.append(f"{one.kind} ended with {code}:\n{errors}")
            elif code and not lines:
                self.faults.append(f"{one.kind} ended with {code} and said nothing")
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

    def finish(self) -> int:
        """Go on with everything that is left; what comes out is right, and nothing else stays."""
        resumed = 0
        allowed = {path: hashes for one in self.started for path, hashes in one.outputs.items()}
        for path in self.outputs.iterdir():
            if path in allowed:
                self.check(path, allowed[path], "what is there")
        jobs = LocalJobs.open(self.jobs_path)
        for job in jobs.store.list_jobs():
            if job.status == "done":
                continue
            done = self.call("jobs", "resume", job.id)
            resumed += 1
            if done.returncode:
                self.faults.append(f"job {job.id} cannot be gone on with: {done.stderr}")
                continue
            output = Path(job.recipe["output_path"])
            self.check(output, allowed[output], "resume")
        swept = self.call("jobs", "sweep")
        if swept.returncode:
            self.faults.append(f"sweep: {swept.stderr}")
        statuses = Counter(job.status for job in jobs.store.list_jobs())
        if set(statuses) - {"done"}:
            self.faults.append(f"jobs are {dict(statuses)}")
        jobs.store.close()
        known = {*allowed, *(path.with_suffix(".mkv") for path in allowed)}
        left = [path for path in self.outputs.iterdir() if path not in known]
        for place in ("jobs/files", "jobs/locks", "state/facefusion/working"):
            left += [path for path in (self.folder / place).rglob("*") if path.name != ".work"]
        if left:
            self.faults.append(f"left: {[str(path.relative_to(self.folder)) for path in left]}")
        return resumed


def render_alone(clips: list[Path], folder: Path) -> dict[tuple[Path, float], str]:
    """What every process must come to."""
    wanted = {}
    for clip in clips:
        for light in (1.0, 0.5):
            recipe: Recipe = build_recipe(options_of(clip, folder / "alone.mp4", light))
            run(recipe)
            wanted[clip, light] = digest(recipe.output_path)
    return wanted


def run_round(
    folder: Path,
    clips: list[Path],
    wanted: dict[tuple[Path, float], str],
    seed: int,
    kinds: list[str],
    strikes: list[str],
    within_s: float,
) -> Report:
    """Start processes at random moments, in random order, and strike in between.

    Parameters
    ----------
    folder, clips, wanted
        As of `Soak`.
    seed
        Of the order and the moments.
    kinds
        What is started.
    strikes
        ``kill`` and ``stop``.
    within_s
        How long it takes until all have been started.
    """
    rng = random.Random(seed)
    soak = Soak(folder, clips, wanted)
    plan = [(rng.uniform(0, within_s), "begin", kind, number) for number, kind in enumerate(kinds)]
    for kind in strikes:
        at = rng.uniform(within_s / 5, within_s * 1.3)
        plan.append((at, "strike", kind, 0))
        if kind == "stop":
            plan.append((at + rng.uniform(1, 4), "go on", kind, 0))
    began = time.monotonic()
    for at, what, kind, number in sorted(plan):
        time.sleep(max(began + at - time.monotonic(), 0))
        if what == "begin":
            soak.begin(kind, number, rng)
        elif what == "strike":
            soak.strike(kind, rng)
        else:
            soak.let_go_on()
    soak.let_go_on()
    soak.judge()
    resumed = soak.finish()
    return Report(
        seed,
        Counter(one.kind for one in soak.started),
        Counter(one.process.returncode for one in soak.started),
        sum(one.is_killed for one in soak.started),
        sum(one.is_stopped for one in soak.started),
        resumed,
        time.monotonic() - began,
        soak.faults,
    )
