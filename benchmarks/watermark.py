"""The invisible mark against its goals: ids that are found again after attacks, false alarms, PSNR and cost.

    python benchmarks/watermark.py MEDIA [--clips 30] [--seconds 5] [--offset 0] [--photos 0] [--growth 12]
    python benchmarks/watermark.py           # the packaged sample alone

Clips are chosen by the SHA-256 of their names (--offset: others, for tuning), photos likewise. Every frame is marked, as
if something in it had been changed, so that the mark is measured and not the swapper; then the clip is encoded as the
product does (CRF 18, veryfast) and attacked. What is read is counted twice: as any id, and as one of a thousand that a
site may know (`--known`), which needs less. Cost is CPU time of marking over that of rendering the packaged sample,
enlarged to 1080p, in this run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.imaging.mark import Shaper
from facefusion.jobs.once import render_target, run
from facefusion.media.reader import ClipReader
from facefusion.pipeline.marks import find_in_frames
from facefusion.pipeline.runner import analyse_target
from facefusion.policy.mark import MarkId, least_cosine
from facefusion.policy.site import SitePolicy
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import Frame
from speed import bare, make_large

GOALS = {"as written": 0.99, "half size, CRF 28": 0.99, "CRF 35": 0.95, "crop to 70 %": 0.95, "720p JPEG": 0.95,
         "720p PNG": 0.95}  # fmt: skip
RATE = 25


def choose(media: Path, count: int, offset: int) -> list[Path]:
    """Clips by the hash of their names."""
    paths = sorted((media / "clips").glob("*.mp4"), key=lambda p: hashlib.sha256(p.name.encode()).hexdigest())
    return [path for path in paths if "sample-videos" not in path.name][offset : offset + count]


def coded(frames: list[np.ndarray], crf: int, preset: str) -> io.BytesIO:
    """Frames as H.264."""
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
    return made


def encode(frames: list[np.ndarray], crf: int, preset: str) -> list[np.ndarray]:
    """Frames through H.264."""
    return decoded(coded(frames, crf, preset))


def decoded(made: io.BytesIO) -> list[np.ndarray]:
    """Frames of a file."""
    with av.open(made) as found:
        return [frame.to_ndarray(format="rgb24") for frame in found.decode(video=0)]


def attacks(frames: list[np.ndarray]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What happens to clips."""
    height, width = frames[0].shape[:2]
    yield "as written", frames
    half = [cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for pixels in frames]
    yield "half size, CRF 28", encode(half, 28, "medium")
    yield "CRF 35", encode(frames, 35, "medium")
    wide, high = int(width * 0.7), int(height * 0.7)
    x, y = width * 11 // 100, height * 17 // 100
    yield "crop to 70 %", encode([pixels[y : y + high, x : x + wide] for pixels in frames], 23, "medium")
    shot = frames[len(frames) // 2]
    shot = cv2.resize(shot, (round(width * 720 / height), 720), interpolation=cv2.INTER_CUBIC)
    yield "720p PNG", [shot]
    yield "720p JPEG", [jpeg(shot, 85)]


def framed(pictures: list[np.ndarray]) -> list[Frame]:
    """Pictures as frames."""
    return [Frame(np.ascontiguousarray(p), k, k, Fraction(1, RATE)) for k, p in enumerate(pictures)]


def cost() -> tuple[float, float, float]:
    """CPU time of marking over that of the job, at 1080p; and milliseconds a frame of marking and of rendering there.

    The packaged sample enlarged, analysed before. Rendering is what decoding and encoding alone do not take.
    """
    spent, count = 0.0, 0
    original = Shaper.add

    def timed(self: Shaper, luma: np.ndarray, *others: Any) -> None:
        nonlocal spent, count
        began = time.thread_time()
        original(self, luma, *others)
        spent += time.thread_time() - began
        count += 1

    with tempfile.TemporaryDirectory() as name:
        clip = make_large(sample_path("target.mp4"), Path(name) / "large.mp4", 1080)
        words = {"source_paths": [sample_path("source.jpg")], "target_path": clip, "output_path": Path(name) / "o.mp4"}
        recipe = build_recipe(words)
        tracks = analyse_target(recipe)
        began = time.process_time()
        coding = bare(recipe)
        coded_s = (time.process_time() - began) / coding
        Shaper.add = timed  # type: ignore[method-assign]
        try:
            began = time.process_time()
            render_target(recipe, tracks, policy=SitePolicy(is_marked=True))
            rendered_s = (time.process_time() - began) / coding
            marked_s = spent / count
            began, spent = time.process_time(), 0.0
            run(recipe, policy=SitePolicy(is_marked=True))
            share = spent / (time.process_time() - began)
        finally:
            Shaper.add = original  # type: ignore[method-assign]
    return share, marked_s * 1000, (rendered_s - coded_s - marked_s) * 1000


def of_photos(paths: list[Path]) -> None:
    """The mark in photos, which are one frame each."""
    counts = {"as written (JPEG 92)": 0, "half size, JPEG 75": 0, "crop to 70 %, JPEG 85": 0, "720p": 0}
    ratios, alarms, seen = [], 0, 0
    for path in paths:
        read = cv2.imread(str(path))
        if read is None or min(read.shape[:2]) < 200:
            continue
        seen += 1
        before = np.ascontiguousarray(read[..., ::-1])
        mark, after = MarkId(int(hashlib.sha256(path.name.encode()).hexdigest()[:6], 16), 0x123456789A), before.copy()
        Shaper(mark.signs).add_rgb(after)
        ratios.append(10 * np.log10(255**2 / float(((after.astype(np.float32) - before) ** 2).mean())))
        height, width = before.shape[:2]
        written = jpeg(after, 92)
        half = cv2.resize(written, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        cut = written[height * 17 // 100 : height * 87 // 100, width * 11 // 100 : width * 81 // 100]
        shot = cv2.resize(written, (round(width * 720 / height), 720), interpolation=cv2.INTER_AREA)
        for name, picture in zip(counts, (written, jpeg(half, 75), jpeg(cut, 85), jpeg(shot, 85)), strict=True):
            mine = find_in_frames(framed([picture]))
            counts[name] += mine is not None and mine.id == mark
        alarms += find_in_frames(framed([before])) is not None
    for name, count in counts.items():
        print(f"photos, {name:<24}{count} of {seen}")
    print(f"photos, PSNR {np.mean(ratios):.1f} dB, worst {min(ratios):.1f}; marks in photos without one {alarms}")


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """A picture through JPEG."""
    coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("media", nargs="?", type=Path)
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--growth", type=int, default=12, help="clips that are also coded without a mark, for the size")
    parser.add_argument("--known", type=int, default=1000, help="ids on the list that is read from")
    parser.add_argument("--unmarked", type=int, default=30, help="clips that are also looked at without a mark")
    words = parser.parse_args()
    paths = choose(words.media, words.clips, words.offset) if words.media else [sample_path("target.mp4")]
    found: dict[str, list[bool]] = {name: [] for name in GOALS}
    listed: dict[str, list[bool]] = {name: [] for name in GOALS}
    strangers = [MarkId(n % 7, 0xABCDEF0000 + n) for n in range(words.known - 1)]
    ratios, growth, wrong, alarms, unmarked = [], [], 0, 0, 0
    for path in paths:
        try:
            read = [frame.pixels for frame in ClipReader(path, None, words.seconds)]
        except FaceFusionError as error:
            print(f"{path.name}: {error}")
            continue
        mark = MarkId(int(hashlib.sha256(path.name.encode()).hexdigest()[:6], 16), 0x123456789A)
        shaper, made = Shaper(mark.signs), [pixels.copy() for pixels in read]
        for pixels in made:
            shaper.add_rgb(pixels)
        squares = [float(((a.astype(np.float32) - b) ** 2).mean()) for a, b in zip(made, read, strict=True)]
        ratios.append(10 * np.log10(255**2 / np.mean(squares)))
        if unmarked < words.unmarked:
            unmarked += 1
            alarms += find_in_frames(framed(read), strangers) is not None
        line, file = [], coded(made, 18, "veryfast")
        if len(growth) < words.growth:
            growth.append(len(file.getvalue()) / len(coded(read, 18, "veryfast").getvalue()) - 1)
        for name, pictures in attacks(decoded(file)):
            mine = find_in_frames(framed(pictures), [*strangers, mark])
            is_right = mine is not None and mine.id == mark
            listed[name].append(is_right)
            found[name].append(is_right and mine.confidence >= least_cosine())
            wrong += mine is not None and not is_right
            line.append("-" if mine is None else f"{mine.confidence:.2f}" + ("" if is_right else " WRONG"))
        height, width = read[0].shape[:2]
        print(f"{path.name[:40]:<41}{width} x {height}, {len(read)} frames, {ratios[-1]:.1f} dB  {' '.join(line)}",
              flush=True)  # fmt: skip
    print()
    for name, goal in GOALS.items():
        if found[name]:
            print(f"{name:<20}{sum(found[name])} of {len(found[name])}, {sum(listed[name])} as one of "
                  f"{len(strangers) + 1} ids (goal {goal:.0%})")  # fmt: skip
    print(f"ids that are wrong  {wrong}; marks in clips without one {alarms} of {unmarked}")
    if ratios:
        print(f"PSNR of the mark    {np.mean(ratios):.1f} dB, worst {min(ratios):.1f} (goal 42)")
    if growth:
        print(f"files grow by       {np.mean(growth):.1%} in the mean, {np.median(growth):.1%} in the middle, {max(growth):.1%} "
              f"at most (CRF 18, {len(growth)} clips)")  # fmt: skip
    if words.media and words.photos:
        every = sorted((words.media / "images").iterdir(), key=lambda p: hashlib.sha256(p.name.encode()).hexdigest())
        of_photos(every[: words.photos])
    share, marked_ms, rendered_ms = cost()
    print(f"cost at 1080p       {marked_ms:.1f} ms a frame, {marked_ms / rendered_ms:.1%} of the {rendered_ms:.0f} ms of rendering "
          f"(goal 5 %); {share:.1%} of the whole job")  # fmt: skip


if __name__ == "__main__":
    main()
