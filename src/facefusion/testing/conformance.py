"""What every engine must hold to. Plug-in authors call these from their own tests, as ours do."""

from __future__ import annotations

import numpy as np

from facefusion.plugins.protocols import Detector, FaceProcessor, Landmarker
from facefusion.render.renderer import cut_out
from facefusion.testing.fakes import make_face
from facefusion.types.crop import SourceFace
from facefusion.types.sources import Sources
from facefusion.types.topology import POINT_COUNT


def check_detector(detector: Detector) -> None:
    """A detector takes pictures of any size, changes none, and reports faces best first."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((1, 1, 3), (37, 211, 3), (480, 640, 3))]
    before = [picture.copy() for picture in pictures]
    found = detector.detect(pictures)
    assert len(found) == len(pictures), "one list of faces for each picture"
    for picture, copy in zip(pictures, before, strict=True):
        assert np.array_equal(picture, copy), "a detector must not write into its input"
    for faces in found:
        scores = [face.score for face in faces]
        assert scores == sorted(scores, reverse=True), "faces must come best first"
        for face in faces:
            assert face.box.shape == (4,)
            assert face.points.shape == (5, 2)
            assert 0 <= face.score <= 1


def check_landmarker(landmarker: Landmarker) -> None:
    """A landmarker returns one mesh and one score for each crop, and does not mix them up."""
    rng = np.random.default_rng(0)
    size = landmarker.crop_size
    crops = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(3)]
    meshes, scores = landmarker.landmark(crops)
    assert meshes.shape == (3, POINT_COUNT, 3)
    assert scores.shape == (3,)
    assert ((scores >= 0) & (scores <= 1)).all()
    alone, _ = landmarker.landmark(crops[1:2])
    np.testing.assert_allclose(alone[0], meshes[1], atol=0.05)


def check_face_processor(processor: FaceProcessor) -> None:
    """A processor keeps size and place of a crop, answers with alpha in range, and gives the same twice."""
    rng = np.random.default_rng(0)
    photo = rng.integers(60, 200, (256, 256, 3), dtype=np.uint8)
    face = make_face(centre=(128.0, 128.0), eye_distance=60.0)
    processor.prepare(Sources([SourceFace(photo, face)]))
    frame = rng.integers(60, 200, (240, 320, 3), dtype=np.uint8)
    crop = cut_out(frame, make_face(centre=(150.0, 120.0), eye_distance=40.0, yaw=20.0), processor.crop_shape)
    before = crop.pixels.copy()
    first, second = processor.process([crop, crop])
    assert np.array_equal(crop.pixels, before), "a processor must not write into its input"
    assert first.pixels.shape == crop.pixels.shape
    assert first.alpha.shape == crop.pixels.shape[:2]
    assert np.array_equal(first.crop_from_frame, crop.crop_from_frame)
    assert float(first.alpha.min()) >= 0
    assert float(first.alpha.max()) <= 1
    assert np.array_equal(first.pixels, second.pixels), "the same crop must give the same result"
