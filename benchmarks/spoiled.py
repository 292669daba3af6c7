"""Spoil a good photo in many ways and see how little of that shows in the swaps made from it.

    python benchmarks/spoiled.py                       # packaged people who do not exist
    python benchmarks/spoiled.py MEDIA --people 12     # real people, held out of training by number

The same clean photo gets glasses, a hand, hair, a shadow, an open mouth, half a face in the dark, a turned head (40
degrees) and 48 px. Swaps from the clean and from the spoiled one onto the same targets are compared by dlib's
recogniser (pip install 'facefusion-studio[bench]'; without it by our own): 0 where both show the same person. Each figure is
given without and with the completion of sources, and a sheet shows the frames.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.imaging.crops import cut_native
from facefusion.imaging.resample import decode
from facefusion.imaging.reshape import reshape
from facefusion.media.image import read_photo
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.models.pose import estimate_pose
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.pipeline.cast import build_analyser
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine, build_processor
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face
from facefusion.types.topology import FACE_OVAL, FIVE_POINTS, LIPS_INNER

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
from face_pool import COVERED, HeadWarp, is_held_out, turn
from fidelity import make_recogniser
from mask_pool import Painter

Pixels = np.ndarray
Spoil = Callable[[Pixels, np.ndarray, np.random.Generator], tuple[Pixels, np.ndarray]]
WORK = 320
"""Side of the square that a source is cut to."""
TILE = 150
LOWER_LIP_AND_CHIN = (14, 17, 84, 314, 181, 405, 87, 317, 178, 402, 88, 318, 95, 324, 18, 83, 313, 200, 199, 175, 152, 148,
                      377, 176, 400, 149, 378, 150, 379, 182, 406, 201, 421, 208, 428, 171, 396, 140, 369, 91, 321, 86, 316,
                      85, 315, 15, 16, 194, 418, 32, 262, 211, 431, 204, 424, 106, 335)  # fmt: skip


def painted(*names: str) -> Spoil:
    """Things of the mask network's training, drawn over the face."""

    def spoil(pixels: Pixels, mesh: np.ndarray, rng: np.random.Generator) -> tuple[Pixels, np.ndarray]:
        grey = np.full((1, 8, 8, 3), 128, np.uint8)
        patches = rng.integers(0, 255, (4, 12, 12, 3)).astype(np.uint8)
        painter = Painter(np.ascontiguousarray(pixels[..., ::-1]), mesh, rng, patches, grey)
        for name in names:
            getattr(painter, name)()
        return np.ascontiguousarray(np.clip(painter.pixels, 0, 255).astype(np.uint8)[..., ::-1]), mesh

    return spoil


def shaded(pixels: Pixels, alpha: np.ndarray, strength: float) -> Pixels:
    linear = (pixels / 255.0) ** 2.2 * (1 - strength * alpha[..., None])
    return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def shadow(pixels: Pixels, mesh: np.ndarray, rng: np.random.Generator) -> tuple[Pixels, np.ndarray]:
    """The hard shadow of something slanting across a cheek, an eye and the nose."""
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]].astype(np.float32)
    unit, at = float(np.linalg.norm(mesh[468, :2] - mesh[473, :2])), mesh[1, :2]
    angle = rng.uniform(-0.6, 0.6)
    across = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle) + 0.15 * unit * np.sin(y / unit * 3)
    return shaded(pixels, 1 / (1 + np.exp(np.clip(across / (unit * 0.03), -30, 30))), 0.72), mesh


def dark_half(pixels: Pixels, mesh: np.ndarray, rng: np.random.Generator) -> tuple[Pixels, np.ndarray]:
    """A lamp at one side: the other half of the face is nearly black, softly."""
    x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]][1].astype(np.float32)
    unit, side = float(np.linalg.norm(mesh[468, :2] - mesh[473, :2])), rng.choice([-1, 1])
    across = (x - mesh[1, 0]) * side
    return shaded(pixels, 1 / (1 + np.exp(np.clip(across / (unit * 0.16), -30, 30))), 0.93), mesh


def open_mouth(pixels: Pixels, mesh: np.ndarray, rng: np.random.Generator) -> tuple[Pixels, np.ndarray]:
    """The jaw drops by half an eye distance; what is behind the lips is dark."""
    topology = load_mesh_topology()
    unit = float(np.linalg.norm(mesh[468, :2] - mesh[473, :2]))
    goal = mesh.copy()
    goal[list(LOWER_LIP_AND_CHIN), 1] += 0.3 * unit
    moved = reshape(pixels, mesh, goal, np.concatenate([topology.skin, topology.eyes]), np.array(FACE_OVAL))
    mouth = np.zeros(pixels.shape[:2], np.float32)
    cv2.fillPoly(mouth, [np.round(goal[list(LIPS_INNER), :2] * 16).astype(np.int32)], 1.0, shift=4)
    mouth = cv2.GaussianBlur(mouth, (0, 0), 1.0)[..., None]
    dark = np.array([52, 22, 20], np.float32)
    return (moved + (dark - moved) * mouth).astype(np.uint8), goal


def turned(pixels: Pixels, mesh: np.ndarray, rng: np.random.Generator) -> tuple[Pixels, np.ndarray]:
    """The head turned by 40 degrees: half of it is no longer seen."""
    topology = load_mesh_topology()
    warp = HeadWarp({name: getattr(topology, name) for name in ("skin", "eyes", "mouth", "mean", "flip")})
    goal = turn(mesh.astype(np.float64), 40.0 * float(rng.choice([-1, 1])), 0.0, 0.0)
    picture = warp.render(pixels, mesh, warp.extend(mesh), warp.extend(goal), pixels.shape[0])
    return np.ascontiguousarray(picture), goal.astype(np.float32)


def small(pixels: Pixels, mesh: np.ndarray, rng: np.random.Generator) -> tuple[Pixels, np.ndarray]:
    """The face is 48 px high."""
    factor = 48 / float(np.ptp(mesh[:, 1]))
    picture = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    moved = mesh * factor
    moved[:, :2] += (factor - 1) / 2
    return picture, moved.astype(np.float32)


SPOILS: dict[str, Spoil] = {
    "glasses": painted("glasses"),
    "hand": painted("hand"),
    "hair": painted("hair"),
    "microphone": painted("microphone"),
    "shadow": shadow,
    "dark half": dark_half,
    "open mouth": open_mouth,
    "turned 40": turned,
    "48 px": small,
}


def make_source(pixels: Pixels, mesh: np.ndarray) -> SourceFace:
    return SourceFace(pixels, Face(mesh.astype(np.float32), 1.0, estimate_pose(mesh.astype(np.float32))))


def cut_square(pixels: Pixels, mesh: np.ndarray) -> SourceFace:
    """A source on a square of its own around the face."""
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    scale = WORK * 0.62 / float((high - low).max())
    shift = (WORK - 1) / 2 - scale * (low + high) / 2
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    picture = cv2.warpAffine(pixels, affine, (WORK, WORK), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    moved = mesh * scale
    moved[:, :2] += shift
    return make_source(picture, moved)


def packaged_people(analyser) -> tuple[list[SourceFace], list[SourceFace]]:
    people = [cut_square(decode(face.jpeg), face.mesh) for face in load_synthetic_faces()]
    pixels = read_photo(sample_path("target.jpg"), allow_8bit=True).pixels
    return people, [SourceFace(pixels, analyser.find_faces(pixels)[0]), *people[1:4:2]]


def held_out_people(media: Path, analyser, count: int) -> tuple[list[SourceFace], list[SourceFace]]:
    """Clean, frontal photos of people that no training of ours has seen, and three more as targets."""
    found: list[SourceFace] = []
    seen: set[int] = set()
    for row in csv.DictReader((media / "manifest.csv").open()):
        people = [int(name) for name in re.findall(r"id(\d+)", row["identities"] or "")]
        if row["kind"] != "image" or len(people) != 1 or not is_held_out(np.array(people))[0]:
            continue
        if people[0] in seen | COVERED or any(
            word in row["notes"] for word in ("occlusion", "low", "mono", "degraded")
        ):
            continue
        pixels = read_photo(media / row["file"], allow_8bit=True).pixels
        faces = analyser.find_faces(pixels)
        if not faces or abs(faces[0].pose.yaw) > 15 or np.ptp(faces[0].mesh[:, 1]) < 110:
            continue
        seen.add(people[0])
        found.append(cut_square(pixels, faces[0].mesh))
        if len(found) == count + 3:
            break
    return found[:-3], found[-3:]


class OwnRecogniser:
    """Our own recogniser behind the same interface, where dlib is not there."""

    def __init__(self, context: EngineContext) -> None:
        self._engine = build_engine("face_identifier", "embedded", context)

    def describe(self, pixels: Pixels, mesh: np.ndarray) -> np.ndarray:
        (code,) = self._engine.identify([pixels], [mesh[list(FIVE_POINTS), :2].astype(np.float32)])
        return np.asarray(code / np.linalg.norm(code))


def render(swapper, source: SourceFace, target: SourceFace, has_completion: bool) -> tuple[Pixels, np.ndarray]:
    completer = swapper._completer
    swapper._completer = completer if has_completion else None
    try:
        swapper.prepare([source])
    finally:
        swapper._completer = completer
    crop = cut_native(target.pixels, replace(target.face, person=0), 0.35)
    return swapper.process([crop])[0].visible(), crop.face.mesh


def tell(figures: dict[str, list[tuple[float, float, float, float]]]) -> None:
    """Print the means so far."""
    print(f"{'':<12}  to the clean photo's swap   to the person")
    print(f"{'':<12}  without   with completion   without   with")
    table = {name: np.array(values).mean(axis=0) for name, values in figures.items()}
    table["mean"] = np.mean([values for name, values in table.items() if name != "clean"], axis=0)
    for name, values in table.items():
        print(f"{name:<12}  {values[0]:7.3f}   {values[1]:15.3f}   {values[2]:7.3f}   {values[3]:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path, nargs="?")
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out"))
    arguments = parser.parse_args()
    recipe = build_recipe({"source_paths": ["a.jpg"], "target_path": "b.jpg", "output_path": "c.jpg"})
    context = EngineContext(recipe)
    analyser = build_analyser(recipe, has_identity=False)
    swapper = build_processor(recipe.step_of("face_swapper"), context)
    people, targets = (
        packaged_people(analyser)
        if arguments.media is None
        else held_out_people(arguments.media, analyser, arguments.people)
    )
    people = people[: arguments.people]
    recogniser = make_recogniser() or OwnRecogniser(context)
    figures: dict[str, list[tuple[float, float, float, float]]] = {}
    rows: list[np.ndarray] = []
    arguments.output.mkdir(parents=True, exist_ok=True)

    def tile(pixels: Pixels) -> np.ndarray:
        factor = TILE / max(pixels.shape[:2])
        picture = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[:TILE, :TILE]
        out = np.zeros((TILE, TILE, 3), np.uint8)
        out[: picture.shape[0], : picture.shape[1]] = picture
        return out

    for number, person in enumerate(people):
        rng = np.random.default_rng([23, number])
        truth = recogniser.describe(person.pixels, person.face.mesh)
        clean = [[render(swapper, person, target, has) for has in (False, True)] for target in targets]
        codes = [[recogniser.describe(*picture) for picture in pair] for pair in clean]
        figures.setdefault("clean", []).append(
            (0.0, 0.0, *(float(np.mean([np.linalg.norm(pair[k] - truth) for pair in codes])) for k in (0, 1)))
        )
        sheet = [[tile(person.pixels)], [tile(clean[0][0][0])], [tile(clean[0][1][0])]]
        for name, spoil in SPOILS.items():
            pixels, mesh = spoil(person.pixels, person.face.mesh, rng)
            source = make_source(pixels, mesh)
            values = []
            pictures = [[render(swapper, source, target, has) for has in (False, True)] for target in targets]
            found = [[recogniser.describe(*picture) for picture in pair] for pair in pictures]
            for k in (0, 1):
                values.append(np.mean([np.linalg.norm(f[k] - c[k]) for f, c in zip(found, codes, strict=True)]))
            for k in (0, 1):
                values.append(np.mean([np.linalg.norm(f[k] - truth) for f in found]))
            figures.setdefault(name, []).append(tuple(float(v) for v in values))  # type: ignore[arg-type]
            for line, picture in zip(sheet, (pixels, pictures[0][0][0], pictures[0][1][0]), strict=True):
                line.append(tile(picture))
        rows = [np.hstack(line) for line in sheet]
        cv2.imwrite(str(arguments.output / f"spoiled_{number:02d}.png"), np.vstack(rows)[..., ::-1])
        print(f"{number + 1}/{len(people)}", flush=True)
        tell(figures)


if __name__ == "__main__":
    try:
        main()
    except FaceFusionError as error:
        sys.exit(str(error))
