"""Eyes of sources on targets, on people who do not exist."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.models.face_shape import OPENED
from facefusion.pipeline.advice import advice
from facefusion.pipeline.runner import build_processors
from facefusion.processors.face_swapper import eyes as module
from facefusion.processors.face_swapper.eyes import (
    BALL_PX,
    RADIUS_PX,
    Eyes,
    Opening,
    image_from_iris,
    lid_shares,
    lids_together,
    opened,
    with_lids,
)
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.recipe import build_recipe
from facefusion.render.renderer import Renderer
from facefusion.types.crop import SourceFace
from facefusion.types.frame import Frame
from facefusion.types.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

RINGS = ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS))
GREEN = (20, 160, 60)
CREASES = ((247, 30, 29, 27, 28, 56, 190), (414, 286, 258, 257, 259, 260, 467))


def ring_of(mesh: np.ndarray, ring, shape) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(mesh[list(ring), :2] * 16).astype(np.int32)], 1, shift=4)
    return mask > 0


def disc_of(mesh: np.ndarray, iris: int, radius: float, shape, aside: float = 0.0) -> np.ndarray:
    """Within so many radii of the iris, or of so many radii beside it."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    affine = image_from_iris(mesh, iris)
    affine[:, 2] += affine[:, 0] * aside
    at = (np.stack([columns, rows], axis=-1) - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    return np.linalg.norm(at, axis=-1) < radius


def with_irises(face: SourceFace, colour) -> SourceFace:
    """Somebody with irises of a colour."""
    pixels = face.pixels.copy()
    for ring, iris in RINGS:
        inside = ring_of(face.face.mesh, ring, pixels.shape[:2])
        pixels[inside & disc_of(face.face.mesh, iris, 1.0, pixels.shape[:2])] = colour
        pixels[inside & disc_of(face.face.mesh, iris, 0.4, pixels.shape[:2])] = 8
    return replace(face, pixels=pixels)


def with_closed_eyes(face: SourceFace) -> SourceFace:
    """Somebody whose lids are down: skin, and a dark line where they end."""
    pixels, mesh = face.pixels.copy(), face.face.mesh
    for ring, _ in RINGS:
        inside = ring_of(mesh, ring, pixels.shape[:2]).astype(np.uint8)
        skin = np.median(
            pixels[int(mesh[list(ring), 1].max()) + 12, int(mesh[list(ring), 0].mean()) - 8 :][:16], axis=0
        )
        pixels[cv2.dilate(inside, np.ones((5, 5), np.uint8)) > 0] = skin
        lower = mesh[[ring[0], *ring[:8:-1], ring[8]], :2]
        cv2.polylines(pixels, [np.round(lower * 16).astype(np.int32)], False, (40, 25, 20), 3, cv2.LINE_AA, 4)
    return replace(face, pixels=cv2.GaussianBlur(pixels, (0, 0), 0.7))


def looked_at(face: SourceFace, analyser) -> SourceFace:
    """The same picture, with what a mesh sees in it now."""
    (seen,) = analyser.find_faces(face.pixels)
    return replace(face, face=seen)


def rendered(source: SourceFace, target: SourceFace, analyser, **options) -> np.ndarray:
    """The target with the face of the source; the tracks are those of the target as it is told to be."""
    recipe = build_recipe({"source_paths": ["face.jpg"], "face_swapper_shape": 0.0, **options})
    chain = build_processors(recipe, recipe.steps, [source])
    frame = Frame(target.pixels, 0, 0, Fraction(1))
    tracks = analyser.analyse(iter([frame]))
    return Renderer({0: chain}, tracks).render(frame).pixels


def greenness(pixels: np.ndarray, where: np.ndarray) -> float:
    values = pixels[where].astype(float)
    return float((values[:, 1] - (values[:, 0] + values[:, 2]) / 2).mean())


def between(face: SourceFace, radius: float) -> np.ndarray:
    """What both rings show of the irises."""
    shape = face.pixels.shape[:2]
    return np.logical_or.reduce(
        [ring_of(face.face.mesh, ring, shape) & disc_of(face.face.mesh, iris, radius, shape) for ring, iris in RINGS]
    )


def test_the_eyes_are_the_sources_and_look_where_the_target_looks(source, target, analyser):
    green = with_irises(source, GREEN)
    inside, white = between(target, 0.9), between(target, 3.0) & ~between(target, 1.3)
    own, theirs = (
        greenness(rendered(green, target, analyser, face_swapper_eyes=who), inside) for who in ("source", "target")
    )
    assert own > theirs + 10
    # The white beside it has no colour of the iris.
    assert greenness(rendered(green, target, analyser), white) < own - 10


def test_eyes_of_the_target_are_kept_when_they_are_asked_for(source, target, analyser):
    kept, other = (
        rendered(source, target, analyser, face_swapper_eyes=who).astype(int) for who in ("target", "source")
    )
    core = between(target, 0.6)
    before = target.pixels.astype(int)
    assert np.abs(kept - before)[core].mean() < 4
    assert np.abs(other - before)[core].mean() > 8


def prepared(source: SourceFace, analyser) -> tuple[MeshSwapper, Eyes | None]:
    recipe = build_recipe({"source_paths": ["face.jpg"]})
    (swapper,) = build_processors(recipe, recipe.steps, [source])
    return swapper, swapper._prepared.eyes


def openings(
    swapper: MeshSwapper, eyes: Eyes, target: SourceFace, shares: tuple[float, float] | None = None
) -> tuple[Opening, ...]:
    """As a frame shows them in even light, with lids where the mesh has them or where they are told to be."""
    skin = np.log(
        np.median(target.pixels[ring_of(target.face.mesh, (50, 101, 205), target.pixels.shape[:2])] / 255.0, axis=0)
        ** 2.2
    )
    light = np.broadcast_to(skin.astype(np.float32), (48, 48, 3))
    own = lid_shares(target.face.mesh, OPENED)
    wide = opened(target.face.mesh, own)
    shares = own if shares is None else shares
    return module.find_openings(target.pixels, light, wide, swapper._plane, swapper._eyes, shares)


def test_photos_that_show_no_eyes_leave_the_targets(source, target, analyser):
    assert prepared(source, analyser)[1].trust == 1
    closed = looked_at(with_closed_eyes(source), analyser)
    small = replace(
        source, pixels=cv2.resize(cv2.resize(source.pixels, (40, 40), interpolation=cv2.INTER_AREA), (512, 512))
    )
    for poor in (closed, small):
        assert prepared(poor, analyser)[1] is None
        asked = build_processors(build_recipe({"source_paths": ["face.jpg"]}), build_recipe({}).steps, [poor])[0]
        assert not asked.inspect([poor]).has_eyes
    assert "those of the target stay" in advice(replace(asked.inspect([source]), has_eyes=False))[0]
    assert advice(asked.inspect([source])) == []
    kept = rendered(small, target, analyser)
    np.testing.assert_array_equal(kept, rendered(small, target, analyser, face_swapper_eyes="target"))


def test_one_eye_that_is_seen_stands_in_for_both(source, analyser):
    green = with_irises(source, GREEN)
    pixels = green.pixels.copy()
    ring = (
        cv2.dilate(ring_of(source.face.mesh, LEFT_EYE, pixels.shape[:2]).astype(np.uint8), np.ones((7, 7), np.uint8))
        > 0
    )
    pixels[ring] = with_closed_eyes(source).pixels[ring]
    _, eyes = prepared(replace(green, pixels=pixels), analyser)
    assert eyes is not None
    left, right = (balls[0] for balls in eyes.balls)
    np.testing.assert_array_equal(left, right[:, ::-1])
    middle = (left.shape[0] // 2, left.shape[1] // 2 + 8)
    assert left[middle][1] > left[middle][0]


def test_open_and_closed_eyes_of_targets_are_told_apart(source, target, analyser):
    swapper, eyes = prepared(source, analyser)
    for one in openings(swapper, eyes, target):
        assert one.share == 1
        assert one.aperture > 0.7
    for one in openings(swapper, eyes, with_closed_eyes(target)):
        assert one.share == 0
        assert one.aperture < 0.6


def test_a_gaze_that_a_mesh_misses_is_found_in_the_picture(source, target, analyser):
    swapper, eyes = prepared(source, analyser)
    found = []
    for aside in (-1.0, 0.0, 1.0):
        found.append(openings(swapper, eyes, looking(target, aside))[0].aside)
    assert found[0] < -0.6
    assert abs(found[1]) < 0.15
    assert found[2] > 0.6


def looking(face: SourceFace, aside: float, rings=RINGS) -> SourceFace:
    """Somebody whose irises are so many radii beside where the mesh has them."""
    pixels, mesh = face.pixels.copy(), face.face.mesh
    for ring, iris in rings:
        inside = ring_of(mesh, ring, pixels.shape[:2])
        pixels[inside] = 225
        for radius, colour in ((1.0, (60, 45, 35)), (0.4, (8, 8, 8))):
            pixels[inside & disc_of(mesh, iris, radius, pixels.shape[:2], aside)] = colour
    return replace(face, pixels=pixels)


def test_an_iris_of_the_source_that_its_mesh_misses_is_taken_from_where_it_is(source, analyser):
    _, straight = prepared(looking(source, 0.0), analyser)
    _, aside = prepared(looking(source, 0.6), analyser)
    for one, other in zip(straight.balls, aside.balls, strict=True):
        rows = slice(BALL_PX // 2 - 2, BALL_PX // 2 + 3)
        lines = [ball[0][rows].astype(np.float32).mean(axis=(0, 2)) for ball in (one, other)]
        pupils = [int(np.argmin(cv2.blur(line[None], (7, 1))[0])) for line in lines]
        assert pupils == pytest.approx([BALL_PX / 2] * 2, abs=0.3 * RADIUS_PX)


def test_light_irises_are_not_taken_for_shaded_corners(source, analyser):
    """The outer corners were darker than the irises, and a ball was taken around each."""
    face = looking(source, 0.0)
    pixels, mesh = face.pixels.copy(), face.face.mesh
    shape = pixels.shape[:2]
    for (ring, iris), outer in zip(RINGS, (-1, 1), strict=True):
        inside = ring_of(mesh, ring, shape)
        pixels[inside & disc_of(mesh, iris, 1.0, shape)] = (90, 105, 115)
        pixels[inside & disc_of(mesh, iris, 0.35, shape)] = 8
        corner = np.mgrid[: shape[0], : shape[1]][1] - mesh[iris, 0]
        radius = float(np.linalg.norm(image_from_iris(mesh, iris)[:, 0]))
        pixels[inside & (corner * outer > 1.1 * radius)] = (45, 35, 30)
    _, eyes = prepared(replace(face, pixels=pixels), analyser)
    for balls in eyes.balls:
        line = balls[0][BALL_PX // 2 - 2 : BALL_PX // 2 + 3].astype(np.float32).mean(axis=(0, 2))
        pupil = int(np.argmin(cv2.blur(line[None], (5, 1))[0]))
        assert pupil == pytest.approx(BALL_PX / 2, abs=0.4 * RADIUS_PX)


def test_both_eyes_are_as_bright_as_each_other(source, analyser):
    """One of them may lie in a shade that is none of the face's broad light."""
    pixels, mesh = looking(source, 0.0).pixels.copy(), source.face.mesh
    shade = ring_of(mesh, RIGHT_EYE, pixels.shape[:2])
    pixels[shade] = (pixels[shade] * 0.8).astype(np.uint8)
    _, eyes = prepared(replace(source, pixels=pixels), analyser)
    whites = [balls[0][0].astype(float).mean() for balls in eyes.balls]
    radii = np.linalg.norm(module._from_iris(), axis=-1)
    irises = [balls[0][(radii > 0.5) & (radii < 0.8)].astype(float).mean() for balls in eyes.balls]
    assert whites[0] == pytest.approx(whites[1], abs=3)
    assert irises[0] == pytest.approx(irises[1], abs=5)


def test_every_iris_has_a_pupil(source, analyser):
    """A lamp or a window that hides it leaves eyes blind where they are drawn small."""
    pixels, mesh = looking(source, 0.0).pixels.copy(), source.face.mesh
    for _, iris in RINGS:
        pixels[disc_of(mesh, iris, 0.95, pixels.shape[:2])] = (110, 120, 130)
        pixels[disc_of(mesh, iris, 0.45, pixels.shape[:2], 0.2)] = 250
    _, eyes = prepared(replace(source, pixels=pixels), analyser)
    radii = np.linalg.norm(module._from_iris(), axis=-1)
    for balls in eyes.balls:
        ball = balls[0].astype(float).mean(axis=-1)
        iris = np.median(ball[(radii > 0.55) & (radii < 0.8)])
        # The lamp is still there, and small.
        assert np.median(ball[radii < 0.3]) < iris - 5
        assert ball[radii < 0.9].max() > iris + 15
        assert (ball[radii < 0.9] > iris + 30).mean() < 0.15


def test_lashes_and_lids_are_no_part_of_an_iris(source, analyser):
    pixels, mesh = looking(source, 0.0).pixels.copy(), source.face.mesh
    shape = pixels.shape[:2]
    rows = np.mgrid[: shape[0], : shape[1]][0]
    for ring, iris in RINGS:
        disc = ring_of(mesh, ring, shape) & disc_of(mesh, iris, 1.0, shape)
        pixels[disc] = (85, 95, 105)
        pixels[disc & disc_of(mesh, iris, 0.3, shape)] = 8
        radius = float(np.linalg.norm(image_from_iris(mesh, iris)[:, 0]))
        pixels[disc & (rows < mesh[iris, 1] - 0.5 * radius)] = 20
    _, eyes = prepared(replace(source, pixels=pixels), analyser)
    from_iris = module._from_iris()
    radii = np.linalg.norm(from_iris, axis=-1)
    around = (radii > 0.6) & (radii < 0.8)
    for balls in eyes.balls:
        ball = balls[0].astype(float).mean(axis=-1)
        above, below = (np.median(ball[around & (side * from_iris[..., 1] > 0.5)]) for side in (-1, 1))
        assert above > 0.75 * below


def test_both_irises_have_one_colour(source, analyser):
    """One that lies in the shade, or between lashes, is as brown as they are."""
    pixels, mesh = looking(source, 0.0).pixels.copy(), source.face.mesh
    for (_, iris), colour in zip(RINGS, ((105, 125, 150), (110, 90, 60)), strict=True):
        ring = disc_of(mesh, iris, 1.0, pixels.shape[:2]) & ~disc_of(mesh, iris, 0.3, pixels.shape[:2])
        pixels[ring] = colour
    _, eyes = prepared(replace(source, pixels=pixels), analyser)
    radii = np.linalg.norm(module._from_iris(), axis=-1)
    left, right = (np.median(balls[0][(radii > 0.5) & (radii < 0.8)].astype(float), axis=0) for balls in eyes.balls)
    np.testing.assert_allclose(left, right, atol=6)


@pytest.mark.parametrize("tint", [(0.6, 1.0, 1.3), (1.3, 1.0, 0.6), (1.0, 1.0, 1.0)])
def test_whites_of_eyes_are_white(source, analyser, tint):
    """What colour a lamp, a print or bad compression gave them is none that eyes have."""
    pixels = looking(source, 0.0).pixels.copy()
    for ring, iris in RINGS:
        white = ring_of(source.face.mesh, ring, pixels.shape[:2]) & ~disc_of(
            source.face.mesh, iris, 1.05, pixels.shape[:2]
        )
        pixels[white] = np.clip(170 * np.array(tint), 0, 255)
    _, eyes = prepared(replace(source, pixels=pixels), analyser)
    of_white = np.log(eyes.balls[0][0][:4].astype(float).mean(axis=(0, 1)) + 1)
    plain = np.log(prepared(looking(source, 0.0), analyser)[1].balls[0][0][:4].astype(float).mean(axis=(0, 1)) + 1)
    difference = (of_white - plain) - (of_white - plain).mean()
    assert np.abs(difference).max() < 0.12


def test_dull_smeared_eyes_leave_the_targets(source, analyser):
    """Where a photo has hardly any white beside the iris, what is drawn is a dark hole."""
    pixels = source.pixels.copy()
    for ring, iris in RINGS:
        inside = ring_of(source.face.mesh, ring, pixels.shape[:2]).astype(np.uint8)
        pixels[cv2.dilate(inside, np.ones((9, 9), np.uint8)) > 0] = 95
        pixels[disc_of(source.face.mesh, iris, 1.0, pixels.shape[:2])] = 35
    assert prepared(replace(source, pixels=pixels), analyser)[1] is None


def test_targets_blink_with_sources_that_have_no_eyes_to_show(source, target, analyser):
    """Their lids, drawn out over the eye, stayed as a smear."""
    shut = with_closed_eyes(target)
    own = np.logical_or.reduce([ring_of(target.face.mesh, ring, shut.pixels.shape[:2]) for ring, _ in RINGS])
    own &= shut.pixels.mean(axis=-1) > 90
    painted = source.pixels.copy()
    for ring, _ in RINGS:
        upper = np.round((source.face.mesh[list(ring[:9]), :2] - [0, 3]) * 16).astype(np.int32)
        cv2.polylines(painted, [upper], False, (10, 8, 8), 7, cv2.LINE_AA, 4)
    seen = rendered(replace(source, pixels=painted), shut, analyser, face_swapper_eyes="target")
    assert float(seen[own].mean()) == pytest.approx(float(shut.pixels[own].mean()), abs=12)


def test_an_eye_that_is_shut_says_nothing_of_the_gaze_of_the_other(source, target, analyser):
    swapper, eyes = prepared(source, analyser)
    for aside in (-1.0, 0.0, 1.0):
        both = looking(target, aside)
        lid = ring_of(target.face.mesh, RIGHT_EYE, both.pixels.shape[:2]).astype(np.uint8)
        lid = cv2.dilate(lid, np.ones((7, 7), np.uint8)) > 0
        pixels = both.pixels.copy()
        pixels[lid] = with_closed_eyes(target).pixels[lid]
        left, right = openings(swapper, eyes, looked_at(replace(both, pixels=pixels), analyser))
        assert left.share == 1 and right.share < 0.3
        with_both = openings(swapper, eyes, looked_at(both, analyser))
        assert left.aside == pytest.approx(with_both[0].aside, abs=0.25)


def test_closed_eyes_are_told_in_the_targets_own_light(source, target, analyser):
    """However little of it the new face takes."""
    closed, green = with_closed_eyes(target), with_irises(source, GREEN)
    dark = replace(closed, pixels=(closed.pixels * 0.5).astype(np.uint8))
    core = between(target, 0.9)
    for light in (1.0, 0.0):
        open_ = greenness(rendered(green, target, analyser, face_swapper_light=light), core)
        assert greenness(rendered(green, dark, analyser, face_swapper_light=light), core) < open_ - 10


def test_drawn_eyes_move_aside_and_stay_between_the_lids(source, target, analyser):
    swapper, eyes = prepared(with_irises(source, GREEN), analyser)
    plane, places, levels = swapper._plane, swapper._eyes, swapper._prepared.tones[:2]
    middles = []
    for aside in (-0.8, 0.0, 0.8):
        seen = (Opening(1.0, 1.0, aside),) * 2
        drawn = eyes.draw(levels, 0, target.face.mesh, seen, plane, places)
        part = drawn[0][places[0].rows, places[0].columns].astype(int)
        # The white of an eye is bluer than skin.
        green = np.clip(part[..., 1] - part[..., [0, 2]].max(axis=-1), 0, None) * (places[0].ball[0] > 0.5)
        middles.append(float((green.sum(axis=0) * np.arange(green.shape[1])).sum() / green.sum()))
        outside = np.ones(drawn[0].shape[:2], bool)
        for place in places:
            outside[place.rows, place.columns] = False
        np.testing.assert_array_equal(drawn[0][outside], levels[0][outside])
    assert middles[0] + 3 < middles[1] < middles[2] - 3
    unseen = eyes.draw(levels, 0, target.face.mesh, (Opening(0.0, 1.0, 0.0),) * 2, plane, places)
    for one, other in zip(unseen, levels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_lids_come_down_as_far_as_they_are_seen_to(target):
    mesh = target.face.mesh

    def height(points: np.ndarray, ring) -> float:
        return float((points[list(ring[9:]), 1] - points[list(ring[7:0:-1]), 1]).mean())

    for aperture in (1.0, 0.5, 0.0):
        moved = with_lids(mesh, (Opening(1.0, aperture, 0.0), Opening(1.0, 1.0, 0.0)))
        assert height(moved, LEFT_EYE) == pytest.approx(height(mesh, LEFT_EYE) * module.lowered(aperture), abs=1e-3)
        np.testing.assert_allclose(moved[list(RIGHT_EYE)], mesh[list(RIGHT_EYE)], atol=1e-4)
    assert with_lids(mesh, (Opening(1.0, 1.0, 0.0),) * 2) is mesh


def test_a_blink_of_the_target_is_a_blink_of_the_output(source, target, analyser):
    """Where the mesh takes closed eyes for open ones no iris is drawn onto the lids."""
    green = with_irises(source, GREEN)
    core = between(target, 0.9)
    open_, blink = (greenness(rendered(green, one, analyser), core) for one in (target, with_closed_eyes(target)))
    assert blink < open_ - 10


def test_shut_lids_are_the_targets_own_and_no_lashes_drawn_out(source, target, analyser, monkeypatch):
    """A photo of open eyes shows a lid that is a few pixels high, and most of that is lashes."""
    mesh, lids = source.face.mesh, target.face.mesh
    painted = source.pixels.copy()
    for ring, _ in RINGS:
        upper = np.round((mesh[list(ring[:9]), :2] - [0, 3]) * 16).astype(np.int32)
        cv2.polylines(painted, [upper], False, (10, 8, 8), 7, cv2.LINE_AA, 4)
    dark, shut = replace(source, pixels=painted), with_closed_eyes(target)
    shape = shut.pixels.shape[:2]
    own = np.logical_or.reduce([ring_of(lids, (*ring[1:8], *ring[9:]), shape) for ring, _ in RINGS])
    own &= shut.pixels.mean(axis=-1) > 90  # without the line where a lid ends
    own_lids = float(rendered(dark, shut, analyser)[own].mean())
    assert own_lids == pytest.approx(float(shut.pixels[own].mean()), abs=12)
    monkeypatch.setattr(module, "SHUT", (-1.0, -0.5))
    assert float(rendered(dark, shut, analyser)[own].mean()) < own_lids - 15


def test_open_eyes_keep_the_lids_of_the_source(source, target, analyser, monkeypatch):
    before = rendered(source, target, analyser)
    monkeypatch.setattr(module, "SHUT", (-1.0, -0.5))
    np.testing.assert_array_equal(before, rendered(source, target, analyser))


def test_the_places_of_the_eyes_are_whole_pixels_of_every_level(source, analyser):
    swapper, _ = prepared(source, analyser)
    for place in swapper._eyes:
        for k, ball in enumerate(place.ball):
            factor = 2**k
            assert place.rows.start % factor == place.columns.start % factor == 0
            assert ball.shape == tuple((s.stop - s.start) // factor for s in (place.rows, place.columns))
    assert len(swapper._eyes[0].ball) == module._LEVELS


def test_a_lid_that_the_mesh_sees_leaves_the_eye_the_sources(source, target, analyser):
    """Half shut lids that the mesh sees are lids; what only the picture shows may be lashes."""
    swapper, eyes = prepared(with_irises(source, GREEN), analyser)
    half = with_lids_down(target, 0.7)
    assert min(one.share for one in openings(swapper, eyes, half, (0.7, 0.7))) > 0.9
    # A lid that is shut is no eye, however far the mesh has it open.
    shut = with_closed_eyes(target)
    assert max(one.share for one in openings(swapper, eyes, shut, (0.6, 0.6))) < 0.1


def test_an_iris_keeps_its_colour_while_lids_come_down(source, analyser):
    """Between lids of which the target's own are shown the eye is the source's, as far as one is drawn."""
    swapper, _ = prepared(source, analyser)
    levels = (np.full((512, 512, 4), 255, np.uint8), np.full((256, 256, 4), 255, np.uint8))
    half = (Opening(1.0, 0.36, 0.0),) * 2
    drawn, bare = (module.with_own_lids(levels, 0, half, swapper._lids, swapper._eyes, trust) for trust in (1.0, 0.0))
    for number in (0, 1):
        for place, lid in zip(swapper._eyes, swapper._lids, strict=True):
            rows, columns = place.at(number)
            between = place.between[number] > 0.95
            assert drawn[number][rows, columns, 3][between].min() > 240
            assert bare[number][rows, columns, 3][between].max() < 80
            rows, columns = lid.at(number)
            own = lid.between[number] > 0.95
            apart = own.copy()
            inner = module._within(place, lid, number)
            apart[inner] &= place.between[number] < 0.05
            assert drawn[number][rows, columns, 3][apart].max() < 90  # the lid itself is the target's


def with_lids_down(face: SourceFace, share: float) -> SourceFace:
    """Somebody whose upper lids come down, with lashes at their edge."""
    pixels, mesh = face.pixels.copy(), face.face.mesh
    for ring, _ in RINGS:
        upper, lower = mesh[list(ring[1:8]), :2], mesh[list(ring[:8:-1]), :2]
        edge = lower + (upper - lower) * share
        skin = np.median(
            pixels[int(mesh[list(ring), 1].max()) + 12, int(mesh[list(ring), 0].mean()) - 8 :][:16], axis=0
        )
        lid = np.concatenate([upper - [0, 4], edge[::-1]])
        cv2.fillPoly(pixels, [np.round(lid * 16).astype(np.int32)], skin.tolist(), cv2.LINE_AA, 4)
        cv2.polylines(pixels, [np.round(edge * 16).astype(np.int32)], False, (40, 25, 20), 2, cv2.LINE_AA, 4)
    return replace(face, pixels=pixels)


def with_openings(mesh: np.ndarray, wanted: tuple[float, float], yaw: float = 0.0) -> np.ndarray:
    """A mesh whose eyes are open so far, over what is usual, of a head that is turned by so many degrees."""
    mesh = mesh.copy()
    for (ring, _), share in zip(RINGS, wanted, strict=True):
        upper, lower = list(ring[1:8]), list(ring[:8:-1])
        number = 0 if ring is LEFT_EYE else 1
        mesh[upper] = mesh[lower] + (mesh[upper] - mesh[lower]) * (share / lid_shares(mesh, OPENED)[number])
    turn = np.radians(yaw)
    mesh[:, 0], mesh[:, 2] = (
        mesh[:, 0] * np.cos(turn) + mesh[:, 2] * np.sin(turn),
        mesh[:, 2] * np.cos(turn) - mesh[:, 0] * np.sin(turn),
    )
    return mesh


@pytest.mark.parametrize(
    ("measured", "low", "high"),
    [
        ((0.12, 0.52), 0.1, 0.2),  # long lashes that are taken for an open eye
        ((0.46, 0.12), 0.1, 0.2),
        ((0.34, 0.41), 0.3, 0.4),
        ((0.28, 0.84), 0.45, 0.65),  # a squint of which one half lies in the shade
    ],
)
def test_two_eyes_blink_together(target, measured, low, high):
    left, right = lids_together(with_openings(target.face.mesh, measured), OPENED)
    assert left == pytest.approx(right, abs=0.06)
    assert low < left < high


def test_a_lid_that_only_the_picture_of_one_eye_shows_is_that_of_both(source, target, analyser, monkeypatch):
    swapper, eyes = prepared(source, analyser)
    seen = iter([Opening(1.0, 0.49, 0.0), Opening(1.0, 0.29, 0.0)])
    monkeypatch.setattr(module, "_open", lambda *_: next(seen))
    left, right = openings(swapper, eyes, target)
    assert left.aperture == pytest.approx(right.aperture, abs=0.02)
    assert left.aperture < 0.35 and left.share < 0.1


@pytest.mark.parametrize("measured", [(0.06, 1.07), (0.96, 0.2), (0.22, 0.97), (0.37, 1.6)])
def test_who_winks_winks(target, measured):
    assert lids_together(with_openings(target.face.mesh, measured), OPENED) == pytest.approx(measured, abs=0.02)


def test_open_eyes_are_as_open_as_each_is(target):
    for measured in ((0.55, 0.95), (1.2, 0.7), (0.5, 0.5)):
        mesh = with_openings(target.face.mesh, measured)
        assert lids_together(mesh, OPENED) == lid_shares(mesh, OPENED)


def test_the_farther_eye_of_a_turned_head_winks_not(target):
    for measured in ((0.2, 1.0), (1.0, 0.2)):
        for yaw in (-45.0, 45.0):
            mesh = with_openings(target.face.mesh, measured, yaw)
            left, right = lids_together(mesh, OPENED)
            assert abs(left - right) < 0.2 < abs(float(np.subtract(*lid_shares(mesh, OPENED))))


def test_of_shut_lids_no_crease_of_an_open_eye_is_left(source, target, analyser):
    """The source's lay over the target's lid as a second one."""
    painted, mesh = source.pixels.copy(), source.face.mesh
    for crease in CREASES:
        cv2.polylines(painted, [np.round(mesh[list(crease), :2] * 16).astype(np.int32)], False, (10, 8, 8), 4, 16, 4)
    shut = with_closed_eyes(target)
    shape = shut.pixels.shape[:2]
    there = np.zeros(shape, np.uint8)
    for crease in CREASES:
        points = target.face.mesh[list(crease[1:6]), :2]
        cv2.polylines(there, [np.round(points * 16).astype(np.int32)], False, 1, 2, 8, 4)
    bare, creased = (rendered(one, shut, analyser).astype(int) for one in (source, replace(source, pixels=painted)))
    assert np.abs(bare - creased)[there > 0].mean() < 4


def test_an_iris_between_narrow_lids_is_one():
    """Where there is no upper half of it to speak of there was none, from one frame to the next."""
    line = np.linspace(-2, 2, 41, dtype=np.float32)
    of_iris = np.stack(np.meshgrid(line, line), axis=-1)
    dark = np.where(np.linalg.norm(of_iris, axis=-1) < 1, 1.5, 0.3).astype(np.float32)
    shown = [module._iris_shown(dark, (of_iris[..., 1] > top).astype(np.float32), of_iris) for top in (-0.5, -0.1)]
    assert shown[1] == pytest.approx(shown[0], rel=0.2)


def test_who_squints_all_the_time_stays_narrow():
    assert module.drawn_opening(0.3, 0.17) < 0.17
    assert module.drawn_opening(0.3, 0.25) > 0.27


def test_a_target_with_lowered_lids_gets_no_wide_eyes_of_a_source():
    """The eyes of a source, drawn as far down as the mesh has the target's lids, look wider; measured in swaps."""
    wider = 1.2
    assert module.lowered(1.0, wider) == 1.0
    assert 0.85 < module.lowered(0.95, wider) < 0.95
    for aperture in (0.5, 0.6, 0.7, 0.8):
        assert wider * module.lowered(aperture, wider) < 0.97 * aperture
        # Who has narrower eyes than the target keeps them, and lowers them as much.
        assert module.lowered(aperture, 0.8) == module.lowered(aperture)
    steps = [wider * module.lowered(float(share), wider) for share in np.linspace(0, 1, 101)]
    assert min(np.diff(steps)) >= 0 and max(np.diff(steps)) < 0.03


def test_who_looks_down_all_the_time_does_not_stare():
    assert module.drawn_opening(0.36, 0.17) < 0.24
    assert module.drawn_opening(0.22, 0.4) > 0.29
    assert module.drawn_opening(0.3, 0.3) == pytest.approx((0.3 + module.OPENED) / 2)
