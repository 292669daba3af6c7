"""``make demo``: swap a packaged sample face into a packaged sample clip and say what came of it.

python -m facefusion.apps.demo [FOLDER]
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import numpy as np

from facefusion.apps.console import prepared, say
from facefusion.apps.show import Show
from facefusion.jobs.once import run
from facefusion.media.reader import ClipReader
from facefusion.metrics.likeness import Likeness, mean_likeness
from facefusion.pipeline.runner import Outcome, analyse_target, build_analyser, read_sources
from facefusion.recipe import Recipe, build_recipe
from facefusion.wording import counted

EVERY = 10


def measure(recipe: Recipe) -> tuple[float, float, float]:
    """Likeness of the output to the source, of the output to the target, and of the target to the source."""
    likeness = Likeness()
    analyser = build_analyser(recipe)
    source = read_sources(recipe.source_paths, analyser)[0]
    wanted = likeness.describe(source.pixels, source.face.mesh)
    track = analyse_target(recipe, analyser).tracks[0]
    targets, outputs = [], []
    pairs = zip(ClipReader(recipe.target_path), ClipReader(recipe.output_path), strict=True)
    for target, output in pairs:
        row = track.find(target.index)
        if row is not None and target.index % EVERY == 0:
            targets.append((target.pixels, track.meshes[row]))
            outputs.append((output.pixels, track.meshes[row]))
    to_target = [
        likeness.compare(likeness.describe(*a), likeness.describe(*b)) for a, b in zip(targets, outputs, strict=True)
    ]
    return (
        mean_likeness(likeness, wanted, outputs),
        float(np.nanmean(to_target)),
        mean_likeness(likeness, wanted, targets),
    )


def main(folder: str = "out") -> Outcome:
    """Run the demonstration and print path, speed and likeness."""
    samples = resources.files("facefusion") / "samples"
    output = Path(folder) / "demo.mp4"
    recipe = build_recipe(
        {
            "source_paths": [Path(str(samples / "source.jpg"))],
            "target_path": Path(str(samples / "target.mp4")),
            "output_path": output,
        }
    )
    with prepared(), Show("bar") as show:
        outcome = run(recipe, show.progress)
    to_source, to_target, before = measure(recipe)
    with prepared():
        say(f"\n{output.resolve()}")
        say(
            f"  {outcome.changed_frame_count} of {counted(outcome.frame_count, 'frame')} changed, "
            f"{outcome.frames_per_s:.1f} frames/s"
        )
        say(f"  likeness to the source photo: {before:+.2f} before, {to_source:+.2f} after (-1 to 1, by texture)")
        say(f"  likeness of the output to the target: {to_target:+.2f}")
    return outcome


if __name__ == "__main__":
    main(*sys.argv[1:])
