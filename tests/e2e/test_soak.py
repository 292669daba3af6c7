"""Many processes at once, with faults: each ends right to the byte or with one clear line; nothing is left."""

from __future__ import annotations

from tests.soak import make_scene, run_round

KINDS = [
    "run", "twice", "same output", "library", "threads", "batch", "workers", "hide", "photo", "hidden photo", "clock",
    "full disk", "full disk photo", "replaced", "replaced photo", "list", "sweep", "cancel", "delete", "resume",
]  # fmt: skip
STRIKES = ["kill", "kill", "stop", "kill child", "stop child", "replace", "replace", "replace"]


def test_many_processes_at_once_lose_nothing_show_nobody_and_leave_nothing(tmp_path):
    scene = make_scene(tmp_path / "scene", 2)
    report = run_round(tmp_path / "round", scene, 0, KINDS, STRIKES)
    assert not report.faults, "\n".join(report.faults)
