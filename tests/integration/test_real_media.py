"""The embedded models and the whole pipeline on real people that training never saw, and on real clips."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from facefusion.errors import NoFaceInTarget
from facefusion.imaging.align import detection_crop, invert, mesh_crop, transform
from facefusion.imaging.resample import cut
from facefusion.jobs.once import run
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe, build_recipe


def is_held_out(ident: int) -> bool:
    return ident % 7 == 3


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    both = float(np.prod(sides))
    return both / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def test_detector_finds_people_it_never_saw(shared: Path):
    detector = build_engine("face_detector", "embedded", EngineContext(Recipe()))
    rows = json.loads((shared / "facepack/boxes.json").read_text())
    rows = [r for r in rows if r["file"].startswith("images/") and r["faces"]]
    rows = [r for r in rows if any(is_held_out(int(f.get("id", "id0")[2:])) for f in r["faces"])]
    hits = faces = false = 0
    for row in rows[:60]:
        found = [d.box for d in detector.detect([read_photo(shared / "media" / row["file"]).pixels])[0]]
        truth = [np.array([x, y, x + w, y + h]) for x, y, w, h in (f["box"] for f in row["faces"])]
        unsure = [np.ravel(i["box"] if isinstance(i, dict) else i)[:4] for i in row["ignore"]]
        unsure = [np.array([x, y, x + w, y + h]) for x, y, w, h in unsure]
        wanted = [t for t in truth if max(t[2:] - t[:2]) >= 32]
        faces += len(wanted)
        hits += sum(any(overlap(t, b) >= 0.5 for b in found) for t in wanted)
        large = [b for b in found if max(b[2:] - b[:2]) >= 32]
        false += sum(
            all(overlap(b, t) < 0.5 for t in truth) and all(overlap(b, u) < 0.3 for u in unsure) for b in large
        )
    assert faces >= 60
    assert hits / faces >= 0.95
    assert hits / (hits + false) >= 0.95


def test_mesh_of_people_it_never_saw_is_near_the_teachers(shared: Path):
    landmarker = build_engine("face_landmarker", "embedded", EngineContext(Recipe()))
    shard = dict(np.load(shared / "facepack/faces_00.npz"))
    rows = [k for k in range(len(shard["lm"])) if is_held_out(int(shard["ident"][k]))][:80]
    errors, scores = [], []
    for k in rows:
        coded = shard["jpg"][shard["off"][k] : shard["off"][k + 1]]
        pixels = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
        x, y, w, h = shard["box"][k]
        affine = detection_crop(np.array([x, y, x + w, y + h]), shard["kps"][k], landmarker.crop_size)
        for _ in range(2):
            meshes, found = landmarker.landmark([cut(pixels, affine, landmarker.crop_size)])
            mesh = transform(invert(affine), meshes[0])
            affine = mesh_crop(mesh, landmarker.crop_size)
        truth = shard["lm"][k].copy()
        truth[:, :2] -= 0.5  # labels count from the corner of the first pixel
        error = np.linalg.norm(mesh[:468, :2] - truth[:468, :2], axis=1).mean()
        errors.append(error / np.linalg.norm(truth[468] - truth[473]))
        scores.append(found[0])
    assert np.mean(errors) < 0.032
    assert np.quantile(errors, 0.95) < 0.055
    assert np.mean(np.array(scores) > 0.5) > 0.97


def test_pictures_without_people_have_no_face(shared: Path, analyser):
    pictures = sorted((shared / "media/negatives").iterdir())[::2]
    false = sum(bool(analyser.find_faces(read_photo(path).pixels)) for path in pictures)
    assert false <= 0.05 * len(pictures)


@pytest.mark.parametrize(
    ("clip", "photo"),
    [
        ("liveportrait-d0", "deepface-dataset-img1"),
        ("deepfacelive-ava-de-addario-1", "deepfacelive-photos-000012"),
        ("sample-videos-bird", "deepface-dataset-img11-reflection"),
        ("latentsync-demo1-video", "deepface-dataset-img29"),
    ],
)
def test_real_clips_are_swapped_frame_by_frame(shared: Path, tmp_path: Path, clip: str, photo: str):
    target = shared / f"media/clips/{clip}.mp4"
    options = {
        "source_paths": [shared / f"media/images/{photo}.jpg"],
        "target_path": target,
        "output_path": tmp_path / "o.mp4",
        "end_s": 1.0,
        "output_video_preset": "ultrafast",
    }
    outcome = run(build_recipe(options))
    assert outcome.changed_frame_count >= 0.95 * outcome.frame_count
    before, after = list(ClipReader(target, end_s=1.0)), list(ClipReader(tmp_path / "o.mp4"))
    assert [f.pts for f in before] == [f.pts for f in after]


@pytest.mark.parametrize("clip", ["sample-videos-bottle-detection", "sample-videos-car-detection"])
def test_real_clips_without_a_face_are_refused(shared: Path, tmp_path: Path, source_photo: Path, clip: str):
    options = {
        "source_paths": [source_photo],
        "target_path": shared / f"media/clips/{clip}.mp4",
        "output_path": tmp_path / "o.mp4",
    }
    with pytest.raises(NoFaceInTarget):
        run(build_recipe(options))
    assert not (tmp_path / "o.mp4").exists()


def held_out_portraits(shared: Path, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures of one person who was never trained on, each with the xyxy box of the face."""
    found = []
    for row in json.loads((shared / "facepack/boxes.json").read_text()):
        is_one = len(row["faces"]) == 1 and not row["ignore"] and row["file"].startswith("images/")
        if is_one and is_held_out(int(row["faces"][0].get("id", "id0")[2:])):
            x, y, w, h = row["faces"][0]["box"]
            if max(w, h) >= 96:
                found.append((read_photo(shared / "media" / row["file"]).pixels, np.array([x, y, x + w, y + h])))
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize(("size", "min_recall"), [(24, 0.9), (32, 0.95), (48, 0.95)])
def test_detector_finds_small_faces_of_people_it_never_saw(shared: Path, size: int, min_recall: float):
    detector = build_engine("face_detector", "embedded", EngineContext(Recipe()))
    portraits = held_out_portraits(shared, 60)
    hits = 0
    for pixels, box in portraits:
        scale = size / float(max(box[2:] - box[:2]))
        width, height = (max(round(n * scale), 1) for n in (pixels.shape[1], pixels.shape[0]))
        small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        # Into a scene, as a small face comes in practice.
        scene = np.full((360, 640, 3), 110, np.uint8)
        part = small[: min(height, 360), : min(width, 640)]
        scene[: part.shape[0], : part.shape[1]] = part
        found = [d.box for d in detector.detect([scene])[0]]
        hits += any(overlap(box * scale, b) >= 0.5 for b in found)
    assert len(portraits) >= 40
    assert hits / len(portraits) >= min_recall


@pytest.mark.parametrize("roll", [-45, -30, 30, 45])
def test_detector_finds_turned_faces_of_people_it_never_saw(shared: Path, roll: int):
    detector = build_engine("face_detector", "embedded", EngineContext(Recipe()))
    portraits = held_out_portraits(shared, 60)
    hits = 0
    for pixels, box in portraits:
        height, width = pixels.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), -roll, 1.0)
        side = int(np.hypot(width, height)) + 1  # large enough for all of the picture
        turn[:, 2] += (side - width) / 2, (side - height) / 2
        turned = cv2.warpAffine(pixels, turn, (side, side))
        centre = turn[:, :2] @ ((box[:2] + box[2:]) / 2) + turn[:, 2]
        size = box[2:] - box[:2]
        hits += any(
            (np.abs((d.box[:2] + d.box[2:]) / 2 - centre) < 0.25 * size).all()
            and 0.6 < (d.box[2:] - d.box[:2]).max() / size.max() < 1.6
            for d in detector.detect([turned])[0]
        )
    assert hits / len(portraits) >= 0.95


YUNET = """
id = "{name}"
version = "1"
capability = "face_detector"
family = "yunet"
licence = "Apache-2.0"
licence_source = "ShiqiYu/libfacedetection.train"
commercial = "yes"
vendor = "ShiqiYu"
year = 2023
[[files]]
name = "{name}.onnx"
[preprocess]
size = 640
colour = "BGR"
[inputs]
"#0" = [-1, 3, -1, -1]
[outputs]
"""


@pytest.mark.filterwarnings("ignore::facefusion.models.store.UnknownHashWarning")
@pytest.mark.parametrize("name", ["yunet_n_640_640", "yunet_n_dynamic"])
def test_real_yunet_weights_agree_with_the_labels(shared: Path, tmp_path: Path, monkeypatch, name: str):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    outputs = "\n".join(f'"#{k}" = []' for k in range(12))
    (tmp_path / f"{name}.onnx").write_bytes((shared / f"weights/{name}.onnx").read_bytes())
    entry = YUNET.format(name=name) + outputs
    (tmp_path / f"{name}.toml").write_text(entry)
    recipe = Recipe(models_paths=(str(tmp_path),), face_detector_score=0.5)
    detector = build_engine("face_detector", name, EngineContext(recipe))
    rows = [r for r in json.loads((shared / "facepack/boxes.json").read_text()) if r["file"].startswith("images/")]
    hits = faces = 0
    errors = []
    for row in [r for r in rows if r["faces"]][::8]:
        found = detector.detect([read_photo(shared / "media" / row["file"]).pixels])[0]
        # The labels were made at full size; here the picture is shrunk to 640 px.
        shrunk = min(640 / max(row["w"], row["h"]), 1.0)
        for label in row["faces"]:
            x, y, w, h = label["box"]
            if max(w, h) * shrunk < 24:
                continue
            faces += 1
            match = max(found, key=lambda d: overlap(np.array([x, y, x + w, y + h]), d.box), default=None)
            if match is not None and overlap(np.array([x, y, x + w, y + h]), match.box) >= 0.5:
                hits += 1
                errors.append(np.linalg.norm(match.points - np.array(label["kps"]), axis=1).mean() / max(w, h))
    assert faces >= 60
    assert hits / faces >= 0.95
    assert np.median(errors) < 0.03
