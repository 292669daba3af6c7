"""Functions that programs call take names of files as str and as Path, and say so."""

import importlib
import inspect
import json
import pkgutil
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import facefusion.service
from facefusion.client import Client
from facefusion.errors import RecipeError, RequestRefused, ServiceUnreachable
from facefusion.service.export import export
from facefusion.testing.fakes import make_mesh
from facefusion.types.paths import as_path, as_paths
from facefusion.types.track import Track, Tracks

INNER = ("batch", "batch_report", "cluster", "exposition")  # parts of commands, whose doors hand paths down


def make_tracks():
    meshes = np.stack([make_mesh((100.0, 80.0), 60.0)] * 3)
    track = Track(0, np.arange(3), meshes, np.full(3, 0.9, np.float32), np.zeros((3, 3), np.float32))
    return Tracks(200, 160, Fraction(1, 25), np.arange(3, dtype=np.int64), (track,), {}, np.zeros(1, np.int64))


def public():
    for found in pkgutil.iter_modules(facefusion.service.__path__):
        module = importlib.import_module(f"facefusion.service.{found.name}")
        for name, one in vars(module).items():
            if name.startswith("_") or getattr(one, "__module__", "") != module.__name__ or found.name in INNER:
                continue
            if inspect.isfunction(one):
                yield f"{found.name}.{name}", one
            elif inspect.isclass(one):
                for inner, method in vars(one).items():
                    method = getattr(method, "__func__", method)
                    if inspect.isfunction(method) and not inner.startswith("_"):
                        yield f"{found.name}.{name}.{inner}", method


def test_every_function_takes_both_kinds_of_names():
    narrow = [
        f"{name}({parameter.name})"
        for name, one in public()
        for parameter in inspect.signature(one).parameters.values()
        if str(parameter.annotation) in ("Path", "Path | None", "Sequence[Path]")
    ]
    assert narrow == []


def test_names_are_paths():
    assert as_path("a/b") == as_path(Path("a/b")) == Path("a/b")
    assert as_paths("a.jpg") == as_paths(["a.jpg"]) == as_paths((Path("a.jpg"),)) == [Path("a.jpg")]
    with pytest.raises(RecipeError, match="not int"):
        as_path(3)


def test_exports_take_a_str(tmp_path):
    tracks = make_tracks()
    assert export(tracks, str(tmp_path / "x.json")).faces == export(tracks, tmp_path / "y.json").faces > 0


def test_coco_has_the_sides_of_the_person_and_a_polygon(tmp_path):
    export(make_tracks(), tmp_path / "x.coco.json")
    told = json.loads((tmp_path / "x.coco.json").read_text())
    names = told["categories"][0]["keypoints"]
    assert names == ["right_eye", "left_eye", "nose_tip", "right_mouth_corner", "left_mouth_corner"]
    for one in told["annotations"]:
        points = np.reshape(one["keypoints"], (5, 3))
        assert points[names.index("right_eye"), 0] < points[names.index("left_eye"), 0]  # who looks at us
        x, y, width, height = one["bbox"]
        (polygon,) = one["segmentation"]
        corners = np.reshape(polygon, (4, 2))
        assert corners.min(axis=0).tolist() == pytest.approx([x, y])
        assert corners.max(axis=0).tolist() == pytest.approx([x + width, y + height], abs=0.002)


def test_a_folder_is_no_upload(tmp_path):
    with Client("http://127.0.0.1:9") as client:
        for place in (tmp_path, tmp_path / "none.jpg"):
            began = time.perf_counter()
            with pytest.raises(RequestRefused, match=r"is a folder|cannot be read"):
                client.upload(place)
            assert time.perf_counter() - began < 1


def test_nobody_at_an_address_is_told_at_once():
    for url in ("http://127.0.0.1:9", "https://127.0.0.1:9"):
        with Client(url) as client:
            for call in (client.capabilities, lambda: list(client.events("a" * 32)), lambda: client.job("x")):
                began = time.perf_counter()
                with pytest.raises(ServiceUnreachable, match="does not answer"):
                    call()
                assert time.perf_counter() - began < 1
