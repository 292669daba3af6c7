"""What the first pass found, as data for others: each format is read by its own field's reader, or by its rules."""

import csv
import json
import re
import sys
from fractions import Fraction

import jsonschema
import numpy as np
import pytest

from facefusion.errors import ExtraMissing, OutputRefused, RecipeError, TracksError
from facefusion.recipe import build_recipe
from facefusion.service.export import EmbeddingsWarning, export, format_of
from facefusion.service.passes import analyse
from facefusion.service.who import people_of
from facefusion.testing.fakes import make_mesh
from facefusion.types.topology import LEFT_EYE, NOSE_TIP
from facefusion.types.track import Track, Tracks

BASE, STEP = Fraction(1, 12800), 512
ANNA, BEN = (np.eye(4, dtype=np.float32)[k] for k in range(2))


def track(number, frames, x, y, size, identity, yaw=0.0):
    meshes = np.stack([make_mesh((x + 2 * frame, y), size, yaw) for frame in frames])
    poses = np.tile(np.array([yaw, -5, 2], np.float32), (len(frames), 1))
    guessed = np.array([frame == 1 for frame in frames])
    scores = np.linspace(0.9, 0.99, len(frames)).astype(np.float32)
    return Track(number, np.array(frames), meshes, scores, poses, identity=identity, guessed=guessed)


@pytest.fixture(scope="module")
def tracks():
    """Anna leaves and comes back, Ben is half outside of the picture; 40 frames, of varying length, from 1.28 s on."""
    pts = 16384 + np.cumsum([0, *([STEP] * 20), 2 * STEP, *([STEP] * 18)])
    people = (
        track(0, range(12), 100, 200, 60, ANNA), track(1, range(3, 40), 560, 180, 50, BEN, 40),
        track(2, range(30, 40), 120, 200, 40, ANNA),
    )  # fmt: skip
    cuts = np.array([0])
    return Tracks(
        640, 480, BASE, pts, people, {"target": "a film.mp4", "frames": "32:40:1"}, cuts, (0, 1, 0), "made up"
    )


SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["format", "target", "width", "height", "time_base", "frames", "pts", "shots", "people", "tracks",
                 "faces", "layouts", "facefusion"],
    "properties": {
        "format": {"const": "facefusion-faces-1"}, "facefusion": {"type": "string"}, "target": {"type": "string"},
        "width": {"type": "integer"}, "height": {"type": "integer"}, "frames": {"type": "integer"},
        "time_base": {"pattern": r"^\d+/\d+$"}, "pts": {"type": "array", "items": {"type": "integer"}},
        "shots": {"type": "array", "items": {"type": "integer"}},
        "layouts": {"type": "array", "items": {"enum": ["5", "68", "478"]}},
        "people": {"type": "array", "items": {"type": "object", "required": [
            "person", "tracks", "frames", "stretches", "side", "size_px", "quality", "best_s", "best_box"]}},
        "tracks": {"type": "array", "items": {
            "type": "object", "additionalProperties": False, "required": ["track", "person", "frames"],
            "properties": {
                "track": {"type": "integer"}, "person": {"type": "integer"}, "frames": {"type": "integer"},
                "attributes": {"type": ["object", "null"]}, "contract": {"type": "string"},
                "embedding": {"type": "array", "items": {"type": "number"}},
            }}},
        "faces": {"type": "array", "items": {
            "type": "object", "additionalProperties": False,
            "required": ["frame", "pts", "time_s", "track", "person", "box", "score", "quality", "is_guessed", "pose",
                         "points"],
            "properties": {
                "frame": {"type": "integer", "minimum": 0}, "pts": {"type": "integer"}, "time_s": {"minimum": 0},
                "track": {"type": "integer"}, "person": {"type": "integer"},
                "box": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number"}},
                "score": {"minimum": 0, "maximum": 1}, "quality": {"minimum": 0, "maximum": 1},
                "is_guessed": {"type": "boolean"},
                "pose": {"type": "object", "required": ["yaw", "pitch", "roll"]},
                "points": {"type": "object", "propertyNames": {"enum": ["5", "68", "478"]}},
            }}},
    },
}  # fmt: skip


def check_row(row, tracks):
    """A row says what the tracks say."""
    track = tracks.tracks[row["track"]]
    at = track.find(row["frame"] - 32)  # numbers and times count from the beginning of the target
    assert row["person"] == tracks.person_of(row["track"])
    assert row["pts"] == tracks.pts[row["frame"] - 32]
    assert row["time_s"] == pytest.approx(float(row["pts"] * BASE), abs=1e-6)
    np.testing.assert_allclose(row["box"], track.face(at).box, atol=1e-3)
    assert row["score"] == pytest.approx(track.scores[at], abs=1e-4)
    assert row["is_guessed"] == track.guessed[at]
    np.testing.assert_allclose(list(row["pose"].values()), track.poses[at], atol=0.01)


def test_json_has_the_faces_of_every_frame_by_its_schema(tracks, tmp_path):
    made = export(tracks, tmp_path / "a.json", layouts=("5", "68", "478"))
    found = json.loads((tmp_path / "a.json").read_text())
    jsonschema.validate(found, SCHEMA)
    assert (made.format, made.faces, made.people, made.frames) == ("json", 59, 2, 40)
    assert found["shots"] == [32]
    assert len(found["faces"]) == 59 and found["target"] == "a film.mp4"
    for row in found["faces"]:
        check_row(row, tracks)
    assert [(row["frame"], row["track"]) for row in found["faces"]] == sorted(
        (row["frame"], row["track"]) for row in found["faces"]
    )
    points = found["faces"][0]["points"]
    assert [np.shape(points[layout]) for layout in ("5", "68", "478")] == [(5, 2), (68, 2), (478, 3)]
    np.testing.assert_allclose(points["478"], tracks.tracks[0].meshes[0], atol=1e-3)
    np.testing.assert_allclose(points["5"], tracks.tracks[0].face(0).five_points, atol=1e-3)
    assert np.linalg.norm(np.array(points["5"][0]) - np.array(points["478"])[list(LEFT_EYE), :2].mean(axis=0)) < 3
    assert np.linalg.norm(np.array(points["68"][30]) - np.array(points["478"])[NOSE_TIP, :2]) < 1


def test_json_lines_and_csv_say_the_same(tracks, tmp_path):
    export(tracks, tmp_path / "a.jsonl")
    export(tracks, tmp_path / "a.csv")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(lines) == len(rows) == 59
    for line, row in zip(lines, rows, strict=True):
        check_row(line, tracks)
        assert [int(row[name]) for name in ("frame", "pts", "track", "person")] == [
            line[name] for name in ("frame", "pts", "track", "person")
        ]
        assert [float(row[name]) for name in ("left", "top", "right", "bottom")] == line["box"]
        assert [float(row[f"p5_{k}_{axis}"]) for k in range(5) for axis in "xy"] == [
            value for point in line["points"]["5"] for value in point
        ]
        assert row["is_guessed"] == str(int(line["is_guessed"]))


def test_parquet_is_read_by_arrow(tracks, tmp_path):
    import pyarrow.parquet

    export(tracks, tmp_path / "a.parquet", layouts=("68",))
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 59 and table.schema.metadata[b"format"] == b"facefusion-faces-1"
    rows = table.to_pylist()
    for row in rows:
        named = {**row, "box": [row[name] for name in ("left", "top", "right", "bottom")]}
        check_row({**named, "pose": {name: row[name] for name in ("yaw", "pitch", "roll")}}, tracks)
    np.testing.assert_allclose(
        np.reshape(rows[0]["points_68"], (68, 2)), tracks.tracks[0].face(0).points_68, atol=1e-3
    )  # fmt: skip
    assert "embedding" not in table.column_names


def test_parquet_without_its_package_names_the_extra(tracks, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match="pyarrow") as told:
        export(tracks, tmp_path / "a.parquet")
    assert "facefusion-studio[parquet]" in told.value.hint
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize("layout", ["5", "68", "478"])
def test_coco_is_read_by_pycocotools(tracks, tmp_path, layout, capsys):
    from pycocotools.coco import COCO

    export(tracks, tmp_path / "a.coco.json", layouts=(layout,))
    coco = COCO(str(tmp_path / "a.coco.json"))
    assert len(coco.getImgIds()) == 40 and coco.loadCats([1])[0]["name"] == "face"
    assert len(coco.loadCats([1])[0]["keypoints"]) == int(layout)
    found = coco.loadAnns(coco.getAnnIds())
    assert len(found) == 59 and len({one["id"] for one in found}) == 59
    for one in found:
        left, top, width, height = one["bbox"]
        assert 0 <= left < left + width <= 640 + 1e-3 and 0 <= top < top + height <= 480 + 1e-3
        assert one["area"] == pytest.approx(width * height, abs=0.01)
        assert len(one["keypoints"]) == 3 * int(layout)
        assert one["num_keypoints"] == sum(v > 0 for v in one["keypoints"][2::3])
    assert {one["person_id"] for one in found} == {0, 1}
    told = [(one["file_name"], one["frame_id"], one["time_s"]) for one in coco.loadImgs([1, 40])]
    assert told == [("a film.00000032.png", 32, 1.28), ("a film.00000071.png", 71, 2.88)]
    (first, *_) = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    box = tracks.tracks[0].face(0).box
    np.testing.assert_allclose(first["bbox"], [box[0] + 0.5, box[1] + 0.5, *(box[2:] - box[:2])], atol=2e-3)
    clipped = [one for one in found if one["track_id"] == 1 and one["num_keypoints"] < int(layout)]
    assert clipped  # some of Ben is outside of the picture at the end
    detections = [{k: one[k] for k in ("image_id", "category_id", "bbox", "score")} for one in found]
    assert len(coco.loadRes(detections).getAnnIds()) == 59
    capsys.readouterr()


def test_mot_has_ten_columns_and_counts_from_one(tracks, tmp_path):
    export(tracks, tmp_path / "gt.txt")
    rows = np.loadtxt(tmp_path / "gt.txt", delimiter=",", ndmin=2)
    assert rows.shape == (59, 10) and (rows[:, 7:] == -1).all()
    assert (np.diff(rows[:, 0]) >= 0).all() and rows[0, 0] == 33 and rows[-1, 0] == 72
    assert set(rows[:, 1]) == {1, 2}  # Anna is one person before and after
    assert len({tuple(pair) for pair in rows[:, :2].tolist()}) == 59  # nobody is twice in one frame
    box = tracks.tracks[0].face(0).box
    np.testing.assert_allclose(rows[0, 2:6], [box[0] + 1, box[1] + 1, *(box[2:] - box[:2])], atol=0.01)


def test_webvtt_has_a_cue_for_every_stretch(tracks, tmp_path):
    import webvtt

    export(tracks, tmp_path / "a.vtt", "webvtt")
    cues = list(webvtt.read(tmp_path / "a.vtt"))
    people = people_of(tracks)
    wanted = sorted((s.start_s, one.person, s.stop_s) for one in people for s in one.stretches)
    assert len(cues) == len(wanted) == 3
    for cue, (start_s, person, stop_s) in zip(cues, wanted, strict=True):
        assert cue.start_in_seconds + cue.start_time.milliseconds / 1000 == pytest.approx(start_s, abs=1e-3)
        assert cue.end_in_seconds + cue.end_time.milliseconds / 1000 == pytest.approx(stop_s, abs=1e-3)
        assert cue.voice == f"Person {person}"


def test_who_is_who_says_where_when_and_how_well(tracks):
    anna, ben = people_of(tracks)
    assert (anna.person, anna.tracks, anna.frames, anna.side) == (0, (0, 2), 22, "left")
    assert (ben.person, ben.tracks, ben.frames, ben.side) == (1, (1,), 37, "right")
    assert [(s.start_s, s.stop_s, s.track) for s in anna.stretches] == [(1.28, 1.76, 0), (2.52, 2.92, 2)]
    assert [(s.start_s, s.stop_s) for s in ben.stretches] == [(1.4, 2.92)]
    assert anna.size_px == pytest.approx(np.median([np.ptp(t.meshes[0][:, 1]) for t in tracks.tracks[::2]]), rel=0.35)
    assert 0 < ben.quality < anna.quality <= 1  # Ben is turned away
    assert 1.28 <= anna.best_s < 1.76  # she is larger then


def test_embeddings_are_written_only_when_asked_for_and_with_a_warning(tracks, tmp_path):
    for name in ("a.json", "a.jsonl"):
        export(tracks, tmp_path / name)
        assert "embedding" not in (tmp_path / name).read_text()
        with pytest.warns(EmbeddingsWarning, match="recognise"):
            export(tracks, tmp_path / name, has_embeddings=True)
    (first, *_) = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (first["embedding"], first["contract"]) == (ANNA.tolist(), "made up")
    found = json.loads((tmp_path / "a.json").read_text())
    jsonschema.validate(found, SCHEMA)
    assert [one["embedding"] for one in found["tracks"]] == [ANNA.tolist(), BEN.tolist(), ANNA.tolist()]
    for kind in ("csv", "coco", "mot", "webvtt"):
        with pytest.raises(RecipeError, match="no place for embeddings"):
            export(tracks, tmp_path / "x", kind, has_embeddings=True)
    bare = Tracks(9, 9, BASE, np.array([0]), (), {}, np.array([0]))
    with pytest.raises(TracksError, match="no embeddings"):
        export(bare, tmp_path / "x.json", has_embeddings=True)
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "coco", "mot", "webvtt"])
def test_a_target_without_anybody_makes_an_empty_file_of_its_kind(kind, tmp_path):
    nobody = Tracks(9, 9, BASE, np.array([0, 512]), (), {}, np.array([0]))
    assert export(nobody, tmp_path / "a", kind).faces == 0
    assert (tmp_path / "a").exists()


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tracks, tmp_path):
    with pytest.raises(RecipeError, match="What kind of file"):
        export(tracks, tmp_path / "a.xyz")
    with pytest.raises(RecipeError, match="no 7 points"):
        export(tracks, tmp_path / "a.json", layouts=("7",))
    with pytest.raises(RecipeError, match="one layout"):
        export(tracks, tmp_path / "a.coco.json", layouts=("5", "68"))
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(OutputRefused):
        export(tracks, tmp_path / "mine.json" / "a.json")
    with pytest.raises(OutputRefused):
        export(tracks, tmp_path / "mine.json", reads=[("tracks file", tmp_path / "mine.json")])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_an_analysis_writes_what_the_ending_says(few_frames, tmp_path):
    recipe = build_recipe({"target_path": few_frames})
    made = analyse(recipe, tmp_path / "who.jsonl")
    assert (made.format, made.frames, [one.person for one in made.people]) == ("jsonl", 5, [0])
    assert len((tmp_path / "who.jsonl").read_text().splitlines()) == 5
    made = analyse(recipe, tmp_path / "who.tracks")
    assert made.format == "tracks" and len(Tracks.load(tmp_path / "who.tracks").pts) == 5
    assert format_of(tmp_path / "A.MOT.TXT") == "mot" and format_of(tmp_path / "x.tracks") is None


def test_names_that_would_break_a_format_do_not(tracks, tmp_path):
    import webvtt

    name = 'a "b"\n\n00:00:00.000 --> 00:00:09.000\n, 中.mp4'
    export(tracks, tmp_path / "a.vtt", name=name)
    assert len(list(webvtt.read(tmp_path / "a.vtt"))) == 3
    export(tracks, tmp_path / "a.json", name=name)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["target"] == name
    assert not re.search(r"\n\n00:00:00.000 --> 00:00:09", (tmp_path / "a.vtt").read_text(encoding="utf-8"))
