"""A moment that is smeared by motion, from pass 1 to the output."""

from dataclasses import replace

import numpy as np
import pytest

from facefusion.analyse.causal import CausalTracker
from facefusion.imaging.crops import cut_native
from facefusion.imaging.light import mean_of_channels
from facefusion.imaging.smear import smeared
from facefusion.media.reader import ClipReader
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import Frame

BLURRED, LINE = range(10, 15), (6.0, 17.0)


@pytest.fixture(scope="module")
def frames():
    return [frame for frame, _ in zip(ClipReader(sample_path("target.mp4")), range(24), strict=False)]


@pytest.fixture(scope="module")
def smeared_frames(frames):
    return [replace(f, pixels=smeared(f.pixels, *LINE)) if k in BLURRED else f for k, f in enumerate(frames)]


@pytest.fixture(scope="module")
def tracks(analyser, frames, smeared_frames):
    return [analyser.analyse(some).tracks[0] for some in (frames, smeared_frames)]


def test_pass_one_finds_what_is_smeared_and_nothing_else(tracks):
    plain, track = tracks
    assert plain.smears is None
    lengths = np.hypot(*track.smears[:, :2].T)
    assert np.flatnonzero(track.smears.any(axis=1)).tolist() == list(BLURRED)
    found = track.smears[list(BLURRED)[1:-1], :2]
    assert lengths[list(BLURRED)[1:-1]] == pytest.approx(float(np.hypot(*LINE)), rel=0.2)
    assert np.abs(found @ np.array([LINE[1], -LINE[0]])).max() < 0.1 * (LINE[0] ** 2 + LINE[1] ** 2)
    # It says nothing of how sharp the shot is.
    np.testing.assert_allclose(track.finishes[:, 0], plain.finishes[:, 0], rtol=0.15)


def test_frames_that_come_one_at_a_time_are_told_the_same(analyser, smeared_frames):
    with CausalTracker(analyser) as tracker:
        found = [tracker.see(frame).tracks[0] for frame in smeared_frames]
    smears = [track.face(len(track.frames) - 1).smear for track in found]
    assert [k for k, smear in enumerate(smears) if smear is not None] == list(BLURRED)
    lengths = [float(np.hypot(*smears[k][:2])) for k in BLURRED]
    assert lengths[1:] == pytest.approx([float(np.hypot(*LINE))] * 4, rel=0.25)
    np.testing.assert_array_equal(found[-1].smears[list(BLURRED)], np.stack([smears[k] for k in BLURRED]))


def energy(pixels, mask):
    """Mean square of the step from pixel to pixel along the line, which a smear takes away."""
    grey = mean_of_channels(pixels.astype(np.float32))
    down, across = np.gradient(grey)
    along = (across * LINE[0] + down * LINE[1]) / np.hypot(*LINE)
    return float((along**2)[mask].mean())


def test_the_new_face_is_as_smeared_as_the_picture(source, tracks, smeared_frames):
    _, track = tracks
    swapper = MeshSwapper()
    swapper.prepare([source])

    def drawn(frame: Frame, number: int, has_smear: bool = True):
        face = track.face(number)
        crop = cut_native(frame.pixels, face if has_smear else replace(face, smear=None))
        (result,) = swapper.process([crop])
        return crop, result

    shares = {}
    for number in (5, 8, 11, 12, 13, 17):
        for has_smear in (False, True):
            crop, result = drawn(smeared_frames[number], number, has_smear)
            inside = result.alpha > 0.95
            shares[number, has_smear] = energy(result.pixels, inside) / energy(crop.pixels, inside)
    usual = np.mean([shares[number, True] for number in (5, 8, 17)])
    for number in (11, 12, 13):
        assert shares[number, False] > 2 * usual  # sharp in a smeared head
        assert shares[number, True] == pytest.approx(usual, rel=0.4)
    for number in (5, 8, 17):
        (_, one), (_, other) = (drawn(smeared_frames[number], number, has_smear) for has_smear in (False, True))
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_smear_is_matched_as_far_as_one_asks(source, tracks, smeared_frames):
    face = tracks[1].face(12)
    crop = cut_native(smeared_frames[12].pixels, face)
    found = []
    for share in (0.0, 0.5, 1.0):
        swapper = MeshSwapper(finish=share)
        swapper.prepare([source])
        (result,) = swapper.process([crop])
        found.append(energy(result.pixels, result.alpha > 0.95))
    assert found[0] > 1.3 * found[1] > 1.6 * found[2]
