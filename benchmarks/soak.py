"""Do processes that share a jobs folder harm each other? Many at once, with random faults in between.

    python benchmarks/soak.py [--rounds 10] [--processes 36] [--seed 0]

Clips and photos are swapped and their people hidden, by runs, pools, batches and library calls, while processes are
killed and stopped, clocks jump, a disk is full, inputs are replaced and commands come in between. Each must end right to
the byte or with one clear line; everything that was not deleted is gone on with afterwards; nothing may be left, nothing
of others be touched, nobody be shown. Prints what was started and how it ended.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.soak import Report, Scene, make_scene, run_round

WORK = {
    "run": 2, "workers": 3, "hide": 3, "photo": 2, "hidden photo": 2, "clock": 3, "full disk": 3, "full disk photo": 1,
    "twice": 1, "same output": 1, "library": 2, "threads": 1, "batch": 2, "replaced": 4, "replaced swap": 2,
    "replaced photo": 3,
}  # fmt: skip
"""Kinds of work and how often they are started."""
COMMANDS = {"list": 1, "sweep": 3, "cancel": 2, "delete": 2, "resume": 2, "report": 1, "show": 1}
STRIKES = {"kill": 3, "stop": 2, "kill child": 2, "stop child": 2, "replace": 4}
WORK_SHARE, STRIKE_SHARE = 0.75, 0.6
"""Of all processes, how many do work; strikes for each process."""


def draw(rng: random.Random, kinds: Mapping[str, int], count: int) -> list[str]:
    """Some of them, as often as they are to come."""
    return rng.choices(list(kinds), list(kinds.values()), k=count)


def soak(folder: Path, scene: Scene, seed: int, processes: int, at_once: int) -> Report:
    """One round."""
    rng = random.Random(seed)
    work = round(processes * WORK_SHARE)
    kinds = [*draw(rng, WORK, work), *draw(rng, COMMANDS, processes - work)]
    return run_round(folder, scene, seed, kinds, draw(rng, STRIKES, round(processes * STRIKE_SHARE)), at_once)


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def show(reports: list[Report]) -> str:
    """What was started and how it ended."""
    started = sum((report.processes for report in reports), Counter[str]())
    strikes = sum((report.strikes for report in reports), Counter[str]())
    codes = sum((report.codes for report in reports), Counter[int]())
    jobs, resumed = sum(report.jobs for report in reports), sum(report.resumed for report in reports)
    faults = sum(len(report.faults) for report in reports)
    return "\n".join([
        f"{len(reports)} rounds, {sum(started.values())} processes ({listed(started)}), {jobs} jobs of clips",
        f"faults made: {listed(strikes)}",
        f"{resumed} jobs gone on with afterwards, {sum(report.seconds for report in reports):.0f} s",
        f"exit codes: {', '.join(f'{code}: {count}' for code, count in sorted(codes.items()))}",
        f"wrong (other bytes, tracebacks, unclear ends, anything left, touched or shown): {faults}",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=36)
    parser.add_argument("--at-once", type=int, default=8, help="processes that live at the same time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="facefusion-soak-") as name:
        scene = make_scene(Path(name) / "scene", 3)
        for seed in range(arguments.seed, arguments.seed + arguments.rounds):
            report = soak(Path(name) / f"round{seed}", scene, seed, arguments.processes, arguments.at_once)
            reports.append(report)
            count = sum(report.processes.values())
            print(f"seed {seed}: {count} processes, {report.seconds:.0f} s, wrong {len(report.faults)}", flush=True)
            for fault in report.faults:
                print(f"  {fault}", flush=True)
    print(show(reports))
    raise SystemExit(1 if any(report.faults for report in reports) else 0)


if __name__ == "__main__":
    main()
