"""How well a new face takes haze, fades and lost contrast of the picture.

    python benchmarks/veil.py FOLDER [--limit 30] [--part even]

A veil that is known is laid over photos and clips. Right is what comes of swapping first and veiling then; what is
measured is how far veiling first and swapping then is from it: the mean difference in CIELAB over the new face, without
and with the search for a veil. Pictures are numbered by name; thresholds were set on the even ones, so the odd ones are
the test. The last row tells how much pictures without a veil of ours change.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from facefusion.declaration import Step
from facefusion.imaging.crops import cut_native
from facefusion.imaging.light import to_lab, to_linear, to_srgb
from facefusion.imaging.veil import measure_black
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.pipeline.runner import build_analyser
from facefusion.plugins.protocols import EngineContext
from facefusion.processors.face_swapper.fusion import build_fusion
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.recipe import Recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.crop import Crop, SourceFace
from facefusion.types.frame import Pixels

LEAST_PX = 60
"""Faces of less height are left out."""


def haze(share: float, air: tuple[float, float, float]) -> Callable[[Pixels], Pixels]:
    """Air of a colour (linear light) of which so much is clear."""
    return lambda pixels: to_srgb(to_linear(pixels) * share + (1 - share) * np.array(air, np.float32))


def levels(factor: float, black: tuple[float, float, float]) -> Callable[[Pixels], Pixels]:
    """What editors do: sRGB values times a factor, plus a black level (0 to 1)."""
    return lambda pixels: np.clip(pixels * factor + 255 * np.array(black) + 0.5, 0, 255).astype(np.uint8)


VEILS: dict[str, Callable[[Pixels], Pixels]] = {
    "haze, a little": haze(0.75, (0.75, 0.78, 0.82)),
    "haze": haze(0.5, (0.75, 0.78, 0.82)),
    "haze, dense": haze(0.25, (0.75, 0.78, 0.82)),
    "fade to white, half": levels(0.5, (0.5, 0.5, 0.5)),
    "fade to white, most": levels(0.25, (0.75, 0.75, 0.75)),
    "fade to black, half": levels(0.5, (0.0, 0.0, 0.0)),
    "low contrast": levels(0.4, (0.35, 0.35, 0.35)),
    "faded print": levels(0.55, (0.34, 0.28, 0.2)),
}


def pictures(folder: Path) -> Iterator[tuple[str, Pixels]]:
    """Photos, and one frame of every clip, by name."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            yield path.name, read_photo(path, allow_8bit=True).pixels
        elif path.suffix.lower() in (".mp4", ".mkv", ".mov"):
            yield path.name, next(islice(ClipReader(path, allow_8bit=True), 5, 6)).pixels


def swapped(swapper: MeshSwapper, crop: Crop) -> tuple[Pixels, np.ndarray]:
    """The changed picture and where it is changed."""
    (done,) = swapper.process([crop])
    alpha = done.alpha[..., None]
    mixed = crop.pixels * (1 - alpha) + done.pixels * alpha
    return (mixed + 0.5).astype(np.uint8), done.alpha > 0.5


def difference(one: Pixels, other: Pixels, where: np.ndarray) -> float:
    """Mean distance in CIELAB."""
    return float(np.linalg.norm(to_lab(one) - to_lab(other), axis=-1)[where].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=30, help="pictures")
    parser.add_argument("--part", choices=("even", "odd", "all"), default="odd", help="which pictures, by number")
    options = parser.parse_args()
    analyser = build_analyser(Recipe(), has_identity=False)
    photo = read_photo(sample_path("source.jpg")).pixels
    source = SourceFace(photo, analyser.find_faces(photo)[0])
    fusion = build_fusion(EngineContext(Recipe(), step=Step("face_swapper")))
    swappers = [MeshSwapper(fusion=fusion, has_veil=has_veil) for has_veil in (False, True)]
    for swapper in swappers:
        swapper.prepare([source])
    wanted = {"even": (0,), "odd": (1,), "all": (0, 1)}[options.part]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VEILS}
    plain: list[tuple[float, str]] = []
    chosen = (item for number, item in enumerate(pictures(options.folder)) if number % 2 in wanted)
    for name, pixels in chosen:
        faces = analyser.find_faces(pixels)
        if not faces or np.ptp(faces[0].mesh[:, 1]) < LEAST_PX:
            continue
        face = replace(faces[0], black=measure_black(pixels, faces[0].mesh))
        crop = cut_native(pixels, face, swappers[1].crop_shape.margin if swappers[1].crop_shape else 0.14)
        before, where = swapped(swappers[0], crop)
        after, _ = swapped(swappers[1], crop)
        plain.append((difference(before, after, where), name))
        for kind, veil in VEILS.items():
            black = measure_black(veil(pixels), faces[0].mesh)
            face = replace(crop.face, black=black)
            veiled = Crop(veil(crop.pixels), crop.crop_from_frame, face, crop.alpha)
            found[kind].append(
                tuple(
                    difference(swapped(swapper, veiled)[0], veil(clear), where)
                    for swapper, clear in zip(swappers, (before, after), strict=True)
                )  # type: ignore[arg-type]
            )
        if len(plain) >= options.limit:
            break
    print(f"{len(plain)} pictures of {options.folder.name}, {options.part}; mean difference in CIELAB")
    print(f"{'veil':24}{'without':>9}{'with':>9}{'ratio':>8}")
    for kind, values in found.items():
        without, with_it = np.mean(values, axis=0)
        print(f"{kind:24}{without:9.2f}{with_it:9.2f}{with_it / max(without, 1e-9):8.2f}")
    changed = [value for value, _ in plain if value > 0]
    print(f"pictures as they are: {np.mean([v for v, _ in plain]):.3f} on average, {len(changed)} changed at all")
    for value, name in sorted(plain, reverse=True)[:3]:
        print(f"  most: {value:.2f} {name}")


if __name__ == "__main__":
    main()
