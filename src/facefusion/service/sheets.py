"""A sheet of who is who in a target, and a mapping file to fill in, with pictures beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facefusion.errors import NoFaceInTarget, OutputRefused, RecipeError, TracksError
from facefusion.jobs.local import check_target
from facefusion.media.files import Named, translate_os_error
from facefusion.media.image import Photo, check_photo_output, read_photo, write_photo
from facefusion.media.sheet import Row, draw_sheet
from facefusion.pipeline.clip import read_clip
from facefusion.pipeline.inputs import hash_of
from facefusion.pipeline.plan import Kind, Target, check_models, check_paths, find_kind, settled
from facefusion.pipeline.progress import OnProgress, ignore_progress
from facefusion.pipeline.runner import analyse_target, check_size
from facefusion.pipeline.selection import places_of
from facefusion.recipe import Recipe
from facefusion.service.who import FloatArray, Look, PersonSeen, boxes_of, end_of, looks_of, people_of, time_of
from facefusion.types.frame import Pixels
from facefusion.types.paths import PathLike, as_path
from facefusion.types.track import Tracks
from facefusion.wording import counted
from facefusion.writing import save_bytes

MOST = 60
"""People on a sheet, the most prominent first; all of them are told."""
LOOKS = 4
"""Further looks at each."""
OVERVIEWS = 2
"""Whole frames on a sheet at most."""
ROOM = 0.45
"""Room around a face in its picture, over its longer side."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Who is who in a target.

    Attributes
    ----------
    output
        The picture, or None where none was asked for.
    face_map
        The mapping file to fill in, or None.
    pictures
        Pictures beside it.
    frames
        Of the target.
    length_s
        Of what was analysed, seconds.
    people
        By number.
    notes
        Sentences on what is not shown.
    """

    output: str | None
    face_map: str | None
    pictures: tuple[str, ...]
    frames: int
    length_s: float
    people: tuple[PersonSeen, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def show_people(
    recipe: Recipe,
    picture: PathLike | None = None,
    face_map: PathLike | None = None,
    tracks: Tracks | None = None,
    on_progress: OnProgress = ignore_progress,
    reads: Sequence[Named] = (),
    is_replacing: bool = False,
) -> Sheet:
    """Find out who is who in a target.

    Parameters
    ----------
    recipe
        Its target, and how faces are found.
    picture
        Sheet to write; None writes none.
    face_map
        Mapping file to write, with a picture of everybody in a folder beside it (``NAME-people``).
    tracks
        What an earlier first pass left; None makes them.
    on_progress, reads
        As in `facefusion.service.passes.analyse`.
    is_replacing
        Whether a mapping file that is there, and pictures beside it, are written over.

    Raises
    ------
    NoFaceInTarget
    OutputRefused
        Where the mapping file or the folder of its pictures is there already, too.
    TracksError
        Where the tracks are of another file, or of no moment of the part that is asked for.
    FaceFusionError
        With nothing written.
    """
    picture = None if picture is None else as_path(picture)
    face_map = None if face_map is None else as_path(face_map)
    recipe = settled(recipe)
    if recipe.target_path == Path():
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    if picture is not None:
        check_photo_output(picture)
    if face_map is not None and face_map.suffix.lower() != ".toml":
        raise RecipeError(f"A mapping file cannot be called '{face_map.name}'.", "End it in .toml.")
    writes = [(what, path) for what, path in (("picture", picture), ("mapping file", face_map)) if path is not None]
    check_models(recipe, is_rendering=False)
    check_paths(recipe, writes=writes, reads=reads)
    if face_map is not None and not is_replacing:
        _check_new(face_map)
    kind = find_kind(recipe.target_path)
    found = tracks if tracks is not None else analyse_target(recipe, on_progress=on_progress)
    if tracks is not None:
        check_target(tracks, recipe.target_path, {str(recipe.target_path): hash_of(recipe.target_path)})
        if kind == "clip":
            found = _in_part(recipe, found)
    people = people_of(found)
    if not people:
        raise NoFaceInTarget(
            f"No face is found in {recipe.target_path}.",
            "Lower --face-detector-score or raise --face-detector-size.",
        )
    begin_s = time_of(found, 0)
    length_s = end_of(found, len(found.pts) - 1) - begin_s
    shown = people[:MOST]
    notes = (
        []
        if len(people) == len(shown)
        else [f"Pictures are of the first {len(shown)} of {counted(len(people), 'person', 'people')}."]
    )
    pictures: list[Path] = []
    if face_map is not None:  # who there is says what will be written
        own_pictures = [("picture of the mapping file", _picture_beside(face_map, one.person)) for one in shown]
        check_paths(recipe, writes=[*writes, *own_pictures], reads=reads)
    if writes:
        looks = {one.person: looks_of(found, one, LOOKS + 1) for one in shown}
        wholes = _crowded(found) if picture is not None else ()
        crops, frames = _read(recipe, kind, found, looks, wholes)
        portraits = {
            number: crops[number, max(own, key=lambda look: look.quality).row] for number, own in looks.items()
        }
        if picture is not None:
            rows = [
                Row(
                    one.person,
                    portraits[one.person],
                    [crops[one.person, look.row] for look in looks[one.person] if len(looks[one.person]) > 1],
                    f"Person {one.person}",
                    words_of(one, len(found.pts)),
                    [
                        ((s.start_s - begin_s) / max(length_s, 1e-6), (s.stop_s - begin_s) / max(length_s, 1e-6))
                        for s in one.stretches
                    ],
                )
                for one in shown
            ]
            overviews = [(frames[row], f"at {time_of(found, row):.2f} s", _boxes_at(found, row)) for row in wholes]
            said = f"{counted(len(people), 'person', 'people')} in {counted(len(found.pts), 'frame')}, "
            said += f"{begin_s:.2f} to {begin_s + length_s:.2f} s"
            said += "; numbers as --faces, --exempt-faces and mapping files take them"
            sheet = draw_sheet(recipe.target_path.name, said, overviews, rows)
            write_photo(picture, Photo(sheet, None, None, None))
        if face_map is not None:
            pictures = _write_face_map(face_map, recipe, shown, portraits, found)
    return Sheet(
        None if picture is None else str(picture),
        None if face_map is None else str(face_map),
        tuple(map(str, pictures)),
        len(found.pts),
        round(length_s, 3),
        people,
        tuple(notes),
    )


def words_of(seen: PersonSeen, frame_count: int) -> list[str]:
    """Where, when, how large and how well somebody is seen, in words."""
    times = [f"{one.start_s:.2f} to {one.stop_s:.2f} s" for one in seen.stretches]
    when = ", ".join(times[:3]) + (f" and {len(times) - 3} more" if len(times) > 3 else "")
    tracks = ", ".join(map(str, seen.tracks[:6])) + (" …" if len(seen.tracks) > 6 else "")
    return [
        f"{when}: {seen.frames} of {counted(frame_count, 'frame')}",
        f"{seen.side}, {seen.size_px} px, quality {seen.quality:.2f}",
        f"{'track' if len(seen.tracks) == 1 else 'tracks'} {tracks}",
    ]


def _crowded(tracks: Tracks) -> tuple[int, ...]:
    """Rows of whole frames that together show most people."""
    rows = np.linspace(0, len(tracks.pts) - 1, min(len(tracks.pts), 400)).round().astype(int)
    rows = np.unique(rows)
    seen = {int(row): set[int]() for row in rows}
    for track in tracks.tracks:
        for row in np.intersect1d(rows, track.frames):
            seen[int(row)].add(tracks.person_of(track.track_id))
    chosen: list[int] = []
    known: set[int] = set()
    for _ in range(OVERVIEWS):
        best = max(seen, key=lambda row: (len(seen[row] - known), -row))
        if not seen[best] - known:
            break
        chosen.append(best)
        known |= seen[best]
    return tuple(sorted(chosen))


def _boxes_at(tracks: Tracks, row: int) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Everybody in a frame: number and box."""
    found = []
    for track in tracks.tracks:
        at = track.find(row)
        if at is not None:
            left, top, right, bottom = (float(v) for v in boxes_of(track.meshes[at : at + 1])[0])
            found.append((tracks.person_of(track.track_id), (left, top, right, bottom)))
    return found


def _read(
    recipe: Recipe, kind: Kind, tracks: Tracks, looks: Mapping[int, Sequence[Look]], wholes: Sequence[int]
) -> tuple[dict[tuple[int, int], Pixels], dict[int, Pixels]]:
    """Pictures of people by number and row, and whole frames by row; every frame is read once."""
    crops: dict[tuple[int, int], Pixels] = {}
    frames: dict[int, Pixels] = {}
    for row in sorted({*wholes, *(look.row for own in looks.values() for look in own)}):
        pixels = _frame(recipe, kind, tracks, row)
        check_size(tracks, Target(pixels.shape[1], pixels.shape[0]), recipe.target_path)
        if row in wholes:
            frames[row] = pixels
        for number, own in looks.items():
            for look in own:
                if look.row == row:
                    crops[number, row] = _around(pixels, look.box)
    return crops, frames


def _frame(recipe: Recipe, kind: Kind, tracks: Tracks, row: int) -> Pixels:
    if kind == "photo":
        return read_photo(recipe.target_path, recipe.allow_8bit).pixels
    pts = int(tracks.pts[row])
    whole = recipe.model_copy(update={"start_s": None, "end_s": None, "output_video_fps": None})
    for frame in read_clip(whole, span=(pts, pts + 1)):
        return frame.pixels
    raise TracksError(
        f"{recipe.target_path} has no frame at {float(pts * tracks.time_base):.2f} s, which the tracks are of.",
        "They were made from another file, or from this one before it was changed: analyse it again.",
    )


def _in_part(recipe: Recipe, tracks: Tracks) -> Tracks:
    """Tracks of the part that a recipe asks for, whatever part they were made of.

    Raises
    ------
    TracksError
        Where they have nothing of it.
    """
    first, stop = read_clip(recipe).span_pts()
    if first is None and stop is None:
        return tracks
    part = tracks.within(first, stop)
    if not len(part.pts) and len(tracks.pts):
        begin_s, stop_s = time_of(tracks, 0), end_of(tracks, len(tracks.pts) - 1)
        raise TracksError(
            f"The tracks are of {begin_s:.2f} to {stop_s:.2f} s of {recipe.target_path}, and nothing of that is in the "
            "part that is asked for.",
            "Choose another --start and --end, or analyse this part.",
        )
    return part


def _check_new(face_map: Path) -> None:
    """Refuse a mapping file that is there: somebody may have filled it in; and pictures beside it.

    Raises
    ------
    OutputRefused
    """
    folder = _picture_beside(face_map, 0).parent
    found = next((path for path in (face_map, folder) if path.exists() or path.is_symlink()), None)
    if found is not None:
        what = "mapping file" if found == face_map else "folder of its pictures"
        raise OutputRefused(
            f"The {what} {found} is there already.", "Add --force to write it anew, or choose another name."
        )


def _picture_beside(face_map: Path, person: int) -> Path:
    """Where the picture of somebody in a mapping file goes."""
    return face_map.with_name(f"{face_map.stem}-people") / f"{person}.png"


def _around(pixels: Pixels, box: FloatArray) -> Pixels:
    """A square around a face; at the picture's edge it is smaller."""
    height, width = pixels.shape[:2]
    x, y = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    reach = max(float(box[2] - box[0]), float(box[3] - box[1])) * (0.5 + ROOM)
    low_x, low_y = (max(min(int(v - reach), limit - 1), 0) for v, limit in ((x, width), (y, height)))
    high_x, high_y = (min(max(int(v + reach) + 1, 1), limit) for v, limit in ((x, width), (y, height)))
    return pixels[low_y : max(high_y, low_y + 1), low_x : max(high_x, low_x + 1)].copy()


def _write_face_map(
    path: Path, recipe: Recipe, people: Sequence[PersonSeen], portraits: Mapping[int, Pixels], tracks: Tracks
) -> list[Path]:
    """A mapping file in which nobody is changed yet, and a picture of everybody in a folder beside it."""
    folder = _picture_beside(path, 0).parent
    lines = [
        f"# Who is in {_plain(recipe.target_path.name)}, and whose face they get: see docs/selection.md.",
        "# Take away the # before a person's four lines, and name the photos; the others stay as they are.",
        "# 'seen' (frame, x and y as shares of the picture) tells who is meant where a part of the target is changed.",
        f"# Then: facefusion run -t TARGET -o OUTPUT --face-map {_plain(path.name)}",
        "",
    ]
    try:
        folder.mkdir(exist_ok=True)
        made = []
        for one in people:
            made.append(_picture_beside(path, one.person))
            write_photo(made[-1], Photo(portraits[one.person], None, None, None))
            seen = json.dumps(places_of(tracks, one.person))
            lines += [f"# {_plain(line)}" for line in words_of(one, len(tracks.pts))]
            lines += [
                f"# picture: {_plain(folder.name)}/{one.person}.png",
                "#[[person]]", f"#person = {one.person}", f"#seen = {seen}", '#sources = ["PHOTO.jpg"]', "",
            ]  # fmt: skip
        save_bytes(path, "\n".join(lines).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise translate_os_error(error, path) from error
    return made


def _plain(text: str) -> str:
    """Text that stays in its line of TOML."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
