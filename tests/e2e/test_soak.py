"""Many processes at once in one jobs folder: each ends right to the byte or with one clear line; nothing is left."""

from __future__ import annotations

from tests.soak import make_clips, render_alone, run_round

KINDS = [
    "run", "twice", "same output", "library", "threads", "batch", "list", "sweep", "cancel", "delete", "resume",
]  # fmt: skip


def test_many_processes_at_once_lose_nothing_and_leave_nothing(tmp_path):
    (tmp_path / "clips").mkdir()
    clips = make_clips(tmp_path / "clips", 2)
    wanted = render_alone(clips, tmp_path)
    report = run_round(tmp_path / "round", clips, wanted, 0, KINDS, ["kill", "kill", "stop"], within_s=12)
    assert not report.faults, "\n".join(report.faults)
