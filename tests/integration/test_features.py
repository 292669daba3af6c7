"""What a closer look at eyes and mouth sees: lids, irises, lips, each as a picture shows them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import facefusion
from facefusion.analysers.landmarkers.embedded import EmbeddedLandmarker
from facefusion.imaging.align import detection_crop, mesh_crop
from facefusion.media.image import read_photo
from facefusion.models.face_shape import lid_gap
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.pipeline.runner import build_analyser
from facefusion.plugins.protocols import CloserLook
from facefusion.recipe import Recipe
from facefusion.types.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

SAMPLES = Path(facefusion.__file__).parent / "samples"


@pytest.fixture(scope="module")
def analyser():
    return build_analyser(Recipe())


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_photo(SAMPLES / "target.jpg").pixels


def mesh_of(analyser, pixels: np.ndarray) -> np.ndarray:
    (face,) = analyser.find_faces(pixels)
    return face.mesh


def with_lid(pixels: np.ndarray, mesh: np.ndarray, ring) -> np.ndarray:
    """An eye under its lid: skin, and a dark line where it ends."""
    out, inside = pixels.copy(), np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(mesh[list(ring), :2]).astype(np.int32)], 1)
    x, y = mesh[list(ring), :2].mean(axis=0).astype(int)
    skin = np.median(out[y + 28 :, x - 8 :][:16, :16], axis=(0, 1))
    out[cv2.dilate(inside, np.ones((5, 5), np.uint8)) > 0] = skin
    lower = np.round(mesh[[ring[0], *ring[:8:-1], ring[8]], :2] * 16).astype(np.int32)
    cv2.polylines(out, [lower], False, (40, 25, 20), 3, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(out, (0, 0), 0.7)


def lip_gap(mesh: np.ndarray) -> float:
    """How far lips are apart in the middle, eye distances."""
    gaps = np.linalg.norm(mesh[[82, 13, 312], :2] - mesh[[87, 14, 317], :2], axis=1)
    return float(gaps.mean() / np.linalg.norm(mesh[RIGHT_IRIS] - mesh[LEFT_IRIS]))


@pytest.mark.parametrize("shut", [(LEFT_EYE,), (RIGHT_EYE,), (LEFT_EYE, RIGHT_EYE)])
def test_lids_that_are_down_are_seen_each_by_itself(analyser, photo, shut):
    mesh = mesh_of(analyser, photo)
    pixels = photo
    for ring in shut:
        pixels = with_lid(pixels, mesh, ring)
    seen = mesh_of(analyser, pixels)
    for ring in (LEFT_EYE, RIGHT_EYE):
        share = lid_gap(seen, ring)[0] / lid_gap(mesh, ring)[0]
        assert share < 0.4 if ring in shut else share > 0.8


def test_irises_are_where_the_picture_shows_them(analyser, photo):
    mesh = mesh_of(analyser, photo)
    scale = float(np.linalg.norm(mesh[RIGHT_IRIS] - mesh[LEFT_IRIS]))
    found = []
    for aside in (-0.05, 0.0, 0.05):
        pixels = photo.copy()
        for ring in (LEFT_EYE, RIGHT_EYE):
            inside, disc = (np.zeros(photo.shape[:2], np.uint8) for _ in range(2))
            cv2.fillPoly(inside, [np.round(mesh[list(ring), :2]).astype(np.int32)], 1)
            x, y = mesh[[ring[0], ring[8]], :2].mean(axis=0)
            cv2.circle(disc, (round(float(x) + aside * scale), round(float(y)) - 1), round(0.09 * scale), 1, -1)
            pixels[inside > 0] = (215, 210, 205)
            pixels[(inside > 0) & (disc > 0)] = (60, 45, 38)
        seen = mesh_of(analyser, cv2.GaussianBlur(pixels, (0, 0), 0.8))
        corners = seen[[LEFT_EYE[0], LEFT_EYE[8], RIGHT_EYE[0], RIGHT_EYE[8]], 0]
        found.append(float((seen[[LEFT_IRIS, RIGHT_IRIS], 0].mean() - corners.mean()) / scale))
    assert found[0] + 0.025 < found[1] < found[2] - 0.025


def test_a_mouth_that_opens_is_seen_to(analyser, photo):
    mesh = mesh_of(analyser, photo)
    x, y = mesh[[61, 291], 0], mesh[[13, 14], 1].mean()
    rows, columns = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    across = np.clip(1 - ((columns - x.mean()) / (np.ptp(x) / 2)) ** 2, 0, 1)
    gaps = []
    for open_px in (0, 12, 24):
        gap = open_px * across
        down = np.clip((rows - y) / np.maximum(gap, 1e-3), 0, 1)
        moved = cv2.remap(photo, columns, (rows - gap * (rows > y) * down).astype(np.float32), cv2.INTER_LINEAR)
        inside = (rows > y) & (rows < y + gap)
        moved[inside] = (48, 18, 20)
        gaps.append(lip_gap(mesh_of(analyser, cv2.GaussianBlur(moved, (0, 0), 0.8))))
    assert gaps[0] < 0.05
    assert gaps[0] + 0.04 < gaps[1] < gaps[2] - 0.04


def test_a_mirrored_picture_has_the_mirrored_mesh(analyser, photo):
    mesh = mesh_of(analyser, photo)
    landmarker = analyser._landmarker
    assert isinstance(landmarker, CloserLook)
    (one,) = landmarker.look_closer(photo, [mesh])
    flip = load_mesh_topology().flip
    other = mesh[flip] * [-1, 1, 1] + [photo.shape[1] - 1, 0, 0]
    (back,) = landmarker.look_closer(np.ascontiguousarray(photo[:, ::-1]), [other.astype(np.float32)])
    back = back[flip] * [-1, 1, 1] + [photo.shape[1] - 1, 0, 0]
    eyes = [*LEFT_EYE, *RIGHT_EYE, LEFT_IRIS, RIGHT_IRIS]
    np.testing.assert_allclose(back[eyes], one[eyes], atol=0.1)
    # The mouth has no other side that it could be looked at as.
    np.testing.assert_allclose(back[:468], one[:468], atol=4.0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_the_border_cuts_off_is_not_made_up(analyser, photo, side):
    mesh = mesh_of(analyser, photo)
    box = mesh[:468].min(axis=0), mesh[:468].max(axis=0)
    at = int(box[0][0] + 0.38 * (box[1][0] - box[0][0]))
    cut = np.ascontiguousarray(photo[:, at:] if side == "left" else photo[:, : photo.shape[1] - at])
    seen = mesh - np.float32([at if side == "left" else 0, 0, 0])
    landmarker = analyser._landmarker
    whole, part = landmarker.look_closer(photo, [mesh])[0], landmarker.look_closer(cut, [seen])[0]
    gone, kept = (LEFT_EYE, RIGHT_EYE) if side == "left" else (RIGHT_EYE, LEFT_EYE)
    np.testing.assert_array_equal(part[list(gone)], seen[list(gone)])
    np.testing.assert_allclose(part[list(kept)] - seen[list(kept)], whole[list(kept)] - mesh[list(kept)], atol=0.5)


def test_faces_too_small_to_look_closer_at_stay_as_they_are(analyser, photo):
    landmarker = analyser._landmarker
    assert isinstance(landmarker, EmbeddedLandmarker)
    mesh = mesh_of(analyser, photo)
    small = (mesh * np.float32(20 / np.ptp(mesh[:468, 1]))).astype(np.float32)
    before = mesh.copy()
    first, second = landmarker.look_closer(photo, [small, mesh])
    np.testing.assert_array_equal(first, small)
    np.testing.assert_array_equal(mesh, before)
    assert second.shape == mesh.shape and not np.array_equal(second, mesh)
    assert landmarker.look_closer(photo, []) == []


def test_lids_gaze_and_lips_of_people_held_out_agree_with_their_labels(analyser, shared):
    shards = sorted((shared / "facepack").glob("faces_*.npz"))
    labels, found = [], []
    for path in shards:
        shard = dict(np.load(path).items())
        held = np.flatnonzero((shard["ident"] % 7 == 3) & (shard["flip_nme"] < 0.02))[::3]
        for k in held:
            coded = shard["jpg"][shard["off"][k] : shard["off"][k + 1]]
            pixels = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
            box = np.concatenate([shard["box"][k, :2], shard["box"][k, :2] + shard["box"][k, 2:]])
            ((mesh, _),) = analyser._look(pixels, [detection_crop(box, shard["kps"][k], 128)])
            ((mesh, _),) = analyser._look(pixels, [mesh_crop(mesh, 128)], is_mirrored_too=True)
            labels.append(what_it_does(shard["lm"][k]))
            found.append(what_it_does(mesh))
    assert len(labels) > 60
    lids, gaze, lips = (
        float(np.corrcoef(a, b)[0, 1]) for a, b in zip(np.transpose(labels), np.transpose(found), strict=True)
    )
    # Without the closer look these are 0.4, 0.0 and 0.84.
    assert lids > 0.88 and gaze > 0.75 and lips > 0.9


def what_it_does(mesh: np.ndarray) -> tuple[float, float, float]:
    """Opening of the lids, direction of the gaze, opening of the lips."""
    lids = np.mean([lid_gap(mesh, ring)[0] for ring in (LEFT_EYE, RIGHT_EYE)])
    gaze = []
    for ring, iris in ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS)):
        along = mesh[ring[8], :2] - mesh[ring[0], :2]
        gaze.append(float((mesh[iris, :2] - mesh[ring[0], :2]) @ along / (along @ along)) * np.sign(along[0]))
    return float(lids), float(np.mean(gaze)), lip_gap(mesh)


def test_no_network_of_ours_gives_what_depends_on_no_picture():
    """Runtimes other than the CPU's refuse outputs that are constants."""
    import onnx

    for path in sorted((Path(facefusion.__file__).parent / "models/embedded").glob("*.onnx")):
        graph = onnx.load(path).graph
        depending = {value.name for value in graph.input}
        for node in graph.node:
            if depending.intersection(node.input):
                depending.update(node.output)
        assert {value.name for value in graph.output} <= depending, path.name
