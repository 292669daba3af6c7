"""Who is changed, and with whose face."""

import dataclasses
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from facefusion.analyse.turned import TurnedDetector
from facefusion.errors import MediaMissing, NoFaceInSource, NoFaceInTarget, RecipeError, TracksError, UnknownOption
from facefusion.imaging.masks import area_mask, box_mask, soften
from facefusion.jobs.work import joined_as
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.pipeline.cast import Cast, FacePart, _for_photos, build_analyser, check_faces
from facefusion.pipeline.plan import Target
from facefusion.pipeline.resolved import resolve
from facefusion.pipeline.selection import choose_tracks, distance, load_face_map, matching_tracks, order_tracks
from facefusion.recipe import Person, Recipe, build_recipe, four_sides
from facefusion.testing.fakes import FakeDetector, make_face, make_mesh, sample_path
from facefusion.types.face import Attributes
from facefusion.types.track import Track, Tracks

ANNA, BEN, CARL = (np.eye(4, dtype=np.float32)[k] for k in range(3))
WOMAN, MAN, BOY = (
    Attributes((30, 40), "female", "white"),
    Attributes((50, 60), "male", "asian"),
    Attributes((3, 10), "male", "black"),
)


def track(number, x, y, size, score=0.9, identity=None, attributes=None, frames=(0, 1, 2)):
    meshes = np.stack([make_mesh((x, y), size) for _ in frames])
    count = len(frames)
    return Track(
        number,
        np.array(frames),
        meshes,
        np.full(count, score, np.float32),
        np.zeros((count, 3), np.float32),
        None,
        identity,
        attributes,
    )


def tracks_of(*people, cuts=(0,), count=3):
    return Tracks(640, 480, Fraction(1, 25), np.arange(count), tuple(people), {}, np.array(cuts))


PEOPLE = tracks_of(
    track(0, 100, 300, 60, 0.8, ANNA, WOMAN),
    track(1, 500, 100, 40, 0.99, BEN, MAN),
    track(2, 300, 200, 20, 0.7, CARL, BOY),
)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("left-right", [0, 2, 1]),
        ("right-left", [1, 2, 0]),
        ("top-bottom", [1, 2, 0]),
        ("bottom-top", [0, 2, 1]),
        ("small-large", [2, 1, 0]),
        ("large-small", [0, 1, 2]),
        ("best-worst", [1, 0, 2]),
        ("worst-best", [2, 0, 1]),
    ],
)
def test_eight_orders(order, expected):
    assert [t.track_id for t in order_tracks(PEOPLE.tracks, order)] == expected
    one = choose_tracks(Recipe(face_selector_mode="one", face_selector_order=order), PEOPLE)
    assert one == (expected[0],)
    many = choose_tracks(Recipe(face_selector_mode="many", face_selector_order=order), PEOPLE)
    assert list(many) == expected


def test_mode_one_takes_one_person_of_every_shot():
    tracks = tracks_of(
        track(0, 100, 100, 60, frames=(0, 1)),
        track(1, 300, 100, 40, frames=(0, 1)),
        track(2, 100, 100, 30, frames=(2,)),
        cuts=(0, 2),
    )
    assert choose_tracks(Recipe(face_selector_mode="one"), tracks) == (0, 2)


def spanned(number, start, stop, size=40):
    return track(number, 100 + 90 * number, 100, size, frames=range(start, stop))


@pytest.mark.parametrize(
    ("tracks", "people", "expected"),
    [
        # Alone, one after the other: all of them, whoever the recogniser takes them for.
        ([(10, 20), (0, 5), (5, 10)], (), {0, 1, 2}),
        ([(10, 20), (0, 5), (5, 10)], (0, 1, 0), {0, 1, 2}),
        # A wipe: for a few frames there are two.
        ([(0, 12), (9, 20)], (), {0, 1}),
        # Beside the chosen one nobody else is, and does not step in while that one is lost for a moment.
        ([(0, 20), (0, 20)], (), {0}),
        ([(0, 9), (0, 20), (12, 20)], (0, 1, 0), {0, 2}),
        ([(0, 9), (0, 20)], (), {0, 1}),  # gone for more than half of the other's time
        ([(0, 12), (0, 20)], (), {0}),
        ([(0, 9), (0, 9), (9, 20)], (0, 1, 1), {0, 2}),  # the part of somebody that is alone
    ],
)
def test_whoever_is_alone_in_the_picture_is_changed(tracks, people, expected):
    found = tracks_of(*(spanned(k, *span, 60 - k) for k, span in enumerate(tracks)), count=20)
    found = dataclasses.replace(found, people=people)
    assert set(choose_tracks(Recipe(), found)) == expected
    one = Recipe(face_selector_mode="one", face_selector_order="large-small")
    assert set(choose_tracks(one, found)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"face_selector_gender": "female"}, {0}),
        ({"face_selector_gender": "male"}, {1, 2}),
        ({"face_selector_race": "asian"}, {1}),
        ({"face_selector_age_start": 35}, {0, 1}),
        ({"face_selector_age_end": 20}, {2}),
        ({"face_selector_age_start": 10, "face_selector_age_end": 45}, {0}),
        ({"face_selector_gender": "auto"}, {1, 2}),
        ({"face_selector_race": "auto", "face_selector_gender": "auto"}, {1}),
    ],
)
def test_filters_by_age_gender_and_appearance(options, expected):
    for base in ({"face_selector_mode": "many"}, {"faces": "all"}):
        assert set(choose_tracks(Recipe(**base, **options), PEOPLE, source=MAN)) == expected


def test_one_bound_of_age_is_enough_and_a_wrong_pair_is_refused():
    Recipe(face_selector_age_start=10)
    with pytest.raises(RecipeError, match="age"):
        build_recipe({"face_selector_age_start": 30, "face_selector_age_end": 20})


def test_reference_by_photo_by_position_and_by_track():
    near_ben = BEN + 0.1 * ANNA
    by_photo = Recipe(face_selector_mode="reference", reference_face_path="ben.jpg")
    assert choose_tracks(by_photo, PEOPLE, near_ben) == (1,)
    by_position = Recipe(face_selector_mode="reference", reference_face_position=1, face_selector_order="left-right")
    assert choose_tracks(by_position, PEOPLE) == (2,)
    assert choose_tracks(Recipe(faces=(1,)), PEOPLE) == (1,)
    far = Recipe(face_selector_mode="reference", reference_face_distance=0.001)
    assert choose_tracks(far, PEOPLE, near_ben) == ()
    assert distance(BEN, -BEN) == pytest.approx(1.0)


def test_reference_frame_without_such_a_person_is_an_error_and_no_silent_copy():
    with pytest.raises(NoFaceInTarget, match="3 people"):
        choose_tracks(Recipe(face_selector_mode="reference", reference_face_position=3), PEOPLE)
    with pytest.raises(NoFaceInTarget, match="3 frames"):
        choose_tracks(Recipe(face_selector_mode="reference", reference_frame_number=9), PEOPLE)


def test_a_reference_frame_counts_in_the_target_and_not_in_the_part():
    both = Tracks(
        640, 480, Fraction(1, 25), np.arange(13, 16), (
            track(0, 100, 300, 60, 0.8, ANNA, frames=(0,)), track(1, 500, 100, 40, 0.99, BEN, frames=(1, 2)),
        ), {"frames": "13:3:1"}, np.array([0]),
    )  # fmt: skip
    assert choose_tracks(Recipe(face_selector_mode="reference", reference_frame_number=13), both) == (0,)
    assert choose_tracks(Recipe(face_selector_mode="reference", reference_frame_number=15), both) == (1,)
    for outside in (0, 1, 12, 16):
        with pytest.raises(NoFaceInTarget, match=r"none of those that are looked at: .* 13 to 15"):
            choose_tracks(Recipe(face_selector_mode="reference", reference_frame_number=outside), both)


def test_tracks_made_without_what_the_selection_needs_are_refused():
    plain = tracks_of(track(0, 100, 100, 60))
    with pytest.raises(TracksError, match="identities"):
        choose_tracks(Recipe(face_selector_mode="reference"), plain)
    with pytest.raises(TracksError, match="ages"):
        choose_tracks(Recipe(face_selector_gender="male"), plain)
    with pytest.raises(TracksError, match="another recogniser"):
        matching_tracks(PEOPLE, np.ones(7, np.float32), 0.3)


def test_tracks_keep_identity_attributes_and_points_in_their_file(tmp_path):
    points = np.random.default_rng(0).random((3, 68, 2)).astype(np.float32)
    base = PEOPLE.tracks[0]
    whole = Track(0, base.frames, base.meshes, base.scores, base.poses, points, ANNA, WOMAN)
    tracks_of(whole, track(1, 300, 100, 40)).save(tmp_path / "t.tracks")
    first, second = Tracks.load(tmp_path / "t.tracks").tracks
    np.testing.assert_array_equal(first.points, points)
    np.testing.assert_array_equal(first.identity, ANNA)
    assert first.attributes == WOMAN
    assert (second.points, second.identity, second.attributes) == (None, None, None)
    assert first.face(1).points is not None


def write_map(tmp_path, text):
    path = tmp_path / "map.toml"
    path.write_text(text)
    return path


def test_face_map_is_read_relative_to_itself(tmp_path):
    path = write_map(
        tmp_path,
        '[[person]]\ntrack = 0\nsources = "a.jpg"\n'
        '[[person]]\nreference = "ben.jpg"\nsources = ["b.jpg", "c.jpg"]\nprocessors = ["face_swapper"]\n',
    )
    one, other = load_face_map(path, Recipe(processors=("face_swapper", "face_enhancer")))
    assert one.sources == (tmp_path / "a.jpg",)
    assert one.processors == ("face_swapper", "face_enhancer")
    assert (other.track, other.reference) == (None, tmp_path / "ben.jpg")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nobody"),
        ("# [[person]]\n# person = 0\n", "names nobody. Take away the # before those who change"),  # a template
        ("[person]\ntrack = 0", "tables"),
        ("[[person]]\nsources = ['a']", "one of person, track and reference"),
        ("[[person]]\ntrack = 0\nreference = 'a'", "one of person, track and reference"),
        ("[[person]]\ntrack = -1", "whole number"),
        ("[[person]]\ntrack = 0\nsource = 'a'", "unknown key 'source'"),
        ("[[person]]\ntrack = 0\nsources = 3", "list of words"),
        ("[[person]]\ntrack = 0\n[[person]]\ntrack = 0", "one track twice"),
        ("[[person", "TOML"),
    ],
)
def test_wrong_face_maps_are_named(tmp_path, text, said):
    with pytest.raises(RecipeError, match=said):
        load_face_map(write_map(tmp_path, text), Recipe())
    with pytest.raises(MediaMissing):
        load_face_map(tmp_path / "none.toml", Recipe())


def test_unknown_track_number_names_those_there_are():
    with pytest.raises(UnknownOption, match="0, 1, 2"):
        choose_tracks(Recipe(faces=(7,)), PEOPLE)


# Turned pictures and margins


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_detections_in_turned_and_framed_pictures_come_back_in_place(angle):
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[60:64, 220:224] = 255

    class Spot(FakeDetector):
        def detect(self, pixels):
            found = []
            for p in pixels:
                rows, columns = np.nonzero(p[..., 0] > 128)
                found.append(FakeDetector([make_mesh((columns.mean(), rows.mean()), 20)]).detect([p])[0])
            return found

    (detection,) = TurnedDetector(Spot([]), (angle,), (10, 20, 30, 40)).detect([picture])[0]
    middle = (detection.box[:2] + detection.box[2:]) / 2
    mesh = make_mesh((0, 0), 20)[:, :2]
    offset = (mesh.min(axis=0) + mesh.max(axis=0)) / 2
    turned = {0: offset, 90: [offset[1], -offset[0]], 180: -offset, 270: [-offset[1], offset[0]]}[angle]
    np.testing.assert_allclose(middle - turned, [221.5, 61.5], atol=0.51)


def test_views_of_one_face_become_one_detection():
    class Everywhere(FakeDetector):
        def detect(self, pixels):
            h, w = pixels[0].shape[:2]
            return FakeDetector([make_mesh((w / 2, h / 2), 30)]).detect(pixels)

    found = TurnedDetector(Everywhere([]), (0, 90, 180, 270), (0, 0, 0, 0)).detect([np.zeros((200, 200, 3), np.uint8)])
    assert len(found[0]) == 1


# Masks


def test_box_mask_is_padded_and_soft():
    mask = box_mask(100, 200, 0.0, four_sides((10, 20)))
    assert mask[9].max() == 0
    assert mask[11, 100] == 1
    assert mask[50, 39] == 0
    assert mask[50, 41] == 1
    assert four_sides((1, 2, 3)) == (1, 2, 3, 2)
    soft = box_mask(256, 256, 0.3, (0, 0, 0, 0))
    assert soft[128, 128] == pytest.approx(1.0, abs=1e-3)
    assert soft[128, 0] < 0.1
    assert (np.diff(soft[128, :128]) >= -1e-6).all()


def test_area_mask_keeps_the_parts_it_is_asked_for():
    face = make_face(centre=(128.0, 128.0), eye_distance=70.0)
    mouth = area_mask(256, 256, face.points_68, ("mouth",))
    lips = face.points_68[48:68].mean(axis=0).astype(int)
    assert mouth[lips[1], lips[0]] > 0.9
    eyes = face.points_68[36:48].mean(axis=0).astype(int)
    assert mouth[eyes[1], eyes[0]] == 0
    assert area_mask(256, 256, face.points_68, ("upper-face",))[eyes[1], eyes[0]] > 0.9
    assert area_mask(256, 256, face.points_68, ()).max() == 0


def test_a_mask_within_an_outline_says_nothing_of_what_is_beside_it():
    """A network is never sure of a face's own rim; that must not thin out what has a soft outline already."""
    face, inside = (cv2.circle(np.zeros((128, 128), np.float32), (64, 64), radius, 1.0, -1) for radius in (52, 50))
    unsure = cv2.GaussianBlur(face, (0, 0), 1.5)
    assert soften(unsure, inside=inside)[inside > 0].min() > 0.9 > 0.6 > soften(unsure)[inside > 0].min()
    # What lies before the face goes on beyond the outline, and stays in front up to it.
    hand = unsure.copy()
    hand[:, :50] = 0
    soft = soften(hand, inside=inside)
    assert soft[:, :48].max() < 0.05
    assert soft[(inside > 0) & (np.arange(128) > 56)].min() > 0.9


def test_softening_never_lets_anything_through_outside():
    mask = np.zeros((128, 128), np.float32)
    mask[40:80, 40:80] = 1
    soft = soften(mask)
    assert soft[mask == 0].max() < 0.02
    assert soft[60, 60] == pytest.approx(1.0, abs=1e-3)


def cast_of(**values):
    return Cast((FacePart((), ()),), **values)


def joined(cast, recipe, tracks=PEOPLE):
    return joined_as(
        SimpleNamespace(recipe=recipe, kind="clip"), Target(640, 480, Fraction(1, 25)), cast, tracks, "a.mp4"
    )


DORA = np.eye(4, dtype=np.float32)[3]
BY_PHOTO = {"face_selector_mode": "reference", "reference_face_path": "photos/dora.jpg"}


@pytest.mark.parametrize("hides", [False, True])
@pytest.mark.parametrize(
    ("options", "reference", "said"),
    [
        (BY_PHOTO, DORA, "looks like dora.jpg: the nearest is 0.50 away, and 0.3 is somebody else"),
        ({"face_selector_mode": "reference", "reference_face_distance": 0}, None, "less than 0 away"),
        ({"face_selector_age_start": 70}, None, "age, gender or appearance"),
        ({"face_selector_mode": "many", "face_selector_race": "indian"}, None, "age, gender or appearance"),
        (BY_PHOTO | {"face_selector_gender": "male"}, ANNA, "age, gender or appearance"),
    ],
)
def test_a_selection_that_nobody_meets_is_an_error_and_no_silent_copy(options, reference, said, hides):
    cast, recipe = cast_of(reference=reference, hides=hides), Recipe(**options)
    with pytest.raises(NoFaceInTarget, match=said) as told:
        joined(cast, recipe)
    assert "a.mp4" in told.value.message and "--allow-empty" in told.value.hint
    assert joined(cast, recipe.model_copy(update={"allow_empty": True})).assigned == {}


def test_it_is_told_who_of_several_is_changed_where_nobody_said():
    (told,) = joined(cast_of(), Recipe()).notes
    assert told.startswith(f"Of {len({PEOPLE.person_of(t.track_id) for t in PEOPLE.tracks})} people the most prominent")
    assert "--faces all" in told and "facefusion people" in told
    assert joined(cast_of(), Recipe(faces="all")).notes == ()
    assert not [note for note in joined(cast_of(), Recipe(faces=(0,))).notes if note.startswith("Of ")]
    alone = dataclasses.replace(PEOPLE, tracks=PEOPLE.tracks[:1], people=PEOPLE.people[:1])
    assert joined(cast_of(), Recipe(), alone).notes == ()


def test_a_mapping_file_whose_photos_nobody_looks_like_is_an_error_and_one_of_several_is_told_about():
    anna, dora = (Person(reference=Path(f"{name}.jpg"), sources=()) for name in ("anna", "dora"))
    made = joined(cast_of(people=((anna, ANNA), (dora, DORA))), Recipe())
    assert (made.assigned, made.notes) == (
        {0: 0}, ("The mapping file changes who looks like dora.jpg, but nobody in the target does.",),
    )  # fmt: skip
    with pytest.raises(NoFaceInTarget, match=r"looks like dora\.jpg"):
        joined(cast_of(people=((dora, DORA),)), Recipe())


def test_who_is_exempt_may_leave_nobody():
    one = tracks_of(track(0, 100, 300, 60, 0.8, ANNA))
    assert joined(cast_of(exempt=(ANNA,)), Recipe(exempt_paths=("anna.jpg",)), one).assigned == {}
    assert joined(cast_of(), Recipe(exempt_faces=(0,)), one).assigned == {}
    recipe = Recipe(exempt_paths=("anna.jpg",), **BY_PHOTO)  # she is not whom the photo asks for
    with pytest.raises(NoFaceInTarget, match=r"looks like dora\.jpg"):
        joined(cast_of(exempt=(ANNA,), reference=DORA), recipe, one)


def test_nobody_is_missed_of_whom_another_exempt_photo_is_known():
    profile, older = ANNA + 1.2 * DORA, ANNA + 0.6 * DORA  # farther from her than from one another
    recipe = Recipe(faces="all", exempt_paths=("dora.jpg", "profile.jpg", "older.jpg"), reference_face_distance=0.1)
    cast = cast_of(exempt=(-ANNA, profile, older))
    assert joined(cast, recipe).notes == ("dora.jpg is exempt, but nobody in the target looks like them.",)
    assert [bool(one.matched) for one in cast.exemptions(recipe, PEOPLE)] == [False, False, True]
    assert [one.as_dict()["absent"] for one in cast.exemptions(recipe, PEOPLE)] == [True, False, False]


def test_people_are_counted_and_not_their_tracks():
    four = [track(k, 100, 300, 60, 0.8, (ANNA, BEN)[k % 2], frames=(k,)) for k in range(4)]
    tracks = Tracks(640, 480, Fraction(1, 25), np.arange(4), tuple(four), {}, np.array([0]), (0, 1, 0, 1))
    assert joined(cast_of(), Recipe(faces="all"), tracks).track_count == 2


def test_photos_that_somebody_is_known_by_are_looked_at_as_where_nobody_is_hidden(tmp_path):
    hiding = {"processors": ["face_anonymiser"], "target_path": "t.png"}
    face = read_photo(sample_path("source.jpg")).pixels
    faint = (90 + (face - face.mean()) * 0.033).astype(np.uint8)  # hardly more than an even grey
    write_photo(path := tmp_path / "faint.png", Photo(faint))
    assert build_analyser(build_recipe(hiding), has_identity=False).find_faces(faint)
    for option, what in (("exempt_paths", "exempt photo"), ("reference_face_path", "reference photo")):
        recipe = build_recipe(hiding | {option: [path] if option == "exempt_paths" else path})
        with pytest.raises(NoFaceInSource, match=rf"No face is found in the {what} .*faint\.png"):
            check_faces(recipe)
    asked = resolve(build_recipe(hiding | {"face_detector_score": 0.2}))
    assert (asked.is_protective, _for_photos(asked).recipe.face_detector_score) == (True, 0.2)
