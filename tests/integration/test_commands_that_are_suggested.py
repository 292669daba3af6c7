"""A command that is suggested works as it is typed: it says where jobs are as the one before it did."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from facefusion.apps.cli import main
from facefusion.jobs.store import LOCAL, JobStore
from facefusion.testing.fakes import sample_path


def run(capfd, *words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    told = capfd.readouterr()
    return end.value.code, told.out + told.err


def suggested(text):
    found = re.search(r"facefusion ((?:jobs|keys) [^\n'\"]*(?:'[^']*'[^\n'\"]*)*)", text)
    assert found, text
    return shlex.split(found[1].rstrip(".;"))


def test_the_way_on_of_a_job_that_is_kept_says_where_it_is(tmp_path, capfd):
    place = tmp_path / "my jobs"
    asked = ("-s", sample_path("source.jpg"), "-t", sample_path("target.mp4"), "-o", tmp_path / "o.mp4")
    code, text = run(capfd, "run", *asked, "--jobs-path", place, "--disk-limit", "0.000001", "--end", "1")
    assert code and "is kept" in text
    words = suggested(text)
    assert words[1] == "resume" and words[-2:] == ["--jobs-path", str(place)]
    code, text = run(capfd, *words)
    assert code == 0, text


def test_lists_and_refusals_name_the_place_that_was_given(tmp_path, capfd, monkeypatch):
    place = tmp_path / "jobs"
    store = JobStore(f"sqlite:///{tmp_path / 'own.db'}")
    store.create(
        "b" * 16, {"target_path": "a.mp4", "output_path": "b.mp4"}, {}, "", [1], LOCAL, stages=("render", "merge")
    )
    store.close()
    where = ["--jobs-path", str(place), "--job-store", f"sqlite:///{tmp_path / 'own.db'}"]
    for words in (["list"], ["show", "b" * 16], ["show", "nothing"]):
        _, text = run(capfd, "jobs", *words, *where)
        assert suggested(text)[-4:] == where, text
        assert run(capfd, *suggested(text), *(["--json"] if "list" in words else []))[0] in (0, 8)
    _, text = run(capfd, "jobs", "show", "nothing", *where, "--json")
    assert "--job-store" in json.loads(text.splitlines()[-1])["hint"]
    _, text = run(capfd, "jobs", "show", "nothing", "--jobs-path", place)
    assert text.rstrip().endswith("'facefusion jobs list --jobs-path " + str(place) + "'.")
    monkeypatch.setenv("FACEFUSION_JOBS_PATH", str(place))  # it holds for the next one, too
    _, text = run(capfd, "jobs", "show", "nothing")
    assert "--jobs-path" not in text
