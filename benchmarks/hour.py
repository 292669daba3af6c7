"""Does the join of an hour of film fit into memory? Parts of a made-up analysis, their join, and the tracks of one span.

    python benchmarks/hour.py [--minutes 60] [--faces 2] [--shot 60]

What pass 1 leaves is made up on disk (faces that move, so many in every shot); then the tracks are made from it as a worker
does, in a process of its own. Printed for a tenth of the length and for all of it: time, the most memory the process
has had, and what reading the tracks of one span costs a worker that renders.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from facefusion.analyse.join import JoinOptions, join
from facefusion.media.segments import Span
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.pipeline.clip import load_tracks
from facefusion.types.observation import Observation, Sighting

FPS, SPAN = 25, 200
WIDTH, HEIGHT = 1920, 1080


def make_part(number: int, count: int, faces: int, shot: int, is_last: bool) -> Observation:
    """One part of a made-up analysis, which looks at the first frame of the next one too."""
    rng = np.random.default_rng(number)
    rows = np.arange(count + (not is_last))
    frames = rows + number * count
    cuts = rows[frames % shot == 0]
    mean = load_mesh_topology().mean
    sightings = []
    for face in range(faces):
        for piece in np.split(rows, cuts[cuts > 0]):
            time_s = ((piece + number * count) / FPS)[:, None, None]
            meshes = np.repeat(mean[None] * 200, len(piece), axis=0)
            meshes[..., :1] += 400 + 700 * face + 40 * np.sin(time_s)
            meshes[..., 1:2] += 500
            meshes += rng.normal(0, 0.5, meshes.shape)
            seed = (number * count + int(piece[0])) // shot % 40 * faces + face  # forty people come back
            identity = np.random.default_rng(seed).normal(size=(1, 128))
            n = len(piece)
            sightings.append(
                Sighting(
                    piece, meshes.astype(np.float32), np.full(n, 0.9, np.float32), np.zeros((n, 478, 2), np.float16),
                    np.full((n, 478), 0.5, np.float16), np.arange(n) > 0, np.zeros(0, np.int64),
                    np.zeros((0, 68, 2), np.float32), np.zeros(0, np.float32), piece[:1], np.ones((1, 2), np.float32),
                    np.ones(1, np.float32), identity.astype(np.float32),
                )
            )  # fmt: skip
    return Observation(WIDTH, HEIGHT, Fraction(1, FPS), frames, cuts, not is_last, tuple(sightings))


def peak_mb() -> float:
    """The most memory that this process has had, in megabytes (Linux; `getrusage` would count the parent's too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def join_parts(folder: Path, count: int) -> tuple[float, float, int]:
    """Seconds that the join of some parts takes, memory, and tracks that come of it."""
    began = time.perf_counter()
    observations = [Observation.load(folder / f"{number}.part") for number in range(count)]
    tracks = join(observations, JoinOptions(contract="made-up"), {}, folder / f"{count}.tracks")
    return time.perf_counter() - began, peak_mb(), len(tracks.tracks)


def read_span(path: Path, spans: list[Span]) -> tuple[float, float]:
    """Seconds that reading the tracks of the span in the middle takes, and memory."""
    began = time.perf_counter()
    middle = len(spans) // 2
    load_tracks(path, spans, range(middle, middle + 1))
    return time.perf_counter() - began, peak_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--faces", type=int, default=2)
    parser.add_argument("--shot", type=int, default=60, help="frames of each shot")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facefusion-hour-") as name:
        folder = Path(name)
        parts = int(arguments.minutes * 60 * FPS / SPAN)
        for count in (parts // 10, parts):
            for number in range(count):
                part = make_part(number, SPAN, arguments.faces, arguments.shot, number == count - 1)
                part.save(folder / f"{number}.part")
            bounds = [None, *(SPAN * k for k in range(1, count)), None]
            spans = [Span(a, b, SPAN) for a, b in pairwise(bounds)]
            context = multiprocessing.get_context("spawn")
            with context.Pool(1, maxtasksperchild=1) as pool:
                seconds, megabytes, tracks = pool.apply(join_parts, [folder, count])
                read_s, read_mb = pool.apply(read_span, [folder / f"{count}.tracks", spans])
            size = (folder / f"{count}.tracks").stat().st_size / 1e9
            print(
                f"{count * SPAN} frames, {tracks} tracks ({size:.2f} GB): joined in {seconds:.1f} s with {megabytes:.0f} "
                f"MB; the tracks of one span are read in {read_s:.2f} s with {read_mb:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
