"""What source photos show of a face: what is taken, what is completed, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facefusion.errors import UnknownOption
from facefusion.imaging.crops import cut_native
from facefusion.imaging.texture import resize
from facefusion.media.image import Photo, check_photo_output, write_photo
from facefusion.pipeline.advice import Verdict, advice, verdict_of
from facefusion.pipeline.cast import build_analyser, cautions, read_faces, strangers, weaknesses
from facefusion.pipeline.plan import check_paths
from facefusion.plugins.protocols import EngineContext, ShowsSources
from facefusion.plugins.registry import build_processor
from facefusion.recipe import Recipe
from facefusion.types.crop import Inspection, SourceFace
from facefusion.types.frame import Pixels
from facefusion.types.paths import PathLike, as_path, as_paths

TILE = 320
GAP = 8
SHOWN, COMPLETED = (70, 160, 90), (200, 80, 60)


@dataclass(frozen=True, slots=True)
class PhotoShare:
    """How much of the face a photo shows by itself, 0 to 1."""

    path: str
    share: float


@dataclass(frozen=True, slots=True)
class Inspected:
    """What photos show of a face.

    Attributes
    ----------
    verdict
        How far the face can be trusted.
    shares
        Share of the face, and of its parts, that is theirs, 0 to 1; the rest is completed.
    photos
        The same of every photo by itself.
    advice
        What to add, in sentences; nothing where the photos show enough.
    picture
        The picture that was written, or None.
    """

    verdict: Verdict
    shares: dict[str, float]
    photos: tuple[PhotoShare, ...]
    advice: tuple[str, ...]
    picture: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def inspect_sources(
    processor: str, paths: Sequence[PathLike], recipe: Recipe, picture: PathLike | None = None
) -> Inspected:
    """Find out what photos show of a face, and draw it where a picture is asked for.

    Parameters
    ----------
    processor
        Whose sources they are to be.
    paths
        Photos of one person.
    recipe
        Its options of the processor, and the engines that find faces.
    picture
        Where the picture goes: photos, face as they show it, as it is used, and what of it is theirs.

    Raises
    ------
    FaceFusionError
    """
    files = as_paths(paths)
    picture = None if picture is None else as_path(picture)
    if not files:
        raise UnknownOption("There is no photo to inspect.", "Name one or more: facefusion source inspect FACE.jpg.")
    if picture is not None:
        check_photo_output(picture)
        check_paths(Recipe(), writes=[("picture", picture)], reads=[("source", path) for path in files])
    built = build_processor(recipe.step_of(processor), EngineContext(recipe))
    if not isinstance(built, ShowsSources):
        flag = f"--{processor.replace('_', '-')}-model"
        raise UnknownOption("This model does not show what it makes of sources.", f"Leave out {flag}.")
    sources = read_faces(files, build_analyser(recipe, has_identity=False))
    found = built.inspect(sources)
    if picture is not None:
        write_photo(picture, Photo(draw(sources, found)))
    return Inspected(
        verdict_of(found),
        {name: round(float(share), 3) for name, share in found.shares.items()},
        tuple(PhotoShare(str(path), round(float(s), 3)) for path, s in zip(files, found.photos, strict=False)),
        (*weaknesses(files, sources), *cautions(files, sources), *advice(found), *strangers(recipe, files, sources)),
        None if picture is None else str(picture),
    )


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
