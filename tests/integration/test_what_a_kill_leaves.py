"""Writers of every kind of file are killed at random moments: files stay whole, and a sweep leaves nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks writers")
KILLS = 6
WHOLE = {
    "clip.mkv", "toy.bundle", "jobs/drafts/film.json", "jobs/jobs.db", "models/pins.json", "models/toy.onnx",
    "models/toy.toml",
    "out/a.tracks", "out/clip.mp4", "out/job.mp4", "out/key.pem", "out/photo.png", "out/report.html",
    "out/toy.bundle", "seller/toy.onnx", "seller/toy.toml",
}  # fmt: skip
MAY_BE_MISSING = {"models/toy.onnx", "models/toy.toml", "out/key.pem"}  # their writers take them away first


@pytest.fixture
def killed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    program = Path(__file__).parents[1] / "killing.py"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "x"), str(KILLS), "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert len(json.loads(done.stdout)) == 12
    return tmp_path


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def sweep(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facefusion", "jobs", "sweep", "--jobs-path", str(folder / "x" / "jobs")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_nothing_is_left_of_killed_writers_and_what_has_its_name_is_whole(killed):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from facefusion.media.image import read_photo
    from facefusion.media.reader import ClipReader
    from facefusion.types.rows import find_columns

    sweep(killed)
    found = files_of(killed / "x")
    assert found <= WHOLE
    assert WHOLE - found <= MAY_BE_MISSING
    assert files_of(killed / "state") == set()
    hidden = list(killed.rglob(".facefusion-*"))
    assert not hidden
    out = killed / "x" / "out"
    report = (out / "report.html").read_bytes()
    assert report == report[: len(report) // 9000] * 9000  # of one writer, and all of it
    columns, _ = find_columns(out / "a.tracks")
    values = columns["a"].read()
    assert len(values) == 50_000 and (values == values[0]).all()
    assert len(list(ClipReader(out / "clip.mp4"))) == 12
    assert read_photo(out / "photo.png").pixels.shape == (400, 400, 3)
    assert json.loads((killed / "x" / "jobs" / "drafts" / "film.json").read_text())["name"] == "film"
    assert set(json.loads((killed / "x" / "models" / "pins.json").read_text())) == {"toy@1/toy.onnx"}
    if (out / "key.pem").exists():
        assert load_pem_private_key((out / "key.pem").read_bytes(), None)
        assert (out / "key.pem").stat().st_mode & 0o777 == 0o600


def test_files_of_others_that_look_like_ours_stay_where_they_are(tmp_path, monkeypatch):
    """Names alone take nothing away."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    out, jobs = tmp_path / "x" / "out", tmp_path / "x" / "jobs"
    mine = [
        out / ".facefusion-0123456789abcdef" / "a.mp4", out / ".a.0123456789abcdef.part.mp4", out / "a.mp4.part",
        jobs / "drafts" / ".facefusion-0123456789abcdef" / "film.json", out / "made", out / "x.lock",
        tmp_path / "state" / "facefusion" / "faults" / "made",
    ]  # fmt: skip
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"{out}"\n')
    (out / "linked").symlink_to(out / ".facefusion-0123456789abcdef")
    before = {path: path.read_text() for path in mine}
    sweep(tmp_path)
    assert {path: path.read_text() for path in mine} == before
    assert (out / "linked").is_symlink()
