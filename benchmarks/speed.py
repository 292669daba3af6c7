"""CPU time of each part, as ratios of a bare decode and encode of the same clip, in one run.

    python benchmarks/speed.py [--clip CLIP] [--source PHOTO] [--rounds 3] [--height 1080]
    python benchmarks/speed.py --profile

Without --clip the packaged sample, twice over (8 s), is enlarged to 1920 x 1080 first. CPU time is what the process and all its
threads use, so that the figures mean the same on a busy machine; frames per second are those of a machine that has nothing else
to do and keeps both cores busy. --profile tells by step where it goes. Memory is the peak of a fresh process on the clip and on a
clip four times as long.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any

import av
import cv2

from facefusion.jobs.once import render_target, run
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.pipeline.runner import analyse_target
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import RenderedFrame

STEPS: dict[str, tuple[str, ...]] = {
    "decode, calling thread": ("media.reader:ClipReader._decode",),
    "YUV to RGB": ("media.reader:ClipReader._convert",),
    "encode, calling thread": ("media.writer:ClipWriter._mux", "media.writer:ClipWriter.write"),
    "RGB to YUV": ("media.writer:ClipWriter._picture",),
    "cuts": ("imaging.resample:thumbnail", "imaging.resample:is_cut"),
    "detector": ("analyse.analyser:Analyser._find", "analyse.analyser:Analyser._find_turned"),
    "mesh network, with mirror": ("analyse.analyser:Analyser._look",),
    "motion of points": ("analyse.analyser:_measure_motion",),
    "looks, order": ("analyse.analyser:Analyser._order", "analyse.analyser:Analyser._without_slid"),
    "black, sharpness, grain": ("analyse.analyser:Analyser._examine",),
    "new faces": ("analyse.analyser:Analyser._add_new",),
    "join": ("analyse.analyser:Analyser.join",),
    "prepare the source": ("processors.face_swapper.mesh:MeshSwapper.prepare",),
    "cut out": ("render.renderer:cut_out",),
    "shape: where things go": ("imaging.reshape:find_bend",),
    "shape: move the picture": ("imaging.reshape:Bend.apply", "imaging.reshape:Bend.reach"),
    "veil": ("imaging.veil:find_veil", "imaging.veil:Veil.lift", "imaging.veil:Veil.lay"),
    "light": ("processors.face_swapper.mesh:MeshSwapper._measure_light",),
    "view of the surface": ("imaging.texture:view_surface",),
    "draw the texture": ("processors.face_swapper.mesh:MeshSwapper._draw", "imaging.tones:draw"),
    "eyes": ("processors.face_swapper.eyes:find_openings", "processors.face_swapper.eyes:Eyes.draw"),
    "soften": ("processors.face_swapper.mesh:MeshSwapper._soften",),
    "fusion": ("processors.face_swapper.fusion:Fusion.fit",),
    "masks": ("processors.masking:CropMasks.mask",),
    "join crops": ("imaging.composite:paste", "render.renderer:Renderer._join"),
    "smoothing: look": ("render.smooth:MotionSmoother.look",),
    "smoothing: flow": ("imaging.flow:dense_inverse_search",),
    "smoothing: carry": ("render.smooth:_Link._carry",),
    "smoothing: correct": ("render.smooth:MotionSmoother.smooth",),
    "grain": ("render.grain:GrainMatcher.match",),
    "mark": ("imaging.mark:Shaper.add",),
    "networks": ("models.session:Session.run",),
}
"""Steps by the functions that do them; time in a step that another one calls counts for the inner one."""
REST, NATIVE = "other Python", "threads of decoder and encoder"


class Profile:
    """CPU time of threads by step, seconds."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._local, self._lock = threading.local(), threading.Lock()

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """A function whose time counts for a step, or for a network of that step."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            stack = self._local.__dict__.setdefault("stack", [])
            stack.append(0.0)
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - began
                inner = stack.pop()
                if stack:
                    stack[-1] += spent
                label = f"network {args[0].spec.id}" if name == "networks" else name
                with self._lock:
                    self.spent[label] += spent - inner

        return call

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Measure the steps while it is entered."""
        undo: list[tuple[Any, str, Any]] = []
        for name, places in STEPS.items():
            for place in places:
                module, _, path = place.partition(":")
                owner: Any = importlib.import_module(f"facefusion.{module}")
                *outer, last = path.split(".")
                for part in outer:
                    owner = getattr(owner, part)
                function = getattr(owner, last)
                # Where functions were imported by name, each module has its own.
                known = [m for n, m in list(sys.modules.items()) if n.startswith("facefusion.")] if not outer else []
                for holder in [owner, *(m for m in known if m is not owner and getattr(m, last, None) is function)]:
                    undo.append((holder, last, function))
                    setattr(holder, last, self.timed(function, name))
        undo.append((threading.Thread, "run", threading.Thread.run))
        threading.Thread.run = self.timed(threading.Thread.run, REST)  # type: ignore[method-assign]
        began = time.process_time()
        try:
            yield
        finally:
            for holder, last, function in undo:
                setattr(holder, last, function)
            self.spent[NATIVE] = time.process_time() - began - sum(self.spent.values())


def print_profile(works: dict[str, Callable[[], object]], count: int) -> None:
    """Where CPU time goes, milliseconds for each frame."""
    found = {}
    for part, work in works.items():
        profile = Profile()
        with profile.watch():
            profile.timed(work, REST)()
        found[part] = profile.spent
    steps = sorted(
        {step for spent in found.values() for step in spent}, key=lambda s: -max(v[s] for v in found.values())
    )
    print(f"{'CPU ms for each frame':<44}" + "".join(f"{part:>12}" for part in found))
    for step in steps:
        if max(spent[step] for spent in found.values()) >= 5e-5 * count:
            print(f"{step:<44}" + "".join(f"{1000 * spent[step] / count:>12.1f}" for spent in found.values()))
    print(f"{'all':<44}" + "".join(f"{1000 * sum(spent.values()) / count:>12.1f}" for spent in found.values()))


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
    """CPU seconds of this process and its children."""
    began = os.times()
    work()
    ended = os.times()
    return sum(ended[:4]) - sum(began[:4])


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
    parser.add_argument("--skip-parts", action="store_true", help="measure the whole against bare only")
    parser.add_argument("--profile", action="store_true", help="print CPU time by step")
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
        if arguments.profile:
            whole: dict[str, Callable[[], object]] = {
                "bare": lambda: bare(recipe),
                "analyse": lambda: analyse_target(recipe),
                "render": lambda: render_target(recipe, tracks),
                "whole": lambda: run(recipe),
            }
            print_profile(whole, count)
            return
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
        if arguments.skip_parts:
            works = {part: works[part] for part in ("bare decode and encode", "whole")}
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(arguments.rounds):  # interleaved, so that a slow minute hits all alike
            for part, work in works.items():
                times[part].append(timed(work))
        base = statistics.median(times["bare decode and encode"])
        print(f"{'':<28}{'CPU ms/frame':>14}{'frames/s on two cores':>24}{'ratio to bare':>16}")
        for part, values in times.items():
            middle = statistics.median(values)
            print(f"{part:<28}{1000 * middle / count:>14.1f}{2 * count / middle:>24.1f}{base / middle:>16.2f}")
        middles = {part: statistics.median(values) for part, values in times.items()}
        for part in ("render, no flow, no mask", "render, nothing but swap"):
            if part not in middles:
                continue
            print(f"the default takes {middles['render'] / middles[part] - 1:.0%} longer than '{part}'")
        if not arguments.skip_memory and arguments.clip is None:
            longer = make_large(sample_path("target.mp4"), folder / "longer.mp4", arguments.height, repeat=8)
            short_mb, long_mb = (peak_mb(c, arguments.source, folder) for c in (clip, longer))
            grown = (long_mb - short_mb) / (3 * count)
            print(f"peak memory: {short_mb:.0f} MB for {count} frames, {long_mb:.0f} MB for {4 * count}", end="")
            print(f"; {grown * 1000:.1f} kB more for each frame (pass 1 keeps 8.6 kB for each face)")


if __name__ == "__main__":
    main()
