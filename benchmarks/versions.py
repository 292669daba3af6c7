"""Processor time per frame of several versions of FaceFusion, as ratios to the first, interleaved in one run.

    git worktree add --detach /somewhere/before b15623c
    python benchmarks/versions.py before=/somewhere/before now=. [--rounds 5] [--works blur swap] [--height 0]

Every figure is user and system time of a whole command, of a longer part of a clip less a shorter one, over the frames between
them: what a command takes once, such as starting and taking sources in, is told apart. Time on the clock says nothing where
others use the machine, and processor time varies too: of the ratios the one of the least times is the steadiest. One thread, one process. Options that a version does not have are left out for it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of

PLAIN = ["--face-mask-types", "box", "--motion-smoothing", "0", "--finish-matching", "0"]
WORKS = {
    "copy": ["--processors", "face_anonymiser", "--face-anonymiser-model", "blackout", *PLAIN],
    "blur": ["--processors", "face_anonymiser", "--face-anonymiser-model", "blur"],
    "swap": ["--face-swapper-shape", "0"],
    "swap, nothing beside": ["--face-swapper-shape", "0", "--face-swapper-fusion", "0", *PLAIN],
    "swap as it is": [],
}
"""What is done: the proportions of the head (``--face-swapper-shape``) are newer than the first versions."""


def cpu_s(tree: Path, words: list[str], folder: Path) -> float:
    """User and system time of a command of a version, its processes included."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACEFUSION_")}
    environment |= {
        "PYTHONPATH": str(tree / "src"), "FACEFUSION_JOBS_PATH": str(folder / tree.name), "XDG_STATE_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder), "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "facefusion", "run", *words],
        check=True,
        capture_output=True,
        env=environment,
        cwd=folder,
    )
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def known_options(tree: Path) -> str:
    """The help of a version."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    command = [sys.executable, "-m", "facefusion", "run", "--help"]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def words_for(help_text: str, words: list[str]) -> list[str]:
    """Options that a version has, with their values."""
    kept: list[str] = []
    is_known = True
    for word in words:
        if word.startswith("--"):
            is_known = word in help_text
        if is_known:
            kept.append(word)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="+", help="name=folder of a checkout, the first is the measure")
    parser.add_argument("--clip", type=Path, default=sample_path("target.mp4"))
    parser.add_argument("--source", type=Path, default=sample_path("source.jpg"))
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=WORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--height", type=int, default=0, help="enlarge the clip to this height first (see speed.py)")
    parser.add_argument("--lengths", type=float, nargs=2, default=[1.0, 4.0], help="of the two parts, s")
    parser.add_argument("--frame-rate", type=float, default=25.0, help="of the clip")
    arguments = parser.parse_args()
    trees = {name: Path(folder).resolve() for name, _, folder in (v.partition("=") for v in arguments.versions)}
    helps = {name: known_options(tree) for name, tree in trees.items()}
    short_s, long_s = arguments.lengths
    frames = (long_s - short_s) * arguments.frame_rate
    with tempfile.TemporaryDirectory() as temporary:
        folder, clip = Path(temporary), arguments.clip
        if arguments.height:
            from speed import make_large

            clip = make_large(clip, folder / "large.mp4", arguments.height)
        base = ["-s", str(arguments.source), "-t", str(clip), "--workers", "1", "--execution-thread-count", "1"]
        base += ["--quiet"]
        print(
            f"{'':<24}{'version':<12}{'ms/frame':>10}{'ratio':>8}{'lowest':>8}{'highest':>8}{'of least':>9}{'once, s':>9}  output"
        )
        for work in arguments.works:
            each: dict[str, list[float]] = {name: [] for name in trees}
            once: dict[str, list[float]] = {name: [] for name in trees}
            hashes = {}
            for number in range(arguments.rounds):
                for name in sorted(trees, reverse=bool(number % 2)):
                    found = []
                    for seconds in (short_s, long_s):
                        output = folder / f"{name}-{number}-{seconds}.mp4"
                        words = [*words_for(helps[name], WORKS[work]), *base, "--end", str(seconds), "-o", str(output)]
                        found.append(cpu_s(trees[name], words, folder))
                        hashes[name] = content_of(output)[:8]
                        output.unlink()
                    each[name].append((found[1] - found[0]) / frames)
                    once[name].append(found[0] - each[name][-1] * short_s * arguments.frame_rate)
            first = next(iter(trees))
            for name in trees:
                ratios = [now / then for now, then in zip(each[name], each[first], strict=True)]
                middle = statistics.median(each[name])
                print(
                    f"{work:<24}{name:<12}{middle * 1000:>10.1f}{statistics.median(ratios):>8.3f}{min(ratios):>8.3f}"
                    f"{max(ratios):>8.3f}{min(each[name]) / min(each[first]):>9.3f}{statistics.median(once[name]):>9.2f}"
                    f"  {hashes[name]}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
