"""Does one machine lose anything? ``facefusion run`` is killed at random moments and started again, until it is done.

    python benchmarks/resume.py [--kills 100] [--workers 1]

Prints how many kills there were, in which stage, and whether the bytes are those of an undisturbed run. With --workers 2
the whole group of processes is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of


def command(folder: Path, output: str, workers: int) -> list[str]:
    return [
        sys.executable, "-m", "facefusion", "run", "-s", str(sample_path("source.jpg")), "-t",
        str(sample_path("target.mp4")), "-o", str(folder / output), "--segment-length", "1", "--jobs-path",
        str(folder / "jobs"), "--workers", str(workers), "--json",
    ]  # fmt: skip


def digest(path: Path) -> str:
    return content_of(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="facefusion-resume-") as name:
        folder = Path(name)
        began = time.monotonic()
        subprocess.run(command(folder, "whole.mp4", 1), check=True, capture_output=True)
        whole_s, wanted = time.monotonic() - began, digest(folder / "whole.mp4")
        kills, runs, wrong = 0, 0, 0
        stages: Counter[str] = Counter()
        while kills < arguments.kills:
            process = subprocess.Popen(
                command(folder, "killed.mp4", arguments.workers), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, start_new_session=True,
            )  # fmt: skip
            try:
                text, _ = process.communicate(timeout=rng.uniform(0.3, whole_s))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                text, _ = process.communicate()
                kills += 1
                events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
                stages[events[-1].get("stage", "start") if events else "start"] += 1
                continue
            if process.returncode:
                raise SystemExit(f"after {kills} kills: exit code {process.returncode}\n{text}")
            runs += 1
            wrong += digest(folder / "killed.mp4") != wanted
            left = [p.name for p in folder.iterdir() if p.name not in ("whole.mp4", "killed.mp4", "jobs")]
            files = [p for p in (folder / "jobs" / "files").rglob("*") if p.is_file()]
            wrong += bool(left or files)
            (folder / "killed.mp4").unlink()
        subprocess.run(command(folder, "killed.mp4", arguments.workers), check=True, capture_output=True)
        runs += 1
        wrong += digest(folder / "killed.mp4") != wanted
        shown = ", ".join(f"{count} in {stage}" for stage, count in stages.most_common())
        print(f"{kills} kills ({shown}); {runs} finished clips, {wrong} of them wrong or with something left behind")
        raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
