"""With ``--log-format json`` everything that a worker or a service writes is lines of JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.patience import PATIENCE_S, wait_until
from tests.servers import Redis


@pytest.mark.parametrize("command", ["worker", "serve"])
def test_all_that_is_written_is_json(command, tmp_path):
    redis = Redis(tmp_path / "redis")
    redis.start()
    words = [
        sys.executable, "-m", "facefusion", command, "--log-format", "json", "--jobs-path", str(tmp_path / "jobs"),
        "--broker", redis.url, "--storage", (tmp_path / "files").as_uri(),
        "--job-store", f"sqlite:///{tmp_path / 'jobs.db'}", *(["--port", "0"] if command == "serve" else []),
    ]  # fmt: skip
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, env=dict(os.environ))
    try:

        def text():
            return (tmp_path / "out").read_text() + (tmp_path / "err").read_text()

        wait_until(lambda: "is ready" in text() or "answers" in text() or process.poll() is not None, text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, text()
    finally:
        process.kill()
        process.wait()
        redis.stop()
    lines = [json.loads(line) for line in text().splitlines()]
    assert {"level", "message"} <= set.intersection(*map(set, lines))
    told = " ".join(line["message"] for line in lines)
    assert "--uid" not in told
    if command == "worker" and os.geteuid() == 0:
        assert "runs as root" in told
