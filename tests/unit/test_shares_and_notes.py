"""How far a job is while it is not done, and which warnings are told to users."""

import inspect
import pkgutil
import warnings

import numpy as np
import pytest

import facefusion
from facefusion.apps.show import Show
from facefusion.errors import FaceFusionWarning
from facefusion.jobs.ledger import OrderView
from facefusion.jobs.store import StageProgress
from facefusion.models.catalog import EntryLeftOutWarning
from facefusion.server.bodies import ProgressBody
from facefusion.service.values import share_of


def test_nothing_is_done_before_it_is_done():
    assert share_of(0, 0, is_done=False) == share_of(0, 90, is_done=False) == 0
    assert share_of(135, 180, is_done=False) == 0.75
    assert share_of(180, 180, is_done=False) == 0.99
    assert share_of(0, 0, is_done=True) == share_of(45, 90, is_done=True) == 1


def test_a_film_that_is_half_merged_is_not_done():
    def stage(name, done):
        return StageProgress(name, int(done == 90), 1, done, 90)

    class View:
        progress = (stage("render", 90), stage("merge", 45))
        status, is_over = "running", False

    view: OrderView = View()  # type: ignore[assignment]
    told = ProgressBody.of(view)
    assert (told.share, told.stage) == (0.75, "merge")


def test_only_warnings_of_ours_are_told(capfd, caplog):
    with warnings.catch_warnings(), Show("bar") as show:
        warnings.simplefilter("always")
        warnings.showwarning = show.note
        with caplog.at_level("DEBUG", "facefusion.warnings"):
            np.sqrt(np.array([-1.0]))
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            warnings.warn("x.json is no entry", EntryLeftOutWarning, stacklevel=1)
    told = capfd.readouterr().err
    assert told.count("Note:") == 1 and "x.json is no entry" in told
    assert "invalid value" in caplog.text and "old" in caplog.text


def test_every_warning_of_ours_is_one_for_users():
    found = []
    for one in pkgutil.walk_packages(facefusion.__path__, "facefusion."):
        if one.name.endswith("__main__"):
            continue
        try:
            module = __import__(one.name, fromlist=["_"])
        except (ImportError, AttributeError):  # needs an extra, or is run by Alembic
            continue
        found += [v for v in vars(module).values() if inspect.isclass(v) and issubclass(v, Warning)]
    ours = {one for one in found if one.__module__.startswith("facefusion.")}
    assert len(ours) > 5
    assert [one for one in ours if not issubclass(one, FaceFusionWarning)] == []


@pytest.mark.parametrize("mode", ["json", "bar"])
def test_sentences_are_notes_as_before(capfd, mode):
    with Show(mode) as show:
        show.note("something")
    assert "something" in "".join(capfd.readouterr())
