"""How good an output is, whoever made it: its frames beside those of its target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from facefusion.errors import NoFaceInTarget, QualityTooLow, RecipeError, UnknownOption
from facefusion.jobs.local import check_target
from facefusion.media.files import Named, translate_os_error
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.metrics.figures import LIMITS
from facefusion.metrics.report import check_report, read_limits, report_files, write_report
from facefusion.pipeline.cast import Cast, build_analyser, read_faces
from facefusion.pipeline.clip import READ_AHEAD, photo_frame, read_clip
from facefusion.pipeline.inputs import hash_of
from facefusion.pipeline.plan import check_models, check_paths, find_kind, settled
from facefusion.pipeline.progress import OnProgress, Progress, ignore_progress
from facefusion.pipeline.runner import analyse_target, beside, reporter_of
from facefusion.pipeline.selection import choose_tracks
from facefusion.recipe import Recipe
from facefusion.render.overlap import prefetch
from facefusion.types.frame import Frame
from facefusion.types.paths import PathLike, as_path
from facefusion.types.sources import Sources
from facefusion.types.track import Tracks
from facefusion.wording import counted


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One person in one shot; figures by the names of `facefusion.metrics.figures.LIMITS`, None where there is none."""

    shot: int
    person: int
    start_s: float
    stop_s: float
    frames: int
    figures: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Measured:
    """What an output is like.

    Attributes
    ----------
    target, output
        What was compared.
    files
        Reports that were written.
    frames
        Pairs of frames that were compared.
    overall
        Means over all people, None where nothing could be measured.
    rows
        One for every person in every shot.
    notes
        Sentences on what does not fit together.
    failures
        What is worse than ``--fail-under`` allows.
    """

    target: str
    output: str
    files: tuple[str, ...]
    frames: int
    overall: dict[str, float | None]
    rows: tuple[MeasuredRow, ...]
    notes: tuple[str, ...]
    failures: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(
    recipe: Recipe,
    output: PathLike,
    tracks: Tracks | None = None,
    on_progress: OnProgress = ignore_progress,
    reads: Sequence[Named] = (),
) -> Measured:
    """Measure an output beside its target, with the figures of ``--report``.

    Parameters
    ----------
    recipe
        Its target and the part of it, the people who were to be changed, the sources, if likeness to them is to be
        known, ``report_path`` and ``fail_under``.
    output
        What was made of it, by whatever program. Another size is brought to the target's, other times are paired with
        the nearest ones.
    tracks
        What an earlier first pass over the target left; None makes them.
    on_progress, reads
        As in `facefusion.service.passes.analyse`.

    Raises
    ------
    NoFaceInTarget, NoFaceInSource, MediaError
    FaceFusionError
        With nothing written.
    """
    output = as_path(output)
    recipe = settled(recipe)
    if recipe.target_path == Path():
        raise RecipeError("No target is given.", "Name what was changed with --target.")
    if output == Path():
        raise RecipeError("No output is given.", "Name what was made of it with --output.")
    read_limits(recipe.fail_under)
    report_path = recipe.report_path
    if report_path is not None:
        check_report(report_path)
    recipe = recipe.model_copy(update={"output_path": Path()})
    check_models(recipe, is_rendering=False)
    check_paths(recipe, reads=[("output", output), *reads])
    kind = find_kind(recipe.target_path)
    if find_kind(output) != kind:
        raise UnknownOption(
            f"{recipe.target_path} is a {kind}, {output} is none.", "Name an output that was made of this target."
        )
    if tracks is None:
        tracks = analyse_target(recipe, on_progress=on_progress)
    else:
        check_target(tracks, recipe.target_path, {str(recipe.target_path): hash_of(recipe.target_path)})
    if not tracks.tracks:
        raise NoFaceInTarget(
            f"No face is found in the target {recipe.target_path}.",
            "Lower --face-detector-score or raise --face-detector-size.",
        )
    faces = read_faces(recipe.source_paths, build_analyser(recipe, has_identity=False)) if recipe.source_paths else []
    assigned = dict.fromkeys(choose_tracks(recipe, tracks), 0)
    reporter = reporter_of(recipe, tracks, Cast((), sources=(Sources(faces),)), assigned)
    notes: list[str] = []
    count = 0
    if kind == "photo":
        frame = photo_frame(read_photo(recipe.target_path, recipe.allow_8bit))
        pixels = read_photo(output, allow_8bit=True).pixels
        notes += _shape_notes(frame, pixels.shape[1], pixels.shape[0])
        reporter.add(beside(frame, pixels, bool(tracks.at(frame.pts, reporter.track_ids))))
        count = 1
    else:
        made = ClipReader(output)
        reader = read_clip(recipe)
        base = made.info.time_base
        written = prefetch(made, READ_AHEAD)
        worst = Fraction(0)
        for target, other in pair(reader, written):
            if not count:
                notes += _shape_notes(target, other.pixels.shape[1], other.pixels.shape[0])
                first = target.pts * target.time_base, other.pts * base
            apart = (target.pts * target.time_base - first[0]) - (other.pts * base - first[1])
            worst = max(worst, abs(apart))
            reporter.add(beside(target, other.pixels, bool(tracks.at(target.pts, reporter.track_ids))))
            count += 1
            on_progress(Progress("measure", count, len(tracks.pts)))
        if count < len(tracks.pts):
            notes.append(f"The output ends before the target: {count} of {counted(len(tracks.pts), 'frame')} compared.")
        if worst > Fraction(1, 100):
            notes.append(
                f"Its frames are shown at other times, up to {float(worst):.2f} s apart; the nearest are compared."
            )
    report = replace(reporter.finish(f"{output.name}, made of {recipe.target_path.name}", ()), notes=tuple(notes))
    failures = tuple(report.failures(read_limits(recipe.fail_under)))
    files: tuple[str, ...] = ()
    if report_path is not None:
        try:
            write_report(report, report_path, failures)
        except OSError as error:
            raise translate_os_error(error, report_path) from error
        files = tuple(map(str, report_files(report_path)))
    rows = tuple(
        MeasuredRow(
            row.shot, row.person, round(row.start_s, 3), round(row.stop_s, 3), row.frames, _clean(row.figures())
        )
        for row in report.rows
    )
    return Measured(
        str(recipe.target_path), str(output), files, count, _clean(report.overall()), rows, tuple(notes), failures
    )


def check_good_enough(found: Measured) -> None:
    """Refuse what is worse than allowed.

    Raises
    ------
    QualityTooLow
    """
    if found.failures:
        raise QualityTooLow(f"Of {found.output}: {'; '.join(found.failures)}.", "Look at it, or at --report.")


def pair(targets: Iterable[Frame], others: Iterable[Frame]) -> Iterator[tuple[Frame, Frame]]:
    """Every frame of a target with the frame of another clip that is nearest in time, both from their beginnings.

    It ends where the other clip is over: behind its last frame nothing is compared that is further away than its
    frames are from each other.
    """
    rest = iter(others)
    now = next(rest, None)
    if now is None:
        return
    begin = now.pts * now.time_base
    first: Fraction | None = None
    following = next(rest, None)
    step = Fraction(0)
    for target in targets:
        time = target.pts * target.time_base
        first = time if first is None else first
        time -= first
        while following is not None:
            here, there = (one.pts * one.time_base - begin for one in (now, following))
            step = there - here
            if abs(there - time) >= abs(here - time):
                break
            now, following = following, next(rest, None)
        if following is None and time - (now.pts * now.time_base - begin) >= max(step, Fraction(1, 1000)):
            return
        yield target, now


def _shape_notes(frame: Frame, width: int, height: int) -> list[str]:
    rows, columns = frame.pixels.shape[:2]
    if (width - columns, height - rows) in ((0, 0), (0, 1), (1, 0), (1, 1)):
        return []
    return [f"The output is {width} x {height} px and is brought to {columns} x {rows} px."]


def _clean(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if figures[name] != figures[name] else round(float(figures[name]), 4) for name in LIMITS}
