"""Collect what the verifier is trained on: finds of the shipped detector, right and wrong, beside those of a teacher.

    python training/verifier_pool.py FACEPACK MEDIA yunet_n_dynamic.onnx POOL

Writes POOL/finds.jsonl, a picture or frame a line, and frames of clips beside it. The teacher is YuNet (Apache-2.0); where
it sees anything at all nothing is taken for a mistake, and pictures that are known to hold no face need no teacher.
Crowds that are labelled for ``benchmarks/missed.py`` are left out, people held out by number and whatever is under no
permissive licence are marked as held out.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import av
import cv2
import numpy as np

from face_pool import HELD_OUT, ROOT

LEAST = 0.12
"""Score of the teacher from which nothing is taken for a mistake."""
FRAMES, EMPTY_FRAMES = 10, 30
"""Frames of a clip, and of one without faces."""
WITHOUT_FACES = ("negative", "clip-noface")


def read_frames(path: Path, count: int, total: int):
    """Frames at even distances, or the picture itself, BGR."""
    if path.suffix != ".mp4":
        image = cv2.imread(str(path))
        if image is not None:
            yield 0, image
        return
    wanted = set(np.linspace(3, total - 4, count).astype(int).tolist())
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                yield number, frame.to_ndarray(format="bgr24")


def teach(teacher: cv2.FaceDetectorYN, image: np.ndarray) -> list[list[float]]:
    """Boxes xyxy and scores; small pictures are looked at enlarged too."""
    height, width = image.shape[:2]
    longest = max(height, width)
    found = []
    for scale in (0.75,) if longest >= 1100 else (1.0, 2.0) if longest < 700 else (1.0,):
        size = [max(int(n * scale) // 32 * 32, 32) for n in (width, height)]
        teacher.setInputSize(size)
        _, rows = teacher.detect(cv2.resize(image, size))
        across, down = size[0] / width, size[1] / height
        for x, y, w, h, *_, score in [] if rows is None else rows.tolist():
            found.append([x / across, y / down, (x + w) / across, (y + h) / down, score])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "teacher", "pool"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    from facefusion.plugins.protocols import EngineContext
    from facefusion.plugins.registry import build_engine
    from facefusion.recipe import build_recipe

    cv2.setNumThreads(1)
    recipe = build_recipe({"processors": ["face_anonymiser"], "target_path": arguments.media})
    detector = build_engine("face_detector", "embedded", EngineContext(recipe, thread_count=1))
    teacher = cv2.FaceDetectorYN.create(str(arguments.teacher), "", (320, 320), LEAST, 0.3, 500)
    labelled = set(json.loads((ROOT / "benchmarks/missed_labels.json").read_text())["files"])
    people: dict[str, set[int]] = {}
    for row in json.loads((arguments.facepack / "boxes.json").read_text()):
        people.setdefault(row["file"], set()).update(int(f["id"][2:]) for f in row["faces"] if f.get("id"))
    (arguments.pool / "frames").mkdir(parents=True, exist_ok=True)
    with (arguments.pool / "finds.jsonl").open("w") as out:
        for row in csv.DictReader((arguments.media / "manifest.csv").open()):
            file, kind = row["file"], row["kind"]
            if kind in ("audio", "art") or file in labelled:
                continue
            who = people.get(file, set()) | {int(n[2:]) for n in row["identities"].split() if n.startswith("id")}
            is_held = any(n % HELD_OUT[0] == HELD_OUT[1] for n in who)
            if not who:
                is_held = sum(file.encode()) % HELD_OUT[0] == HELD_OUT[1]
            is_held |= row["licence_class"] != "permissive"
            count = EMPTY_FRAMES if kind in WITHOUT_FACES else FRAMES
            for number, image in read_frames(arguments.media / file, count, int(row["frames"] or 1)):
                name = ""
                if kind.startswith("clip"):
                    name = f"frames/{Path(file).stem}_{number}.png"
                    cv2.imwrite(str(arguments.pool / name), image)
                rgb = np.ascontiguousarray(image[..., ::-1])
                found = {
                    "file": file,
                    "png": name,
                    "is_held_out": is_held,
                    "has_no_face": kind in WITHOUT_FACES,
                    "teacher": teach(teacher, image),
                    "finds": [[*map(float, d.box), d.score] for d in detector.detect([rgb])[0]],
                }
                out.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
