"""The beard of a target that cannot be shaved stays, and is the target's as a whole."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.analyse import analyser as analysis
from facefusion.analyse.analyser import _look_for_beard
from facefusion.analyse.causal import CausalTracker
from facefusion.analyse.join import _with_beards
from facefusion.imaging.beards import NOT_LOOKED, beard_of
from facefusion.imaging.resample import decode
from facefusion.models.pose import estimate_pose
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.pipeline.cast import Cast, FacePart
from facefusion.pipeline.runner import build_processors
from facefusion.processors.face_swapper import mesh as mesh_swapper
from facefusion.recipe import build_recipe
from facefusion.render.renderer import Renderer
from facefusion.types.crop import SourceFace
from facefusion.types.face import Face
from facefusion.types.frame import Frame
from facefusion.types.topology import FACE_OVAL, LEFT_IRIS, LIPS_OUTER, RIGHT_IRIS
from facefusion.types.track import Tracks


def person(number: int) -> SourceFace:
    face = load_synthetic_faces()[number]
    mesh = face.mesh.astype(np.float32)
    return SourceFace(decode(face.jpeg), Face(mesh, 1.0, estimate_pose(mesh)))


def chin_of(source: SourceFace) -> np.ndarray:
    """Where a beard grows: from under the nose to the jaw, without the lips."""
    mesh = source.face.mesh
    mask = np.zeros(source.pixels.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(mesh[[*FACE_OVAL[11:26], 2], :2]).astype(np.int32)], 1)
    lips = cv2.convexHull(np.round(mesh[list(LIPS_OUTER), :2]).astype(np.int32))
    cv2.fillPoly(mask, [cv2.convexHull(lips)], 0)
    return mask > 0


def with_full_beard(source: SourceFace) -> SourceFace:
    """Long dark hairs that go on below the jaw."""
    mesh = source.face.mesh
    unit = float(np.linalg.norm(mesh[LEFT_IRIS, :2] - mesh[RIGHT_IRIS, :2]))
    mask = chin_of(source).astype(np.uint8)
    grown = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), unit * 0.05)[..., None]
    pixels = source.pixels * (1 - 0.55 * grown)
    hairs, rng = pixels.astype(np.uint8), np.random.default_rng(4)
    rows, columns = np.nonzero(mask)
    for k in rng.choice(len(rows), 2600):
        end = np.array([columns[k], rows[k]]) + rng.normal(0, unit * 0.03, 2) + [0, unit * 0.07]
        shade = int(rng.integers(12, 70))
        cv2.line(hairs, (columns[k], rows[k]), tuple(int(v) for v in np.round(end)), (shade, shade, shade), 1)
    return SourceFace(hairs, source.face)


def looked_at(source: SourceFace) -> float:
    return beard_of(_look_for_beard(source.pixels, source.face.mesh)[None])


@pytest.mark.parametrize("number", [2, 11])
def test_full_beards_are_found_and_shaved_faces_have_none(number):
    assert looked_at(person(number)) == 0
    assert looked_at(with_full_beard(person(number))) > 0.9


@pytest.mark.parametrize("number", range(24))
def test_one_of_the_synthetic_people_has_a_short_beard(number):
    assert (looked_at(person(number)) > 0.1) == (number == 20)


def test_small_faces_say_nothing_and_what_was_not_looked_at_does_not_count():
    source = with_full_beard(person(2))
    small = cv2.resize(source.pixels, None, fx=0.15, fy=0.15, interpolation=cv2.INTER_AREA)
    assert (_look_for_beard(small, source.face.mesh * np.float32(0.15)) == NOT_LOOKED).all()
    found = np.array([[0.9, 0.9]], np.float16)
    assert beard_of(np.concatenate([np.tile(NOT_LOOKED, (40, 1)), found])) == beard_of(found) == 1
    assert beard_of(np.tile(NOT_LOOKED, (5, 1))) == 0
    # One look of three is a shadow.
    assert beard_of(np.array([[0.9, 0.9], [0, 0], [0, 0]], np.float16)) == 0


def frames_of(pixels: np.ndarray, count: int = 3) -> list[Frame]:
    return [Frame(pixels, k, k, Fraction(1, 25)) for k in range(count)]


@pytest.fixture(scope="module")
def bearded():
    return with_full_beard(person(2))


@pytest.fixture(scope="module")
def tracks(analyser, bearded):
    return analyser.analyse(iter(frames_of(bearded.pixels)))


def swapped(tracks: Tracks, target: SourceFace, source: SourceFace, **options) -> np.ndarray:
    recipe = build_recipe({"source_paths": ["face.jpg"], "face_swapper_shape": 0.0, **options})
    chain = build_processors(recipe, recipe.steps, [source])
    return Renderer({0: chain}, tracks).render(frames_of(target.pixels)[0]).pixels


def test_pass_one_tells_a_beard_and_files_and_spans_keep_it(tracks, analyser, tmp_path, bearded):
    (track,) = tracks.tracks
    assert track.face(0).beard == track.face(2).beard > 0.9
    tracks.save(tmp_path / "t.tracks")
    (again,) = Tracks.load(tmp_path / "t.tracks").tracks
    assert again.within(1, 3).face(0).beard == again.scaled(0.5).face(0).beard == track.face(0).beard
    replace(tracks, tracks=(replace(track, beard=None),)).save(tmp_path / "old.tracks")
    assert Tracks.load(tmp_path / "old.tracks").tracks[0].face(0).beard == 0
    with CausalTracker(analyser) as tracker:
        seen = [tracker.see(frame).tracks[0].face(0).beard for frame in frames_of(bearded.pixels)]
    assert seen == [track.face(0).beard] * 3


def test_where_people_are_hidden_nobody_looks_for_beards(bearded, tracks):
    assert swapped(tracks, bearded, person(11)).any()  # the packaged analyser does; see the next line for the other
    from facefusion.pipeline.runner import build_analyser

    thorough = build_analyser(build_recipe({"processors": ["face_anonymiser"]}))
    assert thorough.analyse(iter(frames_of(bearded.pixels))).tracks[0].beard is None


def test_a_targets_beard_stays_where_the_source_has_none(tracks, bearded):
    chin = cv2.erode(chin_of(bearded).astype(np.uint8), np.ones((25, 25))) > 0
    cheek = np.zeros_like(chin)
    x, y = np.round(bearded.face.mesh[50, :2]).astype(int)
    cheek[y - 10 : y + 10, x - 10 : x + 10] = True
    before = bearded.pixels.astype(int)
    fit, off = (swapped(tracks, bearded, person(11), face_swapper_beard=how).astype(int) for how in ("fit", "source"))
    assert np.abs(fit - before)[chin].mean() < 4
    assert np.abs(off - before)[chin].mean() > 15
    # Elsewhere the face is the source's.
    np.testing.assert_allclose(fit[cheek], off[cheek], atol=14)


def test_a_targets_beard_stays_under_a_grey_one_of_the_source(tracks, bearded):
    """That of the source would end at the jaw, and go on in another colour; who wants it all the same says so."""
    recipe = build_recipe({"source_paths": ["face.jpg"], "face_swapper_shape": 0.0})
    (swapper,) = build_processors(recipe, recipe.steps, [person(11)])
    found = swapper._prepared
    frame = frames_of(bearded.pixels)[0]
    chin = cv2.erode(chin_of(bearded).astype(np.uint8), np.ones((25, 25))) > 0
    apart = []
    for swapper._keeps_beards in (True, False):
        for share in (0.0, 1.0):
            swapper._prepared = replace(found, beard=share)
            output = Renderer({0: [swapper]}, tracks).render(frame).pixels.astype(int)
            apart.append(np.abs(output - bearded.pixels)[chin].mean())
    assert max(apart[:2]) < 4 and min(apart[2:]) > 15
    # One as dark as the target's is the source's, as far as its photos show one.
    swapper._keeps_beards, apart = True, []
    for share in (0.0, 0.5, 1.0):
        swapper._prepared = replace(found, beard=share, coarse=found.coarse - 0.8)
        output = Renderer({0: [swapper]}, tracks).render(frame).pixels.astype(int)
        apart.append(np.abs(output - bearded.pixels)[chin].mean())
    assert apart[0] + 3 < apart[1] < apart[2] - 3


def test_short_and_black_beards_are_found_and_one_whose_chin_is_out_of_sight_says_nothing():
    source = with_full_beard(person(2))
    mesh = source.face.mesh
    pale = (source.pixels + (person(2).pixels.astype(float) - source.pixels) * 0.45).astype(np.uint8)
    assert looked_at(SourceFace(pale, source.face)) > 0.9
    black = cv2.GaussianBlur(chin_of(source).astype(np.float32), (0, 0), 4)[..., None]
    rng = np.random.default_rng(5)
    grain = rng.normal(1, 0.12, source.pixels.shape[:2])[..., None]
    printed = (person(2).pixels * (1 - 0.9 * black) * grain).clip(0, 255).astype(np.uint8)
    assert looked_at(SourceFace(printed, source.face)) > 0.9
    # In profile half a chin is out of sight: that is no shaved chin.
    centre = mesh.mean(axis=0)
    turn = np.deg2rad(80)
    around = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]], np.float32)
    turned = np.asarray((mesh - centre) @ around.T + centre, np.float32)
    assert (_look_for_beard(source.pixels, turned) == NOT_LOOKED).all()


def with_beard(tracks, looks, people):
    return [track.beard for track in _with_beards(tracks, people, [np.array(rows, np.float16) for rows in looks])]


def test_a_person_has_one_beard_in_all_shots(tracks):
    three = [tracks.tracks[0]] * 3
    yes, no = [0.9, 0.9], [0, 0.1]
    # Two looks in one shot outweigh a shadow in another, and who is not looked at has what they have elsewhere.
    first, second, other = with_beard(three, [[yes, yes], [no], [yes]], (0, 0, 1))
    assert first == second == other == 1
    first, second, other = with_beard(three, [[yes], [NOT_LOOKED], [no]], (0, 0, 1))
    assert first == second == 1 and other is None
    assert with_beard(three, [[yes], [no] * 3, [NOT_LOOKED]], (0, 0, 1)) == [None] * 3


def test_whoever_keeps_a_beard_is_told_of(bearded, analyser):
    frame = Frame(bearded.pixels, 0, 0, Fraction(1))
    tracks = analyser.analyse(iter([frame]))
    said = {}
    for option in ("fit", "source"):
        recipe = build_recipe({"source_paths": ["face.jpg"], "face_swapper_beard": option})
        chain = build_processors(recipe, recipe.steps, [person(2)])
        cast = Cast((FacePart((tuple(chain),), ("soft",)),))
        for beard in (None, np.ones(1, np.float32)):
            known = replace(tracks, tracks=tuple(replace(track, beard=beard) for track in tracks.tracks))
            said[option, beard is None] = cast.notes_on(known, {0: 0})
    (told,) = said.pop(("fit", False))
    assert told.startswith("The beard of the target stays") and "--face-swapper-beard source" in told
    assert all(notes == [] for notes in said.values())


def test_lips_stay_with_the_beard_around_them(bearded, analyser):
    """Those of somebody else lay on the moustache."""
    frame = Frame(bearded.pixels, 0, 0, Fraction(1))
    tracks = analyser.analyse(iter([frame]))
    tracks = replace(tracks, tracks=tuple(replace(track, beard=np.ones(1, np.float32)) for track in tracks.tracks))
    mask = np.zeros(bearded.pixels.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(bearded.face.mesh[list(LIPS_OUTER), :2]).astype(np.int32)], 1)
    apart = {}
    painted = person(2)
    pixels = painted.pixels.copy()
    cv2.fillPoly(pixels, [np.round(painted.face.mesh[list(LIPS_OUTER), :2]).astype(np.int32)], (200, 20, 30))
    for option in ("fit", "source"):
        recipe = build_recipe({"source_paths": ["face.jpg"], "face_swapper_beard": option, "face_swapper_shape": 0.0})
        chain = build_processors(recipe, recipe.steps, [SourceFace(pixels, painted.face)])
        output = Renderer({0: chain}, tracks).render(frame).pixels.astype(int)
        apart[option] = np.abs(output - bearded.pixels)[mask > 0].mean()
    assert apart["fit"] < 4 < 15 < apart["source"]


def test_a_short_shot_is_looked_at_more_than_once(analyser, bearded, monkeypatch):
    looks = []
    found = _look_for_beard(bearded.pixels, bearded.face.mesh)
    monkeypatch.setattr(analysis, "_look_for_beard", lambda *_: looks.append(1) or found)
    analyser.analyse(iter(frames_of(bearded.pixels, 20)))
    assert len(looks) == 4


def test_the_rim_takes_no_light_from_skin_beside_a_beard_of_the_source(monkeypatch):
    """It made the beard pale along the jaw, so that it ended within the face."""
    target = person(2)
    recipe = build_recipe({"source_paths": ["face.jpg"], "face_swapper_shape": 0.0})
    (swapper,) = build_processors(recipe, recipe.steps, [person(11)])
    given = []

    def join(over, under, outline, shown, share):
        given.append((outline, shown))
        return over

    monkeypatch.setattr(mesh_swapper, "join_light", join)
    for share in (0.0, 1.0):
        swapper._prepared = replace(swapper._prepared, beard=share)
        swapper._draw(target.pixels, target.face)
    for (outline, shown), at_jaw in zip(given, (1, 0), strict=True):
        inside = np.round(outline * 0.85 + outline.mean(axis=0) * 0.15).astype(int)
        found = shown[inside[:, 1], inside[:, 0]]
        assert found[np.argmax(inside[:, 1])] == pytest.approx(at_jaw, abs=0.05)
        assert found[np.argmin(inside[:, 1])] > 0.9


def test_a_beard_of_the_source_goes_on_to_its_ears():
    """Sides of heads are plain skin in textures, since photos mostly show hair there: whiskers are the person's own."""
    recipe = build_recipe({"source_paths": ["face.jpg"]})
    (swapper,) = build_processors(recipe, recipe.steps, [person(11)])
    side, whiskers = 512, (slice(330, 350), slice(435, 455))
    detail, seen, covered = (np.zeros(shape, np.float32) for shape in ((side, side, 3), (side, side), (side, side)))
    detail[300:] = -0.8
    seen[:] = 1
    bearded = np.zeros((side, side), np.float32)
    without = swapper._completer.complete(detail, seen, covered, bearded=bearded).detail[whiskers].mean()
    bearded[300:] = 1
    has = swapper._completer.complete(detail, seen, covered, bearded=bearded).detail[whiskers].mean()
    assert without > -0.1 and has < -0.6
    seen[:, 400:] = seen[:, :112] = 0  # what no half shows is skin
    assert swapper._completer.complete(detail, seen, covered, bearded=bearded).detail[whiskers].mean() > -0.1
