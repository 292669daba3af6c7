"""Numbered pictures as a clip, and a clip as numbered pictures.

What is read is packed without loss into a clip, so that whoever works on it sees a target as any other. What is written
is made of finished segments: pictures, and an index that says which belong together, with their hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
from av.video.reformatter import VideoReformatter

from facefusion.documents import load_json, reason_of
from facefusion.errors import MediaMissing, MediaUnreadable, MediaUnsupported, OutputRefused, SegmentDamaged
from facefusion.media.border import writing
from facefusion.media.generated import LOSSLESS, LOSSLESS_OPTIONS
from facefusion.media.image import FORMATS, Photo, read_photo, write_photo
from facefusion.media.reader import to_rgb
from facefusion.media.segments import Part, open_segment
from facefusion.types.frame import Pixels
from facefusion.wording import counted
from facefusion.writing import save_bytes

INDEX = ".frames"
"""Ending of the index of a sequence that was written; before it stands the pattern of its pictures."""
ENCODER = "ffv1"
"""Of the segments behind a sequence: without loss."""
WRITTEN = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""Endings of the pictures of a sequence that is written."""
DEFAULT_RATE = Fraction(25)
MAX_RATE = 1000
_FIELD = re.compile(r"%(?:0(\d{1,2}))?d")
_HASHES = re.compile(r"((?<![^._-])##(?=[._-])|#{3,})|\$F(\d?)(?![A-Za-z0-9])")
"""One ``#`` is a letter of a name (``take#2.png``), and so are two that do not stand by themselves."""
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Numbered pictures that belong together.

    Attributes
    ----------
    paths
        In order.
    first
        Number of the first one.
    missing
        Numbers between the first and the last that no picture has.
    """

    paths: tuple[Path, ...]
    first: int
    missing: tuple[int, ...] = ()


def is_pattern(path: Path) -> bool:
    """Whether a name stands for numbered pictures, such as ``frames/%04d.png``; ``my%20dog.png`` and clips do not."""
    return path.suffix.lower() in FORMATS and len(_FIELD.findall(path.name)) == 1


def has_field(path: Path) -> bool:
    """Whether a name has one place for a number, whatever it ends in."""
    return len(_FIELD.findall(path.name)) == 1


def as_pattern(path: Path) -> Path:
    """A path with ``%04d`` where a number is written as elsewhere: ``####``, or ``$F4`` of Houdini. Others stay.

    Of ``#`` there are three or more, or two between ``.``, ``_`` and ``-``.
    """
    if has_field(path) or len(_HASHES.findall(path.name)) != 1:
        return path

    def field(found: re.Match[str]) -> str:
        width = len(found[1]) if found[1] else int(found[2] or 1)
        return f"%0{width}d" if width > 1 else "%d"

    return path.with_name(_HASHES.sub(field, path.name))


def find_strange(pattern: Path) -> list[str]:
    """Numbered files that a pattern names, in order, whatever is in them; none where there is no such folder."""
    try:
        return [name for _, name in sorted(_numbered_in(pattern))]
    except (MediaMissing, MediaUnreadable):
        return []


def name_of(pattern: str, number: int) -> str:
    """The name that a pattern gives to a number."""

    def digits(field: re.Match[str]) -> str:
        return f"{number:0{int(field[1] or 0)}d}"

    return _FIELD.sub(digits, pattern, count=1)


def find_numbered(pattern: Path) -> Pictures:
    """Pictures that a pattern names, none of them missing.

    Raises
    ------
    MediaMissing
        When there are none, or one of them is missing in between.
    MediaUnreadable
        When the folder cannot be read.
    """
    numbers = [number for number, name in _numbered_in(pattern) if name_of(pattern.name, number) == name]
    if not numbers:
        raise MediaMissing(
            f"There is no picture {pattern}.", "The pattern %04d stands for four digits: 0001, 0002 and so on."
        )
    numbers.sort()
    if missing := _gaps(numbers):
        last = next(number for number in reversed(numbers) if number < missing[0])
        raise MediaMissing(
            f"{counted(len(missing), 'picture is', 'pictures are')} missing in {pattern}: {_said(missing)}, behind "
            f"{name_of(pattern.name, last)}.",
            "Add what is missing, or take what is there with a pattern such as "
            f"'{pattern.with_name(_FIELD.sub('*', pattern.name))}'.",
        )
    return Pictures(tuple(pattern.parent / name_of(pattern.name, number) for number in numbers), numbers[0])


def in_order(paths: Sequence[Path]) -> Pictures:
    """Pictures by the last number in their name, and by name where there is none; what is missing is told.

    Raises
    ------
    MediaUnsupported
        When two have one number.
    """
    found = [(_number(path), path) for path in paths]
    if any(number is None for number, _ in found):
        return Pictures(tuple(sorted(paths, key=lambda path: path.name)), 1)
    numbered = sorted((number, path) for number, path in found if number is not None)
    for (one, path), (other, twin) in pairwise(numbered):
        if one == other:
            raise MediaUnsupported(
                f"{path.name} and {twin.name} have one number.", "Name one of them, with a pattern such as %04d.png."
            )
    numbers = [number for number, _ in numbered]
    return Pictures(tuple(path for _, path in numbered), numbers[0], tuple(_gaps(numbers)))


def say_missing(missing: Sequence[int]) -> str:
    """A sentence on numbers that no picture has."""
    return (
        f"{counted(len(missing), 'number has', 'numbers have')} no picture: {_said(missing)}. Those that are there "
        "follow each other; none is made up."
    )


def _number(path: Path) -> int | None:
    digits = _DIGITS.findall(path.stem)
    return int(digits[-1]) if digits else None


def _gaps(numbers: Sequence[int]) -> list[int]:
    """Up to some thousand numbers that are missing."""
    gaps: list[int] = []
    for one, other in pairwise(numbers):
        gaps += range(one + 1, min(other, one + 1001))
    return gaps


def _said(numbers: Sequence[int]) -> str:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    words = [str(low) if low == high else f"{low} to {high}" for low, high in ranges]
    return ", ".join(words[:4]) + (" and more" if len(words) > 4 else "")


def _numbered_in(pattern: Path) -> list[tuple[int, str]]:
    """Names with digits in the place of a pattern's field, however many, and what these say."""
    field = _FIELD.search(pattern.name)
    assert field is not None
    before, behind = pattern.name[: field.start()], pattern.name[field.end() :]
    found = []
    for name in _names_in(pattern.parent):
        middle = name[len(before) : len(name) - len(behind)]  # an ending is always behind it
        if name.startswith(before) and name.endswith(behind) and middle.isdecimal() and middle.isascii():
            found.append((int(middle), name))
    return found


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError as error:
        raise MediaMissing(f"There is no folder {folder}.", "Check the path.") from error
    except OSError as error:
        raise MediaUnreadable(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from error


def pack(
    found: Pictures, path: Path, rate: Fraction, allow_8bit: bool, on_frame: Callable[[int], None]
) -> tuple[str, ...]:
    """Write pictures as a clip without loss.

    Parameters
    ----------
    found
        The pictures.
    path
        A file that ends in ``.mp4``, in a folder of its own.
    rate
        Frames a second.
    allow_8bit
        Accept more than 8 bits per channel and reduce them.
    on_frame
        Called with the number of pictures that are done.

    Returns
    -------
    Sentences on what is not carried.

    Raises
    ------
    MediaError
        Naming the picture that cannot be read, or is of another size than the first.
    OutputRefused
    """
    first = read_photo(found.paths[0], allow_8bit)
    height, width = first.pixels.shape[:2]
    notes: list[str] = []
    base = 1 / rate
    options = {"fflags": "+bitexact", "video_track_timescale": str(base.denominator), "movflags": "+faststart"}
    with writing(path), av.open("file:" + str(path), "w", format="mp4", options=options) as output:
        stream: Any = output.add_stream(LOSSLESS, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        context = stream.codec_context
        context.time_base = stream.time_base = base
        context.thread_count, context.options = 1, dict(LOSSLESS_OPTIONS)
        for number, one in enumerate(found.paths):
            photo = first if number == 0 else read_photo(one, allow_8bit)
            if photo.pixels.shape[:2] != (height, width):
                raise MediaUnsupported(
                    f"{one.name} is {photo.pixels.shape[1]} x {photo.pixels.shape[0]} px, and {found.paths[0].name} is "
                    f"{width} x {height} px.",
                    "All pictures of a sequence have one size: take out the others, or bring them to it.",
                )
            if photo.alpha is not None and not notes:
                notes.append("Transparency of the pictures is left out: a film has none.")
            picture = av.VideoFrame.from_ndarray(photo.pixels, format="rgb24")
            picture.pts, picture.time_base, picture.duration = number, base, 1
            output.mux(stream.encode(picture))
            on_frame(number + 1)
        output.mux(stream.encode(None))
    return tuple(notes)


def note_members(clip: Path, paths: Iterable[Path]) -> None:
    """Note beside a packed clip which pictures it was made of, so that nobody writes over them.

    The same pictures at several places make one clip: all that are still there are kept.

    Raises
    ------
    OSError, OutputRefused
    """
    earlier = [path for path in members_of(clip) if path.exists()]
    every = dict.fromkeys([*earlier, *(Path(os.path.abspath(path)) for path in paths)])
    if len(every) != len(earlier):
        save_bytes(_members_beside(clip), b"\0".join(os.fsencode(path) for path in every))


def members_of(clip: Path) -> tuple[Path, ...]:
    """Pictures that a clip was packed of; none of any other file."""
    try:
        told = _members_beside(clip).read_bytes()
    except (OSError, ValueError):
        return ()
    return tuple(Path(os.fsdecode(name)) for name in told.split(b"\0") if name)


def _members_beside(clip: Path) -> Path:
    return clip.with_name("pictures.facefusion") if clip.name else clip


def index_of(pattern: Path) -> Path:
    """The index of a sequence that is written by a pattern: what stands for it as an output."""
    return pattern.with_name(pattern.name + INDEX)


def is_index(path: Path) -> bool:
    """Whether an output is the index of a sequence, by its name."""
    return path.suffix == INDEX and is_pattern(pattern_of(path))


def pattern_of(index: Path) -> Path:
    """The pattern of the pictures of an index."""
    return index.with_name(index.name.removesuffix(INDEX))


def check_sequence_output(index: Path) -> None:
    """Refuse a sequence that cannot be written, or that would go over pictures which are none of its own.

    Raises
    ------
    OutputRefused
    """
    pattern = pattern_of(index)
    if pattern.suffix.lower() not in WRITTEN:
        raise OutputRefused(f"Pictures cannot be written as '{pattern.name}'.", f"End it in {', '.join(WRITTEN)}.")
    known = {name for name, _ in listed(index)} if index.exists() else set()
    try:
        strange = sorted(name for _, name in _numbered_in(pattern) if name not in known)
    except MediaMissing:  # there is no folder yet
        strange = []
    except MediaUnreadable as error:
        raise OutputRefused(error.message, error.hint) from error
    if strange:
        raise OutputRefused(
            f"{pattern.parent} holds {counted(len(strange), 'picture')} of such names already: {strange[0]}"
            f"{' and others' if len(strange) > 1 else ''}.",
            "Name another folder, or take them away first.",
        )


def save_index(index: Path, pattern: str, told: Sequence[Mapping[str, object]]) -> None:
    """Write an index: of every picture its ``name``, its ``sha256``, and what else is to be said.

    Raises
    ------
    OSError, OutputRefused
    """
    text = json.dumps({"pattern": pattern, "pictures": list(told)}, indent=1, ensure_ascii=False)
    save_bytes(index, (text + "\n").encode("utf-8", "surrogateescape"))


def listed(index: Path) -> list[tuple[str, str]]:
    """Names and SHA-256 of the pictures of an index.

    Raises
    ------
    MediaUnreadable
        When the file is no index.
    """
    told = load_json(index, MediaUnreadable, "an index of pictures")
    pictures = told.get("pictures") if isinstance(told, dict) else None
    if not isinstance(pictures, list):
        raise MediaUnreadable(f"{index} is no index of pictures.", "Take it away, or name another folder.")
    found = []
    for one in pictures:
        name, sha256 = (one.get(key) for key in ("name", "sha256")) if isinstance(one, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(sha256, str) or name != Path(name).name or not name:
            raise MediaUnreadable(f"{index} is damaged.", "Take it away, or name another folder.")
        found.append((name, sha256))
    return found


def find_changed(index: Path) -> tuple[str, ...]:
    """Names of pictures of an index that are missing or are not as they were written.

    Raises
    ------
    MediaUnreadable
    """
    changed = []
    for name, sha256 in listed(index):
        try:
            with (index.parent / name).open("rb") as file:
                is_same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            is_same = False
        if not is_same:
            changed.append(name)
    return tuple(changed)


def folder_of(made: Path) -> Path:
    """Where pictures lie until they get their names: beside the index that is made."""
    return made.with_name("pictures")


def written_pictures(made: Path, asked: Path) -> list[tuple[Path, Path]]:
    """Pictures that were written with an index, each with the name that it gets; none where the output is no index."""
    if not is_index(asked):
        return []
    return [(folder_of(made) / name, asked.parent / name) for name, _ in listed(made)]


def names_listed(index: Path) -> set[str]:
    """Names of the pictures of an index that is there and unchanged; none where there is none."""
    if not is_index(index) or not index.is_file():
        return set()
    try:
        changed = find_changed(index)
        return {name for name, _ in listed(index) if name not in changed}
    except MediaUnreadable:
        return set()


def write_pictures(
    made: Path,
    pattern: Path,
    parts: Sequence[Part],
    first: int,
    time_base: Fraction,
    quality: int,
    comment: str,
    colour: tuple[int, int, int, int],
    before_naming: Callable[[], None] | None = None,
) -> tuple[str, ...]:
    """Write segments as pictures into `folder_of` an index, and the index.

    Parameters
    ----------
    made
        The index, in a folder that goes where all goes wrong.
    pattern
        Of the pictures' names; its ending chooses their format.
    parts
        All segments in order.
    first
        Number of the first picture.
    time_base
        Seconds in a unit of the parts' times.
    quality
        0 to 100, of formats that have one.
    comment
        Written into every picture that can hold it.
    colour
        Primaries, transfer, matrix and range of segments that are no RGB, as `ClipReader.colour` has them.
    before_naming
        Called when all is complete.

    Returns
    -------
    Sentences on what was written.

    Raises
    ------
    OutputRefused, SegmentDamaged
    """
    folder = folder_of(made)
    folder.mkdir(parents=True, exist_ok=True)
    times = [float(time * time_base) for part in parts for time in part.pts]
    told = []
    for number, (pixels, time) in enumerate(zip(_pixels(parts, colour), times, strict=True), first):
        path = folder / name_of(pattern.name, number)
        write_photo(path, Photo(pixels), quality, comment)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        told.append({"name": path.name, "time_s": round(time, 6), "sha256": sha256})
    if before_naming is not None:
        before_naming()
    save_index(made, pattern.name, told)
    names = [one["name"] for one in told]
    return (f"{counted(len(names), 'picture')}: {names[0]} to {names[-1]}." if names else "No picture.",)


def _pixels(parts: Sequence[Part], colour: tuple[int, int, int, int]) -> Iterator[Pixels]:
    """Frames of segments, (H, W, 3) uint8 RGB."""
    reformatter = VideoReformatter()
    for part in parts:
        count = 0
        try:
            with open_segment(part.path) as container:
                stream: Any = container.streams.video[0]
                stream.thread_type = "NONE"
                for picture in container.decode(stream):
                    count += 1
                    if picture.format.name.startswith("yuv"):  # neither FFV1 nor the file says it
                        picture.colorspace, picture.color_range = colour[2:]
                    yield to_rgb(picture, reformatter)
        except (av.error.FFmpegError, OSError) as error:
            raise SegmentDamaged(
                f"{part.path.name} cannot be read: {reason_of(error)}.",
                "Resume the job; the segment is rendered again.",
            ) from error
        if count != len(part.pts):
            raise SegmentDamaged(
                f"{part.path.name} holds {counted(count, 'frame')} instead of {len(part.pts)}.",
                "Resume the job; the segment is rendered again.",
            )
