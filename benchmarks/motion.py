"""How steady the output is, what each part does for it, and what it costs: the same clips rendered with and without.

    python benchmarks/motion.py CLIPS PHOTOS [--part held-out] [--limit 24] [--seconds 3] [--stress GROUNDS]

Clips are parted by a hash of their names into ``tune``, which one may look at while mending, and ``held-out``, which one
may not (`stress.part_of`). With ``--stress`` harder clips are made from them and judged instead (`stress.KINDS`).

Variants are rendered from the same tracks and sources. For each: flicker (warping error of the output over that of
the target, area that the first variant changes), pop (by how much of itself the whole change comes or goes from frame
to frame where the target does not; `pop_worst` is the largest such step), identity (dlib, where installed), distance
of colour across the border of the changed area, and render time over that of the first variant, measured frame by
frame in turn in one process. For each clip also what flicker may depend on: speed of the face in its widths per
second, share of frames in which it reaches over the border, its height in pixels, cuts.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.imaging.flow import estimate_flow, follow, gradient
from facefusion.media.reader import ClipReader
from facefusion.metrics.border import border_distance
from facefusion.pipeline.clip import join_observations, observe_spans, plan_clip
from facefusion.pipeline.runner import build_analyser, build_processors, choose_tracks, read_sources
from facefusion.recipe import Recipe, build_recipe
from facefusion.render.grain import GrainMatcher
from facefusion.render.renderer import Renderer
from facefusion.render.smooth import MotionSmoother
from facefusion.types.frame import RenderedFrame
from facefusion.types.observation import Observation
from facefusion.types.track import Tracks
from fidelity import Recogniser, contact_sheet, make_recogniser
from stress import iter_media, number_of, part_of, stress

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
    "all but mask": {"face_mask_types": ("box",)},
    "all but fusion": {"face_swapper_fusion": 0.0},
    "all but finish": {"finish_matching": 0.0},
    "all": {},
    "all, fusion 0.5": {"face_swapper_fusion": 0.5},
}
SEEN = 4
"""Levels of 255 from which a pixel counts as changed."""
FOLLOWED = 0.5
"""Share of the pixels whose motion must be found for a pair of frames to count."""
COMING = 5
"""Frames to each side of one where a face is found or lost that do not count for flicker."""
PHOTOS_TRIED = 5
"""Photos without a face that are passed over for a clip."""


class Along:
    """What moves from one frame of the target to the next, found once for everything that is judged there."""

    def __init__(self, before: np.ndarray, after: np.ndarray) -> None:
        flow, back = estimate_flow(before, after), estimate_flow(after, before)
        returned = flow + follow(back, flow)
        sound = (returned**2).sum(axis=-1) < 0.01 * ((flow**2).sum(axis=-1) + (back**2).sum(axis=-1)) + 0.5
        height, width = sound.shape
        at = flow + np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        self.is_sound = sound & (at >= 0).all(axis=-1) & (at <= (width - 1, height - 1)).all(axis=-1)
        self.flow = flow

    def error(self, before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> float:
        """As `facefusion.imaging.flow.warping_error`, where the motion of most of the pixels is found."""
        counted = mask & self.is_sound
        if int(counted.sum()) < max(64, FOLLOWED * int(mask.sum())):
            return float("nan")
        difference = np.abs(after.astype(np.float32) - follow(before, self.flow)).mean(axis=-1)
        slope = gradient(cv2.cvtColor(after, cv2.COLOR_RGB2GRAY).astype(np.float32))
        return float(difference[counted].mean() / max(float(slope[counted].mean()), 1e-3))

    def step(self, before: np.ndarray, after: np.ndarray) -> float:
        """Growth of the change (H, W) between the frames where both show the same thing, mean levels of 255."""
        carried = follow(before, self.flow)
        mask = np.maximum(carried, after) > SEEN
        counted = mask & self.is_sound
        if int(counted.sum()) < max(64, FOLLOWED * int(mask.sum())):
            return float("nan")
        return float((after - carried)[counted].mean())


def change_of(rendered: RenderedFrame, part: tuple[slice, slice]) -> np.ndarray:
    """(h, w) float32 how much was changed in a part of the frame, levels of 255."""
    pixels = rendered.pixels[part] if rendered.is_changed else rendered.frame.pixels[part]
    return np.abs(pixels.astype(np.float32) - rendered.frame.pixels[part]).mean(axis=-1)


def facts_of(tracks: Tracks, chosen: tuple[int, ...]) -> dict[str, float]:
    """What flicker may depend on."""
    speeds, outside, sizes = [], [], []
    for track in tracks.tracks:
        if track.track_id not in chosen or not len(track.frames):
            continue
        meshes = track.meshes[:, :, :2]
        low, high = meshes.min(axis=1), meshes.max(axis=1)
        sizes += (high - low)[:, 1].tolist()
        outside += ((low < 0).any(axis=1) | (high > (tracks.width, tracks.height)).any(axis=1)).tolist()
        for k, (a, b) in enumerate(pairwise(track.frames.tolist())):
            if b == a + 1:
                step = np.linalg.norm(meshes[k + 1].mean(axis=0) - meshes[k].mean(axis=0)) / np.ptp(meshes[k, :, 0])
                speeds.append(step / max(float((tracks.pts[b] - tracks.pts[a]) * tracks.time_base), 1e-3))
    return {
        "speed": float(np.mean(speeds)) if speeds else 0.0,
        "fastest": float(np.quantile(speeds, 0.95)) if speeds else 0.0,
        "at_border": float(np.mean(outside)) if outside else 0.0,
        "size_px": float(np.median(sizes)) if sizes else 0.0,
        "cuts": float(len(tracks.cuts) - 1),
    }


def observe(recipe: Recipe, analyser: object, cache: Path | None) -> Tracks:
    """Tracks of the target; what pass 1 saw is kept in the cache, and joined afresh."""
    spans = plan_clip(recipe)
    path = None if cache is None else cache / f"{recipe.target_path.stem}-{recipe.end_s}.seen"
    if path is not None and path.exists():
        return join_observations(analyser, [Observation.load(path)], {})
    seen = list(observe_spans(recipe, analyser, spans, range(len(spans))))
    if path is not None and len(seen) == 1:
        path.parent.mkdir(parents=True, exist_ok=True)
        seen[0].save(path)
    return join_observations(analyser, seen, {})


def judge(
    clip: Path, photo: Path, seconds: float, names: list[str], recogniser: Recogniser | None, output: Path,
    cache: Path | None = None,
) -> tuple[dict[str, float], dict[str, dict]]:  # fmt: skip
    """Facts of a clip, and figures of every variant."""
    options = {"source_paths": [photo], "target_path": clip, "output_path": "unused.mp4", "end_s": seconds}
    recipes = {name: build_recipe({**options, **VARIANTS[name], "allow_8bit": True}) for name in names}
    first = recipes[names[0]]
    analyser = build_analyser(first)
    sources = read_sources(first.source_paths, analyser)
    tracks = observe(first, analyser, cache)
    chosen = choose_tracks(first, tracks)
    wanted = recogniser.describe(sources[0].pixels, sources[0].face.mesh) if recogniser else None
    frames = list(ClipReader(clip, end_s=seconds, allow_8bit=True))
    makers = {}
    for name, recipe in recipes.items():
        chain = build_processors(recipe, recipe.steps, sources)
        renderer = Renderer(dict.fromkeys(chosen, chain), tracks, recipe.step_of("face_swapper").options.blend)
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
    outputs: dict[str, list[RenderedFrame]] = {name: [] for name in names}
    streams = {name: makers[name][1].windows(looks[name]) for name in names}
    for _ in frames:
        for name, (_, smoother, grain) in makers.items():
            began = time.perf_counter()
            outputs[name].append(grain.match(smoother.smooth(next(streams[name]))))
            spent[name] += time.perf_counter() - began
    del looks, streams
    steadiness = judge_steadiness(outputs, tracks, chosen)
    figures: dict[str, dict] = {}
    for name in names:
        border, nearer, pairs = [], [], []
        shown = set(np.linspace(2, max(len(frames) - 3, 2), 6).astype(int).tolist())
        for k, (frame, rendered) in enumerate(zip(frames, outputs[name], strict=True)):
            found = tracks.at(frame.pts, chosen)
            if not rendered.is_changed or not found:
                continue
            mesh = found[0][0].meshes[found[0][1]]
            if k in shown:
                pairs.append((frame.pixels, rendered.pixels, mesh))
            if k % 6 == 0:
                border.append(border_distance(frame.pixels, rendered.pixels, mesh))
                if recogniser is not None:
                    a, b = (recogniser.describe(p, mesh) for p in (frame.pixels, rendered.pixels))
                    nearer.append(float(np.linalg.norm(b - wanted)) < float(np.linalg.norm(b - a)))
        contact_sheet(sources[0].pixels, pairs, output / f"{clip.stem}-{name.replace(' ', '')}.jpg")
        figures[name] = {
            **steadiness[name],
            "border": float(np.nanmean(border)) if border else np.nan,
            "source_first": float(np.mean(nearer)) if nearer else np.nan,
            "cost": spent[name] / spent[names[0]],
            "render_ms": 1000 * spent[name] / len(frames),
        }
    return facts_of(tracks, chosen), figures


def frames_of_coming(tracks: Tracks, chosen: tuple[int, ...]) -> set[int]:
    """Frames near those where a face is found or lost within a shot: what comes or goes there is pop, not flicker."""
    bounds = {*tracks.cuts.tolist(), len(tracks.pts)}
    near: set[int] = set()
    for track in tracks.tracks:
        if track.track_id in chosen and len(track.frames):
            frames = track.frames
            starts = frames[np.diff(frames, prepend=-9) > 1].tolist()
            stops = (frames[np.diff(frames, append=2**40) > 1] + 1).tolist()
            for edge in [*starts, *stops]:
                if edge not in bounds:
                    near.update(range(edge - COMING, edge + COMING + 1))
    return near


def judge_steadiness(
    outputs: dict[str, list[RenderedFrame]], tracks: Tracks, chosen: tuple[int, ...]
) -> dict[str, dict]:
    """Flicker and pop of every variant; all are judged at the pixels that the first one changes."""
    names = list(outputs)
    first = outputs[names[0]]
    target: list[tuple[int, float]] = []
    errors: dict[str, list[float]] = {name: [] for name in names}
    steps: dict[str, list[float]] = {name: [] for name in names}
    amounts: dict[str, list[float]] = {name: [] for name in names}
    coming = frames_of_coming(tracks, chosen)
    for k in range(1, len(first)):
        if k in tracks.cuts:
            continue
        boxes = [r.box for r in first[k - 1 : k + 1] if r.is_changed]
        boxes = boxes or [r.box for name in names for r in outputs[name][k - 1 : k + 1] if r.is_changed]
        if not boxes:
            continue
        low, high = np.min(boxes, axis=0)[:2] - 8, np.max(boxes, axis=0)[2:] + 8
        part = (slice(max(low[1], 0), high[1]), slice(max(low[0], 0), high[0]))
        before, after = (np.ascontiguousarray(first[i].frame.pixels[part]) for i in (k - 1, k))
        if min(after.shape[:2]) < 16:
            continue
        is_pair = k % 2 == 0 and first[k].is_changed and first[k - 1].is_changed and k not in coming
        is_step = k % 2 == 0 or any(outputs[n][k].is_changed != outputs[n][k - 1].is_changed for n in names)
        if not is_step:
            continue
        along = Along(before, after)
        if is_pair:
            plain = first[k].pixels[part]
            mask = np.abs(plain.astype(int) - after).max(axis=2) > SEEN
            target.append((k, along.error(before, after, mask)))
        for name in names:
            one, other = outputs[name][k - 1 : k + 1]
            changes = change_of(one, part), change_of(other, part)
            steps[name].append(along.step(*changes))
            if other.is_changed and (changes[1] > SEEN).any():
                amounts[name].append(float(changes[1][changes[1] > SEEN].mean()))
            if is_pair:
                pictures = (np.ascontiguousarray(r.pixels[part]) for r in (one, other))
                errors[name].append(along.error(*pictures, mask))
    own = np.array([error for _, error in target])
    found = {}
    for name in names:
        # A pair counts where target and output can be judged.
        error = np.array(errors[name])
        counted = np.isfinite(error) & np.isfinite(own)
        size = np.median(amounts[name]) if amounts[name] else np.nan
        step = np.abs(np.array(steps[name])) / size
        found[name] = {
            "flicker": float(error[counted].mean() / own[counted].mean()) if counted.any() else np.nan,
            "pop": float(np.nanmean(step)) if np.isfinite(step).any() else np.nan,
            "pop_worst": float(np.nanmax(step)) if np.isfinite(step).any() else np.nan,
            "pairs": [[k, round(a, 4), round(float(b), 4)] for (k, a), b in zip(target, error, strict=True)],
        }
    return found


def show(row: dict, keys: tuple[str, ...] = ()) -> str:
    """Numbers on a line."""
    return "  ".join(f"{k} {v:.3f}" for k, v in row.items() if not isinstance(v, list) and (not keys or k in keys))


def group_of(facts: dict[str, float]) -> list[str]:
    """Kinds of clips a clip belongs to."""
    names = ["fast" if facts["fastest"] > 1 else "slow", "at the border" if facts["at_border"] > 0.1 else "inside"]
    names.append("below 80 px" if facts["size_px"] < 80 else "80 to 250 px" if facts["size_px"] < 250 else "larger")
    return [*names, "with cuts"] if facts["cuts"] else names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--match", default="", help="only clips whose name holds this")
    parser.add_argument("--part", default="held-out", choices=["tune", "held-out", "all"])
    parser.add_argument("--stress", type=Path, metavar="GROUNDS", help="judge harder clips; pictures without a face")
    parser.add_argument("--each", type=int, default=2, help="harder clips of each kind and part")
    parser.add_argument("--cache", type=Path, help="keep there what pass 1 saw; to be emptied when pass 1 changes")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/motion"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    clips, photos = list(iter_media(arguments.clips, (".mp4",))), list(iter_media(arguments.photos, (".jpg", ".png")))
    if arguments.stress:
        grounds = list(iter_media(arguments.stress, (".jpg", ".png")))
        clips = stress(clips, grounds, arguments.output / "stress", arguments.each, 1.2)
    clips = [c for c in clips if arguments.match in c.name and arguments.part in ("all", part_of(c.stem))]
    if not arguments.stress:
        clips = sorted(sorted(clips, key=lambda c: number_of(c.stem, "order"))[: arguments.limit])
    recogniser = make_recogniser()
    rows: dict[str, dict] = {}
    for number, clip in enumerate(clips):
        for photo in (photos[(number_of(clip.stem) + k) % len(photos)] for k in range(PHOTOS_TRIED)):
            try:
                facts, figures = judge(
                    clip, photo, arguments.seconds, arguments.variants, recogniser, arguments.output, arguments.cache
                )
            except FaceFusionError as error:
                print(f"{clip.stem} <- {photo.stem}: {error}")
                continue
            rows[clip.stem] = {"part": part_of(clip.stem), "photo": photo.name, "facts": facts, "figures": figures}
            print(f"[{number + 1}/{len(clips)}] {clip.stem} ({part_of(clip.stem)}) <- {photo.stem}: {show(facts)}")
            for name, row in figures.items():
                print(f"    {name:<12} " + show(row), flush=True)
            break
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "motion.json").write_text(json.dumps(rows, indent=1))
    for part in ("tune", "held-out"):
        own = {stem: row for stem, row in rows.items() if row["part"] == part}
        if own:
            report(part, own, arguments.variants, bool(arguments.stress))


def report(part: str, rows: dict[str, dict], names: list[str], has_kinds: bool) -> None:
    """Means, kinds and worst clips of a part."""
    print(f"\n{part}: mean over {len(rows)} clips (cost: median)")
    for name in names:
        figures = [row["figures"][name] for row in rows.values()]
        found = {k: np.array([f[k] for f in figures]) for k in figures[0] if k != "pairs"}
        worst = float(np.nanmax(found["flicker"]))
        found = {k: v for k, v in found.items() if np.isfinite(v).any()}
        means = {k: float(np.median(v) if k == "cost" else np.nanmean(v)) for k, v in found.items()}
        print(f"  {name:<14} {show(means)}  worst {worst:.3f}")
    last = names[-1]
    groups: dict[str, list[str]] = {}
    for stem, row in rows.items():
        for group in [stem.split("__")[0]] if has_kinds else group_of(row["facts"]):
            groups.setdefault(group, []).append(stem)
    print(f"  by kind ({last}):")
    for group, stems in sorted(groups.items()):
        means = {
            k: float(np.nanmean([rows[s]["figures"][last][k] for s in stems])) for k in ("flicker", "pop", "pop_worst")
        }
        print(f"    {group:<14} {len(stems):>3} clips  {show(means)}")
    order = sorted(rows, key=lambda s: -np.nan_to_num(rows[s]["figures"][last]["flicker"]))
    print(f"  worst ({last}):")
    for stem in order[:6]:
        print(f"    {stem:<45} flicker {rows[stem]['figures'][last]['flicker']:.3f}  {show(rows[stem]['facts'])}")


if __name__ == "__main__":
    main()
