"""Measures a render while it is written: per shot and person, over time, with the worst frames kept as pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facefusion.declaration import suggest
from facefusion.errors import OutputRefused, RecipeError
from facefusion.imaging.align import invert, mesh_crop, transform
from facefusion.imaging.flow import warping_error
from facefusion.imaging.masks import disc_around
from facefusion.imaging.resample import cut, encode_jpeg
from facefusion.metrics.border import border_distance
from facefusion.metrics.fidelity import expression_distance
from facefusion.metrics.figures import LIMITS, Picture, Report, Row, Sample
from facefusion.metrics.page import check_page, render_page
from facefusion.metrics.review import Review, Reviewer
from facefusion.metrics.review_page import render_review
from facefusion.models.pose import estimate_poses
from facefusion.plugins.protocols import Identifier, Landmarker, Masker
from facefusion.types.face import Face
from facefusion.types.frame import RenderedFrame
from facefusion.types.topology import FACE_OVAL
from facefusion.types.track import Track, Tracks
from facefusion.writing import save_bytes, save_private

FloatArray = npt.NDArray[np.float32]

SAMPLES_PER_S = 6.0
"""Frames in a second at which everything but flicker is measured."""
WORST = 4
"""Frames of each track that are kept as pictures."""
PICTURE_PX = 224
LOW_SCORE = 0.8
SMALL_PX = 32


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
        self.reviewer: Reviewer | None = None

    @property
    def track_ids(self) -> tuple[int, ...]:
        """People who are measured."""
        return self._ids

    def _row(self, track: Track) -> Row:
        pts, base = self._tracks.pts, self._tracks.time_base
        first, last = int(track.frames[0]), int(track.frames[-1])
        row = Row(
            int(np.searchsorted(self._tracks.cuts, track.first_seen, side="right")) - 1,
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
        if self.reviewer is not None:
            self.reviewer.add(rendered)
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
        affine = mesh_crop(mesh, self._landmarker.crop_size)
        crops = [cut(p, affine, self._landmarker.crop_size) for p in (target, output)]
        meshes, _ = self._landmarker.landmark(crops)
        moved = np.stack([transform(invert(affine), m) for m in meshes]).astype(np.float32)
        # The output's head may have another shape, so its face lies where its own mesh says.
        fives = [Face(own, 1.0, track.face(row).pose).five_points for own in moved]
        found = self._identifier.identify([target, output], fives)
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        sample.similarity_target = float(found[0] @ found[1])
        source = self._sources.get(track.track_id)
        if source is not None:
            sample.similarity_source = float(found[1] @ source / np.linalg.norm(source))
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


def write_report(report: Report, path: Path, failures: tuple[str, ...] = (), review: Review | None = None) -> None:
    """Write ``path`` (HTML that needs nothing else) and the same name with ``.json``; only JSON for that suffix.

    Where people were hidden the page is a review: it answers whether anyone was missed. It shows bare faces, and both
    have the hash by which the original is found again, so nobody but their owner may read them.
    """
    save = save_bytes if review is None else save_private
    values = report.as_dict() | ({} if review is None else {"review": review.as_dict()})
    save(path.with_suffix(".json"), json.dumps(values, indent=1).encode("utf-8", "backslashreplace"))
    if has_page(path):
        page = render_page(report, failures) if review is None else render_review(report, review, failures)
        save(path, page.encode("utf-8", "backslashreplace"))


def has_page(path: Path) -> bool:
    """Whether a report of that name is more than JSON."""
    return path.suffix.lower() != ".json"


REPORT_ENDINGS = (".html", ".htm", ".json")
"""Pages, and figures alone."""


def check_report(path: Path) -> None:
    """Refuse a report that could not be written: by its name, or for want of a package. Before anything is measured.

    Raises
    ------
    OutputRefused, ExtraMissing
    """
    if path.suffix.lower() not in REPORT_ENDINGS:
        raise OutputRefused(
            f"A report cannot be written as '{path.name}'.",
            "End it in .html for a page with its figures beside it, or in .json for the figures alone.",
        )
    if has_page(path):
        check_page()


def report_files(path: Path) -> list[Path]:
    """Files that `write_report` writes."""
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
