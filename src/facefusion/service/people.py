"""Who is in a target, found in seconds: a few moments all over it are looked at, and one picture is kept of everybody.

For choosing people before anything is made. A picture found here can be the reference of a person in a mapping: it
shows one face, large enough to be recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from facefusion.imaging.crops import cut_native
from facefusion.media.image import Photo, encode_picture, write_photo
from facefusion.pipeline.cast import build_analyser
from facefusion.pipeline.clip import read_clip
from facefusion.pipeline.plan import find_kind
from facefusion.pipeline.resolved import resolve
from facefusion.pipeline.still import find_frame
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe
from facefusion.types.face import Face
from facefusion.types.frame import Frame, Pixels
from facefusion.types.paths import PathLike, as_path
from facefusion.writing import save_bytes

MOMENTS = 24
"""Frames of a clip that are looked at."""
ROOM = 0.7
"""Room around a face in its picture, over its longer side."""
SMALLEST_PX = 32
"""Smaller faces are nobody that can be chosen."""
ABOUT = 0.15
"""Looks that differ less are about as good as each other."""
FINE_PX = 96.0
"""A face that is as large is seen well, and no better where it is larger."""
MOST = 40
"""People that are told about, those who are seen most first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody in a target.

    Attributes
    ----------
    number
        Which, by how much is seen of them.
    frames
        In how many of the frames that were looked at.
    first_s, last_s, best_s
        When they are seen first, last and best, seconds from the beginning.
    box
        Where the face is then, as shares of width and height: left, top, right, bottom.
    seen
        Stretches in which they are seen: start and stop, seconds, and how well, 0 to 1; as exact as moments lie close
        together.
    """

    number: int
    frames: int
    first_s: float
    last_s: float
    best_s: float
    box: tuple[float, float, float, float]
    seen: tuple[tuple[float, float, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(eq=False)
class _Person:
    identity: FloatArray
    times: list[float] = field(default_factory=list)
    looks: dict[float, float] = field(default_factory=dict)
    quality: float = 0.0
    best_s: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    picture: Pixels | None = None


def find_people(recipe: Recipe, folder: PathLike, moments: int = MOMENTS) -> tuple[Seen, ...]:
    """Look who is in the target of a recipe, and write a picture of everybody: ``N.webp`` to show, ``N.png`` to keep.

    Parameters
    ----------
    recipe
        Its target, and how faces are found.
    folder
        Where pictures go; it must be there.
    moments
        Frames of a clip that are looked at.

    Raises
    ------
    FaceFusionError
        Where the target or a model cannot be read.
    """
    folder = as_path(folder)
    analyser = build_analyser(recipe, has_identity=False)
    identifier = build_engine("face_identifier", resolve(recipe).identifier, EngineContext(recipe))
    people: list[_Person] = []
    times: list[float] = []
    for at_s, frame in _moments(recipe, moments):
        times.append(at_s)
        faces = [face for face in analyser.find_faces(frame.pixels) if _size(face) >= SMALLEST_PX]
        if not faces:
            continue
        identities = identifier.identify([frame.pixels] * len(faces), [face.five_points for face in faces])
        taken: set[int] = set()
        for face, identity in zip(faces, identities, strict=True):
            _add(people, taken, face, np.asarray(identity), frame.pixels, at_s, float(identifier.same_person_cosine))
    people.sort(key=lambda one: (-len(one.times), -one.quality))
    found = []
    for number, person in enumerate(people[:MOST]):
        assert person.picture is not None
        write_photo(folder / f"{number}.png", Photo(person.picture, None, None, None))
        save_bytes(folder / f"{number}.webp", encode_picture(person.picture, "webp", 82))
        found.append(
            Seen(
                number, len(person.times), min(person.times), max(person.times), person.best_s, person.box,
                _stretches(person.looks, times),
            )
        )  # fmt: skip
    return tuple(found)


def _stretches(looks: Mapping[float, float], times: Sequence[float]) -> tuple[tuple[float, float, float], ...]:
    """Neighbouring looks that are about as good as each other, joined; each reaches half the way to the next moment."""
    if len(times) < 2:
        return ()
    middles = [(one + other) / 2 for one, other in pairwise(times)]
    starts = [0.0, *middles]
    stops = [*middles, 2 * times[-1] - middles[-1]]
    made: list[tuple[float, float, float]] = []
    for at_s, start_s, stop_s in zip(times, starts, stops, strict=True):
        if at_s not in looks:
            continue
        if made and made[-1][1] == start_s and abs(made[-1][2] - looks[at_s]) < ABOUT:
            made[-1] = (made[-1][0], stop_s, min(made[-1][2], looks[at_s]))
        else:
            made.append((start_s, stop_s, looks[at_s]))
    return tuple((round(start_s, 3), round(stop_s, 3), round(well, 2)) for start_s, stop_s, well in made)


def _moments(recipe: Recipe, count: int) -> Iterator[tuple[float, Frame]]:
    kind = find_kind(recipe.target_path)
    if kind == "photo":
        yield 0.0, find_frame(recipe, kind, 0.0)
        return
    reader = read_clip(recipe)
    info, offset = reader.info, reader.offset
    stop_s = float(reader.stop_s - info.zero * info.time_base) if reader.stop_s is not None else info.duration_s
    length_s = max(stop_s - float(offset * info.time_base), 0.0)
    rate = float(info.frame_rate or 25)
    wanted = max(min(count, round(length_s * rate)), 1)
    for number in range(wanted):
        at = offset + int(Fraction(length_s * (number + 0.5) / wanted) / info.time_base)
        frame = next(iter(read_clip(recipe, span=(at, at + 1), halo=(0, 1))), None)
        if frame is not None:
            yield round(float((frame.pts - offset) * info.time_base), 3), frame


def _size(face: Face) -> float:
    return float(max(face.box[2:] - face.box[:2]))


def _add(
    people: list[_Person], taken: set[int], face: Face, identity: FloatArray, pixels: Pixels, at_s: float, cosine: float
) -> None:
    """Count a face for whoever it is; two in one frame are two people."""
    likeness = [
        -1.0 if k in taken else float(one.identity @ identity / max(float(np.linalg.norm(one.identity)), 1e-6))
        for k, one in enumerate(people)
    ]
    number = int(np.argmax(likeness)) if likeness else -1
    if number < 0 or likeness[number] < cosine:
        number = len(people)
        people.append(_Person(np.zeros_like(identity)))
    taken.add(number)
    person = people[number]
    person.identity = person.identity + identity
    person.times.append(at_s)
    turned = face.score * max(0.2, 1 - abs(face.pose.yaw) / 90 - abs(face.pose.pitch) / 120)
    quality = min(_size(face), 256.0) * turned
    person.looks[at_s] = min(_size(face) / FINE_PX, 1.0) * min(turned, 1.0)
    if quality > person.quality:
        height, width = pixels.shape[:2]
        shares = np.clip(face.box / np.array([width, height, width, height], dtype=np.float32), 0, 1)
        left, top, right, bottom = (round(float(share), 4) for share in shares)
        person.quality, person.best_s, person.box = quality, at_s, (left, top, right, bottom)
        person.picture = cut_native(pixels, face, room=ROOM).pixels
