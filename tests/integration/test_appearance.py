"""What is made of imperfect sources: cleaned, completed, and the person's own detail kept."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.patience import PATIENCE_S

from facefusion.apps import cli
from facefusion.errors import NoFaceInSource
from facefusion.imaging import beards
from facefusion.imaging.finish import measure_finish
from facefusion.imaging.resample import decode
from facefusion.imaging.texture import blur, resize
from facefusion.media.image import read_photo
from facefusion.models.pose import estimate_pose
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.pipeline.advice import advice
from facefusion.plugins.protocols import EngineContext, ShowsSources
from facefusion.plugins.registry import build_processor
from facefusion.processors.face_swapper import appearance
from facefusion.recipe import Recipe
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face
from facefusion.types.topology import FACE_OVAL, LEFT_IRIS, LIPS_INNER, LIPS_OUTER, RIGHT_IRIS

PEOPLE = (2, 11)


def make_swapper():
    return build_processor(Recipe().step_of("face_swapper"), EngineContext(Recipe()))


@pytest.fixture(scope="module")
def swapper():
    return make_swapper()


def person(number: int) -> SourceFace:
    face = load_synthetic_faces()[number]
    mesh = face.mesh.astype(np.float32)
    return SourceFace(decode(face.jpeg), Face(mesh, 1.0, estimate_pose(mesh)))


def points(source: SourceFace) -> tuple[np.ndarray, float]:
    mesh = source.face.mesh
    return mesh, float(np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2]))


def with_glasses(source: SourceFace) -> SourceFace:
    mesh, unit = points(source)
    pixels = source.pixels.copy()
    for eye in (mesh[LEFT_IRIS, :2], mesh[RIGHT_IRIS, :2]):
        axes = (round(unit * 0.4), round(unit * 0.32))
        middle = tuple(int(v) for v in np.round(eye))
        cv2.ellipse(pixels, middle, axes, 0, 0, 360, (25, 20, 20), max(round(unit * 0.07), 2), cv2.LINE_AA)
    return SourceFace(pixels, source.face)


def with_finger(source: SourceFace) -> SourceFace:
    mesh, unit = points(source)
    pixels = source.pixels.copy()
    start, end = (tuple(int(v) for v in np.round(p)) for p in (mesh[14, :2], mesh[152, :2] + [unit * 0.6, unit]))
    cv2.line(pixels, start, end, (90, 55, 45), round(unit * 0.34), cv2.LINE_AA)
    cv2.line(pixels, start, end, (214, 160, 140), round(unit * 0.3), cv2.LINE_AA)
    return SourceFace(pixels, source.face)


def with_hair(source: SourceFace) -> SourceFace:
    mesh, unit = points(source)
    pixels = source.pixels.copy()
    for k in range(18):
        start = mesh[10, :2] + [(k - 14) * unit * 0.045, -unit * 0.1]
        end = (start[0] - unit * 0.2, start[1] + unit * 0.75)
        cv2.line(pixels, *(tuple(int(v) for v in np.round(p)) for p in (start, end)), (30, 22, 18), 2, cv2.LINE_AA)
    return SourceFace(pixels, source.face)


def with_shadow(source: SourceFace) -> SourceFace:
    mesh, unit = points(source)
    y, x = np.mgrid[0 : source.pixels.shape[0], 0 : source.pixels.shape[1]].astype(np.float32)
    across = (x - mesh[1, 0]) + 0.5 * (y - mesh[1, 1])
    dark = 1 - 0.72 / (1 + np.exp(np.clip(across / (unit * 0.02), -30, 30)))
    linear = (source.pixels / 255.0) ** 2.2 * dark[..., None]
    return SourceFace((linear ** (1 / 2.2) * 255 + 0.5).astype(np.uint8), source.face)


def with_beard(source: SourceFace) -> SourceFace:
    """Short dark hairs on chin and jaw, over skin that they darken."""
    mesh, unit = points(source)
    mask = np.zeros(source.pixels.shape[:2], np.uint8)
    jaw = mesh[[*FACE_OVAL[11:26], 2], :2]
    cv2.fillPoly(mask, [np.round(jaw).astype(np.int32)], 255)
    lips = cv2.convexHull(np.round(mesh[list(LIPS_OUTER), :2]).astype(np.int32))
    cv2.fillPoly(mask, [lips], 0)
    grown = cv2.GaussianBlur(mask, (0, 0), unit * 0.12).astype(np.float32)[..., None] / 255
    pixels = (source.pixels * (1 - 0.3 * grown)).astype(np.uint8)
    hairs, rng = pixels.copy(), np.random.default_rng(4)
    rows, columns = np.nonzero(mask)
    for k in rng.choice(len(rows), 900):
        end = np.array([columns[k], rows[k]]) + rng.normal(0, unit * 0.02, 2) + [0, unit * 0.05]
        cv2.line(hairs, (columns[k], rows[k]), tuple(int(v) for v in np.round(end)), (38, 30, 26), 1, cv2.LINE_AA)
    moustache = np.round(mesh[list(LIPS_OUTER[1:10]), :2] - [0, unit * 0.09]).astype(np.int32)
    cv2.polylines(hairs, [moustache], False, (45, 35, 30), max(round(unit * 0.09), 2), cv2.LINE_AA)
    shown = pixels + (hairs.astype(np.float32) - pixels) * 0.5 * grown
    return SourceFace(shown.astype(np.uint8), source.face)


@pytest.mark.parametrize("number", PEOPLE)
def test_light_from_one_side_is_taken_off_and_even_light_is_none(swapper, number, monkeypatch):
    """What is left of it is as narrow as a nose, so that broad light does not hold it."""
    evened = appearance._evened
    seen = []
    monkeypatch.setattr(appearance, "_evened", lambda *given: seen.append(given) or evened(*given))
    for one in (person(number), with_shadow(person(number))):
        swapper._complete([one], swapper._completer)
    (clean, skin), _ = seen
    np.testing.assert_array_equal(evened(clean, skin), clean)
    columns = np.mgrid[0 : appearance.SIZE, 0 : appearance.SIZE][1]
    half_dark = (clean - np.float32(0.5) * ((columns > 60) & (columns < 94))[..., None]).astype(np.float32)
    plain = np.minimum(skin, skin[:, ::-1]) > 0.8

    def unlike(texture):
        return float(np.abs(blur(np.ascontiguousarray(texture - texture[:, ::-1]), 3.0)).mean(axis=-1)[plain].mean())

    made = evened(half_dark, skin)
    assert unlike(made) < 0.3 * unlike(half_dark)
    fine = made - half_dark - blur(np.ascontiguousarray(made - half_dark), 1.0)
    assert np.abs(fine).max() < 0.05, "moles and lines are somebody's own"


@pytest.mark.parametrize("number", PEOPLE)
def test_a_beard_keeps_its_darkness(swapper, number, monkeypatch):
    """The broad darkness of a beard is no shadow: what is left of it without is pale hairs on a bright chin."""
    source = person(number)
    chin = (np.mgrid[0:512, 0:512][0] > swapper._plane.points[list(LIPS_OUTER), 1].max() + 12) & (swapper._cover > 0.9)
    bare, bearded = (
        swapper._complete([one], swapper._completer).detail.mean(axis=-1)[chin].mean()
        for one in (source, with_beard(source))
    )
    monkeypatch.setattr(beards, "DARKEST", 0.0)
    monkeypatch.setattr(beards, "MOST_COLOUR", 0.0)
    pale = swapper._complete([with_beard(source)], swapper._completer).detail.mean(axis=-1)[chin].mean()
    assert bearded < pale - 0.15, f"{bare:.2f} without a beard, {bearded:.2f} with it, {pale:.2f} as a shadow"
    assert bearded < bare - 0.3


def test_what_a_photo_does_not_show_of_a_beard_is_that_of_the_other_half(swapper):
    """A far cheek is no beard because nothing is known of it."""
    beards, cells = swapper._beards, len(swapper._beards.grows)
    coarse = np.zeros((cells, cells, 3), np.float32)
    shading = coarse - np.float32(1.2) * beards.grows[..., None]
    sight = np.ones((cells, cells), np.float32)
    whole = beards.lost(coarse, sight, shading).mean(axis=-1)
    np.testing.assert_allclose(whole, -1.2 * beards.grows**2, atol=0.05)
    half = sight.copy()
    half[:, : cells // 2] = 0
    mirrored = beards.lost(coarse, half, shading).mean(axis=-1)
    assert np.abs(mirrored - whole)[:, : cells // 2 - 3].max() < 0.05
    assert np.abs(beards.lost(coarse, sight * 0, shading)).max() < 1e-6
    assert np.abs(np.diff(beards.grows, axis=0)).max() < 0.62, "no edge is to be seen where it ends"


def test_a_goatee_stays_as_black_as_it_is_and_the_skin_beside_it_skin(swapper):
    """To the network it is something foreign: that a beard was found says that it is not."""
    source = person(0)
    log_texture, seen, hidden, _ = swapper._join([source], [np.zeros((512, 512), np.float32)])
    clean = swapper._completer.complete(log_texture, seen, hidden).detail
    rows, columns = np.mgrid[0:512, 0:512]
    under = swapper._plane.points[list(LIPS_OUTER), 1].max()
    tuft = (np.abs(columns - 255.5) < 22) & (rows > under + 14) & (rows < under + 60)
    assert (seen[tuft] > 0.3).all()
    beside = (np.abs(columns - 255.5) > 40) & (np.abs(columns - 255.5) < 60) & (rows > under + 14) & (rows < under + 50)
    dark = (clean - np.float32(1.3) * tuft[..., None]).astype(np.float32)
    grows = (resize(swapper._beards.grows, 512) * (1 - swapper._lips)).astype(np.float32)
    with_it, without = (
        swapper._completer.complete(dark, seen, hidden, bearded=given).detail.mean(axis=-1) for given in (grows, None)
    )
    step = {
        name: float(one[tuft].mean() - one[beside].mean()) for name, one in (("with", with_it), ("without", without))
    }
    assert step["with"] < -1.0, step
    assert step["with"] < step["without"] - 0.3, step


@pytest.mark.parametrize("spoil", [lambda one: one, with_shadow, with_finger, with_hair, with_glasses])
@pytest.mark.parametrize("number", PEOPLE)
def test_what_is_no_beard_is_not_taken_for_one(swapper, spoil, number):
    source = spoil(person(number))
    completer = swapper._completer
    covered = [completer.find_covered(source, swapper._plane, completer.find_rims(source))]
    log_texture, seen, hidden, _ = swapper._join([source], covered)
    known = np.asarray(np.clip(seen * 12, 0, 1) * (1 - hidden), dtype=np.float32)
    assert swapper._beards.find(log_texture, known) < 0.1


@pytest.mark.parametrize("spoil", [with_glasses, with_finger, with_hair, with_shadow])
@pytest.mark.parametrize("number", PEOPLE)
def test_a_spoiled_source_is_brought_nearer_to_the_clean_one(swapper, spoil, number):
    clean, spoiled = person(number), spoil(person(number))
    taken = [swapper._take([source]).detail for source in (clean, spoiled)]
    made = [swapper._complete([source], swapper._completer).detail for source in (clean, spoiled)]
    plain = np.abs(taken[0] - taken[1]).mean(axis=-1)
    where = (plain > 0.25) & (swapper._cover > 0.5)  # what was spoiled
    assert where.sum() > 500
    left, mended = plain[where].mean(), np.abs(made[0] - made[1]).mean(axis=-1)[where].mean()
    assert mended < 0.6 * left, f"{mended:.3f} of {left:.3f}"


@pytest.mark.parametrize("number", PEOPLE)
def test_glasses_leave_no_lines_beside_them(swapper, number):
    """The network's textures are coarse, and what is finer is put back: not from the edge of a rim."""
    clean, worn = (
        swapper._complete([s], swapper._completer).detail for s in (person(number), with_glasses(person(number)))
    )
    photo, completer = with_glasses(person(number)), swapper._completer
    hidden = completer.find_covered(photo, swapper._plane, completer.find_rims(photo)) > 0.5
    near = (cv2.dilate(hidden.astype(np.uint8), np.ones((15, 15))) > 0) & (swapper._plain > 0.9)
    fine = [values - cv2.GaussianBlur(values, (0, 0), 2.5) for values in (clean, worn)]
    lines = [np.quantile(np.abs(values.mean(axis=-1)[near]), 0.99) for values in fine]
    assert lines[1] < 1.3 * lines[0] + 0.01


def without_colour(source: SourceFace) -> SourceFace:
    grey = cv2.cvtColor(source.pixels, cv2.COLOR_RGB2GRAY)
    return SourceFace(np.repeat(grey[..., None], 3, axis=2), source.face)


def redness(swapper, source: SourceFace) -> float:
    """Red over green of lips, less that of plain skin, natural logarithm."""
    detail = swapper._complete([source], swapper._completer).detail
    ratio = detail[..., 0] - detail[..., 1]
    lips = (swapper._lips > 0.9) & (swapper._mouth < 0.1)
    return float(ratio[lips].mean() - np.median(ratio[(swapper._plain > 0.9) & (swapper._cover > 0.9)]))


def toned(source: SourceFace) -> SourceFace:
    """A sepia print of a photo, dark brown and yellowish white."""
    grey = without_colour(source).pixels / 255
    pixels = np.array([40, 22, 10]) + np.array([215, 216, 195]) * grey
    return SourceFace(pixels.astype(np.uint8), source.face)


def colours(swapper, source: SourceFace) -> dict[str, np.ndarray]:
    """(3,) by part of the face, its colour less that of plain skin, natural logarithm."""
    detail = swapper._complete([source], swapper._completer).detail
    colour = detail - detail.mean(axis=-1, keepdims=True)
    plain = (swapper._plain > 0.9) & (swapper._cover > 0.9)
    features = (swapper._plain < 0.1) & (swapper._cover > 0.9) & (swapper._lips < 0.01)
    parts = {
        "lips": (swapper._lips > 0.9) & (swapper._mouth < 0.1),
        "eyes": swapper._lidded > 0.9,
        "features": features,
    }
    return {name: colour[part].mean(axis=0) - np.median(colour[plain], axis=0) for name, part in parts.items()}


@pytest.mark.parametrize("number", PEOPLE)
@pytest.mark.parametrize("printed", [without_colour, toned])
def test_a_photo_without_colours_gets_those_that_faces_have(swapper, number, printed):
    source = person(number)
    own, given = colours(swapper, source), colours(swapper, printed(source))
    for name in own:
        assert given[name] == pytest.approx(own[name], abs=0.12), name
    assert given["eyes"][2] > 0.1  # whites are less yellow than skin
    assert given["lips"][0] > 0.1
    assert [swapper.inspect([one]).is_colourless for one in (source, printed(source))] == [False, True]


@pytest.mark.parametrize("number", PEOPLE)
def test_lips_of_a_photo_without_colours_are_red_and_lipstick_stays(swapper, number, monkeypatch):
    source = person(number)
    assert redness(swapper, without_colour(source)) == pytest.approx(redness(swapper, source), abs=0.35)
    assert redness(swapper, without_colour(source)) > 0.15
    painted, mesh = source.pixels.copy(), source.face.mesh
    mask = np.zeros(painted.shape[:2], np.uint8)
    for ring, value in ((LIPS_OUTER, 255), (LIPS_INNER, 0)):
        cv2.fillPoly(mask, [np.round(mesh[list(ring), :2] * 16).astype(np.int32)], value, cv2.LINE_AA, 4)
    painted[mask > 127] = (190, 12, 24)
    red = redness(swapper, SourceFace(painted, source.face))
    assert red > redness(swapper, source) + 0.25
    monkeypatch.setattr(appearance, "OF_PAINTED", appearance.OF_COLOURED)
    assert redness(swapper, SourceFace(painted, source.face)) < red - 0.1


def test_the_shadow_of_a_cap_goes_from_eyes_and_brows_stay_dark():
    side = appearance.SIZE
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    beside = np.abs(np.abs(columns - 0.5) - 0.14)
    brows = (beside < 0.08) & (np.abs(rows - 0.26) < 0.015)
    lashes = (beside < 0.06) & (np.abs(rows - 0.335) < 0.008)
    lids = (beside < 0.06) & (np.abs(rows - 0.305) < 0.012)
    face = blur(np.where(brows | lashes, np.float32(-1.4), np.float32(0)), 1.0)[..., None] * np.ones(3, np.float32)
    shadow = (beside < 0.11) & (rows > 0.22) & (rows < 0.4)
    dark = face - 1.3 * blur(shadow.astype(np.float32), 1.5)[..., None]
    skin = (~shadow & (rows < 0.8)).astype(np.float32)
    nothing = np.zeros_like(skin)
    np.testing.assert_allclose(appearance._unshaded(face, skin, nothing), face, atol=0.02)
    made = appearance._unshaded(dark, skin, nothing)
    assert dark[lids].mean() < -1.25
    assert made[lids].mean() > -0.85
    assert made[brows].mean() < made[lids].mean() - 0.8
    np.testing.assert_allclose(made[rows > 0.45], face[rows > 0.45], atol=0.02)
    np.testing.assert_allclose(appearance._unshaded(dark, skin, np.ones_like(skin)), dark, atol=1e-6)


@pytest.mark.parametrize("number", PEOPLE)
def test_a_good_source_stays_the_person(swapper, number):
    source = person(number)
    taken, made = swapper._take([source]).detail, swapper._complete([source], swapper._completer).detail
    inner = (swapper._cover > 0.9) & (swapper._parts()["face"] > 0)
    one, other = (values.mean(axis=-1)[inner] for values in (taken, made))
    assert np.corrcoef(one, other)[0, 1] > 0.85


def test_a_mole_stays_where_it_is(swapper):
    source = person(PEOPLE[0])
    mesh, unit = points(source)
    pixels = source.pixels.copy()
    middle = tuple(int(v) for v in np.round(mesh[50, :2]))
    cv2.circle(pixels, middle, max(round(unit * 0.035), 2), (70, 45, 40), -1, cv2.LINE_AA)
    found = [
        swapper._complete([s], swapper._completer).detail.mean(axis=-1)
        for s in (source, SourceFace(pixels, source.face))
    ]
    x, y = np.round(swapper._plane.points[50]).astype(int)
    near = (slice(y - 14, y + 15), slice(x - 14, x + 15))
    assert (found[1] - found[0])[near].min() < -0.3


def small_and_noisy(source: SourceFace, height: int, quality: int, grain: float) -> SourceFace:
    """A face of so many pixels, grainy and compressed."""
    factor = height / float(np.ptp(source.face.mesh[:, 1]))
    pixels = cv2.resize(source.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    noisy = np.clip(pixels + np.random.default_rng(height).normal(0, grain, pixels.shape), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    mesh = source.face.mesh * np.float32(factor)
    mesh[:, :2] += (factor - 1) / 2
    decoded = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    return SourceFace(decoded, Face(mesh, 1.0, estimate_pose(mesh)))


def unevenness(swapper, source: SourceFace) -> tuple[float, float]:
    """Blotches of plain skin, brightness and colours: what is neither broad nor the same in the other half."""
    detail = swapper._complete([source], swapper._completer).detail
    skin = cv2.resize(swapper._skin, detail.shape[:2], interpolation=cv2.INTER_LINEAR)
    halves = detail - detail[:, ::-1]
    halves -= cv2.GaussianBlur(halves, (0, 0), 24)
    grey = halves.mean(axis=-1)
    colours = halves - grey[..., None]
    total = skin.sum()
    return tuple(
        float(np.sqrt((values**2 * skin).sum() / total)) for values in (grey, np.linalg.norm(colours, axis=-1))
    )


@pytest.mark.parametrize("number", PEOPLE)
@pytest.mark.parametrize(("height", "quality", "grain"), [(96, 50, 4), (64, 40, 6), (48, 60, 10), (64, 95, 12)])
def test_smooth_skin_stays_smooth_with_a_small_and_noisy_source(swapper, number, height, quality, grain):
    clean = person(number)
    good, poor = unevenness(swapper, clean), unevenness(swapper, small_and_noisy(clean, height, quality, grain))
    assert poor[0] < good[0], f"brightness {poor[0]:.3f} of {good[0]:.3f}"
    assert poor[1] < 0.75 * good[1], f"colours {poor[1]:.3f} of {good[1]:.3f}"


def test_an_enlarged_photo_shows_no_more_than_it_did(swapper, monkeypatch):
    """A small photo that somebody has made large is calmed as the small one is."""
    small = small_and_noisy(person(PEOPLE[0]), 64, 60, 2)
    large = SourceFace(
        cv2.resize(small.pixels, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC),
        Face(small.face.mesh * np.float32(5) + np.float32([2, 2, 0]), 1.0, small.face.pose),
    )
    sharp = person(PEOPLE[0])
    fineness = [
        appearance.fineness_of(float(np.ptp(s.face.mesh[:, 1])), measure_finish(s.pixels, s.face.mesh))
        for s in (small, large, sharp)
    ]
    assert fineness[0].height <= fineness[1].height < 0.5 * float(np.ptp(large.face.mesh[:, 1]))
    assert fineness[2].height > 0.75 * float(np.ptp(sharp.face.mesh[:, 1]))
    calmed = unevenness(swapper, large)
    monkeypatch.setattr(appearance, "USUAL_BLUR", 99.0)
    believed = unevenness(swapper, large)
    assert calmed[1] < 0.95 * believed[1], f"colours {calmed[1]:.3f} of {believed[1]:.3f}"


def in_light(source: SourceFace, gain) -> SourceFace:
    """The photo with its linear light multiplied by (H, W, 3)."""
    linear = (source.pixels / 255.0) ** 2.2 * gain
    return SourceFace((np.clip(linear, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8), source.face)


def plain_skin(swapper) -> np.ndarray:
    """(S, S) where everybody's inner face is plain skin."""
    return (swapper._plain > 0.9) & (swapper._cover > 0.9) & (swapper._parts()["face"] > 0)


@pytest.mark.parametrize(
    ("colour", "light", "share"),
    [((-0.75, 0.0, 0.75), 0.2, 1.0), ((-0.4, 0.75, -0.35), -0.3, 1.0), ((0.75, 0.0, -0.75), 0.0, 0.0),
     ((0.2, 0.0, -0.2), 0.3, 0.0), ((-0.15, 0.0, 0.15), 0.5, 0.0), ((-0.6, 0.0, 0.6), -2.3, 0.0)],
    ids=["a blue cap", "a green scarf", "a flushed cheek", "a warm lamp", "a gleam", "noise in the dark"],
)  # fmt: skip
def test_only_what_is_greener_or_bluer_than_skin_can_be_is_taken_for_no_skin(swapper, colour, light, share):
    side = 192
    skin, seen = cv2.resize(swapper._plain, (side, side)), np.ones((side, side), np.float32)
    detail = np.random.default_rng(1).normal(0, 0.05, (side, side, 3)).astype(np.float32)
    patch = (slice(95, 120), slice(50, 75))  # on a cheek
    detail[patch] = np.float32(colour) + np.float32(light)
    bare = np.zeros((side, side), np.float32)
    found = appearance._strange(detail, seen, bare, skin)
    assert found[patch].mean() == pytest.approx(share, abs=0.12)
    found[85:130, 40:85] = 0
    assert found.max() < 0.01


@pytest.mark.parametrize("number", PEOPLE)
def test_two_lamps_of_different_colours_leave_one_skin(swapper, number):
    clean = person(number)
    mesh, unit = points(clean)
    y, x = np.mgrid[0 : clean.pixels.shape[0], 0 : clean.pixels.shape[1]].astype(np.float32)
    spot = [np.exp(-((x - mesh[k, 0]) ** 2 + (y - mesh[k, 1]) ** 2) / (2 * (unit * 0.16) ** 2)) for k in (50, 4)]
    gain = 1 + spot[0][..., None] * [0.6, -0.1, -0.6] + spot[1][..., None] * [-0.2, 0.0, 0.8]
    skin = plain_skin(swapper)
    spread = []
    for source in (clean, in_light(clean, gain)):
        detail = swapper._complete([source], swapper._completer).detail[skin]
        colour = detail - detail.mean(axis=-1, keepdims=True)
        spread.append(np.percentile(np.abs(colour - np.median(colour, axis=0)).max(axis=-1), 98))
    assert spread[1] < 0.25, f"{spread[0]:.3f} in even light, {spread[1]:.3f}"


@pytest.mark.parametrize("number", PEOPLE)
def test_hard_light_leaves_a_face_that_is_not_hard(swapper, number):
    clean = person(number)
    log = np.log((clean.pixels / 255.0) ** 2.2 + 0.02)
    grey = log.mean(axis=-1)
    _, unit = points(clean)
    local = grey - cv2.GaussianBlur(grey, (0, 0), unit * 0.35)
    hard = in_light(clean, np.exp(1.1 * local)[..., None])
    skin = plain_skin(swapper)
    found = []
    for source in (clean, hard):
        taken, made = swapper._take([source]).detail, swapper._complete([source], swapper._completer).detail
        found.append([float(np.abs(one.mean(axis=-1) - np.median(one[skin]))[skin].mean()) for one in (taken, made)])
    (before, kept), (harder, softened) = found
    assert harder > 1.4 * before
    assert softened / kept < 0.85 * harder / before, found


def test_what_one_photo_hides_is_taken_from_another(swapper):
    clean, spoiled = person(PEOPLE[0]), with_glasses(person(PEOPLE[0]))
    goal, alone, both = (
        swapper._complete(photos, swapper._completer) for photos in ([clean], [spoiled], [spoiled, clean])
    )
    where = swapper._cover > 0.5
    errors = [np.abs(one.detail - goal.detail).mean(axis=-1)[where].mean() for one in (alone, both)]
    assert errors[1] < errors[0]
    shares = [float((one.appearance.own * swapper._cover).sum()) for one in (alone, both)]
    assert shares[1] > shares[0]


def test_half_that_no_photo_shows_is_completed_without_a_hole(swapper):
    source = person(PEOPLE[1])
    mesh = source.face.mesh.copy()
    width = source.pixels.shape[1]
    pixels = source.pixels.copy()
    pixels[:, : int(mesh[1, 0])] = 128  # half of it is behind a wall
    taken = swapper._complete([SourceFace(pixels, source.face)], swapper._completer)
    goal = swapper._complete([source], swapper._completer)
    assert width > mesh[1, 0] > 0
    half = (swapper._cover > 0.9) & (np.arange(swapper._cover.shape[1]) < 200)
    assert np.abs(taken.detail - goal.detail).mean(axis=-1)[half].mean() < 0.2
    assert (taken.alpha == swapper._cover).all()


_PRINT = """
import hashlib, sys
sys.path.insert(0, {root!r})
from tests.integration.test_appearance import make_swapper, person, with_glasses
swapper = make_swapper()
swapper.prepare([with_glasses(person(2))])
print(hashlib.sha256(b"".join(level.tobytes() for level in swapper._prepared.tones)).hexdigest())
"""


def test_an_appearance_is_the_same_to_the_byte_in_every_process(swapper, request):
    swapper.prepare([with_glasses(person(2))])
    here = hashlib.sha256(b"".join(level.tobytes() for level in swapper._prepared.tones)).hexdigest()
    code = _PRINT.format(root=str(request.config.rootpath))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout.strip() == here


def test_inspection_says_what_is_the_persons_own(swapper):
    assert isinstance(swapper, ShowsSources)
    clean, spoiled = person(PEOPLE[0]), with_glasses(person(PEOPLE[0]))
    good, covered, both = (swapper.inspect(photos) for photos in ([clean], [spoiled], [clean, spoiled]))
    assert good.shares["face"] > 0.6
    assert covered.shares["brows and eyes"] < good.shares["brows and eyes"] - 0.05
    assert len(both.photos) == 2
    assert [one.has_glasses for one in (good, covered, both)] == [False, True, True]
    assert any("Glasses are left out" in sentence for sentence in advice(replace(good, has_glasses=True)))
    assert any("no colours" in sentence for sentence in advice(replace(good, is_colourless=True)))
    assert both.photos[0] > both.photos[1]
    with pytest.raises(NoFaceInSource):
        swapper.inspect([])


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


def test_inspect_prints_shares_and_writes_a_picture(tmp_path, source_photo, capsys):
    picture = tmp_path / "seen.png"
    assert call("source", "inspect", source_photo, "-o", picture) == 0
    assert "of the face is what the photos show" in capsys.readouterr().out
    shown = read_photo(picture).pixels
    assert shown.shape[1] > 3.5 * shown.shape[0]


def test_inspect_asks_for_what_is_not_seen(tmp_path, capsys):
    source = person(PEOPLE[0])
    mesh, unit = points(source)
    pixels = source.pixels.copy()
    low = int(mesh[168, 1] + 0.1 * unit)
    pixels[low:, : int(mesh[1, 0] + 2 * unit)] = (60, 90, 160)  # a cloth over nose and mouth
    pixels[low - 3 : low] = 255
    photo = tmp_path / "cloth.png"
    Image.fromarray(pixels).save(photo)
    code = call("source", "inspect", photo, "--json")
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    if code == 4:  # the detector may not take it for a face any more
        assert told["event"] == "error"
        return
    assert code == 0
    assert told["event"] == "source"
    assert told["advice"]


def test_inspect_needs_a_photo(capsys):
    assert call("source", "inspect") == 2
    assert "PHOTO" in capsys.readouterr().err
