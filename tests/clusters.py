"""A cluster in a folder, for tests that need no server, and a small request for it."""

from __future__ import annotations

from pathlib import Path

from facefusion.recipe import Recipe, build_recipe
from facefusion.service.backend import Backend
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path


def make_backend(folder: Path) -> Backend:
    """Its broker is in the memory of each process: what is sent from one is offered again by a worker's sweeper."""
    return Backend(
        folder / "jobs", store_url=f"sqlite:///{folder}/store.db", broker="memory://",
        storage_url=(folder / "shared").as_uri(),
    )  # fmt: skip


def small_request(folder: Path, output: Path, name: str = "a", frame_count: int = 4) -> Recipe:
    """A clip of a few frames without a face, which is made where it is missing."""
    clip = folder / f"{name}.mp4"
    if not clip.exists():
        make_clip(clip, pts=[k * 512 for k in range(frame_count)])
    return build_recipe({
        "source_paths": [sample_path("source.jpg")], "target_path": clip, "output_path": output, "allow_empty": True,
    })  # fmt: skip
