"""How often a stranger is taken for somebody on a list of known faces, and how often the one who is on it is missed.

    python benchmarks/blocklist.py FACEPACK

FACEPACK is laid out as in training/README.md. Our own recogniser alone decides for the blocklist and for consents
(`facefusion.policy.gate`), so it is measured here by every threshold: on people whose pictures it was never trained on
(`ident % 7 == 3`), and on all of them. A pair is two pictures from different files. Labels are clusters, not checked
names: a stranger who is really the same person counts as a false match here. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.policy.gate import BLOCKED_COSINE, CONSENT_COSINE
from facefusion.recipe import Recipe
from facefusion.types.topology import MESH_TO_68, five_from_68

THRESHOLDS = (0.45, 0.5, 0.531, 0.55, 0.6, 0.65, 0.7)
LIST_LENGTH = 20


def interval(hits: int, count: int) -> str:
    """A share in per cent, with Wilson's 95 % interval."""
    if not count:
        return "none"
    z, p = 1.96, hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return f"{100 * p:.3f} ({100 * max(middle - half, 0):.3f} to {100 * min(middle + half, 1):.3f})"


def read(facepack: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit embeddings (N, D), number of the person, and number of the file of every known face."""
    identifier = build_engine("face_identifier", "embedded", EngineContext(Recipe()))
    codes, people, files = [], [], []
    names: dict[str, int] = {}
    for path in sorted(facepack.glob("faces_*.npz")):
        shard = dict(np.load(path).items())
        for k in range(len(shard["lm"])):
            if shard["ident"][k] <= 0:
                continue
            content = shard["jpg"][shard["off"][k] : shard["off"][k + 1]]
            pixels = np.ascontiguousarray(cv2.imdecode(content, 1)[..., ::-1])
            five = five_from_68(shard["lm"][k][list(MESH_TO_68), :2] - 0.5)
            code = identifier.identify([pixels], [five])[0]
            codes.append(code / np.linalg.norm(code))
            people.append(int(shard["ident"][k]))
            files.append(names.setdefault(str(shard["files"][shard["src"][k]]), len(names)))
    return np.stack(codes), np.array(people), np.array(files)


def one_picture_each(people: np.ndarray, files: np.ndarray) -> np.ndarray:
    """Rows of the first picture of every person in every file: frames of one clip are no news."""
    seen: dict[tuple[int, int], int] = {}
    for row, key in enumerate(zip(people.tolist(), files.tolist(), strict=True)):
        seen.setdefault(key, row)
    return np.array(sorted(seen.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("facepack", type=Path)
    arguments = parser.parse_args()
    codes, people, files = read(arguments.facepack)
    for title, rows in (
        ("people never seen in training", np.flatnonzero(people % 7 == 3)),
        ("everybody", np.arange(len(people))),
    ):
        rows = rows[one_picture_each(people[rows], files[rows])]
        report(title, codes[rows], people[rows], files[rows])


def report(title: str, codes: np.ndarray, people: np.ndarray, files: np.ndarray) -> None:
    likeness = codes @ codes.T
    upper = np.triu(np.ones_like(likeness, dtype=bool), 1) & (files[:, None] != files[None])
    is_same = people[:, None] == people[None]
    same, strangers = likeness[upper & is_same], likeness[upper & ~is_same]
    numbers = np.unique(people)
    print(f"\n{title}: {len(numbers)} people, {len(codes)} pictures, {len(strangers)} pairs of strangers, ", end="")
    print(f"{len(same)} pairs of one person in different files")
    print("| cosine | strangers taken for one another, % | one person missed, % | stranger stopped by a list of "
          f"{LIST_LENGTH}, % |")  # fmt: skip
    print("|---|---|---|---|")
    best = best_against_lists(likeness, people)
    for threshold in sorted({*THRESHOLDS, BLOCKED_COSINE, CONSENT_COSINE}):
        passed, missed = int((strangers > threshold).sum()), int((same <= threshold).sum())
        stopped = int((best > threshold).sum())
        print(f"| {threshold} | {interval(passed, len(strangers))} | {interval(missed, len(same))} | "
              f"{interval(stopped, len(best))} |")  # fmt: skip


def best_against_lists(likeness: np.ndarray, people: np.ndarray) -> np.ndarray:
    """How near strangers come to the nearest of a list of people, one picture each, drawn at random."""
    chance = np.random.default_rng(0)
    of: dict[int, list[int]] = defaultdict(list)
    for row, person in enumerate(people.tolist()):
        of[person].append(row)
    numbers, found = sorted(of), []
    for _ in range(200):
        listed = chance.choice(numbers, size=min(LIST_LENGTH, len(numbers) // 2), replace=False).tolist()
        rows = [int(chance.choice(of[number])) for number in listed]
        others = [of[number][0] for number in numbers if number not in listed]
        found.append(likeness[np.ix_(others, rows)].max(axis=1))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
