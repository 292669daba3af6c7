"""``facefusion people``, ``export`` and ``report``: print what the service finds out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefusion.errors import RecipeError
from facefusion.wording import counted

if TYPE_CHECKING:  # help needs none of it
    from facefusion.apps.show import Show
    from facefusion.media.files import Named
    from facefusion.recipe import Recipe
    from facefusion.service.measure import Measured
    from facefusion.service.who import PersonSeen

COMMANDS = ("people", "export", "report")
WORDS = ("format", "layouts", "has_embeddings", "export_path", "sheet_path", "template_path", "measured_path")
"""What is said to these commands and is no option."""
FORMATS = ("json", "jsonl", "csv", "parquet", "coco", "mot", "webvtt")
LAYOUTS = ("5", "68", "478")
_MOST = 40
"""People in a table; the JSON and the file have all."""


def add_flags(command: str, parser: argparse.ArgumentParser) -> None:
    """Flags of one of these commands, and of ``analyse``."""
    if command in ("export", "analyse"):
        group = parser.add_argument_group("data")
        text = "; else what the name ends in" + (", or tracks" if command == "analyse" else "")
        group.add_argument("--format", choices=FORMATS, metavar="VALUE", help=", ".join(FORMATS) + text)
        text = "points that are written: 5, 68, 478 (default: 5)"
        group.add_argument(
            "--points", nargs="+", choices=LAYOUTS, default=["5"], dest="layouts", metavar="N", help=text
        )
        text = "write embeddings too: whoever has them can recognise these people"
        group.add_argument("--embeddings", action="store_true", dest="has_embeddings", help=text)
    if command == "export":
        parser.add_argument("names", nargs=1, metavar="TRACKS", help="tracks file, from 'facefusion analyse'")
        text = "file to write (default: beside the tracks, called as they are)"
        parser.add_argument("-o", "--output", dest="export_path", type=Path, help=text)
    if command == "people":
        parser.add_argument("-o", "--output", dest="sheet_path", type=Path, help="picture to write")
        text = "mapping file to fill in, with a picture of everybody in a folder beside it"
        parser.add_argument("--face-map-template", dest="template_path", type=Path, metavar="PATH", help=text)
        text = "write over a mapping file that is there, and over pictures beside it"
        parser.add_argument("--force", action="store_true", dest="is_replacing", help=text)
    if command == "report":
        text = "what was made of the target, by whatever program"
        parser.add_argument("-o", "--output", dest="measured_path", type=Path, required=True, help=text)
    if command in ("people", "report"):
        parser.add_argument("--tracks", dest="tracks_path", type=Path, help="tracks file of the target, made before")


def run_data(
    command: str,
    recipe: Recipe,
    words: Mapping[str, Any],
    tracks_path: Path | None,
    show: Show,
    reads: Sequence[Named] = (),
) -> int:
    """Do one of these commands.

    Raises
    ------
    FaceFusionError
    """
    if command == "people":
        return _people(recipe, words, tracks_path, show, reads)
    if command == "export":
        return _export(words, show, reads)
    return _report(recipe, words, tracks_path, show, reads)


def _people(
    recipe: Recipe, words: Mapping[str, Any], tracks_path: Path | None, show: Show, reads: Sequence[Named]
) -> int:
    from facefusion.apps.console import shown
    from facefusion.service.sheets import show_people
    from facefusion.types.track import Tracks

    tracks = None if tracks_path is None else Tracks.load(tracks_path)
    named = [*reads, *([("tracks file", tracks_path)] if tracks_path is not None else [])]
    found = show_people(
        recipe, words["sheet_path"], words["template_path"], tracks, show.progress, named, words["is_replacing"]
    )
    lines = [f"{counted(len(found.people), 'person', 'people')} in {counted(found.frames, 'frame')}"]
    lines += table_of(found.people, found.frames)
    lines += [shown(note) for note in found.notes]
    if found.output is not None:
        lines.append(f"{shown(found.output)}: who is who")
    if found.face_map is not None:
        lines.append(f"{shown(found.face_map)}: fill it in, then run with --face-map")
    show.answer("people", found, "\n".join(lines))
    return 0


def _export(words: Mapping[str, Any], show: Show, reads: Sequence[Named]) -> int:
    from facefusion.apps.console import shown
    from facefusion.service.export import check_export, export, output_for
    from facefusion.types.track import Tracks

    path = Path(words["names"][0])
    kind, output = words["format"], words["export_path"]
    if kind is None and output is None:
        raise RecipeError("What is to be written?", f"Add --format, such as {FORMATS[0]}, or -o with an ending.")
    output = output or output_for(path, kind)
    named = [("tracks file", path), *reads]
    check_export(output, kind, words["layouts"], words["has_embeddings"], named)
    tracks = Tracks.load(path, is_mapped=True)
    made = export(tracks, output, kind, words["layouts"], words["has_embeddings"], reads=named)
    text = f"{shown(made.output)}: {counted(made.faces, 'face')} of {counted(made.people, 'person', 'people')} in "
    text += f"{counted(made.frames, 'frame')} ({made.format})"
    show.answer("exported", made, text, is_news=True)
    return 0


def _report(
    recipe: Recipe, words: Mapping[str, Any], tracks_path: Path | None, show: Show, reads: Sequence[Named]
) -> int:
    from facefusion.service.measure import check_good_enough, measure
    from facefusion.types.track import Tracks

    tracks = None if tracks_path is None else Tracks.load(tracks_path)
    named = [*reads, *([("tracks file", tracks_path)] if tracks_path is not None else [])]
    output = Path(words["measured_path"]).absolute()
    found = measure(recipe, output, tracks, show.progress, named)
    show.answer("measured", found, "\n".join(_text(found)))
    check_good_enough(found)
    return 0


def _text(found: Measured) -> list[str]:
    from facefusion.apps.console import shown
    from facefusion.metrics.figures import LIMITS

    lines = [f"{shown(found.output)}, made of {shown(found.target)}: {counted(found.frames, 'frame')} compared"]
    for name, (meaning, _) in LIMITS.items():
        value = found.overall[name]
        lines.append(f"  {name:<18}{'-' if value is None else f'{value:.3f}':>9}  {meaning}")
    lines += [f"  {shown(note)}" for note in found.notes]
    lines += [f"{shown(file)}: the report" for file in found.files[:1]]
    return lines


def table_of(people: Sequence[PersonSeen], frame_count: int) -> list[str]:
    """Everybody, one to a line: number, side, time, frames, size, quality and tracks."""
    if not people:
        return []
    rows = [("person", "side", "seen, s", "frames", "size", "quality", "tracks")]
    for one in people[:_MOST]:
        spans = [f"{stretch.start_s:.2f}-{stretch.stop_s:.2f}" for stretch in one.stretches]
        tracks = [str(track) for track in one.tracks]
        rows.append(
            (
                str(one.person),
                one.side,
                ", ".join(spans[:3]) + (f" +{len(spans) - 3}" if len(spans) > 3 else ""),
                f"{one.frames}/{frame_count}",
                f"{one.size_px} px",
                f"{one.quality:.2f}",
                ", ".join(tracks[:4]) + (f" +{len(tracks) - 4}" if len(tracks) > 4 else ""),
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    left = len(people) - _MOST
    return [*lines, f"  and {left} more"] if left > 0 else lines
