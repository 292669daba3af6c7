"""Frames per second of each part, as ratios of a bare decode and encode of the same clip, in one run.

    python benchmarks/speed.py [--clip CLIP] [--source PHOTO] [--rounds 3] [--height 1080]

Without --clip the packaged sample, twice over (8 s), is enlarged to 1920 x 1080 first. Memory is the peak of a fresh process
on the clip and on a clip four times as long.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2

from facefusion.jobs.once import render_target, run
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.pipeline.runner import analyse_target
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import RenderedFrame


def make_large(source: Path, output: Path, height: int, repeat: int = 1) -> Path:
    """Enlarge a clip to 16:9 at a height: the face over a blurred copy of the frame."""
    width = height * 16 // 9
    with av.open(str(output), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for _ in range(repeat):
            for frame in ClipReader(source):
                canvas = cv2.GaussianBlur(cv2.resize(frame.pixels, (width, height)), (0, 0), 12)
                side = height * 3 // 4
                x, y = (width - side) // 2, (height - side) // 2
                canvas[y : y + side, x : x + side] = cv2.resize(
                    frame.pixels, (side, side), interpolation=cv2.INTER_CUBIC
                )
                container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        container.mux(stream.encode(None))
    return output


def bare(recipe: Recipe) -> int:
    """Decode and encode with the same settings and nothing in between."""
    reader = ClipReader(recipe.target_path)
    count = 0
    settings = (recipe.output_video_encoder, recipe.output_video_preset, recipe.output_video_quality)
    with (
        ClipWriter(recipe.output_path, reader, *settings) as writer,
        av.open(str(recipe.target_path)) as container,
    ):
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        blank = next(iter(reader))
        for picture in container.decode(stream):
            frame = type(blank)(blank.pixels, count, picture.pts, blank.time_base, picture)
            writer.write(RenderedFrame(frame))
            count += 1
    return count


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def peak_mb(clip: Path, source: Path, folder: Path) -> float:
    """Peak resident memory of a fresh process that does the whole job."""
    code = (
        "import resource, sys\n"
        "from facefusion.recipe import build_recipe\n"
        "from facefusion.jobs.once import run\n"
        "run(build_recipe({'source_paths': [sys.argv[1]], 'target_path': sys.argv[2], 'output_path': sys.argv[3]}))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    words = [sys.executable, "-c", code, str(source), str(clip), str(folder / "memory.mp4")]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--source", type=Path, default=sample_path("source.jpg"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--skip-memory", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = arguments.clip or make_large(sample_path("target.mp4"), folder / "large.mp4", arguments.height, repeat=2)
        recipe = build_recipe(
            {"source_paths": [arguments.source], "target_path": clip, "output_path": folder / "o.mp4"}
        )
        info = ClipReader(clip).info
        count = bare(recipe)  # warms the file cache too
        tracks = analyse_target(recipe)
        face = float(tracks.tracks[0].meshes[0, :, 1].max() - tracks.tracks[0].meshes[0, :, 1].min())
        print(
            f"{info.width} x {info.height}, {count} frames, {len(tracks.tracks)} face of {face:.0f} px, {arguments.rounds} rounds"
        )
        unsteadied = recipe.model_copy(update={"motion_smoothing": 0.0, "face_mask_types": ("box",)})
        plain = unsteadied.with_options(face_swapper_fusion=0.0, finish_matching=0.0)
        works = {
            "bare decode and encode": lambda: bare(recipe),
            "analyse": lambda: analyse_target(recipe),
            "render": lambda: render_target(recipe, tracks),
            "whole": lambda: run(recipe),
            "render, no flow, no mask": lambda: render_target(unsteadied, tracks),
            "render, nothing but swap": lambda: render_target(plain, tracks),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(arguments.rounds):  # interleaved, so that a slow minute hits all alike
            for part, work in works.items():
                times[part].append(timed(work))
        base = statistics.median(times["bare decode and encode"])
        print(f"{'':<28}{'frames/s':>10}{'ratio to bare':>16}")
        for part, values in times.items():
            middle = statistics.median(values)
            print(f"{part:<28}{count / middle:>10.1f}{base / middle:>16.2f}")
        middles = {part: statistics.median(values) for part, values in times.items()}
        for part in ("render, no flow, no mask", "render, nothing but swap"):
            print(f"the default takes {middles['render'] / middles[part] - 1:.0%} longer than '{part}'")
        if not arguments.skip_memory and arguments.clip is None:
            longer = make_large(sample_path("target.mp4"), folder / "longer.mp4", arguments.height, repeat=8)
            short_mb, long_mb = (peak_mb(c, arguments.source, folder) for c in (clip, longer))
            grown = (long_mb - short_mb) / (3 * count)
            print(f"peak memory: {short_mb:.0f} MB for {count} frames, {long_mb:.0f} MB for {4 * count}", end="")
            print(f"; {grown * 1000:.1f} kB more for each frame (pass 1 keeps 8.6 kB for each face)")


if __name__ == "__main__":
    main()
