"""Names of files as they are outside, through the real command line: bytes, and consoles that cannot show them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

from facefusion.media.image import read_photo
from facefusion.testing.provenance import content_of

ODD = [
    b"\xff.png",
    "🙂é.png".encode(),
    b"two\nlines.png",
    b"-dash.png",
    b'it\'s "quoted".png',
    b"clip[1].png",
    b"with  spaces .png",
    b"a:b.png",
    b"%03d.png",
    b"{target_name}.png",
    b"esc\x1b[2J.png",
    b"n" * 251 + b".png",
    "é".encode() * 125 + b".png",
    "🙂".encode() * 62 + b".png",
]


def facefusion(*words: object, folder: Path, encoding: str = "ascii:strict") -> subprocess.CompletedProcess[bytes]:
    """Run the command in a folder on a console of some encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    spelled = [word if isinstance(word, bytes) else os.fsencode(str(word)) for word in words]
    return subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"facefusion", *spelled],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=PATIENCE_S,
    )


@pytest.fixture(scope="module")
def plain_output(tmp_path_factory, source_photo, target_photo) -> bytes:
    folder = tmp_path_factory.mktemp("plain")
    done = facefusion("-s", source_photo, "-t", target_photo, "-o", "out.png", "--quiet", folder=folder)
    assert done.returncode == 0, done.stderr
    return content_of(folder / "out.png")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_photos_and_outputs_of_all_odd_names_in_one_batch(tmp_path, source_photo, target_photo, plain_output):
    (tmp_path / "in").mkdir()
    for name in ODD:
        shutil.copy(target_photo, os.fsencode(tmp_path / "in") + b"/" + name)
    shutil.copy(source_photo, os.fsencode(tmp_path) + b"/s\xff\n.jpg")
    done = facefusion(
        "batch-run", "-s", b"s\xff\n.jpg", "-t", "in/*", "-o", "out/{target_name}{target_extension}", "--json",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    events = [json.loads(line) for line in done.stdout.splitlines()]
    finished = {os.fsencode(Path(event["output"]).name) for event in events if event["event"] == "done"}
    assert finished == set(ODD)
    assert {os.fsencode(name) for name in os.listdir(tmp_path / "out")} == set(ODD)
    for name in ODD:
        assert content_of(Path(tmp_path) / "out" / os.fsdecode(name)) == plain_output


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252:strict", "utf-8:strict"])
def test_a_console_that_cannot_print_a_name_does_not_fail_the_job(tmp_path, source_photo, target_photo, encoding):
    output = os.fsencode(tmp_path) + "/\udcff🙂é\n.png".encode("utf-8", "surrogateescape")
    done = facefusion("-s", source_photo, "-t", target_photo, "-o", output, folder=tmp_path, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert os.path.isfile(output)
    first, *about = done.stdout.splitlines()
    assert rb"\udcff" in first
    assert rb"\n.png: 1 of 1 frame changed" in first
    assert all(line.startswith(b"  ") for line in about), about  # no name begins a line of its own


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_clip_of_an_odd_name_goes_through_a_job_and_a_report(tmp_path, source_photo, few_frames):
    name = b"c\xff\n%03d a:b [1].mp4"
    tmp_path = tmp_path / "work"
    tmp_path.mkdir()
    shutil.copy(few_frames, os.fsencode(tmp_path) + b"/" + name)
    words = ("-s", source_photo, "-t", name, "-o", b"o" + name, "--report", b"r\xff.html", "--workers", "1", "--json")
    done = facefusion(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["frames"] == 5
    assert {os.fsencode(found) for found in os.listdir(tmp_path)} == {name, b"o" + name, b"r\xff.html", b"r\xff.json"}
    listed = facefusion("jobs", "list", folder=tmp_path)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == 1


def test_a_clip_may_have_the_longest_name(tmp_path, source_photo, few_frames):
    from facefusion import build_recipe, run

    output = tmp_path / ("ü" * 125 + "x.mp4")
    assert len(os.fsencode(output.name)) == 255
    run(build_recipe({"source_paths": [source_photo], "target_path": few_frames, "output_path": output}))
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_a_name_that_is_too_long_is_refused_before_anything_is_done(tmp_path, source_photo, target_photo):
    for words in (("-o", "é" * 130 + ".png"), ("-o", "n" * 300 + "/o.png"), ("-t", "n" * 300 + ".png", "-o", "o.png")):
        done = facefusion("-s", source_photo, "-t", target_photo, *words, folder=tmp_path)
        assert done.returncode in (3, 5), done.stderr
        assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_begins_with_a_dash_is_explained(tmp_path, source_photo, target_photo):
    shutil.copy(target_photo, tmp_path / "-t.jpg")
    done = facefusion("-s", source_photo, "-t", "-t.jpg", "-o", "o.png", folder=tmp_path)
    assert done.returncode == 2
    assert b"./-t.jpg" in done.stderr
    assert facefusion("-s", source_photo, "-t", "./-t.jpg", "-o", "o.png", folder=tmp_path).returncode == 0
    assert read_photo(tmp_path / "o.png").pixels.shape == read_photo(target_photo).pixels.shape


def test_events_are_json_on_every_console(tmp_path, source_photo):
    for encoding in ("ascii:strict", "cp1252:strict", "utf-8:strict"):
        done = facefusion(
            "-s", source_photo, "-t", "é🙂.jpg", "-o", "o.png", "--json", folder=tmp_path, encoding=encoding
        )
        event = json.loads(done.stdout)
        assert event["event"] == "error"
        assert "é🙂.jpg" in event["message"]
