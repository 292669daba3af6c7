"""Swap many clips with many photos and say how good the result is: figures, and a contact sheet for each clip.

    python benchmarks/fidelity.py CLIPS PHOTOS [--limit 24] [--seconds 4] [--output benchmarks/out]
    python benchmarks/fidelity.py            # the packaged sample alone

For each clip: pose and expression error of the output against the target (our own mesh), flicker (warping error
of the output over that of the target, changed area only), likeness by texture, and, where dlib's recogniser is
installed (pip install 'facefusion-studio[bench]'), how often the source is nearer than the target.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.imaging.flow import warping_error
from facefusion.media.reader import ClipReader
from facefusion.metrics.fidelity import compare_tracks
from facefusion.metrics.likeness import Likeness
from facefusion.pipeline.runner import analyse_target, build_analyser, build_processors, choose_tracks, read_sources
from facefusion.recipe import build_recipe
from facefusion.render.renderer import Renderer
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import Frame
from facefusion.types.topology import FIVE_POINTS


class Recogniser:
    """dlib's ResNet (CC0), an independent opinion; 128 numbers, smaller distance is nearer."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import dlib
            import face_recognition_models as weights

        self._dlib = dlib
        self._shape = dlib.shape_predictor(weights.pose_predictor_five_point_model_location())
        self._net = dlib.face_recognition_model_v1(weights.face_recognition_model_location())

    def describe(self, pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        points = mesh[list(FIVE_POINTS), :2]
        eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
        half = 1.15 * float(np.linalg.norm(mouth - eyes))
        x, y = (eyes + mouth) / 2
        box = self._dlib.rectangle(int(x - half), int(y - half), int(x + half), int(y + half))
        pixels = np.ascontiguousarray(pixels)
        return np.array(self._net.compute_face_descriptor(pixels, self._shape(pixels, box)))


def make_recogniser() -> Recogniser | None:
    try:
        return Recogniser()
    except ImportError:
        print("dlib is not installed: no independent recogniser (pip install 'facefusion-studio[bench]')")
        return None


def contact_sheet(source: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]], path: Path) -> None:
    """The source photo, then target above output at several times, cut around the face."""
    tile = 320
    column = [fit(source, tile), np.zeros((tile, tile, 3), np.uint8)]
    columns = [np.vstack(column)]
    for target, output, mesh in pairs:
        centre = (mesh[:468, :2].min(axis=0) + mesh[:468, :2].max(axis=0)) / 2
        half = 0.85 * float(np.ptp(mesh[:468, 1]))
        affine = np.array([[tile / (2 * half), 0, tile / 2 - centre[0] * tile / (2 * half)],
                           [0, tile / (2 * half), tile / 2 - centre[1] * tile / (2 * half)]])  # fmt: skip
        columns.append(
            np.vstack([cv2.warpAffine(p, affine, (tile, tile), flags=cv2.INTER_AREA) for p in (target, output)])
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.hstack(columns)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def fit(pixels: np.ndarray, tile: int) -> np.ndarray:
    scale = tile / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:tile, :tile]
    out = np.zeros((tile, tile, 3), np.uint8)
    out[: small.shape[0], : small.shape[1]] = small
    return out


def judge(clip: Path, photo: Path, seconds: float, recogniser: Recogniser | None, sheet: Path) -> dict[str, float]:
    recipe = build_recipe(
        {
            "source_paths": [photo],
            "target_path": clip,
            "output_path": "unused.mp4",
            "end_s": seconds,
            "allow_8bit": True,
        }
    )
    analyser = build_analyser(recipe)
    source = read_sources(recipe.source_paths, analyser)[0]
    tracks = analyse_target(recipe, analyser)
    chosen = choose_tracks(recipe, tracks)
    chain = build_processors(recipe, recipe.steps, [source])
    renderer = Renderer(dict.fromkeys(chosen, chain), tracks, recipe.step_of("face_swapper").options.blend)
    likeness = Likeness()
    wanted = likeness.describe(source.pixels, source.face.mesh)
    wanted_id = recogniser.describe(source.pixels, source.face.mesh) if recogniser else None
    outputs: list[Frame] = []
    flicker_target, flicker_output, to_source, to_target, nearer, pairs = [], [], [], [], [], []
    before: tuple[np.ndarray, np.ndarray] | None = None
    shown = set(np.linspace(2, max(len(tracks.pts) - 3, 2), 6).astype(int).tolist())
    for frame in ClipReader(clip, end_s=seconds, allow_8bit=True):
        rendered = renderer.render(frame)
        output = rendered.pixels
        outputs.append(Frame(output, frame.index, frame.pts, frame.time_base))
        found = tracks.at(frame.pts, chosen)
        if found and rendered.is_changed:
            mesh = found[0][0].meshes[found[0][1]]
            if frame.index in shown:
                pairs.append((frame.pixels, output, mesh))
            if frame.index % 6 == 0:
                target_look, output_look = (likeness.describe(p, mesh) for p in (frame.pixels, output))
                to_source.append(likeness.compare(output_look, wanted))
                to_target.append(likeness.compare(output_look, target_look))
                if recogniser is not None:
                    a, b = (recogniser.describe(p, mesh) for p in (frame.pixels, output))
                    nearer.append((float(np.linalg.norm(b - wanted_id)), float(np.linalg.norm(b - a))))
            if before is not None and frame.index % 2 == 0 and frame.index not in tracks.cuts:
                x0, y0, x1, y1 = rendered.box
                part = (slice(max(y0 - 8, 0), y1 + 8), slice(max(x0 - 8, 0), x1 + 8))
                mask = np.abs(output[part].astype(int) - frame.pixels[part]).max(axis=2) > 4
                pictures = [np.ascontiguousarray(p[part]) for p in (before[0], frame.pixels, before[1], output)]
                flicker_target.append(warping_error(pictures[0], pictures[1], pictures[0], pictures[1], mask))
                flicker_output.append(warping_error(*pictures, mask))
        before = (frame.pixels, output) if rendered.is_changed else None
    contact_sheet(source.pixels, pairs, sheet)
    again = analyser.analyse(iter(outputs))
    fidelity = (
        compare_tracks(tracks.tracks[chosen[0]], max(again.tracks, key=lambda t: len(t.frames)))
        if again.tracks
        else None
    )
    figures = {
        "frames": len(outputs),
        "changed": float(
            len({k for t in tracks.tracks if t.track_id in chosen for k in t.frames.tolist()}) / len(outputs)
        ),
        "pose_deg": fidelity.pose_deg if fidelity else float("nan"),
        "expression": fidelity.expression if fidelity else float("nan"),
        "flicker": float(np.nanmean(flicker_output) / np.nanmean(flicker_target)) if flicker_target else float("nan"),
        "like_source": float(np.nanmean(to_source)) if to_source else float("nan"),
        "like_target": float(np.nanmean(to_target)) if to_target else float("nan"),
    }
    if nearer:
        values = np.array(nearer)
        figures["dlib_to_source"], figures["dlib_to_target"] = (float(v) for v in values.mean(axis=0))
        figures["dlib_source_first"] = float((values[:, 0] < values[:, 1]).mean())
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="?")
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--match", default="", help="only clips whose name holds this")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out"))
    arguments = parser.parse_args()
    if arguments.clips is None:
        jobs = [(sample_path("target.mp4"), sample_path("source.jpg"))]
    else:
        clips = sorted(p for p in arguments.clips.iterdir() if p.suffix == ".mp4" and arguments.match in p.name)
        photos = sorted(p for p in arguments.photos.iterdir() if p.suffix in (".jpg", ".png"))
        step = max(len(clips) / arguments.limit, 1)
        clips = [clips[int(k * step)] for k in range(min(arguments.limit, len(clips)))]
        jobs = [(clip, photos[(k * 37) % len(photos)]) for k, clip in enumerate(clips)]
    recogniser = make_recogniser()
    rows: dict[str, dict[str, float]] = {}
    for number, (clip, photo) in enumerate(jobs):
        try:
            rows[clip.stem] = judge(clip, photo, arguments.seconds, recogniser, arguments.output / f"{clip.stem}.jpg")
        except FaceFusionError as error:
            print(f"{clip.stem}: {error}")
            continue
        shown = "  ".join(f"{key} {value:.3g}" for key, value in rows[clip.stem].items())
        print(f"[{number + 1}/{len(jobs)}] {clip.stem} <- {photo.stem}: {shown}", flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "fidelity.json").write_text(json.dumps(rows, indent=1))
    keys = sorted({key for row in rows.values() for key in row})
    print(f"\nmean over {len(rows)} clips")
    for key in keys:
        values = np.array([row.get(key, np.nan) for row in rows.values()])
        print(
            f"  {key:<20}{np.nanmean(values):8.3f}   median {np.nanmedian(values):.3f}   worst {np.nanmax(values):.3f}"
        )


if __name__ == "__main__":
    main()
