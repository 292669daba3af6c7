"""Every source with every target: which runs there are, and doing them one after the other."""

from __future__ import annotations

import glob
import os
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from facefusion.declaration import Input
from facefusion.documents import reason_of
from facefusion.errors import MediaUnreadable, OutputRefused, RecipeError, Stopped, own_error
from facefusion.jobs.prepare import hash_inputs, job_id_of
from facefusion.jobs.storage import hash_file
from facefusion.media.files import Named, is_same_file, place_of
from facefusion.media.image import FORMATS, is_photo
from facefusion.media.passengers import holds_film
from facefusion.media.writer import CONTAINERS
from facefusion.metrics.report import check_report, report_files
from facefusion.pipeline.plan import check_paths
from facefusion.pipeline.runner import Outcome
from facefusion.policy.provenance import is_sidecar, sidecar_of
from facefusion.recipe import Recipe, with_absolute_paths
from facefusion.service.values import Problem
from facefusion.workplace import is_beside, make_folder
from facefusion.writing import save_private

MARKS = "finished"
"""Folder with a file for every run that was finished: the hash of what was written."""
FIELDS = ("index", "source_name", "target_name", "target_extension", "target_dir")
PHOTO_ENDINGS = (*FORMATS, ".jfif", ".dib", ".jp2", ".tga", ".heics", ".heifs")
CLIP_ENDINGS = (
    *CONTAINERS, ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".vob", ".wmv", ".asf", ".flv", ".f4v",
    ".3gp", ".3g2", ".ogv", ".ogm", ".mxf", ".gif", ".apng", ".dv", ".rm", ".rmvb", ".divx", ".y4m",
)  # fmt: skip
"""What photos and clips in a folder are called; everything else in it is left alone."""
_NUMBER_FORMAT = re.compile(r"0?[0-9]{0,2}d?")


def fill(pattern: str, values: Mapping[str, object]) -> str:
    """An output pattern with its fields filled in.

    Parameters
    ----------
    pattern
        Fields of `FIELDS` in braces, ``{index:03d}`` too; ``{{`` and ``}}`` are braces.
    values
        By field.

    Raises
    ------
    RecipeError
        For a field that does not exist.
    """
    known = f"Fields: {', '.join('{' + name + '}' for name in FIELDS)}; write {{{{ and }}}} for braces."
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise RecipeError(f"The name '{pattern}' for outputs has a brace without the other.", known) from error
    text = ""
    for plain, name, form, conversion in parts:
        text += plain
        if name is None:
            continue
        if name not in FIELDS or conversion or (form and (name != "index" or not _NUMBER_FORMAT.fullmatch(form))):
            field = "{" + name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
            raise RecipeError(f"The name '{pattern}' for outputs has a field that there is not: {field}.", known)
        text += format(values[name], form or "")
    return text


def pair(
    sources: Sequence[Path], targets: Sequence[Path], pattern: str, base: Path | None = None, encoder: str = ""
) -> list[tuple[Path | None, Path, Path]]:
    """Source, target and output of every run, sources first.

    Parameters
    ----------
    sources, targets
        Files; without sources every target is one run.
    pattern
        Output path with the fields of `FIELDS` in braces.
    base
        Folder that ``{target_dir}`` is told from; None takes the one that all targets are in.
    encoder
        Of films, where it decides whether an output can have the ending of its target.

    Raises
    ------
    RecipeError
        For an unknown field, or two runs that would write one file.
    OutputRefused
        For an output that is the target or a source of any run.
    """
    base = base or _common(targets)
    runs: list[tuple[Path | None, Path, Path]] = []
    for source in sources or [None]:  # type: ignore[list-item]
        for target in targets:
            named = Path(fill(pattern, _values(len(runs), source, target, base)))
            runs.append((source, target, _writable(named, encoder)))
    read = {place_of(Path(os.path.realpath(path))): ("target", path) for path in targets}
    read |= {place_of(Path(os.path.realpath(path))): ("source", path) for path in sources}
    states = {_identity(path): named for named in read.values() if os.path.exists(path := named[1])}
    seen: dict[object, Path] = {}
    for *_, output in runs:
        place = place_of(output)
        if seen.setdefault(place, output) is not output:
            raise RecipeError(
                f"Two runs would write {output}.", "Add {target_dir}, {source_name} or {index} to --output-pattern."
            )
        found = read.get(place) or states.get(_identity(output))
        if found is not None:
            raise OutputRefused(
                f"The output {output} would be written over the {found[0]} {found[1]}.",
                "Have --output-pattern lead to another folder or name.",
            )
    return runs


def _values(index: int, source: Path | None, target: Path, base: Path) -> dict[str, object]:
    try:
        folder = target.parent.relative_to(base)
    except ValueError:
        folder = Path()
    return {
        "index": index,
        "source_name": source.stem if source else "",
        "target_name": target.stem,
        "target_extension": target.suffix,
        "target_dir": folder.as_posix(),
    }


def _common(paths: Sequence[Path]) -> Path:
    """The folder that all files are in, at whatever depth."""
    folders = [path.parent for path in paths]
    try:
        return Path(os.path.commonpath(folders)) if folders else Path()
    except ValueError:  # of several drives
        return Path()


def _base_of(pattern: str) -> Path | None:
    """The folder that a pattern of files begins in; None where it is no folder."""
    if os.path.isdir(pattern):
        return Path(pattern)
    parts: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts) if parts else None


def _identity(path: Path) -> object:
    """Device and number of a file, which hard links share; something unequal to all where there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return object()
    return (state.st_dev, state.st_ino) if state.st_ino else object()


def find_in_folder(folder: Path, endings: Sequence[str] = (*PHOTO_ENDINGS, *CLIP_ENDINGS)) -> list[Path]:
    """Photos and clips in a folder and all folders in it, in order; hidden ones are left alone, links are not followed.

    Raises
    ------
    MediaUnreadable
        When one of the folders cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise MediaUnreadable(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.")

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            if not name.startswith(".") and path.suffix.lower() in endings and not is_sidecar(path) and path.is_file():
                found.append(path)
    return found


def not_taken(folder: Path, taken: Sequence[Path], outputs: Path) -> tuple[Path, ...]:
    """What of a folder and all folders in it a batch leaves as it is, in order: whoever hides people must know of it.

    Parameters
    ----------
    folder
        Whose photos and clips are the targets.
    taken
        What was found in it.
    outputs
        Folder of outputs, which may lie in it.

    Returns
    -------
    Files that are called as neither photos nor clips are, hidden ones, links that lead nowhere or to folders, and
    folders that cannot be read.
    """
    known, place_of_outputs = set(taken), os.path.realpath(outputs)
    found: list[Path] = []

    def unread(error: OSError) -> None:
        found.append(Path(error.filename))

    for place, folders, names in os.walk(folder, onerror=unread):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = sorted(
            name
            for name in folders
            if not is_beside(name) and os.path.realpath(os.path.join(place, name)) != place_of_outputs
        )
        paths = [Path(place) / name for name in sorted((*names, *links))]
        found += [path for path in paths if path not in known and not is_sidecar(path)]
    return tuple(found)


def find_photos(folder: Path) -> tuple[Path, ...]:
    """Photos that lie in a folder itself, in order: those of one person.

    Raises
    ------
    RecipeError
        When there are none.
    MediaUnreadable
    """
    found = tuple(path for path in find_in_folder(folder, PHOTO_ENDINGS) if path.parent == folder)
    if not found:
        raise RecipeError(f"There is no photo in the folder {folder}.", "Name photos, or a folder that holds some.")
    return found


def find_files(pattern: str, kind: str) -> list[Path]:
    """Files of a glob, in order; a file that is called as the pattern is meant itself, and a folder with all in it.

    Raises
    ------
    RecipeError
        When there are none.
    MediaUnreadable
        When a folder cannot be read.
    """
    place = os.path.expanduser(pattern)
    if os.path.isdir(place):
        within = find_in_folder(Path(place), PHOTO_ENDINGS if kind == "source" else (*PHOTO_ENDINGS, *CLIP_ENDINGS))
        if not within:
            raise RecipeError(f"There is no {kind} in the folder {pattern}.", "Name another folder.")
        return within
    try:
        names = [place] if os.path.isfile(place) else glob.glob(place, recursive=True)
    except (ValueError, re.error, RecursionError) as error:
        raise RecipeError(f"{pattern} is no pattern of files: {reason_of(error)}.", "Check the pattern.") from error
    found = [Path(name) for name in sorted(set(names)) if os.path.isfile(name) and not is_sidecar(Path(name))]
    if not found:
        raise RecipeError(f"No {kind} matches {pattern}.", "Check the pattern, and put it into quotation marks.")
    return found


def own_outputs(
    targets: Sequence[Path], sources: Sequence[Path], pattern: str, folder: Path | None = None, encoder: str = ""
) -> list[Path]:
    """Those of some files that are outputs of this pattern for others of them, as on a second run.

    Parameters
    ----------
    targets
        What the target pattern finds.
    sources
        Source photos.
    pattern
        The output pattern.
    folder
        As ``base`` of `pair`.
    encoder
        As there.
    """
    fill(pattern, dict.fromkeys(FIELDS, 0))  # says what is wrong with it
    if "{target_dir" in pattern:
        return _outputs_in_tree(targets, sources, pattern, folder or _common(targets), encoder)
    base = _real(pattern)
    by_name = {(path.stem, path.suffix): path for path in targets}
    # {target_name} may be read in two ways where it stands beside other fields.
    readings = [
        re.compile(_as_regex(base, source, quantifier), re.DOTALL)
        for source in (sources or [None])  # type: ignore[list-item]
        for quantifier in ("+", "+?")
    ]
    found = []
    for path in targets:
        place = os.path.join(os.path.realpath(path.parent), path.name)
        places = [place]
        if _writable(Path(place).with_suffix(""), encoder) == Path(place):  # another ending stands behind the target's
            places.append(os.path.splitext(place)[0])
        for match in filter(None, (reading.fullmatch(one) for reading in readings for one in places)):
            groups = match.groupdict()
            name, ending = groups.get("target_name"), groups.get("target_extension")
            of = [
                other
                for other in ([by_name.get((name, ending))] if name is not None and ending is not None else targets)
                if other is not None and other != path and name in (None, other.stem) and ending in (None, other.suffix)
            ]
            if of:
                found.append(path)
                break
    return found


def _outputs_in_tree(
    targets: Sequence[Path], sources: Sequence[Path], pattern: str, base: Path, encoder: str
) -> list[Path]:
    """The same where outputs keep the places of their targets: everything that one of them would be written to."""
    made = {
        place_of(Path(os.path.realpath(_writable(Path(fill(pattern, _values(index, source, target, base))), encoder))))
        for source in (sources or [None])  # type: ignore[list-item]
        for index, target in enumerate(targets)
    }
    places = {path: place_of(Path(os.path.realpath(path))) for path in targets}
    found = [path for path in targets if places[path] in made]
    return [] if len(found) == len(targets) else found  # each its own output: that is refused, not left out


def _real(pattern: str) -> str:
    """The pattern with its folder, as far as no field stands in it, spelled in one way."""
    plain, _, rest = pattern.partition("{")
    folder, name = os.path.split(plain)
    real = os.path.realpath(folder or ".").replace("{", "{{").replace("}", "}}")
    return os.path.join(real, name + (("{" + rest) if rest or "{" in pattern else ""))


def _as_regex(pattern: str, source: Path | None, quantifier: str) -> str:
    """What matches the outputs of one source: fields of the target and the index are groups."""
    groups = {
        "index": r"[0-9]+",
        "target_name": rf"[^/\\]{quantifier}",
        "target_extension": r"(?:\.[^/\\.]*)?",
        "source_name": re.escape(source.stem if source else ""),
    }
    text, seen = "", set[str]()
    for plain, name, _, _ in string.Formatter().parse(pattern):
        text += re.escape(plain)
        if name in ("index", "source_name"):
            text += groups[name]
        elif name is not None:
            text += f"(?P={name})" if name in seen else f"(?P<{name}>{groups[name]})"
            seen.add(name)
    return text


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One of a batch: what is done with one source and one target.

    Attributes
    ----------
    number, count
        From 0, of how many.
    source, target, output
        Files; no source where the processors need none.
    """

    number: int
    count: int
    source: Path | None
    target: Path
    output: Path

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "number": self.number, "count": self.count, "source": self.source and str(self.source),
            "target": str(self.target), "output": str(self.output),
        }  # fmt: skip

    def recipe(self, recipe: Recipe) -> Recipe:
        """What is asked for in this run."""
        update: dict[str, Any] = {
            "source_paths": (self.source,) if self.source else recipe.source_paths,
            "target_path": self.target, "output_path": self.output,
        }  # fmt: skip
        if recipe.report_path is not None:
            update["report_path"] = report_of(self.output, recipe.report_path)
        return with_absolute_paths(recipe.model_copy(update=update))


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done.

    Attributes
    ----------
    runs
        One for every source and target, sources first.
    left_out
        Files that the target pattern finds and that lie where outputs of this batch do.
    not_taken
        What else there is in the folder of targets (`not_taken`).
    """

    runs: tuple[BatchRun, ...]
    left_out: tuple[Path, ...] = ()
    not_taken: tuple[Path, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {name: [str(path) for path in getattr(self, name)] for name in ("left_out", "not_taken")}
        return {"runs": [run.as_dict() for run in self.runs], **told}


@dataclass(frozen=True, slots=True)
class BatchStep:
    """Something that became of a run of a batch.

    Attributes
    ----------
    run
        Which.
    status
        ``begun``, then one of the others; ``skipped`` at once.
    outcome
        What was done, with ``done``.
    error
        What was raised, with ``failed``.
    """

    run: BatchRun
    status: Literal["begun", "done", "skipped", "failed"]
    outcome: Outcome | None = None
    error: Exception | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        problem = None if self.error is None else Problem.of(own_error(self.error)).as_dict()
        return self.run.as_dict() | {"status": self.status, "problem": problem}


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How many runs of a batch there are, and what became of them."""

    runs: int
    done: int
    skipped: int
    failed: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def plan_batch(recipe: Recipe, source_pattern: str, target_pattern: str, output_pattern: str) -> Batch:
    """Find out what a batch is, and refuse what could not go well.

    Parameters
    ----------
    recipe
        What is asked for, but for target and output; its sources go together where there is no pattern of sources.
    source_pattern, target_pattern
        Globs, or folders.
    output_pattern
        A pattern for `fill`, or a folder, in which outputs keep the places that targets have in theirs.

    Raises
    ------
    RecipeError, OutputRefused, MediaUnreadable, ExtraMissing
    """
    sources = find_files(source_pattern, "source") if source_pattern else []
    is_needed = any(Input.FACE_PHOTO in step.requirements.inputs for step in recipe.steps)
    if not sources and not recipe.source_paths and is_needed and recipe.face_map_path is None:
        raise RecipeError("No source is given.", "Name photos with --source-pattern.")
    if recipe.has_layer:
        raise RecipeError(
            "All outputs of a batch would have one matte and layer.", "Leave out --save-mask and --save-layer."
        )
    if not target_pattern or not output_pattern:
        what, flag = ("target", "--target-pattern") if not target_pattern else ("output", "--output-pattern")
        raise RecipeError(f"No {what} is given.", f"Name a folder or a pattern with {flag}.")
    output_pattern = os.path.expanduser(output_pattern)
    targets = find_files(target_pattern, "target")
    place = os.path.expanduser(target_pattern)
    base = _base_of(place) or _common(targets)
    left_out: list[Path] = []
    others: tuple[Path, ...] = ()
    if os.path.isdir(place):
        outputs = output_pattern if is_folder(output_pattern) else _common([Path(output_pattern)])
        others = not_taken(Path(place), targets, Path(outputs))
    if is_folder(output_pattern):
        within = Path(os.path.realpath(output_pattern))
        if within != Path(os.path.realpath(base)):
            left_out = [path for path in targets if within in Path(os.path.realpath(path)).parents]
        output_pattern = in_folder(output_pattern, len(sources) > 1)
    targets = _without(targets, left_out)
    # Who names an encoder, or an ending, gets it or is told why not.
    is_open = "output_video_encoder" not in recipe.model_fields_set and "{target_extension" in output_pattern
    encoder = recipe.output_video_encoder if is_open else ""
    own = own_outputs(targets, sources, output_pattern, base, encoder)
    targets, left_out = _without(targets, own), left_out + own
    if not targets:
        raise RecipeError(
            f"All files of {target_pattern} look like outputs of {output_pattern}.",
            "Have --output-pattern lead to another folder or name.",
        )
    pairs = pair(sources, targets, output_pattern, base, encoder)
    if recipe.report_path is not None:
        _check_summary(recipe.report_path, pairs)
        check_report(recipe.report_path)
    runs = tuple(BatchRun(k, len(pairs), *files) for k, files in enumerate(pairs))
    return Batch(runs, tuple(left_out), others)


def report_of(output: Path, asked: Path) -> Path:
    """Where the report of a run goes: beside its output. The name that is asked for is that of the whole batch's."""
    return output.with_name(f"{output.name}.report{asked.suffix}")


def _check_summary(report: Path, pairs: Sequence[tuple[Path | None, Path, Path]]) -> None:
    """Refuse a report of the whole batch that would go over a file of one of its runs."""
    for source, target, output in pairs:
        kinds = [("target", target), ("output", output), *([("source", source)] if source else [])]
        kinds += [("report", path) for path in report_files(report_of(output, report))]
        for what, path in kinds:
            found = next((one for one in report_files(report) if is_same_file(one, path)), None)
            if found is not None:
                raise OutputRefused(f"{found} would be written over the {what} {path}.", "Name another --report.")


def _without(paths: Sequence[Path], others: Sequence[Path]) -> list[Path]:
    left_out = set(others)
    return [path for path in paths if path not in left_out]


def is_folder(pattern: str) -> bool:
    """Whether an output pattern is a folder: it is one, or ends like one, or is a name without fields and ending."""
    if os.path.isdir(pattern) or pattern.endswith(("/", os.sep)):
        return True
    return "{" not in pattern and not Path(pattern).suffix


def in_folder(folder: str, has_sources: bool) -> str:
    """The pattern of outputs in a folder: where the target is in its own, and as it is called."""
    name = ("{source_name}-" if has_sources else "") + "{target_name}{target_extension}"
    return os.path.join(folder.replace("{", "{{").replace("}", "}}"), "{target_dir}", name)


def _writable(output: Path, encoder: str) -> Path:
    """The output under another ending where none can be written under the target's, or none by an encoder of films."""
    ending = output.suffix.lower()
    if ending in CONTAINERS and encoder and not holds_film(ending, encoder):
        return output.with_name(f"{output.name}.mkv")
    if ending in (*FORMATS, *CONTAINERS):
        return output
    if ending in PHOTO_ENDINGS:
        return output.with_name(f"{output.name}.png")
    return output.with_name(f"{output.name}.mkv") if ending in CLIP_ENDINGS else output


def work_through(
    batch: Batch, recipe: Recipe, marks: Path, do: Callable[[Recipe], Outcome], reads: Sequence[Named] = ()
) -> Iterator[BatchStep]:
    """Do all runs; one that fails does not stop the others, what is finished is skipped, what was begun goes on.

    Parameters
    ----------
    batch
        From `plan_batch`.
    recipe
        As there.
    marks
        Folder in which it is noted which runs are finished (`MARKS` in the jobs folder).
    do
        Does one of them.
    reads
        Other files that are read, such as the configuration.

    Raises
    ------
    Stopped
        When one of the runs was stopped.
    """
    theirs = _not_made_here(batch.left_out, marks)
    for run in batch.runs:
        try:
            one, notes = _whole_photo(run.recipe(recipe))
            check_paths(one, reads=reads)
            mark = marks / job_id_of(one, hash_inputs(one))
            if _is_finished(one, mark) and all(path.is_file() for path in _reports(one)):
                yield BatchStep(run, "skipped")
                continue
            _check_made_here(run.output, theirs)
            yield BatchStep(run, "begun")
            outcome = do(one)
            outcome = replace(outcome, notes=(*outcome.notes, *notes))
            make_folder(marks)
            save_private(mark, _mark_of(one.output_path))
        except Stopped:
            raise
        except Exception as error:
            yield BatchStep(run, "failed", error=error)
        else:
            yield BatchStep(run, "done", outcome)


def _whole_photo(recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe of a run without the part that is meant for the clips beside its photo, and a sentence on that."""
    part = "start_s", "end_s", "trim_frame_start", "trim_frame_end"
    if all(getattr(recipe, name) is None for name in part) or not is_photo(recipe.target_path):
        return recipe, ()
    note = f"{recipe.target_path.name} is a photo and is taken whole: --start and --end are for clips."
    return recipe.with_options(**dict.fromkeys(part)), (note,)


def _reports(recipe: Recipe) -> list[Path]:
    return [] if recipe.report_path is None else report_files(recipe.report_path)


def _mark_of(output: Path) -> bytes:
    """What is noted of a finished output: its hash, and that of its manifest where this lies beside it."""
    files = [output, *([sidecar_of(output)] if is_sidecar(sidecar_of(output)) else [])]
    return "\n".join(map(hash_file, files)).encode()


def _not_made_here(paths: Sequence[Path], marks: Path) -> list[Path]:
    """Those of some files that are not as any batch wrote them."""
    made = set()
    for mark in marks.glob("*"):
        with suppress(OSError):
            made.add(mark.read_bytes().partition(b"\n")[0])
    found = []
    for path in paths:
        try:
            is_made = hash_file(path).encode() in made
        except OSError:
            is_made = False
        if not is_made:
            found.append(path)
    return found


def _check_made_here(output: Path, theirs: Sequence[Path]) -> None:
    """Refuse an output that would go over a file which the batch finds as a target, and did not make itself."""
    for path in theirs:
        if is_same_file(output, path):
            raise OutputRefused(
                f"{path} is found by the target pattern and would be written over; no batch is known to have made it.",
                "Move it away, or have --output-pattern lead to another folder or name.",
            )


def _is_finished(recipe: Recipe, mark: Path) -> bool:
    """Whether the output is there as it was written for the same request."""
    try:
        return mark.read_bytes() == _mark_of(recipe.output_path)
    except OSError:
        return False
