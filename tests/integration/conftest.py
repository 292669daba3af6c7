"""The people of the packaged samples, found once."""

import numpy as np
import pytest
from PIL import Image

from facefusion import Swapper
from facefusion.media.image import read_photo
from facefusion.testing.fakes import sample_path
from facefusion.types.crop import SourceFace


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """The packaged photo, half as large."""
    return np.asarray(Image.open(sample_path("target.jpg")).resize((256, 256)))


@pytest.fixture(scope="module")
def swapper() -> Swapper:
    return Swapper(sample_path("source.jpg"))


@pytest.fixture(scope="session")
def source(source_photo, analyser) -> SourceFace:
    pixels = read_photo(source_photo).pixels
    return SourceFace(pixels, analyser.find_faces(pixels)[0])


@pytest.fixture(scope="session")
def target(target_photo, analyser) -> SourceFace:
    pixels = read_photo(target_photo).pixels
    return SourceFace(pixels, analyser.find_faces(pixels)[0])
