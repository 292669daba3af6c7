"""Training pictures for the network of eyes and lips: patches around them, as they are and changed.

    python training/feature_pool.py MEDIA POOL FACEPACK [MORE] --licences permissive
    python training/feature_pool.py MEDIA HELD FACEPACK [MORE] --held

Every face gives two eyes, one of them mirrored so that all lie on the left of a picture, and one mouth. What is rare is made from what
there is: gazes to the side by moving the eyeball between its lids, half shut eyes by moving the upper lid over it, and
mouths that are more or less open by moving lower lip and chin. FACEPACK and MORE are folders in the layout of
`make_facepack.py`; MORE is what `more_frames.py` writes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from face_pool import ROOT, is_held_out, load_faces

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging import align
from facefusion.types import topology as names

MARGIN = 1.5
"""Side of a patch over that of what the network sees: room for crops that are a little off."""
EYE_PATCH, MOUTH_PATCH = 96, 120
UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LOWER_BROW = (46, 53, 52, 65, 55)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
STEADY = 0.03
"""Disagreement of a label with itself from which it is left out."""


def eye_opening(points: np.ndarray) -> float:
    """Distance of the lids in the middle of an eye over the distance of its corners."""
    gaps = np.linalg.norm(points[[159, 158], :2] - points[[145, 153], :2], axis=1)
    return float(gaps.mean() / max(np.linalg.norm(points[33, :2] - points[133, :2]), 1e-6))


def mouth_opening(points: np.ndarray) -> float:
    """Distance of the lips in the middle over the distance of the corners of the mouth."""
    gaps = np.linalg.norm(points[[82, 13, 312], :2] - points[[87, 14, 317], :2], axis=1)
    return float(gaps.mean() / max(np.linalg.norm(points[61, :2] - points[291, :2]), 1e-6))


def patch(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def moved_gaze(image: np.ndarray, points: np.ndarray, by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eyeball moved between its lids by (2,) pixels, and the points of the iris with it."""
    inside = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(points[list(names.LEFT_EYE)] * 8).astype(np.int32)], 1, shift=3)
    room = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    share = cv2.GaussianBlur(np.clip(room / 2.0, 0, 1), (0, 0), 0.7).astype(np.float32)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    out = cv2.remap(image, x - by[0] * share, y - by[1] * share, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    iris = points.copy()
    iris[468:473] += by
    return out, iris


def along_columns(
    image: np.ndarray, points: np.ndarray, old: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose columns are stretched from heights ``old`` to heights ``new``, (W, K) rising; points with it."""
    height, width = image.shape[:2]
    rows = np.arange(height, dtype=np.float64)
    where = np.stack([np.interp(rows, new[k], old[k]) for k in range(width)], axis=1).astype(np.float32)
    x = np.broadcast_to(np.arange(width, dtype=np.float32), (height, width))
    out = cv2.remap(image, x.copy(), where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = points.copy()
    columns = np.clip(np.round(points[:, 0]).astype(int), 0, width - 1)
    moved[:, 1] = [np.interp(p[1], old[c], new[c]) for p, c in zip(points, columns, strict=True)]
    return out, moved


def _heights(points: np.ndarray, rows: tuple[int, ...], width: int) -> np.ndarray:
    """(W,) height of a line of points over every column, constant beyond its ends."""
    line = points[list(rows)]
    line = line[np.argsort(line[:, 0])]
    return np.interp(np.arange(width), line[:, 0], line[:, 1])


def shut_lids(image: np.ndarray, points: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The upper lid moved down over a share of the opening, the lower one up by a tenth of that."""
    width = image.shape[1]
    upper, lower = (_heights(points, rows, width) for rows in (UPPER_LID, LOWER_LID))
    gap = np.maximum(lower - upper, 0)
    brow = np.minimum(_heights(points, LOWER_BROW, width), upper - 3)
    below = lower + np.maximum(0.5 * gap, 4)
    bottom = np.full(width, 4.0 * width)
    top = np.full(width, -4.0 * width)
    old = np.stack([top, brow, upper - 0.01, lower + 0.01, below + 0.02, bottom], axis=1)
    new = old.copy()
    new[:, 2] += share * gap
    new[:, 3] -= 0.1 * share * gap
    return along_columns(image, points, old, new)


def moved_jaw(image: np.ndarray, points: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower lip and chin moved up over a share of the opening, or down."""
    width = image.shape[1]
    upper, lower = (_heights(points, rows, width) for rows in (UPPER_INNER, LOWER_INNER))
    gap = np.maximum(lower - upper, 0)
    gap = cv2.GaussianBlur(gap[None], (0, 0), 4)[0]
    nose = np.full(width, float(points[2, 1]))
    nose = np.minimum(nose, upper - 4)
    chin = np.maximum(np.full(width, float(points[names.CHIN, 1])), lower + 8)
    across = np.abs(np.arange(width) - points[names.CHIN, 0]) / max(np.ptp(points[[61, 291], 0]), 8)
    fall = np.clip(1.6 - across, 0, 1)
    reach = float(gap.max()) * fall
    old = np.stack(
        [np.full(width, -4.0 * width), nose, upper - 0.01, lower + 0.01, chin, np.full(width, 4.0 * width)], 1
    )
    new = old.copy()
    new[:, 3] -= share * gap
    new[:, 4] -= 0.8 * share * reach
    return along_columns(image, points, old, new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("media", "pool", "facepack"):
        parser.add_argument(name, type=Path)
    parser.add_argument("more", type=Path, nargs="?")
    parser.add_argument("--licences", default="all", choices=("all", "permissive"))
    parser.add_argument("--held", action="store_true", help="the people who are held out, to measure with")
    arguments = parser.parse_args()
    rng = np.random.default_rng(11)
    cv2.setNumThreads(1)
    flip = np.load(arguments.facepack / "flip478.npy")
    eyes: dict[str, list] = {"images": [], "points": [], "weights": []}
    mouths: dict[str, list] = {"images": [], "points": [], "weights": []}

    def keep(kind: dict[str, list], image: np.ndarray, points: np.ndarray, weight: float) -> None:
        kind["images"].append(image)
        kind["points"].append(points.astype(np.float32))
        kind["weights"].append(weight)

    packs = [load_faces(folder, arguments.media) for folder in (arguments.facepack, arguments.more) if folder]
    faces = {key: np.concatenate([pack[key] for pack in packs]) for key in packs[0]}
    chosen = (is_held_out(faces["ident"]) == arguments.held) & (faces["flip_error"] < STEADY)
    if arguments.licences == "permissive":
        chosen &= faces["licence"] == "permissive"
    index = np.flatnonzero(chosen)
    people, counts = np.unique(faces["ident"][index], return_counts=True)
    count_of = dict(zip(people.tolist(), counts.tolist(), strict=True))
    for k in index:
        image, mesh = faces["image"][k], faces["mesh"][k]
        person = int(faces["ident"][k])
        weight = count_of[person] ** -0.6 if person else 1.0
        mirrored = mesh[flip].copy()
        mirrored[:, 0] = image.shape[1] - 1 - mirrored[:, 0]
        other = np.ascontiguousarray(image[:, ::-1])
        for pixels, points in ((image, mesh), (other, mirrored)):
            affine = align.eye_crop(points, EYE_PATCH, MARGIN)
            small, at = patch(pixels, affine, EYE_PATCH), align.transform(affine, points[:, :2])
            opening = eye_opening(at)
            rare = 1 + 8 * max(0.0, 0.22 - opening) / 0.22
            keep(eyes, small, at, weight * rare)
            if arguments.held:
                continue
            width = float(np.linalg.norm(at[33] - at[133]))
            if opening > 0.2:
                for _ in range(2):
                    by = rng.normal(0, [0.12, 0.035], 2).astype(np.float32) * width
                    keep(eyes, *moved_gaze(small, at, np.clip(by, -0.25 * width, 0.25 * width)), weight * 0.6)
                keep(eyes, *shut_lids(small, at, float(rng.uniform(0.1, 0.75))), weight * 0.6)
        affine = align.mouth_crop(mesh, MOUTH_PATCH, MARGIN)
        small, at = patch(image, affine, MOUTH_PATCH), align.transform(affine, mesh[:, :2])
        opening = mouth_opening(at)
        keep(mouths, small, at, weight * (1 + 3 * min(opening / 0.4, 1)))
        if not arguments.held and opening > 0.08:
            for low, high in ((-0.4, 0.0), (0.0, 0.95)):
                keep(mouths, *moved_jaw(small, at, float(rng.uniform(low, high))), weight * 0.6)

    arguments.pool.mkdir(parents=True, exist_ok=True)
    for name, kind in (("eyes", eyes), ("mouths", mouths)):
        weights = np.array(kind["weights"])
        np.save(arguments.pool / f"{name}_images.npy", np.stack(kind["images"]))
        np.save(arguments.pool / f"{name}_points.npy", np.stack(kind["points"]))
        np.save(arguments.pool / f"{name}_weights.npy", weights / weights.sum())
    print(f"{len(index)} faces of {len(people)} people: {len(eyes['images'])} eyes, {len(mouths['images'])} mouths")


if __name__ == "__main__":
    main()
