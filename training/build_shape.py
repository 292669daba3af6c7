"""Build the model of how faces differ from person to person, apart from what one face does: the proportions.

    python training/build_shape.py FACEPACK MEDIA src/facefusion/models/embedded/face_shape.safetensors

Every labelled crop is read by our own mesh network, as in use, so that its habits count as what differs within a person.
Meshes are turned to the front, made symmetric and described by a few components; in those the spread within people and
that between people are measured (people held out by number stay out). With both, the proportions of a person are the best
guess from one picture or a whole clip: what expression does is known to say little.

References
----------
Prince and Elder, Probabilistic Linear Discriminant Analysis for Inferences About Identity, ICCV 2007;
Henderson, Best Linear Unbiased Estimation and Prediction under a Selection Model, 1975.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file

from face_pool import ROOT, is_held_out  # noqa: F401  (puts the sources on the path)
from facefusion.analyse.analyser import Analyser
from facefusion.imaging.align import mesh_crop
from facefusion.models.face_shape import to_front
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.pipeline.runner import build_analyser
from facefusion.recipe import build_recipe
from facefusion.types.topology import SKIN_COUNT

COMPONENTS = 32
PER_PERSON = 12
"""More pictures of one person are left out."""
MAX_YAW = 32.0
HABITS = {(13, 14, 1): 20.0, (159, 145, 1): 10.0, (61, 291, 0): 10.0}
"""What faces do most: the mouth opens, the eyes close, the lips spread (two points, axis), and how many times as much as
was seen of it is reckoned with."""
LEAST_SPREAD = 2e-3
"""Eye distances that a mesh is off by in every component, whatever was seen."""


def read_meshes(facepack: Path, media: Path, licences: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, 478, 3) meshes turned to the front, and (N,) their people."""
    licence_of = {row["file"]: row["licence_class"] for row in csv.DictReader((media / "manifest.csv").open())}
    analyser: Analyser = build_analyser(build_recipe({}), has_identity=False)
    meshes, people = [], []
    for path in sorted(facepack.glob("faces_*.npz")):
        shard = dict(np.load(path).items())
        for k in range(len(shard["lm"])):
            is_allowed = licences == "any" or licence_of[str(shard["files"][shard["src"][k]])] == licences
            if not is_allowed or shard["ident"][k] <= 0 or shard["flip_nme"][k] > 0.03:
                continue
            pixels = cv2.imdecode(shard["jpg"][shard["off"][k] : shard["off"][k + 1]], cv2.IMREAD_COLOR)[..., ::-1]
            label = shard["lm"][k].astype(np.float32) - np.array([0.5, 0.5, 0], np.float32)
            affine = mesh_crop(label, analyser._landmarker.crop_size)
            mesh, _ = analyser._look(np.ascontiguousarray(pixels), [affine], is_mirrored_too=True)[0]
            meshes.append(mesh)
            people.append(int(shard["ident"][k]))
    return np.stack(meshes), np.array(people)


def build(meshes: np.ndarray, people: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, components, and spread between and within people, of (N, 478, 3) meshes turned to the front."""
    flip = load_mesh_topology().flip
    mirrored = meshes[:, flip] * np.array([-1.0, 1.0, 1.0])
    shapes = ((meshes + mirrored) / 2)[:, :SKIN_COUNT].reshape(len(meshes), -1)
    counts = {p: int((people == p).sum()) for p in set(people.tolist())}
    weight = np.array([1 / counts[p] for p in people.tolist()])
    weight /= weight.sum()
    mean = weight @ shapes
    _, values, axes = np.linalg.svd((shapes - mean) * np.sqrt(weight)[:, None], full_matrices=False)
    axes = axes[:COMPONENTS]
    scores = (shapes - mean) @ axes.T
    total = (scores * weight[:, None]).T @ scores
    within, freedom = np.zeros((COMPONENTS, COMPONENTS)), 0.0
    apart = []
    for p, count in counts.items():
        if count > 1:
            # A person with many pictures does not say more than one with a few.
            share = min(count - 1, 3) / (count - 1)
            off = scores[people == p] - scores[people == p].mean(axis=0)
            within += share * off.T @ off
            freedom += share * (count - 1)
            apart += np.flatnonzero(people == p).tolist() if count > 2 else []
    within /= freedom
    value, vector = np.linalg.eigh(total - within)
    between = (vector * np.maximum(value, 1e-4 * value.max())) @ vector.T
    # Pictures of one clip hold less of what a face can do than it can do.
    own = people[apart]
    low = {p: scores[people == p].mean(axis=0) for p in set(own.tolist())}
    off = scores[apart] - np.stack([low[p] for p in own.tolist()])
    for (one, other, axis), factor in HABITS.items():
        seen = shapes[apart].reshape(len(apart), -1, 3)[:, [one, other], axis] @ np.array([-1.0, 1.0])
        seen -= np.stack([seen[own == p].mean() for p in own.tolist()])
        along = seen @ off / (seen @ seen)
        within += factor * seen.var() * np.outer(along, along)
    within += np.eye(COMPONENTS) * (LEAST_SPREAD**2 * SKIN_COUNT)
    explained = float((values[:COMPONENTS] ** 2).sum() / (values**2).sum())
    print(f"{len(meshes)} pictures of {len(counts)} people; {explained:.1%} of the spread in {COMPONENTS} components")
    print(f"spread between people {np.trace(between):.4f}, within {np.trace(within):.4f}")
    return {"mean": mean.reshape(-1, 3), "axes": axes.reshape(COMPONENTS, -1, 3), "between": between, "within": within}


def evaluate(model: dict[str, np.ndarray], meshes: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """On other people: how far proportions of two pictures of one person and of two people are apart."""
    flip = load_mesh_topology().flip
    shapes = ((meshes + meshes[:, flip] * np.array([-1.0, 1.0, 1.0])) / 2)[:, :SKIN_COUNT] - model["mean"]
    axes = model["axes"].reshape(len(model["axes"]), -1)
    between, within = model["between"], model["within"]
    scores = shapes.reshape(len(shapes), -1) @ axes.T
    guessed = scores @ np.linalg.solve(between + within, between)
    found = {}
    for name, values in (("raw", scores), ("proportions", guessed)):
        same, other = [], []
        for i in range(len(values)):
            distance = np.linalg.norm(values - values[i], axis=1) / np.sqrt(SKIN_COUNT)
            is_same = people == people[i]
            is_same[i] = False
            if is_same.any():
                same.append(float(distance[is_same].mean()))
                other.append(float(distance[people != people[i]].mean()))
        found[f"{name}_same"], found[f"{name}_other"] = float(np.mean(same)), float(np.mean(other))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facepack", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--licences", default="permissive")
    parser.add_argument("--keep", type=Path, help="keep the meshes there, or take them from there")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.keep and arguments.keep.exists():
        held = np.load(arguments.keep)
        meshes, people = held["meshes"], held["people"]
    else:
        meshes, people = read_meshes(arguments.facepack, arguments.media, arguments.licences)
        if arguments.keep:
            np.savez(arguments.keep, meshes=meshes, people=people)
    front, _, _ = to_front(meshes)
    yaw = np.degrees(np.arcsin(np.clip(_turn(meshes), -1, 1)))
    use = np.abs(yaw) < MAX_YAW
    held_out = is_held_out(people)
    chosen = [
        k
        for p in sorted(set(people[use & ~held_out].tolist()))
        for k in np.flatnonzero((people == p) & use).tolist()[:: max(int(((people == p) & use).sum()) // PER_PERSON, 1)]
    ]
    model = build(front[chosen].astype(np.float64), people[chosen])
    for name, value in evaluate(model, front[use & held_out].astype(np.float64), people[use & held_out]).items():
        print(f"held-out people, {name}: {value:.4f} eye distances")
    tensors = {name: np.ascontiguousarray(value.astype(np.float32)) for name, value in model.items()}
    tensors["axes"] = tensors["axes"].astype(np.float16)
    save_file(tensors, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1000:.0f} kB")


def _turn(meshes: np.ndarray) -> np.ndarray:
    """Sine of the yaw of each mesh."""
    from facefusion.models.pose import estimate_poses

    return np.sin(np.radians(estimate_poses(meshes.astype(np.float32))[:, 0]))


if __name__ == "__main__":
    main()
