"""What four kinds of people do with FaceFusion, as it stands in examples/users, each from an empty home.

They use an installation of their own, made as docs/install.md says, in which nothing of the tests is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.patience import PATIENCE_S

from facefusion.media.probe import probe
from facefusion.testing.fakes import sample_path

ROOT = Path(__file__).resolve().parents[2]
USERS = ROOT / "examples" / "users"
OURS = ("FACEFUSION_", "XDG_", "PYTHON", "PYTEST", "VIRTUAL_ENV")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The folder of programs of a fresh environment: the wheel of this checkout, and what it asks for."""
    home = tmp_path_factory.mktemp("fresh")
    environment = home / "environment"
    outside = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words], env=outside, cwd=home, capture_output=True, text=True, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip

    made = call(sys.executable, "-m", "venv", environment)
    assert made.returncode == 0, made.stderr
    pip = (environment / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
    got = call(*pip, f"{ROOT}[report]", "-c", ROOT / "requirements-dev.lock")
    if got.returncode:  # a Python that the locked versions have no wheels for
        got = call(*pip, f"{ROOT}[report]")
    if got.returncode and "CI" not in os.environ:
        pytest.skip(f"no package index, so nothing can be installed: {got.stderr[-400:]}")
    assert got.returncode == 0, got.stderr
    listed = call(environment / "bin" / "python", "-c", "import facefusion, sys; sys.stdout.write(facefusion.__file__)")
    assert Path(listed.stdout).is_relative_to(environment), "it is the checkout, and not what was installed"
    return environment / "bin"


def do_tasks(script: str, folder: Path, programs: Path) -> str:
    """Run a script as its user would, in a folder; what it says."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    own = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder)}
    runner = [programs / "python"] if script.endswith(".py") else ["sh"]
    done = subprocess.run(
        [*runner, str(USERS / script), str(sample_path("source.jpg").parent)], env={**outside, **own}, cwd=folder,
        capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("10. ")], done.stdout
    return done.stdout + done.stderr


def test_a_maker_of_films(tmp_path, programs):
    do_tasks("video_maker.sh", tmp_path, programs)
    clip = probe(tmp_path / "clip.mp4")
    with Image.open(tmp_path / "before_after.png") as before_after:
        assert before_after.width > 2 * clip.width
    assert (probe(tmp_path / "small.gif").width, probe(tmp_path / "edit.mov").width) == (clip.width // 4, clip.width)
    assert len(list((tmp_path / "matte").glob("*.png"))) == 5


def test_a_privacy_officer(tmp_path, programs):
    told = do_tasks("privacy_officer.sh", tmp_path, programs)
    assert "colleague.jpg is exempt, but nobody in the target looks like them" in told
    assert "squares.png: tampered" in told
    assert "Revoked: anna" in told


def test_a_researcher(tmp_path, programs):
    told = do_tasks("researcher.sh", tmp_path, programs)
    assert "whoever has it can recognise these people elsewhere" in told
    assert len((tmp_path / "faces.jsonl").read_text().splitlines()) == 13


def test_a_developer(tmp_path, programs):
    do_tasks("developer.py", tmp_path, programs)
