"""``facefusion source inspect``: what is taken from source photos, what is completed, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facefusion.apps.console import emit, say
from facefusion.errors import UnknownOption
from facefusion.imaging.crops import cut_native
from facefusion.imaging.texture import resize
from facefusion.media.image import Photo, check_photo_output, write_photo
from facefusion.pipeline.cast import build_analyser, read_faces
from facefusion.plugins.protocols import EngineContext, ShowsSources
from facefusion.plugins.registry import build_processor
from facefusion.recipe import Recipe
from facefusion.types.crop import Inspection, SourceFace
from facefusion.types.frame import Pixels

PROCESSOR = "face_swapper"
TILE = 320
GAP = 8
GOOD, FAIR = 0.75, 0.5
"""Shares of a face that photos must show so that it is the person, and so that it is somebody like them."""
LEAST = 0.45
"""Share of a part of the face below which a photo that shows it is asked for."""
MANY = 3
"""Parts that are not seen, of which more are no longer named one by one."""
ADVICE = {
    "left half": "from the side that is left in the picture",
    "right half": "from the side that is right in the picture",
    "forehead": "without hair or a hat over the forehead",
    "brows and eyes": "without glasses",
    "nose and cheeks": "with nothing before the cheeks",
    "mouth and chin": "with nothing before the mouth",
}
SHOWN, COMPLETED = (70, 160, 90), (200, 80, 60)


def inspect_sources(paths: Sequence[Path], picture: Path | None, recipe: Recipe, is_json: bool = False) -> int:
    """Print what photos show of a face, and write a picture of it where one is asked for.

    Parameters
    ----------
    paths
        Photos of one person.
    picture
        Where the picture goes; None for none.
    recipe
        Names the swapper and the engines that find faces.
    is_json
        Whether it is told as one event.

    Returns
    -------
    0.

    Raises
    ------
    FaceFusionError
    """
    if not paths:
        raise UnknownOption("There is no photo to inspect.", "Name one or more: facefusion source inspect FACE.jpg.")
    if picture is not None:
        check_photo_output(picture)
    processor = build_processor(recipe.step_of(PROCESSOR), EngineContext(recipe))
    if not isinstance(processor, ShowsSources):
        raise UnknownOption(
            "This face swapper does not show what it makes of sources.", "Leave out --face-swapper-model."
        )
    sources = read_faces(paths, build_analyser(recipe, has_identity=False))
    found = processor.inspect(sources)
    told = advice(found)
    if picture is not None:
        write_photo(picture, Photo(draw(sources, found)))
    if is_json:
        emit(
            event="source",
            shares={name: round(share, 3) for name, share in found.shares.items()},
            photos={str(path): round(share, 3) for path, share in zip(paths, found.photos, strict=False)},
            advice=told,
            picture=None if picture is None else str(picture),
        )
        return 0
    say(f"{found.shares['face']:.0%} of the face is what the photos show, the rest is completed: {verdict(found)}.")
    for name, share in found.shares.items():
        if name != "face":
            say(f"  {name:<18}{share:>5.0%}")
    if len(found.photos) > 1:
        say("by itself")
        for path, share in zip(paths, found.photos, strict=True):
            say(f"  {path.name:<40}{share:>5.0%}")
    for line in told:
        say(line)
    if picture is not None:
        say(f"{picture}: photos, face as they show it, as it is used, and in green what is theirs.")
    return 0


def verdict(found: Inspection) -> str:
    """In words, how far a face can be trusted."""
    share = found.shares["face"]
    if share >= GOOD:
        return "good"
    return "fair; what is completed is likely, not known" if share >= FAIR else "poor; much of it is a guess"


def advice(found: Inspection) -> list[str]:
    """What to add, in sentences; nothing where the photos show enough."""
    missing = [name for name in ADVICE if found.shares[name] < LEAST]
    if missing and len(missing) <= MANY:
        return [f"Little is seen of: {', '.join(missing)}. Add a photo {', or '.join(ADVICE[m] for m in missing)}."]
    if missing or found.shares["face"] < FAIR:
        return [
            "Little is seen of the face. Add a larger photo from the front, evenly lit, with nothing before the face."
        ]
    return []


def draw(sources: Sequence[SourceFace], found: Inspection) -> Pixels:
    """The photos, the face as they show it, the face as it is used, and what of it is theirs."""
    share = (found.own * np.float32(0.75))[..., None]
    colours = np.array(COMPLETED, np.float32) + (np.array(SHOWN, np.float32) - np.array(COMPLETED, np.float32)) * share
    grey = found.used.astype(np.float32).mean(axis=-1, keepdims=True)
    trust = np.clip(colours * (0.45 + grey / 360), 0, 255).astype(np.uint8)
    tiles = [_tile(cut_native(source.pixels, source.face, 0.25).pixels) for source in sources]
    tiles += [_tile(picture) for picture in (found.taken, found.used, trust)]
    gap = np.full((TILE, GAP, 3), 255, dtype=np.uint8)
    row = [part for tile in tiles for part in (tile, gap)][:-1]
    return np.ascontiguousarray(np.hstack(row))


def _tile(pixels: Pixels) -> Pixels:
    """A picture on a white square."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, dtype=np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return np.asarray(np.clip(resize(square, TILE) + 0.5, 0, 255), dtype=np.uint8)
