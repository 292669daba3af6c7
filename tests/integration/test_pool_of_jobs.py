"""Jobs in a pool whose processes are killed, stopped, short of memory or faulty: the same bytes, or one error."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.chaos import make_small
from tests.hands import children_of, is_alive
from tests.patience import wait_until

import facefusion
from facefusion.errors import Fault, OutOfMemory, SegmentFailed
from facefusion.jobs import local
from facefusion.jobs import pool as pools
from facefusion.jobs.once import run
from facefusion.jobs.pool import Pool
from facefusion.jobs.work import Worker
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of
from facefusion.workplace import take

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")

HOOK = """
import os, pathlib, signal, sqlite3, sys
def once(name):
    try:
        os.close(os.open(pathlib.Path({folder!r}, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
def always(name):
    once(name)
    return True
def stop_with_the_lock():
    store = sqlite3.connect({store!r}, isolation_level=None, timeout=600)
    store.execute("BEGIN IMMEDIATE")
    os.kill(os.getpid(), signal.SIGSTOP)
def fail(error):
    raise error
def act():
    {action}
if "--multiprocessing-fork" in sys.orig_argv:
    if {point!r} == "start":
        if {often}("start"):
            act()
    else:
        from facefusion.jobs import work
        from facefusion.media.segments import ClipMerger
        inner = {{"analyse": work.Worker._observe, "render": work.Worker._render}}.get({point!r})
        def spans(self, bench, numbers, count):
            def counted(done):
                if done == 5 and {often}({point!r}):
                    act()
                count(done)
            return inner(self, bench, numbers, counted)
        def whole(self, *arguments):
            if {often}({point!r}):
                act()
            return inner(self, *arguments)
        if inner is not None:
            setattr(work.Worker, "_observe" if {point!r} == "analyse" else "_render", spans)
        elif {point!r} == "join":
            inner, work.Worker._join = work.Worker._join, whole
        else:
            inner, ClipMerger.merge = ClipMerger.merge, whole
"""
"""Does something in the processes of a pool, and only there, at a point of their work."""
KILL, STOP, ABORT = (f"os.kill(os.getpid(), signal.{name})" for name in ("SIGKILL", "SIGSTOP", "SIGABRT"))


def digest(path):
    return content_of(path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Small: what is looked at is processes."""
    return make_small(tmp_path_factory.mktemp("clip") / "clip.mp4", frame_count=20, side=192)


@pytest.fixture(scope="module")
def recipe_for(clip):
    """Of two parts of ten frames."""

    def make(folder, **options):
        return build_recipe(
            {
                "source_paths": [sample_path("source.jpg")], "target_path": clip, "output_path": folder / "out.mp4",
                "segment_s": 2.0, "output_video_preset": "ultrafast", **options,
            }
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def wanted(tmp_path_factory, recipe_for):
    """Hash of the output of a single, undisturbed process."""
    folder = tmp_path_factory.mktemp("wanted")
    run(recipe_for(folder))
    return digest(folder / "out.mp4")


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """Have the processes of a pool do something at a point; returns the folder in which they note that they did."""

    def install(point, action, often="once"):
        folder = tmp_path / "hook"
        folder.mkdir(exist_ok=True)
        store = str(tmp_path / "jobs" / "jobs.db")
        code = HOOK.format(folder=str(folder), store=store, point=point, action=action, often=often)
        (folder / "sitecustomize.py").write_text(code)
        roots = [str(folder), str(Path(facefusion.__file__).parents[1])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(roots))
        return folder

    return install


@pytest.fixture
def pool_in_hand(monkeypatch):
    """The pools that jobs make, in order."""
    made = []

    class Kept(Pool):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(local, "Pool", Kept)
    return made


def check_nothing_is_left(jobs, tmp_path, job_id, *others):
    assert [item for item in jobs.store.items(job_id) if item.status == "running"] == []
    assert {path.name for path in tmp_path.iterdir()} - {"hook", "no-configuration"} == {"jobs", *others}
    assert [stored.key for stored in jobs.storage.list(".work") if not stored.key.endswith(".lock")] == []


def history(jobs, job_id):
    return "\n".join(what for _, what in jobs.store.history(job_id))


@pytest.mark.parametrize("point", ["start", "analyse", "join", "render", "merge"])
def test_a_process_that_is_killed_costs_nothing_wherever_it_was(jobs, tmp_path, wanted, hook, point, recipe_for):
    noted = hook(point, KILL)
    job = jobs.create(recipe_for(tmp_path))
    told = []
    jobs.run(job.id, workers=2, on_progress=told.append)
    assert (noted / point).exists()
    assert digest(tmp_path / "out.mp4") == wanted
    check_nothing_is_left(jobs, tmp_path, job.id, "out.mp4")
    done = {progress.stage: (progress.done, progress.total) for progress in told}
    assert done["analyse"] == done["render"] == done["merge"] == (20, 20)
    if point != "start":
        assert "its worker was lost: it was killed (SIGKILL), perhaps for lack of memory" in history(jobs, job.id)


def test_a_process_that_is_killed_while_it_has_nothing_to_do_costs_nothing(
    jobs, tmp_path, wanted, hook, pool_in_hand, recipe_for
):
    noted = hook(
        "join", "while not pathlib.Path(os.environ['PYTHONPATH'].split(os.pathsep)[0], 'killed').exists(): pass"
    )
    job = jobs.create(recipe_for(tmp_path))

    def kill():
        wait_until((noted / "join").exists)
        (busy,) = [item.owner for item in jobs.store.items(job.id) if item.status == "running"]
        for pid in pool_in_hand[0].pids:
            if f":{pid}:" not in busy:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        wait_until(lambda: not any(map(is_alive, killed)))
        (noted / "killed").touch()

    killed = []
    thread = threading.Thread(target=kill)
    thread.start()
    jobs.run(job.id, workers=2)
    thread.join()
    assert len(killed) == 1
    assert digest(tmp_path / "out.mp4") == wanted
    assert "lost" not in history(jobs, job.id)


def test_all_processes_killed_at_once_cost_a_try(jobs, tmp_path, wanted, hook, pool_in_hand, recipe_for):
    noted = hook("render", STOP, "always")
    job = jobs.create(recipe_for(tmp_path))

    def kill():
        def running():
            return [i for i in jobs.store.items(job.id) if i.stage == "render" and i.status == "running"]

        wait_until(lambda: len(running()) == 2)
        wait_until((noted / "render").exists)
        (noted / "sitecustomize.py").write_text("")  # those that come after are good
        killed.extend(pool_in_hand[0].pids)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killed = []
    thread = threading.Thread(target=kill)
    thread.start()
    jobs.run(job.id, workers=2)
    thread.join()
    assert len(killed) == 2
    assert digest(tmp_path / "out.mp4") == wanted
    assert history(jobs, job.id).count("its worker was lost: it was killed (SIGKILL)") == 2
    check_nothing_is_left(jobs, tmp_path, job.id, "out.mp4")


@pytest.mark.parametrize("action", [STOP, "stop_with_the_lock()"])
def test_a_process_that_is_stopped_is_found_and_replaced(jobs, tmp_path, wanted, hook, monkeypatch, action, recipe_for):
    monkeypatch.setattr(pools, "SILENT_S", 5.0)  # a busy machine may make others silent too: they have tries enough
    noted = hook("render", action)
    job = jobs.create(recipe_for(tmp_path), max_attempts=50)
    jobs.run(job.id, workers=2)
    assert (noted / "render").exists()
    assert digest(tmp_path / "out.mp4") == wanted
    assert "gave no sign of life" in history(jobs, job.id)
    check_nothing_is_left(jobs, tmp_path, job.id, "out.mp4")


def test_processes_that_die_whenever_they_start_end_in_one_error(jobs, tmp_path, wanted, hook, recipe_for):
    noted = hook("start", "os._exit(3)", "always")
    recipe = recipe_for(tmp_path)
    job = jobs.create(recipe)
    with pytest.raises(SegmentFailed) as caught:
        jobs.run(job.id, workers=2)
    text = r"analyse [01] cannot be begun: its process ended with exit code 3, 5 times on end"
    assert re.search(text, caught.value.message)
    assert f"facefusion jobs resume {job.id}" in caught.value.hint
    assert jobs.store.get(job.id).status == "failed"
    check_nothing_is_left(jobs, tmp_path, job.id)
    (noted / "sitecustomize.py").write_text("")
    jobs.run(jobs.create(recipe).id, workers=2)
    assert digest(tmp_path / "out.mp4") == wanted


def test_a_part_that_kills_every_process_is_put_aside(jobs, tmp_path, hook, recipe_for):
    hook("render", ABORT, "always")
    job = jobs.create(recipe_for(tmp_path), max_attempts=2)
    with pytest.raises(
        SegmentFailed, match=r"failed 2 times: its worker was lost: it was killed \(SIGABRT\)"
    ) as caught:
        jobs.run(job.id, workers=2)
    assert f"facefusion jobs resume {job.id}" in caught.value.hint
    assert jobs.store.get(job.id).status == "failed"
    check_nothing_is_left(jobs, tmp_path, job.id)


FAULTS = [
    ("MemoryError()", OutOfMemory, "There is not enough memory"),
    ("OSError(12, 'Cannot allocate memory')", OutOfMemory, "There is not enough memory"),
    ("RuntimeError('boom')", Fault, "RuntimeError: boom"),
    ("KeyError('boom')", Fault, "KeyError: 'boom'"),
]


def shown_by(command, tmp_path, *words):
    """What a command on jobs prints."""
    done = subprocess.run(
        [sys.executable, "-m", "facefusion", "jobs", command, *words, "--jobs-path", str(tmp_path / "jobs")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("error", "kind", "text"), FAULTS)
@pytest.mark.parametrize("workers", [1, 2])
def test_what_nobody_expected_is_an_error_of_ours_with_the_job_kept(
    jobs, tmp_path, hook, monkeypatch, workers, error, kind, text, recipe_for
):
    def breaks(*_):
        raise eval(error)

    hook("render", f"fail({error})", "always")
    monkeypatch.setattr(Worker, "_render", breaks)
    job = jobs.create(recipe_for(tmp_path, segment_s=5.0, end_s=2.0), max_attempts=2)
    with pytest.raises(kind) as caught:
        jobs.run(job.id, workers=workers)
    assert text in caught.value.message
    assert f"Job {job.id} is kept: facefusion jobs resume {job.id}" in caught.value.hint
    stored = jobs.store.get(job.id)
    assert stored.status == "failed"
    assert "render 0 failed 2 times" in stored.error
    assert text in stored.error
    if kind is OutOfMemory:
        assert "--workers" in caught.value.hint
    else:
        assert ".py:" in caught.value.message
        assert "Traceback" in stored.failure.trace
        assert caught.value.trace == stored.failure.trace
        told = [shown_by("show", tmp_path, job.id, *more) for more in ((), ("--debug",))]
        assert ["Traceback" in text for text in told] == [False, True]
        assert all("failed" in text and "render 0 failed 2 times" in text for text in told)
    check_nothing_is_left(jobs, tmp_path, job.id)


def test_a_fault_that_passes_costs_a_try(jobs, tmp_path, wanted, hook, recipe_for):
    hook("render", "fail(RuntimeError('boom'))")
    job = jobs.create(recipe_for(tmp_path))
    jobs.run(job.id, workers=2)
    assert digest(tmp_path / "out.mp4") == wanted
    assert "RuntimeError: boom" in history(jobs, job.id)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_of_the_run_itself_is_an_error_of_ours(jobs, tmp_path, wanted, monkeypatch, workers, recipe_for):
    def breaks(*_):
        raise ValueError("nobody knows")

    recipe = recipe_for(tmp_path)
    job = jobs.create(recipe)
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "wait", breaks)
        patch.setattr(Worker, "perform", breaks)
        with pytest.raises(Fault, match="ValueError: nobody knows") as caught:
            jobs.run(job.id, workers=workers)
    assert f"facefusion jobs resume {job.id}" in caught.value.hint
    assert jobs.store.get(job.id).status == "failed"
    assert "nobody knows" in jobs.store.get(job.id).error
    check_nothing_is_left(jobs, tmp_path, job.id)
    jobs.run(job.id, workers=workers)
    assert digest(tmp_path / "out.mp4") == wanted


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_what_a_caller_raises_stops_the_job_and_comes_out_as_it_is(jobs, tmp_path, wanted, workers, kind, recipe_for):
    def complain(progress):
        if progress.stage == "render":
            raise kind

    recipe = recipe_for(tmp_path)
    job = jobs.create(recipe)
    with pytest.raises(kind):
        jobs.run(job.id, workers=workers, on_progress=complain)
    check_nothing_is_left(jobs, tmp_path, job.id)
    jobs.run(jobs.create(recipe).id, workers=workers)
    assert digest(tmp_path / "out.mp4") == wanted


def test_ctrl_c_leaves_nothing_running(jobs, tmp_path, wanted, monkeypatch, recipe_for):
    recipe = recipe_for(tmp_path)
    job = jobs.create(recipe)
    wait = Pool.wait

    def interrupted(self, timeout_s):
        found = wait(self, timeout_s)
        if any(item.stage == "render" and item.status == "running" for item in jobs.store.items(job.id)):
            pids.extend(self.pids)
            raise KeyboardInterrupt
        return found

    pids = []
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            jobs.run(job.id, workers=2)
    assert pids
    assert not any(map(is_alive, pids))
    check_nothing_is_left(jobs, tmp_path, job.id)
    for told in (shown_by("list", tmp_path), shown_by("show", tmp_path, job.id)):
        assert f"{job.id}  stopped" in told
        assert f"goes on with: facefusion jobs resume {job.id}" in told
    with take(tmp_path / "jobs" / "locks" / job.id):  # as somebody has it who goes on with it
        assert f"{job.id}  running" in shown_by("list", tmp_path)
    assert {item.attempts for item in jobs.store.items(job.id) if item.stage == "render"} <= {0, 1}
    jobs.run(job.id, workers=2)
    assert digest(tmp_path / "out.mp4") == wanted


def test_a_run_that_is_killed_leaves_no_process_and_goes_on(jobs, tmp_path, clip, wanted, hook):
    noted = hook("render", STOP)  # one of its processes cannot even notice
    command = [
        sys.executable, "-m", "facefusion", "run", "-s", str(sample_path("source.jpg")), "-t",
        str(clip), "-o", str(tmp_path / "out.mp4"), "--segment-length", "2",
        "--output-video-preset", "ultrafast", "--workers", "2", "--jobs-path", str(tmp_path / "jobs"), "--quiet",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    wait_until(lambda: (noted / "render").exists() or process.poll() is not None)
    family = children_of(process.pid)
    assert len(family) >= 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_alive, family)))
    subprocess.run(command, check=True)
    assert digest(tmp_path / "out.mp4") == wanted
    assert [stored.key for stored in jobs.storage.list() if not stored.key.endswith(".lock")] == []
