"""How values are shown: in a line, without what is in their arrays."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from fractions import Fraction
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest

import facefusion.types
from facefusion import installed
from facefusion.apps.show import Show
from facefusion.pipeline.runner import Outcome
from facefusion.recipe import build_recipe
from facefusion.service.values import Finished
from facefusion.testing.fakes import make_mesh
from facefusion.types.crop import Crop
from facefusion.types.face import Detection, Face, Pose
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.shown import shown
from facefusion.types.track import Track, Tracks

LONG = re.compile(r"Pixels|NDArray|FloatArray|bytes\b|\b(Face|Crop|Frame|Track|RenderedFrame)\b")


def find_values():
    for module in iter_modules(facefusion.types.__path__, "facefusion.types."):
        for value in vars(import_module(module.name)).values():
            if is_dataclass(value) and value.__module__ == module.name:
                yield value


def test_what_was_noted_is_not_said_again_at_the_end(capsys):
    made = Finished("o.mp4", 2, 2, 1, 0.0, 0.0, 0.0, (), ("It is small.", "It is dark."))
    show = Show("bar")
    show.note("It is small.")
    show.finished(made)
    told = capsys.readouterr()
    assert told.err.count("It is small.") == 1 and "It is small." not in told.out and "It is dark." in told.out


def test_the_end_of_a_run_speaks_of_a_mark_that_is_there(capsys):
    for is_marked in (True, False):
        Show("bar").finished(Finished("o.mp4", 2, 2, 1, 0.0, 0.0, 0.0, (), (), is_marked))
        assert ("hidden mark" in capsys.readouterr().out) is is_marked


def test_every_value_with_an_array_in_it_is_shown_by_what_the_array_is():
    found = [kind for kind in find_values() if any(LONG.search(str(field.type)) for field in fields(kind))]
    assert len(found) > 10
    for kind in found:
        assert kind.__repr__ is shown or kind is Tracks, f"repr() of {kind.__qualname__} prints its arrays"


def test_what_is_shown_fits_a_line_and_says_what_there_is():
    rng = np.random.default_rng(0)
    mesh = make_mesh()
    face = Face(mesh, 0.97512345, Pose(1.23456, 2.0, 3.0), identity=rng.random(512).astype(np.float32))
    frame = Frame(np.zeros((480, 640, 3), np.uint8), 3, 120, Fraction(1, 1000))
    count = 30
    track = Track(
        0, np.arange(count), np.stack([mesh] * count), np.ones(count, np.float32), np.zeros((count, 3), np.float32),
        identity=face.identity,
    )  # fmt: skip
    tracks = Tracks(640, 480, Fraction(1, 25), np.arange(count), (track,), {}, np.array([0]), (0,))
    values = {
        face: "Face(mesh=float32[478 x 3], score=0.9751, pose=Pose(yaw=1.235, pitch=2, roll=3)",
        Detection(face.box, face.five_points, 0.5): "Detection(box=float32[4], points=float32[5 x 2], score=0.5",
        frame: "Frame(pixels=uint8[480 x 640 x 3], index=3, pts=120, time_base=Fraction(1, 1000)",
        RenderedFrame(frame): "RenderedFrame(frame=Frame(",
        Crop(frame.pixels, np.eye(2, 3), face, np.zeros((9, 9), np.float32)): "Crop(pixels=uint8[480 x 640 x 3]",
        track: "Track(track_id=0, frames=int64[30], meshes=float32[30 x 478 x 3]",
        tracks: "Tracks(640 x 480 px, 30 frames, 0.00 to 1.16 s, 1 person in 1 track)",
        Outcome(facefusion.types, 1, 1, 1, 0.5, 0.5, ("a",) * 9): "models=<9 of them>",
    }
    for value, told in values.items():
        assert told in repr(value)
        assert len(repr(value)) < 400
        assert "\n" not in repr(value)
    page = tracks._repr_html_()
    assert page.count("<polygon") == 4
    assert len(page) < 20_000
    assert "1 person in 1 track" in page
    assert repr(build_recipe({"source_paths": "a.jpg"})).count("=") < 16


@pytest.fixture
def places(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    installed._read_all.cache_clear()
    yield tmp_path
    installed._read_all.cache_clear()


def test_packages_are_read_again_where_one_has_come_and_not_where_an_output_was_written(places, monkeypatch):
    reads = []
    monkeypatch.setattr(installed, "entry_points", lambda: reads.append(1) or installed.metadata_of_nobody)
    monkeypatch.setattr(installed, "metadata_of_nobody", type("Nobody", (), {"groups": ()})(), raising=False)
    installed.list_entries("facefusion.processors")
    for name in ("out.mp4", "notes.txt", ".facefusion-0123"):
        (places / name).write_text("")
        installed.list_entries("facefusion.processors")
    assert len(reads) == 1
    (places / "somebody-1.0.dist-info").mkdir()
    installed.list_entries("facefusion.processors")
    assert len(reads) == 2
