"""Measure how dark and how colourful each place of a face usually is, in the texture plane.

    python training/build_relief.py MEDIA src/facefusion/models/embedded/face_relief.safetensors

Photos under permissive licences of people who are not held out are cleaned as sources of a swap are, up to the step
that uses what is measured here. Of every place the median and half of what two thirds of people lie within are kept:
what a photo shows beyond that is mostly its light.
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from face_pool import ROOT, is_held_out  # noqa: F401  (puts the sources on the path)
from facefusion.errors import FaceFusionError
from facefusion.imaging.texture import resize
from facefusion.pipeline.runner import build_analyser, read_sources
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_processor
from facefusion.processors.face_swapper.appearance import SIZE, relief_of
from facefusion.recipe import build_recipe

MAX_YAW, LEAST_PX, BEARDED = 30.0, 90.0, 0.2
SIDE = 96


def resized(values: np.ndarray, side: int) -> np.ndarray:
    """(S, S, C) at another size."""
    return np.stack([resize(np.ascontiguousarray(values[..., c]), side) for c in range(values.shape[-1])], axis=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("media", "output"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    recipe = build_recipe({})
    analyser = build_analyser(recipe, has_identity=False)
    swapper = build_processor(recipe.step_of("face_swapper"), EngineContext(recipe))
    completer = swapper._completer
    completer.relief = None
    found: list[np.ndarray] = []
    for row in csv.DictReader((arguments.media / "manifest.csv").open()):
        people = [int(number) for number in re.findall(r"id(\d+)", row["identities"])]
        if row["kind"] != "image" or row["licence_class"] != "permissive" or not people:
            continue
        if is_held_out(np.array(people)).any():
            continue
        try:
            (source,) = read_sources([arguments.media / row["file"]], analyser)
        except FaceFusionError:
            continue
        if abs(source.face.pose.yaw) > MAX_YAW or float(np.ptp(source.face.mesh[:, 1])) < LEAST_PX:
            continue
        taken = swapper._complete([swapper._cleared(source)], completer)
        if taken.beard > BEARDED or taken.appearance.is_colourless:
            continue
        relief = relief_of(resized(taken.appearance.detail, SIZE), resize(swapper._plain, SIZE))
        found += [relief, relief[:, ::-1]]
    low, usual, high = np.quantile(np.stack(found), (0.16, 0.5, 0.84), axis=0)
    half = SIDE // 2
    save_file(
        {
            name: resized(values.astype(np.float32), SIDE)[:, :half].astype(np.float16)
            for name, values in (("usual", usual), ("spread", (high - low) / 2))
        },
        arguments.output,
    )
    print(f"{len(found) // 2} photos")


if __name__ == "__main__":
    main()
