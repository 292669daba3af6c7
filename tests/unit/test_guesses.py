"""Where doubtful finds are taken to be without being found: hidden only while something there looks like a face."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.analyse import join as join_module
from facefusion.analyse.analyser import Analyser
from facefusion.analyse.join import JoinOptions, join
from facefusion.models.verifier import Verifier
from facefusion.testing.fakes import BrightSpotLandmarker, make_mesh
from facefusion.types.face import Detection
from facefusion.types.frame import Frame
from facefusion.types.observation import Observation, Sighting
from facefusion.types.topology import FIVE_POINTS

FRAMES, FOUND = 60, [*range(10, 15), *range(31, 36)]
GAP, CARRIED = range(15, 31), range(36, 46)
DOUBTFUL, SURE = (0.6, 0.5), (0.8, 0.99)
"""Best thought of the detector, and score of the mesh."""


def seen(found, verdicts, carried=CARRIED):
    """An observation of a find that stands still: found, carried along at the end, and judged in some frames."""
    best, score = found
    frames = np.array([*FOUND, *carried])
    count, asked = len(frames), sorted(verdicts)
    one = Sighting(
        frames, np.stack([make_mesh((100.0, 100.0), 40.0)] * count).astype(np.float32),
        np.where(np.isin(frames, FOUND), score, 0).astype(np.float32), np.zeros((count, 478, 2), np.float16),
        np.zeros((count, 478), np.float16), np.zeros(count, bool), np.zeros(0, np.int64),
        np.zeros((0, 68, 2), np.float32), np.zeros(0, np.float32), frames[:1], np.array([[1.0, 2.0]], np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, 0), np.float32), depths=(frames % 2).astype(np.int8),
        evidence=np.array([best, 0.0, 0.9], np.float32), verdict_frames=np.array(asked, np.int64),
        verdicts=np.array([verdicts[k] for k in asked], np.float32),
    )  # fmt: skip
    return Observation(320, 240, Fraction(1, 25), np.arange(FRAMES), np.array([0]), False, (one,))


def covered(observation):
    (track,) = join([observation], JoinOptions(max_gap=30, reach=2)).tracks
    assert track.guessed.tolist() == [frame not in FOUND for frame in track.frames.tolist()]
    assert len(track.meshes) == len(track.frames) and np.isfinite(track.meshes).all()
    return set(track.frames.tolist())


def judged(there):
    """The verifier's word where it was found, and in between and after it."""
    return dict.fromkeys(FOUND, 0.95) | dict.fromkeys([*GAP, *CARRIED], there)


EVERYWHERE = set(range(8, 48))


def test_a_doubtful_find_is_hidden_near_where_it_was_found_and_farther_only_where_something_looks_like_a_face():
    assert covered(seen(DOUBTFUL, judged(0.95))) == EVERYWHERE
    near = {8, 9, *range(10, 17), *range(29, 38)}
    assert covered(seen(DOUBTFUL, judged(0.02))) == near
    # Half a face is enough a few frames away, and not for the rest of the gap.
    assert covered(seen(DOUBTFUL, judged(0.6))) == near | {17, 18, 19, 26, 27, 28, 38, 39, 40}


def test_who_is_sure_is_hidden_wherever_they_are_taken_to_be():
    assert covered(seen(SURE, judged(0.0))) == EVERYWHERE
    assert covered(seen((0.9, 0.99), {})) == EVERYWHERE


def test_one_look_like_a_face_covers_the_frames_beside_it():
    verdicts = judged(0.0) | {22: 0.9}
    assert {20, 21, 22, 23, 24} <= covered(seen(DOUBTFUL, verdicts))
    assert not {18, 26} & covered(seen(DOUBTFUL, verdicts))


def test_where_the_verifier_was_not_asked_frames_near_to_where_it_was_found_are_hidden(monkeypatch):
    only_found = dict.fromkeys(FOUND, 0.95)
    assert covered(seen(DOUBTFUL, only_found, carried=())) == {*range(8, 38)}  # the gap is sixteen frames long
    monkeypatch.setattr(join_module, "GUESS_UNSEEN", 3)
    assert covered(seen(DOUBTFUL, only_found, carried=())) == {*range(8, 18), *range(28, 38)}
    assert covered(seen(DOUBTFUL, {}, carried=())) == {*range(8, 38)}  # no verifier at all: as ever


def test_a_doubtful_find_goes_on_beyond_its_ends_only_where_it_was_not_cut_off():
    last = max(CARRIED)
    low = judged(0.95) | dict.fromkeys([last - 2, last - 1, last], 0.3)
    assert max(covered(seen(DOUBTFUL, low))) == last - 1  # two frames away something still looks like a face
    assert max(covered(seen(DOUBTFUL, judged(0.95) | {last: 0.3}))) == last + 1


def test_verdicts_are_kept_with_an_observation_and_damaged_ones_refused(tmp_path):
    one = seen(DOUBTFUL, judged(0.02))
    one.save(tmp_path / "a")
    again = Observation.load(tmp_path / "a")
    assert covered(again) == covered(one)
    (kept,) = one.sightings
    for wrong in (
        {"verdicts": np.full(3, 0.5, np.float32)},
        {"verdicts": kept.verdicts + 1},
        {"verdict_frames": kept.verdict_frames + FRAMES},
    ):
        with pytest.raises(ValueError, match="verdict"):
            replace(kept, **wrong).check(FRAMES)


class HalfSure:
    """Finds a face, of which it is not sure, where a picture has a bright spot."""

    def detect(self, pixels):
        mesh = make_mesh((150.0, 120.0), 36.0)
        box = np.concatenate([mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)])
        found = [Detection(box, mesh[list(FIVE_POINTS), :2], 0.6)]
        return [found if picture.max() > 200 else [] for picture in pixels]


class Doubtful(BrightSpotLandmarker):
    """Sees a mesh, and is not sure of it either."""

    def landmark(self, crops):
        meshes, scores = super().landmark(crops)
        return meshes, scores * np.float32(0.6)


class Lamp:
    """Stands for the verifier's network: a face is what is bright, or blue in the middle."""

    def run(self, feeds):
        pictures = feeds["image"]
        is_face = (pictures.max(axis=(1, 2, 3)) > 0.6) | (pictures[:, 2, 32, 32] > -0.5)
        return (np.where(is_face, 0.95, 0.02).astype(np.float32),)


def clip(is_like_a_face):
    """A spot in frames 15 to 20 and 29 to 39 of 60, or always a disc about where it is."""
    for k in range(60):
        pixels = np.full((240, 320, 3), 40, np.uint8)
        if is_like_a_face:
            cv2.circle(pixels, (150, 120), 30, (40, 40, 120), -1)
        if 15 <= k < 21 or 29 <= k < 40:
            cv2.circle(pixels, (150, 120), 6, (255, 255, 255), -1)
        yield Frame(pixels, k, k * 10, Fraction(1, 250))


@pytest.mark.parametrize("is_like_a_face", [True, False])
def test_the_verifier_is_asked_about_gaps_and_about_where_somebody_is_carried(is_like_a_face):
    verifier = Verifier(Lamp())
    analyser = Analyser(HalfSure(), Doubtful(), 3, is_thorough=True, verifier=verifier)
    (track,) = analyser.analyse(clip(is_like_a_face)).tracks
    frames = set(track.frames.tolist())
    found = {*range(15, 21), *range(29, 40)}
    assert found <= frames
    assert ({23, 24, 25, 26} <= frames) == is_like_a_face
    assert {21, 22, 27, 28} <= frames  # next to where it was found
