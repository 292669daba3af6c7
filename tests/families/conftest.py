import warnings
from pathlib import Path

import numpy as np
import pytest

from facefusion.models.session import SessionCache
from facefusion.models.store import UnknownHashWarning
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe
from facefusion.testing.fakes import make_face
from facefusion.types.crop import SourceFace


class Zoo:
    """A models folder with tiny graphs, and engines built from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions = SessionCache()

    def put(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def context(self, **options) -> EngineContext:
        recipe = Recipe(models_paths=(str(self.folder),), licences="any", **{"face_mask_types": ("box",), **options})
        return EngineContext(recipe, sessions=self.sessions)

    def build(self, capability: str, model: str, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnknownHashWarning)
            return build_engine(capability, model, self.context(**options))


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "models"
    folder.mkdir()
    return Zoo(folder)


@pytest.fixture
def plain_source():
    """A source photo of one colour: R 200, G 100, B 50."""
    pixels = np.empty((256, 256, 3), np.uint8)
    pixels[:] = (200, 100, 50)
    return SourceFace(pixels, make_face(centre=(128.0, 128.0), eye_distance=60.0))
