"""Finds and how sure they are; the review of an output with hidden people, and what is decided on it."""

import json
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from facefusion.analyse.faint import FaintTraces
from facefusion.analyse.join import _with_heads
from facefusion.errors import MediaMissing, RecipeError
from facefusion.metrics.figures import Report, Row, Sample
from facefusion.metrics.review import Review, Reviewer, Sheet
from facefusion.metrics.review_page import render_review
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.pipeline.cast import Cast, FacePart
from facefusion.pipeline.review import check_decisions, check_reviewed, exempted, judged, load_review
from facefusion.processors.face_anonymiser.patch import PatchAnonymiser, pixelate_face
from facefusion.processors.face_anonymiser.synthetic import SyntheticAnonymiser
from facefusion.recipe import Decision, build_recipe
from facefusion.render.renderer import cut_out
from facefusion.types.certainty import Evidence, certainties, certainty_of
from facefusion.types.crop import Crop
from facefusion.types.face import Detection, Face, Pose
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.track import Track, Tracks

SURE = Evidence(0.8, 0.99, 20, False, 60.0)
DOUBTFUL = Evidence(0.48, 0.7, 5, False, 40.0)
WALL = Evidence(0.2, 0.6, 3, False, 40.0)
MOVING = Evidence(0.08, 0.5, 6, True, 60.0)


def mesh_at(x, y, size=60.0):
    """The mean face with its middle at a place."""
    mean = load_mesh_topology().mean.astype(np.float32)
    scaled = mean * (size / np.ptp(mean[:, 1]))
    scaled[:, :2] += np.array([x, y], np.float32) - scaled[:, :2].mean(axis=0)
    return scaled.astype(np.float32)


def track(number, evidence, x, frames=range(10), identity=None):
    frames = np.array(list(frames), np.int64)
    meshes = np.stack([mesh_at(x, 100.0)] * len(frames))
    return Track(
        number, frames, meshes, np.full(len(frames), 0.95, np.float32), np.zeros((len(frames), 3), np.float32),
        identity=identity, evidence=None if evidence is None else evidence.as_row(),
    )  # fmt: skip


def clip_of(*tracks, people=()):
    cuts = np.zeros(1, np.int64)
    return Tracks(640, 200, Fraction(1, 10), np.arange(10, dtype=np.int64), tracks, {}, cuts, people)


def recipe_with(*decisions):
    recipe = build_recipe({"processors": ["face_anonymiser"], "target_path": "t.mp4", "output_path": "o.mp4"})
    return recipe.model_copy(update={"decisions": decisions})


def decision(area, verdict, x):
    return Decision(area=area, at_s=0.3, box=(x - 25.0, 70.0, x + 25.0, 130.0), verdict=verdict)


def test_what_was_seen_over_time_decides_how_sure_a_find_is():
    found = clip_of(track(0, SURE, 100), track(1, DOUBTFUL, 220), track(2, WALL, 340), track(3, MOVING, 460))
    assert certainties(found) == {0: "sure", 1: "unsure", 2: "unlikely", 3: "unsure"}


def test_a_doubtful_find_on_the_head_of_somebody_sure_is_no_face_of_its_own():
    assert certainties(clip_of(track(0, replace(DOUBTFUL, inside=0.9), 100))) == {0: "unlikely"}
    assert certainties(clip_of(track(0, replace(SURE, inside=0.9), 100))) == {0: "sure"}
    # Who looks past another's shoulder is near their head, too.
    beside = [track(k, replace(DOUBTFUL, inside=0.9, verdict=share), 100) for k, share in enumerate((0.93, 0.97))]
    assert certainties(clip_of(*beside)) == {0: "unlikely", 1: "unsure"}


class Draft:
    """What joining knows of a track's frames."""

    def __init__(self, of):
        self.frames, self._meshes, self.size = of.frames, of.meshes, (640, 200)

    def meshes(self, low, high):
        return self._meshes[low:high]


@pytest.mark.parametrize(("verdict", "expected"), [(0.9, ("sure", "unlikely")), (0.05, ("unlikely", "unsure"))])
def test_a_head_that_is_left_alone_itself_is_no_reason_to_leave_a_find_on_it_alone(verdict, expected):
    head = track(0, replace(SURE, detector=0.7, size_px=40.0, verdict=verdict), 100)
    find = track(1, replace(DOUBTFUL, detector=0.54, verdict=0.93), 102)
    joined = _with_heads([head, find], [Draft(head), Draft(find)], [0, 10])
    assert tuple(certainties(clip_of(*joined)).values()) == expected


@pytest.mark.parametrize(
    ("size", "down", "evidence", "degrees", "expected"),
    [
        (0.3, 3.0, {}, 0, "unlikely"),  # a hand
        (0.3, 3.0, {}, 25, "unlikely"),  # of somebody who leans
        (0.3, 3.0, {}, 90, "unsure"),  # somebody lies, and their body is not there
        (0.3, 3.0, {}, 180, "unsure"),
        (0.6, 3.0, {}, 0, "unsure"),  # somebody who sits before them
        (0.3, 8.0, {}, 0, "unsure"),  # below their feet
        (0.3, -3.0, {}, 0, "unsure"),  # somebody behind them
        (0.3, 3.0, {"verdict": 0.98}, 0, "unsure"),  # too much speaks for a face
        (0.3, 3.0, {"size_px": 80.0}, 0, "unsure"),  # a mistake would show too much
        (0.3, 3.0, {"detector": 0.8, "verdict": 0.03}, 0, "unsure"),  # the detector believes it
    ],
)
def test_a_small_find_on_the_body_of_somebody_sure_is_taken_for_their_hand(size, down, evidence, degrees, expected):
    person = track(0, replace(SURE, verdict=0.9), 100)
    height = float(np.ptp(person.meshes[0][:, 1]))
    middle = person.meshes.mean(axis=1, keepdims=True)
    meshes = (person.meshes - middle) * size + middle + np.array([0, down * height, 0])
    found = replace(DOUBTFUL, **{"detector": 0.4, "verdict": 0.8, "seen": 1, **evidence})
    hand = replace(track(1, found, 100), meshes=meshes.astype(np.float32))
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    person = replace(person, meshes=((person.meshes - middle) @ turn + middle).astype(np.float32))
    joined = _with_heads([person, hand], [Draft(person), Draft(hand)], [0, 1])
    assert [certainty_of(one, 1) for one in joined] == ["sure", expected]


def test_tracks_of_nobody_who_looked_twice_are_never_left_alone():
    assert certainties(clip_of(track(0, None, 100))) == {0: "sure"}


def test_evidence_is_kept_with_the_tracks_and_in_a_part_of_them(tmp_path):
    clip_of(track(0, DOUBTFUL, 100)).save(tmp_path / "t.tracks")
    for rows in (None, (0, 2)):
        loaded = Tracks.load(tmp_path / "t.tracks", rows)
        assert Evidence.of(loaded.tracks[0]) == Evidence.of(track(0, DOUBTFUL, 100))
        assert certainties(loaded) == {0: "unsure"}


def test_finds_that_are_unlikely_are_not_hidden_and_decisions_count_more():
    found = clip_of(track(0, SURE, 100), track(1, DOUBTFUL, 220), track(2, WALL, 340))
    cast = Cast((FacePart(((),), ("feather",)),), hides=True)
    assert set(cast.assign(recipe_with(), found)) == {0, 1}
    decided = recipe_with(decision(2, "face", 340), decision(1, "none", 220))
    assert set(cast.assign(decided, found)) == {0, 2}
    assert judged(decided, found) == {0: "sure", 1: "unlikely", 2: "sure"}


def test_an_exempt_decision_exempts_all_sure_tracks_of_the_person():
    found = clip_of(track(0, SURE, 100), track(1, SURE, 220), track(2, DOUBTFUL, 340), people=(0, 0, 0))
    assert exempted(recipe_with(decision(0, "exempt", 100)), found) == {0, 1}


def test_decisions_on_finds_that_are_elsewhere_are_refused():
    found = clip_of(track(0, SURE, 100))
    check_decisions(recipe_with(decision(0, "none", 100)), found)
    for wrong in (decision(0, "none", 300), decision(7, "none", 100)):
        with pytest.raises(RecipeError, match="do not fit"):
            check_decisions(recipe_with(wrong), found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged"),
        ("<!doctype html>", r"is the page, and no decisions: .* the button of the review page \(--report\)"),
        ("[]", "holds no review decisions"),
        ('{"format": "facefusion-review-1", "decisions": [{"area": -1}]}', "area"),
        ('{"format": "facefusion-review-1", "decisions": [1]}', "valid dictionary"),
    ],
)
def test_a_file_that_holds_no_decisions_is_refused(tmp_path, text, says):
    path = tmp_path / "decisions.json"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        load_review(path)
    with pytest.raises(MediaMissing):
        load_review(tmp_path / "none.json")


def test_decisions_are_read_as_the_page_saves_them(tmp_path):
    path = tmp_path / "decisions.json"
    told = {"area": 3, "at_s": 0.3, "box": [1, 2, 3, 4], "verdict": "face"}
    path.write_text(json.dumps({"format": "facefusion-review-1", "target_sha256": "", "decisions": [told]}))
    assert load_review(path) == (Decision(**told),)


def test_decisions_on_another_file_are_refused_before_anybody_is_looked_for(tmp_path):
    path, target = tmp_path / "decisions.json", tmp_path / "street.mp4"

    def recipe_for(told):
        path.write_text(json.dumps({"format": "facefusion-review-1", "decisions": [], **told}))
        return build_recipe({"review_path": path, "target_path": target})

    for told in ({"target_sha256": "ab"}, {"target_sha256": ""}, {}):
        check_reviewed(recipe_for(told), {str(target): "ab"})
    with pytest.raises(
        RecipeError, match=r"decisions\.json decides on finds of another file than .*street\.mp4 is now"
    ):
        check_reviewed(recipe_for({"target_sha256": "cd"}), {str(target): "ab"})
    check_reviewed(build_recipe({"target_path": target}), {str(target): "ab"})


def pattern(seed=1):
    return np.random.default_rng(seed).integers(0, 255, (240, 320, 3), dtype=np.uint8)


def find(x, y, score=0.08):
    box = np.array([x - 20, y - 20, x + 20, y + 20], np.float32)
    return Detection(box, np.zeros((5, 2), np.float32), score)


def test_a_faint_find_counts_only_where_it_moves_by_itself():
    traces, pixels, told = FaintTraces(), pattern(), []
    for number in range(5):
        found = [find(60 + 15 * number, 80), find(250, 150)]
        told = traces.see(found, [], pixels if number else None, pixels, number)
    assert [trace.hits[-1][1][0] for trace in told] == [100.0]
    assert len(told[0].hits) == 5


def test_what_moves_below_a_known_face_is_their_body():
    traces, pixels, told = FaintTraces(), pattern(), []
    for number in range(5):
        x = 60 + 15 * number
        face = np.array([x - 15, 20, x + 15, 50], np.float32)
        told = traces.see([find(x, 120)], [face], pixels if number else None, pixels, number)
    assert told == []


def crop_with(face_size=80.0, is_doubtful=False, yaw=0.0):
    pixels = np.random.default_rng(3).integers(0, 255, (260, 260, 3), dtype=np.uint8)
    face = Face(mesh_at(130, 140, face_size), 0.9, Pose(yaw, 0, 0), is_doubtful=is_doubtful)
    return Crop(pixels, np.eye(2, 3, dtype=np.float32), face, np.zeros((260, 260), np.float32))


def test_a_doubtful_find_gets_squares_and_no_painted_face():
    (hidden,) = SyntheticAnonymiser(seed=1).process([crop_with(is_doubtful=True)])
    (squares,) = PatchAnonymiser(pixelate_face, 0.5).process([crop_with(is_doubtful=True)])
    np.testing.assert_array_equal(hidden.visible(), squares.visible())
    (painted,) = SyntheticAnonymiser(seed=1).process([crop_with()])
    assert (painted.visible() != squares.visible()).any()


@pytest.mark.parametrize("yaw", [72.0, -72.0])
def test_a_profile_gets_squares_since_its_nose_is_not_where_the_mesh_says(yaw):
    (hidden,) = SyntheticAnonymiser(seed=1).process([crop_with(yaw=yaw)])
    (squares,) = PatchAnonymiser(pixelate_face, 0.5).process([crop_with(yaw=yaw)])
    np.testing.assert_array_equal(hidden.visible(), squares.visible())


def test_a_patch_in_doubt_covers_more():
    areas = [
        float(PatchAnonymiser(pixelate_face, 0.5).process([crop_with(is_doubtful=doubt)])[0].alpha.sum())
        for doubt in (False, True)
    ]
    assert areas[1] > 1.3 * areas[0]


def test_the_crop_of_a_find_in_doubt_has_room_for_its_patch():
    pixels = np.full((600, 600, 3), 128, dtype=np.uint8)
    for engine in (PatchAnonymiser(pixelate_face, 0.5), SyntheticAnonymiser(seed=1)):
        face = Face(mesh_at(300, 300, 100.0), 0.9, Pose(0, 0, 0), is_doubtful=True)
        (done,) = engine.process([cut_out(pixels, face, engine.crop_shape)])
        border = np.concatenate([done.alpha[0], done.alpha[-1], done.alpha[:, 0], done.alpha[:, -1]])
        assert border.max() == 0
        reach = np.flatnonzero(done.alpha.any(axis=0))
        assert reach[-1] - reach[0] > 2 * np.ptp(face.mesh[:, 0])


@pytest.mark.parametrize("yaw", [-70, -30, 0, 30, 70])
def test_the_head_model_covers_hair_and_ears_whichever_way_a_head_is_turned(yaw):
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    mesh = mesh_at(0, 0, 80.0)
    # A ball behind the face stands for the skull: its top, its back and its sides are hair and ears.
    centre = mesh.mean(axis=0) + np.array([0, -8.0, 38.0])
    skull = centre + 38 * np.array([[1, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1]])
    mesh, skull = (points @ turn.T + np.array([130, 140, 0]) for points in (mesh, skull))
    crop = replace(crop_with(), face=Face(mesh.astype(np.float32), 0.9, Pose(0, 0, 0)))
    (hidden,) = PatchAnonymiser(pixelate_face, 0.5, is_head=True).process([crop])
    assert all(hidden.alpha[int(y), int(x)] > 0.9 for x, y, _ in skull)
    assert all(hidden.alpha[int(y), int(x)] > 0.9 for x, y, _ in mesh)


def reviewed(*tracks, hidden, exempt=(), decisions=None, evidence=None):
    found = clip_of(*tracks)
    reviewer = Reviewer(found, hidden, exempt, certainties(found), decisions or {})
    for number in range(10):
        pixels = np.full((200, 640, 3), 10 * number, np.uint8)
        reviewer.add(RenderedFrame(Frame(pixels, number, number, Fraction(1, 10))))
    return reviewer.finish(evidence or {})


def test_a_review_says_that_nobody_is_known_to_be_missed_only_where_nothing_is_open():
    assert reviewed(track(0, SURE, 300), hidden=(0,)).verdict[0]
    assert reviewed(track(0, SURE, 300), track(1, WALL, 100), hidden=(0,)).verdict[0]
    assert not reviewed(track(0, SURE, 300), track(1, DOUBTFUL, 100), hidden=(0, 1)).verdict[0]
    assert reviewed(track(0, DOUBTFUL, 300), hidden=(0,), decisions={0: "face"}).verdict[0]


def test_a_face_that_is_lost_in_mid_picture_is_told_unless_somebody_else_is_hidden_there():
    lost = reviewed(track(0, SURE, 300, range(6)), hidden=(0,))
    assert [(one.number, one.start_s, one.reason) for one in lost.openings] == [(0, 0.6, "lost in mid-picture")]
    assert "1 time" in lost.verdict[1]
    assert any(kind == "open" for sheet in lost.sheets for _, kind, _ in sheet.boxes)
    taken_over = reviewed(track(0, SURE, 300, range(6)), track(1, SURE, 305, range(6, 10)), hidden=(0, 1))
    assert taken_over.openings == ()


def at_border(evidence, places):
    """Somebody in as many frames as there are places of their middle."""
    return replace(
        track(0, evidence, 0, range(len(places))), meshes=np.stack([mesh_at(x, 100.0) for x in places])
    )  # fmt: skip


def test_a_face_that_is_lost_at_the_border_is_told_unless_it_went_out_there():
    went = at_border(SURE, [60.0, 52, 44, 36, 28, 20])
    assert reviewed(went, hidden=(0,)).openings == ()
    assert reviewed(at_border(SURE, [5.0] * 6), hidden=(0,)).openings == ()  # most of it is out
    for stays in ([20.0] * 6, [20.0, 22, 24, 26, 28, 30]):
        (one,) = reviewed(at_border(SURE, stays), hidden=(0,)).openings
        assert (one.reason, one.start_s) == ("lost at the border", 0.6)
    came = replace(went, frames=np.arange(4, 10), meshes=went.meshes[::-1])
    assert reviewed(came, hidden=(0,)).openings == ()


def test_half_a_head_in_doubt_that_is_lost_at_the_border_is_told_and_smaller_or_elsewhere_it_comes_and_goes():
    half = replace(DOUBTFUL, size_px=90.0)
    assert [one.reason for one in reviewed(at_border(half, [20.0] * 6), hidden=(0,)).openings] == ["lost at the border"]
    assert reviewed(at_border(DOUBTFUL, [20.0] * 6), hidden=(0,)).openings == ()
    assert reviewed(at_border(half, [320.0] * 6), hidden=(0,)).openings == ()
    assert reviewed(at_border(half, [20.0] * 6), hidden=()).openings == ()


def test_the_page_shows_every_find_with_doubts_first_and_what_can_be_decided():
    tracks = [track(0, SURE, 100), track(1, DOUBTFUL, 220), track(2, WALL, 340)]
    told = {"target_sha256": "ab", "exemptions": [{"photo": "<anna>.jpg", "absent": True}]}
    review = reviewed(*tracks, hidden=(0, 1), evidence=told)
    page = render_review(Report("street.mp4", (), ()), review)
    places = [page.index(f'data-area="{number}"') for number in (1, 0, 2)]
    assert places == sorted(places)
    assert page.count('type="radio"') == 9 and "similarity_source" not in page
    assert "nobody looks like &lt;anna&gt;.jpg" in page and "<anna>" not in page
    finds = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
    check_decisions(recipe_with(*(Decision(**f, verdict="none") for f in finds["areas"].values())), clip_of(*tracks))
    values = review.as_dict()
    assert [area["number"] for area in values["areas"]] == [1, 0, 2]
    assert values["evidence"]["target_sha256"] == "ab" and json.dumps(values)


def photo_of(*tracks, width=640):
    found = clip_of(*tracks)
    return replace(found, width=width, pts=np.zeros(1, np.int64))


def test_the_review_of_a_photo_speaks_of_no_times():
    found = photo_of(track(0, SURE, 100, range(1)))
    reviewer = Reviewer(found, (0,), (), certainties(found), {})
    reviewer.add(RenderedFrame(Frame(np.zeros((200, 640, 3), np.uint8), 0, 0, Fraction(1, 10))))
    review = reviewer.finish({})
    page = render_review(Report("street.jpg", (), ()), review)
    assert review.is_photo and "0.00" not in page and "seen in" not in page and "every frame" not in page
    assert review.verdict[1] == "Nobody is known to be missed. 1 face beyond doubt is hidden."
    assert not reviewed(track(0, SURE, 300), hidden=(0,)).is_photo


def test_numbers_on_whole_frames_are_as_large_on_the_page_whatever_the_frame_and_never_outside_of_it():
    small, large = Sheet(0.0, 640, 200, b""), Sheet(0.0, 9000, 6000, b"")
    assert small.label / 640 == pytest.approx(large.label / 9000, rel=0.01)
    large.boxes += [(7, "sure", (-200.0, -50.0, 400.0, 700.0)), (123, "sure", (8990.0, 40.0, 9000.0, 700.0))]
    page = render_review(Report("street.jpg", (), ()), Review((), (), (large,), {}, True))
    found = re.findall(r'<text\s+x="([\d.-]+)"\s+y="([\d.-]+)"\s+style="font-size: ([\d.]+)px', page)
    for (x, y, size), digits in zip(found, (1, 3), strict=True):
        assert 0 < float(x) < 9000 - 0.6 * digits * float(size) and float(y) >= float(size) == large.label


def test_sixty_three_people_take_few_whole_frames():
    tracks = [track(k, SURE, 5 + 10 * k) for k in range(63)]
    review = reviewed(*tracks, hidden=tuple(range(63)))
    assert len(review.sheets) == 1 and len(review.sheets[0].boxes) == 63


def test_a_figure_that_misses_its_limit_by_little_is_not_shown_as_meeting_it():
    row = Row(0, 0, 0, 0.0, 1.0, 10, [Sample(0.0, covered=0.30004)])
    (said,) = Report("t", (), (row,)).failures({"covered": 0.3})
    assert said == "covered is 0.30004, the limit is 0.3"
    assert Report("t", (), (row,)).failures({"covered": 0.305}) == []
