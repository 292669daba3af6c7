"""Whether anyone is missed when people are hidden: faces labelled by hand in crowds, and areas that are none.

    python benchmarks/missed.py MEDIA [--labels benchmarks/missed_labels.json] [--tracks SAVED] [--end 2]

MEDIA is a folder with the labelled clips. A face of at least 16 px counts as hidden where the middle of its box and most
of it lie in what is covered. A covered area that meets no labelled face is a false one. Tracks that were saved
(``facefusion analyse -o``, also by an earlier version) are measured without looking at the clip again; there is one clip
then.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from facefusion.imaging.boxes import share_inside
from facefusion.pipeline.runner import analyse_target
from facefusion.recipe import build_recipe
from facefusion.types.certainty import certainties
from facefusion.types.track import Tracks

LEAST_PX = 16.0
GROWTH, GROWTH_IN_DOUBT = 1.22, 1.5
"""Size of a patch over that of the face, and where it is not sure that there is one."""
COVERED = 0.6
"""Share of a labelled box that has to be covered."""


def covered_areas(tracks: Tracks, frame: int) -> list[np.ndarray]:
    """Boxes of what is hidden in a frame, xyxy."""
    how, areas = certainties(tracks), []
    for track in tracks.tracks:
        row = track.find(frame)
        if row is not None and how[track.track_id] != "unlikely":
            points = track.meshes[row][:, :2]
            low, high = points.min(axis=0), points.max(axis=0)
            is_sure = how[track.track_id] == "sure" or track.evidence is None
            middle, half = (low + high) / 2, (high - low) / 2 * (GROWTH if is_sure else GROWTH_IN_DOUBT)
            areas.append(np.concatenate([middle - half, middle + half]))
    return areas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--labels", type=Path, default=Path(__file__).with_name("missed_labels.json"))
    parser.add_argument("--tracks", type=Path, help="saved tracks of the only labelled clip")
    parser.add_argument("--end", type=float, default=2.0, help="seconds of every clip that are analysed")
    arguments = parser.parse_args()
    labels = json.loads(arguments.labels.read_text())["clips"]
    faces = missed = frames = false = 0
    for name, by_frame in labels.items():
        if arguments.tracks is not None:
            tracks = Tracks.load(arguments.tracks)
        else:
            recipe = build_recipe(
                {"processors": ["face_anonymiser"], "target_path": arguments.media / name, "end_s": arguments.end}
            )
            tracks = analyse_target(recipe)
        for number, boxes in sorted((int(k), v) for k, v in by_frame.items()):
            areas = covered_areas(tracks, number)
            known = [np.array(box, dtype=float) for box in boxes]
            frames += 1
            for box in known:
                if max(box[2] - box[0], box[3] - box[1]) < LEAST_PX:
                    continue
                faces += 1
                if max((share_inside(box, area) for area in areas), default=0.0) < COVERED:
                    missed += 1
                    print(f"{name}, frame {number}: missed at {box.round().astype(int).tolist()}")
            false += sum(all(share_inside(area, box) + share_inside(box, area) <= 0 for box in known) for area in areas)
    print(
        f"{faces - missed} of {faces} faces in {frames} frames are hidden: recall {1 - missed / faces:.1%}; "
        f"{100 * false / frames:.0f} false areas in 100 frames"
    )


if __name__ == "__main__":
    main()
