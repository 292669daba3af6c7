"""What the first pass found, as data for other programs: JSON, JSON lines, CSV, Parquet, COCO, MOT and WebVTT.

Boxes and points are in frame pixels as everywhere here (docs/conventions.md), except where a format has rules of its
own: COCO's boxes begin at the corner of the picture, MOT counts from one.
"""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from facefusion.errors import ExtraMissing, FaceFusionWarning, RecipeError, TracksError
from facefusion.media.files import Named, check_outputs, translate_os_error
from facefusion.service.who import FloatArray, PersonSeen, boxes_of, people_of, quality_of, time_of
from facefusion.types.paths import PathLike, as_path
from facefusion.types.topology import MESH_TO_68, five_from_68
from facefusion.types.track import FRAMES, Track, Tracks
from facefusion.version import __version__
from facefusion.writing import replacing

Format = Literal["json", "jsonl", "csv", "parquet", "coco", "mot", "webvtt"]
FORMATS: tuple[Format, ...] = get_args(Format)
Layout = Literal["5", "68", "478"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
SCHEMA = "facefusion-faces-1"
"""What JSON files say they are."""
ENDINGS: dict[str, Format] = {
    ".coco.json": "coco", ".mot.txt": "mot", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv",
    ".parquet": "parquet", ".txt": "mot", ".vtt": "webvtt",
}  # fmt: skip
"""Formats by the end of a name, the longest first."""
_OWN_ENDING: dict[Format, str] = {
    "json": ".json", "jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "coco": ".coco.json", "mot": ".txt",
    "webvtt": ".vtt",
}  # fmt: skip
_WITH_EMBEDDINGS = ("json", "jsonl", "parquet")
_NO_POINTS = ("mot", "webvtt")
_ROWS_AT_ONCE = 4096
COCO_NAMES = ("right_eye", "left_eye", "nose_tip", "right_mouth_corner", "left_mouth_corner")
"""Of five points, as COCO has it: the person's own left and right, where all else here is left in the image."""


class EmbeddingsWarning(FaceFusionWarning):
    """Said of files that hold embeddings."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written.

    Attributes
    ----------
    output, format
        Where, and what it is.
    frames, faces, people
        How many are in it.
    layouts
        Of points.
    has_embeddings
        Whether people can be recognised by it.
    """

    output: str
    format: str
    frames: int
    faces: int
    people: int
    layouts: tuple[str, ...]
    has_embeddings: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class FaceRow:
    """A face in a frame.

    Attributes
    ----------
    row, number, pts, time_s
        Of the frame: which it is of the analysed ones, its number in the target, its time in `Tracks.time_base` and in
        seconds, both from the beginning of the target.
    track, person
        Numbers.
    box
        (4,) float32 xyxy in frame pixels, not clipped.
    score, quality
        0 to 1: how sure the landmarker is, and how well the face is seen.
    pose
        (3,) yaw, pitch, roll in degrees.
    is_guessed
        Whether nothing was measured here and the face is taken to be between its neighbours.
    points
        (N, 2) or, of layout 478, (478, 3) float32 in frame pixels by layout.
    """

    row: int
    number: int
    pts: int
    time_s: float
    track: int
    person: int
    box: FloatArray
    score: float
    quality: float
    pose: FloatArray
    is_guessed: bool
    points: Mapping[str, FloatArray]


def format_of(path: PathLike) -> Format | None:
    """The format that a name ends in, or None where it ends in none."""
    path = as_path(path)
    name = path.name.lower()
    return next((kind for ending, kind in ENDINGS.items() if name.endswith(ending)), None)


def output_for(tracks_path: PathLike, kind: Format) -> Path:
    """Where an export goes where nobody said."""
    tracks_path = as_path(tracks_path)
    return tracks_path.with_name(tracks_path.stem + _OWN_ENDING[kind])


def check_export(
    path: PathLike, kind: Format | None, layouts: Sequence[str], has_embeddings: bool, reads: Sequence[Named] = ()
) -> Format:
    """Refuse what cannot be exported, before anything is done for it.

    Returns
    -------
    The format: that of the name where none was said.

    Raises
    ------
    RecipeError, OutputRefused
    ExtraMissing
        Where Parquet is wanted and its package is not there.
    """
    path = as_path(path)
    kind = kind or format_of(path)
    if kind is None:
        raise RecipeError(
            f"What kind of file is {path.name} to be?", f"Add --format, or end it in {', '.join(ENDINGS)}."
        )
    if kind not in FORMATS:
        raise RecipeError(f"There is no format '{kind}'.", f"There are {', '.join(FORMATS)}.")
    if unknown := [layout for layout in layouts if layout not in LAYOUTS]:
        raise RecipeError(f"There are no {unknown[0]} points.", f"Layouts are {', '.join(LAYOUTS)}.")
    if has_embeddings and kind not in _WITH_EMBEDDINGS:
        raise RecipeError(
            f"The format {kind} has no place for embeddings.", f"Formats that have are {', '.join(_WITH_EMBEDDINGS)}."
        )
    if kind == "coco" and len(set(layouts)) > 1:
        raise RecipeError("COCO has one layout of points.", "Name one with --points.")
    if kind == "parquet" and find_spec("pyarrow") is None:
        raise ExtraMissing.of("Parquet", "pyarrow", "parquet")
    check_outputs([("output", path)], list(reads))
    return kind


def export(
    tracks: Tracks,
    path: PathLike,
    kind: Format | None = None,
    layouts: Sequence[Layout] = ("5",),
    has_embeddings: bool = False,
    name: str = "",
    reads: Sequence[Named] = (),
) -> Exported:
    """Write what the first pass found as data for other programs.

    Parameters
    ----------
    tracks
        What was found; `Tracks.load` with ``is_mapped`` where they are long.
    path
        File to write.
    kind
        None goes by the name.
    layouts
        Of points that are written: ``5``, ``68``, ``478``. MOT and WebVTT have none.
    has_embeddings
        Write embeddings, by which people can be recognised elsewhere; an `EmbeddingsWarning` says so.
    name
        Of the target; else what the tracks say.
    reads
        Files that must not be written over.

    Raises
    ------
    RecipeError, OutputRefused, ExtraMissing
        With nothing written.
    TracksError
        Where embeddings are wanted and there are none.
    """
    path = as_path(path)
    kind = check_export(path, kind, layouts, has_embeddings, reads)
    if has_embeddings:
        if not any(track.identity is not None for track in tracks.tracks):
            raise TracksError("The tracks carry no embeddings.", "Analyse the target again with a recogniser.")
        warnings.warn(
            f"{path.name} holds embeddings: whoever has it can recognise these people elsewhere. Keep it as carefully "
            "as their photos, and delete it when it is no longer needed.",
            EmbeddingsWarning,
            stacklevel=2,
        )
    layouts = () if kind in _NO_POINTS else tuple(dict.fromkeys(layouts))
    told = name or tracks.notes.get("target", "")
    people = people_of(tracks)
    try:
        with replacing(path) as made:
            if kind == "parquet":
                count = _write_parquet(made, tracks, layouts, has_embeddings)
            else:
                with made.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                    count = _WRITERS[kind](file, tracks, people, layouts, has_embeddings, told)
    except OSError as error:
        raise translate_os_error(error, path) from error
    return Exported(str(path), kind, len(tracks.pts), count, len(people), layouts, has_embeddings)


def rows_of(tracks: Tracks, layouts: Sequence[str] = ()) -> Iterator[FaceRow]:
    """Every face in every frame, in order of time, then of tracks; large columns are read a piece at a time."""
    own, numbers = [track for track in tracks.tracks if len(track.frames)], tracks.numbers
    persons = {track.track_id: tracks.person_of(track.track_id) for track in own}
    for start in range(0, len(tracks.pts), _ROWS_AT_ONCE // 16):
        stop = start + _ROWS_AT_ONCE // 16
        found: list[FaceRow] = []
        for track in own:
            low, high = (int(v) for v in np.searchsorted(track.frames, (start, stop)))
            if low < high:
                found += _rows_of(tracks, track, persons[track.track_id], slice(low, high), layouts, numbers)
        found.sort(key=lambda one: (one.row, one.track))
        yield from found


def _rows_of(
    tracks: Tracks, track: Track, person: int, part: slice, layouts: Sequence[str], numbers: npt.NDArray[np.int64]
) -> Iterator[FaceRow]:
    meshes, poses = np.asarray(track.meshes[part]), np.asarray(track.poses[part])
    scores, frames = track.scores[part], track.frames[part]
    flat = meshes[:, :, :2]
    boxes = boxes_of(meshes)
    qualities = quality_of(boxes[:, 3] - boxes[:, 1], scores, poses)
    guessed = np.zeros(len(frames), bool) if track.guessed is None else track.guessed[part]
    sixty_eight = flat[:, list(MESH_TO_68)] if track.points is None else np.asarray(track.points[part])
    for k, frame in enumerate(frames.tolist()):
        points: dict[str, FloatArray] = {}
        for layout in layouts:
            if layout == "5":
                points[layout] = five_from_68(sixty_eight[k])
            else:
                points[layout] = sixty_eight[k] if layout == "68" else meshes[k]
        yield FaceRow(
            frame, int(numbers[frame]), int(tracks.pts[frame]), time_of(tracks, frame), track.track_id, person,
            boxes[k], float(scores[k]), float(qualities[k]), poses[k], bool(guessed[k]), points,
        )  # fmt: skip


def _numbers(values: npt.NDArray[Any], digits: int = 3) -> Any:
    """Rounded, as lists; a float32 has no more to say."""
    return np.round(np.asarray(values, np.float64), digits).tolist()


def _plain_row(one: FaceRow) -> dict[str, Any]:
    yaw, pitch, roll = _numbers(one.pose, 2)
    return {
        "frame": one.number,
        "pts": one.pts,
        "time_s": round(one.time_s, 6),
        "track": one.track,
        "person": one.person,
        "box": _numbers(one.box),
        "score": round(one.score, 4),
        "quality": round(one.quality, 4),
        "is_guessed": one.is_guessed,
        "pose": {"yaw": yaw, "pitch": pitch, "roll": roll},
        "points": {layout: _numbers(points) for layout, points in one.points.items()},
    }


def _head(tracks: Tracks, people: Sequence[PersonSeen], layouts: Sequence[str], name: str) -> dict[str, Any]:
    return {
        "format": SCHEMA,
        "facefusion": __version__,
        "target": name,
        "width": tracks.width,
        "height": tracks.height,
        "time_base": str(tracks.time_base),
        "frames": len(tracks.pts),
        "pts": tracks.pts.tolist(),
        "shots": tracks.numbers[tracks.cuts].tolist(),
        "layouts": list(layouts),
        "people": [one.as_dict() for one in people],
    }


def _tracks_told(tracks: Tracks, has_embeddings: bool) -> list[dict[str, Any]]:
    told = []
    for track in tracks.tracks:
        one: dict[str, Any] = {"track": track.track_id, "person": tracks.person_of(track.track_id)}
        one["frames"] = len(track.frames)
        one["attributes"] = None if track.attributes is None else asdict(track.attributes)
        if has_embeddings:
            one |= {"contract": tracks.contract, "embedding": _embedding(track)}
        told.append(one)
    return told


def _embedding(track: Track) -> list[float] | None:
    return None if track.identity is None else [float(v) for v in track.identity]


def _write_json(
    file: IO[str], tracks: Tracks, people: Sequence[PersonSeen], layouts: Sequence[str], embeds: bool, name: str
) -> int:
    head = {**_head(tracks, people, layouts, name), "tracks": _tracks_told(tracks, embeds)}
    text = json.dumps(head, ensure_ascii=False, allow_nan=False)
    file.write(text[:-1] + ', "faces": [')
    count = 0
    for one in rows_of(tracks, layouts):
        count += 1
        file.write((",\n" if count > 1 else "\n") + json.dumps(_plain_row(one), allow_nan=False))
    file.write("\n]}\n")
    return count


def _write_jsonl(
    file: IO[str], tracks: Tracks, people: Sequence[PersonSeen], layouts: Sequence[str], embeds: bool, name: str
) -> int:
    own = {track.track_id: _embedding(track) for track in tracks.tracks}
    count = 0
    for one in rows_of(tracks, layouts):
        count += 1
        row = _plain_row(one)
        if embeds:
            row |= {"contract": tracks.contract, "embedding": own[one.track]}
        file.write(json.dumps(row, allow_nan=False) + "\n")
    return count


_COLUMNS = (
    "frame", "pts", "time_s", "track", "person", "left", "top", "right", "bottom", "score", "quality", "is_guessed",
    "yaw", "pitch", "roll",
)  # fmt: skip


def _point_names(layouts: Sequence[str]) -> list[str]:
    names = []
    for layout in layouts:
        axes = "xyz" if layout == "478" else "xy"
        names += [f"p{layout}_{k}_{axis}" for k in range(int(layout)) for axis in axes]
    return names


def _flat(one: FaceRow) -> list[Any]:
    row = _plain_row(one)
    return [
        row["frame"], row["pts"], row["time_s"], row["track"], row["person"], *row["box"], row["score"], row["quality"],
        int(row["is_guessed"]), *row["pose"].values(),
    ]  # fmt: skip


def _write_csv(
    file: IO[str], tracks: Tracks, people: Sequence[PersonSeen], layouts: Sequence[str], embeds: bool, name: str
) -> int:
    writer = csv.writer(file)  # RFC 4180
    writer.writerow([*_COLUMNS, *_point_names(layouts)])
    count = 0
    for one in rows_of(tracks, layouts):
        count += 1
        points = [v for layout in layouts for v in np.ravel(_numbers(one.points[layout])).tolist()]
        writer.writerow([*_flat(one), *points])
    return count


def _write_parquet(path: Path, tracks: Tracks, layouts: Sequence[str], embeds: bool) -> int:
    """Columns as in CSV; points are fixed-size lists, and what the file is about stands in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"frame": pa.int64(), "pts": pa.int64(), "time_s": pa.float64(), "track": pa.int32(), "person": pa.int32()}
    fields = [pa.field(name, kinds.get(name, pa.float32())) for name in _COLUMNS if name != "is_guessed"]
    fields.insert(_COLUMNS.index("is_guessed"), pa.field("is_guessed", pa.bool_()))
    widths = {layout: int(layout) * (3 if layout == "478" else 2) for layout in layouts}
    fields += [pa.field(f"points_{layout}", pa.list_(pa.float32(), width)) for layout, width in widths.items()]
    if embeds:
        fields.append(pa.field("embedding", pa.list_(pa.float32())))
    about = {
        "format": SCHEMA, "width": str(tracks.width), "height": str(tracks.height), "frames": str(len(tracks.pts)),
        "time_base": str(tracks.time_base), "contract": tracks.contract,
    }  # fmt: skip
    schema = pa.schema(fields, metadata=about)
    own = {track.track_id: _embedding(track) for track in tracks.tracks}
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[list[Any]] = []

        def put() -> None:
            columns = [pa.array([row[k] for row in batch], field.type) for k, field in enumerate(schema)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            batch.clear()

        for one in rows_of(tracks, layouts):
            count += 1
            row = [*_flat(one), *(np.ravel(one.points[layout]).tolist() for layout in layouts)]
            row[_COLUMNS.index("is_guessed")] = one.is_guessed
            batch.append([*row, own[one.track]] if embeds else row)
            if len(batch) >= _ROWS_AT_ONCE:
                put()
        if batch:
            put()
    return count


def _write_coco(
    file: IO[str], tracks: Tracks, people: Sequence[PersonSeen], layouts: Sequence[str], embeds: bool, name: str
) -> int:
    """Objects with boxes and, of one layout, keypoints; pictures are frames, by the number that decoders give them.

    References
    ----------
    https://cocodataset.org/#format-data
    """
    stem = Path(name).stem or "frame"
    is_photo = len(tracks.pts) == 1 and FRAMES not in tracks.notes
    images = [
        {
            "id": row + 1,
            "file_name": name if is_photo and name else f"{stem}.{number:08d}.png",
            "width": tracks.width,
            "height": tracks.height,
            "frame_id": number,
            "time_s": round(time_of(tracks, row), 6),
        }
        for row, number in enumerate(tracks.numbers.tolist())
    ]
    category: dict[str, Any] = {"id": 1, "name": "face", "supercategory": "person"}
    layout = layouts[0] if layouts else ""
    if layout:
        names = COCO_NAMES if layout == "5" else [f"{layout}_{k}" for k in range(int(layout))]
        category |= {"keypoints": list(names), "skeleton": []}
    head = {
        "info": {"description": name, "version": SCHEMA, "contributor": f"FaceFusion {__version__}"},
        "licenses": [],
        "images": images,
        "categories": [category],
    }
    text = json.dumps(head, ensure_ascii=False, allow_nan=False)
    file.write(text[:-1] + ', "annotations": [')
    count = 0
    for one in rows_of(tracks, layouts):
        low = np.clip(one.box[:2] + 0.5, 0, (tracks.width, tracks.height))
        high = np.clip(one.box[2:] + 0.5, 0, (tracks.width, tracks.height))
        width, height = _numbers(high - low)
        if width <= 0 or height <= 0:
            continue  # all of it is outside of the picture
        count += 1
        annotation: dict[str, Any] = {
            "id": count,
            "image_id": one.row + 1,
            "category_id": 1,
            "bbox": [*_numbers(low), width, height],
            # Programs that draw masks need one. An outline of the face would be another area than that of the box.
            "segmentation": [_numbers(np.array([low, (high[0], low[1]), high, (low[0], high[1])]).ravel())],
            "area": round(width * height, 3),
            "iscrowd": 0,
            "score": round(one.score, 4),
            "track_id": one.track,
            "person_id": one.person,
        }
        if layout:
            flat = np.asarray(one.points[layout])[:, :2]
            limit = np.array([tracks.width, tracks.height]) - 0.5
            inside = [bool((point > -0.5).all() and (point < limit).all()) for point in flat]
            keypoints = [
                v
                for (x, y), is_in in zip(_numbers(flat), inside, strict=True)
                for v in ((x, y, 2) if is_in else (0, 0, 0))
            ]
            annotation |= {"keypoints": keypoints, "num_keypoints": sum(inside)}
        file.write((",\n" if count > 1 else "\n") + json.dumps(annotation, allow_nan=False))
    file.write("\n]}\n")
    return count


def _write_mot(
    file: IO[str], tracks: Tracks, people: Sequence[PersonSeen], layouts: Sequence[str], embeds: bool, name: str
) -> int:
    """``frame,id,left,top,width,height,conf,-1,-1,-1``: frames, people and pixels are counted from one.

    References
    ----------
    Dendorfer et al., MOTChallenge: A Benchmark for Single-Camera Multiple Target Tracking, 2020.
    """
    count = 0
    for one in rows_of(tracks):
        count += 1
        left, top, right, bottom = (float(v) for v in one.box)
        file.write(
            f"{one.number + 1},{one.person + 1},{left + 1:.2f},{top + 1:.2f},{right - left:.2f},{bottom - top:.2f},"
            f"{one.score:.4f},-1,-1,-1\n"
        )
    return count


def _write_webvtt(
    file: IO[str], tracks: Tracks, people: Sequence[PersonSeen], layouts: Sequence[str], embeds: bool, name: str
) -> int:
    """One cue for every stretch in which a person is seen.

    References
    ----------
    https://www.w3.org/TR/webvtt1/
    """
    told = ((stretch.start_s, one.person, stretch.stop_s, one) for one in people for stretch in one.stretches)
    cues = sorted(told, key=lambda cue: cue[:3])
    title = " ".join(name.split()).replace("-->", "->")
    file.write(f"WEBVTT\n\nNOTE Who is seen when in {title or 'the target'}\n")
    for number, (start_s, person, stop_s, one) in enumerate(cues, 1):
        stop_s = max(stop_s, start_s + 0.001)  # a cue that ends when it begins is none
        text = f"<v Person {person}>{one.side}, {one.size_px} px, quality {one.quality:.2f}</v>"
        file.write(f"\n{number}\n{_vtt_time(start_s)} --> {_vtt_time(stop_s)}\n{text}\n")
    return sum(one.frames for one in people)


def _vtt_time(time_s: float) -> str:
    total = round(time_s * 1000)
    hours, rest = divmod(total, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, thousandths = divmod(rest, 1000)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{thousandths:03d}"


_WRITERS = {
    "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv, "coco": _write_coco, "mot": _write_mot,
    "webvtt": _write_webvtt,
}  # fmt: skip
