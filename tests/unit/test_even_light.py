"""Highlights and shadows of a photo on plain skin."""

import numpy as np
import pytest

from facefusion.models.face_relief import load_face_relief
from facefusion.processors.face_swapper import appearance
from facefusion.processors.face_swapper.appearance import SIZE

ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
SKIN = ((np.abs(COLUMNS - 0.5) < 0.22) & (ROWS > 0.42) & (ROWS < 0.62)).astype(np.float32)


def spot(row: float, column: float, radius: float) -> np.ndarray:
    return np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / radius**2).astype(np.float32)


def usual() -> np.ndarray:
    """A face that is as most are."""
    relief = load_face_relief()
    light, red, blue = (appearance.resize(np.ascontiguousarray(relief.usual[..., c]), SIZE) for c in range(3))
    return np.dstack([light + red, light - red - blue, light + blue])


def even(texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return appearance._in_even_light(np.asarray(texture, np.float32), SKIN, load_face_relief())


def test_faces_are_alike_on_both_sides_and_dark_at_eyes_and_red_at_lips():
    relief = load_face_relief()
    for values in (relief.usual, relief.spread):
        assert values.shape == (96, 96, 3)
        np.testing.assert_array_equal(values, values[:, ::-1])
    assert relief.spread.min() >= 0
    eyes, cheek, lips = relief.usual[33, 35], relief.usual[50, 35], relief.usual[65, 48]
    assert eyes[0] < cheek[0] - 0.5
    assert lips[1] > cheek[1] + 0.1


@pytest.mark.parametrize("much", [1.2, -1.2])
def test_highlights_and_shadows_on_both_cheeks_are_pressed(much):
    """They were drawn on, so that cheeks were white or black in any light."""
    face, mark = usual(), spot(0.52, 0.36, 0.03) + spot(0.52, 0.64, 0.03)
    before, after = even(face)[0], even(face + much * mark[..., None])[0]
    left = float(((after - before).mean(axis=-1) * mark).sum() / (mark * mark).sum())
    assert 0 < left / much < 0.85


@pytest.mark.parametrize("much", [1.0, -1.0])
def test_a_shadow_beside_one_side_of_a_nose_goes(much):
    """And so does the edge of a nose whose far side was not seen: both were a line down the middle of a new face."""
    line = (np.abs(COLUMNS - 0.46) < 0.012).astype(np.float32)
    before, after = even(usual())[0], even(usual() + much * line[..., None])[0]
    there = (line > 0) & (SKIN > 0) & (np.abs(ROWS - 0.52) < 0.06)
    assert abs(float((after - before).mean(axis=-1)[there].mean())) < 0.5 * abs(much)
    other = there[:, ::-1]
    assert abs(float((after - before).mean(axis=-1)[other].mean())) < 0.1 * abs(much)


def test_what_people_differ_by_stays():
    face, mole = usual(), spot(0.52, 0.36, 0.03)
    for much in (0.08, -0.08):
        before, after = even(face)[0], even(face + much * mole[..., None])[0]
        left = float(((after - before).mean(axis=-1) * mole).sum() / (mole * mole).sum())
        assert left / much > 0.85


def test_only_skin_is_touched():
    face = usual() + spot(0.33, 0.36, 0.03)[..., None]
    after, edges = even(face)
    off = SKIN == 0
    np.testing.assert_array_equal(after[off], face.astype(np.float32)[off])
    assert edges[off].max() == 0


def test_a_cheek_has_no_colour_of_a_lamp():
    """Pink and yellow patches of a flash were paint."""
    mark = spot(0.52, 0.36, 0.03)
    mark = mark + mark[:, ::-1]
    pink = usual() + mark[..., None] * np.array([0.25, -0.25, 0.0], np.float32)
    plain, after = even(usual())[0], even(pink)[0]
    left = float(((after - plain)[..., 0] * mark).sum() / (mark * mark).sum())
    assert left < 0.65 * 0.25


def test_the_edge_of_a_shadow_is_told():
    shadow = np.where(COLUMNS < 0.4, -1.5, 0.0).astype(np.float32)
    edges = even(usual() + shadow[..., None])[1]
    beside = SKIN > 0.5
    near = beside & (np.abs(COLUMNS - 0.4) < 0.01)
    far = beside & (np.abs(COLUMNS - 0.6) < 0.04)
    assert edges[near].mean() > 0.2
    assert edges[far].mean() < 0.1
