"""A face in a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.types.shown import shown
from facefusion.types.topology import MESH_TO_68, POINT_COUNT, five_from_68

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A face as a detector reports it.

    Attributes
    ----------
    box
        (4,) float32 xyxy in frame pixels, not clipped.
    points
        (5, 2) float32 five-point layout: left eye, right eye, nose tip, left and right mouth corner,
        as seen in the image.
    score
        0 to 1.
    evidence
        The score after a second look at the mirrored picture, mean of both; None where nobody looked again.
    """

    box: FloatArray
    points: FloatArray
    score: float
    evidence: float | None = None

    __repr__ = shown

    @property
    def size_px(self) -> float:
        """Longer side of the box."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclass(frozen=True, slots=True)
class Pose:
    """How a head is turned, in degrees.

    Attributes
    ----------
    yaw
        Positive where the nose points to the right of the image.
    pitch
        Positive where the nose points up.
    roll
        Positive where the head is turned clockwise in the image.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face with its mesh.

    Attributes
    ----------
    mesh
        (478, 3) float32, layout ``mesh478``: x and y in frame pixels, z in the same scale, smaller is nearer.
    score
        0 to 1, how sure the landmarker is that this is a face it follows.
    pose
        Head pose read off the mesh.
    points
        (68, 2) float32 of a 68-point landmarker, or None where the mesh alone is known.
    identity
        (D,) float32 embedding of the person, or None where nobody asked for it.
    person
        Number of the person in the clip, or None where faces are not followed.
    blur
        Standard deviation of the picture's blur at the face in its pixels; 0 where it is not known.
    grain
        Standard deviation of the picture's grain there, levels of 255.
    beside
        Meshes of the other people near by, whoever stands before whom.
    covers
        Meshes (478, 3), in the same pixels, of other people who stand before this one.
    black
        (3,) linear light of the darkest that is seen of the person and near by; None where that is not known.
    proportions
        (C + H,) how the person's face differs from the mean one, freed of expression, and what it usually does, the
        same in every frame of a track (`facefusion.models.face_shape`); None where that is not known.
    smear
        (3,) how the picture is smeared there more than in the frames around it, in its pixels: a line across and down
        and the standard deviation of a round blur; None where it is not.
    is_doubtful
        Whether it may be no face at all.
    beard
        How far the person has a beard, short or full but no stubble, 0 to 1, the same in every frame of a person.
    glasses
        How far the person wears glasses, and how far their lenses are dark, 0 to 1, the same in every frame of a track;
        None where that is not known.
    """

    mesh: FloatArray
    score: float
    pose: Pose
    points: FloatArray | None = None
    identity: FloatArray | None = None
    person: int | None = None
    blur: float = 0.0
    grain: float = 0.0
    covers: tuple[FloatArray, ...] = ()
    beside: tuple[FloatArray, ...] = ()
    black: FloatArray | None = None
    proportions: FloatArray | None = None
    is_doubtful: bool = False
    smear: FloatArray | None = None
    beard: float = 0.0
    glasses: tuple[float, float] | None = None

    __repr__ = shown

    def __post_init__(self) -> None:
        if self.mesh.shape != (POINT_COUNT, 3):
            raise ValueError(f"mesh must be ({POINT_COUNT}, 3), not {self.mesh.shape}")

    @property
    def box(self) -> FloatArray:
        """(4,) xyxy around the mesh, frame pixels, not clipped."""
        points = self.mesh[:, :2]
        return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)

    @property
    def five_points(self) -> FloatArray:
        """(5, 2) five-point layout: middles of the eyes (not pupils, which move), nose tip, mouth corners."""
        return five_from_68(self.points_68)

    @property
    def points_68(self) -> FloatArray:
        """(68, 2) 68-point layout, read off the mesh where there was no such landmarker."""
        return self.mesh[list(MESH_TO_68), :2] if self.points is None else self.points


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a classifier estimates of a face. Estimates are often wrong and say nothing about who a person is.

    Attributes
    ----------
    ages
        Half-open range of years.
    gender
        ``female`` or ``male``.
    race
        FaceFusion's word for the appearance: ``white``, ``black``, ``latino``, ``asian``, ``indian``, ``arabic``.
    """

    ages: tuple[int, int]
    gender: str
    race: str


def read_attributes(values: Mapping[str, Any]) -> Attributes:
    """Attributes from what `dataclasses.asdict` made of them."""
    low, high = values["ages"]
    return Attributes((int(low), int(high)), str(values["gender"]), str(values["race"]))
