"""Numbered pictures in the place of a clip: gathered before a request is planned, and asked for as an output."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from facefusion.errors import FaceFusionWarning, MediaMissing, MediaUnsupported, OutputRefused, RecipeError
from facefusion.media.files import check_file
from facefusion.media.image import FORMATS, is_photo
from facefusion.media.sequence import (
    DEFAULT_RATE,
    ENCODER,
    INDEX,
    WRITTEN,
    Pictures,
    as_pattern,
    find_numbered,
    find_strange,
    has_field,
    in_order,
    index_of,
    is_index,
    is_pattern,
    name_of,
    note_members,
    pack,
    pattern_of,
    say_missing,
)
from facefusion.media.writer import CONTAINERS
from facefusion.pipeline.inputs import known_hash_of
from facefusion.recipe import Recipe
from facefusion.service.batch import CLIP_ENDINGS, PHOTO_ENDINGS
from facefusion.types.numbers import rate_of
from facefusion.types.paths import PathLike, as_path
from facefusion.wording import counted
from facefusion.workplace import make_folder, user_base
from facefusion.writing import replacing

KEEP_S = 14 * 24 * 3600.0
"""A packed sequence that nobody has used for so long is taken away."""


class SequenceWarning(FaceFusionWarning):
    """Something about numbered pictures that is as it is, and not as one may think."""


def settle_sequences(recipe: Recipe, on_frame: Callable[[int, int], None] = lambda done, total: None) -> Recipe:
    """The recipe with a clip for a target that is numbered pictures, and an index for an output that is.

    Parameters
    ----------
    recipe
        As it was asked for. A target such as ``frames/%04d.png``, ``frames/####.png`` or ``frames/*.png``, or a folder
        where a frame rate is given; an output such as ``out/%04d.png``.
    on_frame
        Called with how many pictures of how many are packed.

    Raises
    ------
    MediaError
        For pictures that are missing, broken or of several sizes.
    RecipeError
        For a frame rate where the target is none.
    """
    recipe = _with_patterns(recipe)
    found = _pictures_of(recipe)
    if found is None and not recipe.target_path.exists():
        _check_readable(recipe.target_path)
    if found is None and recipe.frame_rate is not None:
        raise RecipeError(
            "--frame-rate is for a target that is numbered pictures.",
            "Leave it out; --output-video-fps leaves frames of a clip out.",
        )
    values: dict[str, object] = {}
    if found is not None:
        packed = _packed(found, recipe, on_frame)
        values |= {"target_path": packed, "frame_rate": None}
        if recipe.first_number is None:  # mattes and layers beside a clip are numbered as the target is, too
            values["first_number"] = found.first + _skipped(recipe)
        if found.missing:
            warnings.warn(say_missing(found.missing), SequenceWarning, stacklevel=2)
    output = recipe.output_path
    if has_field(output) and _is_of_pictures(output) and output.suffix.lower() not in FORMATS:
        raise OutputRefused(f"Pictures cannot be written as '{output.name}'.", f"End it in {', '.join(WRITTEN)}.")
    if is_pattern(output) and not output.is_file() and not _is_a_photo(recipe.target_path):
        first = values.get("first_number", recipe.first_number)
        values |= {
            "output_path": index_of(output),
            "output_video_encoder": ENCODER,
            "first_number": 1 if first is None else first,
        }
    return recipe.model_copy(update=values) if values else recipe


def _with_patterns(recipe: Recipe) -> Recipe:
    """The recipe with numbers in names written as ``%04d``, unless a file is called so.

    Of a target there are such files: a name that is missing must not become other pictures.
    """
    values = {}
    for name in ("target_path", "output_path"):
        path = getattr(recipe, name)
        is_free = name == "target_path" or not _is_a_photo(recipe.target_path)
        if _is_of_pictures(path) and is_free and not path.exists():
            pattern = as_pattern(path)
            if name == "output_path" or (pattern != path and find_strange(pattern)):
                values[name] = pattern
    return recipe.model_copy(update=values) if values else recipe


def _is_of_pictures(path: Path) -> bool:
    """Whether the ending of a name is none of a clip: that of pictures, also of those that are not read here."""
    return bool(path.suffix) and path.suffix.lower() not in (*CLIP_ENDINGS, *CONTAINERS, INDEX)


def _check_readable(target: Path) -> None:
    """Refuse numbered pictures of a format that is not read, or that are not there.

    Raises
    ------
    MediaUnsupported, MediaMissing
    """
    pattern = as_pattern(target)
    if pattern != target and _is_of_pictures(target):
        raise MediaMissing(
            f"There is no file {target}, nor a numbered picture such as {name_of(pattern.name, 1)}.", "Check the path."
        )
    if has_field(target) and _is_of_pictures(target):
        if strange := find_strange(target):
            raise _unreadable(target, len(strange))
        raise MediaMissing(
            f"There is no file {target}.", "The pattern %04d stands for four digits: 0001, 0002 and so on."
        )


def _unreadable(named: Path, count: int) -> MediaUnsupported:
    return MediaUnsupported(
        f"{named} names {counted(count, 'file')}, but pictures that end in {named.suffix} are not read.",
        f"Write them as {', '.join(WRITTEN)} (16-bit PNG or TIFF with --allow-8bit), or as a clip.",
    )


def as_clip(path: PathLike, recipe: Recipe) -> Path:
    """A clip of numbered pictures, at the rate of a recipe; whatever else is named is left as it is.

    Parameters
    ----------
    path
        A pattern such as ``out/%04d.png``, or the index of a sequence that was written.
    recipe
        Its ``frame_rate`` and ``allow_8bit``.

    Raises
    ------
    MediaError
    """
    path = as_path(path)
    pattern = pattern_of(path) if is_index(path) else path
    found = _pictures_of(recipe.model_copy(update={"target_path": pattern}))
    return path if found is None else _packed(found, recipe, lambda done, total: None)


def _skipped(recipe: Recipe) -> int:
    """Frames of the target before the part that is wanted."""
    if recipe.trim_frame_start is not None:
        return recipe.trim_frame_start
    return -int(-Fraction(recipe.start_s or 0).limit_denominator(1_000_000) * _rate(recipe) // 1)


def _rate(recipe: Recipe) -> Fraction:
    if recipe.frame_rate is None:
        return DEFAULT_RATE
    return rate_of(recipe.frame_rate)


def _pictures_of(recipe: Recipe) -> Pictures | None:
    target = recipe.target_path
    if target == Path() or target.is_file():
        return None
    if has_field(target) and target.suffix.lower() in PHOTO_ENDINGS:
        return find_numbered(target)
    if target.is_dir() and recipe.frame_rate is not None:
        found = [path for path in target.iterdir() if _is_picture(path)]
        if not found:
            raise MediaMissing(f"There is no picture in {target}.", "Name a folder that holds some.")
        return in_order(found)
    if glob.has_magic(str(target)):
        every = [Path(name) for name in glob.glob(str(target))]
        found = [path for path in every if _is_picture(path)]
        if not found and every and target.suffix and _is_of_pictures(target):
            raise _unreadable(target, len(every))
        if not found:
            raise MediaMissing(f"There is no picture {target}.", "Check the pattern.")
        return in_order(found)
    return None


def _is_a_photo(target: Path) -> bool:
    """Whether a target becomes one picture, whatever that is called."""
    return target.is_file() and is_photo(target)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_ENDINGS and not path.name.startswith(".") and path.is_file()


def _packed(found: Pictures, recipe: Recipe, on_frame: Callable[[int, int], None]) -> Path:
    """The clip of some pictures, made where it is not there yet."""
    rate, told = _rate(recipe), hashlib.sha256(b"1")
    for path in found.paths:
        check_file(path)
        told.update(known_hash_of(path).encode())
    told.update(f"{rate} {recipe.allow_8bit}".encode())
    home = make_folder(user_base().parent / "sequences")
    _sweep(home)
    folder = make_folder(home / told.hexdigest()[:16])
    name = re.sub(r"[^\w.-]+", "_", os.path.basename(os.path.realpath(found.paths[0].parent)))[:80] or "frames"
    path = folder / f"{name}.mp4"
    notes = folder / "notes.txt"
    if not path.is_file():
        with replacing(path) as made:
            said = pack(
                found, made, rate, recipe.allow_8bit, lambda done: on_frame(done, len(found.paths))
            )  # fmt: skip
        with replacing(notes) as made:
            made.write_text("\n".join(said), encoding="utf-8")
    note_members(path, found.paths)
    os.utime(folder)
    with suppress(OSError):
        for line in notes.read_text(encoding="utf-8").splitlines():
            warnings.warn(line, SequenceWarning, stacklevel=3)
    return path


def _sweep(home: Path) -> None:
    """Take away what nobody has used for long."""
    with suppress(OSError):
        for folder in home.iterdir():
            if time.time() - folder.stat().st_mtime > KEEP_S:
                shutil.rmtree(folder, ignore_errors=True)
