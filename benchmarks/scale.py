"""What more workers bring, what cutting a clip costs, and what that means for ten minutes of 1080p.

    python benchmarks/scale.py [--seconds 96] [--height 540] [--rounds 3]

- two workers on two cores over one worker on one core, each with one thread for rendering, the same job;
- one worker over the same clip in one span: the cost of segments and merge;
- a model of 1, 2, 4 and 8 workers from the measured time of each stage.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

from facefusion.jobs.local import LocalJobs
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.fakes import sample_path
from speed import make_large


def timed_job(folder: Path, recipe: Recipe, workers: int) -> tuple[float, dict[str, float]]:
    """Wall time of a job in seconds, and of each stage; in a process of its own with as many cores as workers."""
    with multiprocessing.get_context("spawn").Pool(1, initializer=pin, initargs=[workers]) as pool:
        return pool.apply(measure, [folder, recipe, workers])


def pin(count: int) -> None:
    """Keep this process, and all it starts, to some cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    # Pools of the pool: a daemon may not have children.
    multiprocessing.current_process()._config["daemon"] = False


def measure(folder: Path, recipe: Recipe, workers: int) -> tuple[float, dict[str, float]]:
    jobs = LocalJobs.open(folder)
    began = time.perf_counter()
    job = jobs.create(recipe)
    jobs.run(job.id, workers)
    seconds = time.perf_counter() - began
    stages: dict[str, list[float]] = {}
    for at, what in jobs.store.history(job.id):
        if "queued to running" in what or "to done" in what:
            stages.setdefault(what.split()[0], []).append(at)
    jobs.delete(job.id)
    jobs.store.close()
    return seconds, {stage: times[-1] - times[0] for stage, times in stages.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=96)
    parser.add_argument("--height", type=int, default=540)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facefusion-scale-") as name:
        folder = Path(name)
        clip = make_large(
            sample_path("target.mp4"), folder / "clip.mp4", arguments.height, repeat=arguments.seconds // 4
        )
        recipe = build_recipe(
            {
                "source_paths": [sample_path("source.jpg")], "target_path": clip, "output_path": folder / "out.mp4",
                "execution_thread_count": 1,
            }
        )  # fmt: skip
        one_span = recipe.model_copy(update={"segment_s": 600.0})
        works = {"one worker": (recipe, 1), "two workers": (recipe, 2), "one span": (one_span, 1)}
        times: dict[str, list[float]] = {what: [] for what in works}
        stages: dict[str, float] = {}
        for _ in range(arguments.rounds):
            for what, (asked, workers) in works.items():
                seconds, found = timed_job(folder / "jobs", asked, workers)
                times[what].append(seconds)
                if what == "one worker":
                    stages = found
        middle = {what: statistics.median(values) for what, values in times.items()}
        frames = arguments.seconds * 25
        for what, seconds in middle.items():
            print(f"{what:<14}{seconds:8.2f} s  {frames / seconds:6.1f} frames/s")
        # Within each round, so that a machine that slows down over minutes does not count.
        gains = [one / two for one, two in zip(times["one worker"], times["two workers"], strict=True)]
        costs = [one / whole - 1 for one, whole in zip(times["one worker"], times["one span"], strict=True)]
        for what, values, form in (
            ("two workers over one (goal 1.8)", gains, ".2f"),
            ("segments and merge, of one span (goal 5 %)", costs, "+.1%"),
        ):
            each = ", ".join(format(value, form) for value in values)
            print(f"{what}: median {format(statistics.median(values), form)} of {each}")
        span_count = -(-arguments.seconds // 8)
        if span_count % 2 or span_count < 8:
            most = span_count / -(-span_count // 2)
            print(f"  {span_count} spans on two workers can gain {most:.2f} at most: take --seconds 96 for that figure")
        shares = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items())
        print(f"\none worker, stages: {shares}")
        start_s = max(middle["one worker"] - sum(stages.values()), 0.0)
        per_frame = (stages["analyse"] + stages["render"]) / frames
        alone = (stages["join"] + stages["merge"]) / frames
        goal = 10 * 60 * 25
        print(
            "model for ten minutes: analyse and render divide by workers, whole spans at a time; join and merge do not; "
            f"every worker starts for {start_s:.1f} s; measured per frame on one core of this machine at {arguments.height} lines"
        )
        spans = -(-10 * 60 // 8)
        for workers in (1, 2, 4, 8):
            parallel = goal * per_frame * -(-spans // workers) / spans
            total = start_s + parallel + goal * alone
            first = start_s + goal * (per_frame + alone)
            print(f"  {workers} workers: {total / 60:5.1f} min, {first / total:.2f} times one")


if __name__ == "__main__":
    main()
