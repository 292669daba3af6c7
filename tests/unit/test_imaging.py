import numpy as np
import pytest

from facefusion.imaging.align import (
    compose,
    detection_crop,
    eye_band,
    invert,
    mesh_crop,
    mesh_roll,
    shifted,
    square_crop,
    transform,
)
from facefusion.imaging.composite import BLENDS, feather, paste
from facefusion.imaging.crops import MAX_SIDE, cut_native
from facefusion.imaging.flow import warping_error
from facefusion.imaging.light import (
    colour_beyond_tone,
    estimate_shading,
    from_log,
    mean_of_three,
    to_linear,
    to_log,
    to_srgb,
)
from facefusion.imaging.resample import blur_pixels, cut, peaks, resize_to_multiple
from facefusion.testing.fakes import make_face, make_mesh
from facefusion.types.topology import FIVE_POINTS, LEFT_IRIS, RIGHT_IRIS


def test_linear_light_round_trip_is_exact_for_every_byte():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_srgb(to_linear(every)), every)


def test_logarithm_round_trip_is_within_one_step():
    every = np.arange(256, dtype=np.uint8)
    assert np.abs(from_log(to_log(every)).astype(int) - every).max() <= 1


def test_a_mean_of_three_is_the_mean(rng):
    values = rng.normal(size=(17, 23, 3)).astype(np.float32)
    np.testing.assert_allclose(mean_of_three(values), values.mean(axis=-1), rtol=0, atol=1e-6)


def test_middle_grey_has_the_linear_value_of_the_standard():
    assert to_linear(np.array([128], dtype=np.uint8))[0] == pytest.approx(0.21586, abs=1e-4)


def test_shading_follows_a_gradient_and_ignores_a_dark_patch():
    rows, columns = np.mgrid[0:64, 0:64] / 63
    light = np.repeat((0.8 * columns - 1.5)[..., None], 3, axis=2).astype(np.float32)
    spoiled = light.copy()
    spoiled[5:15, 20:40] -= 1.5
    shading, trust = estimate_shading(spoiled, np.ones((64, 64), dtype=np.float32), 4.5)
    assert np.abs(shading - light)[25:, :].mean() < 0.05
    assert trust[8:12, 25:35].max() < 0.15
    assert trust[40:, :].min() > 0.8


def lit_between(begin: float, end: float) -> np.ndarray:
    """(48, 48, 3) a face with hard light on a part of it, and relief in deep shade beside that."""
    rows, columns = np.mgrid[0:48, 0:48] / 47
    shade = -3.6 + 0.6 * np.sign(np.sin(columns * 19) * np.sin(rows * 17))
    return np.repeat(np.where((columns > begin) & (columns < end), -1.0, shade)[..., None], 3, axis=2)


@pytest.mark.parametrize("begin", [0.22, 0.25, 0.28])
def test_hard_light_on_a_part_of_a_face_stays_hard_light_and_the_rest_shade(begin):
    seen = lit_between(begin, 1 - begin)
    shading, _ = estimate_shading(seen, np.ones((48, 48), dtype=np.float32), 3.4, is_mixed=True)
    assert np.abs(shading - seen)[:, 20:28].mean() < 0.3
    assert abs((shading - seen)[:, 1:6].mean()) < 0.3


def test_shading_of_an_unseen_face_is_finite():
    for is_mixed in (False, True):
        shading, _ = estimate_shading(np.zeros((64, 64, 3)), np.zeros((64, 64), np.float32), 4.5, is_mixed=is_mixed)
        assert np.isfinite(shading).all()


def test_mesh_crop_is_upright_centred_and_holds_the_mesh():
    mesh = make_mesh((300.0, 200.0), 60.0, yaw=25, roll=35)
    moved = transform(mesh_crop(mesh, 128), mesh)
    assert abs(np.degrees(mesh_roll(moved))) < 0.5
    low, high = moved[:468, :2].min(axis=0), moved[:468, :2].max(axis=0)
    np.testing.assert_allclose((low + high) / 2, 63.5, atol=0.5)
    assert max(high - low) == pytest.approx(128 / 1.3, abs=0.5)


def test_detection_crop_looks_at_the_same_place_as_the_mesh_crop():
    mesh = make_mesh((300.0, 200.0), 60.0, roll=-20)
    box = np.concatenate([mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)])
    moved = transform(detection_crop(box, mesh[list(FIVE_POINTS), :2], 128), mesh)
    low, high = moved[:468, :2].min(axis=0), moved[:468, :2].max(axis=0)
    assert np.abs((low + high) / 2 - 63.5).max() < 14
    assert 80 < max(high - low) < 125


def test_compose_is_one_affine_after_the_other(rng):
    a, b = square_crop((10, 20), 50, 0.3, 64), square_crop((30, 5), 20, -1.0, 32)
    points = rng.normal(0, 30, (7, 2)).astype(np.float32)
    np.testing.assert_allclose(transform(compose(b, a), points), transform(b, transform(a, points)), atol=1e-3)


def test_cut_by_a_whole_shift_copies_pixels(rng):
    pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    affine = np.array([[1, 0, -10], [0, 1, -5]], dtype=np.float32)
    np.testing.assert_array_equal(cut(pixels, affine, 32), pixels[5:37, 10:42])


def test_a_band_is_the_middle_of_its_square(rng):
    pixels = rng.integers(0, 256, (300, 260, 3), dtype=np.uint8)
    for side in (40.0, 190.0):  # enlarged, and reduced by whole blocks first
        square = square_crop((120, 150), side, 0.4, 64)
        band = compose(shifted(0, 16), square)
        np.testing.assert_allclose(
            cut(pixels, band, 64, height=32).astype(int), cut(pixels, square, 64)[16:48].astype(int), atol=2
        )


def test_a_band_around_the_eyes_is_as_wide_as_the_face_is_tall():
    mesh = make_mesh(centre=(100, 120), eye_distance=40.0)
    tall = float(np.ptp(mesh[:, 1] if np.ptp(mesh[:, 1]) > np.ptp(mesh[:, 0]) else mesh[:, 0]))
    c, s = np.cos(0.7), np.sin(0.7)
    turned = mesh.copy()
    turned[:, :2] = mesh[:, :2] @ np.array([[c, s], [-s, c]])
    for moved in (mesh, turned):
        eyes = transform(eye_band(moved, 192, 96), moved[[LEFT_IRIS, RIGHT_IRIS], :2])
        np.testing.assert_allclose(eyes.mean(axis=0), ((192 - 1) / 2, (96 - 1) / 2), atol=0.1)
        apart = np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2])
        assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(apart / tall * 192, rel=0.05)


def test_cut_of_a_large_face_averages_instead_of_aliasing():
    pixels = np.zeros((400, 400, 3), dtype=np.uint8)
    pixels[::2] = 255  # a grid finer than the crop can show
    small = cut(pixels, square_crop((200, 200), 320, 0.0, 32), 32)
    assert np.abs(small.astype(int) - 127).max() < 30


def test_resized_picture_is_padded_to_the_multiple(rng):
    pixels = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    padded, scale = resize_to_multiple(pixels, 70, 64)
    assert scale == 1
    assert padded.shape == (64, 128, 3)
    np.testing.assert_array_equal(padded[:50, :70], pixels)
    padded, scale = resize_to_multiple(pixels, 105, 64)
    assert scale == 1.5
    assert padded.shape == (128, 128, 3)
    assert not padded[75:].any()


def test_peaks_are_local_maxima_above_the_limit():
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[2, 3], heat[2, 4], heat[6, 6] = 0.9, 0.8, 0.3
    rows, columns = peaks(heat, 0.5)
    assert list(zip(rows, columns, strict=True)) == [(2, 3)]


@pytest.mark.parametrize("blend", list(BLENDS))
def test_blends_change_nothing_where_alpha_is_zero(blend, rng):
    under = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    over = np.full_like(under, 120)
    alpha = np.zeros((64, 64), dtype=np.float32)
    alpha[20:44, 20:44] = 1
    result = BLENDS[blend](under, over, alpha)
    np.testing.assert_array_equal(result[alpha == 0], under[alpha == 0])
    assert not np.array_equal(result, under)


def test_feather_takes_the_upper_picture_where_alpha_is_one(rng):
    under, over = (rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    np.testing.assert_array_equal(feather(under, over, np.ones((16, 16), np.float32)), over)


def test_paste_reports_a_box_that_holds_every_change(rng):
    frame = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    before = frame.copy()
    alpha = np.zeros((40, 40), dtype=np.float32)
    alpha[10:20, 5:30] = 1
    over = np.full((40, 40, 3), 7, dtype=np.uint8)
    affine = np.array([[1, 0, -100], [0, 1, -20]], dtype=np.float32)  # partly outside on the right
    box = paste(frame, over, alpha, affine)
    assert box == (105, 30, 120, 40)
    outside = np.ones((90, 120), dtype=bool)
    outside[30:40, 105:120] = False
    np.testing.assert_array_equal(frame[outside], before[outside])
    assert (frame[30:40, 105:120] == 7).all()


def test_paste_of_a_turned_crop_puts_it_back_where_it_came_from(rng):
    frame = np.zeros((200, 200, 3), dtype=np.uint8)
    affine = square_crop((100, 90), 80, 0.5, 64)
    over = np.full((64, 64, 3), 255, dtype=np.uint8)
    paste(frame, over, np.ones((64, 64), np.float32), affine)
    assert frame[90, 100].min() == 255
    assert frame[10, 10].max() == 0


def test_native_crop_is_a_whole_shift_for_ordinary_faces(rng):
    pixels = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    crop = cut_native(pixels, make_face(centre=(150.0, 120.0), eye_distance=40.0))
    x, y = (int(-v) for v in crop.crop_from_frame[:, 2])
    height, width = crop.pixels.shape[:2]
    np.testing.assert_array_equal(crop.pixels, pixels[y : y + height, x : x + width])


def test_native_crop_of_a_huge_face_is_shrunk():
    pixels = np.zeros((3000, 3000, 3), dtype=np.uint8)
    crop = cut_native(pixels, make_face(centre=(1500.0, 1500.0), eye_distance=900.0))
    assert max(crop.pixels.shape) <= MAX_SIDE
    back = transform(invert(crop.crop_from_frame), crop.face.mesh)
    np.testing.assert_allclose(back, make_mesh((1500.0, 1500.0), 900.0), atol=0.5)


def test_warping_error_is_low_for_a_shifted_picture_and_high_for_flicker(rng):
    import cv2

    base = cv2.GaussianBlur(rng.integers(0, 256, (140, 140, 3), dtype=np.uint8), (0, 0), 2)
    before, after = base[:128, :128], base[:128, 2:130]
    mask = np.ones((128, 128), dtype=bool)
    mask[:, -8:] = False
    still = warping_error(before, after, before, after, mask)
    flicker = warping_error(before, after, before, np.clip(after.astype(int) + 25, 0, 255).astype(np.uint8), mask)
    assert still < 0.5
    assert flicker > 4 * still


@pytest.mark.parametrize("size", [(200, 300), (61, 47), (5, 3)])
@pytest.mark.parametrize("sigma", [0.5, 9.0, 12.5, 16.0, 31.0, 32.0, 70.0])
def test_a_wide_blur_is_the_gaussian_of_its_width_to_two_levels_or_so(size, sigma):
    """Also where the blocks of which it is made do not fit the picture, and where it reaches over its sides."""
    generator = np.random.default_rng(5)
    pixels = generator.integers(0, 256, (*size, 3)).astype(np.uint8)
    pixels[: size[0] // 2] //= 3
    pixels[..., 0] = np.where(np.arange(size[1]) < size[1] // 2, 0, 255)  # what is hardest for blocks
    expected = pixels.astype(float)
    reach = int(4 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    for axis in (0, 1):
        room = [(0, 0)] * 3
        room[axis] = (reach, reach)
        padded = np.pad(expected, room, mode="reflect")
        parts = (w * padded.take(range(k, k + size[axis]), axis) for k, w in enumerate(weights / weights.sum()))
        expected = sum(parts)
    assert np.abs(blur_pixels(pixels, sigma) - expected).max() < 2.5


def test_a_print_has_no_colour_beyond_its_tone_and_lips_have():
    rng = np.random.default_rng(5)
    grey = rng.uniform(20, 235, (900, 1, 1)) / 255
    for dark, white in (((0, 0, 0), (255, 255, 255)), ((0, 0, 0), (255, 215, 165)), ((40, 22, 10), (255, 238, 205))):
        printed = np.array(dark) + (np.array(white) - np.array(dark)) * grey
        log = to_log(np.rint(printed).astype(np.uint8))[:, 0]
        assert np.quantile(colour_beyond_tone(log), 0.95) < 0.035
        log[:60] += np.float32([0.25, -0.25, 0.0])
        beyond = colour_beyond_tone(log)
        np.testing.assert_allclose(beyond[:60], 0.25, atol=0.07)
        assert np.quantile(beyond[60:], 0.95) < 0.045
