"""How long ten minutes of 1080p take on 1, 2, 4 and 8 GPUs: a model of measured stage times, not a measurement.

    python benchmarks/sizing.py [--minutes 10] [--fps 25] [--cores 4] [--gpu-tflops 4]

Stage times of a core were measured by `benchmarks/scale.py --height 1080` and `benchmarks/speed.py` (docs/quality.md); take
those of your machine with `--analyse-ms` and the like. No GPU was at hand: what it computes a second is an assumption.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

GPUS = (1, 2, 4, 8)
EMBEDDED_NETWORKS_MS = 25.6
"""Of a frame on one core, in networks: masks 5.9, fusion 5.0, mesh 8.0, detector 6.7 (docs/quality.md, "Speed")."""
EMBEDDED_GFLOP = 1.3
"""The same at what a core of that machine does: 25.6 ms at 50 GFLOP a second."""
COMMUNITY_GFLOP = 160.0
"""Of a frame: YOLO-face 7, 2DFAN-4 31, ArcFace 12, FairFace 6, a swapper 56, an enhancer 48 (docs/quality.md)."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What the model is told.

    Attributes
    ----------
    minutes, fps
        Of the film.
    analyse_ms, render_ms
        Of a frame on one core at 1080p, networks and the codecs of each stage included.
    alone_ms
        Of a frame in what only one worker does: join and merge.
    start_s
        Until a worker that is started works.
    segment_s
        Whole segments are shared out.
    cores
        Of each pod with a GPU.
    core_gain
        Share of further cores that is had: two workers made 1.83 times one, so 0.915 of each.
    gpu_tflops
        What a GPU computes a second in these networks, sustained; not its data sheet.
    gflop
        Of the networks of a frame.
    """

    minutes: float = 10.0
    fps: float = 25.0
    analyse_ms: float = 16.8
    render_ms: float = 66.0
    alone_ms: float = 0.67
    start_s: float = 2.0
    segment_s: float = 8.0
    cores: int = 4
    core_gain: float = 0.915
    gpu_tflops: float = 4.0
    gflop: float = EMBEDDED_GFLOP

    @property
    def frame_ms(self) -> tuple[float, float]:
        """Of a frame in one pod: on its cores, and on its GPU. They work at the same time; the slower one counts."""
        on_cores = max(self.analyse_ms + self.render_ms - EMBEDDED_NETWORKS_MS, 0.0)
        share = 1 + (self.cores - 1) * self.core_gain
        return on_cores / share, self.gflop / self.gpu_tflops

    def minutes_on(self, gpus: int) -> float:
        """Minutes until the film is there."""
        frames = self.minutes * 60 * self.fps
        spans = max(1, -int(-self.minutes * 60 // self.segment_s))
        busiest = -(-spans // gpus) / spans  # share of the film of the worker with the most segments
        return (self.start_s + frames * (busiest * max(self.frame_ms) + self.alone_ms) / 1000) / 60


def table(sizing: Sizing) -> str:
    """The table of the documentation."""
    from dataclasses import replace

    works = {
        "embedded models": replace(sizing, gflop=EMBEDDED_GFLOP),
        "models of the community's size (160 GFLOP a frame)": replace(sizing, gflop=COMMUNITY_GFLOP),
    }
    lines = [
        f"| {sizing.minutes:g} minutes of 1080p at {sizing.fps:g} frames/s | " + " | ".join(
            f"{count} GPU" + "s" * (count > 1) for count in GPUS
        ) + " | what a pod waits for |",
        "|---|" + "---|" * (len(GPUS) + 1),
    ]  # fmt: skip
    for name, one in works.items():
        times = " | ".join(f"{one.minutes_on(count):.1f} min" for count in GPUS)
        cores_ms, gpu_ms = one.frame_ms
        slower = "cores" if cores_ms > gpu_ms else "GPU"
        lines.append(f"| {name} | {times} | {slower}: {cores_ms:.1f} ms on cores, {gpu_ms:.1f} ms on the GPU a frame |")
    return "\n".join(lines)


def assumptions(sizing: Sizing) -> str:
    """What it rests on."""
    return (
        f"- measured, one core, 1080p, one face: analysing {sizing.analyse_ms:g} ms and rendering {sizing.render_ms:g} ms a frame "
        f"with codecs, {EMBEDDED_NETWORKS_MS:g} ms of it in networks; join and merge {sizing.alone_ms:g} ms a frame, by one worker\n"
        f"- measured: a further core brings {sizing.core_gain:g} of one (two workers over one: 1.83)\n"
        f"- assumed: each pod has one GPU and {sizing.cores} cores; decoding, drawing and encoding stay on the cores (libx264)\n"
        f"- assumed: the GPU does {sizing.gpu_tflops:g} TFLOP a second in these networks, beside the cores and not after them\n"
        f"- assumed: {sizing.start_s:g} s until a worker works, segments of {sizing.segment_s:g} s shared out whole, storage that "
        "nobody waits for, pods that are there already (no time to get nodes or pull images)"
    )


def main() -> None:
    """Print the table and what it rests on."""
    default = Sizing()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in Sizing.__dataclass_fields__:
        value = getattr(default, name)
        if name != "gflop":
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    sizing = Sizing(**vars(parser.parse_args()))
    print("A model, not a measurement. It rests on:\n" + assumptions(sizing) + "\n\n" + table(sizing))


if __name__ == "__main__":
    main()
