"""``make demo``: swap a packaged sample face into a packaged sample clip and say what came of it.

python -m facefusion.apps.demo [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from facefusion.apps.console import prepared, say
from facefusion.apps.library import run
from facefusion.apps.show import Show
from facefusion.media.reader import ClipReader
from facefusion.pipeline.runner import Outcome, build_analyser, read_sources
from facefusion.plugins.protocols import EngineContext, Identifier
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe, build_recipe
from facefusion.wording import counted

EVERY = 10


@dataclass(frozen=True, slots=True)
class Likenesses:
    """What the packaged recogniser says, means over frames: -1 to 1.

    Attributes
    ----------
    before, after
        Of the target and of the output to the source photo.
    to_target
        Of the output to the target.
    same
        From which two pictures are taken to be of one person.
    """

    before: float
    after: float
    to_target: float
    same: float


def measure(recipe: Recipe) -> Likenesses:
    """How like the source the face was and is. Each picture is measured where its own face lies: heads are reshaped."""
    analyser = build_analyser(recipe)
    identifier: Identifier = build_engine("face_identifier", "embedded", EngineContext(recipe))
    source = read_sources(recipe.source_paths, analyser)[0]
    wanted = identifier.identify([source.pixels], [source.face.five_points])[0]
    values = []
    for target, output in zip(ClipReader(recipe.target_path), ClipReader(recipe.output_path), strict=True):
        pictures = [target.pixels, output.pixels]
        faces = [analyser.find_faces(pixels)[:1] for pixels in pictures] if target.index % EVERY == 0 else [[]]
        if all(faces):
            one, other = identifier.identify(pictures, [face.five_points for (face,) in faces])
            values.append((one @ wanted, other @ wanted, one @ other))
    before, after, to_target = (float(value) for value in np.mean(values, axis=0))
    return Likenesses(before, after, to_target, identifier.same_person_cosine)


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
    found = measure(recipe)
    with prepared():
        say(f"\n{output.resolve()}")
        say(
            f"  {outcome.changed_frame_count} of {counted(outcome.frame_count, 'frame')} changed, "
            f"{outcome.frames_per_s:.1f} frames/s"
        )
        say(
            f"  likeness to the source photo: {found.before:+.2f} before, {found.after:+.2f} after "
            f"(-1 to 1; from {found.same:.2f} on the packaged recogniser takes two pictures for one person)"
        )
        say(f"  likeness of the output to the target: {found.to_target:+.2f}")
    return outcome


if __name__ == "__main__":
    main(*sys.argv[1:])
