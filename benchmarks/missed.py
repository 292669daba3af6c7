"""Whether anyone is missed when people are hidden: faces labelled by hand in crowds, and areas that are none.

    python benchmarks/missed.py MEDIA [--deface .venv-deface/bin/deface] [--keep FOLDER] [--curve curve.png]

MEDIA is the folder with the labelled clips and photos (`missed_labels.json`: by name and SHA-256, boxes only). A face of
at least 16 px counts as hidden where most of its box lies in what is covered. A covered area that meets no labelled face is
a false one; what lies on the back of a head is counted by itself, and what is not clear to the eye counts for nothing.
Clips are analysed from half a second before a labelled frame to half a second after it.

``--deface`` names the program of that name, which then hides the same frames in the same run; it is measured by what it has
changed. ``--keep`` keeps the tracks, and takes them from there the next time (also to measure those of an earlier version).
``--curve`` draws what other limits of the verifier would give.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

from facefusion.imaging.boxes import share_inside
from facefusion.pipeline.runner import analyse_target
from facefusion.recipe import build_recipe
from facefusion.types import certainty
from facefusion.types.certainty import certainties
from facefusion.types.track import Tracks

LEAST_PX = 16.0
GROWTH, GROWTH_IN_DOUBT = 1.22, 1.5
"""Size of a patch over that of the face, and where it is not sure that there is one."""
COVERED = 0.6
"""Share of a labelled box that has to be covered."""
ON_HEAD = 0.3
"""Share of an area that has to lie on the back of a head, or on what is not clear."""
AROUND_S = 0.45
ODDS = ("LEAST_ODDS", "LEAST_ODDS_FEW", "LEAST_ODDS_FOUND", "LEAST_ODDS_LARGE")
"""Limits that the curve moves, all by as much."""
CHANGED = 3
"""Levels by which deface has changed a pixel, beyond what coding does to it."""

Boxes = np.ndarray


@dataclass
class Frame:
    """A labelled frame of a file."""

    file: str
    number: int
    faces: Boxes
    heads: Boxes
    unclear: Boxes


@dataclass
class Count:
    """What came of some frames."""

    frames: int = 0
    clear_frames: int = 0
    faces: int = 0
    hidden: int = 0
    false: int = 0
    heads: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, frame: Frame, areas: Boxes) -> None:
        missed_before = len(self.missed)
        for face in frame.faces:
            if max(face[2:] - face[:2]) < LEAST_PX:
                continue
            self.faces += 1
            if covered_share(face, areas) >= COVERED:
                self.hidden += 1
            else:
                self.missed.append(f"{frame.file}, frame {frame.number}: {face.astype(int).tolist()}")
        self.frames += 1
        self.clear_frames += len(self.missed) == missed_before
        for area in areas:
            if any(share_inside(area, face) + share_inside(face, area) > 0 for face in frame.faces):
                continue
            if any(share_inside(area, head) >= ON_HEAD or share_inside(head, area) >= COVERED for head in frame.heads):
                self.heads += 1
            elif not any(
                share_inside(area, part) >= ON_HEAD or share_inside(part, area) >= COVERED for part in frame.unclear
            ):
                self.false += 1

    def told(self, who: str) -> str:
        return (
            f"| {who} | {self.hidden} of {self.faces} | {self.hidden / max(self.faces, 1):.1%} | "
            f"{self.clear_frames / max(self.frames, 1):.1%} | {100 * self.false / max(self.frames, 1):.0f} | "
            f"{100 * self.heads / max(self.frames, 1):.0f} |"
        )


def covered_share(face: Boxes, areas: Boxes) -> float:
    """Share of a face that lies in any area, all together."""
    x, y = (np.linspace(face[k] + 0.5, face[k + 2] - 0.5, 24) for k in (0, 1))
    gx, gy = np.meshgrid(x, y)
    is_in = np.zeros(gx.shape, bool)
    for a in areas:
        is_in |= (gx >= a[0]) & (gx <= a[2]) & (gy >= a[1]) & (gy <= a[3])
    return float(is_in.mean())


def load_labels(path: Path, media: Path) -> Iterator[tuple[str, list[Frame]]]:
    """Labelled frames of every file that is there as it was labelled."""
    for name, told in json.loads(path.read_text())["files"].items():
        if not (media / name).is_file() or hashlib.sha256((media / name).read_bytes()).hexdigest() != told["sha256"]:
            print(f"{name} is not there, or is another file: left out")
            continue
        yield (
            name,
            [
                Frame(
                    name, int(n), *(np.array(e.get(k, []), float).reshape(-1, 4) for k in ("faces", "heads", "unclear"))
                )
                for n, e in told["frames"].items()
            ],
        )


def spans_of(path: Path, frames: list[Frame]) -> list[tuple[float | None, float | None, dict[float, Frame]]]:
    """Parts of a file that are looked at: begin, end, and their labelled frames by time in seconds."""
    if path.suffix not in (".mp4", ".mov", ".mkv"):
        return [(None, None, {0.0: frames[0]})]
    with av.open(str(path)) as container:
        zero = float((container.start_time or 0) / av.time_base)
        times = [float(frame.time) - zero for frame in container.decode(video=0)]
    spans: list[tuple[float, float, dict[float, Frame]]] = []
    for frame in sorted(frames, key=lambda one: one.number):
        at = times[frame.number]
        if spans and at - AROUND_S <= spans[-1][1]:
            spans[-1] = (spans[-1][0], at + AROUND_S, spans[-1][2] | {at: frame})
        else:
            spans.append((max(at - AROUND_S, 0.0), at + AROUND_S, {at: frame}))
    return list(spans)


def hidden_areas(tracks: Tracks, row: int) -> Boxes:
    """Boxes of what is hidden in a frame, xyxy."""
    how, areas = certainties(tracks), []
    for track in tracks.tracks:
        at = track.find(row)
        if at is not None and how[track.track_id] != "unlikely":
            points = track.meshes[at][:, :2]
            low, high = points.min(axis=0), points.max(axis=0)
            is_sure = how[track.track_id] == "sure" or track.evidence is None
            middle, half = (low + high) / 2, (high - low) / 2 * (GROWTH if is_sure else GROWTH_IN_DOUBT)
            areas.append(np.concatenate([middle - half, middle + half]))
    return np.array(areas).reshape(-1, 4)


def read_frames(path: Path, numbers: list[int]) -> dict[int, np.ndarray]:
    if path.suffix not in (".mp4", ".mov", ".mkv"):
        return {numbers[0]: cv2.imread(str(path))}
    with av.open(str(path)) as container:
        found = enumerate(container.decode(video=0))
        return {n: frame.to_ndarray(format="bgr24") for n, frame in found if n in numbers}


def deface_areas(program: Path, pixels: np.ndarray) -> Boxes:
    """What deface hides of a frame with its own settings: boxes of what it fills with black."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "frame.png", Path(folder) / "hidden.png"
        cv2.imwrite(str(before), pixels)
        subprocess.run(
            [program, before, "-o", after, "--replacewith", "solid", "--boxes"], check=True, capture_output=True
        )
        changed = np.abs(cv2.imread(str(after)).astype(int) - pixels).max(axis=2) > CHANGED
    changed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, _, parts, _ = cv2.connectedComponentsWithStats(changed)
    return np.array([[x, y, x + w, y + h] for x, y, w, h, area in parts[1:] if area >= 16], float).reshape(-1, 4)


def draw_curve(path: Path, points: list[tuple[float, Count]], shipped: Count, deface: Count | None) -> None:
    import matplotlib

    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    false = [100 * c.false / c.frames for _, c in points]
    axes.plot(false, [100 * c.hidden / c.faces for _, c in points], ".-", label="limits of the odds, -8 to +4")
    for count, label, mark in ((shipped, "what ships", "*"), (deface, "deface", "s")):
        if count is not None:
            axes.plot(100 * count.false / count.frames, 100 * count.hidden / count.faces, mark, ms=11, label=label)
    axes.set_xlim(left=0)
    axes.set_xlabel("areas that are no face, in 100 frames")
    axes.set_ylabel("faces that are hidden, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--labels", type=Path, default=Path(__file__).with_name("missed_labels.json"))
    parser.add_argument("--deface", type=Path, help="program to measure beside ours, in an environment of its own")
    parser.add_argument("--keep", type=Path, help="folder of tracks")
    parser.add_argument("--curve", type=Path, help="picture to draw")
    parser.add_argument("--only", default="", help="files with this in their name")
    arguments = parser.parse_args()
    ours = {"clips": Count(), "photos": Count(), "all": Count()}
    theirs: dict[str, Count] = {name: Count() for name in ours}
    kept: list[tuple[Tracks, int, Frame]] = []
    for name, frames in load_labels(arguments.labels, arguments.media):
        if arguments.only not in name:
            continue
        path = arguments.media / name
        for number, (start, stop, labelled) in enumerate(spans_of(path, frames)):
            saved = arguments.keep and arguments.keep / f"{path.stem}_{number}.tracks"
            if saved and saved.is_file():
                tracks = Tracks.load(saved)
            else:
                values = {"processors": ["face_anonymiser"], "target_path": path}
                tracks = analyse_target(
                    build_recipe(values | ({} if start is None else {"start_s": start, "end_s": stop}))
                )
                if saved:
                    saved.parent.mkdir(parents=True, exist_ok=True)
                    tracks.save(saved)
            times = tracks.pts * float(tracks.time_base)
            kept += [(tracks, int(np.abs(times - at).argmin()), frame) for at, frame in labelled.items()]
        if arguments.deface:
            pictures = read_frames(path, [frame.number for frame in frames])
            for frame in frames:
                areas = deface_areas(arguments.deface, pictures[frame.number])
                for group in ("photos" if name.startswith("images") else "clips", "all"):
                    theirs[group].add(frame, areas)

    def measured(into: Callable[[Frame], list[Count]]) -> None:
        for tracks, row, frame in kept:
            areas = hidden_areas(tracks, row)
            for count in into(frame):
                count.add(frame, areas)

    measured(lambda frame: [ours["photos" if frame.file.startswith("images") else "clips"], ours["all"]])
    print("\n".join(f"missed: {line}" for line in ours["all"].missed))
    print("\n| | faces hidden | recall | frames without anyone bare | false areas in 100 frames | on backs of heads |")
    print("|---|---|---|---|---|---|")
    for group, count in ours.items():
        if count.frames:
            print(count.told(group))
    if arguments.deface:
        for group, count in theirs.items():
            if count.frames:
                print(count.told(f"deface, {group}"))
        print("\n".join(f"deface missed: {line}" for line in theirs["all"].missed))
    if arguments.curve:
        shipped = {name: getattr(certainty, name) for name in ODDS}
        points = []
        for shift in (-8.0, -5.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0):
            for name, limit in shipped.items():
                setattr(certainty, name, limit + shift)
            count = Count()
            measured(lambda frame, count=count: [count])
            points.append((shift, count))
            print(count.told(f"limits {shift:+}"))
        for name, limit in shipped.items():
            setattr(certainty, name, limit)
        draw_curve(arguments.curve, points, ours["all"], theirs["all"] if arguments.deface else None)


if __name__ == "__main__":
    main()
