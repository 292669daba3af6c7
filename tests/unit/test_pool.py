"""Processes over pipes: tasks, deaths, silence, and a parent that goes."""

from __future__ import annotations

import errno
import multiprocessing.context
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import hands
from tests.patience import wait_until

import facefusion
from facefusion.errors import JobError, OutOfMemory
from facefusion.jobs import pool as pools
from facefusion.jobs.pool import Done, Gone, Pool, describe_end

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")


@pytest.fixture
def pool(tmp_path):
    with Pool(2, hands.hire, tmp_path) as made:
        yield made


def events(pool, count):
    """So many events, whatever else is going on."""
    found = []
    wait_until(lambda: found.extend(pool.wait(0.05)) or len(found) >= count, lambda: str(found))
    assert len(found) == count
    return found


def begun(tmp_path, *names):
    wait_until(lambda: all((tmp_path / f"begun {name}").exists() for name in names))


def test_tasks_are_done_by_as_many_processes_as_there_are_places(pool, tmp_path):
    assert pool.room == 2
    pool.give("work", "a")
    pool.give("note", "b")
    (done,) = events(pool, 1)
    assert done == Done(done.owner, ("note", "b"))
    pool.give("note", "c")
    events(pool, 1)
    assert (tmp_path / "done b").read_text() == (tmp_path / "done c").read_text()  # the same process
    assert pool.tasks == [("work", "a")]
    assert len(pool.pids) == 2
    begun(tmp_path, "a")


def test_a_process_is_only_started_when_there_is_something_to_do(pool, tmp_path):
    assert pool.pids == []
    pool.give("note", "a")
    events(pool, 1)
    assert len(pool.pids) == 1


@pytest.mark.parametrize(
    ("word", "how"),
    [("kill", "was killed (SIGKILL), perhaps for lack of memory"), ("exit", "ended with exit code 3")],
)
def test_a_process_that_dies_is_told_of_with_its_task_and_replaced_in_its_place(pool, tmp_path, word, how):
    pool.give("work", "other")
    pool.give(word, "a")
    (gone,) = events(pool, 1)
    assert gone == Gone(gone.owner, (word, "a"), how)
    assert gone.owner.startswith("1:")
    pool.give("note", "b")
    assert isinstance(events(pool, 1)[0], Done)
    place, pid = (tmp_path / "done b").read_text().split()
    assert place == "1"
    assert pid != gone.owner.split(":")[1]


def test_a_process_that_is_killed_while_idle_is_replaced_when_it_is_needed(pool, tmp_path):
    pool.give("note", "a")
    events(pool, 1)
    os.kill(pool.pids[0], signal.SIGKILL)
    (gone,) = events(pool, 1)
    assert gone.task is None
    pool.give("note", "b")
    assert events(pool, 1)[0].task == ("note", "b")


def test_all_processes_may_die_at_once(pool, tmp_path):
    pool.give("work", "a")
    pool.give("work", "b")
    begun(tmp_path, "a", "b")
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    assert {event.task[1] for event in events(pool, 2)} == {"a", "b"}
    pool.give("note", "c")
    assert isinstance(events(pool, 1)[0], Done)


def test_a_process_that_cannot_begin_says_why(tmp_path):
    with Pool(1, hands.refuse, tmp_path) as pool:
        pool.give("note", "a")
        (gone,) = events(pool, 1)
    assert gone.owner == ""
    assert "could not begin: " in gone.how
    assert "OSError: place 0 is wet" in gone.how


@pytest.mark.parametrize(
    ("word", "code", "text"),
    [("raise", "fault", "RuntimeError: boom"), ("memory", "out_of_memory", "memory"), ("leave", "fault", "SystemExit")],
)
def test_what_a_task_raises_is_told_and_the_process_goes_on(pool, tmp_path, word, code, text):
    pool.give(word, "a")
    (done,) = events(pool, 1)
    assert done.told["code"] == code
    assert text in done.told["message"]
    pid = pool.pids[0]
    pool.give("note", "b")
    events(pool, 1)
    assert pool.pids == [pid]


def test_a_process_that_was_stopped_is_found_by_its_silence(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "SILENT_S", 2.0)
    with Pool(1, hands.hire, tmp_path) as pool:
        pool.give("pause", "a")
        (gone,) = events(pool, 1)
        assert gone.task == ("pause", "a")
        assert "gave no sign of life" in gone.how
        assert pool.pids == []


def test_a_process_that_hangs_is_found_although_its_heart_beats(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "IDLE_S", 3.0)
    pool.give("hang", "a")
    (gone,) = events(pool, 1)
    assert gone.task == ("hang", "a")
    assert "did nothing for" in gone.how


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_nobody_is_blamed_for_the_time_in_which_the_parent_was_not_there(tmp_path):
    clock = Clock()
    pool = Pool(1, hands.hire, tmp_path, clock)  # it is looked after by hand
    try:
        pool.give("pause", "a")
        begun(tmp_path, "a")
        pool.look()
        for _ in range(10):  # a machine that sleeps ten times for a day
            clock.now += 86400
            pool.look()
        assert len(pool.pids) == 1
        clock.now -= 86400  # no clock should, but if it does
        pool.look()
        assert len(pool.pids) == 1
        for _ in range(int(2 * pools.SILENT_S)):
            clock.now += 0.9
            pool.look()
        assert pool.pids == []
        assert "gave no sign of life" in pool.wait(0)[0].how
    finally:
        pool.stop()


def test_a_process_that_gets_on_is_never_taken_to_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "IDLE_S", pools.SILENT_S)
    clock = Clock()
    pool = Pool(1, hands.hire, tmp_path, clock)
    try:
        pool.give("work", "a")
        begun(tmp_path, "a")
        for _ in range(4):
            for _ in range(int(pools.SILENT_S) - 2):
                clock.now += 0.9
                pool.look()
            heard = pool._children[0].worked_at
            wait_until(lambda heard=heard: pool.look() or pool._children[0].worked_at > heard)
        assert clock.now > 3 * pools.IDLE_S
        assert len(pool.pids) == 1
    finally:
        pool.stop()


def test_the_end_of_the_pool_is_the_end_of_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "STOP_S", 2.0)
    with Pool(3, hands.hire, tmp_path) as pool:
        for name, word in (("a", "work"), ("b", "hang"), ("c", "pause")):
            pool.give(word, name)
        begun(tmp_path, "a", "b", "c")
        pids = pool.pids
    assert len(pids) == 3
    assert not any(map(hands.is_alive, pids))
    assert len(list(tmp_path.glob("closed *"))) >= 1  # the one that could put its things away


def test_an_error_in_the_parent_is_the_end_of_its_processes_too(tmp_path):
    with pytest.raises(KeyboardInterrupt), Pool(1, hands.hire, tmp_path) as pool:
        pool.give("work", "a")
        begun(tmp_path, "a")
        pids = pool.pids
        raise KeyboardInterrupt
    assert not any(map(hands.is_alive, pids))


def test_a_process_does_not_hear_what_a_terminal_sends_to_all(pool, tmp_path):
    pool.give("work", "a")
    for _ in range(20):  # while it starts, and afterwards
        os.kill(pool.pids[0], signal.SIGINT)
        time.sleep(0.02)
    begun(tmp_path, "a")
    os.kill(pool.pids[0], signal.SIGINT)
    pool.give("note", "b")
    assert events(pool, 1)[0].task == ("note", "b")
    assert pool.tasks == [("work", "a")]


def test_a_parent_that_is_killed_leaves_nobody(tmp_path):
    program = tmp_path / "parent.py"
    program.write_text(hands.PARENT)
    roots = [str(Path(facefusion.__file__).parents[1]), str(Path(hands.__file__).parents[1])]
    parent = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)], env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    )
    try:
        begun(tmp_path, "0", "1", "2")
        family = hands.children_of(parent.pid)
        assert len(family) >= 3
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(map(hands.is_alive, family)))


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOMEM, OutOfMemory), (errno.EAGAIN, JobError)])
def test_processes_that_cannot_be_started_are_said(pool, monkeypatch, number, kind):
    def fail(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", fail)
    with pytest.raises(kind) as caught:
        pool.give("note", "a")
    assert "--workers" in caught.value.hint
    assert pool.pids == []


def test_ends_of_processes_are_said_in_words():
    assert describe_end(0) == "ended with exit code 0"
    assert describe_end(-signal.SIGSEGV) == "was killed (SIGSEGV)"
    assert describe_end(-99) == "was killed (signal 99)"
    assert describe_end(None) == "ended"
