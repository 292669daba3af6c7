"""Frames without an end: what is known of people so far, links that remember, frames that are left out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from tests.patience import wait_until

from facefusion.analyse.analyser import (
    GLASSES_EVERY,
    GLASSES_LATER,
    GLASSES_SOON,
    REMEMBERED,
    THOROUGH_REACH,
    TURN,
    Analyser,
    Glimpse,
    _Follower,
)
from facefusion.analyse.causal import HOLD, MAX_PEOPLE, ROWS, CausalTracker
from facefusion.analyse.smooth import CausalSmoother, smooth_meshes
from facefusion.errors import RecipeError
from facefusion.pipeline.live import Live, Newest, check_live
from facefusion.recipe import build_recipe
from facefusion.render.flow import Flow, FrameLink, Past
from facefusion.testing.fakes import BrightSpotLandmarker, FakeDetector, make_mesh, sample_path
from facefusion.types.frame import Frame

BASE = Fraction(1, 25)
SPOT = (100, 120)


def frames_with(spots, backgrounds=None, size=(240, 320)):
    for number, spot in enumerate(spots):
        pixels = np.zeros((*size, 3), dtype=np.uint8)
        if backgrounds is not None:
            pixels[:] = backgrounds[number]
        if spot is not None:
            x, y = spot
            pixels[max(y - 6, 0) : y + 7, max(x - 6, 0) : x + 7] = 255
        yield Frame(pixels, number, number, BASE)


def analyser(interval=4, **options):
    return Analyser(FakeDetector([make_mesh((100.0, 120.0), 36.0)]), BrightSpotLandmarker(), interval, **options)


def rows_at(tracks, pts):
    return tracks.at(pts, [track.track_id for track in tracks.tracks])


# Smoothing


@pytest.mark.parametrize("step", [0.0, 5.0])
def test_what_is_known_so_far_is_smoothed_as_the_last_frame_of_a_clip_is(rng, step):
    count = 30
    true = np.stack([make_mesh((60 + step * k, 100.0)) for k in range(count)])
    measured = true + rng.normal(0, 0.5, true.shape).astype(np.float32)
    motions = np.zeros((count, 478, 2), np.float32)
    motions[1:, :, 0] = step
    trusts = np.ones((count, 478), np.float32)
    smoother = CausalSmoother(1.0, (400, 300))
    found = [smoother.step(m, (motions[k], trusts[k]) if k else None) for k, m in enumerate(measured)]
    for k in (3, 12, 24):
        whole = smooth_meshes(measured[: k + 1], motions[: k + 1], trusts[: k + 1], 1.0, (400, 300))
        np.testing.assert_allclose(found[k][:, :2], whole[-1, :, :2], atol=0.05)
    before, after = (np.abs(np.stack(one)[8:] - true[8:])[..., :2].mean() for one in (measured, found))
    assert after < 0.65 * before


def test_strength_zero_smooths_nothing(rng):
    smoother = CausalSmoother(0.0, (400, 300))
    for _ in range(5):
        mesh = make_mesh((100.0, 100.0)) + rng.normal(0, 1, (478, 3)).astype(np.float32)
        np.testing.assert_array_equal(smoother.step(mesh, None), mesh)


# Following


def test_every_frame_says_who_is_there_and_what_was_said_stays():
    told = {}
    with CausalTracker(analyser(interval=500)) as tracker:
        for frame in frames_with([(100 + k, 120) for k in range(ROWS + 10)]):
            tracks = tracker.see(frame)
            assert int(tracks.pts[-1]) == frame.pts
            assert len(tracks.pts) <= ROWS
            ((track, row),) = rows_at(tracks, frame.pts)
            told[frame.pts] = track.meshes[row].copy()
            for pts in tracks.pts.tolist():
                ((track, row),) = rows_at(tracks, pts)
                np.testing.assert_array_equal(track.meshes[row], told[pts])
            assert track.track_id == 0
    centres = np.array([mesh[[33, 263, 152, 10], 0].mean() for mesh in told.values()])
    assert np.diff(centres[5:]).mean() == pytest.approx(1.0, abs=0.1)


def test_who_is_lost_for_a_moment_is_taken_to_be_there_and_is_the_same_one_afterwards():
    spots = [SPOT] * 8 + [None] * (HOLD + 3) + [SPOT] * 8
    seen = {}
    with CausalTracker(analyser()) as tracker:
        for frame in frames_with(spots):
            seen[frame.pts] = [(t.track_id, bool(t.guessed[row])) for t, row in rows_at(tracker.see(frame), frame.pts)]
    assert all(seen[k] == [(0, False)] for k in range(8))
    assert [seen[8 + k] for k in range(HOLD)] == [[(0, True)]] * HOLD
    assert seen[8 + HOLD] == []
    assert seen[8 + HOLD + 3] == [(0, False)]


class DetectorOnce(FakeDetector):
    """Sees its faces in the first picture alone."""

    def detect(self, pixels):
        found = super().detect(pixels)
        return found if self.calls == 1 else [[] for _ in pixels]


@pytest.mark.parametrize(("is_thorough", "count"), [(False, HOLD), (True, THOROUGH_REACH)])
def test_where_people_are_hidden_who_is_lost_is_covered_for_longer(is_thorough, count):
    detector = DetectorOnce([make_mesh((100.0, 120.0), 36.0)])
    found = []
    with CausalTracker(Analyser(detector, BrightSpotLandmarker(), 4, is_thorough=is_thorough)) as tracker:
        for frame in frames_with([SPOT] * 6 + [None] * 20):
            found.append(len(rows_at(tracker.see(frame), frame.pts)))
    assert found == [1] * (6 + count) + [0] * (20 - count)


def test_a_cut_begins_new_tracks_and_holds_nobody():
    backgrounds = [(10, 10, 10)] * 10 + [(190, 40, 120)] * 10
    with CausalTracker(analyser()) as tracker:
        ids = [
            [t.track_id for t, _ in rows_at(tracker.see(frame), frame.pts)]
            for frame in frames_with([SPOT] * 20, backgrounds)
        ]
    assert ids == [[0]] * 10 + [[1]] * 10


class Told:
    """An analyser that knows people by the first number of a picture."""

    smoothing, is_thorough, patience, contract, same_person_cosine, min_point_score = 1.0, False, 50, "test", 0.4, 0.5

    def tell_apart(self, pixels, points):
        return np.eye(8, dtype=np.float32)[int(pixels[0, 0, 0])], None


class Script:
    """A watch that sees what it is told: for every frame places and people by follower, and whether a shot starts."""

    frames: ClassVar[list] = []

    def __init__(self, analyser):
        self.shot, self._number = 0, -1

    def see(self, frame):
        self._number += 1
        self.shot += self.frames[self._number][0] or self._number == 0

    def glimpses(self):
        return [
            Glimpse(follower, self.shot, make_mesh(place, 36.0), 1.0, None, None, None, np.zeros(3, np.float32), 0,
                    (np.full((2, 2, 3), who, np.uint8), np.zeros((5, 2), np.float32), 1.0), *is_other)
            for follower, (place, who, *is_other) in self.frames[self._number][1].items()
        ]  # fmt: skip

    def forget(self):
        pass

    def close(self):
        pass


def follow(frames, monkeypatch):
    """Tracks and people of every frame, as (track, person, is guessed)."""
    monkeypatch.setattr(Script, "frames", frames)
    monkeypatch.setattr("facefusion.analyse.causal.Watch", Script)
    found = []
    with CausalTracker(Told()) as tracker:
        for frame in frames_with([None] * len(frames)):
            tracks = tracker.see(frame)
            rows = [
                (t.track_id, tracks.person_of(t.track_id), bool(t.guessed[r])) for t, r in rows_at(tracks, frame.pts)
            ]
            found.append(sorted(rows))
    return found


HERE, NEAR, FAR = (100.0, 100.0), (104.0, 101.0), (240.0, 100.0)


def test_who_is_followed_anew_where_somebody_was_lost_is_the_same(monkeypatch):
    frames = [(False, {0: (HERE, 1)})] * 3 + [(False, {5: (NEAR, 1)})] * 3
    assert follow(frames, monkeypatch) == [[(0, 0, False)]] * 6
    frames = [(False, {0: (HERE, 1)})] * 3 + [(False, {})] * 2 + [(False, {5: (NEAR, 1)})] * 2
    assert follow(frames, monkeypatch) == [[(0, 0, False)]] * 3 + [[(0, 0, True)]] * 2 + [[(0, 0, False)]] * 2


def test_who_comes_where_somebody_else_was_lost_is_another_and_nobody_is_held_behind_them(monkeypatch):
    frames = [(False, {0: (HERE, 1)})] * 3 + [(False, {5: (NEAR, 2)})] * 2
    assert follow(frames, monkeypatch) == [[(0, 0, False)]] * 3 + [[(1, 1, False)]] * 2
    frames = [(False, {0: (HERE, 1)})] * 3 + [(False, {5: (FAR, 1)})]  # elsewhere: another track of the same person
    assert follow(frames, monkeypatch)[-1] == [(0, 0, True), (1, 0, False)]


def test_a_face_that_turns_out_to_be_somebody_elses_is_another_track(monkeypatch):
    frames = [(False, {0: (HERE, 1)})] * 3 + [(False, {5: (HERE, 1, True)})] + [(False, {5: (HERE, 1)})]
    found = follow(frames, monkeypatch)
    assert [row[0] for rows in found for row in rows] == [0, 0, 0, 1, 1]


def test_people_have_the_same_number_after_a_cut_and_after_a_long_while(monkeypatch):
    two = {0: (HERE, 1), 1: (FAR, 2)}
    frames = [(False, two)] * 2 + [(True, {2: (FAR, 2), 3: (HERE, 3)})] + [(False, {2: (FAR, 2)})] * 120
    frames += [(True, {4: (HERE, 1)})]
    found = follow(frames, monkeypatch)
    assert found[0] == [(0, 0, False), (1, 1, False)]
    assert found[2] == [(2, 1, False), (3, 2, False)]  # the one who was there, and somebody new
    assert found[-1] == [(4, 0, False)]


def test_what_is_done_seldom_later_on_is_so_in_a_stream_without_an_end():
    """Rows that were let go count: of those that are kept there are never as many as are soon."""
    asked = []

    class Seer:
        def see_glasses(self, pixels, face):
            asked.append(follower.row)
            return 0.0, 0.0

    watcher, follower = analyser(glasses_seer=Seer()), _Follower(0)
    for number in range(3 * GLASSES_SOON):
        follower.add(number, make_mesh((100.0, 120.0), 36.0), 1.0)
        watcher._look_for_glasses(follower, np.zeros((240, 320, 3), np.uint8))
        follower.forget(REMEMBERED)
    assert len(follower.frames) < REMEMBERED + TURN
    assert asked == [*range(0, GLASSES_SOON, GLASSES_EVERY), *range(GLASSES_SOON, 3 * GLASSES_SOON, GLASSES_LATER)]


def test_a_stream_without_an_end_needs_no_more_and_more_room():
    # People come and go, scenes change.
    spots = [None if k % 90 > 80 else SPOT for k in range(900)]
    backgrounds = [((k // 200) * 60 % 200, 10, 10) for k in range(900)]
    most = 0
    with CausalTracker(analyser()) as tracker:
        for frame in frames_with(spots, backgrounds, (120, 160)):
            tracker.see(frame)
            most = max(most, tracker.held)
            for follower in tracker._watch._followers:
                assert len(follower.frames) < REMEMBERED + 2 * TURN
                assert len(follower.finishes) <= len(follower.frames)
            assert len(tracker._watch._pts) == 0
            assert len(tracker._watch._followers) <= 3
    assert most <= 3 * ROWS + MAX_PEOPLE


# Links


@dataclass
class Mean:
    """A frame processor: the mean of a window."""

    scale: Fraction = Fraction(1)
    seen: list = field(default_factory=list)

    def prepare(self, sources):
        pass

    def process(self, windows):
        return [np.mean([f.pixels for f in w.frames], axis=0).astype(np.uint8) for w in windows]


@pytest.mark.parametrize("halos", [(), (0,), (2,), (1, 3)])
def test_frames_one_at_a_time_become_what_a_clip_of_them_becomes(rng, halos):
    pictures = rng.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    stream = [Frame(pixels, k, k, BASE) for k, pixels in enumerate(pictures)]
    flow = Flow(tuple(FrameLink("mean", Mean(), halo) for halo in halos))
    wanted = [(r.frame.pts, r.pixels) for r in flow.render(stream)]
    pasts = tuple(Past() for _ in flow.links)
    assert flow.latency == sum(halos)
    done = []
    for number, frame in enumerate(stream):
        rendered = flow.step(frame, pasts)
        assert (rendered is None) == (number < flow.latency)
        if rendered is not None:
            assert rendered.frame.pts == frame.pts - flow.latency
            done.append(rendered)
    while (rendered := flow.step(None, pasts)) is not None:
        done.append(rendered)
    assert [r.frame.pts for r in done] == [pts for pts, _ in wanted]
    for rendered, (_, pixels) in zip(done, wanted, strict=True):
        np.testing.assert_array_equal(rendered.pixels, pixels)
    assert all(len(past.frames) <= 2 * 3 + 1 for past in pasts)


# Frames that are left out


def test_a_slow_consumer_gets_the_newest_frame_and_knows_how_many_were_left_out():
    is_taken, goes_on = threading.Event(), threading.Event()

    def source():
        frames = list(frames_with([None] * 11))
        yield frames[0]
        is_taken.wait()
        yield from frames[1:10]
        goes_on.wait()
        yield frames[10]

    with Newest(source()) as newest:
        frames = iter(newest)
        try:
            assert next(frames).pts == 0
            is_taken.set()
            wait_until(lambda: newest.dropped_count == 8)
            assert next(frames).pts == 9
        finally:  # whatever fails, the thread is not to wait for ever
            is_taken.set()
            goes_on.set()
        assert [frame.pts for frame in frames] == [10]
        assert newest.dropped_count == 8
    assert not newest._thread.is_alive()


def test_what_a_source_raises_comes_out_of_the_stream():
    def source():
        yield Frame(np.zeros((2, 2, 3), np.uint8), 0, 0, BASE)
        raise OSError("gone")

    with Newest(source()) as newest, pytest.raises(OSError, match="gone"):
        list(newest)


def test_a_stream_that_is_left_leaves_no_thread():
    def source():
        yield from frames_with([None] * 10_000)

    with Newest(source()) as newest:
        next(iter(newest))
    assert not newest._thread.is_alive()


# Requests


def test_what_needs_the_whole_of_a_clip_is_refused(tmp_path):
    source = {"source_paths": [sample_path("source.jpg")]}
    with pytest.raises(RecipeError, match="reference frame"):
        check_live(build_recipe(source | {"face_selector_mode": "reference"}))
    face_map = tmp_path / "map.toml"
    face_map.write_text(f'[[person]]\ntrack = 0\nsources = ["{sample_path("source.jpg")}"]\n')
    with pytest.raises(RecipeError, match="names people by numbers"):
        check_live(build_recipe({"face_map_path": face_map}))
    with pytest.raises(RecipeError, match="No source"):
        Live(build_recipe({}))
