"""What the documents and the examples of the library say is run as it stands there."""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import re
import subprocess
import sys
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import pytest
from hatchling.builders.wheel import WheelBuilder
from PIL import Image
from tests.chaos import make_small

import facefusion
from facefusion.apps import library, progress
from facefusion.policy.verifying import verify
from facefusion.testing.fakes import sample_path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "library"


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """The files that documents speak of."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "face.jpg").write_bytes(sample_path("source.jpg").read_bytes())
    with Image.open(sample_path("target.jpg")) as image:
        image.resize((256, 256)).save(folder / "photo.jpg", quality=95)
    make_small(folder / "clip.mp4", 6, 256)
    return folder


@pytest.fixture
def folder(media, tmp_path, monkeypatch):
    for path in media.iterdir():
        os.link(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_snippet_on_the_page_of_the_library_runs(folder, capsys):
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(snippets) > 5
    names = {}
    for snippet in snippets:
        exec(compile(snippet, "docs/library.md", "exec"), names)
    told = capsys.readouterr().out
    assert "True 1 (0,)" in told
    assert "The work was cancelled. What is finished is kept; the same call goes on with it." in told
    assert "media_unsupported The picture is of float64, not uint8." in told
    assert names["outcome"].output_path == folder / "out.mp4"
    assert verify(folder / "new.png").state in ("valid", "trusted")
    assert np.abs(names["hidden"].astype(int) - names["picture"]).max() > 30


def test_every_example_in_a_docstring_gives_what_it_says(folder):
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    names = {"np": np, "Image": Image, **{name: getattr(facefusion, name) for name in facefusion.__all__}}
    tried = set()
    for module in (library, progress):
        for test in finder.find(module, extraglobs=names):
            if test.examples:
                tried.add(test.name.rsplit(".", 1)[-1])
                text = []
                runner.run(test, out=text.append)
                assert not text, "".join(text)
    assert tried >= {
        "run", "analyse_target", "render_target", "FaceFusion", "Swapper", "Anonymiser", "analyse_image", "ProgressBar",
    }  # fmt: skip


def test_a_folder_of_photos_is_changed_and_what_cannot_be_is_named(folder, capsys):
    photos = folder / "photos"
    photos.mkdir()
    os.link(folder / "photo.jpg", photos / "a.jpg")
    (photos / "b.png").write_bytes(b"nothing of the kind")
    Image.new("RGB", (64, 64)).save(photos / "c.png")
    assert load("swap_folder").main(str(folder / "face.jpg"), str(photos), str(folder / "out")) == 2
    told = capsys.readouterr()
    assert told.out == "a.jpg: 1 of 1 changed\n"
    assert "b.png: " in told.err
    assert "c.png: nobody was found" in told.err
    assert [path.name for path in (folder / "out").iterdir()] == ["a.jpg"]
    assert verify(folder / "out" / "a.jpg").state in ("valid", "trusted")


def test_a_handler_of_fastapi_hides_everybody_and_refuses_what_is_no_photo(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of another client that it would like better
        from fastapi.testclient import TestClient

    with TestClient(load("service").app) as client:
        answer = client.post("/hide", content=(folder / "photo.jpg").read_bytes())
        assert answer.status_code == 200
        assert answer.headers["x-faces"] == "1"
        assert Image.open(BytesIO(answer.content)).size == (256, 256)
        refused = client.post("/hide", content=b"\0nothing of the kind")
        assert refused.status_code == 422
        assert refused.json()["detail"]["code"] == "media_unreadable"


def test_a_loop_over_a_camera_gives_changed_frames_as_they_come(folder, capsys):
    out = BytesIO()
    assert load("webcam").main(str(folder / "face.jpg"), str(folder / "clip.mp4"), 2, out) == 2
    assert capsys.readouterr().err == "256x256\n"
    frames = np.frombuffer(out.getvalue(), np.uint8).reshape(2, 256, 256, 3)
    with facefusion.Stream(facefusion.Swapper("face.jpg")) as stream:
        (first, *_) = load("webcam").frames_of("clip.mp4")
        assert np.array_equal(stream.change(first.pixels, first.time_s), frames[0])


RUN_NOTEBOOK = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], 4)
NotebookClient(book, timeout=None, startup_timeout=600).execute()
nbformat.write(book, sys.argv[2])
"""


def test_the_notebook_runs_and_shows_pictures_and_progress(tmp_path):
    pytest.importorskip("nbclient", reason="nbclient is not installed; pip install '.[dev]' installs it")
    book = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in book["cells"]), "what a notebook shows is not committed"
    made = tmp_path / "made.ipynb"
    command = [sys.executable, "-W", "ignore", "-c", RUN_NOTEBOOK, str(EXAMPLES / "notebook.ipynb"), str(made)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads(made.read_text(encoding="utf-8"))["cells"]
    pages = ["".join("".join(out.get("data", {}).get("text/html", "")) for out in cell.get("outputs", []))
             for cell in cells if cell["cell_type"] == "code"]  # fmt: skip
    assert [len(re.findall(r"data:image/jpeg", page)) for page in pages] == [0, 1, 1, 1, 0, 1]
    assert "<polygon" in pages[4]
    assert "<progress" in pages[5]
    assert len(made.read_text()) < 400_000


SCRIPT = """
import numpy as np
from PIL import Image
from facefusion import (
    Anonymiser, CancelToken, FaceFusionError, ProgressBar, Stream, Swapper, Tracks, analyse_image, build_recipe, run
)

token = CancelToken()
with Swapper(["face.jpg", Image.open("face.jpg")], faces="all") as swapper:
    pixels = swapper.swap(np.zeros((8, 8, 3), np.uint8), token)
    image = swapper.swap(Image.open("photo.jpg"))
    reveal_type(pixels)
    reveal_type(image)
    reveal_type(swapper.change("photo.jpg").faces[0].embedding)
    swapper.change(b"").save("out.png")
    stream = Stream(swapper, 25)
    reveal_type(stream.change(pixels))
for face in analyse_image("photo.jpg"):
    reveal_type(face.pose.yaw)
hidden: Image.Image = Anonymiser().hide(Image.open("photo.jpg"))
try:
    with ProgressBar() as bar:
        outcome = run(build_recipe({"target_path": "clip.mp4"}), bar, cancel=token, jobs_path="jobs")
except FaceFusionError as error:
    reveal_type(error.hint)
reveal_type(Tracks.load("clip.tracks").width)
swapper.swap(3)
Swapper("face.jpg").hide(pixels)
"""
REVEALED = (
    "numpy.ndarray[", "PIL.Image.Image", "numpy.ndarray[", "numpy.ndarray[", "float", "str",
    "int",
)  # fmt: skip


def test_a_script_of_a_user_is_checked_against_the_types_of_the_wheel(tmp_path):
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"]))
    assert "facefusion/py.typed" in zipfile.ZipFile(wheel).namelist()
    site = tmp_path / "env" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    for package in (np, PIL):  # what its signatures name; the rest takes half a minute to read, and says nothing
        (site / package.__name__).symlink_to(Path(package.__file__).parent)
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", os.devnull,
            "--python-executable", str(tmp_path / "env" / "bin" / "python"), "script.py",
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(REVEALED), done.stdout + done.stderr
    for one, wanted in zip(revealed, REVEALED, strict=True):
        assert wanted in one
        assert "Any" not in one.replace("[Any", "[").replace(", Any", "") or "ndarray" in one
    errors = re.findall(r"script.py:\d+: error: (.*)", done.stdout)
    assert len(errors) == 2, errors
    assert "No overload variant" in errors[0]
    assert '"Swapper" has no attribute "hide"' in errors[1]
