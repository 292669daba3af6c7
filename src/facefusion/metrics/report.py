"""Measures a render while it is written: per shot and person, over time, with the worst frames kept as pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facefusion.declaration import suggest
from facefusion.errors import RecipeError
from facefusion.imaging.align import invert, mesh_crop, transform
from facefusion.imaging.flow import warping_error
from facefusion.imaging.masks import disc_around
from facefusion.imaging.resample import cut, encode_jpeg
from facefusion.metrics.border import border_distance
from facefusion.metrics.fidelity import expression_distance
from facefusion.models.pose import estimate_poses
from facefusion.plugins.protocols import Identifier, Landmarker, Masker
from facefusion.types.face import Face
from facefusion.types.frame import RenderedFrame
from facefusion.types.topology import FACE_OVAL
from facefusion.types.track import Track, Tracks
from facefusion.writing import save_bytes

FloatArray = npt.NDArray[np.float32]

SAMPLES_PER_S = 6.0
"""Frames in a second at which everything but flicker is measured."""
WORST = 4
"""Frames of each track that are kept as pictures."""
PICTURE_PX = 224
LOW_SCORE = 0.8
SMALL_PX = 32

LIMITS: dict[str, tuple[str, bool]] = {
    "similarity_source": ("cosine to the source, 1 is the same person", True),
    "similarity_target": ("cosine to who was there before", False),
    "pose_error_deg": ("mean difference of yaw, pitch and roll, degrees", False),
    "expression_error": ("mean distance of mesh points over the eye distance", False),
    "flicker": ("warping error of the output over that of the target, 1 is as steady", False),
    "border": ("change of the step of colour across the outline, CIELAB", False),
    "covered": ("share of the face that something lies before", False),
    "lost_share": ("frames between first and last sight in which nobody was found", False),
    "guessed_share": ("frames in which the face was not measured but taken from its neighbours", False),
}
"""What a gate can be set on: what it means, and whether more is better."""


@dataclass(slots=True)
class Sample:
    """What was measured in one frame; nan where nothing could be."""

    time_s: float
    similarity_source: float = np.nan
    similarity_target: float = np.nan
    pose_error_deg: float = np.nan
    expression_error: float = np.nan
    flicker_target: float = np.nan
    flicker_output: float = np.nan
    border: float = np.nan
    covered: float = np.nan


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame to look at, before and after."""

    time_s: float
    reason: str
    badness: float
    before: bytes
    after: bytes


@dataclass(slots=True)
class Row:
    """One person in one shot."""

    shot: int
    person: int
    track: int
    start_s: float
    stop_s: float
    frames: int
    samples: list[Sample] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    lost_share: float = 0.0
    guessed_share: float = 0.0

    def figures(self) -> dict[str, float]:
        """Means over the samples, by the names of `LIMITS`; nan where nothing was measured."""
        found = {name: _mean([getattr(s, name) for s in self.samples]) for name in LIMITS if hasattr(Sample, name)}
        output, target = self.unrest()
        found["flicker"] = output / max(target, 1e-6) if output == output else np.nan
        return {**found, "lost_share": self.lost_share, "guessed_share": self.guessed_share}

    def unrest(self) -> tuple[float, float]:
        """Mean warping error of output and target; nan where nothing was measured."""
        return _mean([s.flicker_output for s in self.samples]), _mean([s.flicker_target for s in self.samples])


class Reporter:
    """Takes in rendered frames in order.

    Parameters
    ----------
    tracks
        What pass 1 left.
    track_ids
        People who are changed.
    landmarker, identifier, masker
        The embedded engines.
    sources
        Embedding of the source of every track, where it has one.
    """

    def __init__(
        self,
        tracks: Tracks,
        track_ids: Sequence[int],
        landmarker: Landmarker,
        identifier: Identifier,
        masker: Masker,
        sources: Mapping[int, FloatArray],
    ) -> None:
        self._tracks, self._ids = tracks, tuple(track_ids)
        self._landmarker, self._identifier, self._masker = landmarker, identifier, masker
        self._sources = sources
        self._rows = {t.track_id: self._row(t) for t in tracks.tracks if t.track_id in self._ids and len(t.frames)}
        self._next: dict[int, float] = {}
        self._before: RenderedFrame | None = None

    @property
    def track_ids(self) -> tuple[int, ...]:
        """People who are measured."""
        return self._ids

    def _row(self, track: Track) -> Row:
        pts, base = self._tracks.pts, self._tracks.time_base
        first, last = int(track.frames[0]), int(track.frames[-1])
        row = Row(
            int(np.searchsorted(self._tracks.cuts, first, side="right")) - 1,
            self._tracks.person_of(track.track_id),
            track.track_id,
            float(pts[first] * base),
            float(pts[last] * base),
            len(track.frames),
        )
        row.lost_share = 1 - len(track.frames) / (last - first + 1)
        row.guessed_share = 0.0 if track.guessed is None else float(track.guessed.mean())
        return row

    def add(self, rendered: RenderedFrame) -> None:
        """Measure a frame."""
        frame = rendered.frame
        time_s = float(frame.pts * self._tracks.time_base)
        before, self._before = self._before, rendered
        for track, row in self._tracks.at(frame.pts, self._ids):
            if time_s < self._next.get(track.track_id, -1.0):
                continue
            self._next[track.track_id] = time_s + 1 / SAMPLES_PER_S - 1e-6
            sample = Sample(time_s)
            self._measure(sample, track, row, rendered)
            if before is not None and int(track.frames[row]) not in self._tracks.cuts.tolist():
                self._measure_flicker(sample, track.meshes[row], before, rendered)
            self._rows[track.track_id].samples.append(sample)
            self._keep(track, row, sample, rendered)

    def _measure(self, sample: Sample, track: Track, row: int, rendered: RenderedFrame) -> None:
        target, output, mesh = rendered.frame.pixels, rendered.pixels, track.meshes[row]
        sample.border = border_distance(target, output, mesh)
        five = track.face(row).five_points
        found = self._identifier.identify([target, output], [five, five])
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        sample.similarity_target = float(found[0] @ found[1])
        source = self._sources.get(track.track_id)
        if source is not None:
            sample.similarity_source = float(found[1] @ source / np.linalg.norm(source))
        affine = mesh_crop(mesh, self._landmarker.crop_size)
        crops = [cut(p, affine, self._landmarker.crop_size) for p in (target, output)]
        meshes, _ = self._landmarker.landmark(crops)
        moved = np.stack([transform(invert(affine), m) for m in meshes]).astype(np.float32)
        poses = estimate_poses(moved)
        sample.pose_error_deg = float(np.abs(poses[0] - poses[1]).mean())
        sample.expression_error = expression_distance(moved[0], moved[1])
        face = Face(transform(affine, mesh).astype(np.float32), 1.0, track.face(row).pose)
        visible = self._masker.mask([crops[0]], [face])[0]
        size = self._landmarker.crop_size
        inside = disc_around(face.mesh[list(FACE_OVAL), :2], size, size, 0.92, 0.01)
        sample.covered = 1 - float((visible * inside).sum() / max(float(inside.sum()), 1.0))

    @staticmethod
    def _measure_flicker(sample: Sample, mesh: FloatArray, before: RenderedFrame, now: RenderedFrame) -> None:
        if not (before.is_changed and now.is_changed):
            return
        low, high = mesh[:, :2].min(axis=0).astype(int) - 8, mesh[:, :2].max(axis=0).astype(int) + 8
        part = (slice(max(low[1], 0), max(high[1], 0)), slice(max(low[0], 0), max(high[0], 0)))
        target_before, target_now, output_before, output_now = (
            np.ascontiguousarray(p[part]) for p in (before.frame.pixels, now.frame.pixels, before.pixels, now.pixels)
        )
        if min(target_now.shape[:2]) < 24:
            return
        changed = np.abs(output_now.astype(int) - target_now).max(axis=2) > 4
        sample.flicker_target = warping_error(target_before, target_now, target_before, target_now, changed)
        sample.flicker_output = warping_error(target_before, target_now, output_before, output_now, changed)

    def _keep(self, track: Track, row: int, sample: Sample, rendered: RenderedFrame) -> None:
        """Keep the frame where it is among the worst of its track."""
        # Where the target hardly moves at all, a ratio says nothing.
        unrest = sample.flicker_output / sample.flicker_target if sample.flicker_target > 0.08 else np.nan
        reasons = {
            f"the outline steps by {sample.border:.1f} in colour": sample.border / 12,
            f"the pose is {sample.pose_error_deg:.1f} degrees off": sample.pose_error_deg / 5,
            f"the output moves {unrest:.2f} times as much": unrest - 0.6,
            f"{sample.covered:.0%} of the face is covered": sample.covered * 1.2,
            f"the tracker is unsure ({track.scores[row]:.2f})": (LOW_SCORE - float(track.scores[row])) * 2,
            "the face was not seen here, only near here": 1.2
            * float(track.guessed is not None and bool(track.guessed[row])),
            "the face is small": float(np.ptp(track.meshes[row, :, 1]) < SMALL_PX),
        }
        reason, badness = max(((text, value) for text, value in reasons.items() if value == value), key=lambda x: x[1])
        kept = self._rows[track.track_id].pictures
        if len(kept) >= WORST and badness <= kept[-1].badness:
            return
        affine = mesh_crop(track.meshes[row], PICTURE_PX, 1.7)
        before, after = (encode_jpeg(cut(p, affine, PICTURE_PX)) for p in (rendered.frame.pixels, rendered.pixels))
        kept.append(Picture(sample.time_s, reason, badness, before, after))
        kept.sort(key=lambda picture: -picture.badness)
        del kept[WORST:]

    def finish(self, title: str, models: Sequence[str]) -> Report:
        """All that was measured."""
        rows = sorted(self._rows.values(), key=lambda row: (row.shot, row.person, row.start_s))
        return Report(title, tuple(models), tuple(rows))


@dataclass(frozen=True, slots=True)
class Report:
    """What a render is like.

    Attributes
    ----------
    title
        Name of the target.
    models
        What ran.
    rows
        One for every person in every shot.
    """

    title: str
    models: tuple[str, ...]
    rows: tuple[Row, ...]

    def overall(self) -> dict[str, float]:
        """Means over all rows, weighted by their frames; flicker is the ratio of such means."""
        found = [(row.figures(), row.frames) for row in self.rows]
        result = {}
        for name in LIMITS:
            pairs = [(figures[name], frames) for figures, frames in found if figures[name] == figures[name]]
            total = sum(frames for _, frames in pairs)
            result[name] = sum(value * frames for value, frames in pairs) / total if total else float("nan")
        # The ratio of all, not the mean of ratios: beside somebody who hardly moves a small error is a large ratio.
        unrest = [(*row.unrest(), row.frames) for row in self.rows]
        known = [(output * frames, target * frames) for output, target, frames in unrest if output == output]
        if known:
            outputs, targets = (sum(values) for values in zip(*known, strict=True))
            result["flicker"] = outputs / max(targets, 1e-6)
        return result

    def failures(self, limits: Mapping[str, float]) -> list[str]:
        """What is worse than a limit, in words."""
        figures = self.overall()
        failed = []
        for name, limit in limits.items():
            value, is_more_better = figures[name], LIMITS[name][1]
            if value != value:
                failed.append(f"{name} could not be measured")
            elif (value < limit) if is_more_better else (value > limit):
                failed.append(f"{name} is {value:.3f}, the limit is {limit:g}")
        return failed

    def to_json(self) -> str:
        """The same for programs; nothing biometric is in it, and no pictures."""

        def clean(value: object) -> object:
            if isinstance(value, dict):
                return {key: clean(item) for key, item in value.items()}
            if isinstance(value, list):
                return [clean(item) for item in value]
            return None if isinstance(value, float) and value != value else value

        rows = [
            {
                "shot": row.shot,
                "person": row.person,
                "track": row.track,
                "start_s": row.start_s,
                "stop_s": row.stop_s,
                "frames": row.frames,
                "figures": row.figures(),
                "samples": [asdict(sample) for sample in row.samples],
                "worst": [{"time_s": p.time_s, "reason": p.reason} for p in row.pictures],
            }
            for row in self.rows
        ]
        content = {"title": self.title, "models": list(self.models), "overall": self.overall(), "rows": rows}
        return json.dumps(clean(content), indent=1)

    def save(self, path: Path, failures: tuple[str, ...] = ()) -> None:
        """Write ``path`` (HTML that needs nothing else) and the same name with ``.json``; only JSON for that suffix."""
        save_bytes(path.with_suffix(".json"), self.to_json().encode("utf-8", "backslashreplace"))
        if path.suffix.lower() != ".json":
            from facefusion.metrics.page import render_page

            save_bytes(path, render_page(self, failures).encode("utf-8", "backslashreplace"))


def report_files(path: Path) -> list[Path]:
    """Files that `Report.save` writes."""
    return list(dict.fromkeys([path, path.with_suffix(".json")]))


def read_limits(words: Sequence[str]) -> dict[str, float]:
    """Limits such as ``flicker=1.1``.

    Raises
    ------
    RecipeError
        For a figure that does not exist, or a limit that is no number.
    """
    limits = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in LIMITS:
            raise RecipeError(f"There is no figure '{name}' to set a limit on.", suggest(name, list(LIMITS)))
        try:
            limits[name] = float(value)
            if not math.isfinite(limits[name]):
                raise ValueError(value)
        except ValueError as error:
            raise RecipeError(f"The limit '{word}' is no number.", f"For example: {name}=0.5.") from error
    return limits


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
