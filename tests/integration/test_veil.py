"""Haze, fades and lost contrast: the new face has them as the picture has."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facefusion.declaration import Step
from facefusion.imaging.crops import cut_native
from facefusion.imaging.light import to_lab, to_linear, to_srgb
from facefusion.imaging.resample import decode
from facefusion.imaging.veil import SURE, Veil, find_veil, measure_black
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.plugins.protocols import EngineContext
from facefusion.processors.face_swapper.fusion import build_fusion
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.recipe import Recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face, Pose

AIR = np.array([0.75, 0.78, 0.82], np.float32)


def haze(share):
    return lambda pixels: to_srgb(to_linear(pixels) * share + (1 - share) * AIR)


def levels(factor, black):
    return lambda pixels: np.clip(pixels * factor + 255 * np.array(black) + 0.5, 0, 255).astype(np.uint8)


VEILS = {
    "haze": haze(0.5),
    "dense haze": haze(0.25),
    "half faded to white": levels(0.5, 0.5),
    "nearly faded to white": levels(0.25, 0.75),
    "low contrast": levels(0.4, 0.35),
    "faded print": levels(0.55, (0.34, 0.28, 0.2)),
}


@pytest.fixture(scope="module")
def swappers(analyser):
    """Without and with the search for a veil, on one source."""
    pixels = read_photo(sample_path("source.jpg")).pixels
    source = SourceFace(pixels, analyser.find_faces(pixels)[0])
    fusion = build_fusion(EngineContext(Recipe(), step=Step("face_swapper")))
    made = [MeshSwapper(fusion=fusion, has_veil=has_veil) for has_veil in (False, True)]
    for swapper in made:
        swapper.prepare([source])
    return made


def target(analyser):
    """The sample with black in it, as nearly every picture has: an average of many people has no dark pupils."""
    pixels = read_photo(sample_path("target.jpg")).pixels.astype(np.float32)
    deep = np.clip((pixels - 38) * (255 / 217), 0, 255)
    return deep.astype(np.uint8), analyser.find_faces(deep.astype(np.uint8))[0]


def swap(swapper, pixels, face):
    crop = cut_native(pixels, replace(face, black=measure_black(pixels, face.mesh)), 0.14)
    (done,) = swapper.process([crop])
    alpha = done.alpha[..., None]
    return (crop.pixels * (1 - alpha) + done.pixels * alpha + 0.5).astype(np.uint8), done.alpha > 0.5


def difference(one, other, where):
    return float(np.linalg.norm(to_lab(one) - to_lab(other), axis=-1)[where].mean())


@pytest.mark.parametrize("name", VEILS)
def test_a_veil_before_the_swap_is_a_veil_after_it(analyser, swappers, name):
    pixels, face = target(analyser)
    veil = VEILS[name]
    distances = []
    for swapper in swappers:
        clear, where = swap(swapper, pixels, face)
        distances.append(difference(swap(swapper, veil(pixels), face)[0], veil(clear), where))
    assert distances[1] < 0.5 * distances[0]
    assert distances[1] < 1.6


def test_a_picture_without_a_veil_does_not_change_at_all(analyser, swappers):
    pixels, face = target(analyser)
    for kind in (lambda p: p, levels(0.4, 0), lambda p: cv2.GaussianBlur(p, (0, 0), 3.0)):  # dark and soft ones too
        one, other = (swap(swapper, kind(pixels), face)[0] for swapper in swappers)
        assert np.array_equal(one, other)


def test_sunglasses_dark_skin_and_grey_pictures_are_no_haze(analyser):
    pixels, face = target(analyser)
    glasses = pixels.copy()
    for ring in (slice(33, 34), slice(263, 264)):
        x, y = face.mesh[ring, :2][0].astype(int)
        cv2.circle(glasses, (int(x + np.sign(256 - x) * 25), int(y)), 34, (14, 13, 12), -1)
    dark = (pixels.astype(np.float32) * (0.35, 0.28, 0.25)).astype(np.uint8)
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    for picture in (glasses, dark, grey):
        crop = cut_native(picture, face, 0.14)
        assert find_veil(crop.pixels, crop.face.mesh) is None


def test_something_black_near_by_tells_that_pale_brows_are_no_haze(analyser):
    pixels, face = target(analyser)
    pale = levels(0.6, 0.3)(pixels)
    crop = cut_native(pale, face, 0.14)
    assert find_veil(crop.pixels, crop.face.mesh, measure_black(pale, face.mesh)) is not None
    pale[-90:, 60:-60] = 6  # a black coat
    assert find_veil(crop.pixels, crop.face.mesh, measure_black(pale, face.mesh)) is None


def test_a_source_loses_its_own_haze(analyser):
    pixels, face = target(analyser)
    goal = decode(load_synthetic_faces()[3].jpeg)
    on = Face(load_synthetic_faces()[3].mesh, 1.0, Pose(0, 0, 0))
    results = []
    for picture, has_veil in ((pixels, True), (haze(0.4)(pixels), True), (haze(0.4)(pixels), False)):
        swapper = MeshSwapper(has_veil=has_veil)
        swapper.prepare([SourceFace(picture, face)])
        results.append(swap(swapper, goal, on))
    where = results[0][1]
    cleared, hazy = (difference(result, results[0][0], where) for result, _ in results[1:])
    assert cleared < 0.5 * hazy
    crop = cut_native(pixels, face, 0.14)
    assert find_veil(crop.pixels, crop.face.mesh, None, SURE) is None


@pytest.mark.parametrize("light", [(0.02, 0.02, 0.02), (0.3, 0.25, 0.2), (0.9, 0.9, 0.9)])
def test_lifting_a_veil_undoes_laying_it(light, rng):
    pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    veil = Veil(np.array(light, np.float32))
    laid = veil.lay(pixels)
    assert laid.min() >= 20
    steps = 255 / np.ptp(laid, axis=(0, 1)).min()  # bytes that one byte under the veil stands for
    assert np.abs(veil.lift(laid).astype(int) - pixels).max() <= 2 * steps + 1


def test_a_fade_from_white_is_followed_frame_by_frame(analyser, swappers):
    frames = [frame for frame, _ in zip(ClipReader(sample_path("target.mp4")), range(14), strict=False)]
    pixels = [levels(255 / 225, -30 / 225)(frame.pixels) for frame in frames]
    track = analyser.analyse(replace(f, pixels=p) for f, p in zip(frames, pixels, strict=True)).tracks[0]
    away, light = [], []
    for number, picture in enumerate(pixels):
        share = 0.15 + 0.85 * number / (len(pixels) - 1)
        veil = levels(share, 1 - share)
        face = track.face(track.find(number))
        clear, where = swap(swappers[1], picture, face)
        after, _ = swap(swappers[1], veil(picture), face)
        away.append(difference(after, veil(clear), where))
        light.append(float(to_lab(after)[where][:, 0].mean() - to_lab(veil(clear))[where][:, 0].mean()))
    assert max(away) < 2.5
    assert np.abs(np.diff(light)).max() < 1.0  # nothing jumps where the veil begins to count


def test_pass_one_measures_the_darkest_in_every_frame(analyser):
    frames = [frame for frame, _ in zip(ClipReader(sample_path("target.mp4")), range(8), strict=False)]
    veiled = [replace(frame, pixels=levels(1 - 0.08 * k, 0.08 * k)(frame.pixels)) for k, frame in enumerate(frames)]
    track = analyser.analyse(veiled).tracks[0]
    assert (np.diff(track.blacks.mean(axis=1)) > 0).all()
    for frame, row in zip(veiled, range(8), strict=True):
        np.testing.assert_allclose(track.blacks[row], measure_black(frame.pixels, track.meshes[row]), rtol=0.2)


def test_the_case_of_a_faded_photo(shared, analyser, swappers):
    pixels = read_photo(shared / "cases" / "low_contrast_faded_photo.png").pixels
    face = analyser.find_faces(pixels)[0]
    crop = cut_native(pixels, face, 0.14)
    outputs = [swap(swapper, pixels, face) for swapper in swappers]
    light = [to_lab(picture)[..., 0][where] for picture, where in ((crop.pixels, outputs[0][1]), *outputs)]
    spread, before, after = (float(np.ptp(np.quantile(values, (0.01, 0.99)))) for values in light)
    assert after < 1.3 * spread < before
    # Nothing is darker than the darkest of the photo.
    assert np.quantile(light[2], 0.01) > to_lab(crop.pixels)[..., 0].min() - 1
