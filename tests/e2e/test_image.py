"""The image, run as users run it. `make image` builds it and says where (IMAGE_FOLDER); without that nothing runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.patience import wait_until

from facefusion.media.reader import ClipReader
from facefusion.testing.fakes import sample_path

IMAGE = "localhost/facefusion:test"
FOLDER = os.environ.get("IMAGE_FOLDER", "")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="THE IMAGE IS NOT TESTED: 'make image' builds it and runs these tests"
)
MOST_BYTES = 600e6
"""The goal (docs/container.md). Updates of Debian and of libraries may want it raised; it shall not grow unseen."""


def podman(*words: str, is_right: bool = True) -> subprocess.CompletedProcess[str]:
    storage = ["--root", f"{FOLDER}/root", "--runroot", f"{FOLDER}/rr", "--storage-driver", "vfs"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": f"{FOLDER}/xdg"}
    done = subprocess.run(
        ["podman", *storage, "--cgroup-manager", "cgroupfs", *words], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not is_right, done.stdout + done.stderr
    return done


def run(*words: str, is_right: bool = True) -> subprocess.CompletedProcess[str]:
    """`docker run`, with what this kind of machine needs (docs/container.md)."""
    how = ["--rm", "--no-healthcheck", "--runtime", "runc", *(() if "--network" in words else ("--network", "host"))]
    return podman("run", *how, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", *words, is_right=is_right)


@pytest.fixture
def folders(tmp_path: Path, few_frames: Path) -> list[str]:
    """Options that mount an input with the brief's names and an output of somebody's."""
    place = tmp_path / "files"
    for name in ("input", "output"):
        (place / name).mkdir(parents=True)
    (place / "input/source.jpg").write_bytes(sample_path("source.jpg").read_bytes())
    (place / "input/target.mp4").write_bytes(few_frames.read_bytes())
    for path in (tmp_path, tmp_path.parent, place, place / "input", *(place / "input").iterdir()):
        path.chmod(0o755)
    return ["-v", f"{place / 'input'}:/input:ro", "-v", f"{place / 'output'}:/output"]


def output_of(folders: list[str]) -> Path:
    return Path(folders[3].split(":")[0]) / "result.mp4"


BRIEF = ("--source", "/input/source.jpg", "--target", "/input/target.mp4", "--output", "/output/result.mp4")


@pytest.mark.parametrize("owner", [0, 1234])
def test_the_command_of_the_brief_leaves_a_file_of_whoever_has_the_folder(folders, owner):
    output = output_of(folders)
    os.chown(output.parent, owner, owner)
    run(*folders, IMAGE, *BRIEF)
    assert (output.stat().st_uid, output.stat().st_gid) == (owner, owner)
    changed = [frame.pixels for frame in ClipReader(output)]
    before = [frame.pixels for frame in ClipReader(Path(folders[1].split(":")[0]) / "target.mp4")]
    assert len(changed) == len(before)
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(changed, before, strict=True)) > 40


def test_a_user_of_ones_own_a_root_that_is_read_only_and_no_network(folders):
    output = output_of(folders)
    os.chown(output.parent, 4321, 4321)
    tight = ["--user", "4321:4321", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--network", "none"]
    run(*tight, *folders, IMAGE, *BRIEF)
    assert output.stat().st_uid == 4321


def test_nobody_works_with_the_powers_of_root(folders, tmp_path):
    # What stands in for the program says what the program would be.
    stand_in = tmp_path / "stand-in"
    stand_in.write_text("#!/bin/sh\nexec grep -E '^(Uid|Cap(Prm|Eff|Bnd)|NoNewPrivs)' /proc/self/status\n")
    stand_in.chmod(0o755)
    for owner in (0, 1234):
        os.chown(output_of(folders).parent, owner, owner)
        told = run(*folders, "-v", f"{stand_in}:/opt/facefusion/bin/facefusion:ro", IMAGE, "doctor").stdout
        found = dict(line.split(":", 1) for line in told.splitlines())
        assert found["Uid"].split() == [str(owner)] * 4
        assert {found[name].strip() for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
        assert found["NoNewPrivs"].strip() == "1"


def test_a_folder_that_cannot_be_written_is_said_in_a_line(folders):
    os.chown(output_of(folders).parent, 1234, 1234)
    done = run("--user", "4321:4321", *folders, IMAGE, *BRIEF, is_right=False)
    assert done.returncode == 5
    assert "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr


def test_other_commands_and_secrets_in_files_work(tmp_path):
    assert "doctor" in run(IMAGE, "--help").stdout
    assert run(IMAGE, "jobs", "list").stdout.strip() == "No jobs."
    secret = tmp_path / "store"
    secret.write_text("sqlite:////tmp/other.db\n")
    for path in (tmp_path, secret):
        path.chmod(0o755)
    mounted = ["-v", f"{secret}:/run/store:ro", "-e", "FACEFUSION_JOB_STORE_FILE=/run/store"]
    assert "sqlite:////tmp/other.db" in run(*mounted, IMAGE, "run", "--show-config").stdout
    done = run("-e", "FACEFUSION_JOB_STORE_FILE=/run/none", IMAGE, "jobs", "list", is_right=False)
    assert done.returncode == 2
    assert "/run/none" in done.stderr


def test_cuda_that_is_not_there_is_an_error_of_ours(folders):
    done = run(*folders, IMAGE, *BRIEF, "--execution-providers", "cuda", is_right=False)
    assert done.returncode == 6
    assert "cuda" in done.stderr
    assert not output_of(folders).exists()


def test_a_plain_start_serves_with_a_key_and_is_healthy_and_stops():
    port = "5731"
    name = f"facefusion-test-{os.getpid()}"
    run("-d", "--name", name, "-e", f"FACEFUSION_SERVER_PORT={port}", IMAGE)
    try:
        wait_until(lambda: podman("exec", name, "facefusion-health", is_right=False).returncode == 0 and is_up(port))
        key = podman("exec", name, "cat", "/data/first.key").stdout.strip()
        assert key.startswith("ff_")
        assert key not in podman("logs", name).stderr
        import httpx

        asked = httpx.get(f"http://127.0.0.1:{port}/v1/session", headers={"Authorization": f"Bearer {key}"})
        assert asked.status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/v1/session").status_code == 401
        # What is called inside by root acts as the same user.
        assert podman("exec", name, "facefusion", "keys", "list").stdout.count("first key") == 1
        unwell = podman("exec", "-e", "FACEFUSION_SERVER_PORT=1", name, "facefusion-health", is_right=False)
        assert unwell.returncode == 1
    finally:
        podman("stop", "-t", "60", name, is_right=False)


def is_up(port: str) -> bool:
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_it_has_not_grown_unseen():
    size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE).stdout)
    assert size <= MOST_BYTES, f"unpacked: {size / 1e6:.0f} MB"


def test_workers_find_all_that_their_program_loads_when_they_begin() -> None:
    run("--entrypoint", "/opt/facefusion/bin/python", IMAGE, "-c", "import celery.bin.celery")
