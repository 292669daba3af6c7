"""What four kinds of people do with FaceFusion, as it stands in examples/users, each from an empty home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image
from tests.patience import PATIENCE_S

from facefusion.media.probe import probe
from facefusion.testing.fakes import sample_path

USERS = Path(__file__).resolve().parents[2] / "examples" / "users"


def do_tasks(script: str, folder: Path) -> str:
    """Run a script as its user would, in a folder; what it says."""
    (folder / "bin").mkdir()
    command = folder / "bin" / "facefusion"  # of this checkout, as an installation would put it there
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m facefusion "$@"\n')
    command.chmod(0o755)
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("FACEFUSION_", "XDG_"))}
    own = {"PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(folder)}
    runner = [sys.executable] if script.endswith(".py") else ["sh"]
    done = subprocess.run(
        [*runner, str(USERS / script), str(sample_path("source.jpg").parent)], env={**outside, **own}, cwd=folder,
        capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("10. ")], done.stdout
    return done.stdout + done.stderr


def test_a_maker_of_films(tmp_path):
    do_tasks("video_maker.sh", tmp_path)
    clip = probe(tmp_path / "clip.mp4")
    with Image.open(tmp_path / "before_after.png") as before_after:
        assert before_after.width > 2 * clip.width
    assert (probe(tmp_path / "small.gif").width, probe(tmp_path / "edit.mov").width) == (clip.width // 4, clip.width)
    assert len(list((tmp_path / "matte").iterdir())) == 5


def test_a_privacy_officer(tmp_path):
    told = do_tasks("privacy_officer.sh", tmp_path)
    assert "colleague.jpg is exempt, but nobody in the target looks like them" in told
    assert "squares.png: tampered" in told
    assert "Revoked: anna" in told


def test_a_researcher(tmp_path):
    told = do_tasks("researcher.sh", tmp_path)
    assert "whoever has it can recognise these people elsewhere" in told
    assert len((tmp_path / "faces.jsonl").read_text().splitlines()) == 13


def test_a_developer(tmp_path):
    do_tasks("developer.py", tmp_path)
