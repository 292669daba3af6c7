"""Forks writers of every kind of file and kills them at random moments.

Run as a program: folder, kills of each kind, seed.

Prints how many kills of each kind left something that was not there before.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from facefusion.jobs.storage import FolderStorage
from facefusion.media.generate import write_test_clip
from facefusion.media.image import Photo, write_photo
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.models.bundle import export_bundle, import_bundle, load_or_make_key, public_text
from facefusion.models.spec import ModelFile
from facefusion.models.store import ModelStore
from facefusion.service.drafts import Draft, Drafts
from facefusion.types.frame import RenderedFrame
from facefusion.types.rows import save_columns
from facefusion.workplace import Workplace
from facefusion.writing import save_bytes

Write = Callable[[int], None]
SPEC = """id = "toy"
version = "1"
capability = "face_detector"
family = "toy"
licence = "MIT"
licence_source = "here"
commercial = "yes"
vendor = "us"
year = 2026
[[files]]
name = "toy.onnx"
"""
MOST_S = 0.06
"""A writer lives so long at most: some are killed before they write, most while they do."""


def writers(folder: Path) -> dict[str, Write]:
    """What writes one file of a kind, again and again; a number makes the content another one."""
    out = folder / "out"
    out.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (400, 400, 3), dtype=np.uint8)
    clip = folder / "clip.mkv"
    write_test_clip(clip, [pixels[:128, :128]] * 12, [k * 40 for k in range(12)], Fraction(1, 1000))
    drafts = Drafts(folder / "jobs" / "drafts")
    storage = FolderStorage(folder / "jobs" / "files")
    job_id = "0123456789abcdef"
    store = ModelStore((), "any", folder / "models")
    seller = ModelStore((), "any", folder / "seller")
    for name, content in (("toy.onnx", bytes(400_000)), ("toy.toml", SPEC.encode())):
        save_bytes(seller.home / name, content)
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    export_bundle(folder / "toy.bundle", [seller.get("toy")], seller, key, lambda *_: None)
    storage.put(f"{job_id}/inputs/first", clip)

    def take_bundle(number: int) -> None:
        for name in ("toy.onnx", "toy.toml"):
            (store.home / name).unlink(missing_ok=True)
        import_bundle(folder / "toy.bundle", store, [public_text(key)], lambda *_: None)

    def write_clip(number: int) -> None:
        reader = ClipReader(clip)
        with ClipWriter(out / "clip.mp4", reader, preset="ultrafast") as writer:
            for frame in reader:
                writer.write(RenderedFrame(frame))

    def make_key(number: int) -> None:
        (out / "key.pem").unlink(missing_ok=True)
        load_or_make_key(out / "key.pem")

    def work(number: int) -> None:
        with Workplace(storage.work) as place:
            made = place.beside(out / "job.mp4") / "job.mp4"
            made.write_bytes(bytes(100_000))
            os.replace(made, out / "job.mp4")

    return {
        "report": lambda number: save_bytes(out / "report.html", b"%d" % number * 9000),
        "photo": lambda number: write_photo(out / "photo.png", Photo(pixels, None, None, None)) and None,
        "draft": lambda number: drafts.save(Draft("film", "drafted", ({"n": "x" * 9000},))),
        "tracks": lambda number: save_columns(out / "a.tracks", {"a": np.full(50_000, number, np.int64)}, {}),
        "pins": lambda number: store.pin(seller.get("toy"), ModelFile("toy.onnx"), f"{number:064x}"),
        "key": make_key,
        "bundle out": lambda number: export_bundle(
            out / "toy.bundle", [seller.get("toy")], seller, key, lambda *_: None
        ),
        "bundle in": take_bundle,
        "clip": write_clip,
        "working folder": work,
        "storage put": lambda number: storage.put(f"{job_id}/inputs/clip", clip),
        "storage copy": lambda number: storage.copy(f"{job_id}/inputs/first", f"{job_id}/inputs/second"),
    }  # fmt: skip


def listing(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def kill_one(write: Write, rng: random.Random) -> None:
    """Fork a process that writes without an end, and kill it."""
    pid = os.fork()
    if pid == 0:
        number = 0
        try:
            while True:
                number += 1
                write(number)
        except BaseException:
            traceback.print_exc()
        os._exit(1)  # no writer may end by itself
    time.sleep(rng.uniform(0, MOST_S))
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        raise SystemExit("a writer ended by itself")


def main(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    left = {}
    for kind, write in writers(folder).items():
        write(0)
        before = listing(folder)
        left[kind] = 0
        for _ in range(kills):
            kill_one(write, rng)
            now = listing(folder)
            left[kind] += bool(now - before)
            before |= now
    return left


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
