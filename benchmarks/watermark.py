"""The invisible mark against its goals: ids that are found again after attacks, false alarms, PSNR and cost.

    python benchmarks/watermark.py MEDIA [--clips 30] [--seconds 5] [--offset 0]
    python benchmarks/watermark.py           # the packaged sample alone

Clips with faces are chosen by the SHA-256 of their names (--offset: others, for tuning). Every face is marked where it
is, as if it had been changed, so that the mark is measured and not the swapper; then the clip is encoded as the product
does (CRF 18, veryfast) and attacked. Cost is CPU time of marking over that of rendering the packaged sample, in this run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.jobs.once import run
from facefusion.media.reader import ClipReader
from facefusion.pipeline.cast import build_analyser
from facefusion.pipeline.marks import find_in_frames
from facefusion.pipeline.resolved import resolve
from facefusion.policy.mark import MarkId
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe, build_recipe
from facefusion.render.mark import Marker
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import Frame, RenderedFrame

GOALS = {"as written": 0.99, "half size, CRF 28": 0.99, "CRF 35": 0.95, "crop to 70 %": 0.95, "720p JPEG": 0.95,
         "720p PNG": 0.95}  # fmt: skip
RATE = 25


def choose(media: Path, count: int, offset: int) -> list[Path]:
    """Clips by the hash of their names."""
    paths = sorted((media / "clips").glob("*.mp4"), key=lambda p: hashlib.sha256(p.name.encode()).hexdigest())
    return [path for path in paths if "sample-videos" not in path.name][offset : offset + count]


def encode(frames: list[np.ndarray], crf: int, preset: str) -> list[np.ndarray]:
    """Frames through H.264."""
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": preset, "threads": "1"}
        for pixels in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    made.seek(0)
    with av.open(made) as found:
        return [frame.to_ndarray(format="rgb24") for frame in found.decode(video=0)]


def attacks(frames: list[np.ndarray], middle: tuple[float, float]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What happens to clips."""
    height, width = frames[0].shape[:2]
    yield "as written", frames
    half = [cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for pixels in frames]
    yield "half size, CRF 28", encode(half, 28, "medium")
    yield "CRF 35", encode(frames, 35, "medium")
    wide, high = int(width * 0.7), int(height * 0.7)  # around the face: a crop without it shows nobody changed
    x = int(np.clip(middle[0] - wide / 2, 0, width - wide))
    y = int(np.clip(middle[1] - high / 2, 0, height - high))
    yield "crop to 70 %", encode([pixels[y : y + high, x : x + wide] for pixels in frames], 23, "medium")
    shot = frames[len(frames) // 2 + 7]
    shot = cv2.resize(shot, (round(width * 720 / height), 720), interpolation=cv2.INTER_CUBIC)
    yield "720p PNG", [shot]
    coded = cv2.imencode(".jpg", shot[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    yield "720p JPEG", [np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])]


def framed(pictures: list[np.ndarray]) -> list[Frame]:
    """Pictures as frames."""
    return [Frame(np.ascontiguousarray(p), k, k, Fraction(1, RATE)) for k, p in enumerate(pictures)]


def cost() -> float:
    """CPU time of marking over that of rendering, on the packaged sample."""
    spent = 0.0
    original = Marker.mark

    def timed(self: Marker, *given: object) -> RenderedFrame:
        nonlocal spent
        began = time.thread_time()
        try:
            return original(self, *given)  # type: ignore[arg-type]
        finally:
            spent += time.thread_time() - began

    Marker.mark = timed  # type: ignore[method-assign]
    output = Path("benchmarks/out/watermark-cost.mp4")
    output.parent.mkdir(parents=True, exist_ok=True)
    recipe = build_recipe({"source_paths": [sample_path("source.jpg")], "target_path": sample_path("target.mp4"),
                           "output_path": output})  # fmt: skip
    began = time.process_time()
    run(recipe, policy=SitePolicy(is_marked=True))
    whole = time.process_time() - began
    Marker.mark = original  # type: ignore[method-assign]
    return spent / whole


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("media", nargs="?", type=Path)
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--offset", type=int, default=0)
    words = parser.parse_args()
    paths = choose(words.media, words.clips, words.offset) if words.media else [sample_path("target.mp4")]
    analyser = build_analyser(resolve(Recipe(faces="all")))
    found: dict[str, list[bool]] = {name: [] for name in GOALS}
    ratios, wrong, alarms = [], 0, 0
    for path in paths:
        try:
            read = [frame.pixels for frame in ClipReader(path, None, words.seconds)]
        except FaceFusionError as error:
            print(f"{path.name}: {error}")
            continue
        frames = framed(read)
        tracks = analyser.analyse(frames)
        meshes = [track.meshes[:, :, :2] for track in tracks.tracks[:1] if len(track.frames)]
        if not meshes:
            print(f"{path.name}: nobody is found")
            continue
        mark = MarkId(int(hashlib.sha256(path.name.encode()).hexdigest()[:6], 16), 0x123456789A)
        marker = Marker(tracks, [track.track_id for track in tracks.tracks], mark.signs)
        height, width = read[0].shape[:2]
        made = [marker.mark(RenderedFrame(f, f.pixels.copy(), (0, 0, width, height))).pixels for f in frames]
        squares = [float(((a.astype(np.float32) - b) ** 2).mean()) for a, b in zip(made, read, strict=True)]
        ratios.append(10 * np.log10(255**2 / max(np.mean([s for s in squares if s] or [1e-9]), 1e-9)))
        alarms += find_in_frames(frames, analyser) is not None
        line = []
        middle = np.concatenate(meshes).mean(axis=(0, 1))
        for name, pictures in attacks(encode(made, 18, "veryfast"), (float(middle[0]), float(middle[1]))):
            mine = find_in_frames(framed(pictures), analyser)
            found[name].append(mine is not None and mine.id == mark)
            wrong += mine is not None and mine.id != mark
            line.append("-" if mine is None else f"{mine.confidence:.2f}" + ("" if mine.id == mark else " WRONG"))
        eyes = float(np.median(np.ptp(meshes[0][:, :, 0], axis=1)))
        print(f"{path.name[:40]:<41}face {eyes:4.0f} px of {width} x {height}, {ratios[-1]:.1f} dB  {' '.join(line)}",
              flush=True)  # fmt: skip
    print()
    for name, goal in GOALS.items():
        if found[name]:
            print(f"{name:<20}{np.mean(found[name]):7.1%} of {len(found[name])} (goal {goal:.0%})")
    print(f"ids that are wrong  {wrong}; marks in clips without one {alarms} of {len(ratios)}")
    if ratios:
        print(f"PSNR of the mark    {np.mean(ratios):.1f} dB, worst {min(ratios):.1f} (goal 42)")
    print(f"cost over the job   {cost():.1%} of CPU time (goal 5 % of rendering)")


if __name__ == "__main__":
    main()
