"""Faces of a clip as COCO, for training and evaluation: python coco_export.py CLIP OUT [LAYOUT]

Writes OUT/faces.coco.json with boxes and 5, 68 or 478 points (68 unless LAYOUT says otherwise) and OUT/images, the
frames that the annotations name; then reads it back and says what is in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def facefusion(*words: object) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "facefusion", *map(str, words), "--quiet"], check=True)


def main(clip: Path, output: Path, layout: str = "68") -> dict[str, int]:
    """Export a clip; how many images and faces there are."""
    output.mkdir(parents=True, exist_ok=True)
    tracks, annotations = output / "clip.tracks", output / "faces.coco.json"
    facefusion("analyse", "-t", clip, "-o", tracks)
    facefusion("export", tracks, "--format", "coco", "--points", layout, "-o", annotations)

    coco = json.loads(annotations.read_text(encoding="utf-8"))
    images = {image["id"]: image for image in coco["images"]}
    save_frames(clip, {image["frame_id"]: output / "images" / image["file_name"] for image in images.values()})
    for annotation in coco["annotations"]:
        image, (x, y, width, height) = images[annotation["image_id"]], annotation["bbox"]
        shown = annotation["keypoints"][2::3]
        print(
            f"{image['file_name']}: person {annotation['person_id']} at {x:.0f}, {y:.0f}, "
            f"{width:.0f} x {height:.0f} px, {sum(map(bool, shown))} of {len(shown)} points inside"
        )
    return {"images": len(images), "faces": len(coco["annotations"])}


def save_frames(clip: Path, wanted: dict[int, Path]) -> None:
    """Write frames of a clip as pictures."""
    from PIL import Image

    from facefusion.media.reader import ClipReader

    for frame in ClipReader(clip, allow_8bit=True):
        path = wanted.get(frame.index)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame.pixels).save(path)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
