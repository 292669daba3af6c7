"""How like the source a swap is, and what gives it away: people and clips that nothing was trained on.

    python benchmarks/likeness.py MEDIA [--pairs 40] [--frames 4] [--seconds 1] [--without shape fusion …]
    python benchmarks/likeness.py --against BEFORE AFTER        # two output folders: table and sheets side by side

MEDIA is laid out as in training/README.md. Photos and clips are those of people whose number is held out from all
training (number % 7 == 3, training/face_pool.py); ``--part tune`` takes number % 7 == 5, to look at while mending. No
photo is left out for being hard. The judge is dlib (pip install 'facefusion-studio[bench]'), which has no part in the product.

For each pair: *first*, share of frames in which the source is nearest among everyone (all sources and the people of all
clips, the one in the frame included); dlib's distance to the source's photo and to the target; *tone*, how much further
the face's skin is from that of the head around it than it was (`facefusion.metrics.tone`); *flicker* (as in
motion.py); *sharp*, measured blur of the face over that of the target's (`facefusion.imaging.finish`; above 1 it is
softer); pose and expression of the output against the target (*expression*: what is left of the difference after
what is constant over the clip, the shape, is taken off; *geometry*: with it).

Every ``--without`` makes a row of the table and is rendered beside the rest: ``shape fusion masks flow light finish``.
Sheets have three rows: source, target, result. What the judge and pass 1 find out about media is kept in ``--cache``,
which must be emptied when pass 1 changes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.imaging.finish import measure_finish
from facefusion.media.reader import ClipReader
from facefusion.metrics.fidelity import compare_tracks
from facefusion.metrics.tone import tone_step
from facefusion.pipeline.runner import build_analyser, build_processors, choose_tracks, read_sources
from facefusion.recipe import Recipe, build_recipe
from facefusion.render.grain import GrainMatcher
from facefusion.render.renderer import Renderer
from facefusion.render.smooth import MotionSmoother
from facefusion.types.crop import SourceFace
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.topology import LEFT_IRIS, RIGHT_IRIS, SKIN_COUNT
from facefusion.types.track import Track, Tracks
from fidelity import Recogniser, fit, make_recogniser
from motion import judge_steadiness, observe
from stress import number_of

MODULUS, PARTS = 7, {"held-out": 3, "tune": 5}
WITHOUT: dict[str, dict[str, object]] = {
    "shape": {"face_swapper_shape": 0.0},
    "fusion": {"face_swapper_fusion": 0.0},
    "masks": {"face_mask_types": ("box",)},
    "flow": {"motion_smoothing": 0.0},
    "light": {"face_swapper_light": 0.0},
    "finish": {"finish_matching": 0.0},
}
KEYS = ("first", "to_source", "to_target", "tone", "tone_worst", "flicker", "sharp", "pose", "expression", "geometry")
TILE, PER_SHEET = 208, 10


@dataclass(frozen=True)
class Pair:
    """A photo and the clip that its person is put into."""

    name: str
    person: str
    photo: Path
    clip: Path
    target: str


def choose_pairs(media: Path, count: int, part: str) -> tuple[list[Pair], dict[str, Path]]:
    """Pairs, every person once before anybody comes again; and the clip of every target person.

    Parameters
    ----------
    media
        With a manifest.csv.
    count
        How many pairs; fewer where there are fewer photos.
    part
        A name in `PARTS`.
    """
    photos: dict[str, list[str]] = {}
    clips: dict[str, list[str]] = {}
    for row in csv.DictReader((media / "manifest.csv").open()):
        people = row["identities"].split()
        if not people or int(people[0][2:]) % MODULUS != PARTS[part]:
            continue
        if row["kind"] == "image" and len(people) == 1 and row["faces"] == "1":
            photos.setdefault(people[0], []).append(row["file"])
        elif row["kind"] == "clip":
            clips.setdefault(people[0], []).append(row["file"])
    targets = sorted(((file, p) for p, files in clips.items() for file in files), key=lambda t: number_of(t[0]))
    ranked = [
        (rank, number_of(person), person, file)
        for person, files in photos.items()
        for rank, file in enumerate(sorted(files, key=number_of))
    ]
    pairs: list[Pair] = []
    for k, (_, _, person, file) in enumerate(sorted(ranked)[:count]):
        clip, target = targets[k % len(targets)]
        if target == person:
            clip, target = targets[(k + 1) % len(targets)]
        name = f"{k + 1:02d}-{Path(file).stem}--{Path(clip).stem}"
        pairs.append(Pair(name, person, media / file, media / clip, target))
    return pairs, {person: media / file for file, person in reversed(targets)}


class Judge:
    """dlib, with everything that it said about a picture before kept by the picture's hash."""

    def __init__(self, recogniser: Recogniser, cache: Path) -> None:
        self._recogniser, self._path = recogniser, cache / "judge.npz"
        self._known = dict(np.load(self._path)) if self._path.exists() else {}

    def describe(self, pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        key = hashlib.sha256(pixels.tobytes() + mesh.tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = self._recogniser.describe(pixels, mesh)
        return self._known[key]

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(self._path, **self._known)


def recipes_of(pair: Pair, seconds: float, without: list[str]) -> dict[str, Recipe]:
    """One recipe with everything on, and one for each part that is left out."""
    options = {"source_paths": [pair.photo], "target_path": pair.clip, "output_path": "unused.mp4",
               "end_s": seconds, "allow_8bit": True}  # fmt: skip
    return {"all": build_recipe(options)} | {f"no {w}": build_recipe(options | WITHOUT[w]) for w in without}


def render(recipe: Recipe, sources: list[SourceFace], tracks: Tracks, frames: list[Frame]) -> list[RenderedFrame]:
    """Pass 2 as `facefusion.pipeline.clip` does it, in memory."""
    chosen = choose_tracks(recipe, tracks)
    chain = build_processors(recipe, recipe.steps, sources)
    renderer = Renderer(dict.fromkeys(chosen, chain), tracks, recipe.step_of("face_swapper").options.blend)
    smoother = MotionSmoother(tracks, chosen, recipe.motion_smoothing)
    grain = GrainMatcher(tracks, chosen, recipe.finish_matching)
    looks = [smoother.look(renderer.render(frame)) for frame in frames]
    return [grain.match(smoother.smooth(window)) for window in smoother.windows(looks)]


def expression_error(target: Track, output: Track) -> float:
    """Mean distance of points that is not the same in every frame, after position, size and roll are matched."""
    _, rows_a, rows_b = np.intersect1d(target.frames, output.frames, return_indices=True)
    if len(rows_a) < 2:
        return float("nan")
    off = []
    for a, b in zip(target.meshes[rows_a].astype(float), output.meshes[rows_b].astype(float), strict=True):
        eye = np.linalg.norm(a[LEFT_IRIS] - a[RIGHT_IRIS])
        one, other = (m[:SKIN_COUNT, 0] + 1j * m[:SKIN_COUNT, 1] for m in (a, b))
        one, other = one - one.mean(), other - other.mean()
        turn = np.exp(1j * np.angle(complex(*(a[RIGHT_IRIS] - a[LEFT_IRIS])[:2])))  # differences turn with the head
        factor = (np.conj(other) @ one) / max(float((np.abs(other) ** 2).sum()), 1e-9)
        off.append((factor * other - one) / turn / eye)
    differences = np.array(off)
    return float(np.abs(differences - differences.mean(axis=0)).mean())


def judge_output(
    outputs: list[RenderedFrame], frames: list[Frame], tracks: Tracks, chosen: tuple[int, ...], analyser: object,
    judge: Judge, gallery: dict[str, np.ndarray], pair: Pair, wanted: np.ndarray, count: int,
) -> tuple[dict[str, float], list[tuple[np.ndarray, np.ndarray]]]:  # fmt: skip
    """Figures of one rendering, and tiles of the target and the result."""
    again = analyser.analyse(
        iter([Frame(o.pixels, f.index, f.pts, f.time_base) for o, f in zip(outputs, frames, strict=True)])
    )
    target = next(t for t in tracks.tracks if t.track_id == chosen[0])
    mine = min(
        again.tracks,
        key=lambda t: -len(np.intersect1d(t.frames, target.frames)) + 1e-3 * apart(t, target),
        default=None,
    )
    seen = [k for k, o in enumerate(outputs) if o.is_changed and target.find(k) is not None]
    rows = sorted({seen[int(k)] for k in np.linspace(0, len(seen) - 1, count + 2)[1:-1]}) if seen else []
    first, to_source, to_target, tones, sharp, tiles = [], [], [], [], [], []
    for k in rows:
        before, after = frames[k].pixels, outputs[k].pixels
        mesh = target.meshes[target.find(k)]
        row = mine.find(k) if mine is not None else None
        a, b = judge.describe(before, mesh), judge.describe(after, mesh)
        to_source.append(float(np.linalg.norm(b - wanted)))
        to_target.append(float(np.linalg.norm(b - a)))
        others = [np.linalg.norm(b - code) for person, code in gallery.items() if person != pair.person]
        first.append(to_source[-1] < min(*others, to_target[-1]))
        tones.append(tone_step(before, after, mesh, None if row is None else mine.meshes[row]))
        finish = [measure_finish(pixels, mesh) for pixels in (before, after)]
        sharp.append(float("nan") if None in finish else finish[1][0] / finish[0][0])
        tiles.append((tile(before, mesh), tile(after, mesh)))
    steadiness = judge_steadiness({"all": outputs}, tracks, chosen)["all"]
    fidelity = compare_tracks(target, mine) if mine is not None else None
    return {
        "first": float(np.mean(first)) if first else float("nan"),
        "frames": float(len(first)),
        "to_source": mean(to_source),
        "to_target": mean(to_target),
        "tone": mean(tones),
        "tone_worst": float(np.nanmax(tones)) if np.isfinite(tones).any() else float("nan"),
        "flicker": steadiness["flicker"],
        "sharp": mean(sharp),
        "pose": fidelity.pose_deg if fidelity else float("nan"),
        "expression": expression_error(target, mine) if mine is not None else float("nan"),
        "geometry": fidelity.expression if fidelity else float("nan"),
    }, tiles


def mean(values: list[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def apart(one: Track, other: Track) -> float:
    """Distance of the middles of two tracks, pixels."""
    return float(np.linalg.norm((one.meshes.mean(axis=(0, 1)) - other.meshes.mean(axis=(0, 1)))[:2]))


def tile(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """The head of a person, upright."""
    low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
    half, (x, y) = float((high - low).max()) * 0.85, (low + high) / 2
    scale = TILE / (2 * half)
    affine = np.array([[scale, 0, TILE / 2 - x * scale], [0, scale, TILE / 2 - y * scale]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    if scale < 0.5:
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale)
    return cv2.warpAffine(pixels, affine, (TILE, TILE), flags=how, borderMode=cv2.BORDER_REPLICATE)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90])


def write_sheets(folder: Path, names: list[str], rows: list[Path], prefix: str) -> None:
    """Pairs side by side, ten a sheet; each row holds a picture of every pair."""
    for start in range(0, len(names), PER_SHEET):
        columns = []
        for name in names[start : start + PER_SHEET]:
            tiles = [cv2.imread(str(row / f"{name}.jpg")) for row in rows]
            column = np.vstack([np.zeros((TILE, TILE, 3), np.uint8) if t is None else t for t in tiles])
            cv2.putText(column, name[:2], (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 255, 255), 2)
            columns.append(column)
        cv2.imwrite(str(folder / f"{prefix}-{start // PER_SHEET + 1}.png"), np.hstack(columns))


def summarise(rows: list[dict[str, float]]) -> dict[str, float]:
    """Figures over pairs: by frames for *first*, means of the rest; of the tone the positives and the worst."""
    # Earlier runs did not measure everything.
    found = {key: np.array([row.get(key, float("nan")) for row in rows]) for key in (*KEYS, "frames")}
    tone = found["tone"][np.isfinite(found["tone"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "first": float(np.nansum(found["first"] * found["frames"]) / found["frames"].sum()),
            **{key: float(np.nanmean(found[key])) for key in ("to_source", "to_target")},
            "tone+": float(tone[tone > 0].mean()) if (tone > 0).any() else 0.0,
            "tone worst": float(np.nanmax(found["tone_worst"])),
            **{key: float(np.nanmean(found[key])) for key in ("flicker", "sharp", "pose", "expression", "geometry")},
            "frames": float(found["frames"].sum()),
        }


def show_table(rows: dict[str, dict[str, dict[str, float]]]) -> None:
    """One line for each variant: mean over the pairs."""
    variants = list(next(iter(rows.values())))
    print(f"\n{len(rows)} pairs")
    for variant in variants:
        figures = summarise([row[variant] for row in rows.values() if variant in row])
        print(f"  {variant:<12}" + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()))


def run(arguments: argparse.Namespace) -> None:
    recogniser = make_recogniser()
    if recogniser is None:
        return
    judge = Judge(recogniser, arguments.cache)
    pairs, targets = choose_pairs(arguments.media, arguments.pairs, arguments.part)
    analyser = build_analyser(build_recipe({}))
    gallery: dict[str, np.ndarray] = {}
    people: dict[Path, SourceFace] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # poor sources are what is measured
        for pair in pairs:
            try:
                people[pair.photo] = read_sources([pair.photo], analyser)[0]
            except FaceFusionError as error:
                print(f"{pair.name}: {error}")
                continue
            face = people[pair.photo]
            gallery.setdefault(pair.person, judge.describe(face.pixels, face.face.mesh))
    for person, clip in targets.items():
        found = analyser.analyse(iter([next(iter(ClipReader(clip, allow_8bit=True)))]))
        if found.tracks and person not in gallery:
            frame = next(iter(ClipReader(clip, allow_8bit=True)))
            gallery[person] = judge.describe(frame.pixels, found.tracks[0].meshes[0])
    judge.save()
    print(f"{len(pairs)} pairs, {len(people)} with a face in the photo; gallery of {len(gallery)}", flush=True)
    pairs = [pair for pair in pairs if pair.photo in people and arguments.match in pair.name]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for pair in pairs:
        recipes = recipes_of(pair, arguments.seconds, arguments.without)
        source = people[pair.photo]
        wanted = judge.describe(source.pixels, source.face.mesh)
        try:
            tracks = observe(recipes["all"], analyser, arguments.cache)
            chosen = choose_tracks(recipes["all"], tracks)
            frames = list(ClipReader(pair.clip, end_s=arguments.seconds, allow_8bit=True))
            rows[pair.name] = {}
            for variant, recipe in recipes.items():
                outputs = render(recipe, [source], tracks, frames)
                figures, tiles = judge_output(
                    outputs, frames, tracks, chosen, analyser, judge, gallery, pair, wanted, arguments.frames
                )
                rows[pair.name][variant] = figures
                folder = arguments.output / variant.replace(" ", "-")
                if tiles:
                    before, after = tiles[len(tiles) // 2]
                    write_picture(arguments.output / "target" / f"{pair.name}.jpg", before)
                    write_picture(folder / f"{pair.name}.jpg", after)
                    # All judged frames, for a closer look.
                    strip = np.hstack([np.vstack(pair_of) for pair_of in tiles])
                    write_picture(folder / "strips" / f"{pair.name}.jpg", strip)
        except FaceFusionError as error:
            print(f"{pair.name}: {error}")
            continue
        write_picture(arguments.output / "source" / f"{pair.name}.jpg", source_tile(source))
        shown = "  ".join(f"{k} {rows[pair.name]['all'][k]:.3f}" for k in KEYS)
        print(f"{pair.name}: {shown}", flush=True)
    judge.save()
    rows = {name: row for name, row in rows.items() if row}
    (arguments.output / "likeness.json").write_text(json.dumps(rows, indent=1))
    for variant in next(iter(rows.values()), {}):
        folder = arguments.output / variant.replace(" ", "-")
        write_sheets(
            arguments.output,
            list(rows),
            [arguments.output / "source", arguments.output / "target", folder],
            f"sheet-{folder.name}",
        )
    if rows:
        show_table(rows)
        show_worst(rows)


def source_tile(source: SourceFace) -> np.ndarray:
    mesh = source.face.mesh
    return tile(source.pixels, mesh) if float(np.ptp(mesh[:468, 1])) > 8 else fit(source.pixels, TILE)


def show_worst(rows: dict[str, dict[str, dict[str, float]]]) -> None:
    """Who is least like the source, and whose patch shows most."""
    for key in ("to_source", "tone"):
        order = sorted(rows, key=lambda n: -np.nan_to_num(rows[n]["all"][key], nan=-9))[:10]
        print(f"  worst by {key}: " + ", ".join(f"{n[:2]} {rows[n]['all'][key]:.2f}" for n in order))


def compare(before: Path, after: Path) -> None:
    """Two runs over the same pairs: their tables, the pairs that changed most, and sheets with both results."""
    found = [json.loads((folder / "likeness.json").read_text()) for folder in (before, after)]
    names = [name for name in found[1] if name in found[0]]
    for label, rows in zip(("before", "after"), found, strict=True):
        figures = summarise([rows[name]["all"] for name in names])
        print(f"{label:<8}" + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()))
    change = {n: found[1][n]["all"]["to_source"] - found[0][n]["all"]["to_source"] for n in names}
    order = sorted(names, key=lambda n: change[n])
    print("nearer: " + ", ".join(f"{n[:2]} {change[n]:+.3f}" for n in order[:6]))
    print("further: " + ", ".join(f"{n[:2]} {change[n]:+.3f}" for n in order[:-7:-1]))
    write_sheets(after, names, [after / "source", after / "target", before / "all", after / "all"], "against")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path, nargs="?")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--frames", type=int, default=4, help="frames of each pair that the recogniser judges")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--part", default="held-out", choices=list(PARTS))
    parser.add_argument("--match", default="", help="only pairs whose name holds this")
    parser.add_argument("--without", nargs="*", default=[], choices=list(WITHOUT))
    parser.add_argument("--against", type=Path, nargs=2, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/likeness"))
    parser.add_argument("--cache", type=Path, default=Path("benchmarks/out/likeness-cache"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.against:
        compare(*arguments.against)
    elif arguments.media:
        run(arguments)
    else:
        parser.error("give MEDIA, or --against with two output folders")


if __name__ == "__main__":
    main()
