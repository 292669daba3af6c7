"""Masks, identities, anonymised faces and reports, with the embedded models on people who do not exist."""

import dataclasses
import json
import re
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from facefusion.analyse.analyser import Analyser
from facefusion.analyse.causal import CausalTracker
from facefusion.errors import QualityTooLow, RecipeError, UnknownOption
from facefusion.imaging.flow import warping_error
from facefusion.jobs.once import run
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.metrics.figures import Report, Row, Sample
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.pipeline.plan import build_plan
from facefusion.pipeline.runner import analyse_target, build_analyser, build_cast, build_processors
from facefusion.pipeline.selection import distance
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.processors.face_anonymiser.patch import PatchAnonymiser, one_colour, pixelate_face
from facefusion.processors.face_anonymiser.shape import AMPLITUDES, draw_proportions, offsets_of, reshaped
from facefusion.processors.face_anonymiser.synthetic import SyntheticAnonymiser
from facefusion.recipe import Recipe, build_recipe
from facefusion.render.renderer import Renderer
from facefusion.testing.clips import write_test_clip
from facefusion.testing.fakes import BrightSpotLandmarker, FakeDetector, make_mesh, sample_path
from facefusion.types.crop import Crop
from facefusion.types.frame import Frame
from facefusion.types.topology import FACE_OVAL, LEFT_IRIS, MESH_TO_68, RIGHT_IRIS, five_from_68
from facefusion.types.track import Track, Tracks

CONTEXT = EngineContext(Recipe())
MODES = ("synthetic", "blur", "pixelate", "mask", "blackout")


@pytest.fixture(scope="module")
def analyser():
    return build_analyser(Recipe(), has_identity=False)


@pytest.fixture(scope="module")
def portrait(analyser):
    pixels = read_photo(sample_path("target.jpg")).pixels
    return pixels, analyser.find_faces(pixels)[0]


def identity_of(pixels, face):
    return build_engine("face_identifier", "embedded", CONTEXT).identify([pixels], [face.five_points])[0]


def test_mask_is_open_on_a_bare_face_and_closed_where_something_lies_before_it(portrait):
    pixels, face = portrait
    masker = build_engine("face_occluder", "embedded", CONTEXT)
    bare = masker.mask([pixels], [face])[0]
    inside = cv2.fillConvexPoly(np.zeros(pixels.shape[:2], np.uint8), np.int32(face.mesh[list(FACE_OVAL), :2]), 1) > 0
    assert bare[inside].mean() > 0.9
    assert bare[:20].max() < 0.1
    covered = pixels.copy()
    mouth = face.mesh[13, :2].astype(int)
    cv2.rectangle(covered, (mouth[0] - 60, mouth[1] - 15), (mouth[0] + 200, mouth[1] + 45), (40, 120, 60), -1)
    mask = masker.mask([covered], [face])[0]
    assert mask[mouth[1] : mouth[1] + 25, mouth[0] - 40 : mouth[0] + 40].mean() < 0.2
    brow = face.mesh[10, :2].astype(int)
    assert mask[brow[1] + 25, brow[0]] > 0.8


def test_regions_lie_where_the_mesh_has_them(portrait):
    pixels, face = portrait
    for region, point in (("nose", 4), ("left-eye", LEFT_IRIS), ("right-eye", RIGHT_IRIS), ("skin", 50)):
        context = EngineContext(Recipe(face_mask_regions=(region,)))
        (mask,) = build_engine("face_parser", "embedded", context).mask([pixels], [face])
        x, y = face.mesh[point, :2].astype(int)
        assert mask[y, x] > 0.5, region
        x, y = face.mesh[152, :2].astype(int)
        assert region == "skin" or mask[y - 8, x] < 0.5, region


def test_identities_are_near_for_one_person_and_far_for_two(portrait, analyser):
    pixels, face = portrait
    one = identity_of(pixels, face)
    assert abs(float(np.linalg.norm(one)) - 1) < 1e-5
    darker = (pixels * 0.6).astype(np.uint8)
    again = identity_of(
        np.ascontiguousarray(darker[:, ::-1]), analyser.find_faces(np.ascontiguousarray(darker[:, ::-1]))[0]
    )
    other_pixels = read_photo(sample_path("source.jpg")).pixels
    other = identity_of(other_pixels, analyser.find_faces(other_pixels)[0])
    same = build_engine("face_identifier", "embedded", CONTEXT).same_person_cosine
    assert distance(one, again, same) < 0.15
    assert distance(one, other, same) > 0.3


def dissolved(one, other, count=40, begin=14, end=26):
    """One picture that dissolves into another; both sway by a pixel."""
    for k in range(count):
        share = float(np.clip((k - begin) / (end - begin), 0, 1))
        pixels = (one * (1 - share) + other * share + 0.5).astype(np.uint8)
        yield Frame(np.ascontiguousarray(np.roll(pixels, k % 3 - 1, axis=1)), k, k * 512, Fraction(1, 12800))


def packaged(number):
    from facefusion.imaging.resample import decode

    return decode(load_synthetic_faces()[number].jpeg).astype(np.float32)


def spans(tracks):
    return sorted((int(track.frames[0]), int(track.frames[-1])) for track in tracks.tracks)


def test_one_face_that_dissolves_into_another_is_two_people():
    looker = build_analyser(Recipe())
    frames = list(dissolved(packaged(0), packaged(1)))
    tracks = looker.analyse(frames)
    assert len(set(tracks.people)) == len(tracks.tracks) == 2
    (begin, turn), (again, end) = spans(tracks)
    assert (begin, again, end) == (0, turn + 1, 39)
    assert 14 <= turn < 26
    # Every part is known by its own looks.
    known = looker.find_faces(frames[0].pixels)[0]
    points = five_from_68(known.mesh[list(MESH_TO_68), :2])
    own, _ = looker.tell_apart(frames[0].pixels, points)
    away = {int(t.frames[0]): distance(t.identity, own, tracks.same_person_cosine) for t in tracks.tracks}
    assert away[0] < 0.2
    assert away[again] > 0.4
    # So it is wherever the clip is cut for two to look at it.
    for seam in (12, 20, 27):
        parts = [looker.observe(frames[: seam + 1], overlaps=True), looker.observe(frames[seam:])]
        assert len(set(looker.join(parts).people)) == 2
    with CausalTracker(looker) as tracker:
        ends = [{track.track_id for track, _ in tracker.see(frame).at(frame.pts, range(9))} for frame in frames]
    assert ends[0] == {0}
    assert ends[-1] == {1}


def test_while_one_dissolves_into_another_both_are_hidden():
    looker = build_analyser(build_recipe({"processors": ["face_anonymiser"]}))
    first, second = spans(looker.analyse(dissolved(packaged(0), packaged(1))))
    assert first[0] == 0
    assert first[1] >= 26
    assert second[0] <= 14
    assert second[1] == 39


def test_after_a_dissolve_from_somebody_exempt_nobody_is_bare(tmp_path):
    frames = list(dissolved(packaged(0), packaged(1)))
    write_test_clip(tmp_path / "clip.mp4", [f.pixels for f in frames], [f.pts for f in frames], Fraction(1, 12800))
    cv2.imwrite(str(tmp_path / "first.png"), packaged(0)[..., ::-1].astype(np.uint8))
    outcome = run(
        build_recipe(
            {
                "target_path": tmp_path / "clip.mp4", "output_path": tmp_path / "out.mp4",
                "processors": ["face_anonymiser"], "face_anonymiser_model": "blackout",
                "exempt_paths": [tmp_path / "first.png"], "exempt_faces": [7],
            }
        )
    )  # fmt: skip
    assert "Face 7 is exempt, but the target has no such." in outcome.notes
    middles = [float(frame.pixels[118:138, 118:138].mean()) for frame in ClipReader(tmp_path / "out.mp4")]
    assert min(middles[:5]) > 60  # the one who is exempt
    assert max(middles[14:]) < 20  # and from the first frame in which the other one is seen


def test_light_that_changes_and_a_head_in_the_mirror_part_nobody():
    looker = build_analyser(Recipe())
    face = packaged(0)
    for other in (face * 0.45, 0.6 * face[:, ::-1], cv2.GaussianBlur(face, (0, 0), 3)):
        tracks = looker.analyse(dissolved(face, np.ascontiguousarray(other)))
        assert spans(tracks) == [(0, 39)]


def test_distance_is_scaled_so_that_people_always_begin_at_the_same_number():
    one, other = np.array([1.0, 0.0], np.float32), np.array([0.55, np.sqrt(1 - 0.55**2)], np.float32)
    assert abs(distance(one, other, 0.55) - 0.3) < 1e-5
    assert abs(distance(one, other) - 0.225) < 1e-5


def test_packaged_faces_are_found_as_faces(analyser):
    from facefusion.imaging.resample import decode

    faces = load_synthetic_faces()
    assert len(faces) >= 20
    for face in faces[::6]:
        found = analyser.find_faces(decode(face.jpeg))
        assert len(found) == 1
        error = np.linalg.norm(found[0].mesh[:468, :2] - face.mesh[:468, :2], axis=1).mean()
        assert error < 0.06 * np.linalg.norm(face.mesh[LEFT_IRIS] - face.mesh[RIGHT_IRIS])


def test_proportions_change_and_the_hairline_stays():
    offsets = offsets_of(dict.fromkeys(AMPLITUDES, 0.0) | {"mouth_width": 0.2, "eye_spacing": 0.05})
    mesh = make_mesh((200.0, 200.0), 60.0)
    moved = reshaped(mesh, make_pose(), offsets)
    width = lambda m: m[291, 0] - m[61, 0]  # noqa: E731
    assert width(moved) > 1.08 * width(mesh)
    assert moved[RIGHT_IRIS, 0] - moved[LEFT_IRIS, 0] > 1.05 * (mesh[RIGHT_IRIS, 0] - mesh[LEFT_IRIS, 0])
    np.testing.assert_allclose(moved[10], mesh[10], atol=1e-3)


def clip_with_gap(is_thorough):
    """A bright spot that is a face, seen in frames 15 to 20 and 29 to 39 of 60."""
    frames = []
    for k in range(60):
        pixels = np.full((240, 320, 3), 40, np.uint8)
        if 15 <= k < 21 or 29 <= k < 40:
            cv2.circle(pixels, (150, 120), 6, (255, 255, 255), -1)
        frames.append(Frame(pixels, k, k * 10, Fraction(1, 250)))
    detector = SpotDetector()
    return Analyser(detector, BrightSpotLandmarker(), 3, is_thorough=is_thorough).analyse(iter(frames)), frames


class SpotDetector(FakeDetector):
    """Sees the face only where the spot is."""

    def __init__(self):
        super().__init__([make_mesh((150.0, 120.0), 36.0)])

    def detect(self, pixels):
        return [
            found if picture.max() > 200 else [] for found, picture in zip(super().detect(pixels), pixels, strict=True)
        ]


def make_pose(yaw=0.0):
    from facefusion.types.face import Pose

    return Pose(yaw, 0.0, 0.0)


def test_proportions_turn_with_the_head():
    offsets = offsets_of(draw_proportions(np.random.default_rng(3)))
    flat = reshaped(make_mesh((0.0, 0.0), 60.0), make_pose(), offsets)
    turned = reshaped(make_mesh((0.0, 0.0), 60.0, yaw=40.0), make_pose(40.0), offsets)
    from facefusion.testing.fakes import rotation

    np.testing.assert_allclose(turned, flat @ rotation(40.0, 0, 0).T, atol=0.05)


def hidden(portrait, mode, seed=1):
    pixels, _ = portrait
    recipe = build_recipe(
        {"processors": ["face_anonymiser"], "face_anonymiser_model": mode, "face_anonymiser_seed": seed}
    )
    frame = Frame(pixels, 0, 0, Fraction(1))
    tracks = build_analyser(recipe).analyse(iter([frame]))
    chain = build_processors(recipe, recipe.steps, [])
    return Renderer({t.track_id: chain for t in tracks.tracks}, tracks).render(frame)


@pytest.mark.parametrize("mode", MODES)
def test_nobody_is_recognised_and_the_rest_of_the_picture_stays(portrait, mode):
    pixels, face = portrait
    rendered = hidden(portrait, mode)
    before, after = identity_of(pixels, face), identity_of(rendered.pixels, face)
    assert distance(before, after, 0.53) > 0.3
    np.testing.assert_array_equal(rendered.pixels[:20], pixels[:20])
    middle = face.mesh[[4, 50, 280, 9], :2].astype(int)
    assert all((rendered.pixels[y, x] != pixels[y, x]).any() for x, y in middle)


def test_the_synthetic_face_is_a_face_with_the_same_pose_and_depends_on_the_seed(portrait, analyser):
    pixels, face = portrait
    one, again, other = (hidden(portrait, "synthetic", seed).pixels for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one.astype(int) - other).max() > 30
    found = analyser.find_faces(one)
    assert len(found) == 1
    assert abs(found[0].pose.yaw - face.pose.yaw) < 6
    identities = [identity_of(x, analyser.find_faces(x)[0]) for x in (one, other)]
    assert distance(*identities, 0.53) > 0.1


class Asked:
    """A recogniser that takes the first so many faces that it is asked about for one person, and counts."""

    contract, same_person_cosine = "asked", 0.5

    def __init__(self, like):
        self.like, self.count = like, 0

    def identify(self, pixels, points):
        if len(pixels) > 1:  # of those who are drawn, the later the less like
            return np.array([[np.cos(k / 30), np.sin(k / 30)] for k in range(len(pixels))], np.float32)
        self.count += 1
        return np.array([[1, 0] if self.count <= self.like else [0, 1]], np.float32)


def people_met(portrait, asked, frames):
    """An anonymiser that has met one person, and a crop with their face."""
    pixels, face = portrait
    columns = {"scores": np.ones(frames, np.float32), "poses": np.zeros((frames, 3), np.float32)}
    track = Track(
        0, np.arange(frames), np.repeat(face.mesh[None], frames, axis=0), **columns,
        identity=np.array([9, 0], np.float32),
    )  # fmt: skip
    height, width = pixels.shape[:2]
    tracks = Tracks(width, height, Fraction(1, 25), np.arange(frames), (track,), {}, np.array([0]), contract="asked")
    anonymiser = SyntheticAnonymiser(1, asked)
    anonymiser.meet(tracks)
    affine = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    return anonymiser, Crop(pixels, affine, replace(face, person=0), np.zeros((height, width), np.float32))


@pytest.mark.parametrize(
    ("frames", "like", "count"), [(1, 0, 1), (1, 2, 3), (1, 6, 7), (1, 99, 7), (9, 0, 1), (9, 1, 2), (9, 99, 2)]
)
def test_a_new_face_that_is_still_the_old_one_never_goes_out(portrait, frames, like, count):
    """A photo tries the next lot; in a clip every part must draw the same, so that such a face is pixelated."""
    anonymiser, crop = people_met(portrait, asked := Asked(like), frames)
    hidden = anonymiser.process([crop])[0]
    assert asked.count == count
    if like == 99:  # squares are read, too
        expected = PatchAnonymiser(one_colour, 0.5).process([crop])[0]
    elif like >= (6 if frames == 1 else 1):
        expected = PatchAnonymiser(pixelate_face, 0.5).process([crop])[0]
    else:
        expected = anonymiser._draw(crop, *anonymiser._lots(0)[count - 1])
    np.testing.assert_array_equal(hidden.visible(), expected.visible())


def test_of_several_new_faces_the_one_least_like_the_person_is_taken(portrait):
    lots = [people_met(portrait, Asked(0), frames)[0]._lots(0) for frames in (1, 9, 9)]
    rng = np.random.default_rng([1, 0])
    candidates = people_met(portrait, Asked(0), 9)[0]._candidates(0)
    drawn = [(int(rng.choice(candidates)), offsets_of(draw_proportions(rng))) for _ in lots[0]]
    assert len(drawn) == 8
    for found in lots:  # the same whatever the worker has seen
        for (one, offsets), (other, others) in zip(found, reversed(drawn), strict=True):
            assert one == other
            np.testing.assert_array_equal(offsets, others)


def test_anonymising_asks_for_everyone_and_draws_a_seed(tmp_path, target_clip):
    options = {"target_path": target_clip, "output_path": tmp_path / "o.mp4", "processors": ["face_anonymiser"]}
    recipe = build_recipe(options)
    assert recipe.faces == "all"
    assert recipe.face_detector_score < 0.2
    seeds = {build_plan(recipe).recipe.step_of("face_anonymiser").options.seed for _ in range(3)}
    assert len(seeds) == 3
    assert None not in seeds
    assert build_recipe({**options, "faces": "largest"}).faces == "largest"


def test_exempt_people_are_left_as_they_are(tmp_path, target_clip, source_photo):
    options = {
        "target_path": target_clip,
        "output_path": tmp_path / "o.mp4",
        "processors": ["face_anonymiser"],
        "end_s": 0.4,
    }
    face = tmp_path / "face.png"
    cv2.imwrite(str(face), next(iter(ClipReader(target_clip))).pixels[..., ::-1])
    for extra, is_left in (
        ({"exempt_paths": [face]}, True),
        ({"exempt_faces": [0]}, True),
        ({"exempt_paths": [source_photo]}, False),
    ):
        recipe = build_plan(build_recipe({**options, **extra})).recipe
        analyser = build_analyser(recipe)
        chains = build_cast(recipe, analyser).chains(recipe, analyse_target(recipe, analyser))
        assert (len(chains) == 0) == is_left, extra


def test_hidden_people_are_followed_over_gaps_and_beyond_their_ends():
    tracks, frames = clip_with_gap(is_thorough=True)
    seen = set(tracks.tracks[0].frames.tolist())
    # The picture shows nobody before and after, so that they are carried along for a few frames only.
    assert seen == set(range(10, 45))
    guessed = tracks.tracks[0].frames[tracks.tracks[0].guessed]
    assert set(guessed.tolist()) >= {*range(10, 15), *range(21, 29), *range(40, 45)}
    assert len(frames) == 60


def test_whoever_comes_in_while_the_camera_turns_is_hidden_at_once(portrait, rng):
    """The picture changes as much as in a cut, and between two looks somebody would have been there bare."""
    pixels, face = portrait
    small = cv2.resize(pixels, (240, 240), interpolation=cv2.INTER_AREA)
    mesh = face.mesh[:, :2] * (240 / 512)
    wall = cv2.resize(rng.integers(0, 256, (4, 24, 3), dtype=np.uint8), (2400, 240), interpolation=cv2.INTER_CUBIC)
    people = (500, 1130, 1760)
    for x in people:
        wall[:, x : x + 240] = small
    steps = range(0, 2400 - 480, 48)
    frames = [Frame(np.ascontiguousarray(wall[:, x : x + 480]), k, k, Fraction(1, 25)) for k, x in enumerate(steps)]
    recipe = build_recipe({"processors": ["face_anonymiser"], "face_anonymiser_seed": 1})
    tracks = build_analyser(recipe).analyse(iter(frames))
    bare = []
    for k, x in enumerate(steps):
        for place in people:
            low, high = mesh[:, 0].min() + place - x, mesh[:, 0].max() + place - x
            if min(high, 480) - max(low, 0) < 0.6 * (high - low):
                continue
            middle = mesh.mean(axis=0) + np.array([place - x, 0])
            found = [t.meshes[row, :, :2] for t in tracks.tracks if (row := t.find(k)) is not None]
            if not any(((one.min(axis=0) < middle) & (middle < one.max(axis=0))).all() for one in found):
                bare.append((k, place))
    assert not bare
    assert len(tracks.cuts) == 1


def test_report_shows_figures_pictures_and_needs_nothing_else(tmp_path, source_photo, target_clip):
    output, page = tmp_path / "o.mp4", tmp_path / "sub" / "r.html"
    recipe = build_recipe(
        {
            "source_paths": [source_photo],
            "target_path": target_clip,
            "output_path": output,
            "end_s": 1.0,
            "report_path": page,
        }
    )
    run(recipe)
    text = page.read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "<svg" in text
    assert "data:image/jpeg;base64," in text
    found = json.loads(page.with_suffix(".json").read_text())
    overall = found["overall"]
    assert 0.2 < overall["similarity_source"] < 1
    assert 0.2 < overall["similarity_target"] < 1
    assert overall["covered"] < 0.2
    assert overall["border"] < 12
    assert 0.3 < overall["flicker"] < 1.5
    assert overall["pose_error_deg"] < 3
    assert found["rows"][0]["frames"] == 25
    assert "embedding" not in text
    assert "identity" not in found["rows"][0]


def test_gate_keeps_the_output_and_names_what_is_worse(tmp_path, source_photo, target_photo):
    options = {"source_paths": [source_photo], "target_path": target_photo, "output_path": tmp_path / "o.png"}
    with pytest.raises(QualityTooLow, match="similarity_source"):
        run(build_recipe({**options, "fail_under": ["similarity_source=0.999"]}))
    assert (tmp_path / "o.png").exists()
    run(build_recipe({**options, "fail_under": ["similarity_source=-1", "pose_error_deg=20"]}))
    with pytest.raises(RecipeError, match="flikker"):
        build_plan(build_recipe({**options, "fail_under": ["flikker=1"]}))
    with pytest.raises(RecipeError, match="no number"):
        build_plan(build_recipe({**options, "fail_under": ["flicker=low"]}))


def test_people_numbers_count_people_and_unknown_ones_are_refused(tmp_path, source_photo, target_clip):
    recipe = build_recipe(
        {
            "source_paths": [source_photo],
            "target_path": target_clip,
            "output_path": tmp_path / "o.mp4",
            "end_s": 0.3,
            "faces": 3,
        }
    )
    with pytest.raises(UnknownOption, match="no face 3"):
        run(recipe)


def test_tracks_keep_people_and_what_was_guessed(tmp_path):
    from facefusion.types.track import Tracks

    tracks, _ = clip_with_gap(is_thorough=True)
    tracks = dataclasses.replace(tracks, people=(0,) * len(tracks.tracks), contract="x", same_person_cosine=0.53)
    tracks.save(tmp_path / "a.tracks")
    again = Tracks.load(tmp_path / "a.tracks")
    assert again.people == tracks.people
    assert (again.contract, again.same_person_cosine) == ("x", 0.53)
    np.testing.assert_array_equal(again.tracks[0].guessed, tracks.tracks[0].guessed)


def test_smoothing_does_not_make_the_sample_flicker_more(source_photo, target_clip):
    from facefusion.render.smooth import MotionSmoother

    recipe = build_recipe(
        {"source_paths": [source_photo], "target_path": target_clip, "output_path": "o.mp4", "end_s": 1.6}
    )
    analyser = build_analyser(recipe)
    tracks = analyse_target(recipe, analyser)
    chains = build_cast(recipe, analyser).chains(recipe, tracks)
    renderer = Renderer(chains, tracks)
    frames = list(ClipReader(target_clip, end_s=1.6))
    plain = [renderer.render(frame) for frame in frames]
    smoother = MotionSmoother(tracks, tuple(chains), recipe.motion_smoothing)
    steady = [smoother.smooth(window) for window in smoother.windows(map(smoother.look, plain))]

    def unrest(outputs):
        values = []
        for k in range(1, len(frames), 2):
            mask = np.abs(plain[k].pixels.astype(int) - frames[k].pixels).max(axis=2) > 4
            values.append(
                warping_error(frames[k - 1].pixels, frames[k].pixels, outputs[k - 1].pixels, outputs[k].pixels, mask)
            )
        return np.mean(values)

    assert unrest(steady) < unrest(plain)


def test_somebody_who_hardly_moves_does_not_make_the_flicker_of_all():
    rows = tuple(
        Row(0, k, k, 0.0, 1.0, frames, [Sample(0.0, flicker_target=target, flicker_output=output)])
        for k, (frames, target, output) in enumerate([(100, 0.5, 0.5), (100, 0.001, 0.02)])
    )
    assert rows[1].figures()["flicker"] == pytest.approx(20)
    assert Report("a", (), rows).overall()["flicker"] == pytest.approx(0.52 / 0.501)
    assert np.isnan(Report("a", (), (Row(0, 0, 0, 0.0, 1.0, 9, [Sample(0.0)]),)).overall()["flicker"])
