"""The code of the invisible mark, its bound on false alarms, and its arithmetic on pictures."""

from __future__ import annotations

import math
import os
import stat
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.imaging.mark import (
    CELLS,
    FINE,
    cells_of,
    detail,
    grid_box,
    mesh_five,
    read_grids,
    read_signs,
    sample_grid,
)
from facefusion.policy.mark import BIT_COUNT, SIGN_COUNT, MarkId, decode, job_part, least_cosine, site_id
from facefusion.render.mark import Marker
from facefusion.testing.fakes import make_mesh
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.track import Track, Tracks

MARK = MarkId(0xABCDEF, 0x123456789A)


def picture(seed: int = 1, side: int = 400) -> np.ndarray:
    """Something with detail on every scale."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((side, side), np.float32)
    for size in (4, 16, 64, side):
        noise = rng.normal(0, 60 / np.sqrt(size), (size, size)).astype(np.float32)
        grey += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(grey + 128, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def person(frame_count: int = 1) -> Tracks:
    """Somebody in the middle of the picture in every frame."""
    mesh = make_mesh()
    mesh = mesh.copy()
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    scale = 180 / float((high - low)[1])
    mesh[:, :2] = (mesh[:, :2] - (low + high) / 2) * scale + 200
    rows = frame_count
    track = Track(
        0,
        np.arange(rows),
        np.repeat(mesh[None].astype(np.float32), rows, axis=0),
        np.ones(rows, np.float32),
        np.zeros((rows, 3), np.float32),
    )
    return Tracks(400, 400, Fraction(1, 25), np.arange(rows) * 1, (track,), {}, np.zeros(0, np.int64))


def marked(tracks: Tracks, seed: int = 1, pts: int = 0) -> tuple[RenderedFrame, np.ndarray]:
    pixels = picture(seed)
    frame = Frame(pixels, 0, pts, Fraction(1, 25))
    rendered = RenderedFrame(frame, pixels[180:220, 180:220].copy(), (180, 180, 220, 220))
    return Marker(tracks, [0], MARK.signs).mark(rendered), pixels


def read(pixels: np.ndarray, tracks: Tracks) -> np.ndarray:
    sampled = sample_grid(pixels, mesh_five(tracks.tracks[0].meshes[0]))
    assert sampled is not None
    return sampled


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
        assert int((zero != other).sum()) >= 12


def test_the_bound_is_one_in_a_million_over_all_words_and_ways():
    least = least_cosine(2**16, 1e-6)
    share = 0.5 * (1 - least**2) ** ((SIGN_COUNT - 1) / 2)
    assert math.isclose(2**BIT_COUNT * 2**16 * share, 1e-6, rel_tol=1e-6)


def test_noise_stays_as_far_below_the_bound_as_the_bound_says():
    """Most of what noise gives lies where the union over all words puts it: well below what counts as a mark."""
    rng = np.random.default_rng(3)
    cosines = [decode(rng.normal(0, 1, SIGN_COUNT).astype(np.float32)).cosine for _ in range(200)]
    typical = math.sqrt(1 - 2 ** (-2 * (BIT_COUNT - 1) / (SIGN_COUNT - 1)))  # one word in 2^64 is as near
    assert np.mean(cosines) < typical + 0.02
    assert max(cosines) < least_cosine()


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


def test_a_marked_frame_says_the_id_and_no_pixel_changes_outside_of_the_grid():
    tracks = person()
    rendered, before = marked(tracks)
    x0, y0, x1, y1 = grid_box(mesh_five(tracks.tracks[0].meshes[0]))
    after = rendered.pixels
    changed = np.argwhere((after != before).any(axis=2))
    assert len(changed)
    low, high = changed.min(axis=0), changed.max(axis=0)
    assert low[0] >= y0
    assert low[1] >= x0
    assert high[0] < y1
    assert high[1] < x1
    found = decode(read_signs(detail(cells_of(read(after, tracks))))[0])
    assert found.id == MARK
    difference = after.astype(np.float32) - before
    assert 10 * np.log10(255**2 / float((difference**2).mean())) >= 42


def test_frames_without_anything_new_stay_the_same_object():
    tracks = person()
    plain = RenderedFrame(Frame(picture(), 0, 0, Fraction(1, 25)))
    assert Marker(tracks, [0], MARK.signs).mark(plain) is plain
    far = RenderedFrame(plain.frame, plain.frame.pixels[:4, :4].copy(), (0, 0, 4, 4))
    assert Marker(tracks, [], MARK.signs).mark(far) is far


def test_the_mark_depends_on_the_frame_alone_and_stays_within_a_second():
    tracks = person(80)
    (one, _), (two, _) = marked(tracks), marked(tracks)
    assert np.array_equal(one.pixels, two.pixels)
    signs = [read_signs(detail(cells_of(read(marked(tracks, pts=pts)[0].pixels, tracks)))) for pts in (8, 18, 33)]
    fits = [int(np.argmax(said @ MARK.signs)) for said in signs]
    assert fits == [0, 0, 1]


def test_other_ids_and_pictures_without_a_mark_are_not_taken_for_it():
    tracks = person()
    for seed in range(4):
        for way in read_grids([read(picture(seed), tracks)] + [None] * 15, 4):
            assert decode(way.soft).cosine < least_cosine()


def test_a_grid_that_lies_out_of_the_picture_is_not_read():
    five = mesh_five(person().tracks[0].meshes[0])
    assert sample_grid(picture(), five + 5000) is None
    sampled = sample_grid(picture(), five + 150)  # half of it is outside
    assert sampled is not None
    assert sampled.shape == (CELLS * FINE, CELLS * FINE)
