"""The people of the packaged samples, found once."""

import pytest

from facefusion.media.image import read_photo
from facefusion.types.crop import SourceFace


@pytest.fixture(scope="session")
def source(source_photo, analyser) -> SourceFace:
    pixels = read_photo(source_photo).pixels
    return SourceFace(pixels, analyser.find_faces(pixels)[0])


@pytest.fixture(scope="session")
def target(target_photo, analyser) -> SourceFace:
    pixels = read_photo(target_photo).pixels
    return SourceFace(pixels, analyser.find_faces(pixels)[0])
