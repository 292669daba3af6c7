"""Do processes that share a jobs folder harm each other? Many at once, with commands, kills and stops in between.

    python benchmarks/soak.py [--rounds 10] [--processes 24] [--seed 0]

Each must end right to the byte or with one clear line; everything that was not deleted is gone on with afterwards, and
nothing may be left. Prints what was started and how it ended.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.soak import make_clips, render_alone, run_round

WORK = ["run", "run", "twice", "same output", "library", "threads", "batch"]
COMMANDS = ["list", "sweep", "sweep", "cancel", "delete", "resume", "report", "show"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=24)
    parser.add_argument("--within", type=float, default=30.0, help="seconds until all have been started")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    kills = stops = resumed = 0
    seconds, faults = 0.0, []
    with tempfile.TemporaryDirectory(prefix="facefusion-soak-") as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        clips = make_clips(folder / "clips", 3)
        wanted = render_alone(clips, folder)
        for seed in range(arguments.seed, arguments.seed + arguments.rounds):
            rng = random.Random(seed)
            half = arguments.processes // 2
            kinds = [*rng.choices(WORK, k=half), *rng.choices(COMMANDS, k=arguments.processes - half)]
            strikes = ["kill"] * (half // 3) + ["stop"] * (half // 4)
            report = run_round(folder / f"round{seed}", clips, wanted, seed, kinds, strikes, arguments.within)
            started += report.processes
            codes += report.codes
            kills, stops, resumed = kills + report.kills, stops + report.stops, resumed + report.resumed
            seconds += report.seconds
            faults += [f"seed {seed}: {fault}" for fault in report.faults]
            print(
                f"round {seed}: {sum(report.processes.values())} processes, {report.seconds:.0f} s, faults {len(report.faults)}",
                flush=True,
            )
            for fault in report.faults:
                print(f"  {fault}", flush=True)
    print(
        f"{arguments.rounds} rounds, {sum(started.values())} processes ({', '.join(f'{n} {k}' for k, n in sorted(started.items()))}), "
        f"{kills} killed, {stops} stopped and let go on, {resumed} jobs gone on with afterwards, {seconds:.0f} s"
    )
    print(f"exit codes: {', '.join(f'{code}: {n}' for code, n in sorted(codes.items()))}")
    print(f"faults (other bytes, tracebacks, unclear ends, anything left): {len(faults)}")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
