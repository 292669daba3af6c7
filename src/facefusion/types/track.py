"""Who is where in every frame: the small file that pass 1 leaves for pass 2.

Tracks are biometric data. They stay with their job, are deleted with it and are never logged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.documents import border
from facefusion.errors import MediaMissing, TracksError
from facefusion.types.face import Attributes, Face, Pose, read_attributes
from facefusion.types.frame import scaled_size
from facefusion.types.numbers import read_numbers, write_numbers
from facefusion.types.paths import as_path
from facefusion.types.rows import check_column, check_rising, check_seal, find_columns, save_columns
from facefusion.types.shown import shown
from facefusion.types.topology import FACE_OVAL, MESH_TO_68, POINT_COUNT
from facefusion.wording import counted

SAME_PERSON_COSINE = 0.4
"""Cosine above which ArcFace embeddings show one person; FaceFusion's distance of 0.3."""
FORMAT = "facefusion-tracks-1"
FRAMES = "frames"
"""Note on the numbers of the analysed frames in the target, where they are not all (`Tracks.numbers`)."""
MAX_SIDE = 1 << 16
"""No picture has a longer side, px."""
_COLUMNS = ("frames", "meshes", "scores", "poses")
_OPTIONAL = (
    "points",
    "identity",
    "guessed",
    "finishes",
    "depths",
    "blacks",
    "proportions",
    "evidence",
    "smears",
    "beard",
    "glasses",
)
_WHOLE = ("identity", "proportions", "evidence", "beard", "glasses")
"""Columns that say something about all rows at once."""
UNSEEN_DEPTH = 127
"""Depth of a face that was not seen in a frame: everybody who was seen stands before it."""
LONG = ("meshes", "poses", "points")
"""Columns that are large for every frame, or made from those that are."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person over time, in columns.

    Attributes
    ----------
    track_id
        Number of the person in the clip; 0 is the most prominent.
    frames
        (N,) int64, rising: rows of `Tracks.pts` in which the person is seen.
    meshes
        (N, 478, 3) float32 in frame pixels (see `facefusion.types.face.Face`).
    scores
        (N,) float32, 0 to 1.
    poses
        (N, 3) float32, yaw, pitch, roll in degrees.
    points
        (N, 68, 2) float32 of a 68-point landmarker, or None where the mesh alone is known.
    identity
        (D,) float32 raw embedding, or None where nobody asked for it.
    attributes
        What a classifier estimates, or None where nobody asked for it.
    guessed
        (N,) bool: rows in which nothing was measured and the face is taken to be between or near its neighbours.
    finishes
        (N, 2) float32 blur in pixels and grain in levels of 255 of the picture at the face, or None.
    depths
        (N,) int8: how many of the other people stand before this one, or None where nobody ever does.
    blacks
        (N, 3) float32 linear light of the darkest that is seen of the person and near by, or None.
    proportions
        (C + H,) float32 how the person's face differs from the mean one, and what it usually does, from all rows
        together (`facefusion.models.face_shape`), or None; of earlier versions (C,).
    evidence
        (10,) float32 what speaks for a face from all rows together (`facefusion.types.certainty`), or None where nobody
        looked twice; of earlier versions 6 to 9, without what they did not know.
    smears
        (N, 3) float32 how the face is smeared in the frame more than in those around it, in frame pixels: a line across
        and down and the standard deviation of a round blur; None where it nowhere is.
    beard
        (1,) float32 how far the person has a beard, 0 to 1, the same in all their tracks; None where there is none.
    glasses
        (2,) float32 how far the person wears glasses, and how far their lenses are dark, 0 to 1; None where nobody
        looked.
    """

    track_id: int
    frames: npt.NDArray[np.int64]
    meshes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    poses: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32] | None = None
    identity: npt.NDArray[np.float32] | None = None
    attributes: Attributes | None = None
    guessed: npt.NDArray[np.bool_] | None = None
    finishes: npt.NDArray[np.float32] | None = None
    depths: npt.NDArray[np.int8] | None = None
    blacks: npt.NDArray[np.float32] | None = None
    proportions: npt.NDArray[np.float32] | None = None
    evidence: npt.NDArray[np.float32] | None = None
    smears: npt.NDArray[np.float32] | None = None
    beard: npt.NDArray[np.float32] | None = None
    glasses: npt.NDArray[np.float32] | None = None

    __repr__ = shown

    def __post_init__(self) -> None:
        count = len(self.frames)
        check_column(self.frames, "frames", np.int64, None)
        check_column(self.meshes, "meshes", np.float32, count, POINT_COUNT, 3)
        check_column(self.scores, "scores", np.float32, count)
        check_column(self.poses, "poses", np.float32, count, 3)
        for name in _WHOLE:
            if getattr(self, name) is not None:
                check_column(getattr(self, name), name, np.float32, None)
        for name, dtype, *shape in (
            ("points", np.float32, 68, 2), ("guessed", np.bool_), ("finishes", np.float32, 2), ("depths", np.int8),
            ("blacks", np.float32, 3), ("smears", np.float32, 3),
        ):  # fmt: skip
            if getattr(self, name) is not None:
                check_column(getattr(self, name), name, dtype, count, *shape)
        check_rising(self.frames, "frames")

    def scaled(self, scale: float) -> Track:
        """The same person in frames whose sides are scaled; pixel centres stay at integers."""
        shift = np.array([scale / 2 - 0.5, scale / 2 - 0.5, 0], dtype=np.float32)
        points = None if self.points is None else (self.points * scale + shift[:2]).astype(np.float32)
        finishes = self.finishes
        if finishes is not None:
            finishes = (finishes * np.array([scale, 1], dtype=np.float32)).astype(np.float32)
        smears = None if self.smears is None else (self.smears * scale).astype(np.float32)
        meshes = (self.meshes * scale + shift).astype(np.float32)
        return replace(self, meshes=meshes, points=points, finishes=finishes, smears=smears)

    @property
    def first_seen(self) -> int:
        """First frame in which the person was seen: through a flash they may be taken to be there before their shot."""
        seen = None if self.guessed is None else np.flatnonzero(~self.guessed)
        return int(self.frames[seen[0] if seen is not None and len(seen) else 0])

    def within(self, low: int, high: int) -> Track:
        """The same person in some of the frames, half-open and counted from the first of them."""
        rows = slice(*(int(v) for v in np.searchsorted(self.frames, (low, high))))
        columns = {
            name: values[rows]
            for name in (*_COLUMNS, *_OPTIONAL)
            if name not in _WHOLE and (values := getattr(self, name)) is not None
        }
        return replace(self, **{**columns, "frames": columns["frames"] - low})

    def find(self, frame: int) -> int | None:
        """Row of a frame, or None where the person is not seen."""
        row = int(np.searchsorted(self.frames, frame))
        return row if row < len(self.frames) and self.frames[row] == frame else None

    def depth(self, row: int) -> int:
        """How many of the other people stand before this one; many where that was not seen."""
        if self.guessed is not None and self.guessed[row]:
            return UNSEEN_DEPTH
        return 0 if self.depths is None else int(self.depths[row])

    def face(self, row: int) -> Face:
        """The person as a face in one of its frames."""
        return Face(
            self.meshes[row],
            float(self.scores[row]),
            Pose(*(float(v) for v in self.poses[row])),
            None if self.points is None else self.points[row],
            self.identity,
            blur=0.0 if self.finishes is None else float(self.finishes[row, 0]),
            grain=0.0 if self.finishes is None else float(self.finishes[row, 1]),
            black=None if self.blacks is None else self.blacks[row],
            proportions=self.proportions,
            beard=0.0 if self.beard is None else float(self.beard[0]),
            glasses=None if self.glasses is None else (float(self.glasses[0]), float(self.glasses[1])),
            smear=None if self.smears is None or not self.smears[row].any() else self.smears[row],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """All people of a clip.

    Attributes
    ----------
    width, height
        Size of the upright frames in pixels.
    time_base
        Seconds per unit of ``pts``.
    pts
        (F,) int64 exact times of the analysed frames, rising.
    tracks
        One per person, most prominent first.
    notes
        What made them: models with versions and hashes, options.
    cuts
        (S,) int64 rows of ``pts`` at which a shot starts, the first one included. No track goes over a cut.
    people
        Number of the person behind every track, 0 the most prominent; without it every track is a person.
    contract
        Name of the space of the tracks' identities; empty where there are none.
    same_person_cosine
        Cosine in that space above which two identities are one person.
    """

    width: int
    height: int
    time_base: Fraction
    pts: npt.NDArray[np.int64]
    tracks: tuple[Track, ...]
    notes: Mapping[str, str]
    cuts: npt.NDArray[np.int64]
    people: tuple[int, ...] = ()
    contract: str = ""
    same_person_cosine: float = SAME_PERSON_COSINE
    _seen: tuple[Track, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE and self.time_base > 0):
            raise ValueError(f"there is no picture of {self.width} x {self.height} px at {self.time_base} s")
        check_column(self.pts, "pts", np.int64, None)
        check_column(self.cuts, "cuts", np.int64, None)
        check_rising(self.pts, "pts")
        check_rising(self.cuts, "cuts", len(self.pts))
        for track in self.tracks:
            check_rising(track.frames, "frames", len(self.pts))
        if len({track.track_id for track in self.tracks}) != len(self.tracks):
            raise ValueError("two tracks have one number")
        if self.people and len(self.people) != len(self.tracks):
            raise ValueError("not every track has its person")
        # Of an hour's tracks few have rows in the part that is read.
        object.__setattr__(self, "_seen", tuple(track for track in self.tracks if len(track.frames)))

    def __repr__(self) -> str:
        begin, end = (float(self.pts[k] * self.time_base) for k in (0, -1)) if len(self.pts) else (0.0, 0.0)
        people = len(set(self.people)) if self.people else len(self.tracks)
        return (
            f"Tracks({self.width} x {self.height} px, {counted(len(self.pts), 'frame')}, {begin:.2f} to {end:.2f} s, "
            f"{counted(people, 'person', 'people')} in {counted(len(self.tracks), 'track')})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: everybody as an outline, and when they are seen. No embedding is in it."""
        return drawn(self)

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """(F,) int64 numbers of the analysed frames in the target, from 0: of a part they do not begin there."""
        return read_numbers(self.notes.get(FRAMES, ""), len(self.pts))

    def within(self, first: int | None, stop: int | None) -> Tracks:
        """The same people in a part of the time: half-open pts, None where open. Who is not in it has no rows."""
        low = 0 if first is None else int(np.searchsorted(self.pts, first))
        high = len(self.pts) if stop is None else max(int(np.searchsorted(self.pts, stop)), low)
        cuts = self.cuts[(self.cuts > low) & (self.cuts < high)] - low
        notes = {**self.notes, FRAMES: write_numbers(self.numbers[low:high].tolist())}
        tracks = tuple(track.within(low, high) for track in self.tracks)
        starts = np.zeros(min(high - low, 1), np.int64)
        return replace(self, pts=self.pts[low:high], tracks=tracks, notes=notes, cuts=np.concatenate([starts, cuts]))

    def person_of(self, track_id: int) -> int:
        """Number of the person behind a track."""
        if not self.people:
            return track_id
        return next(
            person for track, person in zip(self.tracks, self.people, strict=True) if track.track_id == track_id
        )

    def prominent(self) -> tuple[int, ...]:
        """Track ids of the most prominent person of every shot, and of who is seen instead (`one_at_a_time`)."""
        return self.one_at_a_time(sorted(self.tracks, key=lambda track: track.track_id))

    def one_at_a_time(self, ordered: Sequence[Track]) -> tuple[int, ...]:
        """Track ids of one person at a time in every shot.

        The first of a shot is chosen. Of the others, one after the other, so is who is seen in more frames without
        anybody chosen than with them: whoever is alone in the picture, but nobody beside a person who is lost for a
        moment. Tracks are chosen whole, so for a few frames, as in a wipe, there may be two.

        Parameters
        ----------
        ordered
            Tracks to choose from, whom to choose first.
        """
        shots: dict[int, dict[int, list[Track]]] = {}
        for track in ordered:
            if len(track.frames):
                shot = int(np.searchsorted(self.cuts, track.first_seen, side="right"))
                shots.setdefault(shot, {}).setdefault(self.person_of(track.track_id), []).append(track)
        chosen: list[int] = []
        for people in shots.values():
            taken = np.zeros(0, np.int64)
            for own in people.values():
                if not _is_mostly_without(np.concatenate([track.frames for track in own]), taken):
                    continue
                there = [track for track in own if _is_mostly_without(track.frames, taken)]
                chosen += [track.track_id for track in there]
                taken = np.concatenate([taken, *(track.frames for track in there)])
        return tuple(chosen)

    def at(self, pts: int, track_ids: Sequence[int]) -> list[tuple[Track, int]]:
        """Chosen tracks that are seen at a time, each with its row; none for a time never analysed."""
        frame = int(np.searchsorted(self.pts, pts))
        if frame >= len(self.pts) or self.pts[frame] != pts:
            return []
        found = []
        for track in self._seen:
            row = track.find(frame) if track.track_id in track_ids else None
            if row is not None:
                found.append((track, row))
        return found

    def scaled(self, scale: Fraction) -> Tracks:
        """The same people in frames whose sides are scaled."""
        if scale == 1:
            return self
        width, height = scaled_size(self.width, self.height, scale)
        return replace(
            self, width=width, height=height, tracks=tuple(track.scaled(float(scale)) for track in self.tracks)
        )

    def save(self, path: str | os.PathLike[str], pieces: Iterable[tuple[str, int, npt.NDArray[Any]]] = ()) -> None:
        """Write the file under a temporary name, then rename it.

        Parameters
        ----------
        path
            Where to.
        pieces
            Rows of columns that are not in memory (`facefusion.types.rows.absent`): name as ``<track id>.<column>``,
            first row, rows.
        """
        path = as_path(path)
        columns: dict[str, npt.NDArray[Any]] = {"pts": self.pts, "cuts": self.cuts}
        for track in self.tracks:
            for name in (*_COLUMNS, *_OPTIONAL):
                values = getattr(track, name)
                if values is not None:
                    columns[f"{track.track_id}.{name}"] = values
        header = {
            "format": FORMAT,
            "width": str(self.width),
            "height": str(self.height),
            "time_base": str(self.time_base),
            "track_ids": json.dumps([track.track_id for track in self.tracks]),
            "notes": json.dumps(dict(self.notes)),
            "people": json.dumps(self.people),
            "contract": self.contract,
            "same_person_cosine": repr(self.same_person_cosine),
            "attributes": json.dumps({t.track_id: asdict(t.attributes) for t in self.tracks if t.attributes}),
        }
        save_columns(path, columns, header, pieces, is_sealed=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str], rows: tuple[int, int] | None = None, is_mapped: bool = False) -> Tracks:
        """Read a file written by `save`.

        Parameters
        ----------
        path
            The file.
        rows
            Half-open range of rows of ``pts``: of every track only what is seen in it is read. None reads all.
        is_mapped
            Read meshes, poses and points only when they are touched; the file must stay where it is.

        Raises
        ------
        MediaMissing
            When there is no such file.
        TracksError
            When it is not a tracks file, or a damaged one.
        """
        path = as_path(path)
        if not path.is_file():
            raise MediaMissing(f"There is no tracks file {path}.", "Make one with 'facefusion analyse'.")
        with border(TracksError, f"{path} is damaged", "Analyse the target again."):
            columns, header = find_columns(path)
            if header.get("format") != FORMAT:
                raise TracksError(f"{path} is not a tracks file.", "Make one with 'facefusion analyse'.")
            if rows is None:
                check_seal(path, header)
            attributes = json.loads(header.get("attributes", "{}"))

            def column(number: int, name: str) -> Any:
                stored = columns[f"{number}.{name}"]
                if is_mapped and name in LONG:
                    return stored.map()
                return stored.read() if name in _WHOLE else stored.read(*parts[number])

            numbers, people = json.loads(header["track_ids"]), json.loads(header.get("people", "[]"))
            notes = json.loads(header["notes"])
            if not all(type(k) is int and k >= 0 for k in (*numbers, *people)) or not isinstance(notes, dict):
                raise ValueError("its header is not one")
            parts: dict[int, tuple[int, int | None]] = dict.fromkeys(numbers, (0, None))
            if rows is not None:
                for number in parts:
                    low, high = np.searchsorted(columns[f"{number}.frames"].read(), rows)
                    parts[number] = int(low), int(high)
            tracks = tuple(
                Track(
                    k,
                    **{name: column(k, name) for name in _COLUMNS},
                    **{name: column(k, name) for name in _OPTIONAL if f"{k}.{name}" in columns},
                    attributes=read_attributes(attributes[str(k)]) if str(k) in attributes else None,
                )
                for k in parts
            )
            return cls(
                int(header["width"]),
                int(header["height"]),
                Fraction(header["time_base"]),
                columns["pts"].read(),
                tracks,
                notes,
                columns["cuts"].read(),
                tuple(people),
                header.get("contract", ""),
                float(header.get("same_person_cosine", SAME_PERSON_COSINE)),
            )


def _is_mostly_without(frames: npt.NDArray[np.int64], taken: npt.NDArray[np.int64]) -> bool:
    """Whether most of some frames are not among others."""
    return 2 * int(np.isin(frames, taken).sum()) < len(frames)


SHOWN_TRACKS = 12
"""Tracks that a page shows; of more it says how many there are."""


def drawn(tracks: Tracks) -> str:
    """Tracks as a piece of a page: for each an outline of the face where it is largest, and a bar where it is seen."""
    frames = max(len(tracks.pts), 1)
    rows = []
    for track in [track for track in tracks.tracks if len(track.frames)][:SHOWN_TRACKS]:
        row = int(np.argmax(np.ptp(track.meshes[:, :, 1], axis=1)))
        mesh = np.asarray(track.meshes[row][:, :2])
        low, size = mesh.min(axis=0), float(np.ptp(mesh, axis=0).max())
        lines = [FACE_OVAL, *([MESH_TO_68[k] for k in line] for line in _LINES)]
        paths = "".join(
            f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in (mesh[list(line)] - low) * 60 / size + 2)}"/>'
            for line in lines
        )
        stretches = np.split(track.frames, np.flatnonzero(np.diff(track.frames) > 1) + 1)
        bars = "".join(
            f'<rect x="{one[0] * 400 / frames:.1f}" width="{max(len(one) * 400 / frames, 1):.1f}" height="12"/>'
            for one in stretches
        )
        rows.append(
            f"<tr><td>{track.track_id}</td><td>{tracks.person_of(track.track_id)}</td><td>"
            f'<svg width="64" height="64" fill="none" stroke="currentColor">{paths}</svg></td><td>'
            f'<svg width="400" height="12" fill="currentColor" style="background:#8884">{bars}</svg></td>'
            f"<td>{counted(len(track.frames), 'frame')}, {size:.0f} px</td></tr>"
        )
    more = len(tracks.tracks) - len(rows)
    head = "<tr><th>track</th><th>person</th><th>face</th><th>seen</th><th></th></tr>"
    tail = f"<p>and {counted(more, 'more track')}</p>" if more else ""
    return f"<p>{escape(repr(tracks))}</p><table>{head}{''.join(rows)}</table>{tail}"


_LINES = (range(36, 42), range(42, 48), range(48, 60))
"""Eyes and lips in the 68-point layout."""
