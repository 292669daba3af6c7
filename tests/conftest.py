"""Shared fixtures: packaged samples of people who do not exist, and real engines built once."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from facefusion import journal
from facefusion.analyse.analyser import Analyser
from facefusion.apps import faults
from facefusion.media.priority import usual_priority
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.pipeline.runner import build_analyser
from facefusion.policy.mark import SITE_FILE
from facefusion.recipe import Recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import RenderedFrame

# What tests start compiles everything anew each time where nobody may keep what is compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
hypothesis.settings.register_profile("patient", deadline=None)  # no test is about how long something takes
hypothesis.settings.load_profile("patient")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def data_folder(folder: Path) -> Path:
    """A user's data folder of a test. All are of one site, whose mark is in every output: outputs can be compared."""
    (folder / "facefusion").mkdir(parents=True)
    (folder / "facefusion" / SITE_FILE).write_text("5eed" * 8 + "\n")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _no_data_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For what modules make once."""
    os.environ["XDG_DATA_HOME"] = str(data_folder(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def _no_outside_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("FACEFUSION_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-configuration"))
    # Jobs of a test are its own, and leave nothing in its folder.
    with tempfile.TemporaryDirectory(prefix="facefusion-test-jobs-") as folder:
        monkeypatch.setenv("FACEFUSION_JOBS_PATH", folder)
        monkeypatch.setenv("XDG_STATE_HOME", str(Path(folder) / "state"))
        monkeypatch.setenv("XDG_DATA_HOME", str(data_folder(Path(folder) / "data")))
        yield


@pytest.fixture(autouse=True)
def _no_test_takes_the_machine_for_itself() -> Iterator[None]:
    with usual_priority():  # some write AV1 without our writer
        yield


@pytest.fixture(autouse=True)
def _what_one_test_has_told_no_other_has() -> Iterator[None]:
    """A command that is called in this process leaves its journal as it was asked for."""
    root, own = logging.getLogger(), logging.getLogger("facefusion")
    levels = root.level, own.level
    yield
    faults.debug(False)
    if journal.is_set_up():
        journal.set_up("")
        for handler in [one for one in root.handlers if getattr(one, "is_of_journal", False)]:
            root.removeHandler(handler)
        root.setLevel(levels[0])
        own.setLevel(levels[1])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def source_photo() -> Path:
    return sample_path("source.jpg")


@pytest.fixture(scope="session")
def target_photo() -> Path:
    return sample_path("target.jpg")


@pytest.fixture(scope="session")
def target_clip() -> Path:
    return sample_path("target.mp4")


@pytest.fixture(scope="session")
def few_frames(tmp_path_factory: pytest.TempPathFactory, target_clip: Path) -> Path:
    """The first 0.2 s of the sample clip."""
    path = tmp_path_factory.mktemp("clips") / "few.mp4"
    reader = ClipReader(target_clip, end_s=0.2)
    with ClipWriter(path, reader) as writer:
        for frame in reader:
            writer.write(RenderedFrame(frame))
    return path


@pytest.fixture(scope="session")
def analyser() -> Analyser:
    return build_analyser(Recipe())


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photos and clips on the maintainers' machines; elsewhere these tests are skipped."""
    if not (SHARED / "media" / "manifest.csv").is_file():
        assert os.environ.get("CI") != "true", "CI must run beside the shared media"
        pytest.skip("the shared media are not on this machine")
    return SHARED


@pytest.fixture
def jobs(tmp_path):
    """Jobs of a folder that is empty."""
    from facefusion.jobs.local import LocalJobs

    made = LocalJobs.open(tmp_path / "jobs")
    yield made
    made.store.close()
