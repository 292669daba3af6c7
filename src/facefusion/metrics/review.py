"""What is looked at after people were hidden: was anyone missed? Every find with a number, those in doubt first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from facefusion.imaging.align import mesh_crop
from facefusion.imaging.resample import cut, encode_jpeg, resize_pixels
from facefusion.types.certainty import LARGE_PX, Certainty, Evidence
from facefusion.types.frame import Pixels, RenderedFrame
from facefusion.types.track import Track, Tracks
from facefusion.wording import agreed, counted

FloatArray = npt.NDArray[np.float32]
What = Literal["hidden", "left", "exempt"]

MOST_FRAMES, FRAME_PX = 16, 1280
"""Whole frames on the page, and their longer side."""
LABEL = 0.022
"""Height of a number on a whole frame over the frame's width."""
CROP_PX = 112
LONG_GAP = 1
"""Frames without a find between two of one person from which it is asked why."""
EDGE, OUT, OUTWARDS, WAY = 0.3, 0.2, 0.02, 5
"""Distance to the border of the picture over the size of a face from which somebody may have left or come in; they have
where so much of it is out of it, or where it went that way by so much of its size a frame, over so many frames."""


@dataclass(slots=True)
class Area:
    """One find.

    Attributes
    ----------
    number
        Of the track.
    person
        Whom it is taken for.
    what, certainty, decision
        What was done with it, how sure it is a face, and what was decided on it in an earlier review, if anything.
    start_s, stop_s, frames, seen
        When, in how many frames it was covered, and in how many of them it was measured.
    size_px, detector, verifier
        Median height, the best that the detector thought of it, and what the verifier did; None where not known.
    at_s, box
        A frame that shows it best, and where it is there, xyxy.
    before, after
        JPEG of it in that frame, in target and output; empty where it was not there.
    """

    number: int
    person: int
    what: What
    certainty: Certainty
    decision: str
    start_s: float
    stop_s: float
    frames: int
    seen: int
    size_px: float
    detector: float | None
    verifier: float | None
    at_s: float
    box: tuple[float, float, float, float]
    before: bytes = b""
    after: bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether somebody should look at it."""
        return self.certainty == "unsure" and not self.decision and self.what == "hidden"


@dataclass(frozen=True, slots=True)
class Opening:
    """A time at which somebody was found, with frames beside it in which nobody is, for no reason that is known."""

    number: int
    start_s: float
    stop_s: float
    reason: str
    frame: int
    box: tuple[float, float, float, float]


@dataclass(slots=True)
class Sheet:
    """A whole frame of the output with its finds."""

    time_s: float
    width: int
    height: int
    picture: bytes
    boxes: list[tuple[int, str, tuple[float, float, float, float]]] = field(default_factory=list)

    @property
    def label(self) -> float:
        """Height of the numbers beside boxes, pixels of the frame: as large on the page whatever the frame's size."""
        return round(LABEL * self.width, 1)


@dataclass(frozen=True, slots=True)
class Review:
    """What is to be looked at.

    Attributes
    ----------
    areas
        All finds, those in doubt first.
    openings
        Times at which somebody may be bare.
    sheets
        Whole frames.
    evidence
        What proves which files and which recipe it is about.
    is_photo
        Whether there is one frame alone, of which times say nothing.
    """

    areas: tuple[Area, ...]
    openings: tuple[Opening, ...]
    sheets: tuple[Sheet, ...]
    evidence: Mapping[str, Any]
    is_photo: bool = False

    @property
    def verdict(self) -> tuple[bool, str]:
        """Whether nothing is left to be looked at, and the answer in words."""
        sure = sum(a.what == "hidden" and a.certainty == "sure" for a in self.areas)
        doubtful = sum(a.is_open for a in self.areas)
        left = sum(a.what == "left" and not a.decision for a in self.areas)
        absent = [one["photo"] for one in self.evidence.get("exemptions", []) if one["absent"]]
        where = "" if self.is_photo else " in every frame they are found in"
        hidden = f"{counted(sure, 'face')} beyond doubt {agreed(sure, 'is', 'are')} hidden{where}."
        questions = []
        if self.openings:
            questions.append(
                f"at {counted(len(self.openings), 'time')} somebody is lost or found in mid-picture or at the border"
            )
        if doubtful:
            questions.append(f"{counted(doubtful, 'find')} in doubt {agreed(doubtful, 'is', 'are')} hidden by squares")
        if left:
            questions.append(f"{counted(left, 'find')} {agreed(left, 'was', 'were')} taken for no face and left alone")
        if absent:
            questions.append(f"nobody looks like {', '.join(absent)}, who {agreed(len(absent), 'is', 'are')} exempt")
        if not questions:
            return True, f"Nobody is known to be missed. {hidden}"
        is_clear = not self.openings and not doubtful
        opening = "Nobody is known to be missed." if is_clear else "Somebody may be missed: look at what is marked."
        return is_clear, f"{opening} {hidden} Besides, {'; '.join(questions)}."

    def as_dict(self) -> dict[str, Any]:
        """The same for programs, without pictures."""
        is_clear, said = self.verdict

        def told(area: Area) -> dict[str, Any]:
            values = asdict(area)
            del values["before"], values["after"]
            return {**values, "box": [round(v, 1) for v in area.box]}

        return {
            "verdict": said,
            "nobody_known_to_be_missed": is_clear,
            "areas": [told(area) for area in self.areas],
            "openings": [asdict(one) for one in self.openings],
            "evidence": dict(self.evidence),
        }


class Reviewer:
    """Takes in rendered frames in order, and keeps the few that have to be looked at.

    Parameters
    ----------
    tracks
        What pass 1 left, all of it.
    hidden, exempt
        Tracks that are hidden, and those that were left on purpose.
    certainty
        How sure each is a face.
    decisions
        What was decided on tracks in an earlier review.
    """

    def __init__(
        self,
        tracks: Tracks,
        hidden: Sequence[int],
        exempt: Sequence[int],
        certainty: Mapping[int, Certainty],
        decisions: Mapping[int, str],
    ) -> None:
        self._tracks, self._hidden = tracks, frozenset(hidden)
        self._times = tracks.pts * float(tracks.time_base)
        self._rows: dict[int, tuple[Track, int]] = {}
        areas = []
        for track in tracks.tracks:
            if len(track.frames):
                number = track.track_id
                what: What = "hidden" if number in self._hidden else "exempt" if number in set(exempt) else "left"
                areas.append(self._area(track, what, certainty[number], decisions.get(number, "")))
        self._areas = sorted(areas, key=_urgency)
        self._openings = self._find_openings()
        self._wanted = self._choose_frames()
        self._sheets: list[Sheet] = []

    def _area(self, track: Track, what: What, certainty: Certainty, decision: str) -> Area:
        is_seen = np.ones(len(track.frames), np.bool_) if track.guessed is None else ~track.guessed
        scores = np.where(is_seen, track.scores, -1)
        best = np.flatnonzero(scores >= scores.max() - 0.01)
        row = int(best[len(best) // 2])
        self._rows[track.track_id] = track, row
        evidence = Evidence.of(track)
        box = _box(track.meshes[row])
        return Area(
            track.track_id, self._tracks.person_of(track.track_id), what, certainty, decision,
            self._time(track.frames[0]), self._time(track.frames[-1]), len(track.frames), int(is_seen.sum()),
            evidence.size_px if evidence else box[3] - box[1],
            None if evidence is None else round(evidence.detector, 3),
            None if evidence is None or evidence.verdict is None else round(evidence.verdict, 3),
            self._time(track.frames[row]), box,
        )  # fmt: skip

    def _time(self, frame: Any) -> float:
        return round(float(self._times[int(frame)]), 4)

    def _find_openings(self) -> tuple[Opening, ...]:
        """Where a face is lost or found in mid-picture, in mid-shot, and nobody else stands there.

        Of those in doubt, who come and go, that is what is large and at the border: half a head, which stays there.
        """
        found = []
        bounds = {0, len(self._tracks.pts), *self._tracks.cuts.tolist()}
        for area in self._areas:
            track, _ = self._rows[area.number]
            is_half = area.certainty == "unsure" and not area.decision and area.size_px >= LARGE_PX
            if area.what != "hidden" or not (area.certainty == "sure" or is_half):
                continue
            frames = track.frames
            for k in () if is_half else np.flatnonzero(np.diff(frames) > LONG_GAP).tolist():
                if not self._is_covered(track, k, int(frames[k]) + 1):
                    found.append(
                        self._opening(track, k, int(frames[k]) + 1, int(frames[k + 1]), "not found in between")
                    )
            if int(frames[0]) not in bounds and not self._has_left(track, 0, is_half):
                before = int(frames[0]) - 1
                if not self._is_covered(track, 0, before):
                    found.append(self._opening(track, 0, before, before, f"first found {self._place(track, 0)}"))
            after = int(frames[-1]) + 1
            has_left = after in bounds or self._has_left(track, -1, is_half)
            if not has_left and not self._is_covered(track, -1, after):
                found.append(self._opening(track, -1, after, after, f"lost {self._place(track, -1)}"))
        return tuple(found)

    def _opening(self, track: Track, row: int, start: int, stop: int, reason: str) -> Opening:
        return Opening(
            track.track_id, self._time(start), self._time(min(stop, len(self._times) - 1)), reason, start,
            _box(track.meshes[row]),
        )  # fmt: skip

    def _is_covered(self, track: Track, row: int, frame: int) -> bool:
        """Whether somebody else is hidden at the place in another frame: they stand before it, or are the same."""
        middle = track.meshes[row][:, :2].mean(axis=0)
        for other in self._tracks.tracks:
            at = other.find(frame) if other.track_id in self._hidden and other is not track else None
            if at is not None:
                x0, y0, x1, y1 = _box(other.meshes[at])
                room = 0.35 * max(x1 - x0, y1 - y0)
                if x0 - room <= middle[0] <= x1 + room and y0 - room <= middle[1] <= y1 + room:
                    return True
        return False

    def _free(self, track: Track, row: int) -> tuple[float, npt.NDArray[np.float64]]:
        """Size of a face, and how far it is from the border at the left, above, at the right and below; pixels."""
        box = np.array(_box(track.meshes[row]))
        free = np.concatenate([box[:2], np.array([self._tracks.width, self._tracks.height]) - box[2:]])
        return max(float((box[2:] - box[:2]).max()), 1.0), free

    def _place(self, track: Track, row: int) -> str:
        size, free = self._free(track, row)
        return "at the border" if free.min() <= EDGE * size else "in mid-picture"

    def _has_left(self, track: Track, row: int, is_half: bool = False) -> bool:
        """Whether a face is so near to the border that it has gone, or come, there.

        Parameters
        ----------
        track, row
            Which, and its first or last row, 0 or -1.
        is_half
            Whether what is in mid-picture is of no interest.
        """
        size, free = self._free(track, row)
        is_near = free <= EDGE * size
        if not is_near.any():
            return is_half
        seen = np.arange(len(track.frames)) if track.guessed is None else np.flatnonzero(~track.guessed)
        seen = (seen if row else seen[::-1])[-WAY:]
        if free.min() < -OUT * size or len(seen) < 2:
            return bool(free.min() < -OUT * size)
        way = np.array(_box(track.meshes[seen[-1]])) - np.array(_box(track.meshes[seen[0]]))
        way /= size * max(abs(int(track.frames[seen[-1]]) - int(track.frames[seen[0]])), 1)
        return bool((is_near & (np.concatenate([-way[:2], way[2:]]) > OUTWARDS)).any())

    def _choose_frames(self) -> dict[int, None]:
        """Few frames that show every find that is hidden, those in doubt first."""
        chosen: dict[int, None] = dict.fromkeys(one.frame for one in self._openings[: MOST_FRAMES // 2])
        waiting = [area.number for area in self._areas if area.what == "hidden"]
        while waiting and len(chosen) < MOST_FRAMES:
            track, row = self._rows[waiting[0]]
            frame = int(track.frames[row])
            chosen[frame] = None
            waiting = [k for k in waiting if k != waiting[0] and self._rows[k][0].find(frame) is None]
        return chosen

    def add(self, rendered: RenderedFrame) -> None:
        """Keep a frame where it is one to look at."""
        frame = int(np.searchsorted(self._tracks.pts, rendered.frame.pts))
        if frame >= len(self._tracks.pts) or self._tracks.pts[frame] != rendered.frame.pts:
            return
        for area in self._areas:
            track, row = self._rows[area.number]
            if int(track.frames[row]) == frame:
                affine = mesh_crop(track.meshes[row], CROP_PX, 2.4)
                area.before = encode_jpeg(cut(rendered.frame.pixels, affine, CROP_PX), 80)
                area.after = encode_jpeg(cut(rendered.pixels, affine, CROP_PX), 80)
        if frame in self._wanted:
            self._sheets.append(self._sheet(frame, rendered.pixels))

    def _sheet(self, frame: int, pixels: Pixels) -> Sheet:
        height, width = pixels.shape[:2]
        factor = min(FRAME_PX / max(height, width), 1.0)
        small = pixels if factor == 1 else resize_pixels(pixels, round(width * factor), round(height * factor))
        sheet = Sheet(self._time(frame), width, height, encode_jpeg(small, 80))
        for area in self._areas:
            at = self._rows[area.number][0].find(frame)
            if at is not None and area.what != "left":
                kind = "exempt" if area.what == "exempt" else area.certainty
                sheet.boxes.append((area.number, kind, _box(self._rows[area.number][0].meshes[at])))
        sheet.boxes += [(one.number, "open", one.box) for one in self._openings if one.frame == frame]
        return sheet

    def finish(self, evidence: Mapping[str, Any]) -> Review:
        """All that is to be looked at; frames with somebody in doubt come first."""

        def doubt(sheet: Sheet) -> tuple[int, float]:
            return -sum(kind in ("unsure", "open") for _, kind, _ in sheet.boxes), sheet.time_s

        sheets = tuple(sorted(self._sheets, key=doubt))
        return Review(tuple(self._areas), self._openings, sheets, evidence, len(self._times) == 1)


def _urgency(area: Area) -> tuple[int, float]:
    """Those in doubt first, of these the likeliest; then who was hidden and who was left on purpose, then the rest."""
    order = 0 if area.is_open else {"hidden": 1, "exempt": 2, "left": 3}[area.what]
    likely = max(area.detector or 0, area.verifier or 0)
    return order, -likely if order in (0, 3) else float(area.number)


def _box(mesh: FloatArray) -> tuple[float, float, float, float]:
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
