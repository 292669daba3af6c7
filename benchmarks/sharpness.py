"""What the measure of sharpness says of faces that are as sharp as their pixels, and of known blurs.

    python benchmarks/sharpness.py MEDIA

Photos of people whose number is not held out (number % 7 != 3) are reduced until the face has a height, and blurred by a known
Gaussian. The first table is where the constants of `facefusion.imaging.finish.sharp_blur` come from; the second says how much
softer a sharp new face would be made for such a target. It should be what was blurred.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.imaging.finish import measure_finish, missing_blur, sharp_blur
from facefusion.pipeline.runner import build_analyser, read_sources
from facefusion.recipe import build_recipe
from facefusion.types.crop import SourceFace
from likeness import MODULUS, PARTS

HEIGHTS, BLURS = (40, 60, 90, 140, 220, 300, 400, 500), (0.0, 0.5, 0.8, 1.2, 1.8, 2.6)
LEAST_REDUCTION = 1.3
"""How much larger the face in a photo must be: what is hardly reduced keeps its own blur."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def load_people(media: Path) -> list[SourceFace]:
    """The face of every photo of one person that is not held out, one of each person."""
    analyser, found, seen = build_analyser(build_recipe({})), [], set()
    for row in csv.DictReader((media / "manifest.csv").open()):
        person = row["identities"]
        is_alone = row["kind"] == "image" and len(person.split()) == 1 and row["faces"] == "1"
        if not is_alone or person in seen or int(person[2:]) % MODULUS == PARTS["held-out"]:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # poor photos count too
                found.append(read_sources([media / row["file"]], analyser)[0])
        except FaceFusionError:
            continue
        seen.add(person)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    people = load_people(parser.parse_args().media)
    measured: dict[tuple[int, float], list[float]] = defaultdict(list)
    for one in people:
        own = float(np.ptp(one.face.mesh[:, 1]))
        for height in (h for h in HEIGHTS if own >= LEAST_REDUCTION * h):
            scale = height / own
            small = cv2.resize(one.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            for blur in BLURS:
                soft = cv2.GaussianBlur(small, (0, 0), blur) if blur else small
                finish = measure_finish(soft, one.face.mesh * np.float32(scale))
                if finish is not None:
                    measured[height, blur].append(finish[0])
    print(
        f"{len(people)} people; height of the face, photos, quantiles {QUANTILES} of what is measured, as in the code"
    )
    for height in HEIGHTS:
        found = measured[height, 0.0]
        shown = " ".join(f"{v:.2f}" for v in np.quantile(found, QUANTILES)) if found else "-"
        print(f"{height:5d} {len(found):4d}   {shown}   {sharp_blur(height):.2f}")
    print("\nheight, blur, what is measured (median), and how much softer a sharp face is made (quartiles)")
    for (height, blur), found in sorted(measured.items()):
        made = [missing_blur(seen, sharp_blur(height)) for seen in found]
        quartiles = " ".join(f"{v:.2f}" for v in np.quantile(made, (0.25, 0.5, 0.75)))
        print(f"{height:5d} {blur:5.1f}   {np.median(found):.2f}   {quartiles}")


if __name__ == "__main__":
    main()
