"""Who owns which file: by locks that go with their process."""

from __future__ import annotations

import errno
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

from facefusion import workplace
from facefusion.errors import OutputRefused
from facefusion.workplace import Workplace, clear_dead, is_held, make_folder, place_of, take
from facefusion.writing import delivery

HOLDER = """
import sys, time
from pathlib import Path
from facefusion.workplace import Workplace
place = Workplace(Path(sys.argv[1]), sys.argv[2])
(place.folder / "half").write_text("x")
(place.beside(Path(sys.argv[3])) / "big").write_text("x")
print("there", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder():
    made = []

    def start(base, name, output):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(base), name, str(output)], stdout=subprocess.PIPE, text=True
        )
        made.append(process)
        assert process.stdout.readline() == "there\n"
        return process

    yield start
    for process in made:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_is_had_by_one_at_a_time_among_threads_too(tmp_path):
    path = tmp_path / "locks" / "a"
    with take(path) as lock:
        assert lock is not None
        assert take(path) is None
        found = []
        thread = threading.Thread(target=lambda: found.append(take(path)))
        thread.start()
        thread.join()
        assert found == [None]
        assert is_held(path)
    assert not is_held(path)


def test_who_waits_for_a_lock_whose_file_is_taken_away_does_not_get_the_file_that_is_gone(tmp_path):
    path = tmp_path / "locks" / "a"
    lock = take(path)
    got = []
    waiting = threading.Thread(target=lambda: got.append(take(path, patience_s=PATIENCE_S)))
    waiting.start()
    while not waiting.is_alive():
        pass
    lock.release(is_removing=True)
    waiting.join()
    assert got[0] is not None
    assert path.exists()
    assert take(path) is None  # a third one must not find another file
    got[0].release()


def _count_holders(path: str, rounds: int, found) -> None:
    for _ in range(rounds):
        lock = take(Path(path), patience_s=PATIENCE_S)
        with found.get_lock():
            found.value += 1
        assert found.value == 1
        with found.get_lock():
            found.value -= 1
        lock.release(is_removing=True)


def test_locks_that_take_their_file_away_are_never_had_by_two(tmp_path):
    context = multiprocessing.get_context("spawn")
    found = context.Value("i", 0)
    processes = [context.Process(target=_count_holders, args=(str(tmp_path / "a"), 60, found)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_what_lives_is_left_alone_and_what_is_dead_is_taken_away_with_all_it_made(tmp_path, holder):
    base = tmp_path / "work"
    living = holder(base, "living", tmp_path / "a.mp4")
    dead = holder(base, "dead", tmp_path / "b.mp4")
    stopped = holder(base, "stopped", tmp_path / "c.mp4")
    stopped.send_signal(signal.SIGSTOP)
    assert clear_dead(base) == 0
    assert len(list(tmp_path.glob(".facefusion-*"))) == 3
    dead.kill()
    dead.wait()
    (base / "without a lock").mkdir()
    assert clear_dead(base) == 2
    assert len(list(tmp_path.glob(".facefusion-*"))) == 2
    assert (base / "living" / "half").exists() and (base / "stopped" / "half").exists()
    for process in (living, stopped):
        process.kill()
        process.wait()
    assert clear_dead(base) == 2
    assert list(base.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]


INNER = """
import sys, time
from pathlib import Path
from facefusion.workplace import Workplace
place = Workplace(Path(sys.argv[1]), "outer")
inner = Workplace(place.folder / "jobs" / ".work", "inner")
(inner.beside(Path(sys.argv[2])) / "big").write_text("x")
print("there", flush=True)
time.sleep(600)
"""


def test_what_a_working_folder_in_another_one_made_goes_with_it_when_both_are_dead(tmp_path):
    base = tmp_path / "work"
    process = subprocess.Popen(
        [sys.executable, "-c", INNER, str(base), str(tmp_path / "a.mp4")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout.readline()
        assert clear_dead(base) == 0
        process.kill()
    assert len(list(tmp_path.glob(".facefusion-*"))) == 1
    with take(base / "outer" / "jobs" / ".work" / "inner.lock"):  # as a process of its pool has it that still lives
        assert clear_dead(base) == 0
    assert len(list(tmp_path.glob(".facefusion-*"))) == 1
    assert clear_dead(base) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert list(base.iterdir()) == []


def test_only_what_is_recorded_and_ours_by_its_name_is_taken_away(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "dear").write_text("x")
    folder = tmp_path / "work" / "dead"
    folder.mkdir(parents=True)
    link = tmp_path / ".facefusion-0123456789abcdef"
    link.symlink_to(victim)
    (folder / "made").write_text(f'"{victim}"\n"{link}"\n"{tmp_path}/.facefusion-0123456789abcdef/.."\nnonsense\n')
    (tmp_path / "work" / "planted").symlink_to(victim)
    (tmp_path / "work" / "linked.lock").symlink_to(victim / "dear")
    clear_dead(tmp_path / "work")
    assert (victim / "dear").read_text() == "x"
    assert not folder.exists()
    assert not (tmp_path / "work" / "planted").is_symlink()


def test_links_in_place_of_a_lock_or_its_folder_are_refused(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "a").symlink_to(tmp_path / "precious")
    with pytest.raises(OutputRefused, match="is a link, which is not followed"):
        take(tmp_path / "locks" / "a")
    (tmp_path / "other").symlink_to(tmp_path / "locks")
    with pytest.raises(OutputRefused, match="is a link, which is not followed"):
        make_folder(tmp_path / "other")
    assert (tmp_path / "precious").read_text() == "x"


def test_folders_are_for_their_owner_alone(tmp_path):
    with Workplace(tmp_path / "work") as place:
        beside = place.beside(tmp_path / "a.mp4")
        for folder in (tmp_path / "work", place.folder, beside):
            assert folder.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "work").iterdir()) == []
    assert not beside.exists()


def test_an_output_is_delivered_whole_or_not_at_all_and_through_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "o.mp4").write_text("old")
    (tmp_path / "real" / "o.mp4").chmod(0o640)
    (tmp_path / "o.mp4").symlink_to(tmp_path / "real" / "o.mp4")
    with Workplace(tmp_path / "work") as place:
        with pytest.raises(OutputRefused) as caught, delivery(place, tmp_path / "o.mp4") as made:
            made.write_text("half")
            raise OutputRefused(f"There is no room left for {made}.")
        assert caught.value.message == f"There is no room left for {tmp_path / 'o.mp4'}."
        assert (tmp_path / "o.mp4").read_text() == "old"
        with delivery(place, tmp_path / "o.mp4") as made:
            made.write_text("new")
    assert (tmp_path / "o.mp4").is_symlink()
    assert (tmp_path / "real" / "o.mp4").read_text() == "new"
    assert (tmp_path / "real" / "o.mp4").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["o.mp4"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_full_or_broken_disk_is_said_in_our_words(tmp_path, monkeypatch, number):
    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", fails)
    with pytest.raises(OutputRefused):
        Workplace(tmp_path / "work")
    monkeypatch.undo()
    with Workplace(tmp_path / "work") as place:
        monkeypatch.setattr(Path, "open", fails)
        with pytest.raises(OutputRefused, match=r"a\.mp4"):
            place.beside(tmp_path / "a.mp4")
        monkeypatch.undo()
        monkeypatch.setattr(workplace.FileLock, "acquire", fails)
        with pytest.raises(OutputRefused):
            take(tmp_path / "lock")
        monkeypatch.undo()


def test_a_home_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(workplace.tempfile, "gettempdir", lambda: str(tmp_path))
    with workplace.user_workplace() as place:
        assert place.folder.is_relative_to(tmp_path)


def test_whatever_a_user_left_is_cleared_and_nothing_of_another_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(workplace.tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    for base in (workplace.user_base(), workplace.cache_base()):
        (base / "dead").mkdir()
    assert workplace.clear_user() == 2
    assert list(workplace.user_base().iterdir()) == list(workplace.cache_base().iterdir()) == []
    if hasattr(os, "getuid"):
        (workplace.cache_base() / "dead").mkdir()
        place = workplace.cache_base()
        monkeypatch.setattr(os, "getuid", lambda: -1)
        monkeypatch.setattr(workplace, "_cache_path", lambda: place)
        monkeypatch.setattr(workplace, "user_base", lambda: tmp_path / "none")
        assert workplace.clear_user() == 0
        assert (place / "dead").exists()


def test_a_place_has_one_name_for_all_who_reach_it(tmp_path, monkeypatch):
    """Containers of one machine, and machines that mount one address, by whatever paths."""

    def name(table, path, boot="b1"):
        texts = {"/proc/self/mountinfo": table, "/proc/sys/kernel/random/boot_id": f"{boot}\n"}
        monkeypatch.setattr(Path, "read_text", lambda self, **_: texts[str(self)])
        return place_of(Path(path))

    here = "22 1 254:0 / / rw - ext4 /dev/vda rw\n23 22 0:9 / /proc rw - proc proc rw\n"
    inside = "40 1 0:50 / / rw - overlay overlay rw\n41 40 254:0 /srv/a\\040b /out rw - ext4 /dev/vda rw\n"
    assert name(here, "/srv/a b/o.mp4") == name(inside, "/out/o.mp4") == "b1 254:0:/srv/a b/o.mp4"
    assert name(here, "/srv/a b/o.mp4") != name(here, "/srv/a b/o.mp4", "b2")  # another machine's disk
    assert name(inside, "/o.mp4") != name(inside.replace("0:50", "0:51"), "/o.mp4")
    far = "22 1 254:0 / / rw - ext4 /dev/vda rw\n23 22 0:30 {} {} rw shared:1 - nfs4 nas:{} rw\n"
    assert (
        name(far.format("/", "/films", "/export"), "/films/x/o.mp4")
        == name(far.format("/", "/mnt/y", "/export/x"), "/mnt/y/o.mp4", "b2")
        == name(far.format("/x", "/z", "/export"), "/z/o.mp4", "b3")
        == "nas:/export/x/o.mp4"
    )
    own = "22 1 254:0 / / rw - ext4 /dev/vda rw\n23 22 0:31 / /m rw - fuse.mergerfs /a:/b rw\n"
    assert name(own, "/m/o.mp4") != name(own, "/m/o.mp4", "b2")


def test_a_place_is_told_by_machine_and_path_where_the_system_has_no_table_of_mounts(tmp_path, monkeypatch):
    def missing(self, **_):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    assert place_of(tmp_path / "o.mp4") == f"{platform.node()}:{os.path.realpath(tmp_path)}/o.mp4"
