"""Tracks from made-up observations: in memory and by way of a file."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from facefusion.analyse import join as join_module
from facefusion.analyse.join import JoinOptions, join
from facefusion.analyse.people import ALSO, Sameness, find_changes, link_people
from facefusion.errors import TracksError
from facefusion.testing.fakes import make_mesh
from facefusion.types.certainty import certainty_of
from facefusion.types.observation import Observation, Sighting
from facefusion.types.rows import Rows
from facefusion.types.topology import MESH_TO_68
from facefusion.types.track import Tracks


def make_sighting(rows, first, rng):
    """Somebody who walks slowly to the right, with points two pixels below the mesh's in every other row."""
    rows = np.array(rows)
    meshes = np.stack([make_mesh((100.0 + row + first, 100.0), 40.0) for row in rows]).astype(np.float32)
    meshes += rng.normal(0, 0.2, meshes.shape).astype(np.float32)
    pointed = rows[::2]
    points = meshes[::2][:, list(MESH_TO_68), :2] + np.array([0, 2], np.float32)
    n = len(rows)
    return Sighting(
        rows, meshes, np.full(n, 0.9, np.float32), np.ones((n, 478, 2), np.float16) * np.array([1, 0], np.float16),
        np.full((n, 478), 0.7, np.float16), np.arange(n) > 0, pointed, points, np.full(len(pointed), 0.9, np.float32),
        rows[:1], np.array([[1.0, 2.0]], np.float32), np.array([first + 1.0], np.float32),
        rng.normal(size=(1, 8)).astype(np.float32),
    )  # fmt: skip


@pytest.fixture
def observations():
    """Three parts of 20 frames; the face is away for three frames (bridged), then for ten."""
    rng = np.random.default_rng(1)
    rows = [list(range(21)), [*range(12), *range(15, 21)], [0, 1, *range(12, 18)]]
    parts = []
    for number, seen in enumerate(rows):
        is_last = number == 2
        pts = np.arange(20 + (not is_last)) + 20 * number
        cuts = np.array([0])
        sightings = (make_sighting(seen, 20 * number, rng),)
        parts.append(Observation(640, 360, Fraction(1, 25), pts, cuts, not is_last, sightings))
    return parts


@pytest.mark.parametrize("reach", [0, 4])
def test_the_file_way_gives_the_same_tracks(tmp_path, observations, monkeypatch, reach):
    monkeypatch.setattr(join_module, "SMOOTHED_AT_ONCE", 7)  # many pieces
    monkeypatch.setattr(join_module, "SMOOTHED_AROUND", 3)
    options = JoinOptions(max_gap=5, reach=reach, contract="made-up")
    for number, part in enumerate(observations):
        part.save(tmp_path / f"{number}")
    stored = [Observation.load(tmp_path / f"{number}") for number in range(3)]
    assert isinstance(stored[0].sightings[0].meshes, Rows)
    mapped = join(stored, options, {"a": "b"}, tmp_path / "file")
    join(observations, options, {"a": "b"}).save(tmp_path / "memory")
    assert (tmp_path / "file").read_bytes() == (tmp_path / "memory").read_bytes()
    assert isinstance(mapped.tracks[0].meshes, np.memmap)
    whole = Tracks.load(tmp_path / "file")
    assert np.array_equal(mapped.tracks[0].meshes, whole.tracks[0].meshes)
    assert [len(track.frames) for track in whole.tracks] == [len(track.frames) for track in mapped.tracks]


def test_gaps_are_bridged_or_not_and_points_ride_on_the_mesh(observations):
    (track,) = join(observations, JoinOptions(max_gap=5)).tracks
    assert track.frames.tolist() == [*range(42), *range(52, 58)]
    assert track.guessed.nonzero()[0].tolist() == [32, 33, 34]
    # It walks one pixel a frame, through the gap too.
    middle = track.meshes[:, :, 0].mean(axis=1)
    assert np.allclose(np.diff(middle[:42]), 1, atol=0.35)
    below = (track.points - track.meshes[:, list(MESH_TO_68), :2]).mean(axis=1)
    assert np.allclose(below[track.guessed == 0], [0, 2], atol=0.1)


@pytest.mark.parametrize("degrees", [45, 90, -135, 180])
def test_a_face_that_is_turned_after_a_gap_turns_in_it_and_does_not_shrink(observations, degrees):
    part = replace(observations[1], overlaps=False)
    (sighting,) = part.sightings
    meshes = np.array(sighting.meshes)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    for row in np.flatnonzero(sighting.frames >= 15):
        middle = meshes[row, :, :2].mean(axis=0)
        meshes[row, :, :2] = (meshes[row, :, :2] - middle) @ turn + middle
    turned = replace(part, sightings=(replace(sighting, meshes=meshes),))
    (track,) = join([turned], JoinOptions(max_gap=5, smoothing=0.0)).tracks
    bridged = track.meshes[track.guessed > 0][:, :, :2]
    assert len(bridged) == 3
    reach = np.linalg.norm(bridged - bridged.mean(axis=1, keepdims=True), axis=2).mean(axis=1)
    seen = track.meshes[0, :, :2]
    assert reach == pytest.approx(np.linalg.norm(seen - seen.mean(axis=0), axis=1).mean(), rel=0.02)
    # The middle one is turned by half of it.
    half = bridged[1] - bridged[1].mean(axis=0)
    upright = seen - seen.mean(axis=0)
    across = (upright[:, 0] * half[:, 1] - upright[:, 1] * half[:, 0]).sum()
    found = np.degrees(np.arctan2(across, (upright * half).sum()))
    assert abs(found) == pytest.approx(abs(degrees) / 2, abs=2)
    assert degrees == 180 or found * degrees > 0


def test_a_face_stays_where_it_was_at_both_ends_within_its_shot(observations):
    late = [replace(observations[0], cuts=np.array([0])), *observations[1:]]
    late[0] = replace(late[0], sightings=(make_sighting(range(2, 21), 0, np.random.default_rng(2)),))
    (track,) = join(late, JoinOptions(max_gap=5, reach=4)).tracks
    assert track.frames[0] == 0  # two frames were free before it
    assert track.frames[-1] == 59  # and two after it
    assert np.array_equal(track.meshes[0], track.meshes[2])
    assert np.array_equal(track.poses[-1], track.poses[-3])
    assert track.guessed[[0, 1, -1, -2]].all()


@pytest.mark.parametrize(("cuts", "covered"), [
    ([0, 8, 10], {8, 9}),  # a flash of two frames
    ([0, 8, 11], {8, 9, 10}),  # the longest one
    ([0, 8, 9, 10], {8, 9}),  # two flashes, one after the other
    ([0, 8, 12], set()),  # too long for a flash
    ([0, 8], set()),  # a cut, and nobody any more
])  # fmt: skip
@pytest.mark.parametrize("reach", [1, 4])
def test_a_face_stays_where_it_was_through_a_flash_and_not_beyond_a_cut(cuts, covered, reach):
    rng = np.random.default_rng(7)
    after = max(cuts[-1], 10)
    shots = [range(8), range(after, 40)][: len(cuts) - 1]
    sides = tuple(make_sighting(rows, 0, rng) for rows in shots)
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array(cuts), False, sides)
    tracks = join([seen], JoinOptions(max_gap=0, reach=reach))
    rows = {int(row) for track in tracks.tracks for row in track.frames}
    assert rows & set(range(8, after)) == covered
    assert set(range(8)) <= rows
    # One who is held in a flash is of their own shot: the most prominent of every shot are all that there are.
    assert set(tracks.prominent()) == {track.track_id for track in tracks.tracks}
    assert all(not np.isin(track.frames[track.guessed == 0], range(8, after)).any() for track in tracks.tracks)
    # Where nobody is hidden nothing is drawn that was not seen.
    rows = {int(row) for track in join([seen], JoinOptions(max_gap=0)).tracks for row in track.frames}
    assert not rows & set(range(8, after))


def test_what_is_found_in_a_flash_stays_in_it():
    rng = np.random.default_rng(7)
    sides = tuple(make_sighting(rows, 60 * k, rng) for k, rows in enumerate((range(8), range(8, 10), range(10, 40))))
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array([0, 8, 10]), False, sides)
    spans = {(int(t.frames[0]), int(t.frames[-1])) for t in join([seen], JoinOptions(max_gap=0, reach=4)).tracks}
    assert spans == {(0, 9), (8, 9), (8, 39)}


def in_doubt(sighting, detector, verdict):
    scores = np.full(len(sighting.frames), 0.95, np.float32)
    return replace(sighting, scores=scores, evidence=np.array([detector, 0, verdict], np.float32))


@pytest.mark.parametrize(("rows", "middle", "size", "cuts", "expected"), [
    (range(3, 14), (102.0, 101.0), 40.0, [0], "unsure"),  # before the face was sure
    (range(24, 40), (102.0, 101.0), 40.0, [0], "unsure"),  # and after it
    ([12, 13, *range(30, 40)], (102.0, 101.0), 40.0, [0], "unsure"),  # four frames later
    ([12, 13, *range(31, 40)], (102.0, 101.0), 40.0, [0], "unlikely"),  # five frames later
    (range(12, 20), (102.0, 101.0), 40.0, [0], "unlikely"),  # only while it was: it is covered then
    (range(3, 14), (150.0, 101.0), 40.0, [0], "unlikely"),  # beside it
    (range(3, 14), (102.0, 101.0), 24.0, [0], "unlikely"),  # far smaller
    (range(3, 14), (102.0, 101.0), 40.0, [0, 10], "unlikely"),  # in another shot
    (range(29, 40), (102.0, 101.0), 40.0, [0, 26, 29], "unsure"),  # beyond a flash
])  # fmt: skip
def test_a_doubtful_find_that_goes_on_where_a_face_begins_or_ends_is_that_face(rows, middle, size, cuts, expected):
    """Found at t, one is there at t - 1, whatever the networks think of what they see then."""
    rng = np.random.default_rng(8)
    looks = two_looks(rng)
    until = 27 if len(cuts) < 3 else cuts[1]
    face = in_doubt(placed(range(10, until), (100.0, 100.0), looks[0], rng), 0.9, 0.99)
    find = in_doubt(placed(rows, middle, looks[1], rng), 0.25, 0.28)
    find = replace(find, meshes=np.stack([make_mesh(middle, size)] * len(rows)))
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array(cuts), False, (face, find))
    tracks = join([seen], JoinOptions(max_gap=0, reach=4))
    assert len(tracks.tracks) == 2
    by_evidence = {float(track.evidence[0]) > 0.5: certainty_of(track, 40) for track in tracks.tracks}
    assert by_evidence == {True: "sure", False: expected}


def test_a_doubtful_find_while_a_face_is_lost_for_a_while_is_that_face():
    rng = np.random.default_rng(8)
    looks = two_looks(rng)
    face = in_doubt(placed([*range(10), *range(30, 40)], (100.0, 100.0), looks[0], rng), 0.9, 0.99)
    find = in_doubt(placed(range(8, 29), (102.0, 101.0), looks[1], rng), 0.25, 0.28)
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array([0]), False, (face, find))
    tracks = join([seen], JoinOptions(max_gap=5, reach=4)).tracks
    assert sorted(certainty_of(track, 40) for track in tracks) == ["sure", "unsure"]


def of_size(sighting, middle, size):
    return replace(sighting, meshes=np.stack([make_mesh(middle, size)] * len(sighting.frames)))


@pytest.mark.parametrize(("middle", "size", "detector", "cuts", "expected"), [
    ((600.0, 180.0), 40.0, 0.3, [0], (14, 31)),  # a head that the border cuts
    ((600.0, 180.0), 40.0, 0.3, [0, 17], (17, 31)),  # within its shot
    ((300.0, 180.0), 40.0, 0.3, [0], (18, 27)),  # all of it is in the picture
    ((636.0, 180.0), 12.0, 0.3, [0], (18, 27)),  # too small to be known by half of it
    ((600.0, 180.0), 40.0, 0.9, [0], (18, 27)),  # a face that the networks know
])  # fmt: skip
def test_half_a_head_at_the_border_stays_longer_than_it_is_found(middle, size, detector, cuts, expected):
    rng = np.random.default_rng(8)
    half = of_size(in_doubt(placed(range(20, 26), middle, two_looks(rng)[0], rng), detector, 0.9), middle, size)
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array(cuts), False, (half,))
    (track,) = join([seen], JoinOptions(max_gap=0, reach=2)).tracks
    assert (track.frames[0], track.frames[-1]) == expected


@pytest.mark.parametrize(("rows", "place", "expected"), [
    (range(6, 14), (612.0, 180.0), "unsure"),  # before half a head is found there
    (range(24, 34), (612.0, 180.0), "unsure"),  # after it
    (range(6, 14), (612.0, 60.0), "unlikely"),  # elsewhere at the border
    (range(6, 14), (480.0, 180.0), "unlikely"),  # not at the border
    (range(8), (612.0, 180.0), "unlikely"),  # long before
])  # fmt: skip
def test_what_is_found_at_the_border_where_half_a_head_is_found_later_is_that_head(rows, place, expected):
    """Found at t, one is there at t - 1; of half a head both networks think little, and it is half as large."""
    rng = np.random.default_rng(8)
    looks = two_looks(rng)
    half = of_size(in_doubt(placed(range(15, 24), (580.0, 190.0), looks[0], rng), 0.3, 0.95), (580.0, 190.0), 40.0)
    part = of_size(in_doubt(placed(rows, place, looks[1], rng), 0.2, 0.2), place, 20.0)
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array([0]), False, (half, part))
    tracks = join([seen], JoinOptions(max_gap=0, reach=2)).tracks
    assert {float(track.evidence[0]) > 0.25: certainty_of(track, 40) for track in tracks} == {
        True: "unsure", False: expected,
    }  # fmt: skip


@pytest.mark.parametrize("rows", [range(10, 30), [*range(10, 18), *range(24, 30)]])
def test_a_part_of_somebody_at_the_border_does_not_go_on_from_where_it_was_lost_itself(rows):
    rng = np.random.default_rng(8)
    looks = two_looks(rng)
    head = of_size(in_doubt(placed(range(40), (590.0, 180.0), looks[0], rng), 0.9, 0.95), (590.0, 180.0), 120.0)
    ear = of_size(in_doubt(placed(rows, (615.0, 180.0), looks[1], rng), 0.5, 0.9), (615.0, 180.0), 40.0)
    ear = replace(ear, scores=np.full(len(rows), 0.3, np.float32))
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array([0]), False, (head, ear))
    tracks = join([seen], JoinOptions(max_gap=0, reach=2)).tracks
    assert sorted(certainty_of(track, 40) for track in tracks) == ["sure", "unlikely"]


def at_top(height, down, other, detectors, verdicts, has_moved, score=0.3):
    """How sure two finds are: half a head at the upper border, of so many pixels, and another below its middle."""
    rng = np.random.default_rng(8)
    looks = two_looks(rng)
    unit = float(np.ptp(make_mesh((0.0, 0.0), 1.0)[:, 1]))
    finds = []
    for number, size in enumerate((height, other)):
        middle = (320.0 + 2 * number, 0.2 * height + down * number)
        one = of_size(in_doubt(placed(range(20), middle, looks[number], rng), 0, 0), middle, size / unit)
        evidence = np.array([detectors[number], has_moved, verdicts[number]], np.float32)
        finds.append(replace(one, scores=np.full(20, (score, 0.3)[number], np.float32), evidence=evidence))
    seen = Observation(640, 360, Fraction(1, 25), np.arange(40), np.array([0]), False, tuple(finds))
    tracks = join([seen], JoinOptions(reach=2)).tracks
    by_height = {round(float(track.evidence[4])): certainty_of(track, 40) for track in tracks}
    return by_height[height], by_height[other]


@pytest.mark.parametrize(("verdict", "expected"), [
    (0.25, ("unsure", "unsure")),  # hidden thanks to eased limits alone
    (0.6, ("unsure", "unlikely")),  # a head in any case: below it is a coat
])  # fmt: skip
@pytest.mark.parametrize("height", [50, 54, 56, 58, 60, 62, 63])
def test_what_moves_below_half_a_head_that_is_hidden_to_be_safe_is_not_its_body(height, verdict, expected):
    """Who stands there was hidden until the border's heads were, and lost that to them."""
    assert at_top(height, 180.0, 70, (0.3, 0.34), (verdict, 0.36), 1.0) == expected


@pytest.mark.parametrize(("verdict", "expected"), [(0.05, ("unsure", "unsure")), (0.6, ("sure", "unlikely"))])
@pytest.mark.parametrize("size", [14, 20])
@pytest.mark.parametrize("down", [1.0, 1.4, 2.0, 2.6, 3.4])
def test_what_is_small_below_half_a_head_that_is_hidden_to_be_safe_is_not_its_hand(verdict, expected, size, down):
    assert at_top(62, down * 62, size, (0.6, 0.6), (verdict, 0.45), 0.0, score=0.95) == expected


def people_by_definition(tracks, limit):
    """Average linkage written as it is defined."""
    groups = [[k] for k in range(len(tracks))]

    def nearness(a, b):
        pairs = [(tracks[i], tracks[j]) for i in a for j in b]
        if any(np.intersect1d(one.frames, other.frames).size for one, other in pairs):
            return -np.inf
        units = [(o.identity / np.linalg.norm(o.identity), p.identity / np.linalg.norm(p.identity)) for o, p in pairs]
        return float(np.mean([float(one @ other) for one, other in units]))

    while len(groups) > 1:
        best = max((nearness(a, b), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups[:i]))
        if best[0] < limit:
            break
        groups[best[2]] += groups.pop(best[1])
    order = sorted(min(group) for group in groups)
    return tuple(next(order.index(min(group)) for group in groups if k in group) for k in range(len(tracks)))


@pytest.mark.parametrize("seed", range(5))
def test_people_are_linked_as_average_linkage_is_defined(seed):
    rng = np.random.default_rng(seed)

    class Seen:
        def __init__(self):
            start = int(rng.integers(0, 60))
            self.frames = np.arange(start, start + int(rng.integers(1, 9)))
            self.identity = np.eye(4)[rng.integers(4)] + rng.normal(0, 0.35, 4)

    tracks = [Seen() for _ in range(24)]
    assert link_people(tracks, 0.5) == people_by_definition(tracks, 0.5)
    assert len(set(link_people(tracks, 0.5))) < 24


def looking(sighting, looks, depths=None):
    """A sighting of somebody of certain looks, all the time."""
    n = len(sighting.frames)
    blacks = np.full((n, 3), 0.01, np.float32)
    depths = np.zeros(n, np.int8) if depths is None else np.asarray(depths, np.int8)
    return replace(sighting, looks=np.stack([looks, looks]), blacks=blacks, depths=depths)


def placed(rows, middle, looks, rng):
    """Somebody who stands still."""
    sighting = make_sighting(rows, 0, rng)
    meshes = np.stack([make_mesh(middle, 40.0)] * len(rows))
    points = np.stack([make_mesh(middle, 40.0)[list(MESH_TO_68), :2]] * len(sighting.point_frames))
    return looking(replace(sighting, meshes=meshes, points=points, identities=np.zeros((1, 0), np.float32)), looks)


def two_looks(rng):
    return [rng.normal(-1.5, 0.5, (156, 3)).astype(np.float32) for _ in range(2)]


def observed(*sightings):
    return [Observation(640, 360, Fraction(1, 25), np.arange(40), np.array([0]), False, sightings)]


@pytest.mark.parametrize("swap", [False, True])
def test_two_who_change_places_while_nobody_sees_them_are_told_apart_by_their_looks(swap):
    rng = np.random.default_rng(3)
    one, other = two_looks(rng)
    left, right = (100.0, 100.0), (150.0, 100.0)
    places = (right, left) if swap else (left, right)
    found = observed(
        placed(range(10), left, one, rng), placed(range(11), right, other, rng),
        placed(range(14, 30), places[0], one, rng), placed(range(15, 30), places[1], other, rng),
    )  # fmt: skip
    tracks = join(found, JoinOptions(max_gap=5)).tracks
    assert len(tracks) == 2
    for track in tracks:
        starts_left = track.meshes[0, :, 0].mean() < 125
        ends_left = track.meshes[-1, :, 0].mean() < 125
        assert (starts_left != ends_left) == swap


def test_a_stranger_at_the_same_place_is_another_track_and_light_that_changes_is_not():
    rng = np.random.default_rng(4)
    one, other = two_looks(rng)
    first = placed(range(10), (100.0, 100.0), one, rng)
    stranger = placed(range(13, 30), (100.0, 100.0), other, rng)
    brighter = placed(range(13, 30), (100.0, 100.0), one + np.array([0.9, 0.7, 0.5], np.float32), rng)
    assert len(join(observed(first, stranger), JoinOptions(max_gap=5)).tracks) == 2
    assert len(join(observed(first, brighter), JoinOptions(max_gap=5)).tracks) == 1


def test_a_gap_is_not_bridged_where_somebody_else_stands():
    rng = np.random.default_rng(5)
    one, other = two_looks(rng)
    hidden = placed([*range(10), *range(14, 30)], (100.0, 100.0), one, rng)
    before = placed(range(8, 30), (104.0, 102.0), other, rng)
    beside = placed(range(8, 30), (260.0, 102.0), other, rng)
    for other_one, is_bridged in ((before, False), (beside, True)):
        tracks = join(observed(hidden, other_one), JoinOptions(max_gap=5)).tracks
        (track,) = (t for t in tracks if t.frames[0] == 0)
        assert ({10, 11, 12, 13} <= set(track.frames.tolist())) == is_bridged
        # Whoever must not be seen stays covered.
        tracks = join(observed(hidden, other_one), JoinOptions(max_gap=5, reach=4)).tracks
        (track,) = (t for t in tracks if t.frames[0] == 0)
        assert {10, 11, 12, 13} <= set(track.frames.tolist())


def test_depth_and_the_darkest_go_through_files_and_gaps(tmp_path):
    rng = np.random.default_rng(6)
    sighting = looking(make_sighting([*range(10), *range(12, 20)], 0, rng), two_looks(rng)[0], [0] * 8 + [1] * 10)
    Observation(640, 360, Fraction(1, 25), np.arange(40), np.array([0]), False, (sighting,)).save(tmp_path / "part")
    tracks = join([Observation.load(tmp_path / "part")], JoinOptions(max_gap=5), {}, tmp_path / "tracks")
    (track,) = Tracks.load(tmp_path / "tracks").tracks
    assert np.array_equal(track.depths, tracks.tracks[0].depths)
    assert track.depths.tolist() == [0] * 8 + [1, 1, 0, 0] + [1] * 8
    assert track.depth(9) == 1
    assert track.depth(10) > 100  # nobody saw it
    np.testing.assert_allclose(track.blacks, 0.01, rtol=1e-5)


@pytest.mark.parametrize("value", [-127.0, 12824.0, 1.5, np.nan])
def test_trusts_that_are_no_shares_are_refused_when_the_part_is_read(tmp_path, value):
    """They stand in an exponent: what is joined from them would be no numbers."""
    sighting = make_sighting(range(10), 0, np.random.default_rng(6))
    trusts = sighting.trusts.copy()
    trusts[3, 100] = value
    part = Observation(
        640, 360, Fraction(1, 25), np.arange(40), np.array([0]), False, (replace(sighting, trusts=trusts),)
    )
    part.save(tmp_path / "part")
    with pytest.raises(TracksError, match="is damaged"):
        join([Observation.load(tmp_path / "part")], JoinOptions(), {}, tmp_path / "tracks")


ANNA, BEN, CARL = np.eye(3, 8, dtype=np.float32)


def telling(sighting, looks):
    """A sighting with looks that tell who it is: frame and embedding. The first two are its best."""
    frames = np.array([frame for frame, _ in looks])
    told = np.stack([who for _, who in looks]).astype(np.float32)
    kept = slice(0, 2)
    return replace(
        sighting, told_frames=frames, told=told, kept_frames=frames[kept], identities=told[kept],
        qualities=np.ones(len(frames[kept]), np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(("looks", "expected"), [
    ([ANNA] * 5, []),
    ([ANNA, ANNA, BEN, BEN], [12]),
    ([ANNA, BEN, BEN, ANNA, ANNA], [4, 20]),
    ([ANNA, ANNA, BEN, ANNA, ANNA], []),  # one strange look is a hand or blur
    ([ANNA, ANNA, BEN, CARL, ANNA], []),  # so are two that have nothing in common
    ([ANNA, ANNA, ANNA + 0.5 * BEN, ANNA + BEN, 0.3 * ANNA + BEN, BEN, BEN], [28]),  # a dissolve
    ([ANNA, ANNA + 1.5 * BEN, ANNA + 1.4 * BEN, ANNA + 1.5 * BEN], []),  # a face that turns, and is still theirs
])  # fmt: skip
def test_looks_at_a_face_that_become_somebody_elses_are_told(looks, expected):
    frames = 8 * np.arange(len(looks))
    embeddings = np.stack(looks).astype(np.float32)
    found = find_changes(frames, embeddings, 0.5, frames.tolist())
    # In one and the same picture it is a face in profile, or a hand that stays.
    assert find_changes(frames, embeddings, 0.5, [0]) == []
    assert [change.at for change in found] == expected
    for change in found:
        assert change.last < change.at <= change.begins
        assert change.both == (change.last - ALSO, change.begins + ALSO + 1)


def test_two_looks_that_share_a_moment_bear_nothing_out():
    sameness = Sameness(0.5, [0, 5])
    assert [sameness.see(frame, who) for frame, who in ((0, ANNA), (8, BEN), (9, BEN), (11, BEN), (12, BEN))] == [
        False, False, False, False, True,
    ]  # fmt: skip


DISSOLVE = [(0, ANNA), (8, ANNA), (16, ANNA + BEN), (24, BEN), (32, BEN), (39, BEN)]


@pytest.mark.parametrize("seam", [None, 12, 18, 28])
def test_a_face_that_dissolves_into_another_is_two_people_wherever_a_clip_is_cut(seam):
    rng = np.random.default_rng(6)
    looks = two_looks(rng)[0]  # light and colours are the same

    def turns(start, stop):
        return np.array([frame - start for frame in (start, 20) if start <= frame < stop], dtype=np.int64)

    def part(start, stop):
        told = [(frame - start, who) for frame, who in DISSOLVE if start <= frame < stop]
        seen = telling(placed(range(stop - start), (100.0, 100.0), looks, rng), told)
        return Observation(
            640, 360, Fraction(1, 25), np.arange(start, stop), np.array([0]), stop < 40, (seen,), turns(start, stop)
        )

    found = [part(0, 40)] if seam is None else [part(0, seam + 1), part(seam, 40)]
    tracks = join(found, JoinOptions(max_gap=5, contract="made-up"))
    first, second = sorted(tracks.tracks, key=lambda track: int(track.frames[0]))
    assert len(set(tracks.people)) == 2
    # No frame is lost, and none is both's.
    assert [*first.frames.tolist(), *second.frames.tolist()] == list(range(40))
    assert 12 <= second.frames[0] <= 20
    np.testing.assert_allclose(first.identity, ANNA, atol=1e-6)
    np.testing.assert_allclose(second.identity, BEN, atol=1e-6)
    # Where people are hidden, both are there as long as both may be seen.
    hidden = join(found, JoinOptions(max_gap=5, reach=2, contract="made-up")).tracks
    first, second = sorted(hidden, key=lambda track: int(track.frames[-1]))
    assert first.frames[0] == 0
    assert second.frames[0] <= 2  # eight frames before the first look that shows them
    assert first.frames[-1] >= 32
    assert second.frames[-1] == 39


def test_whom_a_clip_dissolves_back_to_is_the_same_person():
    rng = np.random.default_rng(6)
    told = [(0, ANNA), (6, ANNA), (12, BEN), (18, BEN), (24, ANNA), (30, ANNA), (39, ANNA)]
    (seen,) = observed(telling(placed(range(40), (100.0, 100.0), two_looks(rng)[0], rng), told))
    for turns, tracks, people in (([0, 10, 22], 3, 2), ([0], 1, 1)):
        found = join([replace(seen, turns=np.array(turns))], JoinOptions(max_gap=5))
        assert (len(found.tracks), len(set(found.people))) == (tracks, people)


def test_looks_that_tell_go_through_files(tmp_path):
    rng = np.random.default_rng(6)
    found = observed(telling(placed(range(40), (100.0, 100.0), two_looks(rng)[0], rng), DISSOLVE))
    found[0].save(tmp_path / "part")
    (seen,), (again,) = found[0].sightings, Observation.load(tmp_path / "part").sightings
    for name in ("kept_frames", "told_frames", "told"):
        np.testing.assert_array_equal(getattr(again, name), getattr(seen, name))
    for wrong in ({"told_frames": None}, {"told_frames": seen.told_frames[::-1].copy()}, {"told": seen.told[1:]}):
        with pytest.raises(ValueError, match=r"told|looks"):
            replace(seen, **wrong).check(40)


def _seen_at(frames, place, size, looks, score=1.0):
    rng = np.random.default_rng(3)
    one = make_sighting(frames, 0, rng)
    meshes = np.stack([make_mesh(place, size) for _ in frames]).astype(np.float32)
    looks = np.array([looks], np.float32)
    return replace(one, meshes=meshes, scores=np.full(len(frames), score, np.float32), identities=looks)


def _joined(*sightings, cuts=(0,)):
    seen = Observation(640, 360, Fraction(1, 25), np.arange(30), np.array(cuts), False, sightings)
    return join([seen], JoinOptions(max_gap=5, smoothing=0.0)).tracks


@pytest.mark.parametrize(("looks", "frames", "place", "count"), [
    ([1, 0.2], range(10, 14), (100, 100), 1),  # surely the same
    ([0.3, 1], range(10, 13), (100, 100), 1),  # strange in that light, and there in the very frames
    ([0.3, 1], range(10, 14), (100, 100), 2),  # strange, and longer than a flash
    ([0.3, 1], range(11, 12), (100, 100), 2),  # strange, and not in the frames beside
    ([-1, 0.1], range(10, 14), (100, 100), 2),  # somebody else who stands before them
    ([1, 0], range(10, 14), (180, 100), 2),  # elsewhere
])  # fmt: skip
def test_who_is_found_anew_in_a_flash_is_who_was_there_before_and_after(looks, frames, place, count):
    stop = max(frames.stop, 13)
    whole = _seen_at([*range(10), *range(stop, 30)], (100, 100), 40, [1, 0])
    tracks = _joined(whole, _seen_at(frames, place, 40, looks))
    assert len(tracks) == count
    if count == 1:
        assert tracks[0].frames.tolist() == list(range(30))
        assert np.isin(frames, tracks[0].frames[tracks[0].guessed == 0]).all()


def test_people_of_whom_two_looks_are_alike_by_chance_are_two():
    """Those beside each other in time tell, not the two of all that are most alike."""
    run, other = (_seen_at(frames, (100, 100), 40, [1, 0]) for frames in ([*range(10), *range(20, 30)], range(10, 20)))
    looks, others = np.array([[0, 1], [1, 0], [1, 0]], np.float32), np.array([[0, 1], [0, 1]], np.float32)
    qualities = np.ones(3, np.float32)
    run = replace(run, identities=looks, qualities=qualities, attributes=(), kept_frames=np.array([0, 9, 20]))
    other = replace(other, identities=others, qualities=qualities[:2], attributes=(), kept_frames=np.array([10, 19]))
    assert len(_joined(run, other)) == 2
    assert len(_joined(run, replace(other, identities=looks[1:]))) == 1


def test_runs_that_take_turns_are_one_track():
    rows = np.arange(30)
    runs = [_seen_at(rows[rows // 3 % 3 == k], (100, 100), 40, [1, 0]) for k in range(3)]
    (track,) = _joined(*runs)
    assert track.frames.tolist() == rows.tolist()
    assert not track.guessed.any()


@pytest.mark.parametrize(("place", "size", "score", "count"), [
    ((72, 98), 13, 0.96, 1),  # an ear
    ((72, 98), 13, 0.999, 2),  # somebody farther away, beside the head
    ((72, 98), 30, 0.96, 2),  # as large as a face beside it
    ((180, 98), 13, 0.96, 2),  # at another place
])  # fmt: skip
def test_what_lies_on_the_head_of_somebody_surer_is_no_second_person(place, size, score, count):
    head, found = _seen_at(range(30), (100, 100), 40, [1, 0]), _seen_at(range(5, 20), place, size, [0, 1], score)
    assert len(_joined(head, found)) == count
    # Where people are hidden, all that may be a face is.
    seen = Observation(640, 360, Fraction(1, 25), np.arange(30), np.array([0]), False, (head, found))
    assert len(join([seen], JoinOptions(max_gap=5, reach=2)).tracks) == 2
