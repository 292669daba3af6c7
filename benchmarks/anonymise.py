"""How well people are hidden: faces that are missed, and people who are still recognised.

    python benchmarks/anonymise.py FACEPACK MEDIA [--probes 160] [--clips 24] [--models-path FOLDER]

FACEPACK and MEDIA are laid out as in training/README.md. Every person with at least two pictures has one in the gallery;
another, from another file where there is one, is hidden in each way and handed to every recogniser at hand (embedded;
dlib with ``pip install 'facefusion-studio[bench]'``; ArcFace where --models-path has it). The attacker is told where the face
was, so that a patch does not win by not being found. Recall: a labelled face counts as missed where the middle of its
box lies outside everything that was covered. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.pipeline.runner import analyse_target, build_analyser, build_processors
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe, build_recipe
from facefusion.render.renderer import Renderer
from facefusion.types.certainty import certainties
from facefusion.types.frame import Frame
from facefusion.types.topology import MESH_TO_68, five_from_68
from fidelity import make_recogniser

MODES = ("none", "synthetic", "blur", "pixelate", "mask", "blackout")
MIN_PX = 40.0


@dataclass
class Look:
    """A labelled face in a picture."""

    file: str
    frame: int
    mesh: np.ndarray
    pixels: np.ndarray


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, p = 1.96, hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def read_frame(path: Path, number: int) -> np.ndarray:
    if path.suffix != ".mp4":
        return read_photo(path, allow_8bit=True).pixels
    return next(f.pixels for f in ClipReader(path, allow_8bit=True) if f.index == number)


def choose(facepack: Path, media: Path, count: int) -> list[tuple[Look, Look]]:
    """A gallery look and a probe of each person, of different files where that is possible."""
    people: dict[int, list[tuple[str, int, np.ndarray]]] = {}
    for path in sorted(facepack.glob("faces_*.npz")):
        shard = dict(np.load(path).items())
        for k in range(len(shard["lm"])):
            x0, y0, side = shard["crop"][k]
            mesh = shard["lm"][k].copy()
            mesh[:, :2] = mesh[:, :2] * side / 256 + (x0, y0) - 0.5
            mesh[:, 2] *= side / 256
            if shard["ident"][k] > 0 and np.ptp(mesh[:468, 1]) >= MIN_PX:
                row = (str(shard["files"][shard["src"][k]]), int(shard["frame"][k]), mesh)
                people.setdefault(int(shard["ident"][k]), []).append(row)
    pairs = []
    for ident in sorted(people, key=lambda k: (len({r[0] for r in people[k]}) < 2, k)):
        rows = sorted(people[ident], key=lambda row: (row[0], row[1]))
        if len(rows) < 2 or len(pairs) >= count:
            continue
        first = rows[0]
        other = next((row for row in reversed(rows) if row[0] != first[0]), rows[-1])
        pairs.append(tuple(Look(f, n, m, read_frame(media / f, n)) for f, n, m in (first, other)))
    return pairs


class Attacker:
    """A recogniser of the catalogue, told where the face was."""

    def __init__(self, recipe: Recipe, model: str) -> None:
        self._engine = build_engine("face_identifier", model, EngineContext(recipe))

    def describe(self, pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        code = self._engine.identify([pixels], [five_from_68(mesh[list(MESH_TO_68), :2])])[0]
        return code / np.linalg.norm(code)


def hide(pixels: np.ndarray, mode: str, recipe: Recipe) -> tuple[np.ndarray, bool]:
    """A picture with everybody in it hidden, and whether anybody was found."""
    if mode == "none":
        return pixels, True
    frame = Frame(pixels, 0, 0, Fraction(1))
    tracks = build_analyser(recipe).analyse(iter([frame]))
    chain = build_processors(recipe, recipe.steps, [])
    rendered = Renderer({t.track_id: chain for t in tracks.tracks}, tracks).render(frame)
    return rendered.pixels, rendered.is_changed


def recipe_of(mode: str, number: int, arguments: argparse.Namespace) -> Recipe:
    return build_recipe(
        {
            "processors": ["face_anonymiser"],
            "face_anonymiser_model": mode if mode != "none" else "synthetic",
            "face_anonymiser_seed": 1000 + number,
            "models_paths": [str(p) for p in arguments.models_path],
            "licences": "any",
        }
    )


def measure_recall(facepack: Path, media: Path, limit: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Labelled faces in clips that no cover reaches, by face and by frame."""
    labels: dict[str, dict[int, list]] = {}
    for row in json.loads((facepack / "boxes.json").read_text()):
        if row["file"].startswith("clips/") and row["faces"]:
            labels.setdefault(row["file"], {})[row["frame"]] = row["faces"]
    names = sorted(labels)
    names = [names[int(k * max(len(names) / limit, 1))] for k in range(min(limit, len(names)))]
    faces = missed = frames = bad = 0
    for number, name in enumerate(names):
        recipe = recipe_of("blackout", number, arguments).model_copy(
            update={"target_path": media / name, "allow_8bit": True}
        )
        try:
            tracks = analyse_target(recipe)
        except FaceFusionError as error:
            print(f"{name}: {error}")
            continue
        here, how = 0, certainties(tracks)
        for frame, labelled in labels[name].items():
            boxes = []
            for track in tracks.tracks:
                row = track.find(frame)
                if row is not None and how[track.track_id] != "unlikely":
                    points = track.meshes[row, :, :2]
                    low, high = points.min(axis=0), points.max(axis=0)
                    room = 0.1 * (high - low)
                    boxes.append((low - room, high + room))
            open_ = 0
            for face in labelled:
                x, y, w, h = face["box"]
                middle = np.array([x + w / 2, y + h / 2])
                open_ += not any(((middle >= low) & (middle <= high)).all() for low, high in boxes)
            faces, missed, here = faces + len(labelled), missed + open_, here + open_
            frames, bad = frames + 1, bad + (open_ > 0)
        print(
            f"[{number + 1}/{len(names)}] {name}: {here} of {sum(map(len, labels[name].values()))} missed", flush=True
        )
    return {"faces": faces, "missed_faces": missed, "frames": frames, "frames_with_a_miss": bad}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facepack", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("--probes", type=int, default=160)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--models-path", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/anonymise"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, object] = {}
    if arguments.clips:
        results["recall"] = found = measure_recall(arguments.facepack, arguments.media, arguments.clips, arguments)
        low, high = interval(found["missed_faces"], found["faces"])
        print(
            f"recall {1 - found['missed_faces'] / found['faces']:.2%} of {found['faces']} faces "
            f"({1 - high:.2%} to {1 - low:.2%}); {found['frames_with_a_miss']} of {found['frames']} frames have a miss"
        )
    pairs = choose(arguments.facepack, arguments.media, arguments.probes)
    attackers: dict[str, object] = {"embedded": Attacker(recipe_of("none", 0, arguments), "embedded")}
    if (dlib := make_recogniser()) is not None:
        attackers["dlib"] = dlib
    if arguments.models_path:
        attackers["arcface"] = Attacker(recipe_of("none", 0, arguments), "arcface_w600k_r50")
    gallery = {n: np.stack([a.describe(g.pixels, g.mesh) for g, _ in pairs]) for n, a in attackers.items()}
    cross = sum(g.file != p.file for g, p in pairs)
    print(f"gallery of {len(pairs)} people; {cross} probes are from another file than the gallery's picture")
    for mode in arguments.modes:
        ranks: dict[str, list[int]] = {name: [] for name in attackers}
        unseen = 0
        sheet = []
        for number, (_, probe) in enumerate(pairs):
            pixels, was_found = hide(probe.pixels, mode, recipe_of(mode, number, arguments))
            unseen += not was_found
            for name, attacker in attackers.items():
                code = attacker.describe(pixels, probe.mesh)
                away = np.linalg.norm(gallery[name] - code, axis=1)
                ranks[name].append(int((away < away[number]).sum()))
            if number % max(len(pairs) // 16, 1) == 0 and len(sheet) < 16:
                sheet.append(tile(probe.pixels, pixels, probe.mesh))
        cv2.imwrite(str(arguments.output / f"{mode}.jpg"), np.hstack(sheet)[..., ::-1])
        row = {}
        for name, found_ranks in ranks.items():
            hits = sum(rank == 0 for rank in found_ranks)
            apart = [rank == 0 for rank, (g, p) in zip(found_ranks, pairs, strict=True) if g.file != p.file]
            low, high = interval(hits, len(found_ranks))
            row[name] = {
                "other_file": float(np.mean(apart)),
                "top1": hits / len(found_ranks),
                "low": low,
                "high": high,
                "rank": float(np.median(found_ranks)),
            }
            print(
                f"  {mode:<10}{name:<10} top-1 {hits / len(found_ranks):6.1%} ({low:.1%} to {high:.1%})  "
                f"median rank {np.median(found_ranks):.0f} of {len(pairs)}; probes from another file "
                f"{np.mean(apart) if apart else float('nan'):.1%} of {len(apart)}; not found {unseen}",
                flush=True,
            )
        results[mode] = row
    (arguments.output / "anonymise.json").write_text(json.dumps(results, indent=1))


def tile(before: np.ndarray, after: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
    half = float((high - low).max()) * 0.8
    x, y = (low + high) / 2
    affine = np.array([[80 / half, 0, 80 - x * 80 / half], [0, 80 / half, 80 - y * 80 / half]])
    return np.vstack([cv2.warpAffine(p, affine, (160, 160), flags=cv2.INTER_AREA) for p in (before, after)])


if __name__ == "__main__":
    main()
