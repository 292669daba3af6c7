"""The verifier: whether a find shows a face, and what its verdict changes where people are hidden."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from facefusion.analyse.join import _cut
from facefusion.imaging.align import square_crop
from facefusion.imaging.resample import cut
from facefusion.media.image import read_photo
from facefusion.models.verifier import CROP_MARGIN, CROP_SIDE, Verifier
from facefusion.pipeline.cast import build_analyser
from facefusion.pipeline.plan import check_models
from facefusion.plugins.protocols import EngineContext
from facefusion.recipe import Recipe, build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.certainty import NO_VERDICT, Evidence, certainty_of, verdict_of
from facefusion.types.track import Track

FRAMES = 20
DOUBTFUL = Evidence(0.48, 0.7, 5, False, 40.0)
SURE = Evidence(0.8, 0.99, 20, False, 60.0)


@pytest.fixture(scope="module")
def verifier():
    return Verifier(EngineContext(Recipe()).session("face_verifier_embedded"))


@pytest.fixture(scope="module")
def face():
    """The packaged photo, and where the face is in it."""
    recipe = build_recipe({"processors": ["face_anonymiser"], "target_path": "t.png"})
    pixels = read_photo(sample_path("source.jpg")).pixels
    (found,) = build_analyser(recipe).find_faces(pixels)
    return pixels, found.box


def crop_of(pixels, box, side=None):
    """What the verifier is shown; ``side`` px is all that is seen of the face."""
    size = float(max(box[2:] - box[:2]))
    crop = cut(pixels, square_crop((box[:2] + box[2:]) / 2, size * CROP_MARGIN, 0.0, CROP_SIDE), CROP_SIDE)
    if side is None:
        return crop
    small = cut(crop, square_crop([31.5, 31.5], 64, 0.0, side), side)
    return cut(small, square_crop([(side - 1) / 2] * 2, side, 0.0, CROP_SIDE), CROP_SIDE)


def test_a_face_is_one_small_dark_and_turned_too_and_what_is_beside_it_is_none(verifier, face):
    pixels, box = face
    crop = crop_of(pixels, box)
    size, (x, y) = float(max(box[2:] - box[:2])), (box[:2] + box[2:]) / 2
    beside = [np.array([x - size / 8, y + s * size, x + size / 8, y + s * size + size / 4]) for s in (1.0, 1.4)]
    noise = np.random.default_rng(5).integers(0, 255, crop.shape, dtype=np.uint8)
    faces = [crop, crop_of(pixels, box, 28), (crop * 0.35).astype(np.uint8), np.rot90(crop), crop[::-1]]
    others = [*(crop_of(pixels, part) for part in beside), np.full_like(crop, 128), noise]
    scores = verifier.verify(faces + others)
    assert scores[: len(faces)].min() > 0.5 > scores[len(faces) :].max()


def test_a_crop_and_its_mirror_image_get_one_score(verifier, face):
    crop = crop_of(*face)
    one, other = verifier.verify([crop, np.ascontiguousarray(crop[:, ::-1])])
    assert one == pytest.approx(other, abs=1e-5)


def test_it_runs_only_where_people_are_hidden():
    def ids(**options):
        specs = check_models(build_recipe({"target_path": "t.png", "output_path": "o.png"} | options))
        return {spec.id for spec in specs}

    assert "face_verifier_embedded" in ids(processors=["face_anonymiser"])
    assert "face_verifier_embedded" not in ids(source_paths=["s.png"])


def test_of_many_looks_the_best_quarter_counts_so_that_one_accident_does_not():
    assert verdict_of([0.1] * 99 + [1.0]) == pytest.approx(0.1)
    assert verdict_of([0.1] * 60 + [0.9] * 40) == pytest.approx(0.9)
    assert verdict_of([0.3]) == pytest.approx(0.3) and verdict_of([]) == NO_VERDICT


def judged(evidence, frames=FRAMES):
    track = Track(
        0, np.arange(1), np.zeros((1, 478, 3), np.float32), np.ones(1, np.float32), np.zeros((1, 3), np.float32),
        evidence=evidence.as_row(),
    )  # fmt: skip
    return certainty_of(track, frames)


@pytest.mark.parametrize("frames", [1, FRAMES])
def test_a_doubtful_find_that_is_judged_no_face_is_left_alone_and_another_is_hidden(frames):
    assert judged(replace(DOUBTFUL, verdict=0.02), frames) == "unlikely"
    assert judged(replace(DOUBTFUL, verdict=0.9), frames) == "unsure"
    assert judged(DOUBTFUL, frames) == "unsure"


def test_what_the_detector_is_sure_of_is_hidden_where_the_verifier_doubts_it_but_not_painted():
    assert judged(replace(SURE, verdict=0.9)) == "sure"
    assert judged(replace(SURE, verdict=0.1)) == "unsure"
    assert judged(replace(SURE, detector=0.95, verdict=0.0)) == "unsure"
    assert judged(SURE) == "sure"


def test_what_the_detector_is_hardly_sure_of_is_left_alone_where_the_verifier_is_sure_against_it():
    assert judged(replace(SURE, detector=0.57, verdict=0.01)) == "unlikely"
    assert judged(replace(SURE, detector=0.57, verdict=0.5)) == "sure"


def test_either_network_makes_up_for_the_doubt_of_the_other_and_one_look_has_to_say_less_than_many():
    assert judged(replace(DOUBTFUL, detector=0.2, verdict=0.97), 1) == "unsure"
    assert judged(replace(DOUBTFUL, detector=0.2, verdict=0.8), 1) == "unlikely"
    assert judged(replace(DOUBTFUL, detector=0.45, verdict=0.7), 1) == "unsure"
    assert judged(replace(DOUBTFUL, detector=0.45, verdict=0.7)) == "unlikely"


def test_what_is_large_is_left_alone_only_where_much_speaks_against_it():
    ear = replace(DOUBTFUL, detector=0.4, verdict=0.34)
    for frames in (1, FRAMES):
        assert judged(replace(ear, size_px=100.0), frames) == "unsure"
        assert judged(replace(ear, size_px=30.0), frames) == "unlikely"
        assert judged(replace(ear, size_px=100.0, verdict=0.05), frames) == "unlikely"


def test_a_large_half_of_a_face_at_the_border_is_left_alone_only_where_nearly_all_speaks_against_it():
    half = replace(DOUBTFUL, detector=0.32, verdict=0.14, size_px=157.0, cut=0.6)  # was left bare in a selfie
    for frames in (1, FRAMES):
        assert judged(half, frames) == "unsure"
        assert judged(replace(half, cut=0.2), frames) == "unlikely"
        assert judged(replace(half, size_px=30.0), frames) == "unlikely"
        assert judged(replace(half, detector=0.1), frames) == "unlikely"


def test_a_find_at_the_border_counts_as_larger_than_it_is_seen_and_limits_have_no_steps():
    profile = replace(DOUBTFUL, detector=0.318, verdict=0.537, size_px=61.0)  # was left bare for three frames
    assert judged(profile) == "unlikely"
    assert judged(replace(profile, beyond=0.061)) == "unsure"
    assert judged(replace(profile, size_px=64.0)) == "unsure"
    for odd in ({"size_px": 55.0}, {"size_px": 64.0, "cut": 0.0}, {"size_px": 64.0, "cut": 0.3}):
        one = replace(profile, **odd)
        for name, step in (("size_px", 0.01), ("cut", 0.0001), ("beyond", 0.0001)):
            near = replace(one, **{name: getattr(one, name) + step})
            assert near._least_odds(FRAMES) == pytest.approx(one._least_odds(FRAMES), abs=0.02)


def test_limits_are_eased_and_never_made_harder():
    sizes = 8.0, 40.0, 55.9, 60.0, 63.9, 64.0, 200.0
    for size_px, share, beyond in product(sizes, (0.0, 0.2, 0.33, 1.0), (0.0, 0.1, 1.0)):
        for detector, seen in product((0.3, 0.6), (1, 9)):
            one = replace(DOUBTFUL, size_px=size_px, cut=share, beyond=beyond, detector=detector, seen=seen)
            assert one._least_odds(FRAMES) <= one._least_odds(FRAMES, is_eased=False)


def test_how_far_the_border_cuts_a_find_is_the_share_that_lies_out_of_the_picture():
    mesh = np.full((478, 2), (0, 50), np.float32)
    mesh[0], mesh[1] = (-60, 10), (40, 90)
    assert _cut(mesh, (200, 100)) == pytest.approx(0.6)
    assert _cut(mesh + np.array([100, 50]), (200, 100)) == pytest.approx(0.5)  # below
    assert _cut(mesh + np.array([90, 0]), (200, 100)) == 0.0


def test_one_look_in_a_clip_counts_as_one_in_a_photo():
    flash = replace(DOUBTFUL, detector=0.45, verdict=0.9, size_px=30.0)
    assert judged(replace(flash, seen=1)) == judged(replace(flash, seen=1), 1) == "unsure"
    assert judged(replace(flash, seen=5)) == "unlikely" and judged(replace(flash, seen=5, verdict=0.95)) == "unsure"


def test_what_the_detector_believes_is_hidden_whatever_the_verifier_thinks():
    for detector in (0.76, 0.9, 1.0):
        for size in (20.0, 100.0):
            assert judged(replace(SURE, detector=detector, verdict=0.0, size_px=size)) == "unsure"


def test_moving_by_itself_makes_nothing_less_likely():
    for detector, verdict, size in ((0.5, 0.14, 100.0), (0.6, 0.02, 40.0), (0.3, 0.5, 40.0), (0.1, 0.9, 20.0)):
        still = replace(DOUBTFUL, detector=detector, verdict=verdict, size_px=size)
        if judged(still) != "unlikely":
            assert judged(replace(still, has_moved=True)) != "unlikely"


def test_what_moves_by_itself_needs_little_from_either():
    moved = replace(DOUBTFUL, detector=0.1, has_moved=True)
    assert judged(replace(moved, verdict=0.6)) == "unsure"
    assert judged(replace(moved, verdict=0.5)) == "unlikely"


def test_odds_are_those_of_the_verifier_and_twice_those_of_the_detector():
    assert replace(SURE, detector=0.5, verdict=0.5).odds == pytest.approx(0.0)
    assert replace(SURE, detector=0.75, verdict=0.9).odds == pytest.approx(np.log(9) + 2 * np.log(3))
    assert np.isfinite(replace(SURE, detector=1.0, verdict=0.0).odds)


def test_a_verdict_is_kept_with_the_evidence_and_earlier_tracks_have_none():
    one = replace(DOUBTFUL, verdict=0.625)
    track = Track(
        0, np.arange(1), np.zeros((1, 478, 3), np.float32), np.ones(1, np.float32), np.zeros((1, 3), np.float32),
        evidence=one.as_row(),
    )  # fmt: skip
    assert Evidence.of(track).verdict == 0.625
    assert Evidence.of(replace(track, evidence=one.as_row()[:7])).cut == 0.0  # of tracks before the border counted
    assert Evidence.of(replace(track, evidence=replace(one, beyond=0.25).as_row())).beyond == 0.25
    assert Evidence.of(replace(track, evidence=one.as_row()[:9])).beyond == 0.0
    earlier = replace(track, evidence=one.as_row()[:6])
    assert Evidence.of(earlier).verdict is None and certainty_of(earlier, FRAMES) == "unsure"
    assert Evidence.of(replace(track, evidence=DOUBTFUL.as_row())).verdict is None
