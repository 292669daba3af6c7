from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.analyse.people import link_people
from facefusion.imaging.align import mesh_crop
from facefusion.imaging.flow import confidence, dense_inverse_search, follow
from facefusion.imaging.resample import add, enlarge, subtract, take
from facefusion.models.pose import estimate_poses
from facefusion.render.presence import FADE_FRAMES, presence
from facefusion.render.smooth import HALO, MotionSmoother
from facefusion.testing.fakes import make_mesh
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.track import Track, Tracks

SIDE = 240


@pytest.fixture
def texture(rng):
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE + 80, SIDE + 80, 3)).astype(np.float32), (0, 0), 3)
    return np.clip((noise - 127) * 5 + 127, 0, 255).astype(np.uint8)


def make_track(meshes, frames=None, track_id=0, identity=None) -> Track:
    meshes = np.stack(meshes).astype(np.float32)
    rows = np.arange(len(meshes)) if frames is None else np.array(frames)
    return Track(
        track_id, rows.astype(np.int64), meshes, np.ones(len(rows), np.float32), estimate_poses(meshes), None, identity
    )


def make_tracks(*tracks: Track, count: int, cuts=(0,), size=SIDE) -> Tracks:
    pts = np.arange(count, dtype=np.int64) * 10
    return Tracks(size, size, Fraction(1, 250), pts, tracks, {}, np.array(cuts, np.int64))


def moving_clip(texture, count, step, jitter=None, cut_at=None):
    """A head over a moving texture; the new face is grey with an unrest that the target does not have."""
    rendered, meshes = [], []
    for k in range(count):
        x = k * step
        pixels = np.ascontiguousarray(texture[20 : 20 + SIDE, 40 - x : 40 - x + SIDE])
        if cut_at is not None and k >= cut_at:
            pixels = 255 - pixels
        meshes.append(make_mesh((110.0 + x, 120.0), 50.0))
        frame = Frame(pixels, k, k * 10, Fraction(1, 250))
        box = (70 + x, 70, 160 + x, 180)
        patch = (pixels[box[1] : box[3], box[0] : box[2]] // 2 + 60).astype(np.int16)
        patch += 0 if jitter is None else int(jitter[k])
        rendered.append(RenderedFrame(frame, np.clip(patch, 0, 255).astype(np.uint8), box))
    cuts = (0,) if cut_at is None else (0, cut_at)
    return rendered, make_tracks(make_track(meshes), count=count, cuts=cuts)


def smoothed(rendered, tracks, strength=1.0):
    smoother = MotionSmoother(tracks, (0,), strength)
    return [smoother.smooth(window) for window in smoother.windows([smoother.look(r) for r in rendered])]


def levels(frames):
    return np.array([frame.pixels[100:150, 100:130].astype(float).mean() for frame in frames])


def test_flow_leads_back_to_where_pixels_were(texture):
    before, after = texture[:160, 10:170], texture[:160, 4:164]
    flow = dense_inverse_search(np.ascontiguousarray(before), np.ascontiguousarray(after))
    assert abs(float(np.median(flow[..., 0])) + 6) < 0.3
    moved = follow(before, flow)
    assert np.abs(moved - after)[20:-20, 20:-20].mean() < 4


def test_flow_is_not_believed_where_the_picture_changed(texture):
    still = np.zeros((64, 64, 2), np.float32)
    difference = np.zeros((64, 64), np.float32)
    difference[:, 32:] = 40
    sure = confidence(difference, still, still)
    assert sure[:, :24].min() > 0.99
    assert sure[:, 40:].max() < 1e-6
    astray = still.copy()
    astray[..., 0] = 3
    assert confidence(np.zeros((64, 64), np.float32), astray, still).max() < 1e-3


def test_unrest_of_the_change_is_steadied_and_the_motion_of_the_target_stays(texture):
    jitter = np.array([8, -8] * 6)
    rendered, tracks = moving_clip(texture, 12, 2, jitter)
    plain, _ = moving_clip(texture, 12, 2)
    done = smoothed(rendered, tracks)
    before = np.array([np.abs(subtract(r.pixels, p.pixels)).mean() for r, p in zip(rendered, plain, strict=True)])
    after = np.array([np.abs(subtract(r.pixels, p.pixels)).mean() for r, p in zip(done, plain, strict=True)])
    assert after[1:-1].mean() < 0.5 * before[1:-1].mean()
    for frame in done:  # far from the face nothing is touched
        np.testing.assert_array_equal(frame.pixels[:30], frame.frame.pixels[:30])


def test_light_that_changes_on_the_target_passes(texture):
    rendered, tracks = moving_clip(texture, 9, 0)
    brighter = []
    for k, r in enumerate(rendered):
        gain = 40 if k >= 4 else 0
        frame = Frame(add(r.frame.pixels // 2, np.full((SIDE, SIDE, 3), gain, np.float32)), k, k * 10, Fraction(1, 250))
        x0, y0, x1, y1 = r.box
        brighter.append(RenderedFrame(frame, add(r.patch // 2, np.full(r.patch.shape, gain, np.float32)), r.box))
    np.testing.assert_allclose(levels(smoothed(brighter, tracks)), levels(brighter), atol=0.8)


def test_nothing_is_carried_over_a_cut(texture):
    rendered, tracks = moving_clip(texture, 8, 0, cut_at=4)
    done = smoothed(rendered, tracks)
    for before, after in zip(rendered, done, strict=True):
        assert np.abs(subtract(before.pixels, after.pixels)).max() < 12


def test_a_clip_in_segments_with_halo_equals_the_clip_in_one_piece(texture):
    rendered, tracks = moving_clip(texture, 12, 2, np.array([6, -6] * 6))
    whole = smoothed(rendered, tracks)
    for start, stop in ((0, 5), (5, 9), (9, 12)):
        low, high = max(start - HALO, 0), min(stop + HALO, 12)
        part = smoothed(rendered[low:high], tracks)[start - low : start - low + stop - start]
        for one, other in zip(part, whole[start:stop], strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)


def test_strength_zero_leaves_frames_as_they_are(texture):
    rendered, tracks = moving_clip(texture, 4, 2, np.array([6, -6, 6, -6]))
    for before, after in zip(rendered, smoothed(rendered, tracks, 0.0), strict=True):
        assert after is before


def test_a_square_that_sticks_out_of_the_picture_is_filled_up(rng):
    pixels = rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    out = take(pixels, -4, 8, 16)
    np.testing.assert_array_equal(out[:12, 4:], pixels[8:20, :12])
    np.testing.assert_array_equal(out[15, 5], pixels[19, 1])
    assert take(pixels, 100, 100, 8, is_border_black=True).max() == 0
    assert enlarge(take(pixels, 0, 0, 16, 2).astype(np.float32), 2).shape == (16, 16, 3)


def test_a_face_found_within_a_shot_fades_in_and_one_that_walks_in_does_not():
    middle = [make_mesh((120.0, 120.0), 40.0)] * 10
    tracks = make_tracks(make_track(middle, range(5, 15)), count=20)
    share = presence(tracks.tracks[0], tracks)
    np.testing.assert_allclose(share[:FADE_FRAMES], np.arange(1, FADE_FRAMES + 1) / (FADE_FRAMES + 1))
    np.testing.assert_allclose(share, share[::-1])
    edge = [make_mesh((20.0, 120.0), 40.0)] * 10
    tracks = make_tracks(make_track(edge, range(5, 15)), count=20)
    assert presence(tracks.tracks[0], tracks).min() == 1


def test_a_face_that_starts_with_a_cut_or_the_clip_does_not_fade():
    middle = [make_mesh((120.0, 120.0), 40.0)] * 10
    for cuts, frames, count in (((0,), range(10), 10), ((0, 5), range(5, 15), 15)):
        tracks = make_tracks(make_track(middle, frames), count=count, cuts=cuts)
        assert presence(tracks.tracks[0], tracks).min() == 1


def test_extreme_profiles_fade_out():
    turned = [make_mesh((120.0, 120.0), 40.0, yaw=yaw) for yaw in (0, 60, 75, 83, 89)]
    tracks = make_tracks(make_track(turned), count=5)
    share = presence(tracks.tracks[0], tracks)
    assert share[:3].min() == 1
    assert 0.3 < share[3] < 0.7
    assert share[4] < 0.15


def test_tracks_of_one_person_are_joined_over_cuts_and_never_within_a_frame():
    anna, bert = np.eye(4, dtype=np.float32)[:2]
    mesh = make_mesh((100.0, 100.0), 40.0)
    tracks = [
        make_track([mesh] * 3, range(3), 0, anna),
        make_track([mesh] * 3, range(3), 1, bert),
        make_track([mesh] * 2, range(5, 7), 2, anna + 0.3 * bert),
        make_track([mesh] * 3, range(1, 4), 3, anna - 0.2 * bert),  # a twin in the same frames
        make_track([mesh] * 2, range(8, 10), 4),
    ]
    assert link_people(tracks, 0.5) == (0, 1, 0, 2, 3)


def test_crop_of_the_mesh_is_what_the_views_are_cut_by():
    mesh = make_mesh((100.0, 90.0), 40.0)
    affine = mesh_crop(mesh, 128, 1.25)
    middle = (mesh[:468, :2].min(axis=0) + mesh[:468, :2].max(axis=0)) / 2
    np.testing.assert_allclose(affine[:, :2] @ middle + affine[:, 2], [63.5, 63.5], atol=0.5)
