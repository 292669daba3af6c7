"""A new face takes the light of the head where both meet."""

import cv2
import numpy as np
import pytest

from facefusion.imaging.membrane import join_light, show_own

SIDE = 240


def outline() -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return np.stack([120 + 70 * np.cos(turn), 120 + 90 * np.sin(turn)], axis=1).astype(np.float32)


def inside(shrunk: float = 1.0) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    points = 120 + (outline() - 120) * shrunk
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
    return mask > 0


def head() -> np.ndarray:
    """Skin that burns out towards the top."""
    rows = np.linspace(1.25, 0.85, SIDE)[:, None, None]
    return np.clip(np.array([190, 150, 130]) * np.broadcast_to(rows, (SIDE, SIDE, 1)), 0, 255).astype(np.uint8)


def flat(*colour: int) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (SIDE, SIDE, 3)).copy()


def rim() -> np.ndarray:
    return inside(0.97) & ~inside(0.9)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_step_at_the_rim_is_gone_and_the_middle_is_as_it_was(scale):
    over, under = flat(190, 150, 130), head()
    shown, points = inside().astype(np.float32), outline()
    if scale > 1:  # reduced for the comparison, and rows and columns left over
        over, under, shown = (
            cv2.resize(part, (scale * SIDE + 1, scale * SIDE + 1), interpolation=cv2.INTER_LINEAR)
            for part in (over, under, shown)
        )
        points = points * scale
    joined = join_light(over, under, points, shown)
    assert joined.shape == over.shape and joined.dtype == np.uint8
    ring, middle = (
        cv2.resize(part.astype(np.uint8), over.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
        for part in (rim(), inside(0.45))
    )
    before, after = (np.abs(part.astype(int) - under)[ring] for part in (over, joined))
    seen = before > 0.12 * np.broadcast_to(over, under.shape)[ring]
    assert after[seen].mean() < 0.35 * before[seen].mean()
    small = before < 0.03 * np.broadcast_to(over, under.shape)[ring]  # nobody sees those
    assert after[small].mean() < before[small].mean() + 2
    assert np.abs(joined.astype(int) - over)[middle].max() <= 1


def test_hair_and_what_lies_before_the_face_give_no_light():
    over, under = flat(190, 150, 130), flat(190, 150, 130)
    under[:100] = (30, 22, 18)
    shown = inside().astype(np.float32)
    joined = join_light(over, under, outline(), shown)
    change = np.abs(joined.astype(int) - over)[inside()]
    assert change.mean() < 2 and change.max() < 16  # where hair and skin mix a little is left
    under[:100] = (150, 118, 103)  # a hand, as far as the light goes
    shown[:110] = 0
    joined = join_light(over, under, outline(), shown)
    assert np.abs(joined.astype(int) - over)[:90][inside()[:90]].max() <= 2


def test_a_share_of_nothing_changes_nothing_and_tiny_faces_stay():
    over, under, shown = flat(190, 150, 130), head(), inside().astype(np.float32)
    np.testing.assert_array_equal(join_light(over, under, outline(), shown, share=0.0), over)
    np.testing.assert_array_equal(join_light(over, under, outline() * 0.02, shown), over)


def test_what_has_another_colour_is_no_skin_and_faces_that_fill_the_picture_are_no_fault():
    over, under, shown = flat(190, 150, 130), flat(150, 165, 158), inside().astype(np.float32)
    assert np.abs(join_light(over, under, outline(), shown).astype(int) - over).max() <= 2
    for points in (outline() * 20 - 2000, outline() + 900):  # no outline in sight
        np.testing.assert_array_equal(join_light(over, head(), points, shown), over)


def lid(share: float = 1.0, bare: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pale lid with a dark line, in a new face of darker skin that leaves it open."""
    under = np.full((120, 160, 3), (200, 170, 150), np.uint8)
    under[68:70, 50:110] = 60
    over = np.full((120, 160, 3), (150, 110, 90), np.uint8)
    alpha = np.ones((120, 160), np.float32)
    alpha[50:70, 50:110] = 1 - share
    outline = np.array([[50, 50], [110, 50], [110, 70], [50, 70]], np.float32)
    show_own(over, alpha, under, bare, outline, share)
    return over, alpha, under


def test_a_lid_is_shown_in_the_tone_of_the_face_around_it():
    over, alpha, _ = lid()
    assert alpha[52:66, 55:105].min() > 0.9
    assert np.abs(over[54:64, 60:100].astype(int) - (150, 110, 90)).max() < 12
    assert over[69, 60:100].max() < 80  # the line where it ends
    np.testing.assert_array_equal(over[90:], np.broadcast_to((150, 110, 90), (30, 160, 3)))


def test_what_lies_before_a_lid_stays():
    bare = np.ones((120, 160), np.float32)
    bare[:, 80:] = 0
    _, alpha, _ = lid(bare=bare)
    assert alpha[55:65, 55:75].min() > 0.9
    assert alpha[55:65, 82:105].max() < 0.1


def test_a_lid_comes_without_a_step():
    before = lid(0.0)[0].astype(int)
    for share in (0.02, 0.5, 0.52):
        over, alpha, under = lid(share)
        mixed = under + (over - under.astype(float)) * alpha[..., None]
        if share in (0.02, 0.52):
            assert np.abs(mixed - before).max() < 6
        before = mixed


def test_a_lid_of_a_few_pixels_or_out_of_the_picture_is_let_be():
    for corner in ((2, 2), (-300, 40), (400, 400)):
        over, alpha, under = np.full((20, 20, 3), 90, np.uint8), np.ones((20, 20), np.float32), np.zeros((20, 20, 3))
        outline = np.array([[0, 0], [3, 0], [3, 2], [0, 2]], np.float32) + np.array(corner, np.float32)
        show_own(over, alpha, under.astype(np.uint8), None, outline, 1.0)
        assert (over == 90).all() and (alpha == 1).all()
