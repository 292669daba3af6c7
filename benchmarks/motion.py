"""What each part does for a moving picture, and what it costs: the same clips rendered with it and without.

    python benchmarks/motion.py CLIPS PHOTOS [--limit 24] [--seconds 3]

Variants are rendered from the same tracks and sources. For each: flicker (warping error of the output over that of
the target, changed area only), identity (dlib, where installed), distance of colour across the border of the changed
area, and render time over that of the plain variant, measured frame by frame in turn in one process.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.imaging.flow import warping_error
from facefusion.media.reader import ClipReader
from facefusion.metrics.border import border_distance
from facefusion.pipeline.runner import analyse_target, build_analyser, build_processors, choose_tracks, read_sources
from facefusion.recipe import build_recipe
from facefusion.render.grain import GrainMatcher
from facefusion.render.renderer import Renderer
from facefusion.render.smooth import MotionSmoother
from fidelity import Recogniser, contact_sheet, make_recogniser

PLAIN: dict[str, object] = {
    "motion_smoothing": 0.0, "face_mask_types": ("box",), "face_swapper_fusion": 0.0, "finish_matching": 0.0
}  # fmt: skip
FLOW: dict[str, object] = {"motion_smoothing": 0.5}
MASK: dict[str, object] = {"face_mask_types": ("box", "occlusion")}
VARIANTS: dict[str, dict[str, object]] = {
    "plain": PLAIN,
    "flow": PLAIN | FLOW,
    "mask": PLAIN | MASK,
    "flow + mask": PLAIN | FLOW | MASK,
    "fusion": PLAIN | {"face_swapper_fusion": 1.0},
    "finish": PLAIN | {"finish_matching": 1.0},
    "all but flow": {"motion_smoothing": 0.0},
    "all but fusion": {"face_swapper_fusion": 0.0},
    "all": {},
    "all, fusion 0.5": {"face_swapper_fusion": 0.5},
}


def judge(
    clip: Path, photo: Path, seconds: float, names: list[str], recogniser: Recogniser | None, output: Path
) -> dict:
    options = {"source_paths": [photo], "target_path": clip, "output_path": "unused.mp4", "end_s": seconds}
    recipes = {name: build_recipe({**options, **VARIANTS[name], "allow_8bit": True}) for name in names}
    first = recipes[names[0]]
    analyser = build_analyser(first)
    sources = read_sources(first.source_paths, analyser)
    tracks = analyse_target(first, analyser)
    chosen = choose_tracks(first, tracks)
    wanted = recogniser.describe(sources[0].pixels, sources[0].face.mesh) if recogniser else None
    frames = list(ClipReader(clip, end_s=seconds, allow_8bit=True))
    makers = {}
    for name, recipe in recipes.items():
        chain = build_processors(recipe, recipe.processors, sources)
        renderer = Renderer(dict.fromkeys(chosen, chain), tracks, recipe.face_swapper_blend)
        makers[name] = (
            renderer,
            MotionSmoother(tracks, chosen, recipe.motion_smoothing),
            GrainMatcher(tracks, chosen, recipe.finish_matching),
        )
    spent = dict.fromkeys(names, 0.0)
    looks: dict[str, list] = {name: [] for name in names}
    for frame in frames:  # in turn, so that a busy moment of the machine hits all alike
        for name, (renderer, smoother, _) in makers.items():
            began = time.perf_counter()
            looks[name].append(smoother.look(renderer.render(frame)))
            spent[name] += time.perf_counter() - began
    outputs: dict[str, list] = {name: [] for name in names}
    streams = {name: makers[name][1].windows(looks[name]) for name in names}
    for _ in frames:
        for name, (_, smoother, grain) in makers.items():
            began = time.perf_counter()
            outputs[name].append(grain.match(smoother.smooth(next(streams[name]))))
            spent[name] += time.perf_counter() - began
    del looks, streams
    figures: dict[str, dict[str, float]] = {}
    for name in names:
        flicker_target, flicker_output, border, nearer, pairs = [], [], [], [], []
        shown = set(np.linspace(2, max(len(frames) - 3, 2), 6).astype(int).tolist())
        for k, (frame, rendered) in enumerate(zip(frames, outputs[name], strict=True)):
            found = tracks.at(frame.pts, chosen)
            if not rendered.is_changed or not found:
                continue
            mesh = found[0][0].meshes[found[0][1]]
            pixels = rendered.pixels
            if k in shown:
                pairs.append((frame.pixels, pixels, mesh))
            if k % 6 == 0:
                border.append(border_distance(frame.pixels, pixels, mesh))
                if recogniser is not None:
                    a, b = (recogniser.describe(p, mesh) for p in (frame.pixels, pixels))
                    nearer.append(float(np.linalg.norm(b - wanted)) < float(np.linalg.norm(b - a)))
            if k % 2 == 0 and k > 0 and k not in tracks.cuts and outputs[name][k - 1].is_changed:
                # The area that the plain variant changes, so that all are judged at the same pixels.
                x0, y0, x1, y1 = outputs[names[0]][k].box if outputs[names[0]][k].is_changed else rendered.box
                part = (slice(max(y0 - 8, 0), y1 + 8), slice(max(x0 - 8, 0), x1 + 8))
                plain = outputs[names[0]][k].pixels
                mask = np.abs(plain[part].astype(int) - frame.pixels[part]).max(axis=2) > 4
                before = frames[k - 1].pixels, outputs[name][k - 1].pixels
                pictures = [np.ascontiguousarray(p[part]) for p in (before[0], frame.pixels, before[1], pixels)]
                flicker_target.append(warping_error(pictures[0], pictures[1], pictures[0], pictures[1], mask))
                flicker_output.append(warping_error(*pictures, mask))
        contact_sheet(sources[0].pixels, pairs, output / f"{clip.stem}-{name.replace(' ', '')}.jpg")
        figures[name] = {
            "flicker": float(np.nanmean(flicker_output) / np.nanmean(flicker_target)) if flicker_target else np.nan,
            "border": float(np.nanmean(border)) if border else np.nan,
            "source_first": float(np.mean(nearer)) if nearer else np.nan,
            "cost": spent[name] / spent[names[0]],
            "render_ms": 1000 * spent[name] / len(frames),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--match", default="", help="only clips whose name holds this")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/motion"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    clips = sorted(p for p in arguments.clips.iterdir() if p.suffix == ".mp4" and arguments.match in p.name)
    photos = sorted(p for p in arguments.photos.iterdir() if p.suffix in (".jpg", ".png"))
    step = max(len(clips) / arguments.limit, 1)
    clips = [clips[int(k * step)] for k in range(min(arguments.limit, len(clips)))]
    recogniser = make_recogniser()
    rows: dict[str, dict] = {}
    for number, clip in enumerate(clips):
        photo = photos[(number * 37) % len(photos)]
        try:
            rows[clip.stem] = judge(clip, photo, arguments.seconds, arguments.variants, recogniser, arguments.output)
        except FaceFusionError as error:
            print(f"{clip.stem}: {error}")
            continue
        print(f"[{number + 1}/{len(clips)}] {clip.stem} <- {photo.stem}", flush=True)
        for name, row in rows[clip.stem].items():
            print(f"    {name:<12} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "motion.json").write_text(json.dumps(rows, indent=1))
    print(f"\nmean over {len(rows)} clips (cost: median)")
    for name in arguments.variants:
        found = {key: np.array([row[name][key] for row in rows.values()]) for key in next(iter(rows.values()))[name]}
        means = {key: np.median(v) if key == "cost" else np.nanmean(v) for key, v in found.items()}
        print(f"  {name:<12} " + "  ".join(f"{key} {value:.3f}" for key, value in means.items()))


if __name__ == "__main__":
    main()
