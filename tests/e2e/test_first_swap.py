"""What a newcomer types, as it stands in examples/first_swap.sh."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE_S
from tests.servers import need

from facefusion.media.probe import probe
from facefusion.testing.fakes import sample_path

ROOT = Path(__file__).resolve().parents[2]


def test_a_newcomer_starts_the_service_opens_the_page_and_swaps_a_face(tmp_path):
    need("curl")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "facefusion"  # of this checkout, as an installation would put it there
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m facefusion "$@"\n')
    command.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("FACEFUSION_")}
    own = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PORT": str(port), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "first_swap.sh"), str(tmp_path / "made")], env={**outside, **own},
        capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<title>FaceFusion" in done.stdout
    made, target = probe(tmp_path / "made" / "swapped.mp4"), probe(sample_path("target.mp4"))
    assert (made.width, made.height, made.duration_s) == (target.width, target.height, target.duration_s)
    assert (tmp_path / "made" / "swapped.mp4").read_bytes() != sample_path("target.mp4").read_bytes()
