"""Seeing before waiting: who is who, mapping files to fill in, outputs of other programs beside their targets."""

import tomllib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from facefusion.errors import NoFaceInTarget, OutputRefused, QualityTooLow, RecipeError, TracksError, UnknownOption
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.media.numbering import time_of_frame
from facefusion.media.reader import ClipReader
from facefusion.media.sheet import colour_of
from facefusion.media.writer import ClipWriter
from facefusion.pipeline.cast import Cast, FacePart
from facefusion.pipeline.clip import empty_tracks
from facefusion.pipeline.runner import analyse_target
from facefusion.pipeline.selection import PLACES, load_face_map, people_at, places_of, told_numbers
from facefusion.recipe import build_recipe
from facefusion.service.measure import check_good_enough, measure, pair
from facefusion.service.previews import Previews
from facefusion.service.sheets import show_people
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import make_mesh, sample_path
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.numbers import write_numbers
from facefusion.types.track import FRAMES, Track, Tracks

SOURCE, PHOTO = (str(sample_path(name)) for name in ("source.jpg", "target.jpg"))


@pytest.fixture(scope="module")
def found(few_frames):
    return analyse_target(build_recipe({"target_path": few_frames}))


@pytest.fixture
def two(found):
    """The person of the clip, who comes back after a cut, and somebody who is not there, in a corner."""
    (one,) = found.tracks
    columns = {name: getattr(one, name) for name in ("meshes", "scores", "poses")}
    early, late = (
        Track(number, one.frames[part], **{name: values[part] for name, values in columns.items()})
        for number, part in ((0, slice(0, 2)), (2, slice(3, 5)))
    )
    meshes = np.stack([make_mesh((470, 60), 24)] * 5)
    other = Track(1, np.arange(5), meshes, np.full(5, 0.5, np.float32), np.zeros((5, 3), np.float32))
    return Tracks(
        found.width,
        found.height,
        found.time_base,
        found.pts,
        (early, other, late),
        found.notes,
        np.array([0]),
        (0, 1, 0),
    )


def test_the_sheet_shows_everybody_by_number(few_frames, two, tmp_path):
    recipe = build_recipe({"target_path": few_frames})
    made = show_people(recipe, tmp_path / "people.png", tracks=two)
    assert [(one.person, one.tracks) for one in made.people] == [(0, (0, 2)), (1, (1,))]
    assert (made.frames, made.face_map, made.pictures) == (5, None, ())
    sheet = read_photo(tmp_path / "people.png").pixels
    for number in (0, 1):  # tag, frame around the portrait, and bar of either
        assert (sheet == colour_of(number)).all(axis=2).sum() > 2000
    rows = [int(np.flatnonzero((sheet[:, 24:28] == colour_of(k)).all(axis=(1, 2)))[0]) for k in (0, 1)]
    assert rows[0] < rows[1]
    frame = next(iter(ClipReader(few_frames))).pixels
    portrait = sheet[rows[1] + 40 : rows[1] + 160, 60:180].reshape(-1, 3).mean(axis=0)
    corner = frame[10:120, 410:].reshape(-1, 3).mean(axis=0)
    assert np.abs(portrait - corner).max() < 12  # the picture of the second one is of the corner


def test_numbers_of_the_sheet_are_those_that_faces_and_mapping_files_take(few_frames, two, tmp_path):
    recipe = build_recipe({"target_path": few_frames})
    path = tmp_path / "map.toml"
    made = show_people(recipe, None, path, tracks=two)
    assert sorted(made.pictures) == [str(tmp_path / "map-people" / f"{k}.png") for k in (0, 1)]
    assert all(read_photo(tmp_path / "map-people" / f"{k}.png").pixels.size for k in (0, 1))
    text = path.read_text()
    assert tomllib.loads(text) == {}  # nobody is changed before somebody says so
    filled = text.replace("#[[person]]\n#person = 0\n#seen", "[[person]]\nperson = 0\nseen").replace(
        "#sources", "sources", 1
    )
    path.write_text(filled.replace("PHOTO.jpg", "anna.jpg"))
    people = load_face_map(path, recipe)
    assert [(one.number, one.track, one.sources) for one in people] == [(0, None, (tmp_path / "anna.jpg",))]
    cast = Cast((FacePart((), ()),), tuple((one, None) for one in people))
    assert cast.assign(recipe, two) == {0: 0, 2: 0}  # both tracks of one person
    everybody_else = recipe.model_copy(update={"exempt_faces": (0,)})
    assert cast.assign(everybody_else, two) == {}
    path.write_text("[[person]]\nperson = 7\n")
    stranger = Cast((FacePart((), ()),), tuple((one, None) for one in load_face_map(path, recipe)))
    with pytest.raises(UnknownOption, match="names person 7") as told:
        stranger.assign(recipe.model_copy(update={"face_map_path": path}), two)
    assert "It has 0, 1" in told.value.hint
    path.write_text("[[person]]\nperson = 0\n[[person]]\nperson = 0\n")
    with pytest.raises(RecipeError, match="one person twice"):
        load_face_map(path, recipe)


def test_a_mapping_file_names_the_same_people_in_another_part_where_numbers_are_others(few_frames, two, tmp_path):
    recipe = build_recipe({"target_path": few_frames})
    path = tmp_path / "map.toml"
    show_people(recipe, None, path, tracks=two)
    path.write_text(path.read_text().replace("#[[", "[[").replace("#person", "person").replace("#seen", "seen"))
    people = load_face_map(path, recipe)
    assert [one.number for one in people] == [0, 1] and all(one.places for one in people)
    recipe = recipe.model_copy(update={"face_map_path": path, "people": people})
    cast = Cast((FacePart((), ()),), tuple((one, None) for one in people))
    as_made = cast.assign(recipe, two)
    turned = replace(two, people=tuple(1 - k for k in two.people))
    part = turned.within(int(turned.pts[1]), None)  # of it the other one is person 0
    assert cast.assign(recipe, part) == as_made
    assert told_numbers(recipe, two)[0].startswith("Person 0 is seen from 0.00 to ")
    elsewhere = replace(two, notes={**two.notes, FRAMES: write_numbers(range(900, 900 + len(two.pts)))})
    with pytest.raises(UnknownOption, match="nobody is here at the places"):
        cast.assign(recipe, elsewhere)


def crowd(spans, rate=25, step=1):
    """Tracks of people at (x, y), each through one span of frames in order: ((x, y), person, first, stop)."""
    count = max(stop for _, _, _, stop in spans)
    tracks = []
    for number, (middle, _, first, stop) in enumerate(spans):
        frames = np.arange(first, stop)
        meshes = np.stack([make_mesh(middle, 30)] * len(frames))
        blank = np.zeros((len(frames), 3), np.float32)
        tracks.append(Track(number, frames, meshes, np.ones(len(frames), np.float32), blank))
    persons = tuple(person for _, person, _, _ in spans)
    return Tracks(
        512, 512, Fraction(1, rate), np.arange(count), tuple(tracks), {}, np.array([0]), persons
    )  # fmt: skip


@pytest.mark.parametrize("length_s", [0.2, 0.5, 2])
def test_somebody_who_is_always_in_sight_is_in_every_part(length_s):
    tracks = crowd([((100, 200), 0, 0, 1500), ((400, 200), 1, 0, 1500)])
    seen = [places_of(tracks, person) for person in (0, 1)]
    assert [len(one) for one in seen] == [61, 61] and seen[0][0][0] == 0 and seen[0][-1][0] == 1499
    for first in range(0, 1500 - int(25 * length_s), 7):
        part = tracks.within(first, first + int(25 * length_s))
        assert [people_at(part, one) for one in seen] == [{0}, {1}]


def test_who_is_seen_for_hours_has_a_line_of_bounded_length():
    tracks = crowd([((100, 200), 0, 0, 25 * 1500)])
    assert 200 < len(places_of(tracks, 0)) <= PLACES
    many = crowd([((100, 200), 0, 3 * k, 3 * k + 2) for k in range(800)])
    assert len(places_of(many, 0)) == PLACES


def test_who_is_once_at_a_place_of_somebody_is_not_them():
    tracks = crowd([((100, 200), 0, 0, 200), ((100, 200), 1, 205, 230), ((100, 200), 0, 240, 500)])
    assert people_at(tracks, [(k, 100 / 512, 200 / 512) for k in range(0, 500, 25)]) == {0}
    # Between two stretches that are further apart nobody is meant, nor before the first and after the last.
    part = crowd([((100, 200), 1, 0, 60)])
    assert people_at(part, [(100, 100 / 512, 200 / 512), (101, 100 / 512, 200 / 512)]) == set()
    other = tracks.within(205, 230)
    assert people_at(other, [(100, 100 / 512, 200 / 512), (300, 100 / 512, 200 / 512)]) == set()


@pytest.mark.parametrize("told", ["3", "[[1, 2]]", '[["a", 0.1, 0.2]]', "[[-1, 0.1, 0.2]]", "[[true, 0.1, 0.2]]"])
def test_places_that_are_none_are_refused(few_frames, tmp_path, told):
    path = tmp_path / "map.toml"
    path.write_text(f"[[person]]\nperson = 0\nseen = {told}\n")
    with pytest.raises(RecipeError, match="seen must be"):
        load_face_map(path, build_recipe({"target_path": few_frames}))


def test_who_cannot_be_shown_is_said_and_nothing_is_written(few_frames, found, tmp_path):
    recipe = build_recipe({"target_path": few_frames})
    empty = empty_tracks(recipe, "clip")
    nobody = Tracks(empty.width, empty.height, empty.time_base, found.pts, (), {}, np.array([0]))
    with pytest.raises(NoFaceInTarget, match="No face"):
        show_people(recipe, tmp_path / "a.png", tracks=nobody)
    with pytest.raises(TracksError, match="another file"):
        other = Tracks(512, 512, found.time_base, found.pts, found.tracks, {"target sha256": "0"}, np.array([0]))
        show_people(recipe, tmp_path / "a.png", tracks=other)
    with pytest.raises(RecipeError, match="mapping file cannot be called"):
        show_people(recipe, None, tmp_path / "map.png", tracks=found)
    assert not list(tmp_path.iterdir())


def test_an_output_of_another_program_is_measured(few_frames, found, tmp_path):
    """Here one that pixelates faces and leaves out every other frame, in another size."""
    recipe = build_recipe(
        {"target_path": few_frames, "report_path": tmp_path / "r.json", "fail_under": ["covered=0.9"]}
    )
    reader = ClipReader(few_frames)
    with (
        ClipWriter(tmp_path / "same.mp4", reader, quality=95) as same,
        ClipWriter(tmp_path / "other.mp4", reader, scale=Fraction(1, 2)) as other,
    ):
        for number, frame in enumerate(reader):
            same.write(RenderedFrame(frame))
            left, top, right, bottom = (int(v) for v in found.tracks[0].face(number).box)
            pixels = frame.pixels.copy()
            blocks = pixels[top:bottom:24, left:right:24].repeat(24, 0).repeat(24, 1)
            pixels[top:bottom, left:right] = blocks[: bottom - top, : right - left]
            if number % 2 == 0:
                half = pixels[::2, ::2].copy()
                small = replace(frame, pixels=half, native=None)
                other.write(RenderedFrame(small, half, (0, 0, half.shape[1], half.shape[0])))
    same_as_it_was = measure(recipe, tmp_path / "same.mp4", found)
    hidden = measure(recipe, tmp_path / "other.mp4", found)
    assert (same_as_it_was.frames, hidden.frames) == (5, 5)
    assert same_as_it_was.notes == () and same_as_it_was.failures == ()
    assert same_as_it_was.overall["similarity_target"] > 0.95
    assert same_as_it_was.overall["similarity_source"] is None  # nobody said who the source is
    assert hidden.overall["similarity_target"] < 0.6
    assert same_as_it_was.overall["border"] < 0.5 < hidden.overall["border"]
    assert hidden.notes[0].startswith("The output is 256 x 256 px") and "other times" in hidden.notes[1]
    assert (tmp_path / "r.json").is_file() and hidden.files == (str(tmp_path / "r.json"),)
    strict = measure(recipe.model_copy(update={"fail_under": ("similarity_target=0.6",)}), tmp_path / "same.mp4", found)
    with pytest.raises(QualityTooLow, match="similarity_target"):
        check_good_enough(strict)


def test_photos_are_measured_with_the_likeness_to_their_source(tmp_path):
    recipe = build_recipe({"source_paths": [PHOTO], "target_path": PHOTO})
    write_photo(tmp_path / "o.png", Photo(read_photo(sample_path("target.jpg")).pixels, None, None, None))
    found = measure(recipe, tmp_path / "o.png")
    assert found.overall["similarity_source"] > 0.95 and found.frames == 1
    with pytest.raises(UnknownOption, match="is a photo"):
        measure(recipe, sample_path("target.mp4"))
    with pytest.raises(RecipeError, match="No target"):
        measure(build_recipe({}), tmp_path / "o.png")


def frames_at(*times):
    return [Frame(np.zeros((2, 2, 3), np.uint8), k, time, Fraction(1, 1000)) for k, time in enumerate(times)]


@pytest.mark.parametrize(
    ("target", "other", "pairs"),
    [
        ((0, 40, 80), (0, 40, 80), [0, 1, 2]),
        ((100, 140, 180), (0, 40, 80), [0, 1, 2]),  # each from its beginning
        ((0, 40, 80, 120), (0, 80), [0, 0, 1, 1]),  # half as many
        ((0, 40, 80), (0, 20, 40, 60, 80, 100), [0, 2, 4]),  # twice as many
        ((0, 33, 67, 100), (0, 40, 80), [0, 1, 2, 2]),  # another rate
        ((0, 40, 80, 120, 160, 200), (0, 40, 80), [0, 1, 2]),  # cut short
        ((0, 40), (), []),
    ],
)  # fmt: skip
def test_frames_are_compared_with_those_of_the_same_time(target, other, pairs):
    assert [two.index for _, two in pair(frames_at(*target), frames_at(*other))] == pairs


def test_clips_without_faces_cannot_be_measured(tmp_path):
    clip = make_clip(tmp_path / "none.mp4", pts=[0, 512])
    with pytest.raises(NoFaceInTarget):
        measure(build_recipe({"target_path": clip}), clip)


def test_parts_are_told_as_they_lie_in_the_target(few_frames, found, tmp_path):
    """Frames and times count from the beginning of the target, whichever part was analysed and whichever is shown."""
    number, base = 2, found.time_base
    start_s = time_of_frame(few_frames, number)
    recipe = build_recipe({"target_path": few_frames, "trim_frame_start": number})
    part = analyse_target(recipe)
    assert part.numbers.tolist() == list(range(number, len(found.pts))) and part.pts[0] == found.pts[number]
    part.save(tmp_path / "part.tracks")
    assert Tracks.load(tmp_path / "part.tracks").numbers.tolist() == part.numbers.tolist()
    whole = build_recipe({"target_path": few_frames})
    for asked, tracks in ((recipe, part), (recipe, found), (whole, part)):  # the second was refused as another file's
        made = show_people(asked, tmp_path / "people.png", tracks=tracks)
        assert made.frames == len(part.pts)
        assert made.people[0].stretches[0].start_s == pytest.approx(float(found.pts[number] * base), abs=1e-3)
        assert made.people[0].best_s >= made.people[0].stretches[0].start_s
    cut = found.within(int(found.pts[number]), None)
    np.testing.assert_array_equal(cut.pts, part.pts)
    np.testing.assert_array_equal(cut.tracks[0].meshes, found.tracks[0].meshes[number:])
    assert cut.notes["frames"] == part.notes["frames"]
    early = build_recipe({"target_path": few_frames, "end_s": start_s})
    with pytest.raises(TracksError, match="nothing of that is in the part"):
        show_people(early, tracks=part)
    with pytest.raises(TracksError, match="Nobody was looked for"):
        Previews().of_recipe(whole.with_options(source_paths=[SOURCE]), 0.0, tracks=part)


def test_numbers_of_frames_that_are_left_out_are_not_told(tmp_path):
    clip = make_clip(tmp_path / "c.mp4")
    recipe = build_recipe({"target_path": clip, "output_video_fps": 12.5, "trim_frame_start": 1})
    tracks = analyse_target(recipe)
    every = [frame.pts for frame in ClipReader(clip)]
    assert [every[number] for number in tracks.numbers] == tracks.pts.tolist()


def test_a_mapping_file_that_is_there_is_never_written_over_unasked(few_frames, two, tmp_path):
    recipe, path = build_recipe({"target_path": few_frames}), tmp_path / "map.toml"
    with pytest.raises(OutputRefused, match="picture of the mapping file"):
        show_people(recipe, tmp_path / "map-people" / "0.png", path, two)
    assert not list(tmp_path.iterdir())
    show_people(recipe, None, path, two)
    path.write_text("mine")
    for gone in (None, path):
        if gone is not None:
            gone.unlink()
        with pytest.raises(OutputRefused, match="is there already"):
            show_people(recipe, None, path, two)
    path.write_text("mine")
    made = show_people(recipe, None, path, two, is_replacing=True)
    assert "person = 0" in path.read_text() and len(made.pictures) == 2
