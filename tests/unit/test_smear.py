"""How far a face is smeared in a single frame."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.analyse.join import JoinOptions, join
from facefusion.analyse.smooth import smooth_smears
from facefusion.imaging.crops import move_face
from facefusion.imaging.smear import (
    NO_SPECTRUM,
    WIDTH,
    find_smear,
    measure_spectrum,
    smear_in_picture,
    smeared,
    usual_spectrum,
)
from facefusion.models.pose import estimate_poses
from facefusion.testing.fakes import make_mesh
from facefusion.types.observation import SPECTRUM, Observation, Sighting
from facefusion.types.topology import POINT_COUNT
from facefusion.types.track import Track, Tracks

MESH = make_mesh((200.0, 200.0), 90.0)
HEIGHT = float(np.hypot(*(MESH[152, :2] - MESH[10, :2])))


@pytest.fixture(scope="module")
def drawn():
    """Edges of all sizes and directions, as sharp as a lens shows them, with a little grain."""
    rng = np.random.default_rng(5)
    pixels = np.full((400, 400, 3), 150, np.uint8)
    for _ in range(400):
        centre, size = rng.integers(60, 340, 2).tolist(), rng.integers(3, 22, 2).tolist()
        colour = rng.integers(60, 240, 3).tolist()
        cv2.ellipse(pixels, centre, size, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 1.2)
    return lambda seen=pixels, seed=0: np.clip(
        seen + np.random.default_rng(seed).normal(0, 2, seen.shape), 0, 255
    ).astype(np.uint8)


def line(length, degrees):
    return length * np.cos(np.radians(degrees)), length * np.sin(np.radians(degrees))


def measured(pictures, mesh=MESH):
    return np.stack([measure_spectrum(picture, mesh) for picture in pictures])


def clip(drawn, smears, count=24):
    """Spectra of frames some of which are smeared, by frame."""
    frames = []
    for number in range(count):
        sharp = drawn(seed=number)
        frames.append(drawn(smeared(sharp, *smears[number]), seed=number) if number in smears else sharp)
    return measured(frames)


@pytest.mark.parametrize("degrees", [0, 35, 90, 140])
@pytest.mark.parametrize("share", [0.04, 0.08, 0.12])
@pytest.mark.parametrize("turn", [0, 25])
def test_the_line_of_a_smear_is_found(drawn, share, degrees, turn):
    middle = MESH[:, :2].mean(axis=0)
    around = cv2.getRotationMatrix2D(middle.astype(float).tolist(), -turn, 1.0)[:, :2].astype(np.float32)
    mesh = MESH.copy()
    mesh[:, :2] = (mesh[:, :2] - middle) @ around.T + middle
    usual = usual_spectrum(measured([drawn(seed=k) for k in range(10)], mesh))
    length = share * HEIGHT
    found = find_smear(measure_spectrum(drawn(smeared(drawn(), *line(length, degrees)), 3), mesh), usual)
    across, down, _ = smear_in_picture(found, found.surety)
    assert np.hypot(across, down) == pytest.approx(length, rel=0.15)
    away = (np.degrees(np.arctan2(down, across)) - degrees + 90) % 180 - 90
    assert abs(away) < 4


@pytest.mark.parametrize("share", [0.008, 0.015])
def test_a_moment_out_of_focus_is_no_line(drawn, share):
    usual = usual_spectrum(measured([drawn(seed=k) for k in range(10)]))
    soft = drawn(cv2.GaussianBlur(drawn(), (0, 0), share * HEIGHT), 3)
    found = find_smear(measure_spectrum(soft, MESH), usual)
    across, down, sigma = smear_in_picture(found, found.surety)
    assert (across, down) == (0, 0)
    assert sigma == pytest.approx(share * HEIGHT, rel=0.25)


def test_a_face_that_is_as_sharp_as_it_usually_is_has_none(drawn):
    assert smooth_smears(np.arange(24), clip(drawn, {})) is None
    # Nor has one whose light changes, or whose whole shot is soft.
    dim = [np.clip(drawn(seed=k) * (0.6 + 0.4 * (k % 3) / 2), 0, 255).astype(np.uint8) for k in range(24)]
    assert smooth_smears(np.arange(24), measured(dim)) is None
    assert smooth_smears(np.arange(24), clip(drawn, dict.fromkeys(range(24), (14.0, 3.0)))) is None


def test_a_smeared_moment_is_told_frame_by_frame_and_its_sign_does_not_jump(drawn):
    lines = {number: line(14.0 + number % 2, 90 + 3 * (number - 11)) for number in range(9, 14)}
    found = smooth_smears(np.arange(24), clip(drawn, lines))
    lengths = np.hypot(*found[:, :2].T)
    assert np.flatnonzero(lengths).tolist() == list(range(9, 14))
    assert (lengths[10:13] > 12).all()
    assert (found[10:14, :2] * found[9:13, :2]).sum(axis=1).min() > 0
    # What lies in one frame alone may be anything.
    alone = smooth_smears(np.arange(24), clip(drawn, {12: line(14.0, 90)}))
    assert alone is None or np.hypot(*alone[12, :2]) < 3


def test_small_faces_and_those_out_of_sight_are_not_measured(drawn):
    for mesh in (make_mesh((200.0, 200.0), 15.0), MESH + np.float32([300, 0, 0])):
        assert not measure_spectrum(drawn(), mesh).any()
    assert SPECTRUM == WIDTH == len(NO_SPECTRUM)
    assert usual_spectrum(measured([drawn()] * 3)) is None
    assert smooth_smears(np.arange(3), np.zeros((3, WIDTH), np.float16)) is None


def test_a_picture_is_smeared_by_less_than_a_pixel_too():
    pixels = np.zeros((41, 41, 3), np.uint8)
    pixels[:, 20:] = 200
    assert smeared(pixels, 0.3, 0.2) is pixels
    assert np.array_equal(smeared(pixels, 0.0, 9.0), pixels)
    before = pixels.astype(float)
    steps = []
    for length in np.arange(0.6, 9, 0.1):
        soft = smeared(pixels, float(length), 0.0).astype(float)
        edge = np.diff(soft[20, :, 0])
        middle = (np.arange(40) * edge).sum() / 200
        assert middle == pytest.approx(19, abs=0.05)  # nothing is moved
        spread = ((np.arange(40) - middle) ** 2 * edge).sum() / 200
        assert spread == pytest.approx(length**2 / 12, rel=0.1, abs=0.2)
        steps.append(np.abs(soft - before).mean())
        before = soft
    assert max(steps) < 2.5


def sighting(rows, spectra):
    n = len(rows)
    return Sighting(
        np.array(rows), np.stack([MESH] * n), np.ones(n, np.float32),
        np.zeros((n, POINT_COUNT, 2), np.float16), np.ones((n, POINT_COUNT), np.float16),
        np.array([k > 0 for k in range(n)]), np.zeros(0, np.int64), np.zeros((0, 68, 2), np.float32),
        np.zeros(0, np.float32), np.array(rows[::6]), np.tile(np.float32([1.5, 2]), (len(rows[::6]), 1)),
        np.zeros(0, np.float32), np.zeros((0, 0), np.float32), spectra=spectra,
    )  # fmt: skip


def observation(first, spectra, is_last):
    count = len(spectra)
    cuts = np.array([0] if first == 0 else [], np.int64)
    pts = np.arange(first, first + count)
    return Observation(400, 400, Fraction(1, 25), pts, cuts, not is_last, (sighting(range(count), spectra),))


def test_two_parts_tell_what_one_tells_and_files_keep_it(drawn, tmp_path):
    lines = {number: line(15.0, 60) for number in range(14, 19)}
    spectra = clip(drawn, lines, 30)
    (whole,) = join([observation(0, spectra, True)], JoinOptions()).tracks
    parts = [observation(0, spectra[:17], False), observation(16, spectra[16:], True)]
    for number, part in enumerate(parts):
        part.save(tmp_path / f"{number}")
    parts = [Observation.load(tmp_path / f"{number}") for number in range(2)]
    (joined,) = join(parts, JoinOptions(), {}, tmp_path / "t").tracks
    assert np.flatnonzero(np.hypot(*whole.smears[:, :2].T)).tolist() == list(range(14, 19))
    np.testing.assert_array_equal(joined.smears, whole.smears)
    # Where it is smeared nobody asks how sharp the shot is, and rows between two sightings take it from the nearer one.
    gone = [k for k in range(30) if k not in (16, 17)]
    one = sighting(range(30), spectra)
    columns = ("frames", "meshes", "scores", "motions", "trusts", "is_moved", "spectra")
    finishes = np.where(one.finish_frames[:, None] == 18, np.float32([9, 2]), one.finishes)
    one = replace(one, **{name: getattr(one, name)[gone] for name in columns}, finishes=finishes)
    seen = Observation(400, 400, Fraction(1, 25), np.arange(30), np.array([0]), False, (one,))
    (bridged,) = join([seen], JoinOptions()).tracks
    np.testing.assert_array_equal(bridged.smears[16:18], bridged.smears[[15, 18]])
    np.testing.assert_allclose(bridged.finishes[:, 0], 1.5)


def track_with(smears):
    meshes = np.repeat(MESH[None], len(smears), axis=0)
    rows = np.arange(len(smears))
    return Track(0, rows, meshes, np.ones(len(smears), np.float32), estimate_poses(meshes), smears=smears)


def test_smears_go_through_files_sizes_and_spans(tmp_path):
    track = track_with(np.array([[0, 0, 0], [3, 4, 1], [0, 0, 0], [0, 0, 2]], np.float32))
    tracks = Tracks(400, 400, Fraction(1, 25), np.arange(4), (track,), {}, np.array([0]))
    tracks.save(tmp_path / "t.tracks")
    (again,) = Tracks.load(tmp_path / "t.tracks").tracks
    np.testing.assert_array_equal(again.smears, track.smears)
    assert again.face(0).smear is None
    assert again.face(1).smear.tolist() == [3, 4, 1]
    np.testing.assert_allclose(again.scaled(0.5).smears, track.smears / 2)
    np.testing.assert_array_equal(again.within(1, 3).smears, track.smears[1:3])
    turned = move_face(again.face(1), np.array([[0, -2, 5], [2, 0, 7]], np.float32))
    np.testing.assert_allclose(turned.smear, [-8, 6, 2])
    # Those of earlier versions have none.
    replace(tracks, tracks=(replace(track, smears=None),)).save(tmp_path / "old.tracks")
    (old,) = Tracks.load(tmp_path / "old.tracks").tracks
    assert old.smears is None
    assert old.scaled(2.0).face(1).smear is None
    with pytest.raises(ValueError, match="smears"):
        track_with(np.zeros((4, 2), np.float32))
