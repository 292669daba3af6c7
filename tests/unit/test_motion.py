from dataclasses import replace
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
from facefusion.render.smooth import HALO, MotionSmoother, _change, _refit, _Square
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


def test_a_face_found_within_a_shot_fades_in_wherever_it_is():
    for x in (120.0, 20.0):  # in the middle, and coming in over the border
        meshes = [make_mesh((x, 120.0), 40.0)] * 10
        tracks = make_tracks(make_track(meshes, range(5, 15)), count=20)
        share = presence(tracks.tracks[0], tracks)
        np.testing.assert_allclose(share[:FADE_FRAMES], np.arange(1, FADE_FRAMES + 1) / (FADE_FRAMES + 1))
        np.testing.assert_allclose(share, share[::-1])


def test_a_head_that_enters_from_the_border_does_not_pop():
    meshes = [make_mesh((-20.0 + 12 * k, 120.0), 40.0) for k in range(16)]
    tracks = make_tracks(make_track(meshes, range(4, 20)), count=30)
    share = np.concatenate([[0], presence(tracks.tracks[0], tracks), [0]])
    assert np.abs(np.diff(share)).max() <= 0.26
    assert share.max() == 1


def test_fades_take_as_long_at_any_frame_rate():
    meshes = [make_mesh((120.0, 120.0), 40.0)] * 40
    for ticks, frames in ((10, FADE_FRAMES), (4, 6), (2, 12)):  # 25, 62.5 and 125 frames per second
        tracks = make_tracks(make_track(meshes, range(5, 45)), count=60)
        tracks = replace(tracks, pts=np.arange(60, dtype=np.int64) * ticks)
        share = presence(tracks.tracks[0], tracks)
        assert int((share < 1).sum()) == 2 * frames


def test_a_face_that_starts_with_a_cut_or_the_clip_does_not_fade():
    middle = [make_mesh((120.0, 120.0), 40.0)] * 10
    for cuts, frames, count in (((0,), range(10), 10), ((0, 5), range(5, 15), 15)):
        tracks = make_tracks(make_track(middle, frames), count=count, cuts=cuts)
        assert presence(tracks.tracks[0], tracks).min() == 1


def test_a_face_that_another_track_takes_over_is_never_half_changed():
    one, other = ([make_mesh((120.0, 120.0), 40.0)] * 8 for _ in range(2))
    tracks = make_tracks(make_track(one, range(8), 0), make_track(other, range(8, 16), 1), count=16)
    assert all(presence(track, tracks, {0, 1}).min() == 1 for track in tracks.tracks)
    assert presence(tracks.tracks[0], tracks, {0}).min() < 1  # the other one is left as it is


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


def test_a_second_neighbour_steadies_more_than_one(texture, monkeypatch):
    jitter = np.array([8, -8, -8, 8] * 4)
    rendered, tracks = moving_clip(texture, 16, 2, jitter)
    plain, _ = moving_clip(texture, 16, 2)

    def unrest(frames):
        change = [subtract(f.pixels, p.pixels)[100:150, 100:130].mean() for f, p in zip(frames, plain, strict=True)]
        return np.abs(np.diff(change))[3:-3].mean()

    both = unrest(smoothed(rendered, tracks, 0.5))
    monkeypatch.setattr("facefusion.render.smooth.HALO", 1)
    assert both < 0.75 * unrest(smoothed(rendered, tracks, 0.5))


def test_faces_are_steadied_while_their_square_grows(texture):
    plain, tracks = moving_clip(texture, 60, 0)
    meshes = tracks.tracks[0].meshes.copy()
    meshes[30:] = make_mesh((110.0, 120.0), 66.0)  # the square changes its side somewhere before
    tracks = make_tracks(make_track(list(meshes)), count=60)
    smoother = MotionSmoother(tracks, (0,), 1.0)
    sides = np.array([(lambda box: box[2] - box[0])(smoother.region(k * 10)) for k in range(60)])
    (at,) = np.flatnonzero(np.diff(sides))
    # Unrest that one side alone would not take off.
    jitter = np.where(np.isin((np.arange(60) - at) % 4, (0, 3)), 8, -8)
    rendered, _ = moving_clip(texture, 60, 0, jitter)
    done = smoothed(rendered, tracks)
    off = [np.abs(subtract(d.pixels, p.pixels))[100:150, 100:130].mean() for d, p in zip(done, plain, strict=True)]
    before = [
        np.abs(subtract(r.pixels, p.pixels))[100:150, 100:130].mean() for r, p in zip(rendered, plain, strict=True)
    ]
    assert max(off[at : at + 2]) < 0.5 * min(before[at : at + 2])


def test_squares_of_another_size_show_the_same_place(rng):
    pixels = cv2.GaussianBlur(rng.uniform(0, 255, (900, 900, 3)).astype(np.float32), (0, 0), 6)
    small, large, coarse = _Square(330, 330, 240, 1), _Square(322, 322, 256, 1), _Square(290, 290, 320, 2)
    seen = {s: take(pixels, s.x0, s.y0, s.side, s.block) for s in (small, large, coarse)}
    for one in seen:
        for other in seen:
            found = _refit(seen[one], one, other)
            assert found.shape == seen[other].shape
            inner = slice(20, -20) if other is not coarse else slice(30, -30)
            assert np.abs(found - seen[other])[inner, inner].mean() < 1.5


def test_fades_pass_the_smoothing_as_they_are(texture):
    rendered, tracks = moving_clip(texture, 20, 0)
    frames = np.arange(6, 20)
    tracks = make_tracks(make_track(list(tracks.tracks[0].meshes[6:]), frames), count=20)
    share = np.concatenate([np.zeros(6), presence(tracks.tracks[0], tracks)])
    faded = []
    for r, part in zip(rendered, share, strict=True):
        under = r.frame.pixels[r.box[1] : r.box[3], r.box[0] : r.box[2]].astype(np.float32)
        patch = np.round(under + (r.patch - under) * part).astype(np.uint8)
        faded.append(RenderedFrame(r.frame) if part == 0 else RenderedFrame(r.frame, patch, r.box))
    np.testing.assert_allclose(levels(smoothed(faded, tracks)), levels(faded), atol=0.8)


@pytest.mark.parametrize(
    "square", [_Square(60, 50, 104, 1), _Square(-21, 37, 128, 2), _Square(130, 150, 264, 3), _Square(400, 400, 64, 1)]
)
def test_the_change_in_a_square_is_the_difference_of_the_pictures_there(square, rng):
    target, output = (rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2))
    box = (33, 41, 201, 187)
    x0, y0, x1, y1 = box
    rendered = RenderedFrame(Frame(target, 0, 0, Fraction(1, 25)), output[y0:y1, x0:x1], box)
    whole = subtract(output[y0:y1, x0:x1], target[y0:y1, x0:x1])
    plain = take(whole, square.x0 - x0, square.y0 - y0, square.side, square.block, is_border_black=True)
    np.testing.assert_array_equal(_change(rendered, square), plain)
