"""Damaged and hostile files through every reader: none may crash, hang, eat memory, or raise an error that is not ours.

python benchmarks/fuzz.py [--files 10000] [--seed 1] [--kinds clip photo ...] [--keep FOLDER]

Files of fourteen kinds are made from packaged samples, mutated with a fixed seed, and read in a child process as the product
reads them. A child that dies, or is silent for longer than the limit, is counted against the file it had, and replaced.
Prints a table of what came of them and exits with 1 when something did that may not. What failed is kept with --keep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

HANG_S = 20.0
"""No file may be read for longer."""
LIMIT_BYTES = 2_000_000_000
"""Most memory that the reading of a file may take, the libraries included."""
MAX_FRAMES = 40
PROGRESS_S = 30.0
"""A line is printed this often."""
Reader = Callable[[Path, Path], str]


# --- seeds: one intact file, or a few, of every kind ------------------------------------------------------------------


def make_seeds(kind: str, folder: Path) -> list[Path]:
    """Intact files of a kind."""
    folder.mkdir(parents=True, exist_ok=True)
    return SEEDS[kind](folder)


def _clips(folder: Path) -> list[Path]:
    from facefusion.media.generate import write_test_clip
    from facefusion.media.reader import ClipReader
    from facefusion.testing.fakes import sample_path

    frames = [f.pixels[::2, ::2] for f in ClipReader(sample_path("target.mp4"), 0, 0.5)]
    pts = [k * 512 for k in range(len(frames))]
    made = []
    for name, options in {
        "h264.mp4": {"audio_tracks": 1},
        "turned.mov": {"rotation_deg": 90},
        "b_frames.mkv": {"audio_tracks": 2, "options": {"bf": "2"}},
        "mpeg4.avi": {"codec": "mpeg4"},
        "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
        "broadcast.ts": {"audio_tracks": 1},
    }.items():
        path = folder / name
        write_test_clip(path, frames, pts, Fraction(1, 12800), **options)  # type: ignore[arg-type]
        made.append(path)
    return made


def _photos(folder: Path) -> list[Path]:
    from PIL import Image

    from facefusion.media.image import FORMATS, read_photo, write_photo
    from facefusion.testing.fakes import sample_path

    small = Image.fromarray(read_photo(sample_path("source.jpg")).pixels).resize((96, 128))
    made = []
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    for name, options in {
        "plain.jpg": {"exif": exif}, "progressive.jpg": {"progressive": True}, "plain.png": {"exif": exif}, "plain.webp": {},
        "lossless.webp": {"lossless": True}, "plain.tif": {"compression": "tiff_lzw"}, "plain.bmp": {},
        "animated.gif": {"save_all": True, "append_images": [small.rotate(9)]},
    }.items():  # fmt: skip
        small.save(folder / name, **options)
        made.append(folder / name)
    for name, image in {
        "palette.png": small.convert("P"), "alpha.png": small.convert("RGBA"), "grey16.png": small.convert("I;16"),
        "grey.jpg": small.convert("L"), "print.jpg": small.convert("CMYK"), "bits.tif": small.convert("1"),
    }.items():  # fmt: skip
        image.save(folder / name)
        made.append(folder / name)
    for ending in (".heic", ".avif"):
        if ending in FORMATS:
            write_photo(folder / f"plain{ending}", read_photo(folder / "plain.jpg"))
            made.append(folder / f"plain{ending}")
    return made


def _tracks(folder: Path) -> list[Path]:
    from facefusion.pipeline.runner import analyse_target
    from facefusion.recipe import build_recipe
    from facefusion.testing.fakes import sample_path

    path = folder / "clip.tracks"
    analyse_target(build_recipe({"target_path": sample_path("target.mp4"), "end_s": 0.4})).save(path)
    return [path]


def _observations(folder: Path) -> list[Path]:
    from facefusion.pipeline.cast import build_analyser
    from facefusion.pipeline.clip import observe_spans, plan_clip
    from facefusion.recipe import build_recipe
    from facefusion.testing.fakes import sample_path

    recipe = build_recipe({"target_path": sample_path("target.mp4"), "end_s": 0.4})
    spans = plan_clip(recipe)
    (found,) = observe_spans(recipe, build_analyser(recipe), spans, range(1))
    found.save(folder / "part.safetensors")
    return [folder / "part.safetensors"]


_CONFIG = """source_paths = ["a.jpg", "b.jpg"]
target_path = "clip.mp4"
faces = [0, 2]
face_mask_blur = 0.25
face_mask_types = ["box", "occlusion"]
face_detector_size = "640x640"
output_video_quality = 90
worker_count = 2
memory_limit_gb = 2.5
allow_8bit = true
"""
_MAP = """[[person]]
track = 0
sources = ["anna.jpg"]

[[person]]
reference = "ben.jpg"
sources = ["carl.jpg", "carla.jpg"]
processors = ["face_swapper"]
"""
_INI = """[paths]
target_path = clip.mp4
source_paths = a.jpg b.jpg
[processors]
processors = face_swapper face_enhancer
face_swapper_model = hyperswap_1a_256
face_mask_types = box occlusion
[face_detector]
face_detector_angles = 0 90
face_detector_size = 640x640
"""


def _text(name: str, text: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        (folder / name).write_text(text, encoding="utf-8")
        return [folder / name]

    return make


def _entries(folder: Path) -> list[Path]:
    from facefusion.models.catalog import BUILT_IN

    made = []
    for entry in sorted(BUILT_IN.iterdir(), key=lambda item: item.name)[::5]:
        if entry.name.endswith(".toml"):
            made.append(folder / entry.name)
            made[-1].write_text(entry.read_text(encoding="utf-8"), encoding="utf-8")
    return made


def _graph() -> bytes:
    import onnx
    from onnx import TensorProto, helper

    values = np.arange(48, dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]), helper.make_node("Flatten", ["g"], ["y"]),
    ]  # fmt: skip
    weight = helper.make_tensor("w", TensorProto.FLOAT, (4, 3, 2, 2), values)
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 16, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 4))],
        [weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _models(folder: Path) -> list[Path]:
    from facefusion.models.spec import EMBEDDED

    (folder / "toy.onnx").write_bytes(_graph())
    (folder / "face_detector.onnx").write_bytes((EMBEDDED / "face_detector.onnx").read_bytes())
    return [folder / "toy.onnx", folder / "face_detector.onnx"]


_SPEC = """id = "toy"
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
[inputs]
x = [-1, 3, 16, 16]
[outputs]
y = [-1, 4]
"""


def _bundles(folder: Path) -> list[Path]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from facefusion.models.bundle import export_bundle
    from facefusion.models.store import ModelStore

    home = folder / "home"
    home.mkdir()
    (home / "toy.onnx").write_bytes(_graph())
    (home / "toy.toml").write_text(_SPEC)
    store = ModelStore((), "any", home)
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_bundle(folder / "toy.bundle", [store.get("toy")], store, key, lambda *_: None)
    return [folder / "toy.bundle"]


def _manifests(folder: Path) -> list[Path]:
    graph = _graph()
    told = {"sha256": hashlib.sha256(graph).hexdigest(), "size_bytes": len(graph)}
    manifest = {
        "format": "facefusion-bundle-1", "models": [{"spec": _SPEC, "id": "toy"}], "files": {"toy.onnx": told},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return [folder / "manifest.json"]


def _pins(folder: Path) -> list[Path]:
    (folder / "pins.json").write_text(
        json.dumps({"toy@1/toy.onnx": hashlib.sha256(b"toy").hexdigest(), "other@2/b.onnx": "f" * 64}, indent=1)
    )
    return [folder / "pins.json"]


def _drafts(folder: Path) -> list[Path]:
    steps = [{"source_paths": ["a.jpg"], "target_path": "t.mp4", "output_path": "o.mp4"}]
    (folder / "film.json").write_text(json.dumps({"name": "film", "status": "drafted", "steps": steps}, indent=1))
    return [folder / "film.json"]


def _stores(folder: Path) -> list[Path]:
    from facefusion.jobs.store import JobStore

    path = folder / "jobs.db"
    store = JobStore(f"sqlite:///{path}")
    for number in range(3):
        job_id = f"{number:016x}"
        plan = {"version": "0", "spans": [[None, 5, 5], [5, None, 5]], "models": {}, "hashes": {}}
        recipe = {"target_path": "t.mp4", "output_path": "o.mp4"}
        store.create(job_id, recipe, plan, "file:///x", [5, 5])
        store.claim((job_id, "analyse", 0), "a:1:b", 30)
    store.close()
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    return [path]


SEEDS: dict[str, Callable[[Path], list[Path]]] = {
    "clip": _clips, "photo": _photos, "tracks": _tracks, "observation": _observations,
    "config": _text("facefusion.toml", _CONFIG), "ini": _text("facefusion.ini", _INI),
    "face_map": _text("people.toml", _MAP), "entry": _entries, "onnx": _models, "bundle": _bundles, "manifest": _manifests, "pins": _pins,
    "draft": _drafts, "store": _stores,
}  # fmt: skip
SHARES = {"clip": 10, "photo": 20, "store": 8, "onnx": 8}
"""Parts of all files, 8 where nothing is said."""


# --- readers: what the product does with such a file ------------------------------------------------------------------


def read_clip(path: Path, folder: Path) -> str:
    from facefusion.media.probe import probe
    from facefusion.media.reader import ClipReader
    from facefusion.media.segments import plan_spans
    from facefusion.media.writer import ClipWriter
    from facefusion.types.frame import RenderedFrame

    probe(path)
    reader = ClipReader(path, allow_8bit=True)
    plan_spans(reader, 1.0)
    count = 0
    with ClipWriter(folder / "out.mkv", reader, preset="ultrafast") as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
            count += 1
            if count == MAX_FRAMES:
                break
    return "read"


def read_photo(path: Path, folder: Path) -> str:
    from facefusion.media.image import FORMATS, is_photo, write_photo
    from facefusion.media.image import read_photo as read

    if not is_photo(path):
        return "no photo"
    photo = read(path, allow_8bit=True)
    ending = path.suffix if path.suffix in FORMATS else ".png"
    write_photo(folder / f"out{ending}", photo)
    return "read"


def read_tracks(path: Path, folder: Path) -> str:
    from facefusion.render.presence import presence
    from facefusion.types.track import Tracks

    tracks = Tracks.load(path)
    Tracks.load(path, (2, 5))
    tracks.prominent()
    for track in tracks.tracks:
        presence(track, tracks)
        tracks.person_of(track.track_id)
        for row in range(len(track.frames)):
            track.face(row)
            tracks.at(int(tracks.pts[track.frames[row]]), [track.track_id])
    tracks.save(folder / "again.tracks")
    return "read"


def read_observation(path: Path, folder: Path) -> str:
    from facefusion.analyse.join import JoinOptions, join
    from facefusion.types.observation import Observation

    join([Observation.load(path)], JoinOptions(), {}, folder / "joined.tracks")
    return "read"


def read_config(path: Path, folder: Path) -> str:
    from facefusion.recipe import build_recipe
    from facefusion.settings import JobSettings, build_settings, load_options, setting_fields

    found = {name: sourced.value for name, sourced in load_options({}, {}, folder, path).items()}
    build_recipe({name: value for name, value in found.items() if name not in setting_fields()})
    build_settings(JobSettings, found)
    return "read"


def read_face_map(path: Path, folder: Path) -> str:
    from facefusion.pipeline.selection import load_face_map
    from facefusion.recipe import Recipe, build_recipe

    recipe = Recipe().model_copy(update={"people": load_face_map(path, Recipe())})
    assert build_recipe(recipe.model_dump(mode="json")).people == recipe.people
    return "read"


def read_entry(path: Path, folder: Path) -> str:
    from facefusion.documents import load_text
    from facefusion.errors import SpecError
    from facefusion.models.catalog import load_catalog
    from facefusion.models.spec import parse_spec

    shutil.copyfile(path, folder / "entry.toml")
    for spec in load_catalog([folder]).values():
        _ = spec.key, spec.graph, spec.needs
    parse_spec(load_text(path, SpecError), path.name, "local")
    return "read"


def read_onnx(path: Path, folder: Path) -> str:
    from facefusion.models.session import SessionCache
    from facefusion.models.spec import parse_spec
    from facefusion.models.store import ModelStore

    shutil.copyfile(path, folder / "toy.onnx")
    spec = parse_spec(_SPEC, "toy", "local", folder)
    if path.name.endswith("face_detector.onnx"):
        from dataclasses import replace

        spec = replace(spec, inputs={"#0": (None, 3, None, None)}, outputs={"#0": ()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = SessionCache().get(spec, ModelStore((str(folder),), "any", folder / "home"))
    name = next(iter(spec.inputs))
    session.run({name: np.zeros((1, 3, 16, 16) if name == "x" else (1, 3, 64, 64), np.float32)})
    return "read"


def read_bundle(path: Path, folder: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from facefusion.models.bundle import import_bundle, public_text
    from facefusion.models.store import ModelStore

    key = public_text(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    store = ModelStore((), "any", folder / "home")
    import_bundle(path, store, [key], lambda *_: None)
    store.catalog()
    return "read"


def read_manifest(path: Path, folder: Path) -> str:
    """A manifest that was signed as it is, by somebody who is trusted and wrong."""
    import zipfile

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from facefusion.models.bundle import MANIFEST, SIGNATURE, public_text

    key, content = Ed25519PrivateKey.from_private_bytes(bytes(range(32))), path.read_bytes()
    with zipfile.ZipFile(folder / "signed.bundle", "w") as archive:
        archive.writestr(MANIFEST, content)
        archive.writestr(SIGNATURE, f"{public_text(key)} {key.sign(content).hex()}\n")
        archive.writestr("toy.onnx", _graph())
    return read_bundle(folder / "signed.bundle", folder)


def read_pins(path: Path, folder: Path) -> str:
    from facefusion.models.spec import parse_spec
    from facefusion.models.store import ModelStore

    home = folder / "home"
    home.mkdir(exist_ok=True)
    shutil.copyfile(path, home / "pins.json")
    (home / "toy.onnx").write_bytes(b"toy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ModelStore((), "any", home).verify(parse_spec(_SPEC, "toy", "local", home))
    return "read"


def read_draft(path: Path, folder: Path) -> str:
    from facefusion.service.drafts import Drafts

    drafts = Drafts(folder / "drafts")
    drafts.folder.mkdir(exist_ok=True)
    shutil.copyfile(path, drafts.folder / "film.json")
    drafts.list()
    drafts.edit("film", "remove", "0", {})
    return "read"


def read_store(path: Path, folder: Path) -> str:
    from facefusion.jobs.store import JobStore
    from facefusion.jobs.sweep import wake

    shutil.copyfile(path, folder / "jobs.db")
    store = JobStore(f"sqlite:///{folder / 'jobs.db'}")
    try:
        for job in store.list_jobs():
            store.progress(job.id)
            store.items(job.id)
            store.history(job.id)
        wake(store)
        store.retry(f"{1:016x}")
        store.cancel(f"{2:016x}")
        store.delete(f"{0:016x}")
    finally:
        store.close()
    return "read"


READERS: dict[str, Reader] = {
    "clip": read_clip, "photo": read_photo, "tracks": read_tracks, "observation": read_observation,
    "config": read_config, "ini": read_config, "face_map": read_face_map, "entry": read_entry, "onnx": read_onnx,
    "bundle": read_bundle, "manifest": read_manifest, "pins": read_pins, "draft": read_draft, "store": read_store,
}  # fmt: skip


# --- mutations --------------------------------------------------------------------------------------------------------

_TEXTS = ("config", "ini", "face_map", "entry", "manifest", "pins", "draft")
_NASTY = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 40, b"true", b"null", b"[]", b"{}",
    b'""', b"[[]]", b"'", b'"', b"=", b"\n", b"../../x", b"/", b"\xf0\x9f\x98\x80", b"1979-05-27T07:32:00Z", b"[" * 3000,
    b'{"a":' * 2000, b"a" * 5000, b"%s%n", b"{index}", b"\\u0000", b"-0.0", b"0x7fffffffffffffff",
)  # fmt: skip
_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
)


def mutate(content: bytes, kind: str, rng: random.Random) -> bytes:
    """A damaged copy."""
    return mutate_text(content, rng) if kind in _TEXTS else mutate_bytes(content, rng)


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    words = [w for w in content.replace(b"\n", b" \n ").split(b" ") if w]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not words:
            return bytes(rng.choice(_NASTY))
        at = rng.randrange(len(words))
        match rng.randrange(7):
            case 0:
                words[at] = rng.choice(_NASTY)
            case 1:
                del words[at]
            case 2:
                words.insert(at, rng.choice(_NASTY))
            case 3:
                words[at] = words[rng.randrange(len(words))]
            case 4:
                words[at] = mutate_bytes(words[at], rng)
            case 5:
                words = words[:at]
            case _:
                words.insert(at, words[rng.randrange(len(words))])
    return b" ".join(words)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not data:
            return bytes(data)
        # Headers matter most: half of all changes are in the first kilobyte or the last.
        reach = rng.choice((len(data), len(data), min(len(data), 1024), min(len(data), 64)))
        at = rng.randrange(reach)
        if rng.random() < 0.25:
            at = len(data) - 1 - at
        match rng.randrange(9):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2 | 3:
                size = rng.choice((1, 2, 4, 8))
                number = rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)
                data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
            case 4:
                del data[at : at + rng.choice((1, 4, 64, 4096))]
            case 5:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 64, 1024)))
            case 6:
                del data[at:]
            case 7:
                other, size = rng.randrange(len(data)), rng.choice((4, 16, 256))
                data[at : at + size] = data[other : other + size]
            case _:
                size = rng.choice((8, 64, 1024))
                data[at : at + size] = bytes([rng.choice((0, 255))]) * min(size, len(data) - at)
    return bytes(data)


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of the files of a kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    foreign: dict[str, str] = field(default_factory=dict)
    peak_bytes: int = 0
    slowest_s: float = 0.0
    intact_refused: int = 0

    @property
    def is_clean(self) -> bool:
        return not self.intact_refused and not any(self.outcomes[bad] for bad in ("foreign", "crash", "hang", "memory"))


def read_one(kind: str, path: Path, folder: Path) -> tuple[str, str, str]:
    """Outcome, error class and where a foreign one came from."""
    from facefusion.errors import FaceFusionError

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            READERS[kind](path, folder)
        return "read", "", ""
    except FaceFusionError as error:
        told = str(error)
        if not error.message or "Traceback" in told:
            return "foreign", type(error).__name__, "an error without a message"
        return "refused", type(error).__name__, ""
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)
        own = [f for f in last if "facefusion" in f.filename and "site-packages" not in f.filename] or list(last)
        place = f"{type(error).__name__}: {str(error)[:100]} at {Path(own[-1].filename).name}:{own[-1].lineno}"
        return "foreign", type(error).__name__, place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(pipe: multiprocessing.connection.Connection, folder: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries talk about what they read
    while True:
        kind, path = pipe.recv()
        pipe.send(read_one(kind, path, folder))


class Child:
    """A process that reads files, with a watch on its time and memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_child, args=[other, self._folder], daemon=True)
        self._process.start()
        other.close()
        self._watched = psutil.Process(self._process.pid)

    def read(self, kind: str, path: Path, limit_s: float) -> tuple[tuple[str, str, str], int, float]:
        """Outcome, peak of memory in bytes, seconds that were worked or waited."""
        began, peak = self._spent(), 0
        idle_s, looked_at = 0.0, time.monotonic()
        until = time.monotonic() + limit_s * 30  # the clock of a busy machine; what counts is the processor's time
        self._pipe.send((kind, path))
        while True:
            if self._pipe.poll(0.02):
                try:
                    found = self._pipe.recv()
                except EOFError:
                    found = None
                if found is not None:
                    return found, max(peak, self._memory()), self._spent() - began + idle_s
            if not self._process.is_alive():
                code = self._process.exitcode
                self._start()
                return ("crash", f"exit {code}", f"exit {code}"), peak, 0.0
            peak = max(peak, self._memory())
            if peak > LIMIT_BYTES:
                self.stop()
                self._start()
                return ("memory", f"{peak / 1e9:.1f} GB", f"{peak / 1e9:.1f} GB"), peak, 0.0
            # What waits for something takes no processor, and a busy machine is not what it waits for.
            now = time.monotonic()
            idle_s += now - looked_at if self._is_waiting() else 0.0
            looked_at = now
            if self._spent() - began + idle_s > limit_s or now > until:
                self.stop()
                self._start()
                return ("hang", "", f"more than {limit_s:.0f} s"), peak, limit_s

    def _memory(self) -> int:
        try:
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0

    def _is_waiting(self) -> bool:
        try:
            return self._watched.status() == psutil.STATUS_SLEEPING
        except psutil.Error:
            return False

    def _spent(self) -> float:
        try:
            times = self._watched.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def fuzz(
    kinds: list[str],
    file_count: int,
    seed: int,
    folder: Path,
    keep: Path | None = None,
    limit_s: float = HANG_S,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Tally]:
    """Mutate and read files.

    Parameters
    ----------
    kinds
        Of `SEEDS`.
    file_count
        Of all kinds together.
    seed
        The same seed makes the same files from the same samples.
    folder
        For everything that is written; left empty.
    keep
        Where files that did what they may not are copied.
    limit_s
        Seconds that one file may be worked at or waited for.
    tell
        Called with a line now and then, and with the table of a kind when it is done.
    """
    parts = sum(SHARES.get(kind, 8) for kind in kinds)
    tallies = {}
    for kind in kinds:
        tally = tallies[kind] = Tally()
        seeds = make_seeds(kind, folder / "seeds" / kind)
        child = Child(folder / "out")
        count = max(-(-file_count * SHARES.get(kind, 8) // parts), 1)
        told_at = time.monotonic()
        try:
            for number in range(count):
                if time.monotonic() - told_at > PROGRESS_S:
                    told_at = time.monotonic()
                    tell(f"{kind}: {number} of {count} files, {_counts(tally.outcomes)}")
                rng = random.Random(f"{seed} {kind} {number}")
                # Intact ones first: a reader that refuses everything is no good either.
                is_intact = number < len(seeds)
                intact = seeds[number] if is_intact else rng.choice(seeds)
                path = folder / f"{number}_{intact.name}"
                path.write_bytes(intact.read_bytes() if is_intact else mutate(intact.read_bytes(), kind, rng))
                (outcome, error, place), peak, spent_s = child.read(kind, path, limit_s)
                tally.outcomes[outcome] += 1
                tally.intact_refused += is_intact and outcome != "read" and not _is_refused_by_design(path)
                tally.peak_bytes, tally.slowest_s = max(tally.peak_bytes, peak), max(tally.slowest_s, spent_s)
                if error and outcome == "refused":
                    tally.errors[error] += 1
                if outcome in ("foreign", "crash", "hang", "memory"):
                    tally.foreign.setdefault(f"{outcome}: {place}", path.name)
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(path, keep / f"{kind}_{path.name}")
                path.unlink()
        finally:
            child.stop()
        tell(show({kind: tally}, has_sum=False))
    return tallies


def _counts(outcomes: Counter[str]) -> str:
    return ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items())) or "nothing yet"


def _is_refused_by_design(path: Path) -> bool:
    """Animated pictures and pictures for print."""
    return path.name.endswith(("animated.gif", "print.jpg"))


def show(tallies: dict[str, Tally], has_sum: bool = True) -> str:
    """The table of what came of the files, the errors by their class, and where anything foreign came from."""
    columns = ("read", "refused", "foreign", "crash", "hang", "memory")
    lines = [f"{'kind':<12} {'files':>6} " + " ".join(f"{c:>8}" for c in columns) + f" {'peak MB':>8} {'slowest':>8}"]
    for kind, tally in tallies.items():
        counts = " ".join(f"{tally.outcomes[c]:>8}" for c in columns)
        total = sum(tally.outcomes.values())
        lines.append(f"{kind:<12} {total:>6} {counts} {tally.peak_bytes / 1e6:>8.0f} {tally.slowest_s:>7.1f}s")
    if has_sum:
        total = sum((tally.outcomes for tally in tallies.values()), Counter[str]())
        counts = " ".join(f"{total[c]:>8}" for c in columns)
        peak = max(tally.peak_bytes for tally in tallies.values()) / 1e6
        slowest = max(tally.slowest_s for tally in tallies.values())
        lines.append(f"{'all':<12} {sum(total.values()):>6} {counts} {peak:>8.0f} {slowest:>7.1f}s")
    lines += [f"  {kind}: {_counts(tally.errors)}" for kind, tally in tallies.items() if tally.errors]
    for kind, tally in tallies.items():
        lines += [f"  {kind}: {place}  ({name})" for place, name in sorted(tally.foreign.items())[:30]]
    return "\n".join(lines)


def _tell(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="facefusion-fuzz-") as folder:
        kinds, count, seed = arguments.kinds, arguments.files, arguments.seed
        tallies = fuzz(kinds, count, seed, Path(folder), arguments.keep, tell=_tell)
    print(show(tallies))
    print(f"{time.monotonic() - began:.0f} s, seed {arguments.seed}")
    return 0 if all(tally.is_clean for tally in tallies.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
