"""How the command ends: readers that go away, signals, faults, folders that are gone. Never with a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

import facefusion

RUN = [sys.executable, "-m", "facefusion"]


def run(words, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S, **options)


def shell(script: str, folder: Path, **values: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FF": f"{sys.executable} -m facefusion", **{k: str(v) for k, v in values.items()}}
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )


WITH_SOURCES = {**os.environ, "PYTHONPATH": str(Path(facefusion.__file__).parents[1])}


@pytest.mark.skipif(os.name == "nt", reason="pipes of a shell")
def test_a_reader_that_goes_away_ends_nothing_but_the_printing(tmp_path, source_photo, target_photo):
    done = shell('$FF models list | head -1; echo "${PIPESTATUS[0]}"', tmp_path)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"
    done = shell(
        '$FF -s "$S" -t "$T" -o o.png --json | true; echo "${PIPESTATUS[0]}"', tmp_path, S=source_photo, T=target_photo
    )
    assert done.stderr == ""
    assert done.stdout == "0\n"
    assert (tmp_path / "o.png").is_file()


@pytest.mark.skipif(os.name == "nt", reason="descriptors of a shell")
def test_streams_that_are_closed_or_full_do_not_harm_the_work(tmp_path, source_photo, target_photo):
    done = shell('$FF -s "$S" -t "$T" -o o.png <&- >&- 2>&-; exit $?', tmp_path, S=source_photo, T=target_photo)
    assert done.returncode == 0
    assert (tmp_path / "o.png").is_file()
    if Path("/dev/full").exists():
        done = shell("$FF models list > /dev/full; exit $?", tmp_path)
        assert done.returncode == 5
        assert done.stderr.splitlines() == ["facefusion: Standard output cannot be written: No space left on device."]


def interrupted(words, marker: str, number: signal.Signals, times: int = 1) -> tuple[int, list[str]]:
    """Send a signal when a module begins to be imported; exit code, and what was said."""
    said = []
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "facefusion", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if marker in line and times:
                for _ in range(times):
                    process.send_signal(number)
                times = 0
            if not line.startswith("import time:"):
                said.append(line.rstrip())
    assert times == 0, "it never came so far"
    return process.returncode, [line for line in said if line]


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("marker", ["pydantic_core", "numpy", "onnxruntime"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_while_modules_are_loaded_ends_with_one_line(
    tmp_path, source_photo, target_photo, number, marker, times
):
    words = ("-s", source_photo, "-t", target_photo, "-o", tmp_path / "o.png", "--quiet")
    code, said = interrupted(words, marker, number, times)
    assert code == 130
    assert said == ["facefusion: Stopped; nothing was written."]
    assert list(tmp_path.iterdir()) == []


def heed_all() -> None:
    """What runs in the background, or under nohup, ignores signals, and so does what it starts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_signal_before_the_first_module_is_loaded_ends_with_one_line(tmp_path, number, more):
    """`facefusion.apps.stopping` itself takes a moment; the signal comes when it begins to be loaded."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, os, sys\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'facefusion.apps':\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "facefusion", "jobs", "list", *more], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths},
        preexec_fn=heed_all,
    )  # fmt: skip
    assert done.returncode == 130
    if more:
        assert json.loads(done.stdout)["code"] == "stopped"
        assert done.stderr == ""
    else:
        assert (done.stdout, done.stderr) == ("", "facefusion: Stopped; nothing was written.\n")


def test_loading_the_package_loads_nothing_that_takes_long():
    code = "import sys; before = set(sys.modules); import facefusion; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=WITH_SOURCES)
    assert done.stdout.split() == ["__future__", "facefusion", "facefusion.version"]


STOP_IN_THE_MIDDLE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by all that is started too
from facefusion.apps import show
def progress(self, progress):
    for _ in range({times}):
        os.kill(os.getpid(), signal.{name})
show.Show.progress = progress
from facefusion.__main__ import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_during_the_work_ends_with_one_line(tmp_path, source_photo, target_photo, name, times):
    words = ["-s", str(source_photo), "-t", str(target_photo), "-o", str(tmp_path / "o.png")]
    script = STOP_IN_THE_MIDDLE.format(name=name, times=times)
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words, "--quiet", *more], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 130, done.stderr
        assert list(tmp_path.iterdir()) == []
        if more:
            assert done.stderr == ""
            assert json.loads(done.stdout.splitlines()[-1])["code"] == "stopped"
        else:
            (line,) = done.stderr.splitlines()
            assert line.startswith("facefusion: Stopped; run the same command again to go on")


FAULT = """
import sys
from facefusion.jobs import prepare
def broken(*_, **__):
    raise {error}
prepare.{place} = broken
from facefusion.__main__ import main
main()
"""


@pytest.fixture
def faulty(tmp_path, source_photo, target_photo):
    """Runs the command with an error in its middle."""

    def call(error: str, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        words = ["-s", str(source_photo), "-t", str(target_photo), "-o", str(tmp_path / "o.png"), "--quiet"]
        return subprocess.run(
            [sys.executable, "-c", FAULT.format(error=error, place="check_faces"), *words, *more],
            capture_output=True, text=True, timeout=PATIENCE_S,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), **variables},
        )  # fmt: skip

    return call


@pytest.mark.parametrize(
    "error", ["KeyError('SECRET')", "RecursionError('SECRET')", "ValueError('SECRET')", "Exception()"]
)
def test_a_fault_is_told_in_plain_words_with_a_log(tmp_path, source_photo, faulty, error):
    done = faulty(error)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"facefusion: This is a fault of ours: {error.split('(')[0]}")
    assert len(lines) == 2
    (log,) = (tmp_path / "state" / "facefusion" / "faults").iterdir()
    assert str(log) in lines[1]
    text = log.read_text()
    assert "prepare.py" in text
    assert "SECRET" not in text + done.stderr or error.startswith("Recursion")  # a RuntimeError's words are a program's
    assert source_photo.name not in text
    assert log.stat().st_mode & 0o077 == 0 or os.name == "nt"
    assert not (tmp_path / "o.png").exists()


def test_a_fault_is_shown_whole_to_those_who_mend_it_and_as_an_event_to_programs(tmp_path, faulty):
    error = "KeyError('SECRET')"
    for shown in (faulty(error, "--debug"), faulty(error, FACEFUSION_DEBUG="1")):
        assert shown.returncode == 1
        assert "Traceback" in shown.stderr
    event = json.loads(faulty(error, "--json").stdout)
    assert (event["event"], event["code"]) == ("error", "fault")
    assert Path(event["log"]).is_file()
    assert not (tmp_path / "o.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_again_ends_what_does_not_end(tmp_path, source_photo, target_photo):
    script = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from facefusion.jobs import prepare\n"
        "def stuck(*_, **__):\n"
        "    try:\n"
        "        print('stuck', flush=True)\n"
        "        time.sleep(600)\n"
        "    finally: time.sleep(600)\n"
        "prepare.check_faces = stuck\n"
        "from facefusion.__main__ import main\n"
        "main()"
    )
    words = ["-s", str(source_photo), "-t", str(target_photo), "-o", str(tmp_path / "o.png"), "--quiet"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "stuck\n"
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.returncode == 130
        assert len(process.stderr.read().splitlines()) == 1


@pytest.mark.parametrize("number", ["ENOSPC", "EACCES", "EMFILE"])
def test_a_full_disk_and_lack_of_rights_are_no_fault_wherever_they_come_up(
    tmp_path, source_photo, target_photo, number
):
    words = ["-s", str(source_photo), "-t", str(target_photo), "-o", str(tmp_path / "o.png"), "--quiet"]
    error = f"OSError(__import__('errno').{number}, 'no', 'somewhere.db')"
    script = FAULT.format(error=error, place="check_faces")
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 5
    assert "somewhere.db" in done.stderr
    assert "fault" not in done.stderr


def test_lack_of_memory_is_no_fault(tmp_path, source_photo, target_photo):
    words = ["-s", str(source_photo), "-t", str(target_photo), "-o", str(tmp_path / "o.png"), "--quiet"]
    script = FAULT.format(error="MemoryError()", place="check_faces")
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 9
    assert "There is not enough memory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_tells_the_job_and_how_to_go_on(tmp_path, source_photo, target_clip):
    script = (
        "from facefusion.jobs.local import LocalJobs\n"
        "def broken(*_, **__): raise KeyError('x')\n"
        "LocalJobs.run = broken\n"
        "from facefusion.__main__ import main\n"
        "main()"
    )
    words = ["-s", str(source_photo), "-t", str(target_clip), "-o", str(tmp_path / "o.mp4"), "--end", "0.2", "--json"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["job"]
    assert event["job_status"] == "stopped"
    assert f"facefusion jobs resume {event['job']}" in event["hint"]


def test_the_library_raises_nothing_foreign(tmp_path, monkeypatch, source_photo, target_photo):
    from facefusion import FaceFusionError, build_recipe
    from facefusion import run as library_run
    from facefusion.jobs import prepare

    recipe = build_recipe(
        {"source_paths": [source_photo], "target_path": target_photo, "output_path": tmp_path / "o.png"}
    )

    def broken(*_: object, **__: object) -> None:
        raise KeyError("x")

    class Mine(Exception):
        pass

    def of_the_caller(progress: object) -> None:
        raise Mine

    with pytest.raises(Mine):
        library_run(recipe, of_the_caller)
    monkeypatch.setattr(prepare, "check_faces", broken)
    with pytest.raises(FaceFusionError) as told:
        library_run(recipe)
    assert told.value.code == "fault"
    assert isinstance(told.value.__cause__, KeyError)


@pytest.mark.skipif(os.name == "nt", reason="a folder in use cannot be removed there")
def test_a_working_folder_that_is_gone(tmp_path, source_photo, target_photo):
    script = 'mkdir gone; cd gone; rmdir ../gone; $FF -s "$S" -t "$T" -o {}; exit $?'
    done = shell(script.format('"$O"'), tmp_path, S=source_photo, T=target_photo, O=tmp_path / "o.png")
    assert done.returncode == 0, done.stderr
    done = shell(script.format("o.png"), tmp_path, S=source_photo, T=target_photo)
    assert done.returncode == 2
    assert "working folder is gone" in done.stderr
    assert "Traceback" not in done.stderr


def test_usage_errors_are_events_too(tmp_path):
    for words in (
        ["rnu", "--json"],
        ["run", "--nothing", "--json"],
        ["run", "--faces", "--json"],
        ["jobs", "fly", "--json"],
    ):
        done = run(words, cwd=tmp_path)
        assert done.returncode == 2
        assert json.loads(done.stdout)["event"] == "error"
        assert done.stderr == ""
