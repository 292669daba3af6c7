"""A fault at every border: one plain report, the job is kept, and the same command goes on to the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos import digest, make_small
from tests.patience import PATIENCE_S

from facefusion.apps import cli
from facefusion.jobs.local import LocalJobs
from facefusion.testing.fakes import sample_path

HOOK = Path(__file__).parents[1] / "fault_hook"
FULL = "OSError(errno.ENOSPC, 'No space left on device')"
BROKEN = "OSError(errno.EIO, 'Input/output error')"
FOREIGN = "RuntimeError('something nobody thought of')"
FAULTS = [
    # libav
    ("facefusion.media.probe:open_clip", "av.error.InvalidDataError(1, 'invalid')", "4"),
    ("facefusion.media.reader:ClipReader._decode", FOREIGN, "2"),
    ("facefusion.media.writer:ClipWriter._mux", "av.error.InvalidDataError(1094995529, 'invalid')", "9"),
    ("facefusion.media.writer:ClipWriter._mux", "ValueError('no dts')", "16"),
    ("facefusion.media.writer:ClipWriter._finish", FOREIGN, "1"),
    ("facefusion.media.segments:ClipMerger._open", "av.error.ArgumentError(22, 'invalid argument')", "all"),
    ("facefusion.media.segments:ClipMerger.merge", "AssertionError()", "all"),
    # engines and pictures
    ("facefusion.models.session:Session.run", FOREIGN, "9"),
    ("facefusion.analyse.analyser:Analyser.observe", "IndexError('list index out of range')", "2"),
    ("facefusion.render.renderer:Renderer.render_many", "ZeroDivisionError('division by zero')", "all"),
    ("facefusion.analyse.join:join", "MemoryError()", "all"),
    # disk
    ("os:replace", FULL, "3"),
    ("os:replace", FULL, "all"),
    ("os:fsync", BROKEN, "2"),
    ("facefusion.jobs.storage:FolderStorage.put", FULL, "1"),
    ("facefusion.jobs.storage:hash_file", BROKEN, "3"),
    ("facefusion.types.rows:write_columns", FULL, "1"),
    # the store
    ("facefusion.jobs.store:JobStore.claim", "sqlalchemy.exc.DatabaseError('x', {}, Exception('malformed'))", "2"),
    ("facefusion.jobs.store:JobStore.finish", "sqlite3.OperationalError('database or disk is full')", "2"),
    ("facefusion.jobs.store:JobStore.create", FOREIGN, "1"),
    ("facefusion.jobs.store:JobStore.outcomes", FOREIGN, "2"),
    # what is ours
    ("facefusion.pipeline.plan:build_plan", FOREIGN, "all"),
    ("facefusion.jobs.local:LocalJobs.create", FOREIGN, "1"),
    ("facefusion.jobs.work:Worker.perform", FOREIGN, "2"),
    ("facefusion.apps.show:Show.outcome", FOREIGN, "1"),
]
CRASHES = [
    ("facefusion.jobs.work:Worker._observe", "exit11", "1", "2"),
    ("facefusion.jobs.work:Worker._render", "exit11", "all", "2"),
    ("facefusion.jobs.work:Worker._prepare", "exit0", "all", "2"),
    ("facefusion.jobs.work:Worker._merge", FOREIGN, "all", "2"),
    ("facefusion.models.session:Session.run", "MemoryError()", "20", "2"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Of two parts, each of five frames: in the numbers of calls above, 9 is in the second part and 16 in the merge."""
    return make_small(tmp_path_factory.mktemp("clip") / "clip.mp4", frame_count=10, side=160)


def words(clip, folder, workers):
    return [
        "run", "-s", str(sample_path("source.jpg")), "-t", str(clip), "-o", str(folder / "out.mp4"),
        "--segment-length", "1", "--output-video-preset", "ultrafast", "--workers", workers, "--jobs-path",
        str(folder / "jobs"), "--job-tries", "2", "--quiet",
    ]  # fmt: skip


def run_here(clip, folder, workers):
    with pytest.raises(SystemExit) as end:
        cli.main(words(clip, folder, workers))
    return end.value.code


@pytest.fixture(scope="module")
def wanted(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wanted")
    assert run_here(clip, folder, "1") == 0
    return digest(folder / "out.mp4")


@pytest.mark.parametrize(("where", "what", "call", "workers"), [*((*fault, "1") for fault in FAULTS), *CRASHES])
def test_a_fault_anywhere_is_a_plain_report_and_the_same_command_goes_on(
    tmp_path, clip, wanted, capsys, where, what, call, workers
):
    counted, folder = tmp_path / "calls", tmp_path / "work"
    counted.mkdir()
    folder.mkdir()
    paths = os.pathsep.join([str(HOOK), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    done = subprocess.run(
        [sys.executable, "-m", "facefusion", *words(clip, folder, workers)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=folder,
        env={
            **os.environ, "PYTHONPATH": paths, "TEST_FAULT": f"{where}|{what}|{call}|{counted}",
            "XDG_STATE_HOME": str(tmp_path / "state"),
        },
    )  # fmt: skip
    assert (counted / ("1" if call == "all" else call)).exists(), "nobody called it"
    assert "Traceback" not in done.stderr + done.stdout
    if done.returncode == 0:  # it passed with the next try
        assert digest(folder / "out.mp4") == wanted
    else:
        assert done.returncode in range(1, 10), done.stderr
        assert "facefusion: " in done.stderr
        assert not (folder / "out.mp4").exists() or "Show.outcome" in where
    jobs = LocalJobs.open(folder / "jobs")
    assert "running" not in [job.status for job in jobs.store.list_jobs()]
    jobs.store.close()
    assert run_here(clip, folder, workers) == 0, capsys.readouterr().err
    assert digest(folder / "out.mp4") == wanted
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["jobs", "out.mp4"]
    assert not [*(folder / "jobs").rglob("*.nut"), *(folder / "jobs").rglob("*.safetensors")]
