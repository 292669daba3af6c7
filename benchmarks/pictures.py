"""What a picture costs when everything is warm: processor time and wall time of the library's calls on the packaged photo.

    python benchmarks/pictures.py [--rounds 9]

Medians; wall time says little on a machine that others use too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from facefusion import Anonymiser, Stream, Swapper, analyse_image, build_recipe, run
from facefusion.testing.fakes import sample_path


def measure(call: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Wall time of the first call, then medians of processor time and wall time, seconds."""
    began = time.perf_counter()
    call()
    first = time.perf_counter() - began
    spent, waited = [], []
    for _ in range(rounds):
        used, began = time.process_time(), time.perf_counter()
        call()
        spent.append(time.process_time() - used)
        waited.append(time.perf_counter() - began)
    return first, statistics.median(spent), statistics.median(waited)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    source, photo = sample_path("source.jpg"), sample_path("target.jpg")
    with Image.open(photo) as image:
        picture = np.asarray(image)
    swapper, hide, blur = Swapper(source), Anonymiser(face_anonymiser_seed=1), Anonymiser(face_anonymiser_model="blur")
    stream = Stream(swapper)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.png"
        recipe = build_recipe({"source_paths": source, "target_path": photo, "output_path": output})
        calls: dict[str, Callable[[], object]] = {
            "Swapper.swap": lambda: swapper.swap(picture),
            "Anonymiser.hide, synthetic": lambda: hide.hide(picture),
            "Anonymiser.hide, blur": lambda: blur.hide(picture),
            "analyse_image": lambda: analyse_image(picture),
            "Stream.change": lambda: stream.change(picture),
            "run": lambda: run(recipe),
        }
        print(f"{picture.shape[1]} x {picture.shape[0]} px, one face; medians of {rounds}")
        print(f"{'':<28}{'first, wall':>12}{'cpu':>9}{'wall':>9}   s")
        for name, call in calls.items():
            first, spent, waited = measure(call, rounds)
            print(f"{name:<28}{first:>12.2f}{spent:>9.3f}{waited:>9.3f}")


if __name__ == "__main__":
    main()
