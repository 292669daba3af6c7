from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest

from facefusion.analyse.analyser import Analyser
from facefusion.analyse.smooth import savitzky_golay, smooth_finishes, smooth_meshes
from facefusion.imaging import resample
from facefusion.imaging.align import mesh_crop
from facefusion.imaging.appearance import POINTS, likeness_of_looks, points_inside
from facefusion.imaging.flow import crop_shift, measure_motion, motion_crop
from facefusion.imaging.resample import is_cut, pan_between, thumbnail
from facefusion.models.pose import estimate_pose, estimate_poses
from facefusion.testing.fakes import BrightSpotLandmarker, FakeDetector, make_mesh
from facefusion.types.frame import Frame
from facefusion.types.topology import FACE_OVAL, LEFT_EYE


@pytest.mark.parametrize("pose", [(30, 0, 0), (0, 20, 0), (0, 0, 40), (-50, 15, -20), (65, -25, 10)])
def test_pose_of_a_turned_mean_face_is_the_turn(pose):
    found = estimate_pose(make_mesh(yaw=pose[0], pitch=pose[1], roll=pose[2]))
    np.testing.assert_allclose([found.yaw, found.pitch, found.roll], pose, atol=0.05)


def test_nose_points_to_the_right_of_the_image_at_positive_yaw():
    mesh = make_mesh(yaw=30)
    assert mesh[4, 0] > mesh[[468, 473], 0].mean()


def test_poses_do_not_depend_on_place_and_size(rng):
    meshes = np.stack([make_mesh(yaw=20), make_mesh((900, 20), 7.0, yaw=20)])
    poses = estimate_poses(meshes)
    np.testing.assert_allclose(poses[0], poses[1], atol=0.05)


def test_savitzky_golay_keeps_a_parabola_up_to_its_ends():
    t = np.arange(20.0)
    np.testing.assert_allclose(savitzky_golay(t**2), t**2, atol=1e-8)


def test_savitzky_golay_returns_short_series_unchanged():
    np.testing.assert_array_equal(savitzky_golay(np.array([1.0, 5.0])), [1.0, 5.0])


def _still_or_moving(count: int, step: float):
    true = np.stack([make_mesh((100 + step * k, 100.0)) for k in range(count)])
    motions = np.zeros((count, 478, 2), np.float32)
    motions[1:, :, 0] = step
    return true, motions, np.ones((count, 478), np.float32)


@pytest.mark.parametrize("step", [0.0, 6.0])
def test_smoothing_removes_jitter_of_still_and_of_fast_heads(rng, step):
    true, motions, trusts = _still_or_moving(40, step)
    noisy = true + rng.normal(0, 0.5, true.shape).astype(np.float32)
    before = np.abs(noisy - true)[..., :2].mean()
    after = np.abs(smooth_meshes(noisy, motions, trusts) - true)[..., :2].mean()
    assert after < 0.45 * before


def test_smoothing_keeps_a_blink_where_the_motion_is_not_trusted():
    meshes, motions, trusts = _still_or_moving(21, 0.0)
    upper, lower = 159, 145
    opening = meshes[0, lower, 1] - meshes[0, upper, 1]
    for number, share in ((9, 0.5), (10, 1.0), (11, 0.5)):
        meshes[number, list(LEFT_EYE), 1] += opening * share * (meshes[number, list(LEFT_EYE), 1] < meshes[0, 33, 1])
    trusts[9:13, list(LEFT_EYE)] = 0
    smooth = smooth_meshes(meshes, motions, trusts)
    closed = smooth[10, lower, 1] - smooth[10, upper, 1]
    assert closed < 0.25 * opening


def test_smoothing_has_no_lag(rng):
    true, motions, trusts = _still_or_moving(40, 4.0)
    smooth = smooth_meshes(true, motions, trusts)
    np.testing.assert_allclose(smooth, true, atol=0.05)


def test_strength_zero_changes_nothing(rng):
    meshes, motions, trusts = _still_or_moving(12, 0.0)
    meshes = meshes + rng.normal(0, 1, meshes.shape).astype(np.float32)
    np.testing.assert_array_equal(smooth_meshes(meshes, motions, trusts, 0.0), meshes)


def test_motion_of_a_shifted_picture_is_measured_and_trusted(rng):
    picture = cv2.GaussianBlur(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8), (0, 0), 3)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    mesh = make_mesh((200.0, 150.0), 60.0)
    affine = mesh_crop(mesh, 176, 1.15)
    shifted = np.roll(picture, (3, -5), axis=(0, 1))
    motion, trust = measure_motion(motion_crop(picture, affine), motion_crop(shifted, affine), mesh, affine)
    np.testing.assert_allclose(np.median(motion, axis=0), (-5, 3), atol=0.3)
    assert np.median(trust) > 0.8
    other = cv2.GaussianBlur(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8), (0, 0), 3)
    other = cv2.normalize(other, None, 0, 255, cv2.NORM_MINMAX)
    _, doubtful = measure_motion(motion_crop(picture, affine), motion_crop(other, affine), mesh, affine)
    assert np.median(doubtful) < 0.2


def _frames(spots, size=(240, 320), backgrounds=None):
    frames = []
    for number, spot in enumerate(spots):
        pixels = np.zeros((*size, 3), dtype=np.uint8)
        if backgrounds is not None:
            pixels[:] = backgrounds[number]
        if spot is not None:
            x, y = spot
            pixels[max(y - 6, 0) : y + 7, max(x - 6, 0) : x + 7] = 255
        frames.append(Frame(pixels, number, number * 512, Fraction(1, 12800)))
    return frames


def test_a_moving_face_is_one_track_and_is_detected_only_now_and_then():
    spots = [(100 + 2 * k, 120) for k in range(30)]
    detector = FakeDetector([make_mesh((100.0, 120.0), 36.0)])
    tracks = Analyser(detector, BrightSpotLandmarker(), interval=50).analyse(_frames(spots))
    assert len(tracks.tracks) == 1
    assert len(tracks.tracks[0].frames) == 30
    assert detector.calls == 1
    centres = tracks.tracks[0].meshes[:, [33, 263, 152, 10], 0].mean(axis=1)
    assert np.diff(centres).mean() == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("limit", [None, 2.0])
def test_a_face_found_within_a_followed_one_is_nobody_new(limit, monkeypatch):
    if limit is not None:  # without the rule there would be two
        monkeypatch.setattr("facefusion.analyse.analyser.IN_A_FACE", limit)
    detector = FakeDetector([make_mesh((100.0, 120.0), 36.0), make_mesh((100.0, 122.0), 12.0)])
    tracks = Analyser(detector, BrightSpotLandmarker(), interval=4).analyse(_frames([(100, 120)] * 12))
    assert len(tracks.tracks) == (1 if limit is None else 2)


def test_a_short_loss_is_bridged_and_a_long_one_is_not():
    spots = [(100, 120)] * 10 + [None] * 3 + [(100, 120)] * 10 + [None] * 20 + [(100, 120)] * 5
    detector = FakeDetector([make_mesh((100.0, 120.0), 36.0)])
    tracks = Analyser(detector, BrightSpotLandmarker(), interval=4).analyse(_frames(spots))
    seen = set(tracks.tracks[0].frames.tolist())
    assert set(range(23)) <= seen
    assert len(seen & set(range(24, 42))) <= 1


def test_a_cut_ends_every_track():
    spots = [(100, 120)] * 20
    backgrounds = [(10, 10, 10)] * 10 + [(190, 40, 120)] * 10
    detector = FakeDetector([make_mesh((100.0, 120.0), 36.0)])
    tracks = Analyser(detector, BrightSpotLandmarker()).analyse(_frames(spots, backgrounds=backgrounds))
    assert tracks.cuts.tolist() == [0, 10]
    assert [len(track.frames) for track in tracks.tracks] == [10, 10]
    assert set(tracks.prominent()) == {0, 1}


def test_no_face_gives_empty_tracks():
    tracks = Analyser(FakeDetector([]), BrightSpotLandmarker()).analyse(_frames([None] * 5))
    assert tracks.tracks == ()
    assert len(tracks.pts) == 5


@pytest.mark.parametrize(("lit", "cuts"), [
    ({8: 160}, [0]),
    ({8: 160, 9: 120, 10: 70, 11: 20}, [0]),  # it goes little by little
    ({8: 160, 9: 0, 10: 160}, [0]),  # two, one after the other
    (dict.fromkeys(range(8, 20), 160), [0, 8]),  # it stays, so it is another picture
])  # fmt: skip
def test_a_flash_is_no_shot_of_its_own(rng, lit, cuts):
    scene = cv2.resize(rng.integers(0, 90, (9, 16, 3), dtype=np.uint8), (320, 180), interpolation=cv2.INTER_CUBIC)
    ramp = np.linspace(0.3, 1, scene.shape[1], dtype=np.float32)[:, None]  # it comes from one side
    frames = []
    for k in range(20):
        light = lit.get(k, 0)
        pixels = np.clip(scene * (1 + light / 160) + ramp * light * 0.6, 0, 255).astype(np.uint8)
        frames.append(Frame(pixels, k, k, Fraction(1, 25)))
    analyser = Analyser(FakeDetector([]), BrightSpotLandmarker())
    assert analyser.analyse(frames).cuts.tolist() == cuts


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("inserted", ["another picture", "white", "black"])
def test_a_short_shot_of_something_else_is_one_and_nobody_is_in_it(rng, count, inserted):
    def picture():
        coarse = rng.integers(0, 120, (9, 16, 3), dtype=np.uint8)
        return cv2.resize(coarse, (320, 180), interpolation=cv2.INTER_CUBIC)

    levels = {"white": 255, "black": 0}
    other = np.full_like(picture(), levels[inserted]) if inserted in levels else picture() + 80
    scene = picture() + 40
    cv2.circle(scene, (160, 90), 12, (255, 255, 255), -1)

    class SceneDetector(FakeDetector):
        def detect(self, pixels):
            seen = [p[0, 0, 0] == scene[0, 0, 0] for p in pixels]
            return [found if is_it else [] for is_it, found in zip(seen, super().detect(pixels), strict=True)]

    frames = [Frame(other if 8 <= k < 8 + count else scene, k, k, Fraction(1, 25)) for k in range(20)]
    analyser = Analyser(SceneDetector([make_mesh((160.0, 90.0), 36.0)]), BrightSpotLandmarker())
    tracks = analyser.analyse(frames)
    assert tracks.tracks
    assert tracks.cuts.tolist() == [0, 8, 8 + count]
    assert not any(8 <= k < 8 + count for track in tracks.tracks for k in track.frames)


def test_a_flash_is_no_cut_and_another_scene_is(rng):
    scene = rng.integers(0, 120, (120, 160, 3), dtype=np.uint8)
    brighter = (scene + 12).astype(np.uint8)
    other = rng.integers(130, 255, (120, 160, 3), dtype=np.uint8)
    assert not is_cut(thumbnail(scene), thumbnail(brighter))
    assert is_cut(thumbnail(scene), thumbnail(other))


def test_a_camera_that_turns_fast_is_no_cut(rng, monkeypatch):
    scene = cv2.resize(rng.integers(0, 256, (6, 60, 3), dtype=np.uint8), (3000, 240), interpolation=cv2.INTER_CUBIC)
    views = [thumbnail(scene[:, x : x + 320]) for x in range(0, 2600, 50)]
    assert not any(is_cut(one, other) for one, other in pairwise(views))
    assert {pan_between(one, other) for one, other in pairwise(views)} == {(5, 0)}
    assert pan_between(views[0], views[0]) is None
    assert is_cut(views[0], views[30])
    monkeypatch.setattr(resample, "SAME_PICTURE", -1.0)
    assert sum(is_cut(one, other) for one, other in pairwise(views)) > len(views) / 2


def test_points_at_the_outline_are_not_carried_away_by_the_background():
    still = np.repeat(make_mesh((100.0, 100.0), 40.0)[None], 30, axis=0)
    motions = np.zeros((30, 478, 2), np.float32)
    motions[:, 4] = (5.0, 0.0)  # the nose of a profile lies before a background that moves
    smooth = smooth_meshes(still, motions, np.ones((30, 478), np.float32))
    assert np.abs(smooth - still).max() < 0.06 * 40


def test_a_mesh_that_drifts_from_the_motion_follows_without_a_jump():
    still = np.repeat(make_mesh((100.0, 100.0), 60.0)[None], 60, axis=0)
    drifting = still.copy()
    drifting[:, :, 0] += np.clip(np.arange(60) - 10, 0, 30)[:, None] * 0.4  # as where a face leaves the picture
    nothing = np.zeros((60, 478, 2), np.float32)
    smooth = smooth_meshes(drifting, nothing, np.ones((60, 478), np.float32))
    steps = np.abs(np.diff(smooth[..., 0], axis=0))
    assert steps.max() < 0.8  # let go all at once, points jump by 6
    assert np.abs(smooth[-1] - drifting[-1]).max() < 2.5


def test_points_outside_of_the_picture_move_with_those_in_it(rng):
    count, size = 40, (200, 200)
    true = np.stack([make_mesh((20.0 + 3 * k, 100.0), 60.0) for k in range(count)])
    motions = np.zeros((count, 478, 2), np.float32)
    motions[:, :, 0] = 3.0
    motions[1:][(true[:-1, :, 0] < -2) | (true[1:, :, 0] > size[0] + 1)] = 0  # repeated borders do not move
    measured = true + rng.normal(0, 0.5, true.shape).astype(np.float32)
    smooth = smooth_meshes(measured, motions, np.ones((count, 478), np.float32), 1.0, size)
    steps = np.diff(smooth[..., 0], axis=0)
    assert np.abs(steps - 3.0).max() < 0.35
    blind = np.diff(smooth_meshes(measured, motions, np.ones((count, 478), np.float32))[..., 0], axis=0)
    assert np.abs(blind - 3.0).max() > 1.0


def _picture(rng, size=(300, 500)):
    picture = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 3)
    return cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)


def test_motion_of_a_face_that_moves_fast_is_measured_where_it_is_about_to_be(rng):
    picture = _picture(rng)
    mesh = make_mesh((150.0, 150.0), 60.0)
    now = mesh + np.array([80.0, 20.0, 0.0], np.float32) + rng.normal(0, 0.7, mesh.shape).astype(np.float32)
    moved = np.roll(picture, (20, 80), axis=(0, 1))
    affine = mesh_crop(mesh, 144, 1.15)
    shift = crop_shift(mesh, now, affine)
    after = affine.copy()
    after[:, 2] -= shift
    motion, trust = measure_motion(motion_crop(picture, affine), motion_crop(moved, after), mesh, affine, shift)
    np.testing.assert_allclose(np.median(motion, axis=0), (80, 20), atol=0.3)
    assert np.median(trust) > 0.8
    assert np.median(np.abs(motion - (80, 20))) < 0.2
    blind, _ = measure_motion(motion_crop(picture, affine), motion_crop(moved, affine), mesh, affine)
    assert np.median(np.abs(blind - (80, 20))) > 5


def test_the_outline_moves_with_the_face_and_not_with_what_lies_behind(rng, monkeypatch):
    ground, skin = _picture(rng), _picture(rng)
    mesh = make_mesh((200.0, 150.0), 60.0)
    outline = cv2.convexHull(np.round(mesh[:468, :2]).astype(np.int32))

    def frame(x: int) -> np.ndarray:
        mask = np.zeros(ground.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, outline + np.array([x, 0]), 1)
        return np.where(mask[..., None] > 0, np.roll(skin, x, axis=1), ground)

    affine = mesh_crop(mesh, 144, 1.15)
    before, after = (motion_crop(frame(x), affine) for x in (0, 4))
    motion, _ = measure_motion(before, after, mesh, affine)
    monkeypatch.setattr("facefusion.imaging.flow.INWARDS", 0.0)
    at_the_edge, _ = measure_motion(before, after, mesh, affine)
    error, worse = (np.abs(m[list(FACE_OVAL), 0] - 4).mean() for m in (motion, at_the_edge))
    assert error < 0.75 * worse
    assert error < 1.2


class LeftLeaningLandmarker(BrightSpotLandmarker):
    """Sees everything a little too far to the left of its crop."""

    def landmark(self, crops):
        meshes, scores = super().landmark(crops)
        meshes[..., 0] -= 4
        return meshes, scores


def test_faces_that_move_fast_are_read_as_those_that_stand_still():
    spots = [(60, 120)] * 6 + [(60 + 22 * k, 120) for k in range(1, 6)] + [(170, 120)] * 6
    detector = FakeDetector([make_mesh((60.0, 120.0), 36.0)])
    analyser = Analyser(detector, LeftLeaningLandmarker(), interval=50, smoothing=0.0)
    track = analyser.analyse(_frames(spots)).tracks[0]
    middle = track.meshes[:, [33, 263], 0].mean(axis=1)
    wanted = np.array([x for x, _ in spots]) + (make_mesh((0.0, 0.0), 36.0)[[33, 263], 0].mean())
    assert np.abs(middle - wanted).max() < 1.0  # what leans to one side leans to the other in the mirror


def test_sharpness_before_a_break_says_nothing_about_what_comes_after():
    frames = np.array([*range(20), *range(30, 50)])
    found = {0: (3.0, 1.0), 6: (3.0, 1.0), 12: (3.0, 1.0), 18: (3.0, 1.0), 30: (0.5, 2.0), 36: (0.5, 2.0)}
    blur, grain = smooth_finishes(frames, found).T
    np.testing.assert_allclose(blur, [3.0] * 20 + [0.5] * 20)
    np.testing.assert_allclose(grain, [1.0] * 20 + [2.0] * 20)


def test_looks_of_one_person_agree_in_any_light_and_under_a_hand_and_those_of_two_do_not(rng):
    one, other = (rng.normal(-1.5, 0.5, (len(POINTS), 3)).astype(np.float32) for _ in range(2))
    assert likeness_of_looks(one, one + np.array([1.0, 0.6, -0.4], np.float32)) == 1
    covered = one.copy()
    covered[:60] = -3
    assert likeness_of_looks(covered, one) > 0.55
    assert likeness_of_looks(one, other) < 0.3
    assert likeness_of_looks(covered, one, np.arange(len(POINTS)) >= 60) == 1


def test_points_inside_an_outline_are_those_of_the_face():
    mesh = make_mesh((100.0, 100.0), 40.0)
    assert points_inside(mesh, mesh, 1.05)[:468].all()
    assert not points_inside(mesh + np.array([200, 0, 0], np.float32), mesh).any()
    half = points_inside(mesh + np.array([45, 0, 0], np.float32), mesh).mean()
    assert 0.2 < half < 0.7
