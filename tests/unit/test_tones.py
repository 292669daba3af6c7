"""Textures in bytes under light that is a straight line over them."""

from dataclasses import replace

import numpy as np
import pytest

from facefusion.imaging.light import from_log_exactly
from facefusion.imaging.texture import SurfaceView
from facefusion.imaging.tones import EXPONENT, Lit, brightest, draw, find_line, to_tones
from facefusion.imaging.veil import Veil

SIDE = 64


def surface(step, rows=23, columns=17):
    """A view of a plane that is seen from the front, a little shifted."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    where = np.stack([x * 2.3 + 5, y * 2.1 + 4], axis=-1)
    flat = np.ones((rows, columns), np.float32)
    return SurfaceView(where, step, flat, flat, (columns * step - 1, rows * step - 2))


def lit(view, **changes):
    rng = np.random.default_rng(3)
    detail = rng.normal(0, 0.3, (SIDE, SIDE, 3)).astype(np.float32)
    cover = np.clip(rng.normal(0.8, 0.2, (SIDE, SIDE)), 0, 1).astype(np.float32)
    top = brightest(detail, cover)
    shape = view.where.shape[:2]
    light = np.linspace(-2, -0.8, shape[0] * shape[1] * 3).reshape(*shape, 3).astype(np.float32)
    gains, offsets = find_line(light, np.full(shape, 0.95, np.float32), top)
    fine, coarse = to_tones(detail, cover, top), to_tones(detail[::2, ::2], cover[::2, ::2], top)
    values = {"levels": (fine, coarse), "further": 0.0, "tint": 1.0, "fade": view.towards * np.float32(0.9)}
    return Lit(top=top, gains=gains, offsets=offsets, **{**values, **changes})


@pytest.mark.parametrize("relief", [0.8, 1.0, 1.1])
@pytest.mark.parametrize("light", [-0.6, -1.2, -2.0, -3.0])
def test_under_any_light_a_line_over_tones_is_what_is_seen(light, relief):
    detail, top = np.linspace(-1.6, 0.4, 41, dtype=np.float32), 1.0
    seen = from_log_exactly(np.float32(light) + detail * np.float32(relief))
    gains, offsets = find_line(np.full((1, 1, 3), light, np.float32), np.full((1, 1), relief, np.float32), top)
    line = gains[0, 0, 0] * 255 * np.exp(EXPONENT * (detail - top)) + offsets[0, 0, 0]
    assert np.abs(line - np.minimum(seen, 255)).max() < 3
    assert np.abs(line - seen)[np.abs(detail) < 0.4].max() < 2


def test_a_veil_lies_over_the_line_as_over_the_picture():
    veil = Veil(np.array([0.3, 0.25, 0.2], np.float32))
    light = np.full((1, 1, 3), -1.2, np.float32)
    gains, offsets = find_line(light, np.ones((1, 1), np.float32), 1.0, veil.lay_values)
    plain = gains * 255 * np.exp(-EXPONENT) + offsets
    bytes_ = np.round(from_log_exactly(light)).astype(np.uint8)
    np.testing.assert_allclose(plain, veil.lay(bytes_), atol=1.0)


@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("changes", [{}, {"further": 0.4}, {"tint": 0.5}])
def test_strips_do_not_show(monkeypatch, step, changes):
    view = surface(step)
    found = draw(lit(view, **changes), view, SIDE)
    monkeypatch.setattr("facefusion.imaging.tones._STRIP_PX", 10_000)
    whole = draw(lit(view, **changes), view, SIDE)
    for part, one in zip(found, whole, strict=True):
        assert part.shape[:2] == view.size[::-1]
        np.testing.assert_array_equal(part, one)


def test_without_any_tint_a_face_has_no_colours_of_its_own():
    view = surface(3)
    shape = (*view.where.shape[:2], 3)
    grey = replace(lit(view, tint=0.0), gains=np.ones(shape, np.float32), offsets=np.zeros(shape, np.float32))
    pixels, _ = draw(grey, view, SIDE)
    assert (np.ptp(pixels.astype(int), axis=-1) <= 1).all()


def test_next_to_nothing_is_too_bright_for_a_byte():
    rng = np.random.default_rng(0)
    detail = rng.normal(0, 0.4, (SIDE, SIDE, 3)).astype(np.float32)
    alpha = np.ones((SIDE, SIDE), np.float32)
    tones = to_tones(detail, alpha, brightest(detail, alpha))
    assert (tones[..., :3] == 255).mean() < 0.01
    assert (tones[..., 3] == 255).all()
