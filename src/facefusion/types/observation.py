"""What pass 1 saw in one part of a clip, before the parts are joined to tracks.

Observations are biometric data. They stay with their job and are deleted as soon as the tracks are made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.documents import border
from facefusion.errors import TracksError
from facefusion.types.certainty import NO_VERDICT
from facefusion.types.face import Attributes, read_attributes
from facefusion.types.rows import Rows, check_column, check_rising, check_shares, find_columns, save_columns
from facefusion.types.shown import shown
from facefusion.types.topology import POINT_COUNT

FORMAT = "facefusion-observation-1"
_COLUMNS = (
    "frames", "meshes", "scores", "motions", "trusts", "is_moved", "point_frames", "points", "point_scores",
    "finish_frames", "finishes", "qualities", "identities",
)  # fmt: skip
_OPTIONAL = (
    "depths",
    "looks",
    "blacks",
    "evidence",
    "kept_frames",
    "told_frames",
    "told",
    "spectra",
    "beards",
    "glasses",
)
LONG = ("meshes", "motions", "trusts", "points")
"""Columns that are large for every frame."""

SPECTRUM = 50
"""Numbers of a face in a frame that `facefusion.imaging.smear` keeps."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One person as followed through a part of a clip, as measured.

    Attributes
    ----------
    frames
        (N,) int64, rising: rows of `Observation.pts`.
    meshes
        (N, 478, 3) float32 in frame pixels.
    scores
        (N,) float32, 0 to 1.
    motions, trusts
        (N, 478, 2) float16 motion of the picture under the mesh since the frame before in pixels, and (N, 478)
        float16 how far it can be trusted, 0 to 1.
    is_moved
        (N,) bool: rows for which motion was measured.
    point_frames, points, point_scores
        (M,) rows, (M, 68, 2) pixels and (M,) scores of a 68-point landmarker.
    finish_frames, finishes
        (K,) rows and (K, 2) blur in pixels and grain in levels of 255.
    qualities, identities
        (S,) how good the best looks are, and (S, D) their embeddings; D is 0 where nobody asked.
    attributes
        Of the same looks, or empty.
    depths
        (N,) int8: how many of the other people stand before this one, or None where nobody ever does.
    looks
        (2, K, 3) float32 what the face looks like at the beginning and at the end (`facefusion.imaging.appearance`), or
        None where that is not known.
    blacks
        (N, 3) float32 linear light of the darkest that is seen of the person and near by, or None.
    evidence
        (3,) float32: the best the detector thought of it after a second look, 0 to 1, whether it moved against its
        surroundings, 0 or 1, and the verifier's verdict (`facefusion.types.certainty.verdict_of`), -1 where it was not
        asked; None where nobody looked again. Rows with a score of 0 were then not seen but carried along the motion of
        the picture.
    kept_frames
        (S,) int64 rows of the best looks, or None where that is not known.
    told_frames, told
        (T,) int64, rising: rows of looks at about even distances, and (T, D) their embeddings, which tell whether it is
        one person all the time; None where nobody asked.
    spectra
        (N, 50) float16 detail by size and direction (`facefusion.imaging.smear`), zeros where it was not measured, or
        None.
    beards
        (N, 2) float16 how rough and how dark a beard is (`facefusion.imaging.beards`), below 0 where nobody looked, or
        None.
    glasses
        (N, 2) float16 what speaks for glasses and for dark ones (`facefusion.imaging.glasses`), below 0 where nobody
        looked, or None.

    The long ones may lie in a file.
    """

    frames: npt.NDArray[np.int64]
    meshes: FloatArray | Rows
    scores: FloatArray
    motions: npt.NDArray[np.float16] | Rows
    trusts: npt.NDArray[np.float16] | Rows
    is_moved: npt.NDArray[np.bool_]
    point_frames: npt.NDArray[np.int64]
    points: FloatArray | Rows
    point_scores: FloatArray
    finish_frames: npt.NDArray[np.int64]
    finishes: FloatArray
    qualities: FloatArray
    identities: FloatArray
    attributes: tuple[Attributes, ...] = ()
    depths: npt.NDArray[np.int8] | None = None
    looks: FloatArray | None = None
    blacks: FloatArray | None = None
    evidence: FloatArray | None = None
    kept_frames: npt.NDArray[np.int64] | None = None
    told_frames: npt.NDArray[np.int64] | None = None
    told: FloatArray | None = None
    spectra: npt.NDArray[np.float16] | None = None
    beards: npt.NDArray[np.float16] | None = None
    glasses: npt.NDArray[np.float16] | None = None

    __repr__ = shown

    def check(self, frame_count: int) -> None:
        """Refuse columns that do not belong together.

        Parameters
        ----------
        frame_count
            Rows of `Observation.pts`.

        Raises
        ------
        ValueError
        """
        rows, located, finished = len(self.frames), len(self.point_frames), len(self.finish_frames)
        if not rows:
            raise ValueError("somebody is seen in no frame")
        check_column(self.frames, "frames", np.int64, None)
        check_column(self.meshes, "meshes", np.float32, rows, POINT_COUNT, 3)
        check_column(self.scores, "scores", np.float32, rows)
        check_column(self.motions, "motions", np.float16, rows, POINT_COUNT, 2)
        check_column(self.trusts, "trusts", np.float16, rows, POINT_COUNT)
        check_shares(self.trusts, "trusts")
        check_column(self.is_moved, "is_moved", np.bool_, rows)
        check_column(self.point_frames, "point_frames", np.int64, None)
        check_column(self.points, "points", np.float32, located, 68, 2)
        check_column(self.point_scores, "point_scores", np.float32, located)
        check_column(self.finish_frames, "finish_frames", np.int64, None)
        check_column(self.finishes, "finishes", np.float32, finished, 2)
        check_column(self.qualities, "qualities", np.float32, None)
        check_column(self.identities, "identities", np.float32, len(self.qualities), None)
        if self.depths is not None:
            check_column(self.depths, "depths", np.int8, rows)
        if self.looks is not None:
            check_column(self.looks, "looks", np.float32, 2, None, 3)
        if self.blacks is not None:
            check_column(self.blacks, "blacks", np.float32, rows, 3)
        if self.spectra is not None:
            check_column(self.spectra, "spectra", np.float16, rows, SPECTRUM)
        if self.beards is not None:
            check_column(self.beards, "beards", np.float16, rows, 2)
        if self.glasses is not None:
            check_column(self.glasses, "glasses", np.float16, rows, 2)
        if self.evidence is not None:
            check_column(self.evidence, "evidence", np.float32, 3)
            check_shares(self.evidence[:2] if self.evidence[2] == NO_VERDICT else self.evidence, "evidence")
        for values, name in (
            (self.frames, "frames"), (self.point_frames, "point_frames"), (self.finish_frames, "finish_frames"),
        ):  # fmt: skip
            check_rising(values, name, frame_count)
        if self.kept_frames is not None:
            check_column(self.kept_frames, "kept_frames", np.int64, len(self.qualities))
        if (self.told_frames is None) != (self.told is None):
            raise ValueError("looks have no rows, or rows no looks")
        if self.told_frames is not None and self.told is not None:
            check_column(self.told_frames, "told_frames", np.int64, None)
            check_rising(self.told_frames, "told_frames", frame_count)
            check_column(self.told, "told", np.float32, len(self.told_frames), None)
        if self.attributes and len(self.attributes) != len(self.qualities):
            raise ValueError("not every look has its attributes")


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A part of a clip as seen.

    Attributes
    ----------
    width, height
        Size of the upright frames in pixels.
    time_base
        Seconds per unit of ``pts``.
    pts
        (F,) int64 exact times of the frames, rising.
    cuts
        (S,) int64 rows at which a shot starts. Row 0 counts only for the first part: whether there is a cut between
        two parts is seen by the earlier one.
    overlaps
        Whether the last row is the first frame of the next part, looked at by both.
    sightings
        People.
    turns
        (K,) int64, rising: rows at which the picture as a whole had become another, by a cut or little by little; None
        where nobody asked.
    """

    width: int
    height: int
    time_base: Fraction
    pts: npt.NDArray[np.int64]
    cuts: npt.NDArray[np.int64]
    overlaps: bool
    sightings: tuple[Sighting, ...]
    turns: npt.NDArray[np.int64] | None = None

    __repr__ = shown

    def save(self, path: Path) -> None:
        """Write the file under a temporary name, then rename it."""
        columns: dict[str, npt.NDArray[Any]] = {"pts": self.pts, "cuts": self.cuts}
        if self.turns is not None:
            columns["turns"] = self.turns
        for number, sighting in enumerate(self.sightings):
            for name in _COLUMNS:
                values = getattr(sighting, name)
                columns[f"{number}.{name}"] = values.read() if isinstance(values, Rows) else values
            for name in _OPTIONAL:
                if getattr(sighting, name) is not None:
                    columns[f"{number}.{name}"] = getattr(sighting, name)
        header = {
            "format": FORMAT,
            "facts": json.dumps([self.width, self.height, str(self.time_base), self.overlaps, len(self.sightings)]),
            "attributes": json.dumps([[asdict(a) for a in s.attributes] for s in self.sightings]),
        }
        save_columns(path, columns, header)

    @classmethod
    def load(cls, path: Path) -> Observation:
        """Read a file written by `save`; the long columns stay in it, and it must stay where it is.

        Raises
        ------
        TracksError
            When it is missing or damaged.
        """
        with border(TracksError, f"{path.name} is damaged", "Run the job again."):
            columns, header = find_columns(path)
            if header.get("format") != FORMAT:
                raise TracksError(f"{path.name} is not an observation.", "Run the job again.")
            width, height, base, overlaps, count = json.loads(header["facts"])
            if not all(type(n) is int and n >= 0 for n in (width, height, count)) or type(overlaps) is not bool:
                raise ValueError("its header is not one")
            attributes = [tuple(map(read_attributes, one)) for one in json.loads(header["attributes"])]

            def column(name: str) -> Any:
                stored = columns[name]
                is_long = name.split(".")[-1] in LONG
                return Rows.of(stored) if is_long else stored.read()

            sightings = tuple(
                Sighting(
                    **{name: column(f"{k}.{name}") for name in _COLUMNS},
                    **{name: column(f"{k}.{name}") for name in _OPTIONAL if f"{k}.{name}" in columns},
                    attributes=attributes[k],
                )
                for k in range(count)
            )
            found = cls(width, height, Fraction(base), column("pts"), column("cuts"), overlaps, sightings)
            if "turns" in columns:
                turns = column("turns")
                check_column(turns, "turns", np.int64, None)
                check_rising(turns, "turns", len(found.pts))
                found = replace(found, turns=turns)
            check_column(found.pts, "pts", np.int64, None)
            check_column(found.cuts, "cuts", np.int64, None)
            check_rising(found.pts, "pts")
            check_rising(found.cuts, "cuts", len(found.pts))
            for sighting in sightings:
                sighting.check(len(found.pts))
            return found


def row_offsets(observations: Sequence[Observation]) -> list[int]:
    """Row of the whole clip at which each part begins, and the number of all rows at the end."""
    offsets = [0]
    for observation in observations:
        offsets.append(offsets[-1] + len(observation.pts) - observation.overlaps)
    return offsets
