"""The code of the invisible mark, its bound on false alarms, and its arithmetic on pictures."""

from __future__ import annotations

import math
import os
import stat
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.imaging.mark import HIGH, Searcher, Shaper, brightness, halved, halves, mean_square
from facefusion.pipeline.marks import GROUP, MOST_GROUPS, find_in_frames
from facefusion.policy.mark import BIT_COUNT, SIGN_COUNT, Known, MarkId, decode, job_part, least_cosine, site_id
from facefusion.render.mark import Marker
from facefusion.types.frame import Frame, RenderedFrame

MARK = MarkId(0xABCDEF, 0x123456789A)
QUIET = 25.0
"""Detail of a picture of which a part is left: to search for where tiles begin takes more than reading them."""


def picture(seed: int = 1, side: int = 400, loud: float = 60.0) -> np.ndarray:
    """Something with detail on every scale."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((side, side), np.float32)
    for size in (4, 16, 64, side):
        noise = rng.normal(0, loud / np.sqrt(size), (size, size)).astype(np.float32)
        grey += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(grey + 128, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def marked(seed: int = 1, side: int = 400, loud: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    """A picture with the mark, and without."""
    before = picture(seed, side, loud)
    after = before.copy()
    Shaper(MARK.signs).add_rgb(after)
    return after, before


def frames_of(*pictures: np.ndarray) -> list[Frame]:
    return [Frame(np.ascontiguousarray(p), k, k, Fraction(1, 25)) for k, p in enumerate(pictures)]


def test_a_word_is_decoded_from_its_own_signs_and_from_noisy_ones():
    rng = np.random.default_rng(7)
    for _ in range(20):
        mark = MarkId(int(rng.integers(2**24)), int(rng.integers(2**40)))
        assert decode(mark.signs).id == mark
        noisy = mark.signs + rng.normal(0, 0.55, SIGN_COUNT).astype(np.float32)
        found = decode(noisy.astype(np.float32))
        assert found.id == mark
        assert found.cosine > least_cosine()
        assert found.wrong == int((noisy * mark.signs <= 0).sum())


def test_two_words_differ_in_many_signs():
    zero = MarkId(0, 0).signs
    for bit in range(BIT_COUNT):
        value = 1 << bit
        other = MarkId(value >> 40, value & 2**40 - 1).signs
        assert int((zero != other).sum()) >= 24


def test_the_bound_is_one_in_a_million_over_all_words_and_ways():
    least = least_cosine(2**8, 1e-6)
    share = (1 - least**2) ** ((SIGN_COUNT - 1) / 2) / (2 * least * math.sqrt(SIGN_COUNT))
    assert math.isclose(2**BIT_COUNT * 2**8 * share, 1e-6, rel_tol=1e-6)


def test_noise_stays_as_far_below_the_bound_as_the_bound_says():
    """Most of what noise gives lies where the union over all words puts it: well below what counts as a mark."""
    rng = np.random.default_rng(3)
    cosines = [decode(rng.normal(0, 1, SIGN_COUNT).astype(np.float32)).cosine for _ in range(200)]
    typical = math.sqrt(1 - 2 ** (-2 * (BIT_COUNT - 1) / (SIGN_COUNT - 1)))  # one word in 2^64 is as near
    assert np.mean(cosines) < typical + 0.02
    assert max(cosines) < least_cosine()


def test_a_known_id_is_told_where_it_is_too_faint_to_be_read_and_a_stranger_is_not():
    rng = np.random.default_rng(11)
    site = 0x5EED
    jobs = [MarkId(site, int(rng.integers(2**40))) for _ in range(300)]
    known = Known(jobs[:200])
    assert known.least < 0.8 * least_cosine()
    for number, mark in enumerate(jobs):
        noise = rng.normal(0, 1, SIGN_COUNT)
        noise -= mark.signs * (noise @ mark.signs) / SIGN_COUNT
        faint = (mark.signs * 0.55 + noise / noise.std() * math.sqrt(1 - 0.55**2)).astype(np.float32)
        assert decode(faint).cosine < least_cosine() or decode(faint).id != mark
        found = known.nearest(faint * 7)
        if number < 200:
            assert found is not None
            assert found.id == mark
            assert math.isclose(found.cosine, 0.55, abs_tol=0.01)
        else:
            assert found is None, "it was set by another job of the same site"
    assert Known([]).nearest(jobs[0].signs) is None
    assert all(known.nearest(rng.normal(0, 1, SIGN_COUNT).astype(np.float32)) is None for _ in range(500))


def test_ids_of_one_site_are_as_far_apart_as_any():
    signs = np.stack([MarkId(0xABCDEF, number).signs for number in range(400)])
    cosines = (signs @ signs.T / SIGN_COUNT)[np.triu_indices(400, 1)]
    assert abs(cosines.mean()) < 0.005
    assert math.isclose(cosines.std(), 1 / math.sqrt(SIGN_COUNT), rel_tol=0.05)


def test_ids_are_read_back_from_text_and_are_refused_where_they_do_not_fit():
    assert MarkId.parse(str(MARK)) == MARK
    with pytest.raises(ValueError, match="does not fit"):
        MarkId(2**24, 0)
    assert job_part(b"a") != job_part(b"b")
    assert 0 <= job_part(b"a") < 2**40


def test_a_site_keeps_its_id_for_itself(tmp_path):
    first = site_id(tmp_path / "one")
    assert first == site_id(tmp_path / "one") != site_id(tmp_path / "other")
    kept = tmp_path / "one" / "site-id"
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["site-id"]
    kept.write_text("not hex")
    assert site_id(tmp_path / "one") == 0


def test_a_marked_picture_says_the_id_and_differs_by_little():
    after, before = marked()
    found = find_in_frames(frames_of(after))
    assert found is not None
    assert found.id == MARK
    difference = after.astype(np.float32) - before
    assert 10 * np.log10(255**2 / float((difference**2).mean())) >= 42


def test_the_share_of_a_sphere_that_counts_is_no_larger_than_the_bound_says():
    """In few dimensions it can be drawn."""
    rng = np.random.default_rng(9)
    points = rng.normal(0, 1, (200_000, 16))
    cosines = points[:, 0] / np.linalg.norm(points, axis=1)
    for least in (0.4, 0.6, 0.7):
        bound = (1 - least**2) ** (15 / 2) / (2 * least * 4)
        assert 0.2 * bound < np.mean(cosines >= least) < bound


@pytest.mark.parametrize(("side", "most"), [(400, 2.1), (1080, 1.3)])
def test_the_larger_a_frame_the_less_every_pixel_of_it_is_changed(side, most):
    before = np.full((side, side, 3), 120, np.uint8)
    after = before.copy()
    Shaper(MARK.signs).add_rgb(after)
    difference = after.astype(np.float32) - before
    assert 0.3 < float(np.sqrt((difference**2).mean())) < most
    assert float(np.abs(difference).max()) <= 5 * most


def test_where_nothing_hides_it_the_mark_is_faint_and_black_stays_nearly_so():
    flat = np.full((300, 300), 120, np.uint8)
    flat[:, 150:] = np.random.default_rng(2).integers(60, 180, (300, 150))
    flat[:60] = 0
    change = flat.copy()
    Shaper(MARK.signs).add(change)
    difference = change.astype(np.float32) - flat
    assert 0.7 < difference[100:, :130].std() < 0.8 * difference[100:, 170:].std()
    assert difference[:50, :130].std() < 0.7 * difference[100:, :130].std()


@pytest.mark.parametrize("side", [256, 384, 512])
@pytest.mark.parametrize("level", [40, 128, 235])
def test_a_plain_wall_is_hardly_mottled_and_stands_still(side, level):
    rng = np.random.default_rng(3)
    changed = []
    for _ in range(2):
        wall = np.clip(level + rng.normal(0, 1, (side, side)), 0, 255).round().astype(np.uint8)
        wall[side // 2 :] = np.clip(busy(side)[side // 2 :], 0, 255)
        after = wall.copy()
        Shaper(MARK.signs).add(after)
        changed.append((after.astype(np.float32) - wall)[: side * 2 // 5])
    assert np.percentile(np.abs(changed[0]), 99) <= 4
    assert changed[0].std() < 1.5
    assert np.corrcoef(changed[0].ravel(), changed[1].ravel())[0, 1] > 0.7


def busy(side: int) -> np.ndarray:
    """Grey of which a tenth is flat, and all else is loud detail of the size of the mark's waves."""
    rough = cv2.GaussianBlur(np.random.default_rng(7).normal(0, 1, (side, side)), (0, 0), 5)
    rough *= 60 / rough.std()
    rough[: side // 10] = 0
    return np.clip(128 + rough, 0, 255).astype(np.uint8)


def changes(before: np.ndarray) -> tuple[float, float, float]:
    """Standard deviations of the mark on the flat part of what `busy` makes, on the other, and on all of it."""
    after = before.copy()
    Shaper(MARK.signs).add(after)
    difference, side = after.astype(np.float32) - before, len(before)
    return float(difference[: side // 12].std()), float(difference[side // 4 :].std()), float(difference.std())


def test_a_frame_whose_detail_is_louder_than_the_mark_gets_more_of_it_where_that_hides_it(monkeypatch):
    flat, rough, whole = changes(busy(500))
    assert whole < math.sqrt(4.1), "42 dB"
    monkeypatch.setattr("facefusion.imaging.mark._HEARD", 0.0)
    flat_alone, rough_alone, _ = changes(busy(500))
    assert rough > 1.2 * rough_alone
    assert flat < 1.1 * flat_alone


def test_a_frame_that_says_it_anyhow_gets_no_more(monkeypatch):
    quiet = picture(side=500, loud=4)[..., 1].copy()
    found = changes(quiet)
    monkeypatch.setattr("facefusion.imaging.mark._HEARD", 0.0)
    assert changes(quiet) == found


def change_on(level: int, side: int) -> float:
    """Standard deviation of the mark on a flat half of a level, over that on the other half, which is grey."""
    flat = np.full((side, side), 128, np.uint8)
    flat[:, : side // 2] = level
    after = flat.copy()
    Shaper(MARK.signs).add(after)
    difference = after.astype(np.float32) - flat
    edge = side // 10
    return float(difference[:, : side // 2 - edge].std() / difference[:, side // 2 + edge :].std())


def test_dark_walls_of_small_frames_are_changed_less_where_the_eye_would_see_it_best():
    assert change_on(35, 256) < 0.78
    assert 1.02 < change_on(200, 256) < 1.35
    assert 0.9 < change_on(35, 720) < 1.1


@pytest.mark.parametrize(("width", "height"), [(1.0, 1.0), (0.5, 0.5), (1.7, 1.7)])
def test_the_mark_is_found_in_a_picture_of_another_size_of_which_a_part_is_left(width, height):
    after, _ = marked(loud=QUIET)
    size = round(400 * width), round(400 * height)
    scaled = cv2.resize(after, size, interpolation=cv2.INTER_AREA if width < 1 else cv2.INTER_CUBIC)
    cut = scaled[size[1] * 13 // 100 : size[1] * 90 // 100, size[0] * 7 // 100 : size[0] * 84 // 100]
    found = find_in_frames(frames_of(cut))
    assert found is not None
    assert found.id == MARK


def test_frames_are_averaged_so_that_what_one_does_not_show_many_do():
    after, _ = marked(side=300)
    rng = np.random.default_rng(5)
    noisy = [np.clip(after + rng.normal(0, 45, after.shape[:2])[..., None], 0, 255).astype(np.uint8) for _ in range(40)]
    assert find_in_frames(frames_of(noisy[0])) is None
    found = find_in_frames(frames_of(*noisy))
    assert found is not None
    assert (found.id, found.frames) == (MARK, 40)


def nearest(pictures: list[np.ndarray], weights: list[float] | None = None) -> float:
    """Cosine of what the right way of laying the tile over whole pictures says, and the mark."""
    ways = Searcher([brightness(one) for one in pictures], weights).whole()
    return max(float(way.soft @ MARK.signs / np.linalg.norm(way.soft)) / math.sqrt(SIGN_COUNT) for way in ways)


def test_what_hides_the_mark_in_some_frames_does_not_in_others():
    """Something stands on the left for a while, then on the right: beside it the mark is heard all the time."""
    after, _ = marked(side=300, loud=QUIET)
    rough = np.random.default_rng(6).normal(0, 40, (300, 150, 1))
    left, right = after.copy(), after.copy()
    left[:, :150] = np.clip(left[:, :150] + rough, 0, 255).astype(np.uint8)
    right[:, 150:] = np.clip(right[:, 150:] + rough[:, ::-1], 0, 255).astype(np.uint8)
    mean = ((left.astype(np.uint16) + right) // 2).astype(np.uint8)
    assert nearest([left, right]) > nearest([mean]) + 0.03
    assert nearest([left, right], [1.0, 0.0]) < nearest([left, right])


def test_the_first_frame_counts_as_much_as_many_that_a_codec_spent_less_on(monkeypatch):
    first, _ = marked(side=300)
    rng = np.random.default_rng(4)
    blurred = cv2.GaussianBlur(first, (0, 0), 6)
    rest = [np.clip(blurred + rng.normal(0, 8, (300, 300, 1)), 0, 255).astype(np.uint8) for _ in range(29)]
    found = find_in_frames(frames_of(first, *rest), [MARK])
    monkeypatch.setattr("facefusion.pipeline.marks._BEGINNING", ())
    with_all_alike = find_in_frames(frames_of(first, *rest), [MARK])
    assert found is not None
    assert with_all_alike is not None
    assert found.confidence > with_all_alike.confidence + 0.05


def test_pictures_that_do_not_say_what_the_others_do_count_less(monkeypatch):
    after, _ = marked(side=300)
    unmarked = [picture(seed, 300) for seed in (11, 12, 13)]
    groups = [after, np.ascontiguousarray(np.clip(after.astype(int) + 3, 0, 255).astype(np.uint8)), *unmarked]
    heard = nearest(groups)
    monkeypatch.setattr("facefusion.imaging.mark._agreed", lambda found, weights: weights @ found)
    assert heard > nearest(groups) + 0.02


def test_the_mark_is_heard_beside_stripes_that_go_one_way(monkeypatch):
    striped = picture(side=300, loud=QUIET)
    down, across = np.mgrid[:300, :300]
    stripes = np.where(across < 150, np.sin(across / 1.9), np.sin((across + down) / 2.6)) * 30
    striped = np.clip(striped + stripes[..., None], 0, 255).astype(np.uint8)
    Shaper(MARK.signs).add_rgb(striped)
    heard = nearest([striped])
    monkeypatch.setattr("facefusion.imaging.mark._BLOCK_SHARE", 0.0)
    assert heard > nearest([striped]) + 0.02


def test_groups_of_frames_stay_few_and_are_the_frames_means(monkeypatch):
    taken: list[tuple[list[np.ndarray], list[float], list[float]]] = []

    class Kept(Searcher):
        def __init__(self, pictures, weights=None, others=None):
            taken.append((list(pictures), list(weights), list(others)))
            super().__init__(pictures, weights, others)

    monkeypatch.setattr("facefusion.pipeline.marks.Searcher", Kept)
    base = picture(side=70)
    many = GROUP * (MOST_GROUPS + 1) + 5
    for count, sizes, last in (
        (1, [1], 1.0),
        (GROUP, [1, 3, 12], 1.0),
        (GROUP + 4, [1, 3, 12, 4], 4 / GROUP),
        (
            GROUP * MOST_GROUPS + 5,  # the last pair is not full
            [1, 3, 12, *[2 * GROUP] * (MOST_GROUPS // 2 - 1), GROUP + 5],
            (GROUP + 5) / (2 * GROUP),
        ),
        (GROUP * (MOST_GROUPS + 1), [1, 3, 12, *[2 * GROUP] * (MOST_GROUPS // 2)], 1.0),
        (many, [1, 3, 12, *[2 * GROUP] * (MOST_GROUPS // 2), 5], 5 / (2 * GROUP)),
    ):
        find_in_frames(frames_of(*(base // 2 + np.uint8(k % 100) for k in range(count))))
        means, weights, alike = taken.pop()
        assert [round(weight * sizes[-1] / weights[-1]) for weight in weights] == sizes
        assert alike == [1.0] * (len(sizes) - 1) + [last]
        total = sum(mean.astype(np.float64) * weight for mean, weight in zip(means, weights, strict=True))
        whole = np.mean([brightness(base // 2 + np.uint8(k % 100)) for k in range(count)], axis=0)
        assert np.abs(total / sum(weights) - whole).max() < 1e-3


def test_large_pictures_are_kept_in_half_the_size_only_where_that_leaves_their_shape():
    assert halved(np.zeros((1080, 1920), np.float32)).shape == (540, 960)
    assert halved(np.zeros((2160, 3840), np.float32)).shape == (540, 960)
    assert halved(np.zeros((1081, 1920), np.float32)).shape == (1081, 1920)
    assert halved(np.zeros((720, 1280), np.float32)).shape == (720, 1280)


def test_noise_and_flat_pictures_of_many_groups_are_not_taken_for_a_mark():
    """What makes the mark louder must not make noise a word: cosines stay where chance puts them."""
    rng = np.random.default_rng(8)
    loudest = 0.0
    for _ in range(4):
        still = rng.normal(128, 30, (150, 200)).astype(np.float32)
        groups = [still + rng.normal(0, 6, still.shape).astype(np.float32) for _ in range(3)]
        loudest = max(loudest, *(decode(way.soft).cosine for way in Searcher(groups).whole()))
    assert loudest < least_cosine()


def test_frames_without_anything_new_stay_the_same_object_and_others_get_the_mark_as_a_whole():
    plain = RenderedFrame(Frame(picture(), 0, 0, Fraction(1, 25)))
    marker = Marker(MARK.signs)
    assert marker.mark(plain) is plain
    patch = plain.frame.pixels[:4, :4].copy()
    changed = RenderedFrame(plain.frame, patch, (0, 0, 4, 4))
    assert np.array_equal(marker.mark(changed).pixels, marked()[0])
    assert np.array_equal(changed.pixels, plain.frame.pixels)  # what the mark is added to is not changed by it


def test_the_mark_of_a_picture_is_the_same_whoever_makes_it():
    assert np.array_equal(marked()[0], marked()[0])
    luma = np.ascontiguousarray(picture()[..., 0])
    one, other = luma.copy(), np.zeros((400, 500), np.uint8)[:, :400]
    other[:] = luma  # rows of a decoder's picture do not follow each other
    Shaper(MARK.signs).add(one)
    Shaper(MARK.signs).add(other)
    assert np.array_equal(one, other)
    assert not np.array_equal(one, luma)


def test_brightness_of_fewer_levels_is_changed_by_as_many_fewer():
    flat = np.full((400, 400), 120, np.uint8)
    full, limited = flat.copy(), flat.copy()
    Shaper(MARK.signs).add(full)
    Shaper(MARK.signs).add(limited, 0.5)
    assert 0 < float((limited.astype(int) - 120).std()) < 0.75 * float((full.astype(int) - 120).std())


def test_pictures_without_a_mark_are_not_taken_for_one():
    for seed in range(3):
        assert find_in_frames(frames_of(picture(seed, 240))) is None


def test_a_picture_that_is_too_small_or_too_flat_stays_without_a_mark_and_none_is_found():
    tiny = picture(side=12)
    before = tiny.copy()
    Shaper(MARK.signs).add_rgb(tiny)
    assert np.array_equal(tiny, before)
    for nothing in (
        tiny,
        np.zeros((200, 150, 3), np.uint8),
        np.full((8, 300, 3), 9, np.uint8),
        np.zeros((1, 9000, 3), np.uint8),
    ):
        assert find_in_frames(frames_of(nothing)) is None
    assert find_in_frames([]) is None


def test_tiles_grow_with_frames_and_sizes_are_tried_close_enough_to_miss_none():
    sides = [64, 240, 720, 1080, 2160, 4320]
    tiles = [2 * side / halves(side) for side in sides]
    assert tiles == sorted(tiles)
    strengths = [mean_square(side * side * 16 // 9) for side in sides]
    assert strengths == sorted(strengths, reverse=True)
    searcher = Searcher([brightness(picture(side=300))])
    sizes = searcher.sizes()
    waves = HIGH * 300 / np.array(sizes)  # of the finest kind, across the picture
    assert np.abs(np.diff(waves)).max() < 0.6
    assert sizes[-1] > 300


def test_a_whole_frame_of_any_size_needs_no_search(monkeypatch):
    def refuse(self):
        raise AssertionError("it was searched for")

    monkeypatch.setattr(Searcher, "sizes", refuse)
    whole = picture(side=450)[:331].copy()
    Shaper(MARK.signs).add_rgb(whole)
    for size in ((450, 331), (225, 165), (960, 706)):
        scaled = cv2.resize(whole, size, interpolation=cv2.INTER_AREA if size[0] < 450 else cv2.INTER_CUBIC)
        found = find_in_frames(frames_of(scaled))
        assert found is not None
        assert found.id == MARK
