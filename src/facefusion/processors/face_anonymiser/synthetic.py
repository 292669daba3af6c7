"""Puts a face on that belongs to nobody. Expression, gaze, pose and light stay; who it was does not.

For every person of a job one of the packaged mean faces is drawn by lot from those that look least like them, and
the proportions of their features are changed by lot as well: a swap alone leaves the old geometry, which a recogniser
reads. Of several such lots the one that looks least like the person is taken. What comes out is looked at in every
frame: hair, glasses and light stay, and where with them the recogniser still takes it for the same person, another lot
is taken in a photo, and otherwise the face is pixelated, or laid over with one colour.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facefusion.imaging.masks import disc_around, disc_over
from facefusion.imaging.resample import decode
from facefusion.imaging.reshape import reshape
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.plugins.protocols import EngineContext, FloatArray, Identifier, opens
from facefusion.plugins.registry import build_engine, models_behind
from facefusion.processors.face_anonymiser.patch import (
    MARGIN,
    MARGIN_IN_DOUBT,
    PatchAnonymiser,
    one_colour,
    pixelate_face,
)
from facefusion.processors.face_anonymiser.shape import draw_proportions, offsets_of, reshaped
from facefusion.processors.face_swapper.aligned import unit
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.processors.masking import CropMasks
from facefusion.recipe import MASK_REGIONS
from facefusion.types.crop import Crop, CropShape, SourceFace
from facefusion.types.face import Face, Pose
from facefusion.types.topology import FACE_OVAL
from facefusion.types.track import Tracks

SOFTNESS = 0.03
"""Soft edge of the new face; a narrow one leaves least of the old."""
BROADNESS = 6.0
"""Smoothing of the light that is kept, in cells of the face's grid: its detail shows the relief of the old face."""
CHOICE = 3
"""How many of the packaged faces, those least like a person, the lot is drawn from."""
LOTS = 8
"""How many new faces are drawn for a person, of which the one least like them is taken."""
TRIES = 6
"""How many of them are tried in a photo before its face is pixelated."""
TOO_LIKE = 0.9
"""Share of the cosine of one person from which a new face is too like the old: a coder and another look change it."""
DOUBTFUL_STRENGTH = 0.5
"""How strongly what may be no face is pixelated."""
MAX_PEOPLE = 4096
"""People whose new faces are kept in mind."""
PROFILE = 60.0
"""Yaw in degrees beyond which a face is pixelated."""
SURE = 8.0
"""Something before the face is kept in front only where the mask is very sure: better a hand painted over."""

_Lot = tuple[int, FloatArray]
"""Number of a packaged face, and (478, 3) how its points move in eye distances."""


class SyntheticAnonymiser:
    """See the module.

    Parameters
    ----------
    seed
        Of the job: the same seed gives the same faces.
    identifier
        Tells which new faces are least like a person, and whether one still is; None draws from all, unseen.
    masks
        What lies before the face, or None.
    """

    crop_shape: CropShape | None = CropShape("", 0, margin=MARGIN, margin_in_doubt=MARGIN_IN_DOUBT)
    needs: frozenset[str] = frozenset()
    covers_fully = True

    def __init__(self, seed: int, identifier: Identifier | None = None, masks: CropMasks | None = None) -> None:
        topology = load_mesh_topology()
        self._triangles = np.concatenate([topology.skin, topology.eyes, topology.mouth])
        self._oval = np.array(FACE_OVAL)
        self._seed, self._identifier, self._masks = seed, identifier, masks
        self._identities: dict[int, FloatArray] = {}
        self._packaged: FloatArray | None = None
        self._is_photo = False
        self._people: dict[int, list[_Lot]] = {}
        self._swappers: dict[int, MeshSwapper] = {}
        self._lock = threading.Lock()
        self._patches = [PatchAnonymiser(kind, DOUBTFUL_STRENGTH) for kind in (pixelate_face, one_colour)]

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """Sources are of no use here."""

    def meet(self, tracks: Tracks) -> None:
        """Learn who is in the clip before the first frame, so that every worker draws the same lots."""
        if self._identifier is None or tracks.contract != self._identifier.contract:
            return
        found: dict[int, list[FloatArray]] = {}
        for track in tracks.tracks:
            if track.identity is not None:
                found.setdefault(tracks.person_of(track.track_id), []).append(track.identity)
        self._identities = {person: unit(np.mean(vectors, axis=0)) for person, vectors in found.items()}
        self._is_photo = len(tracks.pts) == 1

    def forget(self) -> None:
        """See `facefusion.plugins.protocols.ForgetsPeople`."""
        with self._lock:
            self._identities, self._people = {}, {}

    def _lots(self, number: int) -> list[_Lot]:
        """New faces for a person, least like them first; made when they are first asked for."""
        with self._lock:
            if number not in self._people:
                rng = np.random.default_rng([self._seed, number])
                packaged = self._candidates(number)
                # Of somebody who is not known there is nothing to choose by.
                count = LOTS if number in self._identities else 1
                lots = [(int(rng.choice(packaged)), offsets_of(draw_proportions(rng))) for _ in range(count)]
                self._people[number] = self._sorted(lots, number)
                if len(self._people) > MAX_PEOPLE:  # of a stream without an end, who came first is gone
                    del self._people[next(iter(self._people))]
            return self._people[number]

    def _sorted(self, lots: list[_Lot], number: int) -> list[_Lot]:
        """Lots, least like a person first: by the packaged face with its new proportions, without the person's hair."""
        identity = self._identities.get(number)
        if identity is None or self._identifier is None:
            return lots
        pictures, points = [], []
        for chosen, offsets in lots:
            packaged = _sources()[chosen]
            goal = reshaped(packaged.face.mesh, packaged.face.pose, offsets)
            pictures.append(reshape(packaged.pixels, packaged.face.mesh, goal, self._triangles, self._oval))
            points.append(replace(packaged.face, mesh=goal).five_points)
        likeness = unit(self._identifier.identify(pictures, points)) @ identity
        return [lots[k] for k in np.argsort(likeness, kind="stable")]

    def _swapper(self, chosen: int) -> MeshSwapper:
        with self._lock:
            if chosen not in self._swappers:
                self._swappers[chosen] = MeshSwapper(softness=SOFTNESS, broadness=BROADNESS)
                self._swappers[chosen].prepare([_sources()[chosen]])
            return self._swappers[chosen]

    def _candidates(self, number: int) -> list[int]:
        """Packaged faces that a person may get."""
        identity = self._identities.get(number)
        if identity is None or self._identifier is None:
            return list(range(len(_sources())))
        if self._packaged is None:  # they are the same for everybody
            pixels, fives = [s.pixels for s in _sources()], [s.face.five_points for s in _sources()]
            self._packaged = unit(self._identifier.identify(pixels, fives))
        likeness = self._packaged @ identity
        return [int(k) for k in np.argsort(likeness)[:CHOICE]]

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        return [self._hide(crop) for crop in crops]

    def _hide(self, crop: Crop) -> Crop:
        face = crop.face
        number = face.person or 0
        # A face painted on a wall is worse than squares, and a patch hides as well. So it does in a profile, where the
        # mesh does not know the nose well enough to paint over all of it.
        if face.is_doubtful:
            return self._patches[0].process([crop])[0]
        if abs(face.pose.yaw) > PROFILE:
            return self._cover(crop, number)
        lots = self._lots(number)
        # A photo has one look, which may be tried on. In a clip everybody draws the same lot, whatever frames they see.
        for lot in lots[: TRIES if self._is_photo else 1]:
            drawn = self._draw(crop, *lot)
            if not self._is_like(drawn, number):
                return drawn
        return self._cover(crop, number)

    def _cover(self, crop: Crop, number: int) -> Crop:
        """Squares over a face, or one colour where the recogniser reads even squares with what is around them."""
        squares, plain = self._patches
        covered = squares.process([crop])[0]
        return plain.process([crop])[0] if self._is_like(covered, number) else covered

    def _is_like(self, drawn: Crop, number: int) -> bool:
        """Whether the recogniser still takes a changed face for the person that it was."""
        identity = self._identities.get(number)
        if identity is None or self._identifier is None:
            return False
        seen = unit(self._identifier.identify([drawn.visible()], [drawn.face.five_points]))[0]
        return float(seen @ identity) > TOO_LIKE * self._identifier.same_person_cosine

    def _draw(self, crop: Crop, chosen: int, offsets: FloatArray) -> Crop:
        """A crop with a packaged face of other proportions over its own."""
        face, pixels, swapper = crop.face, crop.visible(), self._swapper(chosen)
        goal = reshaped(face.mesh, face.pose, offsets)
        moved = reshape(pixels, face.mesh, goal, self._triangles, self._oval)
        changed = swapper.process(
            [Crop(moved, crop.crop_from_frame, replace(face, mesh=goal, points=None), crop.alpha)]
        )
        layer = changed[0].visible()
        height, width = pixels.shape[:2]
        alpha = disc_over(face.mesh, height, width, 1.45, 0.06)
        if self._masks is not None:
            mask = self._masks.mask(pixels, pixels, face) * SURE
            inside = disc_around(face.mesh[self._oval, :2], height, width, 1.0, 0.06)
            alpha = alpha * np.clip(mask + 1 - inside, 0, 1)
        return crop.with_layer(layer, alpha.astype(np.float32))


_SOURCES: list[SourceFace] = []


def _sources() -> list[SourceFace]:
    """The packaged faces as sources, decoded once."""
    if not _SOURCES:
        _SOURCES.extend(
            SourceFace(decode(face.jpeg), Face(face.mesh, 1.0, Pose(0.0, 0.0, 0.0))) for face in load_synthetic_faces()
        )
    return _SOURCES


def find_models(context: EngineContext) -> list[str]:
    """What tells which packaged faces are least like a person, and what lies before a face."""
    recipe = context.recipe
    found = models_behind("face_identifier", recipe.face_identifier_model, context)
    if "occlusion" in recipe.face_mask_types:
        name = recipe.face_occluder_model
        found += (
            models_behind("face_parser", name, context)
            if name == "embedded"
            else models_behind("face_occluder", name, context)
        )
    return [spec.id for spec in found]


@opens(find_models)
def build(context: EngineContext) -> SyntheticAnonymiser:
    """Builder named in the entry point."""
    recipe = context.recipe
    masks = None
    if "occlusion" in recipe.face_mask_types:
        if recipe.face_occluder_model == "embedded":
            # Glasses tell who somebody is: for once they count as face.
            everything = recipe.model_copy(update={"face_mask_regions": MASK_REGIONS, "face_parser_model": "embedded"})
            masks = CropMasks(replace(context, recipe=everything), ["region"])
        else:
            masks = CropMasks(context, ["occlusion"])
    identifier = build_engine("face_identifier", recipe.face_identifier_model, context)
    return SyntheticAnonymiser(context.options.seed or 0, identifier, masks)
