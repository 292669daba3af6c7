"""``facefusion run`` is killed at random moments and the same command goes on; jobs from the command line."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys

import pytest
from tests.chaos import digest, make_small
from tests.patience import PATIENCE_S

from facefusion.apps import cli
from facefusion.testing.fakes import sample_path


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """The command line in this process: to start another one takes longer than most commands."""
    monkeypatch.chdir(tmp_path)

    def run(*words, check=True):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([*words, "--jobs-path", str(tmp_path / "jobs")])
        done = subprocess.CompletedProcess(words, end.value.code, *capsys.readouterr())
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Of four parts."""
    return make_small(tmp_path_factory.mktemp("clip") / "clip.mp4", frame_count=20, side=192)


def words(clip, output, workers="1"):
    return [
        "run", "-s", str(sample_path("source.jpg")), "-t", str(clip), "-o", str(output), "--segment-length", "1",
        "--workers", workers, "--json",
    ]  # fmt: skip


def events(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, call, clip, workers):
    call(*words(clip, tmp_path / "whole.mp4"))
    rng, kills = random.Random(int(workers)), 0
    command = [sys.executable, "-m", "facefusion", *words(clip, tmp_path / "killed.mp4", workers)]
    for _ in range(6):
        # By what it has done, not by the clock: while starting, at a frame of either pass, or between two.
        seen = rng.choice([0, 1, 1, 2, 2, 3, 4, 5])
        process = subprocess.Popen(
            [*command, "--jobs-path", str(tmp_path / "jobs")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        lines = [line for line in itertools.islice(process.stdout, seen) if line]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if len(lines) < seen:
            break  # it was done before
    assert kills
    done = call(*words(clip, tmp_path / "killed.mp4", workers))
    assert digest(tmp_path / "killed.mp4") == digest(tmp_path / "whole.mp4")
    assert events(done.stdout)[-1]["event"] == "done"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs", "killed.mp4", "whole.mp4"]


def test_a_run_that_is_stopped_says_how_to_go_on(tmp_path, call, clip):
    # It stops itself when the first part is there, as SIGTERM from outside would do, however busy the machine is.
    code = (
        "import os, signal, sys\n"
        "from facefusion.jobs.work import Worker\n"
        "render = Worker._render\n"
        "def stop_in_the_middle(*arguments):\n"
        "    for part in render(*arguments):\n"
        "        yield part\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "Worker._render = stop_in_the_middle\n"
        "from facefusion.apps.cli import main\n"
        "main(sys.argv[1:])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *words(clip, tmp_path / "o.mp4"), "--jobs-path", str(tmp_path / "jobs")],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=tmp_path,
    )  # fmt: skip
    errors = process.stderr + process.stdout
    assert process.returncode == 130
    (job,) = events(call("jobs", "list", "--json").stdout)[0]["jobs"]
    assert f"facefusion jobs resume {job['id']}" in errors
    assert not (tmp_path / "o.mp4").exists()
    call("jobs", "preview", job["id"][:6], "--at", "0.5", "-o", str(tmp_path / "p.jpg"))
    assert (tmp_path / "p.jpg").stat().st_size > 1000
    call("jobs", "resume", job["id"][:6])
    assert (tmp_path / "o.mp4").exists()
    shown = call("jobs", "show", job["id"]).stdout
    assert "render" in shown
    assert "4 of 4 parts" in shown
    report = events(call("jobs", "report", job["id"], "--json").stdout)[0]
    assert report["outcome"]["frames"] == 20
    call("jobs", "delete", job["id"])
    assert "No jobs." in call("jobs", "list").stdout


def test_an_unknown_job_is_said_with_a_code_of_its_own(call):
    done = call("jobs", "show", "nothing", check=False)
    assert done.returncode == 8
    assert "There is no job nothing." in done.stderr
    assert call("jobs", "resume", check=False).returncode == 2


def test_facefusions_jobs_are_drafted_submitted_and_run(tmp_path, call):
    call("job-create", "film")
    source, target = str(sample_path("source.jpg")), str(sample_path("target.jpg"))
    call("job-add-step", "film", "-s", source, "-t", target, "-o", str(tmp_path / "a.jpg"))
    call("job-remix-step", "film", "0", "-s", source, "-o", str(tmp_path / "b.jpg"))
    assert call("job-run", "film", check=False).returncode == 8  # not submitted
    call("job-submit", "film")
    assert "queued" in call("job-list").stdout
    call("job-run-all")
    assert (tmp_path / "a.jpg").exists()
    assert (tmp_path / "b.jpg").exists()
    assert "completed" in call("job-list", "completed").stdout
    assert call("job-add-step", "film", "-t", target, "-o", "x.jpg", check=False).returncode == 8
    call("job-delete", "film")
    assert "No jobs." in call("job-list").stdout


def test_a_batch_skips_what_is_there_and_says_so(tmp_path, call):
    batch = [
        "batch-run", "-s", str(sample_path("source.jpg")), "-t", str(sample_path("target.jpg")), "-o",
        str(tmp_path / "{index}{target_extension}"), "--json",
    ]  # fmt: skip
    assert events(call(*batch).stdout)[-1]["done"] == 1
    last = events(call(*batch).stdout)[-1]
    assert (last["done"], last["skipped"], last["failed"]) == (0, 1, 0)
    (tmp_path / "0.jpg").write_bytes(b"something else")
    assert events(call(*batch).stdout)[-1]["done"] == 1


def test_settings_of_jobs_come_from_the_environment_too(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "facefusion", "run", "--show-config"], capture_output=True, text=True, check=True,
        env={**os.environ, "FACEFUSION_JOBS_PATH": str(tmp_path), "FACEFUSION_WORKER_COUNT": "3"},
    )  # fmt: skip
    assert "worker_count = 3  # FACEFUSION_WORKER_COUNT" in done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "facefusion", "run", "--show-config", "--workers", "many"], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "worker_count" in wrong.stderr
